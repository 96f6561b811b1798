"""A slice of the model of several workers, and each rule broken once."""

from __future__ import annotations

import pytest

from tests.model.workers.breaks import BREAKS, broken
from tests.model.workers.script import ROUND, failure, make_script, one_round, shorten

pytestmark = pytest.mark.pure("its broker derives from ours, and methods are replaced")


def test_rounds_from_seeds_hold() -> None:
    for seed in range(1, 61):
        assert one_round(seed) == (seed, ROUND, "")


@pytest.mark.slow
def test_more_rounds_from_seeds_hold() -> None:
    for seed in range(61, 501):
        assert one_round(seed) == (seed, ROUND, "")


@pytest.mark.slow
@pytest.mark.parametrize("rule", BREAKS)
def test_a_broken_rule_is_seen(rule: str) -> None:
    with broken(rule):
        assert any(one_round(seed)[2] for seed in range(1, 4_001))


def test_a_divergence_is_shortened_and_stays_what_it_is() -> None:
    with broken("the engine forgets numbers"):
        seed = next(seed for seed in range(1, 100) if one_round(seed)[2])
        script = make_script(seed)
        short = shorten(script)
        assert failure(short) == failure(script) != ""
        assert len(short[1]) < len(script[1]) // 4


def test_a_round_is_the_same_whenever_it_is_played() -> None:
    with broken("the engine forgets numbers"):
        seed = next(seed for seed in range(1, 100) if one_round(seed)[2])
        assert one_round(seed) == one_round(seed)

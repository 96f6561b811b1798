"""The storm: descriptors are asked for, and every client takes all of its steps."""

from __future__ import annotations

import resource

import pytest

from tests.bench.harness import Process
from tests.bench.load import reset
from tests.bench.storm import SESSION, SPARE, Contender, allow, dial

Limits = tuple[int, int]


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [
        ((1_000, 20_000), (5_000 + SPARE, 20_000)),
        ((1_000, resource.RLIM_INFINITY), (5_000 + SPARE, resource.RLIM_INFINITY)),
        ((6_000, 6_000), None),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), None),
    ],
)
def test_the_soft_limit_is_raised_as_far_as_a_storm_needs(
    monkeypatch: pytest.MonkeyPatch, limits: Limits, wanted: Limits | None
) -> None:
    asked: list[Limits] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, given: asked.append(given))
    allow(5_000)
    assert asked == ([] if wanted is None else [wanted])


def test_a_hard_limit_that_is_too_low_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_000, 4_096))
    with pytest.raises(SystemExit, match=r"needs 5,256 descriptors, and `ulimit -Hn` allows 4,096"):
        allow(5_000)


def test_a_small_storm_is_measured() -> None:
    with Process("ours") as process:
        took, sockets = dial(process.port, 20, SESSION)
        assert took > 0
        assert process.ask(b"n")["connections"] == len(sockets) == 20
        for each in sockets:
            reset(each)
        process.wait_for(0)
        contender = Contender(process, SESSION)
        contender.storm(20)
        assert contender.took[0] > 0
        assert contender.used[0] > 0
        assert contender.stall("p50") <= contender.stall("p99") <= contender.stall("max")

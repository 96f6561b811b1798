"""The table that compares two checkouts says what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.against import Side, check, line
from tests.bench.harness import ROOT
from tests.bench.probes import Probe, idle

PROBE = Probe(idle, 1)


def side(*slices: float) -> Side:
    """A checkout with these slices of one row."""
    found = Side(Path())
    for value in slices:
        found.take({"row": value})
    return found


def test_a_figure_is_the_mean_of_the_least_third() -> None:
    assert side(9, 3, 1, 8, 7, 5).figure("row") == 2
    assert side(4, 6, 1, 3).figure("row") == 2
    assert side(5).figure("row") == 5


@pytest.mark.parametrize(
    ("this", "verdict"), [(0.5, "not slower"), (1.05, "not slower"), (1.06, "SLOWER")]
)
def test_more_than_the_bound_is_slower(this: float, verdict: str) -> None:
    told = line("row", PROBE, side(this), side(1))
    assert told.split() == [
        "row",
        "1.000",
        f"{this:.3f}",
        "us",
        *[f"{this:.3f}"] * 2,
        *verdict.split(),
        "(<=",
        "1.05)",
    ]


def test_a_row_of_one_side_only_is_told() -> None:
    assert line("row", PROBE, side(1), Side(Path())).split()[1:3] == ["only", "one"]


@pytest.mark.pure("measures the checkout it stands in, which has no package here")
def test_only_a_checkout_is_measured(tmp_path: Path) -> None:
    check(ROOT)
    with pytest.raises(SystemExit, match="is no checkout that can be measured"):
        check(tmp_path)

"""The trips in docs/contributing/architecture.md are those of the code: measured again, compared.

Rule: a number of the page may be off by a tenth, so that not every change of the code is one of the
page; then it is measured again, by `python -m tests.laws.trips`.
"""

from __future__ import annotations

import re

import pytest

from tests.laws.test_layers import ROOT
from tests.laws.trips import TRIPS, Trip

TENTH = 0.1


def read_trips(text: str) -> dict[str, list[int]]:
    """The rows under "Length of the trips": of cells like `21 → 26` the last number."""
    section = text.split("\n## Length of the trips\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return {name.strip(): [int(cell.split()[-1]) for cell in cells] for name, *cells in rows[2:]}


PAGE = read_trips((ROOT / "docs" / "contributing" / "architecture.md").read_text())


def test_the_page_shows_every_trip() -> None:
    assert list(PAGE) == list(TRIPS)


@pytest.mark.parametrize("name", TRIPS)
def test_a_trip_is_as_long_as_the_page_says(name: str) -> None:
    measured = [int(number) for number in re.findall(r"\| (\d+)", TRIPS[name]().row(""))]
    assert measured == [pytest.approx(number, rel=TENTH) for number in PAGE[name]]


def test_changes_and_returns_are_counted() -> None:
    trip = Trip(tuple((file, "f") for file in ("a", "a", "broker/b", "a", "broker/c", "broker/b")))
    assert trip.row("x") == "| x | 6 | 3 | 2 | 4 | 2 |"


def test_the_table_is_read_as_it_stands() -> None:
    text = "# A\n## Length of the trips\n\n| trip | calls |\n|---|--:|\n"
    text += "| `ACK` | 4 → 12 |\n\n## B\n"
    assert read_trips(text) == {"`ACK`": [12]}

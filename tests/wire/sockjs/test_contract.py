"""docs/contributing/sockjs-contract.md names tests that exist, and all that run over sockets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PAGE = ROOT / "docs" / "contributing" / "sockjs-contract.md"
SHARED = sorted((ROOT / "tests" / "adapters").glob("*sockjs*.py"))
ROW = re.compile(r"\| (.+?) \| (.+?) \| (.+?) \|")
TEST = re.compile(r"`((?:\w+\.py::)?test_\w+)`")


def names_in(file: Path) -> set[str]:
    return set(re.findall(r"^ *def (test_\w+)\(", file.read_text(), re.MULTILINE))


def rows() -> list[tuple[str, set[str], str]]:
    """What holds, the tests of it in memory, and the cell about sockets."""
    lines = PAGE.read_text().splitlines()
    found = [ROW.fullmatch(line) for line in lines if line.startswith("| ")]
    return [
        (row[1], set(TEST.findall(row[2])), row[3])
        for row in found
        if row is not None and row[1] != "what holds"
    ]


def over_sockets() -> set[str]:
    return set[str]().union(*map(names_in, SHARED))


def problem(in_memory: set[str], sockets: str) -> str | None:
    """The fault of a row."""
    if not in_memory:
        return "nothing in memory"
    for name in in_memory:
        file, _, test = name.partition("::")
        if not (HERE / file).is_file() or test not in names_in(HERE / file):
            return name
    named = set(TEST.findall(sockets))
    if not named <= over_sockets():
        return str(named - over_sockets())
    return None if named or len(sockets) > 20 else "no reason"


@pytest.mark.parametrize(("words", "in_memory", "sockets"), rows())
def test_a_row_names_tests_that_there_are(words: str, in_memory: set[str], sockets: str) -> None:
    assert problem(in_memory, sockets) is None


def test_every_test_over_sockets_stands_in_a_row() -> None:
    named = {name for _, _, sockets in rows() for name in TEST.findall(sockets)}
    assert named == over_sockets()
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    assert len(rows()) == sum(not line.startswith("| what holds") for line in lines)


@pytest.mark.parametrize(
    ("in_memory", "sockets"),
    [
        (set[str](), "`test_the_greeting`"),
        ({"test_routes.py::test_gone"}, "`test_the_greeting`"),
        ({"test_gone.py::test_it"}, "`test_the_greeting`"),
        ({"test_routes.py::test_it"}, "`test_gone`"),
        ({"test_routes.py::test_it"}, "none"),
    ],
)
def test_a_row_that_is_not_so_is_seen(in_memory: set[str], sockets: str) -> None:
    assert problem(in_memory, sockets) is not None

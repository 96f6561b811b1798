"""conformance.md and promises.md in docs/contributing say what the tests prove, no more no less."""

from __future__ import annotations

import re

from tests.spec import catalogue

PROMISES = catalogue.ROOT / "docs" / "contributing" / "promises.md"
DECISIONS = catalogue.ROOT / "docs" / "contributing" / "decisions.md"
TEST_ID = re.compile(r"`((?:broker/(?:\w+/)?|adversarial/)?test_\w+\.py::test_\w+)`")


def names() -> set[str]:
    """Tests of this folder; under `broker/` and `adversarial/` those of these."""
    found = {test.removeprefix("tests/spec/") for test, _ in catalogue.tests()}
    tests = catalogue.ROOT / "tests"
    for file in (*(tests / "broker").rglob("test_*.py"), *(tests / "adversarial").glob("*.py")):
        for name in re.findall(r"^ *def (test_\w+)\(", file.read_text(), re.MULTILINE):
            found.add(f"{file.relative_to(tests)}::{name}")
    return found


def test_the_page_of_conformance_is_not_stale() -> None:
    assert catalogue.PAGE.read_text() == catalogue.page(), "run: python -m tests.spec --write"


def rows() -> set[str]:
    """What docs/contributing/decisions.md decides."""
    lines = DECISIONS.read_text().splitlines()
    return {line.split("|")[1].strip() for line in lines if line.startswith("|")}


def test_every_departure_is_a_row_of_the_decisions() -> None:
    departures = {row for each in catalogue.collect() for row in each.departs}
    assert departures - rows() == set()


def test_every_promise_of_delivery_names_a_test_that_exists() -> None:
    promises = [line for line in PROMISES.read_text().splitlines() if line.startswith("* ")]
    assert len(promises) > 40
    known = names()
    for promise in promises:
        quoted = TEST_ID.findall(promise)
        assert quoted, promise
        assert set(quoted) <= known, promise


def test_every_test_of_delivery_is_a_promise() -> None:
    quoted = set(TEST_ID.findall(PROMISES.read_text()))
    assert {name for name in names() if name.startswith("test_delivery")} <= quoted

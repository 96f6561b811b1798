"""docs/conformance.md and docs/delivery.md say what the tests prove, no more and no less."""

from __future__ import annotations

import re

import pytest

from tests.spec import catalogue

DELIVERY = catalogue.ROOT / "docs" / "delivery.md"
DECISIONS = catalogue.ROOT / "docs" / "decisions.md"
TEST_ID = re.compile(r"`(test_\w+\.py::test_\w+)`")


def names() -> set[str]:
    return {test.removeprefix("tests/spec/") for test, _ in catalogue.tests()}


def test_every_demand_has_a_test_or_a_departure() -> None:
    every = catalogue.collect()
    counts = {v: sum(each.version == v for each in every) for v in catalogue.VERSIONS}
    assert counts == {"1.0": 37, "1.1": 55, "1.2": 78}
    assert [each for each in every if not each.tests and each.departs is None] == []


def test_the_page_of_conformance_is_not_stale() -> None:
    assert catalogue.PAGE.read_text() == catalogue.page(), "run: python -m tests.spec --write"


@pytest.mark.skipif(not DECISIONS.exists(), reason="the page of decisions is not here yet")
def test_every_departure_is_a_row_of_the_decisions() -> None:
    rows = {
        line.split("|")[1].strip() for line in DECISIONS.read_text().splitlines() if "|" in line
    }
    departures = {each.departs for each in catalogue.collect() if each.departs is not None}
    assert departures - rows == set()


def test_every_promise_of_delivery_names_a_test_that_exists() -> None:
    promises = [line for line in DELIVERY.read_text().splitlines() if line.startswith("* ")]
    assert len(promises) > 40
    known = names()
    for promise in promises:
        quoted = TEST_ID.findall(promise)
        assert quoted, promise
        assert set(quoted) <= known, promise


def test_every_test_of_delivery_is_a_promise() -> None:
    quoted = set(TEST_ID.findall(DELIVERY.read_text()))
    assert {name for name in names() if name.startswith("test_delivery")} <= quoted


def test_a_quotation_that_fits_no_sentence_is_an_error() -> None:
    every = catalogue.sentences("1.2")
    with pytest.raises(ValueError, match="0 sentences"):
        catalogue._find(every, "test", "1.2", "SEND", "MUST", "MUST be blue")
    with pytest.raises(ValueError, match="2 sentences"):
        catalogue._find(every, "test", "1.2", "SEND", "MUST", "MUST")

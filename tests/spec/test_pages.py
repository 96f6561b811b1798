"""docs/conformance.md and docs/delivery.md say what the tests prove, no more and no less."""

from __future__ import annotations

import re

import pytest

from tests.spec import catalogue, wording
from tests.spec.spoken import missing

DELIVERY = catalogue.ROOT / "docs" / "delivery.md"
DECISIONS = catalogue.ROOT / "docs" / "decisions.md"
TEST_ID = re.compile(r"`((?:broker/(?:\w+/)?)?test_\w+\.py::test_\w+)`")


def names() -> set[str]:
    """Tests of this folder, and under `broker/` those of the broker."""
    found = {test.removeprefix("tests/spec/") for test, _ in catalogue.tests()}
    tests = catalogue.ROOT / "tests"
    for file in (tests / "broker").rglob("test_*.py"):
        for name in re.findall(r"^ *def (test_\w+)\(", file.read_text(), re.MULTILINE):
            found.add(f"{file.relative_to(tests)}::{name}")
    return found


def test_every_demand_has_a_test_or_a_departure() -> None:
    every = catalogue.collect()
    counts = {v: sum(each.version == v for each in every) for v in catalogue.VERSIONS}
    assert counts == {"1.0": 43, "1.1": 97, "1.2": 118}
    assert [each for each in every if not each.tests and not each.departs] == []


@pytest.mark.parametrize("version", catalogue.VERSIONS)
def test_every_quotation_is_verbatim(version: str) -> None:
    wrong = [each for each in catalogue.quotations(version) if not wording.holds(version, *each)]
    assert wrong == []


@pytest.mark.parametrize("version", catalogue.VERSIONS)
def test_no_sentence_that_demands_something_is_left_out(version: str) -> None:
    quoted = catalogue.quotations(version)
    left_out = [
        (section, sentence)
        for section, sentence in wording.demands(version)
        if not any(s == section and wording.covers(words, sentence) for s, words in quoted)
    ]
    assert left_out == []


def test_what_is_not_verbatim_is_seen() -> None:
    quote = "It has one REQUIRED header, `destination`, which indicates where to send the message."
    assert wording.holds("1.2", "SEND", quote)
    assert wording.holds("1.2", "SEND", "It has one REQUIRED header … where to send the message.")
    assert not wording.holds("1.2", "ACK", quote)
    assert not wording.holds("1.2", "SEND", quote.replace("REQUIRED", "required"))
    assert not wording.holds("1.2", "SEND", quote.replace(", which indicates", ""))
    assert not wording.holds("1.2", "SEND", "where to send the message … It has one REQUIRED")


def test_the_sentences_of_a_text_are_found() -> None:
    found = list(wording.demands("1.2"))
    one = "otherwise, there will be heart-beats every MAX(<cx>,<sy>) milliseconds"
    assert ("Heart-beating", one) in found
    assert (
        "SEND",
        "The user defined headers MUST be passed through in the MESSAGE frame.",
    ) in found
    assert {section for section, _ in found} & wording.ABOUT == set()
    assert len(found) > 100


def test_a_version_that_is_marked_and_not_spoken_is_seen() -> None:
    marks = [pytest.mark.stomp("1.1 1.2", "SEND", "MUST", "x").mark]
    assert missing(marks, {"1.0", "1.2"}) == ["1.1"]
    assert missing(marks, {"1.1", "1.2"}) == []
    early = [pytest.mark.stomp("1.1", "Protocol Negotiation", "SHOULD", "x").mark]
    assert missing(early, set()) == []


def test_the_page_of_conformance_is_not_stale() -> None:
    assert catalogue.PAGE.read_text() == catalogue.page(), "run: python -m tests.spec --write"


def rows() -> set[str]:
    """What docs/decisions.md decides."""
    lines = DECISIONS.read_text().splitlines()
    return {line.split("|")[1].strip() for line in lines if line.startswith("|")}


def test_every_departure_is_a_row_of_the_decisions() -> None:
    departures = {row for each in catalogue.collect() for row in each.departs}
    assert departures - rows() == set()


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

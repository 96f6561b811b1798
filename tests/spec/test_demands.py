"""The demands are all there, each once, each proved; and what names one names one that exists.

Rule: the numbers hold what no comparison with a text holds here: a row that is lost, doubled,
or graded otherwise shows in the numbers of its section or in the totals below.
"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.spec import catalogue
from tests.spec.checks import said
from tests.spec.demands import VERSIONS, Demand, misnumbered, parse, places, read
from tests.spec.spoken import missing

TOTALS = {
    "1.0": {"MUST": 34, "SHOULD": 9},
    "1.1": {"MUST": 26, "MUST NOT": 4, "SHOULD": 25, "WILL": 42},
    "1.2": {"MUST": 47, "MUST NOT": 4, "SHOULD": 27, "WILL": 40},
}
DEPARTURES = {"1.0": 9, "1.1": 25, "1.2": 26}
ROWS = """\
About the rows.

## SEND

1 MUST: One.
2 WILL: Two. => a row; another row

## ACK

1 MUST NOT: Three.
"""


def rows(old: str = "", new: str = "") -> list[Demand]:
    """The rows above, in which one thing is changed."""
    assert old in ROWS
    return parse("1.2", ROWS.replace(old, new, 1))


@pytest.mark.parametrize("version", VERSIONS)
def test_no_demand_is_missing_and_none_stands_twice(version: str) -> None:
    every = read(version)
    assert misnumbered(every) == {}
    assert Counter(each.grade for each in every) == TOTALS[version]
    assert sum(bool(each.departs) for each in every) == DEPARTURES[version]
    lines = Counter((each.place.section, each.words) for each in every)
    assert [line for line, times in lines.items() if times > 1] == []


def test_every_demand_has_a_proof() -> None:
    assert catalogue.unproved(catalogue.collect()) == []


def test_a_row_is_read() -> None:
    first, second, third = rows()
    assert [*first.place, first.grade, first.words] == ["1.2", "SEND", 1, "MUST", "One."]
    assert (second.words, second.departs) == ("Two.", ["a row", "another row"])
    assert str(third.place) == "1.2 ACK 1"


@pytest.mark.parametrize(
    "line", ["MUST: One.", "1 MUST One.", "1 MAY: One.", "one MUST: One.", "1 MUST:", "1 MUST: "]
)
def test_a_line_that_is_no_row_is_an_error(line: str) -> None:
    with pytest.raises(ValueError, match=r"1\.2 SEND: no row"):
        rows("1 MUST: One.", line)


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        ("", "", {}),
        ("2 WILL", "3 WILL", {"1.2 SEND": [1, 3]}),
        ("1 MUST: One.\n", "", {"1.2 SEND": [2]}),
        ("2 WILL", "1 WILL", {"1.2 SEND": [1, 1]}),
        ("## ACK", "## SEND", {"1.2 SEND": [1, 2, 1]}),
        ("1 MUST NOT", "0 MUST NOT", {"1.2 ACK": [0]}),
        ("1 MUST: One.\n2 WILL: Two.", "2 WILL: Two.\n1 MUST: One.", {"1.2 SEND": [2, 1]}),
    ],
)
def test_a_hole_and_a_repetition_are_seen(old: str, new: str, wrong: dict[str, list[int]]) -> None:
    assert misnumbered(rows(old, new)) == wrong


def test_a_demand_without_proof_is_seen() -> None:
    claims = [("test", ["1.2 SEND 2"]), ("other test", ["1.2 SEND 2", "1.2 ACK 1"])]
    every = catalogue.prove(rows(), claims)
    assert [each.tests for each in every] == [[], ["test", "other test"], ["other test"]]
    assert catalogue.unproved(every) == ["1.2 SEND 1"]


@pytest.mark.parametrize("unknown", ["1.2 SEND 3", "1.2 SEND 0", "1.1 SEND 1", "1.2 Send 1"])
def test_a_proof_of_no_demand_is_an_error(unknown: str) -> None:
    with pytest.raises(ValueError, match=f"^test: there is no demand {unknown}$"):
        catalogue.prove(rows(), [("test", ["1.2 ACK 1", unknown])])


def test_a_reference_is_read() -> None:
    named = places(["1.1 1.2 SUBSCRIBE ack Header 3", "1.0 ACK 1"])
    of_both = ["1.1 SUBSCRIBE ack Header 3", "1.2 SUBSCRIBE ack Header 3"]
    assert [str(each) for each in named] == [*of_both, "1.0 ACK 1"]


@pytest.mark.parametrize(
    "reference", ["SEND 1", "1.2 SEND", "1.2 1", "1.2 1.1 SEND 1", "1.2 1.2 SEND 1", "1.2 SEND 1 2"]
)
def test_what_is_no_reference_is_an_error(reference: str) -> None:
    with pytest.raises(ValueError, match="no reference"):
        places([reference])


def test_two_references_that_could_be_one_are_an_error() -> None:
    for twice in (["1.1 SEND 1", "1.2 SEND 1"], ["1.2 SEND 1", "1.2 SEND 1"]):
        with pytest.raises(ValueError, match="SEND 1 stands twice"):
            places(twice)


def test_a_second_marker_is_an_error() -> None:
    def marked() -> None:
        """Stands for a test."""

    pytest.mark.stomp("1.2 SEND 1")(marked)
    assert catalogue.marked("test", marked) == ("1.2 SEND 1",)
    pytest.mark.stomp("1.2 ACK 1")(marked)
    with pytest.raises(ValueError, match=r"^test: 2 markers"):
        catalogue.marked("test", marked)


def test_a_wire_check_proves_what_its_version_demands() -> None:
    demands = (["1.0 1.1 SEND 1", "1.2 SEND 2"], ["1.1 ACK 1"])
    assert said("1.1", *demands) == ["1.1 SEND 1", "1.1 ACK 1"]
    assert said("1.2", *demands) == ["1.2 SEND 2"]


def test_a_version_that_is_marked_and_not_spoken_is_seen() -> None:
    marks = [pytest.mark.stomp("1.2 ACK 1", "1.1 SEND 1").mark]
    assert missing(marks, {"1.0", "1.2"}) == ["1.1"]
    assert missing(marks, {"1.1", "1.2"}) == []
    early = [pytest.mark.stomp("1.1 Protocol Negotiation 1").mark]
    assert missing(early, set()) == []

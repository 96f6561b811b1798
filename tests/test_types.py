"""Requests taken apart, positions as text, and who a draft is for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stocksync_ws.broker.model.publication import Draft
from stocksync_ws.types import HttpRequest, Position, ToDestination, ToSession, ToUser


def test_a_query_is_decoded_and_its_first_value_counts() -> None:
    request = HttpRequest("GET", "/a?x=1&y=a%20b+c&x=2&empty=&z")
    assert request.path == "/a"
    assert request.query == {"x": "1", "y": "a b c", "empty": "", "z": ""}
    assert HttpRequest("GET", "/a").query == {}


def test_cookies_are_as_they_came_and_the_first_counts() -> None:
    headers = (("cookie", "a=1; b=x=y;c ; a=2"), ("cookie", "d=%20"))
    assert HttpRequest("GET", "/", headers).cookies == {"a": "1", "b": "x=y", "d": "%20"}
    assert HttpRequest("GET", "/").cookies == {}


EPOCHS = st.text(st.characters(codec="utf-8", exclude_characters="."), min_size=1)
COUNTS = st.integers(0, 10**19 - 1)


@given(epoch=EPOCHS, generation=COUNTS, offset=COUNTS)
def test_a_position_is_what_its_text_is_read_as(epoch: str, generation: int, offset: int) -> None:
    position = Position(epoch, generation, offset)
    assert Position.parse(str(position)) == position


@pytest.mark.parametrize(
    ("position", "text"),
    [
        (Position("e", 0, 0), "e-0"),
        (Position("e", 0, 17), "e-17"),
        (Position("e", 3, 17), "e.3-17"),
        (Position("a-b_c", 0, 1), "a-b_c-1"),
    ],
)
def test_the_generation_is_written_where_there_is_one(position: Position, text: str) -> None:
    assert str(position) == text


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("e-0", Position("e", 0, 0)),
        ("e.3-17", Position("e", 3, 17)),
        ("a-b-1", Position("a-b", 0, 1)),
        ("id1-72-5", Position("id1-72", 0, 5)),
        ("-5-5", Position("-5", 0, 5)),
        ("e-" + "9" * 19, Position("e", 0, 10**19 - 1)),
        ("e." + "9" * 19 + "-1", Position("e", 10**19 - 1, 1)),
    ],
)
def test_the_last_dash_and_the_only_dot_part_it(text: str, position: Position) -> None:
    assert Position.parse(text) == position


@pytest.mark.parametrize(
    "text",
    [
        "",
        "e",
        "5",
        "-",
        "-5",
        ".1-5",
        ".-5",
        "e-",
        "e.1-",
        "e.-5",
        "e.1",
        "e--",
        "e-x",
        "e-+5",
        "e-1.5",
        "e- 5",
        "e-5 ",
        "e-5\n",
        "e-0x5",
        "e-1_000",
        "e-٤",
        "e-²",
        "e.٤-5",
        "e.x-5",
        "e.+1-5",
        "e.-1-5",
        "e.1.2-5",
        "e..1-5",
        "e-" + "9" * 20,
        "e-" + "0" * 20,
        "e." + "9" * 20 + "-5",
        "e-" + "9" * 5_000,
    ],
)
def test_what_is_no_position_of_ours_is_none(text: str) -> None:
    assert Position.parse(text) is None


@given(st.text())
def test_whatever_a_client_claims_is_read_or_none_and_raises_nothing(text: str) -> None:
    position = Position.parse(text)
    assert position is None or (position.epoch and 0 <= position.offset < 10**19)


def test_a_position_is_a_value() -> None:
    assert {Position("e", 0, 1): "x"}[Position("e", 0, 1)] == "x"
    with pytest.raises(AttributeError):
        Position("e", 0, 1).offset = 2  # type: ignore[misc]


def test_a_draft_is_for_a_destination_a_user_or_one_session() -> None:
    assert Draft("/topic/a", (), b"").target == ToDestination("/topic/a")
    assert Draft("/queue/a", (), b"", user="ann").target == ToUser("ann", "/queue/a")
    assert Draft("/queue/a", (), b"", session="s1").target == ToSession("s1", "/queue/a")
    both = Draft("/queue/a", (), b"", user="ann", session="s1")
    assert both.target == ToSession("s1", "/queue/a")


def test_targets_of_equal_fields_are_told_apart_by_their_type() -> None:
    """As tuples they would be equal."""
    assert type(Draft("/a", (), b"", user="x").target) is ToUser
    assert type(Draft("/a", (), b"", session="x").target) is ToSession

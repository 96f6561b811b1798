"""Positions as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stocksync_ws.position import Position, generation_end

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


@pytest.mark.parametrize(
    ("begins", "generation", "end"),
    [
        ([(0, 0)], 0, 9),
        ([(0, 0)], 1, None),
        ([(0, 0), (7, 4), (3, 6)], 0, 4),
        ([(0, 0), (7, 4), (3, 6)], 7, 6),
        ([(0, 0), (7, 4), (3, 6)], 3, 9),
        ([(7, 4), (3, 6)], 0, None),
        ([], 0, None),
    ],
)
def test_a_generation_ends_where_the_next_one_begins(
    begins: list[tuple[int, int]], generation: int, end: int | None
) -> None:
    assert generation_end(begins, generation, 9) == end

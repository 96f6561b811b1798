"""A turn of the loop: how many frames it has, and who goes first."""

from __future__ import annotations

from stocksync_ws.broker.model.turn import FRAMES, RESERVED, Turn
from tests.broker.kit import record


def test_who_has_nothing_left_over_goes_first_and_who_has_used_its_share_waits() -> None:
    turn = Turn()
    one, two, three, four = (record() for _ in range(4))
    assert not turn.waiting
    turn.put_last(one)
    turn.put_off(two)
    turn.put_first(three)
    turn.put_last(four)
    assert turn.waiting
    assert [turn.next() for _ in range(4)] == [three, one, four, None]
    assert turn.waiting
    turn.begin()
    assert [turn.next(), turn.next()] == [two, None]
    assert not turn.waiting


def test_what_is_read_leaves_a_part_to_those_that_wait() -> None:
    turn = Turn()
    assert turn.may_read
    turn.left = RESERVED
    assert turn.may_read
    turn.put_last(record())
    assert not turn.may_read
    turn.left = RESERVED + 1
    assert turn.may_read
    turn.reads = False
    assert not turn.may_read
    turn.begin()
    assert turn.may_read
    assert (turn.number, turn.left) == (1, FRAMES)

"""The one message above `send_queue` of a mailbox, as arithmetic."""

from __future__ import annotations

from stocksync_ws.broker.model.large import Large
from stocksync_ws.broker.model.post_office import Outgoing


def entry(size: int) -> Outgoing:
    return Outgoing(b"", size, 0.0, 1)


def test_it_ends_where_it_was_handed_over() -> None:
    before, large, behind = entry(5), entry(1_000), entry(7)
    made = Large(large)
    assert not made.is_written(10**9)
    assert made.load(queued=1_012, unsent=3) == 15
    made.hand_over([behind], 50)
    assert made.end is None
    made.hand_over([before, large, behind], 100)
    assert made.end == 1_105
    assert [made.is_written(written) for written in (1_104, 1_105)] == [False, True]
    assert made.load(queued=9, unsent=1_000) == 9


def test_it_counts_for_this_mailbox_until_it_is_written() -> None:
    large = entry(1_000)
    made = Large(large)
    for _ in range(2):
        made.hand_over([large], 0)
    assert large.waiting == 2

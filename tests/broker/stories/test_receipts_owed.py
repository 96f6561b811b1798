"""Receipts that wait for a client: over their bound its next frame waits."""

from __future__ import annotations

from itertools import count

import pytest

from stocksync_ws.testing.peer import TEXT, Peer, client_frame
from tests.broker.kit import Broker


def ask(peer: Peer, first: int, last: int) -> None:
    for number in range(first, last + 1):
        peer.send_to("/topic/a", "x", receipt=str(number))


def told(peer: Peer) -> list[str]:
    return [frame.headers["receipt-id"] for frame in peer.frames()]


@pytest.mark.parametrize("most", [1, 2, 3])
def test_a_client_that_reads_later_gets_every_receipt(most: int) -> None:
    with Broker(max_receipts=most) as world:
        peer = world.connect()
        peer.stream.open_window(0)
        before = world.counters.frames_in
        ask(peer, 1, 20)
        # One lies in the transport, which holds it unsent; so many wait in the mailbox.
        assert world.counters.frames_in == before + 1 + most
        peer.stream.open_window(None)
        world.settle()
        assert told(peer) == [str(number) for number in range(1, 21)]
        assert peer.closed is None


def test_one_that_reads_everything_is_not_closed_for_our_own_backlog() -> None:
    with Broker() as world:
        peer = world.reader("/topic/big")
        peer.stream.open_window(0)
        world.publish("/topic/big", *["x" * 60_000] * 3)
        for number in range(1, 601):
            peer.send(b"SEND\ndestination:/topic/a\nreceipt:%d\n\n\0" % number)
        for _ in count():
            if not peer.stream.unsent:
                break
            peer.stream.open_window(4096)
            world.settle()
        peer.stream.open_window(None)
        world.settle()
        frames = peer.frames()
        assert [frame.command for frame in frames[:3]] == ["MESSAGE"] * 3
        receipts = frames[3:]
        assert [frame.headers["receipt-id"] for frame in receipts] == [
            str(number) for number in range(1, 601)
        ]
        assert peer.closed is None


def test_reading_pauses_behind_it_and_goes_on() -> None:
    with Broker(max_receipts=1, inbox=1024) as world:
        peer = world.connect()
        peer.stream.open_window(0)
        ask(peer, 1, 40)
        assert peer.stream.paused
        peer.stream.open_window(None)
        world.settle()
        assert not peer.stream.paused
        assert told(peer) == [str(number) for number in range(1, 41)]


def test_a_session_that_waits_for_its_turn_as_well_waits_there_once() -> None:
    with Broker(max_receipts=1) as world:
        peer = world.connect()
        peer.stream.open_window(0)
        ask(peer, 1, 5)
        driver, turn, link = world.runtime.driver, world.broker.turn, peer.stream.link
        turn.reads = False  # What comes now waits for its share of the turn.
        frame = b"SEND\ndestination:/topic/a\nreceipt:6\n\n\0"
        driver.feed(link, client_frame(TEXT, frame))
        assert turn.waiting == 1
        peer.stream.open_window(None)
        driver.drained(link)
        assert turn.waiting == 1
        world.settle()
        assert told(peer) == [str(number) for number in range(1, 7)]


def test_what_waits_for_receipts_is_still_done_when_the_client_has_left() -> None:
    with Broker(max_receipts=1) as world:
        reader = world.reader("/topic/a")
        peer = world.connect()
        peer.stream.open_window(0)
        ask(peer, 1, 5)
        assert len(reader.frames()) < 5
        peer.eof()
        assert len(reader.frames()) + 2 == 5
        assert len(world.broker.sessions) == 1

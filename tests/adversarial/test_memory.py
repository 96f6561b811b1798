"""A crowd must not use up our memory: what all sessions together make us keep, of every kind.

Each test is a row of docs/contributing/neighbours.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from stocksync_ws import Limits, StompApp
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.testing.peer import Peer, client_frame
from stocksync_ws.testing.world import World

KiB = 1_024
MOST = 2_048 * KiB
CLIENTS = 100
"""Each of them may hold 2 MiB in transactions, and 64 KiB in each other way."""


def crowded() -> World:
    """A world whose handlers hold their sessions up until `release_pool`."""
    application = StompApp(
        "/ws",
        client_send=["/topic/**"],
        limits=Limits(max_total_queued=MOST, send_queue=512 * KiB, max_message_size=64 * KiB),
    )

    @application.message_mapping("/slow")
    def slow() -> None: ...

    world = World(application)
    world.hold_pool()
    return world


def stomp(head: str, body: bytes = b"") -> bytes:
    return client_frame(2, head.encode() + b"\n\n" + body + b"\0")


def transactions(peer: Peer) -> Iterator[bytes]:
    """Eight transactions of 256 KiB."""
    for number in range(8):
        yield stomp(f"BEGIN\ntransaction:t{number}")
        for _ in range(8):
            yield stomp(f"SEND\ndestination:/topic/a\ntransaction:t{number}", b"x" * 30 * KiB)


def inboxes(peer: Peer) -> Iterator[bytes]:
    """Frames behind one whose handler does not return."""
    yield stomp("SEND\ndestination:/app/slow")
    for _ in range(2):
        yield stomp("SEND\ndestination:/topic/a", b"x" * 40 * KiB)


def half_frames(peer: Peer) -> Iterator[bytes]:
    """A STOMP frame over several messages, without its end."""
    yield client_frame(2, b"SEND\ndestination:/topic/a\ncontent-length:60000\n\n")
    for _ in range(5):
        yield client_frame(2, bytes(10 * KiB))


def half_messages(peer: Peer) -> Iterator[bytes]:
    """A WebSocket frame without its end."""
    yield bytes((0x82, 0xFF)) + (64 * KiB).to_bytes(8, "big") + bytes(4)
    for _ in range(5):
        yield bytes(10 * KiB)


def all_of_them(peer: Peer) -> Iterator[bytes]:
    yield from transactions(peer)
    yield from inboxes(peer)
    yield from half_messages(peer)


def kept(session: SessionRecord) -> int:
    """What is kept of a session, looked for in each place."""
    inbound, opened = session.inbound, (session.subscriptions.transactions or {}).values()
    waiting = sum(len(each) for each in inbound.waiting or ())
    half = len(inbound.decoder._held) + len(inbound.decoder._data)
    return waiting + half + session.wire.kept + sum(len(f.body) for t in opened for f in t.frames)


WAYS: dict[str, Callable[[Peer], Iterator[bytes]]] = {
    "transactions": transactions,
    "inboxes": inboxes,
    "half frames": half_frames,
    "half messages": half_messages,
    "all of them": all_of_them,
}


@pytest.mark.parametrize("way", WAYS)
def test_all_sessions_together_keep_no_more_than_the_bound(way: str) -> None:
    with crowded() as world:
        healthy = world.connect()
        healthy.subscribe("/topic/h")
        crowd = {peer: WAYS[way](peer) for peer in (world.connect() for _ in range(CLIENTS))}
        most = 0
        for _ in range(100):
            for peer, more in crowd.items():
                if not peer.stream.paused and peer.closed is None:
                    peer.feed(next(more, b""))
                    most = max(most, sum(kept(each) for each in world.broker.sessions.values()))
            healthy.send_to("/topic/h", "x")
            assert healthy.message().body == b"x"
            world.advance(0.05)
        # An eighth more, while those that are held back have a second to be enough.
        assert MOST * 7 // 8 < most <= MOST * 9 // 8
        closed = [peer for peer in crowd if peer.closed is not None]
        assert 0 < len(closed) < CLIENTS
        for peer in closed:
            error = peer.frames()[-1]
            assert error.headers["code"] == "limit"
            assert f"Limits.max_total_queued={MOST}, got " in error.body.decode()
            assert peer.closed == 1008
        world.release_pool()
        for peer in crowd:
            peer.eof()
        world.advance(10)
        assert world.broker.office.received == world.broker.office.total == 0

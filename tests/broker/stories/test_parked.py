"""A wire that outlives its connections: a session driven through two of them, parked between.

The wire and the connection here are as small as can be: what a SockJS transport will be to the
driver, without SockJS.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterator
from typing import Any

import pytest

from stocksync_ws import SessionDisconnected, StompApp
from stocksync_ws.testing.stream import MemoryStream
from stocksync_ws.testing.world import World
from stocksync_ws.types import (
    Alive,
    Attached,
    Chunk,
    Closed,
    Detached,
    Event,
    Handshake,
    HttpRequest,
    Message,
)

CONNECT = b"CONNECT\naccept-version:1.2\nheart-beat:0,0\n\n\0"
SUBSCRIBE = b"SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:r\n\n\0"


class PollWire:
    """Each `pack` ends the carrier when `polls` is set, as an answer to a poll does. It carries
    text only.
    """

    transport = "poll"
    key: Hashable = "poll"

    def __init__(self, *, polls: bool) -> None:
        self.session: Any = None
        self.link: Any = None
        self.polls = polls

    def dress(self, head: bytes, tail: bytes, text: bool) -> Chunk | None:
        return b"[" + head + tail + b"]" if text else None

    def size(self, chunk: Chunk) -> int:
        return len(chunk)

    def ping(self) -> Chunk:
        return b"h"

    def pack(self, chunks: list[Chunk]) -> tuple[list[Chunk], bool]:
        return chunks, self.polls

    def close(self, code: int, reason: str) -> list[Chunk]:
        return [b"c%d" % code]


class Carrier:
    """One connection of a `PollWire`: the first one opens the session, later ones attach to it."""

    def __init__(self, wire: PollWire) -> None:
        self.wire = wire
        self.deadline: float | None = None
        self.armed = 0
        self.armed_at = 0.0
        self.held = self.shut = False
        self._carries = False

    def start(self, now: float) -> list[Event]:
        return []

    def receive(self, data: bytes, now: float) -> list[Event]:
        if data == b"open":
            self._carries = True
            return [Handshake(HttpRequest("POST", "/poll"), self.wire, None)]
        if data == b"attach":
            self._carries = True
            return [Attached(self.wire)]
        if data == b"alive":
            return [Alive(self.wire)]
        if data == b"last":
            self.shut = True
            return [Message(self.wire, b"DISCONNECT\nreceipt:last\n\n\0")]
        if data == b"close":
            return [Closed(self.wire, 1000, "")]
        return [Message(self.wire, data)]

    def accept(self, handshake: Handshake, now: float) -> list[Event]:
        return []

    def refuse(self, handshake: Handshake, status: int, text: str, now: float) -> list[Event]:
        self.shut = True
        return []

    def lost(self, now: float) -> list[Event]:
        return self.detach(now)

    def wake(self, now: float) -> list[Event]:
        return []

    def detach(self, now: float) -> list[Event]:
        carried, self._carries = self._carries, False
        return [Detached(self.wire)] if carried else []

    def take(self) -> list[Chunk]:
        return []


class Poller:
    """A client of a parked wire, over any number of connections."""

    def __init__(self, world: World, *, polls: bool = False) -> None:
        self.world = world
        self.wire = PollWire(polls=polls)
        self.streams: list[MemoryStream] = []

    def open(self, first: bytes) -> MemoryStream:
        stream = MemoryStream(self.world.runtime.driver, self.world.runtime.host.soon)
        stream.start(Carrier(self.wire))
        self.streams.append(stream)
        self.feed(first)
        return stream

    def feed(self, data: bytes) -> None:
        self.world.runtime.driver.feed(self.streams[-1].link, data)
        self.world.settle()

    def leave(self) -> None:
        self.world.runtime.driver.ended(self.streams[-1].link)
        self.world.settle()

    def took(self) -> bytes:
        received = bytes(self.streams[-1].received)
        self.streams[-1].received.clear()
        return received


@pytest.fixture
def app() -> StompApp:
    return StompApp("/ws", allowed_origins=["*"])


@pytest.fixture
def ended(app: StompApp) -> list[Any]:
    heard: list[Any] = []

    @app.event_listener(inline=True)
    def hear(event: SessionDisconnected) -> None:
        heard.append((event.reason, event.close_code))

    return heard


@pytest.fixture
def world(app: StompApp, ended: list[Any]) -> Iterator[World]:
    with World(app) as world:
        yield world
        world.advance(100)
        assert not world.broker.sessions
        assert not world.broker.office.total
        assert not world.counters.internal_errors


def connected(world: World, **how: bool) -> Poller:
    poller = Poller(world, **how)
    poller.open(b"open")
    poller.feed(CONNECT)
    return poller


def body(n: int) -> bytes:
    return b"\n\n%d\0]" % n


def test_a_session_through_two_connections(app: StompApp, world: World, ended: list[Any]) -> None:
    poller = connected(world)
    assert poller.took().startswith(b"[CONNECTED\n")
    poller.feed(SUBSCRIBE)
    assert poller.took() == b"[RECEIPT\nreceipt-id:r\n\n\0]"
    app.template.convert_and_send("/topic/a", 1)
    world.settle()
    assert body(1) in poller.took()
    poller.leave()

    # Parked: the session lives, what is published waits.
    [session] = world.broker.sessions.values()
    assert poller.wire.link is None
    assert not session.mailbox.is_open
    for n in (2, 3):
        app.template.convert_and_send("/topic/a", n)
        world.settle()
    world.advance(3)
    assert len(session.mailbox.entries) == 2
    assert not session.mailbox.dirty
    assert ended == []

    # The second connection gets it, in order, and goes on.
    poller.open(b"attach")
    took = poller.took()
    assert took.index(body(2)) < took.index(body(3))
    app.template.convert_and_send("/topic/a", 4)
    world.settle()
    assert body(4) in poller.took()
    poller.feed(b"DISCONNECT\nreceipt:bye\n\n\0")
    assert poller.took() == b"[RECEIPT\nreceipt-id:bye\n\n\0]c1000"
    poller.feed(b"close")
    assert ended == [("client_disconnect", 1000)]
    poller.leave()


def test_each_answer_ends_its_carrier(app: StompApp, world: World, ended: list[Any]) -> None:
    poller = connected(world, polls=True)
    assert poller.took().startswith(b"[CONNECTED\n")
    assert poller.wire.link is None
    poller.open(b"attach")
    assert poller.took() == b""
    app.template.convert_and_send("/topic/a", 0)
    poller.feed(SUBSCRIBE)
    assert poller.took() == b"[RECEIPT\nreceipt-id:r\n\n\0]"
    for n in (1, 2):
        app.template.convert_and_send("/topic/a", n)
    world.settle()
    poller.open(b"attach")
    took = poller.took()
    assert body(1) in took
    assert body(2) in took
    poller.open(b"attach")
    poller.feed(b"close")
    assert ended == [("peer_closed", 1000)]


def test_life_signs_count_without_a_carrier(world: World, ended: list[Any]) -> None:
    poller = connected(world)
    poller.leave()
    [session] = world.broker.sessions.values()
    world.advance(20)
    poller.open(b"alive")
    assert session.clocks.last_seen > world.now - 1
    assert poller.wire.link is None
    poller.feed(b"close")
    assert ended == [("peer_closed", 1000)]


def test_a_parked_session_that_nobody_fetches_is_closed_and_ends(
    app: StompApp, world: World, ended: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    poller = connected(world)
    poller.feed(SUBSCRIBE)
    poller.leave()
    app.template.convert_and_send("/topic/a", 1)
    world.advance(10.1)
    assert ended == [("slow_consumer", 4008)]
    world.advance(5.1)
    assert not world.broker.sessions
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_its_byte_bound_holds_while_it_is_parked(
    app: StompApp, world: World, ended: list[Any]
) -> None:
    poller = connected(world)
    poller.feed(SUBSCRIBE)
    poller.leave()
    for _ in range(12):
        app.template.convert_and_send("/topic/a", b"x" * 50_000)
        world.settle()
    assert ended == []
    world.advance(1.1)
    assert ended == [("slow_consumer", 4008)]


def test_a_connection_that_ends_under_its_wire_takes_no_message_with_it(
    app: StompApp, world: World, ended: list[Any]
) -> None:
    """The carrier goes in the turn in which something was queued."""
    poller = connected(world)
    poller.feed(SUBSCRIBE)
    app.template.convert_and_send("/topic/a", 1)
    world.runtime.driver.ended(poller.streams[-1].link)
    world.settle()
    poller.open(b"attach")
    assert body(1) in poller.took()
    poller.feed(b"close")
    assert ended == [("peer_closed", 1000)]


def test_a_newer_connection_takes_over(app: StompApp, world: World, ended: list[Any]) -> None:
    poller = connected(world)
    poller.feed(SUBSCRIBE)
    poller.took()
    poller.leave()
    first = poller.open(b"attach")
    world.runtime.driver.ended(first.link)
    poller.open(b"attach")
    app.template.convert_and_send("/topic/a", 1)
    world.settle()
    assert body(1) in poller.took()
    assert first.received == b""
    poller.feed(b"close")


def test_a_carrier_that_is_shut_ends_behind_what_waits(world: World, ended: list[Any]) -> None:
    poller = connected(world)
    poller.took()
    poller.feed(b"last")
    assert poller.took() == b"[RECEIPT\nreceipt-id:last\n\n\0]c1000"
    assert poller.streams[-1].ended
    assert ended == [("client_disconnect", 1000)]


def test_what_comes_for_a_session_that_is_gone_is_nothing(world: World, ended: list[Any]) -> None:
    poller = connected(world)
    poller.feed(b"close")
    for data in (SUBSCRIBE, b"alive", b"attach", b"close"):
        poller.feed(data)
    assert ended == [("peer_closed", 1000)]


def test_reading_goes_on_with_the_next_carrier(app: StompApp, ended: list[Any]) -> None:
    """Held while it was carried, released while it is parked."""
    app.message_mapping("/slow")(lambda: None)
    with World(app) as world:
        poller = connected(world)
        world.hold_pool()
        poller.feed(b"SEND\ndestination:/app/slow\n\n\0")
        for _ in range(2):
            poller.feed(b"SEND\ndestination:/app/slow\n\n" + b"x" * 40_000 + b"\0")
        assert poller.streams[-1].paused
        poller.leave()
        world.release_pool()
        poller.open(b"attach")
        assert not poller.streams[-1].paused
        poller.feed(b"close")


def test_a_lane_of_a_wire_without_a_carrier_leads_nowhere(
    app: StompApp, world: World, ended: list[Any]
) -> None:
    """Should one be left over, what it refuses is accounted for and nothing else breaks."""
    poller = connected(world)
    poller.feed(SUBSCRIBE)
    poller.leave()
    [session] = world.broker.sessions.values()

    def refuse(chunk: Chunk) -> int:
        raise ConnectionResetError

    session.mailbox.open(refuse)
    app.template.convert_and_send("/topic/a", 1)
    world.settle()
    assert world.broker.office.total == session.mailbox.queued == 0
    session.mailbox.block()
    poller.open(b"attach")
    poller.feed(b"close")


def test_what_is_no_text_is_lost_while_it_is_parked_and_told_afterwards(
    app: StompApp, world: World
) -> None:
    poller = connected(world)
    poller.feed(SUBSCRIBE)
    poller.leave()
    app.template.convert_and_send("/topic/a", 1)
    app.template.send("/topic/a", b"\xff")
    world.settle()
    assert world.counters.messages_dropped == 1
    app.template.convert_and_send("/topic/a", 2)
    world.settle()
    poller.open(b"attach")
    first, _, second = poller.took().partition(b"][")
    assert first.endswith(b"\n\n1\0")
    assert b"dropped" not in first
    assert b"\ndropped:1\n" in second
    assert second.endswith(body(2))
    [session] = world.broker.sessions.values()
    assert session.subscriptions.behind is None

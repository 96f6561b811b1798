"""Wires beyond the plain case: several links that bring input, a timer while parked, a connection
that needs no bytes, no PING, an answer behind which a request waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import pytest

from stocksync_ws import DisconnectReason, SessionDisconnected, StompApp
from stocksync_ws.config import Limits
from stocksync_ws.testing.stream import MemoryStream
from stocksync_ws.testing.world import World
from stocksync_ws.types import (
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
SEND = b"SEND\ndestination:/app/slow\n\n\0"
LEFT = 5.0
"""Seconds a parked wire lives."""


class PollWire:
    """What a polling transport will be: no bytes of its own, a timer while it is parked."""

    transport = "poll"
    key: Hashable = "poll"

    def __init__(self, ping: Chunk | None = None) -> None:
        self.session: Any = None
        self.link: Any = None
        self.deadline: float | None = None
        self.armed = 0
        self.armed_at = 0.0
        self._ping = ping

    def dress(self, head: bytes, tail: bytes, text: bool) -> Chunk:
        return head + tail

    def size(self, chunk: Chunk) -> int:
        return len(chunk)

    def ping(self) -> Chunk | None:
        return self._ping

    def pack(self, chunks: list[Chunk]) -> tuple[list[Chunk], bool]:
        return chunks, False

    def close(self, code: int, reason: str) -> list[Chunk]:
        return [b"c%d" % code]

    def wake(self, now: float) -> list[Event]:
        self.deadline = None
        return [Closed(self, 1006, "")]


class Carried:
    """A connection that says at its start what it is for, and afterwards brings messages."""

    def __init__(self, wire: PollWire, *first: Event) -> None:
        self.wire = wire
        self.deadline: float | None = None
        self.held = self.shut = False
        self._first = list(first)
        self._own = b""

    def start(self, now: float) -> list[Event]:
        return self._first

    def receive(self, data: bytes, now: float) -> list[Event]:
        return [Message(self.wire, data)]

    def accept(self, handshake: Handshake, now: float) -> list[Event]:
        return []

    def refuse(self, handshake: Handshake, status: int, text: str, now: float) -> list[Event]:
        self.shut = True
        return []

    def detach(self, now: float) -> list[Event]:
        self._own = b"next"
        return [Detached(self.wire)]

    def lost(self, now: float) -> list[Event]:
        return [Detached(self.wire)] if self._first else []

    def wake(self, now: float) -> list[Event]:
        return []

    def take(self) -> list[Chunk]:
        own, self._own = self._own, b""
        return [own] if own else []


class Refused(Carried):
    """A connection whose whole life is one answer."""

    def start(self, now: float) -> list[Event]:
        self._own = b"no"
        self.shut = True
        return []


class Poller:
    """A client of such a wire."""

    def __init__(self, world: World, ping: Chunk | None = None) -> None:
        self.world = world
        self.wire = PollWire(ping)
        self.handshake = Handshake(HttpRequest("GET", "/poll"), self.wire, None)
        self.poll = self.open(self.handshake)

    def open(self, *first: Event) -> MemoryStream:
        stream = MemoryStream(self.world.runtime.driver, self.world.runtime.host.soon)
        stream.start(Carried(self.wire, *first))
        self.world.settle()
        return stream

    def feed(self, stream: MemoryStream, data: bytes) -> None:
        """Send as a peer does: nothing of it is read while the stream is paused."""
        if not stream.paused:
            self.world.runtime.driver.feed(stream.link, data)
            self.world.settle()


@pytest.fixture
def ended() -> list[DisconnectReason]:
    return []


@pytest.fixture
def app(ended: list[DisconnectReason]) -> StompApp:
    app = StompApp("/ws", allowed_origins=["*"], heart_beat=(0, 0), limits=Limits(inbox=10_000))

    @app.message_mapping("/slow")
    async def slow() -> None:
        await asyncio.sleep(5)

    @app.message_mapping("/quick", inline=True)
    def quick() -> None: ...

    @app.event_listener(inline=True)
    def hear(event: SessionDisconnected) -> None:
        ended.append(event.reason)

    return app


@pytest.fixture
def world(app: StompApp) -> Iterator[World]:
    with World(app) as world:
        yield world
        world.runtime.driver.halt()
        world.advance(10)
    assert not world.broker.sessions
    assert not world.broker.office.total
    assert not world.counters.internal_errors


def test_a_connection_that_needs_no_bytes_opens_its_session_at_the_start(world: World) -> None:
    poller = Poller(world)
    assert poller.wire.session is not None
    poller.feed(poller.poll, CONNECT)
    assert poller.poll.received.startswith(b"CONNECTED\n")


def test_an_answer_that_needs_no_bytes_is_written_at_the_start(world: World) -> None:
    stream = MemoryStream(world.runtime.driver, world.runtime.host.soon)
    stream.start(Refused(PollWire()))
    world.settle()
    assert bytes(stream.received) == b"no"
    assert stream.ended


def test_every_link_that_brings_input_pauses_with_its_session(world: World) -> None:
    poller = Poller(world)
    poller.feed(poller.poll, CONNECT)
    posters = [poller.open(), poller.open()]
    for poster in posters:
        poller.feed(poster, SEND)
    for _ in range(1_000):
        for poster in posters:
            poller.feed(poster, SEND)
    session = poller.wire.session
    assert 10_000 < session.inbound.size < 10_000 + 2 * (len(SEND) + 64)
    assert [stream.paused for stream in (poller.poll, *posters)] == [True] * 3
    world.advance(1_000)
    assert [stream.paused for stream in (poller.poll, *posters)] == [False] * 3


def test_a_poster_that_came_while_the_session_is_paused_waits_too(world: World) -> None:
    poller = Poller(world)
    poller.feed(poller.poll, CONNECT)
    for _ in range(200):
        poller.feed(poller.poll, SEND)
    assert poller.poll.paused
    late = poller.open()
    assert not late.paused  # nobody knows yet what it will bring
    poller.feed(late, SEND)
    assert late.paused


def test_a_poster_that_has_gone_is_forgotten(world: World) -> None:
    poller = Poller(world)
    poller.feed(poller.poll, CONNECT)
    poster = poller.open()
    poller.feed(poster, SEND)
    assert world.runtime.driver._links._bringing
    world.runtime.driver.ended(poster.link)
    world.settle()
    assert not world.runtime.driver._links._bringing
    assert poller.wire.link is poller.poll.link


def test_a_poster_may_bring_for_another_session_afterwards(world: World) -> None:
    one, two = Poller(world), Poller(world)
    for poller in (one, two):
        poller.feed(poller.poll, CONNECT)
    poster = one.open()
    one.feed(poster, SEND)
    poster.link.connection.wire = two.wire
    two.feed(poster, SEND)
    for _ in range(200):
        one.feed(one.poll, SEND)
    assert one.poll.paused
    assert not poster.paused


def test_the_timer_of_a_parked_wire_ends_its_session(
    world: World, ended: list[DisconnectReason], caplog: pytest.LogCaptureFixture
) -> None:
    poller = Poller(world)
    poller.feed(poller.poll, CONNECT)
    world.runtime.driver.ended(poller.poll.link)
    world.settle()
    assert poller.wire.link is None
    poller.wire.deadline = world.now + LEFT
    world.runtime.driver._timers.arm(poller.wire)
    world.runtime.driver._arm()
    world.advance(LEFT - 0.1)
    assert ended == []
    world.advance(0.2)
    assert ended == [DisconnectReason.CONNECTION_LOST]
    assert world.counters.stuck_deadlines == 0
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize(("ping", "reasons"), [(None, []), (b"ping", ["heart_beat_lost"])])
def test_a_wire_without_ping_waits_for_no_answer(
    world: World, ended: list[DisconnectReason], ping: Chunk | None, reasons: list[str]
) -> None:
    poller = Poller(world, ping)
    poller.feed(poller.poll, CONNECT)
    world.advance(100)
    assert ended == reasons
    assert (b"ping" in poller.poll.received) is (ping is not None)


def test_what_waits_behind_an_answer_that_ended_its_carrier_is_written(
    app: StompApp, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    poller = Poller(world)
    poller.feed(poller.poll, CONNECT)
    poller.feed(poller.poll, b"SUBSCRIBE\nid:1\ndestination:/topic/a\n\n\0")
    monkeypatch.setattr(PollWire, "pack", lambda _, chunks: (chunks, True))
    for text in "12":
        app.template.convert_and_send("/topic/a", text)
    world.settle()
    assert poller.poll.received.endswith(b"next")


def test_a_host_that_cannot_run_a_call_has_ended_it(
    app: StompApp, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    call: Callable[..., None] = world.runtime.host.call

    def broken(task: Any) -> None:
        if "slow" in task.call.label:
            raise RuntimeError("can't start new thread")
        call(task)

    monkeypatch.setattr(world.runtime.host, "call", broken)
    peer, other = world.connect(), world.connect()
    peer.subscribe("/user/queue/errors")
    peer.send_to("/app/slow", receipt="r")
    assert b'"code":"handler-failed"' in peer.message().body
    assert peer.closed is None
    other.subscribe("/topic/a")
    assert not world.broker.calls.tasks.running


def test_a_host_that_fails_behind_a_call_that_has_ended_changes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    call: Callable[..., None] = world.runtime.host.call

    def broken(task: Any) -> None:
        call(task)
        raise RuntimeError

    monkeypatch.setattr(world.runtime.host, "call", broken)
    peer = world.connect()
    peer.send_to("/app/quick", receipt="r")
    peer.frame("RECEIPT")
    assert world.counters.results_dropped == 0


def test_an_attached_carrier_takes_over_from_one_that_has_not_left(
    app: StompApp, world: World
) -> None:
    poller = Poller(world)
    poller.feed(poller.poll, CONNECT)
    poller.feed(poller.poll, b"SUBSCRIBE\nid:1\ndestination:/topic/a\n\n\0")
    poller.poll.received.clear()
    second = poller.open(Attached(poller.wire))
    app.template.convert_and_send("/topic/a", "x")
    world.settle()
    assert second.received.endswith(b"x\0")
    assert poller.poll.received == b""


def test_a_wire_that_nobody_carries_may_say_again_that_it_is_parked(
    app: StompApp, world: World
) -> None:
    poller = Poller(world)
    poller.feed(poller.poll, CONNECT)
    poller.feed(poller.poll, b"SUBSCRIBE\nid:1\ndestination:/topic/a\n\n\0")
    world.runtime.driver.ended(poller.poll.link)
    poller.open(Detached(poller.wire))
    app.template.convert_and_send("/topic/a", "x")
    assert poller.open(Attached(poller.wire)).received.endswith(b"x\0")

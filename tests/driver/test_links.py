"""Links: who is read, how connections end, and wires that outlive their connections."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from stocksync_ws import (
    BrokerAvailability,
    BrokerClosed,
    SessionConnected,
    SessionDisconnected,
    StompApp,
)
from stocksync_ws.broker.model.pipeline import Call, Mode, Outcome
from stocksync_ws.broker.model.state import State
from stocksync_ws.testing.peer import CLOSE, PING, Peer, client_frame
from stocksync_ws.testing.stream import MemoryStream
from stocksync_ws.testing.world import World
from stocksync_ws.types import Attached, Chunk, Detached, Event, Handshake
from stocksync_ws.wire.endpoint import Page

Start = Callable[[], World]


# Who is read


def test_an_inbox_over_64_kib_pauses_reading_until_the_handler_is_done(
    app: StompApp, start: Start
) -> None:
    @app.message_mapping("/x")
    def handler() -> None: ...

    world = start()
    peer = world.connect()
    world.hold_pool()
    peer.send_to("/app/x")
    peer.send_to("/app/x", bytes(60_000))
    assert not peer.stream.paused
    peer.send_to("/app/x", bytes(10_000))
    assert peer.stream.paused
    world.release_pool()
    assert not peer.stream.paused


def test_own_output_that_is_not_taken_pauses_reading(world: World) -> None:
    page = Page("text/plain", bytes(50_000))
    app = StompApp("/ws")
    with World(app, app.site({"/": page})) as world:
        stream = world.open()
        stream.window = 0
        request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
        driver = world.runtime.driver
        for _ in range(2):
            driver.feed(stream.link, request)
            world.settle()
        assert not stream.paused
        driver.feed(stream.link, request)
        world.settle()
        assert stream.paused
        stream.open_window(None)
        world.settle()
        assert not stream.paused


def test_both_reasons_together_pause_once_and_only_the_last_ends_it(
    app: StompApp, start: Start
) -> None:
    @app.message_mapping("/x")
    def handler() -> None: ...

    world = start()
    peer = world.connect()
    calls: list[str] = []
    peer.stream.pause = lambda: calls.append("pause")  # type: ignore[method-assign]
    peer.stream.unpause = lambda: calls.append("unpause")  # type: ignore[method-assign]
    world.hold_pool()
    peer.send_to("/app/x")
    peer.send_to("/app/x", bytes(65_000))
    peer.send_to("/app/x", bytes(65_000))
    link = peer.stream.link
    link.connection.held = True
    peer.pong()
    assert calls == ["pause"]
    world.release_pool()
    assert calls == ["pause"]
    link.connection.held = False
    peer.pong()
    assert calls == ["pause", "unpause"]


def test_bytes_that_wait_for_a_handshake_pause_reading(app: StompApp, world: World) -> None:
    def pipeline(handshake: object) -> Any:
        yield Call(lambda: None, mode=Mode.POOL)

    app.dispatch.handshake = pipeline  # type: ignore[method-assign]
    world.hold_pool()
    peer = world.upgrade()
    assert peer.response == b""
    connect = client_frame(1, b"CONNECT\naccept-version:1.2\nhost:x\n\n\0")
    peer.feed(connect + client_frame(2, b"\n" * 60_000))
    assert not peer.stream.paused
    peer.feed(client_frame(2, b"\n" * 10_000))
    assert peer.stream.paused
    world.release_pool()
    assert not peer.stream.paused
    assert peer.frame("CONNECTED")
    assert peer.response.startswith(b"HTTP/1.1 101")


# Ends


def test_what_comes_late_for_a_link_that_is_gone_is_ignored(world: World) -> None:
    peer = world.connect()
    link = peer.stream.link
    peer.eof()
    driver = world.runtime.driver
    driver.feed(link, client_frame(PING, b"x"))
    driver.drained(link)
    driver.ended(link)
    world.settle()
    assert driver.connections == 0
    assert peer.pongs == []


def test_when_both_closes_have_passed_our_direction_ends_at_once(world: World) -> None:
    peer = world.connect()
    peer.feed(client_frame(CLOSE, b"\x03\xe8"))
    assert peer.stream.ended
    assert not peer.stream.aborted
    peer.feed(client_frame(PING, b"too late"))
    assert peer.pongs == []
    world.advance(5)
    assert peer.stream.aborted
    assert world.counters.aborts == 1


def test_a_close_that_is_not_answered_is_aborted(world: World) -> None:
    peer = world.connect()
    peer.answers_close = False
    peer.send("NONSENSE\n\n\0")
    assert peer.closed == 1002
    world.advance(4.9)
    assert not peer.stream.aborted
    world.advance(0.2)
    assert peer.stream.aborted


def test_a_stop_closes_everything_and_tells_when_it_is_idle(world: World) -> None:
    peers = [world.connect() for _ in range(3)]
    silent = world.open()
    idle: list[float] = []
    world.runtime.driver.stop()
    assert silent.aborted
    world.advance(1)
    assert [peer.closed for peer in peers] == [1012] * 3
    for peer in peers:
        peer.eof()
    world.runtime.driver.when_idle(lambda: idle.append(world.now))
    world.settle()
    assert len(idle) == 1


def test_a_session_that_comes_during_a_stop_is_refused(world: World) -> None:
    world.runtime.driver.stop()
    assert world.upgrade().response.startswith(b"HTTP/1.1 503 ")


def test_a_halt_closes_with_1001_and_refuses_to_publish(world: World, app: StompApp) -> None:
    peer = world.connect()
    world.runtime.driver.halt()
    world.settle()
    assert peer.closed == 1001
    with pytest.raises(BrokerClosed):
        app.template.send("/topic/a", b"x")


def test_listeners_hear_that_the_broker_comes_and_goes() -> None:
    app = StompApp("/ws")
    heard: list[bool] = []

    @app.event_listener(BrokerAvailability, inline=True)
    def listen(event: BrokerAvailability) -> None:
        heard.append(event.available)

    with World(app):
        assert heard == [True]
    assert heard == [True, False]


def test_an_abort_resets_every_connection(world: World) -> None:
    peers = [world.connect() for _ in range(3)]
    world.runtime.driver.abort()
    assert all(peer.stream.aborted for peer in peers)
    assert world.runtime.driver.connections == 0


def test_a_result_of_a_task_that_has_ended_is_dropped(app: StompApp, start: Start) -> None:
    @app.message_mapping("/x")
    def handler() -> str:
        return "too late"

    world = start()
    peer, other = world.connect(), world.connect()
    other.subscribe("/topic/x")
    world.hold_pool()
    peer.send_to("/app/x")
    (task,) = world.broker.calls.tasks.running
    call = task.call
    assert call is not None
    peer.eof()
    world.advance(10)
    world.runtime.driver.resume(task, Outcome(call, "too late"))
    world.settle()
    other.nothing()
    assert world.counters.results_dropped == 1


def test_events_of_a_session_reach_a_listener_in_order(world: World) -> None:
    app = StompApp("/ws")
    heard: list[str] = []

    @app.event_listener(SessionConnected, SessionDisconnected)
    async def listen(event: SessionConnected | SessionDisconnected) -> None:
        await asyncio.sleep(1)
        heard.append(type(event).__name__)

    with World(app) as world:
        peer = world.connect()
        peer.eof()
        assert heard == []
        world.advance(2)
        assert heard == ["SessionConnected", "SessionDisconnected"]


def test_the_log_says_connect_and_disconnect(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    world.connect().eof()
    lines = [each for each in caplog.messages if "session=" in each]
    assert [line.split()[0] for line in lines] == ["connected", "disconnected"]


# Wires that outlive their connections


class Carrier:
    """A connection of a test: what it receives are the events it was given."""

    def __init__(self) -> None:
        self.deadline: float | None = None
        self.armed = 0
        self.armed_at = 0.0
        self.held = False
        self.shut = False
        self.events: list[Event] = []

    def start(self, now: float) -> list[Event]:
        return []

    def receive(self, data: bytes, now: float) -> list[Event]:
        events, self.events = self.events, []
        return events

    def accept(self, handshake: Handshake, now: float) -> list[Event]:
        return []

    def refuse(self, handshake: Handshake, status: int, text: str, now: float) -> list[Event]:
        return []

    def lost(self, now: float) -> list[Event]:
        return []

    wake = detach = lost

    def take(self) -> list[Chunk]:
        return []


def carry(world: World, *events: Event) -> MemoryStream:
    """A new connection on which these events come."""
    stream = MemoryStream(world.runtime.driver, world.runtime.host.soon)
    connection = Carrier()
    connection.events = list(events)
    stream.start(connection)
    world.runtime.driver.feed(stream.link, b"x")
    world.settle()
    return stream


def parked(world: World) -> tuple[Peer, Any]:
    """A client whose wire no connection carries any more."""
    peer = world.connect()
    peer.subscribe("/topic/a")
    wire: Any = peer.stream.link.wire
    carry(world, Detached(wire))
    peer.stream.link.wire = None
    assert wire.link is None
    return peer, wire


def test_a_parked_wire_keeps_its_mailbox_and_the_next_carrier_gets_it(
    app: StompApp, world: World
) -> None:
    peer, wire = parked(world)
    app.template.send("/topic/a", b"kept")
    world.settle()
    assert len(wire.session.mailbox.entries) == 1
    peer.stream.received.clear()
    stream = carry(world, Attached(wire))
    assert stream.received.endswith(b"kept\0")
    assert peer.stream.received == b""
    app.template.send("/topic/a", b"live")
    world.settle()
    assert stream.received.endswith(b"live\0")


def ended_by_pack(app: StompApp, world: World, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The lane of a session whose carrier has ended with what it carried."""
    _, wire = parked(world)
    app.template.send("/topic/a", b"one")
    app.template.send("/topic/a", b"two")
    world.settle()
    monkeypatch.setattr(type(wire), "pack", lambda _, chunks: (chunks, True))
    monkeypatch.setattr(Carrier, "detach", lambda *_: [Detached(wire)])
    stream = carry(world, Attached(wire))
    assert stream.received.count(b"MESSAGE") == 2
    assert wire.link is None
    return wire.session.mailbox.is_open


def test_a_carrier_that_ends_with_what_it_carried_is_detached(
    app: StompApp, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended_by_pack(app, world, monkeypatch)


def test_a_carrier_that_has_ended_leaves_no_lane(
    app: StompApp, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not ended_by_pack(app, world, monkeypatch)


def test_a_parked_session_whose_close_hangs_is_ended(world: World) -> None:
    _, wire = parked(world)
    session = wire.session
    world.runtime.driver.halt()
    world.advance(5.1)
    assert session.state is State.CLOSED
    assert world.counters.aborts == 1


def test_what_a_wire_without_a_session_brings_is_nobodys(world: World) -> None:
    peer = world.connect()
    wire: Any = peer.stream.link.wire
    peer.close()
    assert wire.session is None
    carry(world, Attached(wire), Detached(wire))
    assert world.counters.internal_errors == 0


def test_a_handshake_that_is_decided_after_its_stream_ended_is_left_alone(world: World) -> None:
    peer = world.connect()
    link = peer.stream.link
    peer.eof()
    handshake = Handshake(None, None, None)  # type: ignore[arg-type]
    handshake.connection = link
    links = world.runtime.driver._links
    links.answer(handshake, None, world.now)
    links.drop(link, world.now)
    assert world.runtime.driver.connections == 0

"""Links: who is read, how connections end, and wires that outlive their connections."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stocksync_ws import (
    BrokerAvailability,
    BrokerClosed,
    SessionConnected,
    SessionDisconnected,
    SockJSOptions,
    StompApp,
)
from stocksync_ws.broker.model.pipeline import Call, Mode, Outcome
from stocksync_ws.broker.model.state import State
from stocksync_ws.driver.ports import ENDED
from stocksync_ws.testing.peer import CLOSE, PING, client_frame
from stocksync_ws.testing.world import World
from stocksync_ws.types import (
    Alive,
    Attached,
    Closed,
    Detached,
    Handshake,
    HttpRequest,
    Message,
)
from stocksync_ws.wire.endpoint import Page
from stocksync_ws.wire.websocket import WebSocketWire
from tests.broker.kit import drafted
from tests.polling import Polling, Says, connected

Start = Callable[[], World]


def test_every_connection_is_counted_once(world: World) -> None:
    for number in (1, 2, 3):
        world.open()
        assert world.counters.connections == number


def test_a_link_that_is_gone_keeps_no_stream_from_being_freed(world: World) -> None:
    peer = world.connect()
    link, stream = peer.stream.link, weakref.ref(peer.stream)
    world.streams.clear()
    gc.collect()
    gc.disable()
    try:
        world.runtime.driver.ended(link)
        world.settle()
        peer.stream = world.open()
        assert stream() is None
    finally:
        gc.enable()


def test_a_link_whose_handshake_is_over_has_no_place_among_the_deadlines(world: World) -> None:
    stream = world.open()
    assert stream.link.armed
    peer = world.connect()
    assert not peer.stream.link.armed
    world.advance(world.runtime.config.limits.handshake_timeout)
    assert stream.ended
    assert not peer.stream.ended


def test_the_stream_of_a_link_that_is_gone_takes_everything_and_does_nothing() -> None:
    ENDED.pause()
    ENDED.unpause()
    ENDED.shut()
    ENDED.abort()
    assert ENDED.write([b"x"]) == ENDED.keep(b"xy", 1) == ENDED.unsent == 0
    assert ENDED.send is None


# Who is read


def test_a_stream_is_read_again_when_its_answers_leave_with_the_first_flush_of_a_session() -> None:
    app = StompApp("/ws")
    with World(app, app.site({"/": Page("text/plain", bytes(50_000))})) as world:
        stream = world.open()
        stream.window = 0
        page = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
        upgrade = (
            b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        for request in (page, page * 2 + upgrade):
            world.runtime.driver.feed(stream.link, request)
            world.settle()
        assert stream.paused
        assert stream.link.session is not None
        stream.open_window(None)
        world.settle()
        assert stream.received.count(b"HTTP/1.1 ") == 4
        assert not stream.paused


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
    peer.feed(connect + client_frame(2, b"\n" * 10_000))
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


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\xc1\x80", 1002),
        (client_frame(CLOSE, b"\x03"), 1002),
        (client_frame(CLOSE, b"\x03\xe8\xff"), 1007),
    ],
    ids=["framing", "Close too short", "reason"],
)
def test_framing_that_is_broken_ends_our_direction_behind_our_close(
    app: StompApp, world: World, data: bytes, code: int
) -> None:
    peer = world.connect()
    peer.subscribe("/topic/a")
    peer.stream.window = 0
    app.template.send("/topic/a", b"before")
    world.settle()
    peer.answers_close = False
    peer.feed(data)
    assert not peer.stream.ended
    peer.stream.open_window(None)
    world.settle()
    assert peer.message().body == b"before"
    assert peer.closed == code
    assert peer.stream.ended
    assert not peer.stream.aborted
    peer.eof()
    assert not world.broker.sessions
    assert world.counters.aborts == 0


def test_framing_that_is_broken_by_a_client_that_stays_is_aborted_in_time(world: World) -> None:
    peer = world.connect()
    peer.answers_close = False
    peer.feed(b"\xc1\x80")
    assert peer.stream.ended
    world.advance(4.9)
    assert not peer.stream.aborted
    world.advance(0.2)
    assert peer.stream.aborted
    assert not world.broker.sessions


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

    with World(app, silent=True) as world:
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


@pytest.fixture
def polled(app: StompApp) -> Iterator[World]:
    """A world of an application whose clients may poll."""
    app = StompApp("/ws", heart_beat=(0, 0), sockjs=SockJSOptions(disconnect_delay=60))
    with World(app, app.site()) as world:
        yield world


def publish(world: World, body: bytes) -> None:
    world.runtime.driver.publish(drafted("/topic/a", (), body))
    world.settle()


def parked(world: World) -> Polling:
    """A client whose wire no connection carries any more."""
    client = connected(world).send("SUBSCRIBE\nid:1\nreceipt:r\ndestination:/topic/a\n\n\0")
    assert client.messages() == ["RECEIPT\nreceipt-id:r\n\n\0"]
    assert client.wire.link is None
    return client


def test_a_parked_wire_keeps_its_mailbox_and_the_next_carrier_gets_it(polled: World) -> None:
    client = parked(polled)
    publish(polled, b"kept")
    first = client.stream
    assert len(client.session.mailbox.entries) == 1
    client.stream = polled.open()
    [kept] = client.receive("xhr_streaming").messages()
    assert kept.endswith("kept\0")
    assert first.received == b""
    publish(polled, b"live")
    [live] = client.messages()
    assert live.endswith("live\0")


def ended_by_pack(world: World) -> Polling:
    """A client whose carrier has ended with what it carried."""
    client = parked(world)
    publish(world, b"one")
    publish(world, b"two")
    assert len(client.receive().messages()) == 2
    return client


def test_a_carrier_that_ends_with_what_it_carried_is_detached(polled: World) -> None:
    client = ended_by_pack(polled)
    assert client.wire.link is None
    assert client.stream.link.wire is None


def test_a_carrier_that_has_ended_leaves_no_lane(polled: World) -> None:
    assert not ended_by_pack(polled).session.mailbox.is_open


def test_a_stream_has_a_lane_of_its_own_and_a_poll_has_none(polled: World) -> None:
    """What the mailbox holds is not what goes out."""
    client = connected(polled, transport="xhr_streaming")
    client.send("SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:r\n\n\0")
    assert client.session.mailbox.is_open
    for text in ("x", "y"):
        publish(polled, text.encode())
        assert client.messages()[-1].endswith(f"{text}\0")
    poller = connected(polled, "poller")
    poller.send("SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:r\n\n\0")
    assert not poller.receive().session.mailbox.is_open


def test_a_parked_session_whose_close_hangs_is_ended(polled: World) -> None:
    client = parked(polled)
    session = client.session
    polled.runtime.driver.halt()
    polled.advance(5.1)
    assert session.state is State.CLOSED
    assert polled.counters.aborts == 1


def test_what_a_wire_without_a_session_brings_is_nobodys(polled: World) -> None:
    client = connected(polled, transport="xhr_streaming")
    wire = client.wire
    client.leave()
    assert wire.session is None
    connection = Says(Attached(wire), Message(wire, b"x"), Closed(wire, 1005, ""), Detached(wire))
    stream = connection.on(polled)
    connection.says = [Alive(wire)]
    polled.runtime.driver.feed(stream.link, b"x")
    polled.runtime.driver.ended(stream.link)
    assert not polled.runtime.driver._links._bringing
    assert polled.counters.internal_errors == 0


def test_a_handshake_that_is_decided_after_its_stream_ended_is_left_alone(world: World) -> None:
    peer = world.connect()
    link = peer.stream.link
    peer.eof()
    handshake = Handshake(HttpRequest("GET", "/ws"), WebSocketWire(), None)
    handshake.connection = link
    links = world.runtime.driver._links
    links.answer(handshake, None, world.now)
    links.drop(link, world.now)
    assert world.runtime.driver.connections == 0


def test_a_connection_that_says_that_it_is_over_is_read_no_further_for_its_wire(
    app: StompApp, start: Start
) -> None:
    """A wire that ends with its connection cannot be parked."""
    world = start()
    peer = world.connect()
    link, wire = peer.stream.link, peer.stream.link.wire
    assert wire is not None
    links = world.runtime.driver._links
    links.handle(link, [Detached(wire)], world.now)
    assert (link.wire, wire.link) == (None, None)
    session = wire.session
    links.watch_all(wire, world.now)
    links.bring(wire, world.now)
    links.closed(Closed(wire, 1006, ""), world.now)
    assert session.state is State.CLOSED


def test_a_carrier_that_is_shut_ends_behind_what_waits(world: World) -> None:
    wire = WebSocketWire()
    connection = Says(Handshake(HttpRequest("GET", "/ws"), wire, None))
    stream = connection.on(world)
    driver = world.runtime.driver

    def say(frame: bytes) -> None:
        connection.says = [Message(wire, frame)]
        driver.feed(stream.link, b"x")

    say(b"CONNECT\naccept-version:1.2\n\n\0")
    world.settle()
    stream.received.clear()
    stream.window = 0
    connection.shut = True
    say(b"DISCONNECT\nreceipt:r\n\n\0")
    world.settle()
    assert not stream.ended
    stream.open_window(None)
    world.settle()
    assert b"receipt-id:r\n" in stream.received
    assert stream.ended


def test_a_session_that_closes_keeps_no_half_message_though_its_peer_is_silent(
    app: StompApp, start: Start
) -> None:
    world = start()
    peer = world.connect()
    peer.answers_close = False
    peer.feed(client_frame(2, bytes(50_000))[:40_000])
    [session] = world.broker.sessions.values()
    assert session.inbound.held == session.wire.kept == 40_000 - 8
    peer.feed(b"")
    world.advance(30.1)
    assert peer.error().headers["code"] == "frame-timeout"
    assert session.wire.kept == session.inbound.held == world.broker.office.received == 0
    peer.feed(client_frame(2, bytes(50_000))[40_000:])
    peer.close()
    assert peer.stream.ended

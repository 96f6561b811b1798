"""Sessions begin, end once, and tell of it in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from stocksync_ws import (
    AccessDenied,
    BrokerAvailability,
    ConnectRejected,
    SessionConnected,
    SessionDisconnected,
    SessionSubscribed,
    SessionUnsubscribed,
    StompApp,
)
from stocksync_ws.broker.calls.events import Event
from stocksync_ws.codes import CloseCode, DisconnectReason, ErrorCode
from stocksync_ws.config import Limits
from stocksync_ws.testing.peer import client_frame
from stocksync_ws.testing.world import World
from tests.broker.kit import everybody_is

Start = Callable[..., World]
EVENTS = (
    SessionConnected,
    SessionSubscribed,
    SessionUnsubscribed,
    SessionDisconnected,
    ConnectRejected,
    BrokerAvailability,
)


def listening(**settings: Any) -> tuple[StompApp, list[Any]]:
    """An application that writes down what it hears of sessions."""
    app = StompApp("/ws", allowed_origins=["*"], **settings)
    heard: list[Any] = []

    @app.event_listener(*EVENTS, inline=True)
    def hear(event: Event) -> None:
        heard.append(event)

    return app, heard


def ends(heard: list[Any]) -> list[SessionDisconnected]:
    return [event for event in heard if isinstance(event, SessionDisconnected)]


class TestEvents:
    def test_a_whole_life(self, start: Start) -> None:
        joe = SimpleNamespace(name="joe")
        app, heard = listening(authenticator=everybody_is(joe))
        world = start(app)
        peer = world.connect("1.1")
        peer.subscribe("/topic/a", "s1")
        peer.command("UNSUBSCRIBE", {"id": "s1"})
        world.advance(2)
        peer.command("DISCONNECT", {})
        world.runtime.driver.halt()
        common = {"session_id": "id2-128", "user": joe}
        assert heard == [
            BrokerAvailability(available=True),
            SessionConnected(
                version="1.1", transport="websocket", peer="127.0.0.1:50000", **common
            ),
            SessionSubscribed(subscription_id="s1", destination="/topic/a", **common),
            SessionUnsubscribed(subscription_id="s1", destination="/topic/a", **common),
            SessionDisconnected(
                reason=DisconnectReason.CLIENT_DISCONNECT, close_code=1000, duration=2.0, **common
            ),
            BrokerAvailability(available=False),
        ]

    def test_subscriptions_to_the_application_are_told_too(self, start: Start) -> None:
        app, heard = listening()
        app.subscribe_mapping("/now", inline=True)(lambda: 1)
        peer = start(app).connect()
        peer.subscribe("/app/now", "n")
        peer.command("UNSUBSCRIBE", {"id": "n"})
        told = [(type(event), event.destination) for event in heard[2:]]
        assert told == [(SessionSubscribed, "/app/now"), (SessionUnsubscribed, "/app/now")]

    def test_who_never_connected_never_disconnects(self, start: Start) -> None:
        app, heard = listening()
        world = start(app)
        world.upgrade().eof()
        world.upgrade().close()
        world.upgrade().send(b"nonsense\n\n\0")
        world.upgrade()
        world.advance(20)
        assert heard == [BrokerAvailability(available=True)]

    def test_a_refused_connect_is_told_as_that(self, start: Start) -> None:
        def deny(request: Any) -> None:
            raise AccessDenied("not you")

        app, heard = listening(authenticator=deny)
        peer = start(app).upgrade()
        peer.send(b"CONNECT\naccept-version:1.2\nlogin:eve\npasscode:secret\n\n\0")
        assert heard[1:] == [
            ConnectRejected(
                session_id="id2-128",
                code=ErrorCode.CONNECT_REFUSED,
                login="eve",
                peer="127.0.0.1:50000",
            )
        ]

    def test_one_session_is_told_in_order_and_one_at_a_time(self, start: Start) -> None:
        app = StompApp("/ws", allowed_origins=["*"])
        log: list[str] = []

        @app.event_listener(SessionConnected, SessionSubscribed, SessionDisconnected)
        async def slow(event: Any) -> None:
            log.append(f"{type(event).__name__} in")
            await asyncio.sleep(1)
            log.append(f"{type(event).__name__} out")

        world = start(app)
        peer = world.connect()
        peer.subscribe("/topic/a")
        peer.eof()
        world.advance(10)
        assert log == [
            f"Session{what} {side}"
            for what in ("Connected", "Subscribed", "Disconnected")
            for side in ("in", "out")
        ]

    def test_sessions_do_not_wait_for_each_other(self, start: Start) -> None:
        app = StompApp("/ws", allowed_origins=["*"])
        inside: list[str] = []

        @app.event_listener()
        async def slow(event: SessionConnected) -> None:
            inside.append(event.session_id)
            await asyncio.sleep(1)

        world = start(app)
        world.connect()
        world.connect()
        assert len(inside) == 2
        world.advance(2)

    def test_a_failing_listener_is_isolated_and_counted(
        self, start: Start, caplog: pytest.LogCaptureFixture
    ) -> None:
        app = StompApp("/ws", allowed_origins=["*"])
        heard: list[str] = []

        @app.event_listener(inline=True)
        def fails(event: SessionConnected) -> None:
            raise ZeroDivisionError

        @app.event_listener(SessionConnected, BrokerAvailability, inline=True)
        def hears(event: Any) -> None:
            heard.append(type(event).__name__)

        @app.event_listener(inline=True)
        def fails_at_start(event: BrokerAvailability) -> None:
            raise ZeroDivisionError

        world = start(app)
        peer = world.connect()
        peer.subscribe("/topic/a")
        assert heard == ["BrokerAvailability", "SessionConnected"]
        assert world.counters.listeners_failed == 2
        failed = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert [record.name for record in failed] == ["stocksync_ws.handler"] * 2

    def test_a_listener_that_hangs_is_timed_out(self, start: Start) -> None:
        app = StompApp("/ws", allowed_origins=["*"])
        heard: list[str] = []

        @app.event_listener()
        async def hangs(event: SessionConnected) -> None:
            await asyncio.sleep(1_000)

        @app.event_listener(SessionConnected, SessionDisconnected, inline=True)
        def hears(event: Any) -> None:
            heard.append(type(event).__name__)

        world = start(app)
        peer = world.connect()
        peer.eof()
        assert heard == []
        world.advance(30.1)
        assert heard == ["SessionConnected", "SessionDisconnected"]
        assert world.counters.listeners_failed == 1

    def test_a_blocked_listener_does_not_stop_the_session(self, start: Start) -> None:
        app = StompApp("/ws", allowed_origins=["*"], limits=Limits(handler_timeout=1.0))

        @app.event_listener()
        def blocks(event: SessionConnected) -> None: ...

        world = start(app)
        world.hold_pool(inside=True)
        peer = world.connect()
        world.advance(2)
        peer.subscribe("/topic/a")
        assert world.counters.pool_slots_stuck == 1
        world.release_pool()
        assert world.counters.pool_slots_stuck == 0


class TestReasons:
    """`SessionDisconnected` once, with the reason and the close code, whatever ended it."""

    @pytest.mark.parametrize(
        ("how", "reason", "code"),
        [
            (lambda peer: peer.eof(), "connection_lost", 1006),
            (lambda peer: peer.close(1000), "peer_closed", 1000),
            (lambda peer: peer.feed(client_frame(8, b"")), "peer_closed", 1005),
            (lambda peer: peer.close(3999), "peer_closed", 3999),
            (lambda peer: peer.command("DISCONNECT", {}), "client_disconnect", 1000),
            (lambda peer: peer.send(b"FOO\n\n\0"), "protocol_error", 1002),
            (lambda peer: peer.feed(b"\x83\x80\0\0\0\0"), "protocol_error", 1002),
            (lambda peer: peer.feed(client_frame(1, b"\xff")), "protocol_error", 1007),
            (lambda peer: peer.send(b"x" * 70_000), "limit_exceeded", 1009),
            (lambda peer: peer.send_to("/topic/a"), "access_denied", 1008),
            (lambda peer: peer.world.runtime.driver.stop(), "server_shutdown", 1012),
            (lambda peer: peer.world.runtime.driver.halt(), "server_shutdown", 1001),
            (lambda peer: peer.world.runtime.driver.abort(), "connection_lost", 1006),
        ],
    )
    def test_each(self, start: Start, how: Any, reason: str, code: int) -> None:
        app, heard = listening()
        world = start(app)
        peer = world.connect()
        how(peer)
        world.advance(0.001)
        peer.eof()
        world.advance(60)
        [end] = ends(heard)
        assert (end.reason, end.close_code) == (reason, code)

    def test_eof_after_our_close_does_not_end_it_twice(self, start: Start) -> None:
        app, heard = listening()
        world = start(app)
        peer = world.connect()
        peer.answers_close = False
        peer.send(b"FOO\n\n\0")
        assert peer.closed == 1002
        [session] = world.broker.sessions.values()
        peer.close(1000)
        peer.eof()
        world.advance(10)
        [end] = ends(heard)
        assert (end.reason, end.close_code) == ("protocol_error", 1002)
        assert session.close_code == 1002

    def test_lost_twice_is_lost_once(self, start: Start) -> None:
        app, heard = listening()
        app.message_mapping("/slow")(lambda: None)
        world = start(app)
        peer = world.connect()
        world.hold_pool()
        peer.send_to("/app/slow")
        [session] = world.broker.sessions.values()
        peer.close(1000)
        world.broker.lost(session, DisconnectReason.CONNECTION_LOST, world.now)
        world.release_pool()
        assert [(end.reason, end.close_code) for end in ends(heard)] == [("peer_closed", 1000)]

    def test_an_error_among_the_last_frames_is_the_reason(self, start: Start) -> None:
        app, heard = listening()
        app.message_mapping("/slow")(lambda: None)
        world = start(app)
        peer = world.connect()
        world.hold_pool()
        peer.send_to("/app/slow")
        peer.send(b"FOO\n\n\0")
        peer.eof()
        world.release_pool()
        [end] = ends(heard)
        assert end.reason == "protocol_error"

    def test_a_stop_ends_those_whose_last_frames_are_in_work(self, start: Start) -> None:
        app, heard = listening()
        app.message_mapping("/slow")(lambda: None)
        world = start(app)
        peer = world.connect()
        world.hold_pool()
        peer.send_to("/app/slow")
        peer.eof()
        world.runtime.driver.halt()
        [end] = ends(heard)
        assert end.reason == "server_shutdown"
        world.release_pool()


class TestClosing:
    def test_the_reason_of_a_close_is_a_constant(self, start: Start) -> None:
        peer = start().connect()
        peer.send(b"SECRET\n\n\0")
        assert peer.stream.received.endswith(b"\x88\x10\x03\xeaprotocol error")

    def test_a_peer_that_does_not_answer_our_close_is_aborted(self, start: Start) -> None:
        world = start()
        peer = world.connect()
        peer.answers_close = False
        peer.command("DISCONNECT", {})
        assert peer.closed == 1000
        world.advance(4.9)
        assert not peer.stream.aborted
        world.advance(0.2)
        assert peer.stream.aborted
        assert world.counters.aborts == 1
        assert not world.broker.sessions

    def test_when_both_closes_have_passed_the_stream_ends_at_once(self, start: Start) -> None:
        world = start()
        peer = world.connect()
        peer.command("DISCONNECT", {})
        assert peer.closed == 1000
        world.settle()
        assert peer.stream.ended

    def test_nothing_comes_after_an_error(self, start: Start) -> None:
        app = StompApp("/ws", allowed_origins=["*"])
        world = start(app)
        peer = world.connect()
        peer.answers_close = False
        peer.subscribe("/topic/a")
        peer.stream.window = 0
        peer.send(b"FOO\n\n\0")
        app.template.convert_and_send("/topic/a", "x")
        peer.stream.open_window(None)
        world.settle()
        peer.error()
        assert peer.closed == 1002

    def test_our_close_after_the_peers_is_not_sent(self, start: Start) -> None:
        app, heard = listening()
        app.message_mapping("/slow")(lambda: None)
        world = start(app)
        peer = world.connect()
        world.hold_pool()
        peer.send_to("/app/slow")
        peer.close(1000)
        world.advance(0.1)
        assert peer.closed == 1000
        world.release_pool()
        assert [end.reason for end in ends(heard)] == ["peer_closed"]


class TestStop:
    def test_closes_are_spread_and_new_ones_refused(self, start: Start) -> None:
        world = start()
        peers = [world.connect() for _ in range(40)]
        world.runtime.driver.stop()
        world.runtime.driver.stop()  # again: nothing more
        world.advance(0.001)
        assert [peer.closed for peer in peers] == [1012] + [None] * 39
        assert world.upgrade().response.startswith(b"HTTP/1.1 503 ")
        world.advance(0.1)
        assert sum(peer.closed == 1012 for peer in peers) in (20, 21)
        world.advance(0.1)
        assert all(peer.closed == 1012 for peer in peers)
        for peer in peers:
            peer.nothing()

    def test_connections_without_a_session_are_dropped(self, start: Start) -> None:
        world = start()
        stream = world.open()
        world.runtime.driver.stop()
        assert stream.aborted

    def test_what_waits_still_goes_out(self, start: Start) -> None:
        app = StompApp("/ws", allowed_origins=["*"])
        world = start(app)
        peer = world.connect()
        peer.subscribe("/topic/a")
        app.template.convert_and_send("/topic/a", "last words")
        world.runtime.driver.stop()
        world.advance(0.001)
        assert peer.message().body == b"last words"
        assert peer.closed == 1012

    def test_halt_closes_the_rest_and_tells_once(self, start: Start) -> None:
        app, heard = listening()
        world = start(app)
        peer = world.connect()
        world.runtime.driver.halt()
        world.runtime.driver.halt()
        world.settle()
        assert peer.closed == 1001
        assert heard.count(BrokerAvailability(available=False)) == 1


def test_close_codes_have_a_reason() -> None:
    from stocksync_ws.broker.sessions.lifecycle import CLOSE_REASONS

    assert set(CLOSE_REASONS) == set(CloseCode)
    assert all(len(reason.encode()) <= 123 for reason in CLOSE_REASONS.values())

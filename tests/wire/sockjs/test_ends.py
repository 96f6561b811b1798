"""Sessions of SockJS that the server ends: what their clients are told, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from stocksync_ws import (
    AccessDenied,
    BadCredentials,
    DisconnectReason,
    HttpRequest,
    Principal,
    StompApp,
)
from stocksync_ws.broker.model.pipeline import Call, Mode, Pipeline
from stocksync_ws.config import Limits, SockJSOptions
from stocksync_ws.types import Handshake, Refusal
from stocksync_ws.wire.sockjs.frames import FORMATS
from stocksync_ws.wire.sockjs.sessions import SockJSSessions
from tests.wire.sockjs.client import CONNECT, Client, Web

TRANSPORTS = list(FORMATS)
STREAMS = [name for name, each in FORMATS.items() if each.streams]
POLLS = [name for name, each in FORMATS.items() if not each.streams]
TWICE = [2010, "Another connection still open"]


class TestServerCloses:
    """`client` breaks the protocol: ERROR, then the close frame."""

    @pytest.mark.parametrize("transport", TRANSPORTS)
    def test_the_waiting_receiver_is_told(self, transport: str) -> None:
        with Web() as web:
            client = Client(web, transport=transport).connect()
            client.post("NONSENSE\n\n\0")
            client.pump()
            assert [frame.command for frame in client.stomp] == ["ERROR"]
            assert client.closed is not None
            assert client.closed[0] == 1002
            assert client.answers[-1].whole
            assert not web.broker.sessions
            assert len(web.ends) == 1
            for other in TRANSPORTS:
                assert web.told(other) == client.closed
                assert web.told(other) == client.closed
            assert client.post("x").status == 404
            web.world.advance(59)
            assert web.told() == client.closed

    @pytest.mark.parametrize("transport", TRANSPORTS)
    def test_whoever_comes_later_is_told_behind_the_messages(self, transport: str) -> None:
        with Web() as web:
            client = Client(web, transport=transport)
            opener = Client(web)
            opener.pump_once()
            opener.post(CONNECT)
            opener.post("SUBSCRIBE\nid:1\ndestination:/topic/a\n\n\0")
            web.publish("1")
            opener.post("NONSENSE\n\n\0")
            assert len(web.broker.sessions) == 1
            client.frames.append("o")
            client.pump()
            commands = [frame.command for frame in client.stomp]
            assert commands == ["CONNECTED", "MESSAGE", "ERROR"]
            assert len(client.answers) == (2 if transport in POLLS else 1)
            assert client.closed is not None
            assert client.closed[0] == 1002
            assert not web.broker.sessions
            assert len(web.ends) == 1
            assert web.told(transport) == client.closed

    def test_whoever_does_not_come_is_told_too(self) -> None:
        with Web() as web:
            client = Client(web).connect()
            client.post("NONSENSE\n\n\0")
            client.take_answer()  # the ERROR; `c` waits for the next poll
            assert client.closed is None
            web.world.advance(6)
            assert not web.broker.sessions
            assert len(web.ends) == 1
            assert web.told()[0] == 1002

    @pytest.mark.parametrize("second", TRANSPORTS)
    def test_a_second_receiver_does_not_end_the_first(self, second: str) -> None:
        """The last frames of a slow client are on their way."""
        with Web() as web:
            client = Client(web, transport="xhr_streaming").connect()
            line = client.line
            assert line is not None
            line.stream.window = 3
            client.post("NONSENSE\n\n\0")
            assert web.told(second) == TWICE
            line.stream.open_window(None)
            client.pump()
            assert client.answers[-1].whole
            assert client.closed is not None
            assert client.closed[0] == 1002
            web.world.advance(30)
            line.read()  # nothing stands behind it
            assert web.told(second) == client.closed

    def test_closing_twice_is_closing_once(self) -> None:
        wire = SockJSSessions(SockJSOptions(), Limits()).open("a", None)
        assert wire.close(1000, "a") == [b'c[1000,"a"]']
        assert wire.close(1001, "b") == []

    def test_disconnect(self) -> None:
        with Web() as web:
            client = Client(web).connect()
            client.send("DISCONNECT", {"receipt": "1"})
            client.pump()
            assert [frame.command for frame in client.stomp] == ["RECEIPT"]
            assert client.closed is not None
            assert client.closed[0] == 1000
            assert not web.broker.sessions


class TestStopping:
    """Row 18: a stop while polls, streams and posts are under way."""

    @pytest.mark.parametrize("transport", TRANSPORTS)
    def test_sessions_are_told(self, transport: str) -> None:
        with Web() as web:
            client = Client(web, transport=transport).connect()
            parked = Client(web, "s2").connect("/topic/a")
            web.publish("1")
            parked.take_answer()
            half = web.line()
            half.head("POST", "/ws/0/s2/xhr_send", {"Content-Length": "100"})
            half.feed(b'["x')
            web.draining = True
            web.world.runtime.driver.stop()
            web.world.advance(1)
            client.pump()
            assert client.closed is not None
            assert client.closed[0] == 1012
            parked.pump()
            assert parked.closed is not None
            assert parked.closed[0] == 1012
            assert not web.broker.sessions
            reasons = web.ends
            assert reasons == [DisconnectReason.SERVER_SHUTDOWN] * 2

    def test_new_sessions_are_refused_and_old_ones_go_on(self) -> None:
        with Web() as web:
            client = Client(web).connect("/topic/a")
            web.draining = True
            refused = web.ask("POST", "/0/s9/xhr")
            assert refused.status == 503
            assert web.sessions.find("s9") is None
            assert web.ask("GET", "/info").status == 503
            client.send("SEND", {"destination": "/topic/a"}, "1")
            assert client.bodies() == ["1"]
            assert web.world.counters.connections_refused == 2

    def test_a_session_that_nobody_carries_ends_with_the_server(self) -> None:
        with Web() as web:
            client = Client(web).connect("/topic/a")
            web.publish("1")
            client.take_answer()
            assert len(web.broker.sessions) == 1
        assert web.ends == [DisconnectReason.SERVER_SHUTDOWN]
        assert not web.world.runtime.driver._links.parked


class _Gate:
    """A `Dispatch` that takes its time with each handshake."""

    def __init__(self, app: StompApp, decide: Callable[[], Any]) -> None:
        self._inner = app.dispatch
        self._decide = decide

    def handshake(self, handshake: Handshake) -> Pipeline[Refusal | None] | None:
        return self._ask()

    def _ask(self) -> Pipeline[Refusal | None]:
        return (yield Call(self._decide, mode=Mode.ASYNC, label="gate"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class TestJudged:
    """A handshake that is judged behind its `o`."""

    def web(self, verdict: Refusal | None) -> Web:
        async def later() -> Refusal | None:
            await asyncio.sleep(1)
            return verdict

        app = StompApp(
            "/ws",
            allowed_origins=["*"],
            sockjs=SockJSOptions.conformance(),
            heart_beat=(0, 0),
        )
        app.dispatch = _Gate(app, later)  # type: ignore[assignment]
        return Web(app)

    @pytest.mark.parametrize("transport", TRANSPORTS)
    def test_o_does_not_wait(self, transport: str) -> None:
        with self.web(None) as web:
            client = Client(web, transport=transport)
            client.pump()
            assert client.frames == ["o"]
            assert not client.post(CONNECT).whole
            web.world.advance(1.1)
            client.pump()
            assert [frame.command for frame in client.stomp] == ["CONNECTED"]

    @pytest.mark.parametrize(
        ("status", "code"), [(401, 4501), (403, 4501), (500, 1013), (503, 1013)]
    )
    @pytest.mark.parametrize("transport", TRANSPORTS)
    def test_a_refusal_is_a_close(self, transport: str, status: int, code: int) -> None:
        with self.web(Refusal(status, "no")) as web:
            client = Client(web, transport=transport)
            client.pump()
            web.world.advance(1.1)
            client.pump()
            assert client.closed is not None
            assert client.closed[0] == code
            assert not web.broker.sessions
            assert web.ends == []
            assert web.told() == client.closed
            assert client.post("x").status == 404

    @pytest.mark.parametrize("refusal", [BadCredentials, AccessDenied])
    @pytest.mark.parametrize("transport", TRANSPORTS)
    def test_a_refusal_of_the_authenticator_is_one_too(
        self, transport: str, refusal: type[Exception]
    ) -> None:
        async def refuse(request: HttpRequest) -> Principal:
            raise refusal("no")

        app = StompApp(
            "/ws",
            allowed_origins=["*"],
            sockjs=SockJSOptions.conformance(),
            handshake_authenticator=refuse,
        )
        with Web(app) as web:
            client = Client(web, transport=transport)
            client.pump()
            assert client.frames[0] == "o"
            assert client.closed == [4501, "bad credentials"]
            assert not web.broker.sessions
            assert web.world.counters.handshakes_refused == 1

    def test_a_refusal_while_nobody_asks(self) -> None:
        with self.web(Refusal(403, "no")) as web:
            Client(web).pump_once()
            web.world.advance(1.1)
            assert web.told("xhr_streaming")[0] == 4501

    def test_a_refusal_while_the_o_has_not_left(self) -> None:
        """The poll is over by it, and not once more when all is written."""
        with self.web(Refusal(403, "no")) as web:
            line = web.line()
            line.stream.window = 3
            opened = line.ask("POST", "/ws/0/s1/xhr")
            web.world.advance(1.1)
            behind = line.ask("POST", "/ws/0/s2/xhr_streaming")
            line.stream.open_window(None)
            line.read()
            assert (opened.body, behind.body[2_049:]) == (b"o\n", b"o\n")
            assert web.sessions.find("s2").carrier is not None
            assert web.told()[0] == 4501
            line.eof()

    def test_a_server_that_stops_refuses_a_session_that_it_has_taken(self) -> None:
        with Web() as web:
            web.world.runtime.driver.stop()
            client = Client(web)
            client.pump()
            assert client.frames[0] == "o"
            assert client.closed is not None
            assert client.closed[0] == 1013


class TestBugs:
    @pytest.mark.pure("replaces a function that compiled code calls without a look-up")
    @pytest.mark.parametrize("transport", TRANSPORTS)
    def test_one_while_a_session_is_opened_leaves_nothing(
        self, transport: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*args: Any) -> None:
            raise RuntimeError

        with Web() as web:
            with monkeypatch.context() as patch:
                patch.setattr(web.broker, "open", broken)
                client = Client(web, transport=transport)
                client.pump_once()
                assert client.frames == ["o"]
            if client.line is not None:
                client.line.eof()
            web.world.advance(5.1)
            assert web.told() == [1002, "Connection interrupted"]
            assert client.post("x").status == 404
            web.world.advance(60)
            assert web.sessions.find("s1") is None
            Client(web, transport=transport).connect()
            web.world.expect_faults(internal_errors=1)

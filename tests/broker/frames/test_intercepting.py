"""Inbound interceptors: they see a frame before anything judges it, and what they make of it goes
the way of the client's own.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Annotated, Any

import pytest

from stocksync_ws import (
    AccessDenied,
    ConnectRequest,
    CurrentUser,
    DisconnectReason,
    Frame,
    FrameDenied,
    Header,
    Session,
    SessionDisconnected,
    StompApp,
)
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.world import World

ERRORS = "/user/queue/errors"
COLOURS = ["async", "def", "inline"]


@dataclass(frozen=True)
class User:
    name: str


def log_in(request: ConnectRequest) -> User | None:
    return User(request.login) if request.login else None


def application(**settings: Any) -> StompApp:
    given: dict[str, Any] = {"client_send": ["/topic/**", "/queue/**"], "authenticator": log_in}
    given["client_subscribe"] = ["/topic/**", "/queue/**"]
    return StompApp("/ws", **(given | settings))


def listening(world: World, **headers: str) -> Peer:
    """A client that hears of its errors."""
    peer = world.connect(**headers)
    peer.subscribe(ERRORS)
    return peer


def code_of(peer: Peer) -> str:
    """The code of the next error reply."""
    body: dict[str, str] = json.loads(peer.message().body)
    return body["code"]


class TestWhatItSees:
    @pytest.mark.parametrize("colour", COLOURS)
    def test_it_is_asked_in_every_colour_and_may_only_look(self, colour: str) -> None:
        app = application()
        seen: list[Frame] = []

        if colour == "async":

            @app.inbound_interceptor(frames=("SEND",))
            async def wait(frame: Frame) -> None:
                seen.append(frame)

        else:

            @app.inbound_interceptor(frames=("SEND",), inline=colour == "inline")
            def look(frame: Frame) -> None:
                seen.append(frame)

        with World(app) as world:
            peer = world.connect()
            peer.subscribe("/topic/a")
            peer.send_to("/topic/a", "x", trace="7")
            assert peer.message().headers["trace"] == "7"
        assert [(each.command, each.body) for each in seen] == [("SEND", b"x")]

    def test_it_sees_all_frames_but_connect_unless_it_names_some(self) -> None:
        app = application()
        seen: list[str] = []

        @app.inbound_interceptor(inline=True)
        def look(frame: Frame, session: Session) -> None:
            assert session.id
            seen.append(frame.command)

        with World(app) as world:
            peer = world.connect()
            peer.subscribe("/topic/a", id="1", ack="client-individual")
            peer.command("BEGIN", {"transaction": "t"})
            peer.command("COMMIT", {"transaction": "t"})
            peer.command("BEGIN", {"transaction": "t"})
            peer.command("ABORT", {"transaction": "t"})
            for command in ("ACK", "NACK"):
                peer.send_to("/topic/a", "x")
                peer.command(command, {"id": peer.message().headers["ack"]})
            peer.command("UNSUBSCRIBE", {"id": "1"})
            peer.command("DISCONNECT", {})
        wanted = "SUBSCRIBE BEGIN COMMIT BEGIN ABORT SEND ACK SEND NACK UNSUBSCRIBE DISCONNECT"
        assert seen == wanted.split()

    def test_one_for_connect_sees_stomp_too_and_may_change_the_credentials(self) -> None:
        app = application()

        @app.inbound_interceptor(frames=("CONNECT",), inline=True)
        def bearer(frame: Frame, token: Annotated[str | None, Header()]) -> Frame | None:
            return (token and frame.replace(headers={**frame.headers, "login": token})) or None

        with World(app) as world:
            peer = world.upgrade()
            peer.command("STOMP", {"accept-version": "1.2", "token": "bob"})
            assert peer.frame("CONNECTED").headers["user-name"] == "bob"

    def test_it_takes_what_a_handler_takes(self) -> None:
        app = application()
        seen: list[object] = []

        @app.inbound_interceptor(frames=("SEND",), inline=True)
        def look(user: CurrentUser[User] | None, number: Annotated[int, Header()] = 0) -> None:
            seen.append((user, number))

        with World(app) as world:
            world.connect(login="ann").send_to("/topic/a", "x", number="7")
            world.connect().send_to("/topic/a", "x")
        assert seen == [(User("ann"), 7), (None, 0)]

    def test_the_next_frame_waits_for_it(self) -> None:
        app = application()

        @app.inbound_interceptor(frames=("SEND",))
        def slow(frame: Frame) -> None:
            """In the pool."""

        with World(app) as world:
            peer = world.connect()
            name = peer.subscribe("/topic/a")
            world.hold_pool()
            peer.send_to("/topic/a", "1")
            peer.command("UNSUBSCRIBE", {"id": name, "receipt": "gone"})
            peer.nothing()
            world.release_pool()
            assert [each.command for each in peer.frames()] == ["MESSAGE", "RECEIPT"]

    def test_they_are_asked_by_order_then_as_declared_each_with_what_the_last_has_left(
        self,
    ) -> None:
        app = application()

        def adding(name: str, order: int) -> None:
            @app.inbound_interceptor(order, frames=("SEND",), inline=True)
            def add(frame: Frame) -> Frame:
                way = frame.headers.get("way", "") + name
                return frame.replace(headers={**frame.headers, "way": way})

        for name, order in (("c", 1), ("a", -1), ("d", 1), ("b", 0)):
            adding(name, order)
        with World(app) as world:
            peer = world.connect()
            peer.subscribe("/topic/a")
            peer.send_to("/topic/a", "x")
            assert peer.message().headers["way"] == "abcd"

    def test_a_frame_that_is_none_of_the_protocol_never_comes_to_it(self) -> None:
        app = application()
        seen: list[Frame] = []

        @app.inbound_interceptor(inline=True)
        def look(frame: Frame) -> None:
            seen.append(frame)

        with World(app) as world:
            peer = world.connect()
            peer.command("SUBSCRIBE", {"id": "1"})
            assert peer.error().headers["code"] == "missing-header"
        assert seen == []


class TestWhatItChanges:
    def test_a_changed_destination_is_judged_by_gates_and_rules(self) -> None:
        """Nobody goes around them by the help of an interceptor."""
        app = application(client_send=["/topic/open/**", "/topic/closed/**"])
        app.authorize("/topic/closed/**", authenticated=True)

        @app.inbound_interceptor(frames=("SEND",), inline=True)
        def move(frame: Frame) -> Frame:
            to = frame.headers["to"]
            return frame.replace(headers={**frame.headers, "destination": to})

        with World(app, raise_errors=False) as world:
            peer = listening(world)
            for to in ("/topic/closed/a", "/topic/none/a", "/user/ann/queue/x"):
                peer.send_to("/topic/open/a", "x", to=to)
                assert code_of(peer) == "send-denied", to
            peer.command("SEND", {"destination": "/topic/open/a", "to": "/topic/*"})
            assert peer.error().headers["code"] == "bad-destination"

    def test_headers_of_the_server_are_stripped_from_what_it_adds(self) -> None:
        app = application()

        @app.inbound_interceptor(frames=("SEND",), inline=True)
        def forge(frame: Frame) -> Frame:
            return frame.replace(headers={**frame.headers, "message-id": "7", "kept": "1"})

        with World(app) as world:
            peer = world.connect()
            peer.subscribe("/topic/a")
            peer.send_to("/topic/a", "x")
            headers = peer.message().headers
            assert (headers["message-id"] != "7", headers["kept"]) == (True, "1")

    def test_a_subscribe_may_lead_elsewhere(self) -> None:
        app = application()

        @app.inbound_interceptor(frames=("SUBSCRIBE",), inline=True)
        def move(frame: Frame) -> Frame:
            to = "/topic/acme" + frame.headers["destination"].removeprefix("/topic")
            return frame.replace(headers={**frame.headers, "destination": to})

        with World(app) as world:
            peer = world.connect()
            peer.subscribe("/topic/a")
            app.template.convert_and_send("/topic/a", "for others")
            app.template.convert_and_send("/topic/acme/a", "for acme")
            assert peer.message().body == b"for acme"

    def test_a_missing_header_that_it_took_away_is_the_fault_of_the_frame(self) -> None:
        app = application()

        @app.inbound_interceptor(frames=("SEND",), inline=True)
        def take(frame: Frame) -> Frame:
            return frame.replace(headers={})

        with World(app) as world:
            peer = world.connect()
            peer.send_to("/topic/a", "x")
            assert peer.error().headers["code"] == "missing-header"

    def test_a_body_is_changed_with_its_length(self) -> None:
        app = application()

        @app.inbound_interceptor(frames=("SEND",), inline=True)
        def grow(frame: Frame) -> Frame:
            changed = frame.replace(body=frame.body * 3)
            assert changed.headers["content-length"] == "3"
            return changed

        with World(app) as world:
            peer = world.connect()
            peer.subscribe("/topic/a")
            peer.command("SEND", {"destination": "/topic/a", "content-length": "1"}, "x")
            assert peer.message().body == b"xxx"

    @pytest.mark.parametrize(
        ("wrong", "told"),
        [
            (lambda frame: frame.headers, "returns None or frame.replace(…), not {'destination'"),
            (lambda frame: Frame("SUBSCRIBE", {}), "and a SEND stays one"),
            (lambda frame: frame.replace(headers={"n": 7}), "and headers are texts: not 'n': 7"),
            (lambda frame: frame.replace(headers={"": "7"}), "headers are texts: not '': '7'"),
            (lambda frame: frame.replace(headers={"a": "\0"}), "as in the header 'a'"),
            (lambda frame: frame.replace(headers={"a": "\ud800"}), "as in the header 'a'"),
            (lambda frame: frame.replace(body="text"), "and a body is bytes, not str"),
            (lambda frame: frame.headers.update(n=7), "and headers are texts: not 'n': 7"),
        ],
    )
    def test_what_cannot_be_a_frame_is_a_failure_of_the_application(
        self, wrong: Any, told: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        app = application()

        @app.inbound_interceptor(frames=("SEND",), inline=True)
        def spoil(frame: Frame) -> object:
            return wrong(frame)

        with World(app, raise_errors=False) as world:
            peer = listening(world)
            peer.send_to("/topic/a", "x")
            assert code_of(peer) == "handler-failed"
        assert told in caplog.text


class TestWhatItRefuses:
    def refusing(self, *frames: Any, error: Exception | None = None) -> StompApp:
        app = application()
        self.events: list[object] = []

        @app.inbound_interceptor(frames=frames)
        async def refuse(frame: Frame) -> None:
            raise error or AccessDenied("not today")

        @app.event_listener(inline=True)
        def tell(event: FrameDenied | SessionDisconnected) -> None:
            self.events.append(event)

        return app

    def test_a_send_is_denied_and_the_event_tells_who_said_so(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        app = self.refusing("SEND")
        with World(app) as world:
            peer = listening(world)
            peer.subscribe("/topic/a")
            peer.send_to("/topic/a", "x")
            assert code_of(peer) == "send-denied"
            peer.nothing()
            denied = self.events[0]
            assert isinstance(denied, FrameDenied)
            assert (denied.command, denied.destination) == ("SEND", "/topic/a")
            assert denied.code.code == "send-denied"
            assert denied.rule.startswith("@inbound_interceptor() ")
            assert denied.rule.endswith("refuse: not today")
        assert "not today" in caplog.text

    def test_who_does_not_listen_is_closed(self) -> None:
        with World(self.refusing("SEND")) as world:
            peer = world.connect()
            peer.send_to("/topic/a", "x")
            assert peer.error().headers["code"] == "send-denied"
        assert self.events[1].reason is DisconnectReason.ACCESS_DENIED  # type: ignore[attr-defined]

    def test_a_subscribe_is_denied_and_its_id_may_be_unsubscribed(self) -> None:
        with World(self.refusing("SUBSCRIBE")) as world:
            peer = world.connect()
            peer.command("SUBSCRIBE", {"id": "1", "destination": "/topic/a"})
            assert peer.error().headers["code"] == "subscribe-denied"
        app = self.refusing("SUBSCRIBE")
        with World(app) as world:
            peer = world.connect()
            peer.command("SUBSCRIBE", {"id": "1", "destination": "/topic/a", "ack": "no"})
            assert peer.error().headers["code"] == "bad-ack-mode"

    def test_a_refused_id_is_remembered(self) -> None:
        app = application()

        @app.inbound_interceptor(frames=("SUBSCRIBE",), inline=True)
        def refuse(frame: Frame) -> None:
            if frame.headers["destination"] == "/topic/a":
                raise AccessDenied("not today")

        with World(app) as world:
            peer = listening(world)
            peer.command("SUBSCRIBE", {"id": "7", "destination": "/topic/a"})
            assert code_of(peer) == "subscribe-denied"
            peer.command("UNSUBSCRIBE", {"id": "7", "receipt": "r"})
            peer.frame("RECEIPT")
            assert world.counters.unsubscribes_ignored == 1

    @pytest.mark.parametrize("version", ["1.2", "0.9"])
    def test_a_connect_is_refused(self, version: str) -> None:
        app = self.refusing("CONNECT")
        with World(app) as world:
            peer = world.upgrade()
            peer.command("CONNECT", {"accept-version": version})
            assert peer.error().headers["code"] == "connect-refused"
            assert world.counters.connects_refused == 1

    def test_a_connect_fails_under_the_name_of_its_interceptor(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        app = self.refusing("CONNECT", error=ValueError("oh"))
        with World(app, raise_errors=False) as world:
            world.connect(expect="handler-failed")
        assert "mapping=@inbound_interceptor()" in caplog.text

    def test_a_connect_whose_session_is_being_closed_is_nobodys(self) -> None:
        app = application()

        @app.inbound_interceptor(frames=("CONNECT",))
        async def refuse(frame: Frame) -> None:
            await asyncio.sleep(1)
            raise AccessDenied("late")

        with World(app) as world:
            peer = world.upgrade()
            peer.answers_close = False
            peer.command("CONNECT", {"accept-version": "1.2"})
            peer.feed(b"\xff\x80")
            world.advance(1)
            assert world.counters.connects_refused == 0

    def test_in_a_transaction_it_is_asked_when_the_frame_comes_and_ends_the_session(self) -> None:
        with World(self.refusing("SEND")) as world:
            peer = listening(world)
            peer.command("BEGIN", {"transaction": "t"})
            peer.send_to("/topic/a", "x", transaction="t")
            assert peer.error().headers["code"] == "send-denied"
        assert isinstance(self.events[0], FrameDenied)

    def test_a_changed_send_is_what_the_transaction_commits(self) -> None:
        app = application()

        @app.inbound_interceptor(frames=("SEND",), inline=True)
        def change(frame: Frame) -> Frame:
            return frame.replace(body=b"changed")

        with World(app) as world:
            peer = world.connect()
            peer.subscribe("/topic/a")
            peer.command("BEGIN", {"transaction": "t"})
            peer.send_to("/topic/a", "x", transaction="t")
            peer.nothing()
            peer.command("COMMIT", {"transaction": "t"})
            assert peer.message().body == b"changed"

    @pytest.mark.parametrize("command", ["BEGIN", "UNSUBSCRIBE"])
    def test_another_frame_cannot_be_refused_and_fails(
        self, command: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        with World(self.refusing("BEGIN", "UNSUBSCRIBE"), raise_errors=False) as world:
            peer = listening(world)
            name = peer.subscribe("/topic/a")
            headers = {"transaction": "t"} if command == "BEGIN" else {"id": name}
            peer.command(command, headers)
            if command == "BEGIN":
                assert peer.error().headers["code"] == "handler-failed"
            else:
                assert code_of(peer) == "handler-failed"
        assert f"an interceptor cannot refuse {command}" in caplog.text

    def test_a_disconnect_happens_whatever_it_says(self, caplog: pytest.LogCaptureFixture) -> None:
        with World(self.refusing("DISCONNECT"), raise_errors=False) as world:
            peer = world.connect()
            peer.command("DISCONNECT", {"receipt": "bye"})
            assert peer.frame("RECEIPT").headers["receipt-id"] == "bye"
            assert peer.closed == 1000
        assert "not today" in caplog.text

    def test_one_that_fails_is_told_and_raised_in_the_test(self) -> None:
        with World(self.refusing("SEND", error=ValueError("oh"))) as world:
            peer = listening(world)
            with pytest.raises(ValueError, match="oh"):
                peer.send_to("/topic/a", "x")
            assert code_of(peer) == "handler-failed"

    def test_one_whose_session_ends_is_cancelled_and_says_nothing_more(self) -> None:
        app = application()
        ended: list[str] = []

        @app.inbound_interceptor(frames=("SEND",))
        async def wait(frame: Frame) -> None:
            try:
                await asyncio.sleep(1_000)
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise

        with World(app) as world:
            peer = world.connect()
            peer.send_to("/topic/a", "x")
            peer.eof()
            world.advance(20)
            assert ended == ["cancelled"]
            assert world.counters.application_errors == 0


def test_a_frame_whose_session_was_closed_meanwhile_does_nothing() -> None:
    app = application()

    @app.inbound_interceptor(frames=("SEND",))
    def pass_on(frame: Frame) -> None:
        """In the pool."""

    with World(app) as world:
        reader, peer = world.connect(), world.connect()
        reader.subscribe("/topic/a")
        world.hold_pool()
        peer.send_to("/topic/a", "x")
        world.runtime.broker._sessions.slow_consumers.close(
            next(each for each in world.runtime.broker.sessions.values() if each.inbound.task)
        )
        world.release_pool()
        reader.nothing()


def test_without_one_nobody_is_asked() -> None:
    app = application()
    with World(app) as world:
        peer = world.connect()
        peer.send_to("/topic/a", "x")
        commands = world.runtime.broker._decoding._commands
        assert commands._intercepting.none

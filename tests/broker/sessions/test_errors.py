"""What the client is told when something fails, what stands in the log, and what in neither."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from stocksync_ws import AccessDenied, BadCredentials, ConversionError, FrameDenied, StompApp
from stocksync_ws.config import Limits
from stocksync_ws.testing.world import World
from tests.broker.kit import everybody_is

Start = Callable[..., World]
SECRET = "s3cret /etc/passwd"


def failing(error: BaseException, **settings: Any) -> StompApp:
    app = StompApp("/ws", allowed_origins=["*"], **settings)

    @app.message_mapping("/fail", inline=True)
    def fail() -> None:
        raise error

    @app.subscribe_mapping("/fail", inline=True)
    def fail_too() -> None:
        raise error

    @app.message_mapping("/number", inline=True)
    def number(value: int) -> None: ...

    return app


CASES = [
    (RuntimeError(SECRET), "handler-failed", 1011),
    (RecursionError(SECRET), "handler-failed", 1011),
    (ConversionError("$.a", SECRET), "bad-payload", 1007),
    (AccessDenied(SECRET), "denied", 1008),
    (BadCredentials(SECRET), "denied", 1008),
    (TimeoutError(SECRET), "handler-failed", 1011),
]


class TestNotListening:
    @pytest.mark.parametrize(("error", "code", "close"), CASES)
    @pytest.mark.parametrize("command", ["SEND", "SUBSCRIBE"])
    def test_error_and_close(
        self, start: Start, command: str, error: BaseException, code: str, close: int
    ) -> None:
        world = start(failing(error))
        peer = world.connect()
        peer.command(command, {"destination": "/app/fail", "id": "1", "receipt": "r"})
        told = peer.error()
        expected = f"{command.lower()}-denied" if code == "denied" else code
        assert told.headers["code"] == expected
        assert told.headers["receipt-id"] == "r"
        assert told.headers["command"] == command
        assert told.headers["destination"] == "/app/fail"
        assert SECRET.encode() not in told.body
        assert SECRET not in repr(told.headers)
        assert peer.closed == close
        assert world.counters.application_errors == 1

    def test_the_frame_is_exactly_this(self, start: Start) -> None:
        peer = start(failing(RuntimeError())).connect()
        peer.send(b"SEND\ndestination:/app/fail\nreceipt:r\n\nx\0")
        assert peer.raw() == [
            (
                b"ERROR\nmessage:Handler failed\ncode:handler-failed\ncontent-type:text/plain\n"
                b"receipt-id:r\ncommand:SEND\ndestination:/app/fail\ncontent-length:43\n\n"
                b"The application failed to handle the frame.\0"
            )
        ]


class TestListening:
    @pytest.mark.parametrize(("error", "code", "close"), CASES)
    @pytest.mark.parametrize("command", ["SEND", "SUBSCRIBE"])
    def test_a_message_and_it_lives_on(
        self, start: Start, command: str, error: BaseException, code: str, close: int
    ) -> None:
        peer = start(failing(error)).connect()
        peer.subscribe("/user/queue/errors", "e")
        peer.command(command, {"destination": "/app/fail", "id": "1", "receipt": "r"})
        told = peer.message()
        expected = f"{command.lower()}-denied" if code == "denied" else code
        body = json.loads(told.body)
        assert body.pop("message")
        assert body.pop("correlation_id").startswith("id")
        assert body == {
            "code": expected,
            "receipt_id": "r",
            "destination": "/app/fail",
            "subscription": "1" if command == "SUBSCRIBE" else None,
        }
        assert told.headers["destination"] == "/user/queue/errors"
        assert told.headers["subscription"] == "e"
        assert told.headers["receipt-id"] == "r"
        assert SECRET.encode() not in told.body
        peer.nothing()
        peer.subscribe("/topic/a")

    def test_the_message_is_exactly_this(self, start: Start) -> None:
        peer = start().connect()
        peer.subscribe("/user/queue/errors", "e")
        peer.send(b"SEND\ndestination:/app/none\n\nx\0")
        body = (
            b'{"code":"no-handler","message":"No handler","receipt_id":null,'
            b'"destination":"/app/none","subscription":null,"correlation_id":"id3-64"}'
        )
        assert peer.raw() == [
            b"MESSAGE\nsubscription:e\ndestination:/user/queue/errors\nmessage-id:id1-72-1\n"
            b"content-type:application/json\ncontent-length:%d\n\n%s\0" % (len(body), body)
        ]

    @pytest.mark.parametrize(
        ("frame", "code"),
        [
            (b"SEND\ndestination:/app/none\n\n\0", "no-handler"),
            (b"SEND\ndestination:/nowhere\n\n\0", "no-destination"),
            (b"SEND\ndestination:/topic/a\n\n\0", "send-denied"),
            (b"SEND\ndestination:/user/queue/a\n\n\0", "send-denied"),
            (b"SEND\ndestination:/app/number\n\nx\0", "bad-payload"),
            (b"SUBSCRIBE\nid:x\ndestination:/app/none\n\n\0", "no-handler"),
            (b"SUBSCRIBE\nid:x\ndestination:/nowhere\n\n\0", "no-destination"),
            (b"SUBSCRIBE\nid:x\ndestination:/queue/a\n\n\0", "subscribe-denied"),
            (b"SUBSCRIBE\nid:x\ndestination:/topic/*\n\n\0", "subscribe-denied"),
            (b"SUBSCRIBE\nid:x\ndestination:/user/bob/queue/a\n\n\0", "subscribe-denied"),
        ],
    )
    def test_every_error_of_the_application(self, start: Start, frame: bytes, code: str) -> None:
        peer = start(failing(RuntimeError())).connect()
        peer.subscribe("/user/queue/errors", "e")
        peer.send(frame)
        assert json.loads(peer.message().body)["code"] == code
        assert peer.closed is None

    @pytest.mark.parametrize(
        "frame",
        [
            b"SEND\ndestination:/topic//a\n\n\0",
            b"SUBSCRIBE\nid:e\ndestination:/topic/a\n\n\0",
            b"SEND\n\n\0",
            b"ACK\nid:1\n\n\0",
            b"FOO\n\n\0",
        ],
    )
    def test_errors_of_the_protocol_are_always_fatal(self, start: Start, frame: bytes) -> None:
        peer = start().connect()
        peer.subscribe("/user/queue/errors", "e")
        peer.send(frame)
        peer.error()
        assert peer.closed is not None

    def test_another_error_destination(self, start: Start) -> None:
        peer = start(error_destination="/queue/oops").connect()
        peer.subscribe("/user/queue/oops", "e")
        peer.send(b"SEND\ndestination:/app/none\n\nx\0")
        assert peer.message().headers["destination"] == "/user/queue/oops"

    def test_a_1_0_client_without_ids_is_told_too(self, start: Start) -> None:
        peer = start().connect("1.0")
        peer.send(b"SUBSCRIBE\ndestination:/user/queue/errors\n\n\0")
        peer.send(b"SEND\ndestination:/app/none\n\nx\0")
        told = peer.message()
        assert "subscription" not in told.headers
        assert json.loads(told.body)["code"] == "no-handler"

    def test_who_is_gone_is_told_nothing(self, start: Start) -> None:
        app = StompApp("/ws", allowed_origins=["*"])

        @app.message_mapping("/later")
        def later() -> None:
            raise RuntimeError(SECRET)

        world = start(app)
        peer = world.connect()
        peer.subscribe("/user/queue/errors", "e")
        world.hold_pool()
        peer.send_to("/app/later")
        peer.eof()
        world.release_pool()
        peer.nothing()
        assert world.counters.application_errors == 1


class TestConnect:
    def peer(self, start: Start, error: BaseException) -> Any:
        def decide(request: Any) -> None:
            raise error

        world = start(authenticator=decide)
        peer = world.upgrade()
        peer.send(b"CONNECT\naccept-version:1.1\nlogin:eve\npasscode:hunter2\nreceipt:r\n\n\0")
        return peer

    @pytest.mark.parametrize(
        ("error", "code", "close"),
        [
            (AccessDenied(SECRET), "connect-refused", 4500),
            (BadCredentials(SECRET), "bad-credentials", 4501),
            (RuntimeError(SECRET), "handler-failed", 1011),
        ],
    )
    def test_each(
        self,
        start: Start,
        caplog: pytest.LogCaptureFixture,
        error: BaseException,
        code: str,
        close: int,
    ) -> None:
        caplog.set_level(logging.DEBUG)
        peer = self.peer(start, error)
        told = peer.error()
        assert told.headers["code"] == code
        assert told.headers["receipt-id"] == "r"
        assert SECRET not in repr(told)
        assert peer.closed == close
        assert peer.world.counters.connects_refused == 1
        assert peer.world.counters.sessions == 0
        assert "hunter2" not in caplog.text

    def test_an_authenticator_that_hangs(self, start: Start) -> None:
        async def hang(request: Any) -> None:
            await asyncio.sleep(1_000)

        world = start(authenticator=hang, limits=Limits(handler_timeout=5.0))
        peer = world.upgrade()
        peer.send(b"CONNECT\naccept-version:1.2\n\n\0SUBSCRIBE\nid:1\ndestination:/topic/a\n\n\0")
        world.advance(5.1)
        assert peer.error().headers["code"] == "handler-timeout"
        assert peer.closed == 1011

    def test_the_connect_timeout_ends_with_the_frame(self, start: Start) -> None:
        """What an authenticator takes is not the client's fault."""

        async def slow(request: Any) -> None:
            await asyncio.sleep(29)

        world = start(authenticator=slow)
        peer = world.upgrade()
        peer.send(b"CONNECT\naccept-version:1.2\n\n\0")
        world.advance(29.1)
        assert peer.frame("CONNECTED")

    def test_one_that_accepts_behind_the_end_of_the_server_is_not_heard(self, start: Start) -> None:
        async def slow(request: Any) -> None:
            await asyncio.sleep(2)

        world = start(authenticator=slow)
        peer = world.upgrade()
        peer.answers_close = False
        peer.send(b"CONNECT\naccept-version:1.2\n\n\0")
        world.runtime.driver.halt()
        world.settle()
        assert peer.closed == 1001
        world.advance(3)
        peer.nothing()

    def test_one_that_accepts_behind_its_timeout_is_not_heard(self, start: Start) -> None:
        class Joe:
            name = "joe"

        async def stubborn(request: Any) -> Joe:
            try:
                await asyncio.sleep(1_000)
            except asyncio.CancelledError:
                pass
            return Joe()

        world = start(authenticator=stubborn)
        peer = world.upgrade()
        peer.send(b"CONNECT\naccept-version:1.2\n\n\0")
        world.advance(30.1)
        assert peer.error().headers["code"] == "handler-timeout"
        world.advance(30)
        peer.nothing()
        assert not world.broker.calls.tasks.running

    def test_a_peer_that_goes_while_it_decides(
        self, start: Start, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def hang(request: Any) -> None:
            await asyncio.sleep(1_000)

        world = start(authenticator=hang)
        peer = world.upgrade()
        peer.send(b"CONNECT\naccept-version:1.2\n\n\0")
        peer.eof()
        world.advance(0.1)
        assert not world.broker.calls.tasks.running
        assert world.counters.connects_refused == 0
        assert not [r for r in caplog.records if r.levelno >= logging.ERROR]

    def test_a_name_that_cannot_be_sent_is_withheld_and_counted(self, start: Start) -> None:
        class Odd:
            name = "a\nb"

        world = start(authenticator=everybody_is(Odd()))
        peer = world.upgrade()
        peer.send(b"CONNECT\naccept-version:1.2\n\n\0")
        assert "user-name" not in peer.frame("CONNECTED").headers
        assert world.counters.user_names_withheld == 1


class TestLog:
    def test_our_own_failures_with_traceback_and_the_senders_without(
        self, start: Start, caplog: pytest.LogCaptureFixture
    ) -> None:
        world = start(failing(RuntimeError(SECRET)))
        world.connect().send_to("/app/fail", "x", passcode="hunter2")
        world.connect().send_to("/app/number", "hunter2")
        ours, theirs = caplog.records
        assert (ours.levelno, theirs.levelno) == (logging.ERROR, logging.WARNING)
        assert ours.exc_info is not None
        assert ours.exc_info[0] is RuntimeError
        assert theirs.exc_info is None
        assert "session=id2-128 user=- destination='/app/fail'" in ours.message
        assert "code=handler-failed correlation=id3-64" in ours.message
        assert "fail" in ours.message
        assert "code=bad-payload" in theirs.message
        assert "hunter2" not in caplog.text

    def test_the_correlation_id_is_the_one_of_the_log(
        self, start: Start, caplog: pytest.LogCaptureFixture
    ) -> None:
        peer = start(failing(RuntimeError())).connect()
        peer.subscribe("/user/queue/errors")
        peer.send_to("/app/fail")
        told = json.loads(peer.message().body)["correlation_id"]
        assert f"correlation={told}" in caplog.records[-1].message


class TestFence:
    def test_a_bug_of_ours_ends_one_session(
        self, start: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        app = StompApp("/ws", allowed_origins=["*"])
        world = World(app)
        one, other = world.connect(), world.connect()
        other.subscribe("/topic/a")

        def bug(*args: Any) -> None:
            raise ZeroDivisionError(SECRET)

        monkeypatch.setattr(app.dispatch, "send", bug)
        one.send_to("/app/x")
        assert one.closed == 1011
        one.nothing()
        world.expect_faults(internal_errors=1)
        [record] = caplog.records
        assert record.exc_info
        app.template.convert_and_send("/topic/a", "x")
        world.settle()
        other.message()
        world.close()

    @pytest.mark.parametrize("where", ["session", "task", "listener", "journal"])
    def test_one_in_a_wake_too(
        self, monkeypatch: pytest.MonkeyPatch, where: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        app = StompApp("/ws", allowed_origins=["*"])

        @app.message_mapping("/slow")
        async def slow() -> None:
            await asyncio.sleep(1_000)

        world = World(app)
        peer, other = world.connect(), world.connect()
        other.subscribe("/topic/a")
        peer.send_to("/app/slow")
        [task] = world.broker.calls.tasks.running
        thing: Any = task
        if where == "session":
            thing = next(iter(world.broker.sessions.values()))
        elif where == "listener":
            task.session = None
        elif where == "journal":
            thing = world.broker.calls.log

        def bug(woken: Any, now: float) -> None:
            if woken is thing:
                monkeypatch.undo()
                thing.deadline = None
                raise ZeroDivisionError

        monkeypatch.setattr(type(thing), "wake", bug)
        thing.deadline = world.now + 1
        world.broker._step._timers.arm(thing)
        world.runtime.driver._arm()
        world.advance(1.1)
        world.expect_faults(internal_errors=1)
        assert [record.levelno for record in caplog.records] == [logging.ERROR]
        assert (peer.closed == 1011) is (where in ("session", "task"))
        app.template.convert_and_send("/topic/a", "x")
        world.settle()
        other.message()
        world.close()


class TestFrameDenied:
    """Everything that is denied is told to listeners, whoever denies it."""

    def test_by_a_setting_a_rule_and_a_handler(self) -> None:
        app = StompApp("/ws", client_send=["/topic/**"])
        told: list[FrameDenied] = []

        @app.event_listener(inline=True)
        def tell(event: FrameDenied) -> None:
            told.append(event)

        @app.message_mapping("/closed")
        def closed(body: str) -> None:
            raise AccessDenied("not today")

        @app.authorize("/topic/closed", frames=("SEND",))
        def nobody() -> bool:
            return False

        with World(app) as world:
            peer = world.connect()
            [session] = world.runtime.broker.sessions
            peer.subscribe("/user/queue/errors")
            peer.command("SUBSCRIBE", {"id": "7", "destination": "/queue/a"})
            peer.send_to("/topic/closed")
            peer.send_to("/app/closed")
            peer.command("BEGIN", {"transaction": "t"})
            peer.send_to("/queue/a", transaction="t")
        seen = [(each.command, each.destination, each.code.code) for each in told]
        assert seen == [
            ("SUBSCRIBE", "/queue/a", "subscribe-denied"),
            ("SEND", "/topic/closed", "send-denied"),
            ("SEND", "/app/closed", "send-denied"),
            ("SEND", "/queue/a", "send-denied"),
        ]
        assert {each.session_id for each in told} == {session}
        setting, rule, handler, gate = (each.rule for each in told)
        assert setting == "client_subscribe: none of its patterns covers it; add one"
        assert rule.startswith("@authorize('/topic/closed') ")
        assert rule.endswith("nobody: it returned False")
        assert handler.endswith("closed: not today")
        assert gate.startswith("client_send: ")

    def test_other_errors_are_no_denials(self) -> None:
        app = StompApp("/ws")
        told: list[FrameDenied] = []

        @app.event_listener(inline=True)
        def tell(event: FrameDenied) -> None:
            told.append(event)

        with World(app) as world:
            peer = world.connect()
            peer.send_to("/nowhere")
        assert told == []

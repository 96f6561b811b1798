"""Log lines: escaped, without secrets, and few in a storm."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from stocksync_ws import AccessDenied, BadCredentials
from stocksync_ws.broker.calls.session_log import STORM, SessionLog, quote
from stocksync_ws.testing.world import World
from tests.broker.kit import environment, everybody_is

Start = Callable[..., World]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO, "stocksync_ws")

    def take() -> list[str]:
        messages = caplog.messages[:]
        caplog.clear()
        return messages

    return take


class TestQuote:
    @pytest.mark.parametrize(
        ("text", "quoted"),
        [
            ("joe", "'joe'"),
            ("a\nERROR fake", r"'a\nERROR fake'"),
            ("\x1b[31m", r"'\x1b[31m'"),
            ("\u202eabc", r"'\u202eabc'"),
            ("é", r"'\xe9'"),
            (ValueError("x\r"), r"'x\r'"),
        ],
    )
    def test_peer_text_is_escaped(self, text: object, quoted: str) -> None:
        assert quote(text) == quoted

    def test_and_cut_at_200_characters(self) -> None:
        assert quote("x" * 198) == "'" + "x" * 198 + "'"
        assert len(quote("x" * 199)) == 200
        assert quote("x" * 10**6).endswith("x...")
        assert len(quote("\n" * 10**6)) == 200


class TestLines:
    def test_one_for_connect_and_one_for_disconnect(
        self, start: Start, lines: Callable[[], list[str]]
    ) -> None:
        joe = SimpleNamespace(name="joe\n\x1b")
        world = start(authenticator=everybody_is(joe))
        peer = world.upgrade()
        peer.send(b"CONNECT\naccept-version:1.2\nlogin:joe\npasscode:hunter2\n\n\0")
        world.advance(1.5)
        peer.command("DISCONNECT", {})
        user = r"user='joe\n\x1b'"
        assert lines() == [
            (
                f"connected session=id2-128 {user} transport=websocket version=1.2"
                " peer=127.0.0.1:50000"
            ),
            (
                f"disconnected session=id2-128 {user} transport=websocket reason=client_disconnect"
                " code=1000 duration=1.500s"
            ),
        ]

    def test_one_for_a_refused_peer_without_its_words(
        self, start: Start, lines: Callable[[], list[str]]
    ) -> None:
        world = start()
        world.upgrade().send(b"CONNECT\naccept-version:evil\npasscode:hunter2\n\n\0")
        assert lines() == [
            "refused session=id2-128 user=- peer=127.0.0.1:50000 code=unsupported-version"
        ]

    @pytest.mark.parametrize(
        ("error", "code"),
        [(AccessDenied("no"), "connect-refused"), (BadCredentials("no"), "bad-credentials")],
    )
    def test_one_for_a_refused_user_with_the_reason(
        self, start: Start, lines: Callable[[], list[str]], error: Exception, code: str
    ) -> None:
        def refuse(request: Any) -> None:
            raise error

        start(authenticator=refuse).upgrade().send(b"CONNECT\naccept-version:1.2\n\n\0")
        assert lines() == [
            f"refused session=id2-128 user=- peer=127.0.0.1:50000 code={code} error='no'"
        ]

    def test_when_the_level_is_off_there_is_none(
        self, start: Start, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.WARNING, "stocksync_ws")
        world = start()
        peer = world.connect()
        peer.command("DISCONNECT", {})
        world.upgrade().send(b"FOO\n\n\0")
        assert caplog.messages == []
        assert world.broker.calls.log._lines == 0


class TestStorm:
    def test_one_summary_a_second_stands_for_the_rest(
        self, start: Start, lines: Callable[[], list[str]]
    ) -> None:
        world = start()
        peers = [world.connect() for _ in range(STORM + 50)]
        assert len(lines()) == STORM
        for peer in peers[:20]:
            peer.eof()
        assert lines() == []
        world.advance(0.99)
        assert lines() == []
        world.advance(0.02)
        assert lines() == [
            "in the last second 50 more connected, 20 more disconnected, 0 more were refused"
        ]
        world.connect()
        assert len(lines()) == 1
        world.advance(5)
        assert lines() == []

    @pytest.mark.parametrize("data", [b"\x81\x84" + bytes(4) + b"FOO\n", b"\x81\x02hi"])
    def test_refusals_are_summed_up_with_them(
        self, start: Start, lines: Callable[[], list[str]], data: bytes
    ) -> None:
        world = start()
        for _ in range(STORM + 7):
            world.upgrade().feed(data)
        assert len(lines()) == STORM
        world.advance(1.01)
        assert lines() == [
            "in the last second 0 more connected, 0 more disconnected, 7 more were refused"
        ]

    def test_after_a_stall_of_ours_too(self, start: Start, lines: Callable[[], list[str]]) -> None:
        """The journal's second is one of the broker's own time, its deadline one of the heap's."""
        world = start()
        world.connect()
        world.advance(1)
        world.stall(60)
        assert world.counters.stalls == 1
        world.advance(5)
        lines()
        for _ in range(STORM + 50):
            world.connect()
        assert len(lines()) == STORM
        world.advance(1.01)
        assert lines() == [
            "in the last second 50 more connected, 0 more disconnected, 0 more were refused"
        ]

    def test_a_second_over_without_anything_held_back_is_silent(
        self, lines: Callable[[], list[str]]
    ) -> None:
        journal = SessionLog(environment().step)
        journal.deadline = 1.0
        journal.wake(1.0)
        assert journal.deadline is None
        assert lines() == []


class TestOthers:
    @pytest.mark.pure("hands over a stand-in; compiled code takes its own records")
    def test_levels_and_names(self, caplog: pytest.LogCaptureFixture) -> None:
        from stocksync_ws.codes import ErrorCode

        journal = SessionLog(environment().step)
        session: Any = SimpleNamespace(id="s1", user_name=None, peer="p")
        journal.failed(session, "", ErrorCode.NO_HANDLER, "c1", None, "/app/x", "no mapping")
        journal.failed(session, "m", ErrorCode.BAD_PAYLOAD, "c2", ValueError("a\nb"))
        journal.failed(session, "m", ErrorCode.HANDLER_FAILED, "c3", ValueError("a"))
        for error in (ValueError("a"), ValueError("b"), KeyError("a")):
            journal.listener_failed("l", None, error)
        journal.internal("x", None, ValueError("a"))
        journal.note("something %s", "once")
        told = [(r.name, r.levelname, r.message, bool(r.exc_info)) for r in caplog.records]
        h, b = "stocksync_ws.handler", "stocksync_ws.broker"
        assert told == [
            (
                h,
                "WARNING",
                (
                    "failed mapping=- session=s1 user=- destination='/app/x' code=no-handler"
                    " correlation=c1 rule='no mapping'"
                ),
                False,
            ),
            (
                h,
                "WARNING",
                (
                    "failed mapping=m session=s1 user=- destination=- code=bad-payload"
                    r" correlation=c2 error='a\nb'"
                ),
                False,
            ),
            (
                h,
                "ERROR",
                (
                    "failed mapping=m session=s1 user=- destination=- code=handler-failed"
                    " correlation=c3"
                ),
                True,
            ),
            (h, "ERROR", "listener failed mapping=l session=- error='a'", True),
            (h, "ERROR", "listener failed mapping=l session=- error=\"'a'\"", True),
            (b, "ERROR", "internal error in x session=-", True),
            (b, "WARNING", "something once", False),
        ]

    @pytest.mark.pure("hands over a stand-in; compiled code takes its own records")
    def test_failures_are_told_once_a_second_and_kind(self, lines: Callable[[], list[str]]) -> None:
        from stocksync_ws.codes import ErrorCode

        step = environment().step
        log = SessionLog(step)
        session: Any = SimpleNamespace(id="s1", user_name=None, peer="p")

        def fail(at: float, label: str, code: ErrorCode) -> None:
            step.run(at, log.failed, session, label, code, "c", None)

        for at in (1.0, 1.0, 1.5, 1.9):
            fail(at, "m", ErrorCode.BAD_PAYLOAD)
        fail(1.9, "n", ErrorCode.BAD_PAYLOAD)
        fail(1.9, "m", ErrorCode.NO_HANDLER)
        assert len(lines()) == 3
        assert log.deadline == 2.0
        log.wake(2.0)
        assert lines() == ["in the last second 3 more: failed mapping=m code=bad-payload"]
        assert log.deadline is None
        fail(2.0, "m", ErrorCode.BAD_PAYLOAD)
        fail(3.0, "m", ErrorCode.BAD_PAYLOAD)
        assert len(lines()) == 2
        for _ in range(3):
            step.run(3.0, log.internal, "x", None, ValueError("a"))
            step.run(3.0, log.listener_failed, "l", None, ValueError("a"))
        assert len(lines()) == 2
        log.wake(4.0)
        assert lines() == [
            "in the last second 2 more: internal error in x error=ValueError",
            "in the last second 2 more: listener failed mapping=l error=ValueError",
        ]

    def test_the_traceback_of_a_listener_is_written_once(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        step = environment().step
        log = SessionLog(step)
        for at in (1.0, 2.0):
            step.run(at, log.listener_failed, "l", None, ValueError("b"))
        assert [bool(record.exc_info) for record in caplog.records] == [True, False]

    @pytest.mark.pure("hands over a stand-in; compiled code takes its own records")
    def test_a_refusal_with_its_reason(self, lines: Callable[[], list[str]]) -> None:
        from stocksync_ws.codes import ErrorCode
        from stocksync_ws.errors import AccessDenied

        session: Any = SimpleNamespace(id="s1", user_name="joe", peer="p")
        SessionLog(environment().step).refused(
            session, ErrorCode.CONNECT_REFUSED, AccessDenied("no\n")
        )
        assert lines() == [
            r"refused session=s1 user='joe' peer=p code=connect-refused error='no\n'"
        ]

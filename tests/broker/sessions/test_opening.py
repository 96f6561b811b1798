"""A handshake that the application decides about, and takes its time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from stocksync_ws import StompApp
from stocksync_ws.broker.model.pipeline import Call, Mode, Pipeline
from stocksync_ws.testing.world import World
from stocksync_ws.types import Handshake, Refusal

Start = Callable[..., World]


class _Gate:
    """A `Dispatch` that asks before the upgrade, as handshake authentication will."""

    def __init__(self, app: StompApp, decide: Callable[[], Any]) -> None:
        self._inner = app.dispatch
        self._decide = decide

    def handshake(self, handshake: Handshake) -> Pipeline[Refusal | None] | None:
        return self._ask()

    def _ask(self) -> Pipeline[Refusal | None]:
        return (yield Call(self._decide, mode=Mode.ASYNC, label="gate"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class TestHandshake:
    """The handshake may take its time: what comes meanwhile is kept, and nothing is answered."""

    def world(self, start: Start, decide: Callable[[], Any], **settings: Any) -> World:
        app = StompApp("/ws", allowed_origins=["*"], **settings)
        app.dispatch = _Gate(app, decide)  # type: ignore[assignment]
        return start(app)

    def test_bytes_that_follow_are_kept(self, start: Start) -> None:
        async def later() -> None:
            await asyncio.sleep(3)

        world = self.world(start, later, client_send=["/topic/**"])
        peer = world.upgrade()
        peer.send(b"CONNECT\naccept-version:1.2\n\n\0")
        peer.send(b"SUBSCRIBE\nid:1\ndestination:/topic/a\n\n\0")
        peer.send(b"SEND\ndestination:/topic/a\n\nx\0")
        assert peer.stream.received == b""
        world.advance(3.1)
        assert peer.response == b"" or peer.response.startswith(b"HTTP/1.1 101 ")
        assert [frame.command for frame in peer.frames()] == ["CONNECTED", "MESSAGE"]

    def test_a_verdict_at_once_needs_no_call(self, start: Start) -> None:
        def pipeline(handshake: Handshake) -> Pipeline[Refusal | None]:
            yield from ()
            return Refusal(401, "Who are you?")

        app = StompApp("/ws", allowed_origins=["*"])
        gate: Any = _Gate(app, lambda: None)
        gate.handshake = pipeline
        app.dispatch = gate
        assert start(app).upgrade().response.startswith(b"HTTP/1.1 401 ")

    def test_reading_pauses_when_they_are_many(self, start: Start) -> None:
        async def later() -> None:
            await asyncio.sleep(3)

        world = self.world(start, later)
        peer = world.upgrade()
        peer.feed(b"x" * 16_384)
        assert not peer.stream.paused
        peer.feed(b"x")
        assert peer.stream.paused
        world.advance(3.1)
        assert not peer.stream.paused

    def test_a_refusal_is_an_http_error(self, start: Start) -> None:
        async def refuse() -> Refusal:
            await asyncio.sleep(1)
            return Refusal(403, "Not you.")

        world = self.world(start, refuse)
        peer = world.upgrade()
        world.advance(1.1)
        peer._read_response()
        assert peer.response.startswith(b"HTTP/1.1 403 ")
        assert world.counters.handshakes_refused == 1
        assert not world.broker.sessions

    def test_a_failure_of_ours_is_a_500(
        self, start: Start, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def fail() -> None:
            raise ZeroDivisionError

        world = self.world(start, fail)
        peer = world.upgrade()
        assert peer.response.startswith(b"HTTP/1.1 500 ")
        assert b"ZeroDivision" not in peer.stream.received
        assert [record.levelno for record in caplog.records] == [logging.ERROR]

    def test_a_peer_that_goes_meanwhile_is_forgotten_without_noise(
        self, start: Start, caplog: pytest.LogCaptureFixture
    ) -> None:
        log: list[str] = []

        async def later() -> None:
            try:
                await asyncio.sleep(3)
            finally:
                log.append("cleaned up")

        world = self.world(start, later)
        peer = world.upgrade()
        peer.eof()
        world.advance(0.1)
        assert log == ["cleaned up"]
        assert not world.broker.sessions
        assert not world.broker.calls.tasks.running
        assert not [r for r in caplog.records if r.levelno >= logging.ERROR]

    def test_a_stop_meanwhile_refuses_it(self, start: Start) -> None:
        async def later() -> None:
            await asyncio.sleep(3)

        world = self.world(start, later)
        peer = world.upgrade()
        world.runtime.driver.stop()
        world.advance(0.001)
        peer._read_response()
        assert peer.response.startswith(b"HTTP/1.1 503 ")

    def test_a_verdict_that_comes_too_late_is_ignored(self, start: Start) -> None:
        world = start()
        world.connect()
        [session] = world.broker.sessions.values()
        world.broker._sessions.lifecycle.decide(session, Refusal(403, "x"))
        assert world.broker.outputs.answers == []
        assert session.id in world.broker.sessions

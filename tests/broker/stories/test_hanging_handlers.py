"""User code that hangs, swallows its cancellation, or blocks a thread: what becomes of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from stocksync_ws import HandlerTimeout, SessionDisconnected, StompApp
from stocksync_ws.codes import DisconnectReason
from stocksync_ws.config import Limits
from stocksync_ws.testing.world import World

Start = Callable[..., World]


class Hangs:
    """An application whose handlers hang in every way there is."""

    def __init__(self, **settings: Any) -> None:
        self.log: list[str] = []
        self.ended: list[SessionDisconnected] = []
        self.app = app = StompApp("/ws", allowed_origins=["*"], **settings)
        log = self.log

        @app.message_mapping("/hang")
        async def hang() -> None:
            try:
                await asyncio.sleep(1_000)
            finally:
                log.append("cleaned up")

        @app.message_mapping("/swallow")
        async def swallow() -> None:
            try:
                await asyncio.sleep(1_000)
            except asyncio.CancelledError:
                log.append("swallowed")
                await asyncio.sleep(100)
            log.append("returned")

        @app.message_mapping("/block")
        def block() -> None:
            log.append("block")

        @app.message_mapping("/quick", inline=True)
        def quick() -> None:
            log.append("quick")

        @app.event_listener(inline=True)
        def on_end(event: SessionDisconnected) -> None:
            self.ended.append(event)
            log.append("ended")


class TestTimeout:
    def test_a_hanging_handler_is_cancelled_and_told(self, start: Start) -> None:
        hangs = Hangs()
        world = start(hangs.app)
        peer = world.connect()
        peer.send_to("/app/hang", receipt="r")
        world.advance(29.9)
        peer.pong()
        assert hangs.log == []
        world.advance(0.2)
        assert hangs.log == ["cleaned up", "ended"]
        error = peer.error()
        assert error.headers["code"] == "handler-timeout"
        assert error.headers["receipt-id"] == "r"
        assert peer.closed == 1011
        assert hangs.ended[0].reason is DisconnectReason.HANDLER_FAILED
        assert world.counters.handlers_timed_out == 1

    def test_a_session_that_listens_lives_on(self, start: Start) -> None:
        hangs = Hangs(limits=Limits(handler_timeout=2.0))
        world = start(hangs.app)
        peer = world.connect()
        peer.subscribe("/user/queue/errors")
        peer.send_to("/app/hang")
        peer.send_to("/app/quick", receipt="r")
        world.advance(2.1)
        assert json.loads(peer.message().body)["code"] == "handler-timeout"
        peer.frame("RECEIPT")
        assert hangs.log == ["cleaned up", "quick"]

    def test_it_goes_through_the_exception_mapping(self, start: Start) -> None:
        hangs = Hangs()

        @hangs.app.message_exception_handler(inline=True)
        def on_timeout(error: HandlerTimeout) -> str:
            return f"too slow: {error}"

        world = start(hangs.app)
        peer = world.connect()
        peer.subscribe("/user/queue/errors")
        peer.send_to("/app/hang", receipt="r")
        world.advance(20)
        peer.pong()
        world.advance(11)
        assert peer.message().body.startswith(b"too slow: ")
        assert peer.frame("RECEIPT").headers == {"receipt-id": "r"}

    def test_a_coroutine_that_swallows_it_is_left_behind(self, start: Start) -> None:
        hangs = Hangs(limits=Limits(handler_timeout=2.0))
        world = start(hangs.app)
        peer = world.connect()
        peer.subscribe("/user/queue/errors")
        peer.send_to("/app/swallow")
        peer.send_to("/app/quick", receipt="r")
        world.advance(2.1)
        assert hangs.log == ["swallowed"]
        world.advance(4.8)
        peer.nothing()
        world.advance(0.2)
        assert json.loads(peer.message().body)["code"] == "handler-timeout"
        peer.frame("RECEIPT")
        assert world.counters.calls_abandoned == 1
        for _ in range(5):
            peer.pong()
            world.advance(20)
        assert hangs.log == ["swallowed", "quick", "returned"]
        assert world.counters.results_dropped == 1
        peer.nothing()

    def test_a_blocked_thread_stops_its_session_and_no_other(self, start: Start) -> None:
        hangs = Hangs(limits=Limits(handler_timeout=2.0))
        world = start(hangs.app)
        stuck, other = world.connect(), world.connect()
        stuck.subscribe("/user/queue/errors")
        world.hold_pool(inside=True)
        stuck.send_to("/app/block", receipt="r1")
        stuck.send_to("/app/quick", receipt="r2")
        world.advance(2.1)
        told = stuck.message()
        assert json.loads(told.body)["code"] == "handler-timeout"
        world.advance(10)
        stuck.nothing()
        assert hangs.log == []
        assert world.counters.pool_slots_stuck == 1
        other.send_to("/app/quick", receipt="r")
        other.frame("RECEIPT")
        world.release_pool()
        assert stuck.frame("RECEIPT").headers == {"receipt-id": "r2"}
        assert hangs.log == ["quick", "block", "quick"]
        assert world.counters.results_dropped == 1
        assert world.counters.pool_slots_stuck == 0

    def test_clean_up_behind_a_blocked_thread_has_a_context_of_its_own(self, start: Start) -> None:
        """An exception handler runs although the function still holds the pipeline's context."""
        hangs = Hangs(limits=Limits(handler_timeout=2.0))
        seen: list[str] = []
        mark: ContextVar[str] = ContextVar("mark", default="none")

        @hangs.app.message_exception_handler(HandlerTimeout)
        async def on_timeout() -> None:
            seen.append(mark.get())

        world = start(hangs.app)
        peer = world.connect()
        world.hold_pool(inside=True)
        peer.send_to("/app/block", receipt="r")
        [task] = world.broker.calls.tasks.running
        before = task.context
        task.context.run(mark.set, "mine")
        world.advance(2.1)
        assert seen == ["mine"]
        assert task.context is not before
        peer.frame("RECEIPT")
        world.release_pool()

    def test_a_handler_that_is_done_in_time_is_not_timed_out(self, start: Start) -> None:
        hangs = Hangs()

        @hangs.app.message_mapping("/nearly")
        async def nearly() -> None:
            await asyncio.sleep(29)

        world = start(hangs.app)
        peer = world.connect()
        peer.send_to("/app/nearly", receipt="r")
        world.advance(20)
        peer.pong()
        world.advance(20)
        peer.frame("RECEIPT")
        assert world.counters.handlers_timed_out == 0


class TestSessionEnds:
    def test_the_handler_has_five_seconds(self, start: Start) -> None:
        hangs = Hangs()
        world = start(hangs.app)
        peer = world.connect()
        peer.send_to("/app/hang")
        peer.eof()
        world.advance(4.9)
        assert hangs.log == []
        world.advance(0.2)
        assert hangs.log == ["cleaned up", "ended"]
        [ended] = hangs.ended
        assert ended.reason is DisconnectReason.CONNECTION_LOST
        assert world.counters.handlers_timed_out == 0
        assert world.counters.application_errors == 0

    def test_what_waits_behind_it_does_not_run_afterwards(self, start: Start) -> None:
        hangs = Hangs()
        world = start(hangs.app)
        peer = world.connect()
        peer.send_to("/app/hang")
        peer.send_to("/app/quick")
        peer.send(b"SEND\ndestination:/app/quick\n\n\0" * 2)
        peer.eof()
        world.advance(10)
        assert hangs.log == ["cleaned up", "ended"]

    def test_a_stall_of_ours_does_not_make_it_a_timeout(self, start: Start) -> None:
        hangs = Hangs()

        @hangs.app.message_exception_handler(HandlerTimeout)
        async def on_timeout() -> None:
            hangs.log.append("mapped")

        world = start(hangs.app)
        peer = world.connect()
        peer.send_to("/app/hang")
        peer.eof()
        world.advance(1)
        world.stall(10)
        world.advance(10)
        assert hangs.log == ["cleaned up", "ended"]
        assert world.counters.handlers_timed_out == 0

    def test_what_had_arrived_is_still_processed_and_disconnected_is_last(
        self, start: Start
    ) -> None:
        hangs = Hangs()
        world = start(hangs.app)
        peer = world.connect()
        world.hold_pool()
        peer.send_to("/app/block")
        peer.send_to("/app/quick")
        peer.command("DISCONNECT", {})
        peer.eof()
        assert hangs.log == []
        world.advance(3)
        world.release_pool()
        assert hangs.log == ["block", "quick", "ended"]
        assert [event.reason for event in hangs.ended] == [DisconnectReason.CLIENT_DISCONNECT]

    def test_what_asks_for_more_is_ignored_then(self, start: Start) -> None:
        """SUBSCRIBE and UNSUBSCRIBE of somebody who is gone: nothing to do, nobody to tell."""
        hangs = Hangs()
        world = start(hangs.app)
        peer = world.connect()
        world.hold_pool()
        peer.send_to("/app/block")
        peer.command("SUBSCRIBE", {"id": "1", "destination": "/topic/a"})
        peer.command("UNSUBSCRIBE", {"id": "7"})
        peer.send_to("/app/quick")
        peer.eof()
        world.release_pool()
        assert hangs.log == ["block", "quick", "ended"]
        assert world.counters.protocol_errors == 0

    def test_a_peer_that_closes_is_no_lost_connection(self, start: Start) -> None:
        hangs = Hangs()
        world = start(hangs.app)
        peer = world.connect()
        peer.send_to("/app/hang")
        peer.close(1001)
        world.advance(6)
        [ended] = hangs.ended
        assert (ended.reason, ended.close_code) == (DisconnectReason.PEER_CLOSED, 1001)

    def test_a_swallowed_cancellation_holds_nobody_up(self, start: Start) -> None:
        hangs = Hangs()
        world = start(hangs.app)
        peer = world.connect()
        peer.send_to("/app/swallow")
        peer.eof()
        world.advance(5.1)
        assert hangs.log == ["swallowed", "ended"]
        world.advance(5)
        assert not world.broker.calls.tasks.running
        assert world.counters.calls_abandoned == 1
        assert len(hangs.ended) == 1
        world.advance(100)
        assert hangs.log == ["swallowed", "ended", "returned"]

    def test_a_thread_that_returns_after_the_end(self, start: Start) -> None:
        hangs = Hangs()
        world = start(hangs.app)
        peer = world.connect()
        world.hold_pool(inside=True)
        peer.send_to("/app/block", receipt="r")
        peer.eof()
        world.advance(5.1)
        assert len(hangs.ended) == 1
        world.release_pool()
        assert len(hangs.ended) == 1
        assert world.counters.results_dropped == 1
        peer.nothing()

    def test_we_close_while_a_handler_runs(self, start: Start) -> None:
        hangs = Hangs()
        world = start(hangs.app)
        peer = world.connect()
        peer.answers_close = False
        peer.send_to("/app/hang")
        world.runtime.driver.stop()
        world.advance(1)
        assert peer.closed == 1012
        assert hangs.log == ["ended"]
        world.advance(4.2)
        assert hangs.log == ["ended", "cleaned up"]
        assert world.counters.application_errors == 0


def test_a_task_that_ended_before_its_call_was_started(start: Start) -> None:
    hangs = Hangs()
    world = start(hangs.app)
    peer = world.connect()
    peer.send_to("/app/hang")
    [task] = world.broker.calls.tasks.running
    peer.eof()
    world.advance(6)
    assert task.call is None
    world.broker.outputs.calls.append(task)
    world.runtime.driver._finish(world.now)
    assert hangs.log.count("cleaned up") == 1


def test_a_call_that_never_ends_keeps_nobody_from_closing(start: Start) -> None:
    """The world closes while a handler hangs: the task is cancelled, nothing is left."""
    hangs = Hangs()
    world = start(hangs.app)
    world.connect().send_to("/app/hang")

"""What comes in: bytes in their turn, a share of frames a turn, and what waits behind a handler."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from stocksync_ws import StompApp
from stocksync_ws.broker.model.state import State
from stocksync_ws.testing.peer import client_frame
from stocksync_ws.testing.world import World

Start = Callable[..., World]
CONNECT = b"CONNECT\naccept-version:1.2\n\n\0"
OPEN = {"client_send": ["/topic/**"]}


class TestBeforeConnect:
    def test_more_bytes_than_allowed_are_refused(self, start: Start) -> None:
        world = start()
        peer = world.upgrade()
        peer.send(b"\n" * 16_384)
        assert peer.closed is None
        peer.send(b"\n")
        assert peer.error().headers["code"] == "limit"
        assert peer.closed == 1009

    def test_a_connect_within_the_bound_may_come_in_pieces(self, start: Start) -> None:
        peer = start().upgrade()
        for octet in CONNECT:
            peer.send(bytes((octet,)))
        peer.frame("CONNECTED")

    def test_what_follows_in_one_message_counts(self, start: Start) -> None:
        peer = start().upgrade()
        peer.send(CONNECT + b"\n" * 16_384)
        assert peer.closed == 1009

    def test_afterwards_the_bound_is_another(self, start: Start) -> None:
        peer = start(**OPEN).connect()
        peer.send_to("/topic/a", b"x" * 60_000, receipt="r")
        peer.frame("RECEIPT")


class TestTurns:
    def test_many_frames_of_one_read_take_many_turns(self, start: Start) -> None:
        world = start(**OPEN)
        greedy, other = world.connect(), world.connect()
        frame = b"SEND\ndestination:/topic/a\n\n\0"
        flood = client_frame(1, frame * 200)
        before = world.counters.frames_in
        world.runtime.driver.feed(greedy.stream.link, flood)
        assert before < world.counters.frames_in <= before + 64
        other.subscribe("/topic/b")
        world.settle()
        assert world.counters.frames_in == before + 201

    def test_the_order_of_frames_is_kept_over_turns_and_messages(self, start: Start) -> None:
        world = start(**OPEN)
        peer = world.connect()
        for n in range(150):
            frame = b"SEND\ndestination:/topic/a\nreceipt:%d\n\n\0" % n
            world.runtime.driver.feed(peer.stream.link, client_frame(1, frame))
        flood = b"".join(b"SEND\ndestination:/topic/a\nreceipt:%d\n\n\0" % n for n in range(150))
        peer.send(flood)
        told = [int(frame.headers["receipt-id"]) for frame in peer.frames()]
        assert told == [*range(150), *range(150)]

    def test_what_comes_behind_our_close_is_not_kept(self, start: Start) -> None:
        world = start(**OPEN)
        peer = world.connect()
        [session] = world.broker.sessions.values()
        peer.stream.open_window(0)  # so that the close takes its time
        peer.send(b"NONSENSE\n\n\0")
        assert session.state is State.CLOSING
        world.broker.receive(session, b"SEND\n" * 10, world.now)
        assert (session.inbound.waiting, session.inbound.size) == (None, 0)

    def test_a_session_that_goes_in_between_is_let_go(self, start: Start) -> None:
        world = start(**OPEN)
        peer = world.connect()
        frame = b"SEND\ndestination:/topic/a\n\n\0"
        world.runtime.driver.feed(peer.stream.link, client_frame(1, frame * 200))
        world.runtime.driver.ended(peer.stream.link)
        world.settle()
        assert world.counters.frames_in == 201  # what had arrived was processed
        assert not world.broker.sessions


class TestBehindAHandler:
    def world(self, start: Start, **settings: Any) -> tuple[World, list[str]]:
        app = StompApp("/ws", allowed_origins=["*"], **settings)
        log: list[str] = []

        @app.message_mapping("/slow/{n}")
        async def slow(n: str) -> None:
            log.append(f"{n} in")
            await asyncio.sleep(1)
            log.append(f"{n} out")

        return start(app), log

    def test_frames_wait_one_behind_the_other(self, start: Start) -> None:
        world, log = self.world(start)
        peer = world.connect()
        peer.send_to("/app/slow/1", receipt="1")
        peer.send(b"SEND\ndestination:/app/slow/2\nreceipt:2\n\n\0SUBSCRIBE\nid:s\n")
        peer.send(b"destination:/topic/a\nreceipt:3\n\n\0")
        world.advance(3)
        assert log == ["1 in", "1 out", "2 in", "2 out"]
        assert [frame.headers["receipt-id"] for frame in peer.frames()] == ["1", "2", "3"]

    def test_other_sessions_do_not_wait(self, start: Start) -> None:
        world, log = self.world(start)
        world.connect().send_to("/app/slow/1")
        world.connect().send_to("/app/slow/2")
        assert log == ["1 in", "2 in"]
        world.advance(2)

    def test_reading_pauses_over_64_kib_and_goes_on(self, start: Start) -> None:
        world, _ = self.world(start)
        peer = world.connect()
        peer.send_to("/app/slow/1")
        for _ in range(15):
            peer.send(b"SEND\ndestination:/nowhere/1\n\n" + b"x" * 4_260 + b"\0")
        assert not peer.stream.paused
        peer.send(b"\n")
        peer.send(b"SEND\ndestination:/nowhere/1\n\n" + b"x" * 4_260 + b"\0")
        assert peer.stream.paused
        world.advance(1.1)
        assert not peer.stream.paused
        assert peer.closed == 1008

    def test_tiny_frames_are_charged_for_what_they_cost(self, start: Start) -> None:
        world, _ = self.world(start)
        peer = world.connect()
        peer.send_to("/app/slow/1")
        sent = 0
        while not peer.stream.paused:
            peer.send(b"\n")
            sent += 1
        assert sent == 65_536 // 65 + 1
        world.advance(1.1)
        assert not peer.stream.paused

    def test_decoding_is_by_the_version_that_holds_then(self, start: Start) -> None:
        async def decide(request: Any) -> None:
            await asyncio.sleep(1)

        world = start(authenticator=decide, **OPEN)
        peer = world.upgrade()
        peer.send(b"CONNECT\n\n\0")
        peer.send(b"SUBSCRIBE\ndestination:  /topic/a\nx:\\t\n\n\0")
        world.advance(1.1)
        peer.frame("CONNECTED")
        peer.send(b"SEND\ndestination:/topic/a\n\nx\0")
        peer.message()

    def test_what_waits_counts_in_the_memory_of_the_session_only(self, start: Start) -> None:
        world, _ = self.world(start)
        peer = world.connect()
        peer.send_to("/app/slow/1")
        peer.send_to("/app/slow/2")
        [session] = world.broker.sessions.values()
        assert session.inbound.size > 64
        world.advance(3)
        assert session.inbound.size == 0
        assert session.inbound.waiting is None

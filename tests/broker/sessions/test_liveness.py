"""Is the peer alive: heart-beats, pings, timeouts, and our own stalls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stocksync_ws import HeartBeatLost, SessionDisconnected, StompApp
from stocksync_ws.codes import DisconnectReason
from stocksync_ws.config import Limits
from stocksync_ws.testing.peer import Peer, client_frame
from stocksync_ws.testing.world import World

Start = Callable[..., World]
QUIET = {"ping_after": 100_000.0, "pong_timeout": 1.0}


def session_of(world: World) -> Any:
    [session] = world.broker.sessions.values()
    return session


class TestOurBeat:
    def test_it_leaves_at_nine_tenths_of_the_interval(self, start: Start) -> None:
        world = start(heart_beat=(10.0, 0.0))
        peer = world.connect(heart_beat="0,10000")
        world.advance(8.99)
        assert peer.beats == 0
        world.advance(0.02)
        assert peer.beats == 1
        assert peer.raw() == [b"\n"]
        world.advance(9.0)
        assert peer.beats == 2

    def test_a_frame_of_which_a_part_was_written_counts_as_written(self, start: Start) -> None:
        world = start(heart_beat=(10.0, 0.0), client_send=["/topic/**"])
        peer = world.connect(heart_beat="0,10000")
        world.advance(5.0)
        peer.stream.open_window(1)
        peer.send_to("/topic/a", "x", receipt="r")
        peer.stream.open_window(None)
        world.advance(8.9)
        assert peer.frame("RECEIPT").headers["receipt-id"] == "r"
        assert peer.beats == 0
        world.advance(0.2)
        assert peer.beats == 1

    def test_anything_we_write_moves_it(self, start: Start) -> None:
        limits = Limits(**QUIET)
        app = StompApp("/ws", allowed_origins=["*"], heart_beat=(10.0, 0.0), limits=limits)
        world = start(app)
        peer = world.connect(heart_beat="0,10000")
        peer.subscribe("/topic/a")
        for _ in range(5):
            world.advance(8.0)
            app.template.convert_and_send("/topic/a", "x")  # alone in the mailbox: the lane
            world.settle()
        assert peer.beats == 0
        world.advance(9.01)
        assert peer.beats == 1

    def test_where_bytes_wait_none_is_added(self, start: Start) -> None:
        world = start(heart_beat=(1.0, 0.0))
        peer = world.connect(heart_beat="0,1000")
        peer.stream.window = 0
        world.advance(5)
        assert peer.stream.unsent == len(b"\x81\x01\n")
        peer.stream.open_window(None)
        world.settle()
        assert peer.beats == 1

    def test_none_is_owed_none_is_sent(self, start: Start) -> None:
        world = start(heart_beat=(10.0, 10.0))
        peer = world.connect(heart_beat="0,0")
        world.advance(20)
        assert peer.beats == 0


class TestTheirBeat:
    def connect(self, start: Start, **settings: Any) -> tuple[World, Peer]:
        settings.setdefault("limits", Limits(**QUIET))
        world = start(heart_beat=(0.0, 10.0), **settings)
        return world, world.connect(heart_beat="10000,0")

    def test_a_silent_peer_is_gone_after_three_intervals(self, start: Start) -> None:
        app = StompApp("/ws", allowed_origins=["*"], heart_beat=(0.0, 10.0), limits=Limits(**QUIET))
        ended: list[SessionDisconnected] = []
        lost: list[HeartBeatLost] = []

        @app.event_listener(inline=True)
        def on_end(event: SessionDisconnected) -> None:
            ended.append(event)

        @app.event_listener(inline=True)
        def on_loss(event: HeartBeatLost) -> None:
            assert not ended
            lost.append(event)

        world = start(app)
        peer = world.connect(heart_beat="10000,0")
        [session] = world.runtime.broker.sessions
        world.advance(29.9)
        assert peer.closed is None
        world.advance(0.2)
        assert peer.closed == 4000
        peer.nothing()
        assert [event.reason for event in ended] == [DisconnectReason.HEART_BEAT_LOST]
        assert ended[0].close_code == 4000
        assert world.counters.heart_beats_lost == 1
        assert [(each.session_id, each.user) for each in lost] == [(session, None)]
        assert lost[0].silence == pytest.approx(30.0)

    def test_how_many_may_be_missed_is_a_setting(self, start: Start) -> None:
        world, peer = self.connect(start, missed_heart_beats=2.0)
        world.advance(19.9)
        assert peer.closed is None
        world.advance(0.2)
        assert peer.closed == 4000

    def test_there_is_no_floor_in_seconds(self, start: Start) -> None:
        world = start(heart_beat=(0.0, 0.001))
        peer = world.connect(heart_beat="1,0")
        world.advance(0.0029)
        assert peer.closed is None
        world.advance(0.0002)
        assert peer.closed == 4000

    @pytest.mark.parametrize(
        "data",
        [
            client_frame(1, b"\n"),
            client_frame(1, b"\r\n"),
            client_frame(10, b""),
            client_frame(9, b"x"),
            client_frame(1, b""),
            client_frame(1, b"SEND\n", fin=True)[:3],
            client_frame(1, b"\n", fin=False),
        ],
        ids=["EOL", "CRLF", "PONG", "PING", "empty", "part of a frame", "fragment"],
    )
    def test_any_byte_counts(self, start: Start, data: bytes) -> None:
        world, peer = self.connect(start, limits=Limits(frame_timeout=100.0, **QUIET))
        world.advance(29)
        peer.feed(data)
        world.advance(29)
        assert peer.closed is None
        world.advance(2)
        assert peer.closed == 4000

    def test_part_of_a_stomp_frame_counts(self, start: Start) -> None:
        world, peer = self.connect(start, limits=Limits(frame_timeout=100.0, **QUIET))
        for octet in b"SEND":
            world.advance(20)
            peer.send(bytes((octet,)))
        assert peer.closed is None

    def test_a_client_of_1_0_owes_nothing(self, start: Start) -> None:
        world = start(heart_beat=(0.0, 10.0), limits=Limits(**QUIET))
        peer = world.connect("1.0", heart_beat="10000,0")
        world.advance(1_000)
        assert peer.closed is None


class TestPing:
    def test_after_25_seconds_and_dead_20_later(self, start: Start) -> None:
        world = start()
        peer = world.connect()
        world.advance(24.9)
        assert peer.pings == []
        world.advance(0.2)
        assert peer.pings == [b""]
        world.advance(19.7)
        assert peer.closed is None
        world.advance(0.3)
        assert peer.closed == 4000

    @pytest.mark.parametrize("beat", ["0,0", "0,10000"])
    def test_any_byte_after_it_is_enough(self, start: Start, beat: str) -> None:
        world = start()
        peer = world.connect(heart_beat=beat)
        for _ in range(4):
            world.advance(30)
            peer.pong()
        assert len(peer.pings) == 4
        assert peer.closed is None

    def test_a_client_that_owes_beats_is_pinged_too_and_judged_by_its_interval(
        self, start: Start
    ) -> None:
        world = start(heart_beat=(0.0, 10.0))
        peer = world.connect(heart_beat="10000,0")
        world.advance(25.1)
        assert peer.pings == [b""]
        world.advance(4.8)
        assert peer.closed is None
        world.advance(0.2)
        assert peer.closed == 4000


class TestTimeouts:
    def test_no_connect_in_time(self, start: Start) -> None:
        world = start()
        peer = world.upgrade()
        world.advance(9.9)
        peer.send(b"\n")  # bytes are not enough
        assert peer.closed is None
        world.advance(0.2)
        assert peer.error().headers["code"] == "connect-timeout"
        assert peer.closed == 1008

    def test_a_connect_that_is_never_finished(self, start: Start) -> None:
        world = start()
        peer = world.upgrade()
        peer.send(b"CONNECT\naccept-ver")
        world.advance(10.1)
        assert peer.error().headers["code"] == "connect-timeout"

    def test_after_connect_it_does_not_matter(self, start: Start) -> None:
        world = start()
        peer = world.connect()
        world.advance(11)
        peer.nothing()

    def test_a_frame_that_is_never_finished(self, start: Start) -> None:
        world = start()
        peer = world.connect()
        peer.send(b"SEND\ndestination:/topic/a\n")
        for _ in range(29):
            world.advance(1)
            peer.send(b"a:b\n")
        assert peer.closed is None
        world.advance(1.1)
        assert peer.error().headers["code"] == "frame-timeout"
        assert peer.closed == 1008

    @pytest.mark.parametrize(
        "begun",
        [client_frame(1, b"SEND\n"), client_frame(1, b"SEND\n" * 9)[:20]],
        ids=["STOMP", "WebSocket"],
    )
    def test_a_close_behind_it_that_hangs_is_no_second_one(
        self, start: Start, begun: bytes
    ) -> None:
        world = start()
        peer = world.connect()
        world.runtime.driver.feed(peer.stream.link, begun)
        peer.stream.open_window(0)
        world.advance(30.1)
        assert world.counters.protocol_errors == 1
        world.advance(60)
        assert world.counters.aborts == 1
        assert world.counters.protocol_errors == 1

    def test_a_finished_one_begins_anew(self, start: Start) -> None:
        world = start(client_send=["/topic/**"])
        peer = world.connect()
        for _ in range(3):
            peer.send(b"SEND\ndestination:/topic/a\n")
            world.advance(20)
            peer.send(b"\n\0")
        peer.nothing()
        assert peer.closed is None


class TestStandStill:
    """While a frame waits behind its handler we do not read, and silence is not the peer's."""

    def app(self, **settings: Any) -> StompApp:
        app = StompApp("/ws", allowed_origins=["*"], **settings)

        @app.message_mapping("/slow")
        def slow() -> None: ...

        return app

    def test_the_monitor_stands_still(self, start: Start) -> None:
        limits = Limits(handler_timeout=1_000.0, **QUIET)
        world = start(self.app(heart_beat=(0.0, 1.0), limits=limits))
        peer = world.connect(heart_beat="1000,0")
        world.hold_pool()
        peer.send_to("/app/slow")
        peer.send_to("/app/slow")  # waits
        world.advance(100)
        assert peer.closed is None
        world.release_pool()
        world.advance(2.9)
        assert peer.closed is None
        world.advance(0.2)
        assert peer.closed == 4000

    @pytest.mark.parametrize("end", ["\0", "\0\n", "\0SEN"])
    def test_what_came_in_one_message_with_the_frame_in_work_waits_too(
        self, start: Start, end: str
    ) -> None:
        limits = Limits(handler_timeout=1_000.0, **QUIET)
        world = start(self.app(heart_beat=(0.0, 1.0), limits=limits))
        peer = world.connect(heart_beat="1000,0")
        world.hold_pool()
        peer.send("SEND\ndestination:/app/slow\n\n" + end)
        world.advance(3.1)
        assert peer.closed == (None if "S" in end else 4000)
        world.release_pool()
        world.advance(3.1)
        assert peer.closed == 4000

    def test_it_runs_while_nothing_waits(self, start: Start) -> None:
        limits = Limits(handler_timeout=1_000.0, **QUIET)
        world = start(self.app(heart_beat=(0.0, 1.0), limits=limits))
        peer = world.connect(heart_beat="1000,0")
        world.hold_pool()
        peer.send_to("/app/slow")
        world.advance(3.1)
        assert peer.closed == 4000
        world.release_pool()

    def test_the_time_before_it_counts_on(self, start: Start) -> None:
        limits = Limits(handler_timeout=1_000.0, **QUIET)
        world = start(self.app(heart_beat=(0.0, 10.0), limits=limits))
        peer = world.connect(heart_beat="10000,0")
        world.hold_pool()
        peer.send_to("/app/slow", receipt="r1")
        peer.send_to("/app/slow", receipt="r2")
        world.advance(50)
        peer.pong()
        world.release_pool()
        assert len(peer.frames()) == 2
        world.advance(29.9)
        assert peer.closed is None
        world.advance(0.2)
        assert peer.closed == 4000

    def test_what_had_begun_before_waits_with_it(self, start: Start) -> None:
        world = start()
        world.connect()
        session = session_of(world)
        session.clocks.paused_since = now = world.now
        session.clocks.pinged_at = session.clocks.frame_since = now - 1
        step, lifecycle = world.broker._step, world.broker._sessions.lifecycle
        step.run(now + 100, lifecycle.resume_clocks, session)
        assert session.clocks.paused_since is None
        assert session.clocks.pinged_at == session.clocks.frame_since == now + 99
        assert session.clocks.last_seen == now + 100
        step.run(now + 200, lifecycle.resume_clocks, session)
        assert session.clocks.last_seen == now + 100


class TestStall:
    """Our own stall closes nobody."""

    def test_the_silent_and_the_talking_survive_it(self, start: Start) -> None:
        world = start(heart_beat=(1.0, 1.0))
        peers = [world.connect(heart_beat="1000,1000") for _ in range(20)]
        world.advance(0.5)
        world.stall(60)
        assert world.counters.stalls == 1
        assert all(peer.closed is None for peer in peers)
        for peer in peers[:10]:
            peer.beat()
        world.advance(2.2)
        assert all(peer.closed is None for peer in peers)
        for peer in peers[:10]:
            peer.beat()
        world.advance(0.9)
        assert [peer.closed for peer in peers] == [None] * 10 + [4000] * 10

    def test_connect_and_frame_timeouts_move_too(self, start: Start) -> None:
        world = start()
        late, half = world.upgrade(), world.connect()
        half.send(b"SEND\n")
        world.stall(60)
        assert late.closed is half.closed is None
        late.connect()
        half.send(b"destination:/topic/a\n")
        world.advance(5)
        assert half.closed is None
        world.advance(30)
        assert half.closed == 1008

    def test_a_request_that_is_being_read_survives_and_still_times_out(self, start: Start) -> None:
        world = start()
        stream = world.open()
        world.runtime.driver.feed(stream.link, b"GET /ws HT")
        world.stall(60)
        assert not stream.ended
        world.advance(10)
        assert stream.ended
        assert stream.received.startswith(b"HTTP/1.1 408")
        world.advance(10)

    def test_a_slow_consumer_is_not_slow_because_we_were(self, start: Start) -> None:
        app = StompApp("/ws", allowed_origins=["*"])
        world = start(app)
        peer = world.connect()
        peer.subscribe("/topic/a")
        peer.stream.window = 0
        app.template.convert_and_send("/topic/a", "x")
        world.advance(1)
        world.stall(60)
        assert world.counters.slow_consumers == 0
        peer.stream.open_window(None)
        world.settle()
        peer.message()

    @pytest.mark.parametrize("seconds", [0.7, 3.3, 60.0, 86_400.1])
    def test_deadlines_after_it_come_when_they_are_due(self, start: Start, seconds: float) -> None:
        """Adding the slack and taking it off again must not round a deadline out of reach."""
        world = start(heart_beat=(1.0, 1.0))
        world.connect(heart_beat="1000,1000")
        world.advance(0.5)
        world.stall(seconds)
        for _ in range(40):
            peer = world.connect(heart_beat="1000,1000")
            world.advance(3.01)
            assert peer.closed == 4000
        assert world.counters.stuck_deadlines == 0

    def test_small_lateness_is_none(self, start: Start) -> None:
        world = start(heart_beat=(1.0, 1.0))
        world.connect(heart_beat="1000,1000")
        world.advance(0.8)
        world.stall(0.3)
        assert world.counters.stalls == 0

"""A client that does not take what it is sent, however it goes about it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from stocksync_ws import SlowConsumer, StompApp, send_to_user
from stocksync_ws.broker.model.post_office import Outgoing
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.state import State
from stocksync_ws.broker.sessions.slow_consumers import SlowConsumers
from stocksync_ws.codes import CloseCode, DisconnectReason
from stocksync_ws.config import BrokerConfig, Limits
from stocksync_ws.testing.peer import Peer, client_frame
from stocksync_ws.testing.world import World
from tests.broker.kit import environment, record

Start = Callable[..., World]
MiB = 1024 * 1024


@pytest.fixture
def app() -> StompApp:
    return StompApp("/ws", allowed_origins=["*"])


def subscriber(world: World, window: int | None = 0) -> Peer:
    peer = world.connect()
    peer.subscribe("/topic/a")
    peer.stream.window = window
    return peer


def publish(world: World, app: StompApp, size: int, count: int = 1) -> None:
    for _ in range(count):
        app.template.convert_and_send("/topic/a", b"x" * size)
        world.settle()


def closed(world: World, peer: Peer) -> int | None:
    """The close code, once it takes everything."""
    peer.stream.open_window(None)
    world.settle()
    return peer.closed


class TestByBytes:
    def test_over_the_bound_and_nothing_moves_for_a_second(
        self, start: Start, app: StompApp
    ) -> None:
        world = start(app)
        peer = subscriber(world)
        publish(world, app, 50_000, 10)
        world.advance(2)
        assert world.counters.slow_consumers == 0
        publish(world, app, 50_000)
        world.advance(0.9)
        assert world.counters.slow_consumers == 0
        world.advance(0.2)
        assert world.counters.slow_consumers == 1
        assert closed(world, peer) == 4008

    def test_what_waited_is_thrown_away_with_it(self, start: Start, app: StompApp) -> None:
        world = start(app)
        subscriber(world)
        publish(world, app, 50_000, 11)
        world.advance(1.1)
        assert world.broker.office.total < 100

    def test_publisher_and_others_are_unaffected(self, start: Start, app: StompApp) -> None:
        world = start(app)
        subscriber(world)
        healthy = subscriber(world, None)
        publish(world, app, 50_000, 30)
        world.advance(1.1)
        assert len(healthy.frames()) == 30
        assert world.counters.slow_consumers == 1

    def test_who_moves_has_a_second_to_recover(self, start: Start, app: StompApp) -> None:
        world = start(app)
        peer = subscriber(world, 1_000)
        for _ in range(13):
            app.template.convert_and_send("/topic/a", b"x" * 50_000)
        world.settle()
        world.advance(0.9)
        assert world.counters.slow_consumers == 0
        peer.stream.open_window(300_000)
        world.advance(5)
        assert world.counters.slow_consumers == 0
        assert closed(world, peer) is None
        assert len(peer.frames()) == 13

    def test_and_not_longer(self, start: Start, app: StompApp) -> None:
        world = start(app)
        peer = subscriber(world, 1_000)
        for _ in range(13):
            app.template.convert_and_send("/topic/a", b"x" * 50_000)
        world.settle()
        for _ in range(9):
            world.advance(0.1)
            peer.stream.open_window(1_000)
        assert world.counters.slow_consumers == 0
        world.advance(0.2)
        assert world.counters.slow_consumers == 1
        assert closed(world, peer) == 4008

    def test_the_burst_of_one_turn_is_judged_at_once(self, start: Start, app: StompApp) -> None:
        world = start(app)
        subscriber(world, None)
        for _ in range(84):
            assert world.counters.slow_consumers == 0
            app.template.convert_and_send("/topic/a", b"x" * 50_000)
        assert world.counters.slow_consumers == 1

    @pytest.mark.parametrize("kind", ["reply", "answer"])
    def test_the_bound_of_a_turn_holds_for_replies_too(self, start: Start, kind: str) -> None:
        """What a client asks for itself, many times in one read, is bounded like fan-out."""
        app = StompApp("/ws", allowed_origins=["*"], limits=Limits(send_queue=20_000))

        @app.subscribe_mapping("/large", inline=True)
        def large() -> bytes:
            return b"x" * 10_000

        @app.message_mapping("/large", inline=True)
        @send_to_user("/queue/large", broadcast=False)
        def reply() -> bytes:
            return b"x" * 10_000

        world = start(app)
        peer = world.connect()
        peer.subscribe("/user/queue/large", "u")
        if kind == "answer":
            frames = [b"SUBSCRIBE\nid:%d\ndestination:/app/large\n\n\0" % n for n in range(60)]
        else:
            frames = [b"SEND\ndestination:/app/large\n\n\0"] * 60
        [session] = world.broker.sessions.values()
        # One step: the flush comes in the turn after it.
        world.runtime.driver.feed(peer.stream.link, client_frame(1, b"".join(frames)))
        assert session.mailbox.queued <= 8 * 20_000
        world.settle()
        assert peer.closed == 4008


class TestByTime:
    def test_ten_seconds_without_progress(self, start: Start, app: StompApp) -> None:
        world = start(app)
        peer = subscriber(world)
        publish(world, app, 100)
        world.advance(9.9)
        assert world.counters.slow_consumers == 0
        world.advance(0.2)
        assert world.counters.slow_consumers == 1
        assert closed(world, peer) == 4008

    def test_a_byte_now_and_then_is_progress(self, start: Start, app: StompApp) -> None:
        world = start(app)
        peer = subscriber(world)
        publish(world, app, 100)
        for _ in range(4):
            world.advance(9)
            peer.pong()
            peer.stream.open_window(1)
        assert world.counters.slow_consumers == 0

    def test_but_not_when_the_oldest_waits_for_thirty_seconds(
        self, start: Start, app: StompApp
    ) -> None:
        """One byte a second: the oldest one in the mailbox grows old behind it."""
        world = start(app)
        peer = subscriber(world)
        publish(world, app, 100, 2)
        for _ in range(29):
            world.advance(1)
            peer.pong()
            peer.stream.open_window(1)
        assert world.counters.slow_consumers == 0
        world.advance(1.1)
        assert world.counters.slow_consumers == 1
        assert closed(world, peer) == 4008

    def test_who_takes_it_all_is_never_judged_again(self, start: Start, app: StompApp) -> None:
        world = start(app)
        peer = subscriber(world)
        publish(world, app, 100)
        world.advance(9)
        peer.stream.open_window(None)
        for _ in range(5):
            world.advance(20)
            peer.pong()
        assert world.counters.slow_consumers == 0
        assert len(peer.frames()) == 1


class TestTenMebibytes:
    def test_a_thousand_bytes_at_a_time_is_too_slow_and_bounded(
        self, start: Start, app: StompApp
    ) -> None:
        world = start(app)
        peer = subscriber(world, 1_024)
        largest = sent = 0
        while sent < 10 * MiB and not world.counters.slow_consumers:
            publish(world, app, 10_000)
            sent += 10_000
            largest = max(largest, world.broker.office.total + peer.stream.unsent)
            peer.stream.open_window(1_024)
            world.advance(0.01)
        assert world.counters.slow_consumers == 1
        assert largest < 2 * MiB
        assert closed(world, peer) == 4008

    def test_who_takes_it_gets_it_all_in_order(self, start: Start, app: StompApp) -> None:
        world = start(app)
        peer = subscriber(world, 1_024)
        bodies = []
        for n in range(1_000):
            app.template.convert_and_send("/topic/a", f"{n:10500d}")
            world.settle()
            peer.stream.open_window(12_000)
            world.advance(0.001)
            bodies += [int(frame.body) for frame in peer.frames()]
        assert closed(world, peer) is None
        bodies += [int(frame.body) for frame in peer.frames()]
        assert bodies == list(range(1_000))

    def test_a_transport_gets_64_kib_a_turn(self, start: Start, app: StompApp) -> None:
        world = start(app)
        peer = subscriber(world, None)
        for _ in range(10):
            app.template.convert_and_send("/topic/a", b"x" * 30_000)
        sizes: list[int] = []
        write = peer.stream.write

        def watch(chunks: list[Any]) -> int:
            sizes.append(sum(map(len, chunks)))
            return write(chunks)

        peer.stream.write = watch  # type: ignore[method-assign]
        world.settle()
        assert len(sizes) == 5
        assert max(sizes) <= 65_536
        assert len(peer.frames()) == 10


class TestMany:
    def test_more_sessions_than_a_batch_get_theirs(self, start: Start, app: StompApp) -> None:
        world = start(app)
        peers = [subscriber(world, None) for _ in range(300)]
        publish(world, app, 10, 2)
        assert all(len(peer.frames()) == 2 for peer in peers)

    def test_a_hundred_that_stop_reading_stay_within_the_cap(self, start: Start) -> None:
        limits = Limits(max_total_queued=2_000_000)
        app = StompApp("/ws", allowed_origins=["*"], limits=limits)
        world = start(app)
        peers = []
        for n in range(100):
            peers.append(world.connect())
            peers[-1].subscribe("/topic/a", f"s{n}")
            peers[-1].stream.window = 0
        for _ in range(30):
            publish(world, app, 2_000)
            assert world.broker.office.total <= limits.max_total_queued
        assert 0 < world.counters.slow_consumers < 100


class Rooms:
    """The policy alone: sessions in any state, and a lifecycle that writes down what it closes."""

    def __init__(self, most: int = 1_000, sheds: bool = False) -> None:
        limits = Limits(send_queue=100, max_total_queued=most)
        self.env = environment(BrokerConfig(limits=limits))
        self.closed: list[SessionRecord] = []
        self.shed: list[SessionRecord] = []
        self.rearmed: list[SessionRecord] = []
        self.sheds = sheds
        delivery: Any = SimpleNamespace(readers=SimpleNamespace(shed=self._shed))
        lifecycle: Any = SimpleNamespace(close=self._close, rearm=self.rearmed.append)
        self.told: list[SlowConsumer] = []
        listeners: Any = SimpleNamespace(emit=lambda session, event: self.told.append(event))
        self.slow = SlowConsumers(self.env, delivery, lifecycle, listeners)

    def _shed(self, session: SessionRecord) -> bool:
        self.shed.append(session)
        return self.sheds

    def _close(
        self, session: SessionRecord, code: CloseCode, reason: DisconnectReason, *, drop: bool
    ) -> None:
        assert (code, reason, drop) == (4008, DisconnectReason.SLOW_CONSUMER, True)
        session.state = State.CLOSING
        session.mailbox.drop()
        self.closed.append(session)

    def session(
        self, queued: int, unsent: int = 0, state: State = State.CONNECTED
    ) -> SessionRecord:
        made = record(self.env)
        made.state = state
        self.env.sessions[f"s{len(self.env.sessions)}"] = made
        for size in [100] * (queued // 100) + [queued % 100]:  # none of them is a large one
            if size:
                made.mailbox.append(Outgoing(bytes(size), size, 0.0, 0))
        made.mailbox.unsent = unsent
        return made


@pytest.mark.pure("hands over a stand-in; compiled code takes its own records")
class TestRelieve:
    def test_who_is_over_its_bound_loses_messages_where_it_may(self) -> None:
        rooms = Rooms(sheds=True)
        session = rooms.session(60, unsent=41)
        session.mailbox.over_since = 5.0
        rooms.slow.relieve(session)
        assert (rooms.shed, rooms.closed) == ([session], [])
        told = SlowConsumer(session_id=session.id, user=None, queued=101, closed=False)
        assert rooms.told == [told]
        assert session.mailbox.over_since is None
        assert rooms.env.counters.slow_consumers == 0

    def test_where_it_may_not_it_is_closed(self) -> None:
        rooms = Rooms(sheds=False)
        session = rooms.session(101)
        rooms.slow.relieve(session)
        assert (rooms.shed, rooms.closed) == ([session], [session])
        assert rooms.env.counters.slow_consumers == 1
        told = SlowConsumer(session_id=session.id, user=None, queued=101, closed=True)
        assert rooms.told == [told]

    def test_who_is_slow_within_its_bound_is_closed_and_loses_nothing_first(self) -> None:
        rooms = Rooms(sheds=True)
        session = rooms.session(60, unsent=40)
        rooms.slow.relieve(session)
        assert (rooms.shed, rooms.closed) == ([], [session])

    @pytest.mark.parametrize("state", [each for each in State if each is not State.CONNECTED])
    def test_who_is_not_connected_is_left_alone(self, state: State) -> None:
        rooms = Rooms(sheds=True)
        rooms.slow.relieve(rooms.session(101, state=state))
        assert (rooms.shed, rooms.closed) == ([], [])
        assert rooms.env.counters.slow_consumers == 0


@pytest.mark.pure("hands over a stand-in; compiled code takes its own records")
class TestJudge:
    def test_a_slow_one_is_relieved_and_another_looked_at_again(self) -> None:
        rooms = Rooms()
        slow, fine = rooms.session(101), rooms.session(100)
        rooms.slow.judge(slow, slow.mailbox.unsent)
        assert rooms.closed == []
        rooms.rearmed.clear()
        rooms.env.step.now += 1.0
        rooms.slow.judge(slow, slow.mailbox.unsent)
        rooms.slow.judge(fine, fine.mailbox.unsent)
        assert (rooms.closed, rooms.rearmed) == ([slow], [fine])

    def test_while_closing_only_its_own_deadline_counts(self) -> None:
        rooms = Rooms()
        session = rooms.session(101, state=State.CLOSING)
        rooms.slow.judge(session, session.mailbox.unsent)
        assert rooms.rearmed == [session]

    @pytest.mark.parametrize("size", [1_000, 1_001])
    def test_while_all_together_are_over_the_bound_each_look_notes_it_again(
        self, size: int
    ) -> None:
        """A blocked one that was none when the step ended is found after the flush."""
        rooms = Rooms()
        rooms.session(size)
        rooms.env.step.noted = False
        rooms.slow.judge(rooms.session(0), 1)
        assert rooms.env.step.noted is (size > 1_000)

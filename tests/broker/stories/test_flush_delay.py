"""Messages of a topic with a `flush_delay` wait for each other: when they leave, and with what; and
nothing else is different for anybody.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stocksync_ws import StompApp, policies, send_to_user
from stocksync_ws.broker.model.flush_window import FlushWindow
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.world import World
from tests.broker.kit import Broker, ack, bodies, drafted
from tests.polling import connected

QUICK = "/topic/quick"
SLOW = "/topic/slow"
PLAIN = "/topic/plain"
STREAM = "/topic/stream"


def delays(quick: float | None = 0.001, slow: float | None = 0.005) -> dict[str, Any]:
    return {
        QUICK: policies.Topic(flush_delay=quick),
        SLOW: policies.Topic(flush_delay=slow),
        STREAM: policies.Stream(flush_delay=slow, history=1_000),
    }


def record(world: Broker) -> SessionRecord:
    (session,) = world.broker.sessions.values()
    return session


@pytest.fixture
def world() -> Any:
    with Broker(delays()) as made:
        yield made


class TestTogether:
    def test_what_is_published_within_the_delay_leaves_in_one_write(self, world: Broker) -> None:
        peers = [world.reader(SLOW) for _ in range(3)]
        before = [peer.stream.writes for peer in peers]
        for number in range(4):
            world.publish(SLOW, str(number))
            world.advance(0.001)
        assert [bodies(peer) for peer in peers] == [[]] * 3
        world.advance(0.0011)
        assert [bodies(peer) for peer in peers] == [["0", "1", "2", "3"]] * 3
        assert [peer.stream.writes for peer in peers] == [count + 1 for count in before]

    def test_the_first_does_not_wait_for_the_last(self, world: Broker) -> None:
        peer = world.reader(SLOW)
        world.publish(SLOW, "1")
        world.advance(0.0049)
        world.publish(SLOW, "2")
        world.advance(0.0002)
        assert bodies(peer) == ["1", "2"]
        world.publish(SLOW, "3")
        world.advance(0.0048)
        assert bodies(peer) == []
        world.advance(0.0003)
        assert bodies(peer) == ["3"]

    def test_there_is_one_timer_for_a_topic_and_none_while_nothing_waits(
        self, world: Broker
    ) -> None:
        for _ in range(20):
            world.reader(SLOW)
        timers = world.broker._step._timers
        before = {id(thing) for thing in timers.live()}
        world.publish(SLOW, *"123")
        [made] = [thing for thing in timers.live() if id(thing) not in before]
        assert isinstance(made, FlushWindow)
        world.advance(0.006)
        assert made not in timers.live()

    def test_each_topic_has_its_own_delay_and_the_shorter_takes_the_other_along(
        self, world: Broker
    ) -> None:
        both, alone = world.reader(SLOW), world.reader(SLOW)
        both.subscribe(QUICK, "q")
        world.publish(SLOW, "slow")
        world.publish(QUICK, "quick")
        world.advance(0.0011)
        assert (bodies(both), bodies(alone)) == (["slow", "quick"], [])
        world.advance(0.004)
        assert (bodies(both), bodies(alone)) == ([], ["slow"])

    def test_acknowledged_ones_wait_too(self, world: Broker) -> None:
        peer = world.reader(SLOW, ack="client-individual")
        world.publish(SLOW, "1", "2")
        assert bodies(peer) == []
        world.advance(0.0051)
        first, second = peer.frames()
        ack(peer, second)
        ack(peer, first)
        assert record(world).subscriptions.ledgers["s"].idle


class TestUrgent:
    """Whatever else a session is sent takes along what waits, behind it."""

    def waiting(self, world: Broker) -> Peer:
        peer = world.reader(SLOW)
        world.publish(SLOW, "1", "2")
        peer.nothing()
        return peer

    def commands(self, peer: Peer) -> list[str]:
        return [frame.command for frame in peer.frames()]

    def test_a_receipt(self, world: Broker) -> None:
        peer = self.waiting(world)
        peer.send_to("/topic/other", "x", receipt="r")
        assert self.commands(peer) == ["MESSAGE", "MESSAGE", "RECEIPT"]
        world.advance(0.1)
        peer.nothing()

    def test_a_reply(self) -> None:
        def prepare(app: StompApp) -> None:
            @app.message_mapping("/ask")
            @send_to_user("/queue/reply", broadcast=False)
            async def ask() -> str:
                return "answer"

        with Broker(delays(), prepare=prepare) as world:
            peer = world.connect()
            peer.subscribe("/user/queue/reply")
            peer.subscribe(SLOW)
            world.publish(SLOW, "1", "2")
            peer.send_to("/app/ask", b"")
            assert bodies(peer) == ["1", "2", "answer"]

    def test_an_error(self, world: Broker) -> None:
        peer = self.waiting(world)
        peer.command("NONSENSE", {})
        assert self.commands(peer) == ["MESSAGE", "MESSAGE", "ERROR"]

    def test_a_message_without_delay(self, world: Broker) -> None:
        peer = world.reader(SLOW)
        peer.subscribe(PLAIN, "p")
        world.publish(SLOW, "1", "2")
        world.publish(PLAIN, "plain")
        assert bodies(peer) == ["1", "2", "plain"]

    def test_a_disconnect(self, world: Broker) -> None:
        peer = self.waiting(world)
        peer.command("DISCONNECT", {"receipt": "r"})
        assert self.commands(peer) == ["MESSAGE", "MESSAGE", "RECEIPT"]
        assert peer.closed == 1000

    def test_a_stop(self, world: Broker) -> None:
        peer = self.waiting(world)
        world.runtime.driver.stop(0.0)
        world.settle()
        assert bodies(peer) == ["1", "2"]
        assert peer.closed == 1012

    def test_who_is_disconnected_by_the_application_gets_nothing_more(self, world: Broker) -> None:
        peer = self.waiting(world)
        world.app.users.disconnect(session_id=record(world).id, reason="away")
        world.settle()
        assert self.commands(peer) == ["ERROR"]
        assert peer.closed == 4503

    def test_an_unsubscribe(self, world: Broker) -> None:
        peer = self.waiting(world)
        timers = len(world.broker._step._timers.live())
        peer.command("UNSUBSCRIBE", {"id": "s"})
        assert bodies(peer) == ["1", "2"]
        assert len(world.broker._step._timers.live()) == timers - 1

    def test_a_heart_beat_which_needs_no_frame_of_its_own_then(self) -> None:
        policy = {SLOW: policies.Topic(flush_delay=0.1)}
        app = StompApp("/ws", allowed_origins=["*"], heart_beat=(10.0, 0.0), destinations=policy)
        with World(app) as world:
            peer = world.connect(heart_beat="0,10000")
            peer.subscribe(SLOW)
            world.advance(8.95)
            app.template.convert_and_send(SLOW, "1")
            world.advance(0.04)
            peer.nothing()
            world.advance(0.02)
            assert bodies(peer) == ["1"]
            assert peer.beats == 0
            world.advance(9.0)
            assert peer.beats == 1

    def test_more_than_it_may_have_to_be_sent(self) -> None:
        with Broker(delays(), send_queue=1_000) as world:
            peer = world.reader(SLOW)
            world.publish(SLOW, "x" * 600)
            peer.nothing()
            world.publish(SLOW, "y" * 600)
            assert [len(each) for each in bodies(peer)] == [600, 600]
            world.publish(SLOW, "z" * 1_001)  # alone it is a large one
            assert [len(each) for each in bodies(peer)] == [1_001]


class TestSlow:
    def test_who_takes_nothing_is_judged_as_without_delay(self) -> None:
        with Broker(delays(), send_queue=1_000, send_queue_seconds=2.0) as world:
            slow, fine = world.reader(SLOW), world.reader(SLOW)
            slow.stream.window = 0
            world.publish(SLOW, "1")
            world.advance(0.01)
            world.publish(SLOW, "2")
            world.advance(1.9)
            assert slow.stream.aborted is False
            world.advance(0.2)
            slow.stream.open_window(None)
            world.settle()
            assert (slow.closed, fine.closed) == (4008, None)

    def test_who_loses_the_oldest_is_told(self) -> None:
        lossy = {SLOW: policies.Topic(flush_delay=0.005, overflow="drop_oldest")}
        with Broker(lossy, send_queue=1_000) as world:
            peer = world.reader(SLOW)
            peer.stream.window = 0
            for number in range(40):
                world.publish(SLOW, f"{number:0100}")
                world.advance(0.001)
            peer.stream.open_window(None)
            world.advance(0.01)
            frames = peer.frames()
            lost = sum(int(frame.headers.get("dropped", 0)) for frame in frames)
            assert lost
            assert lost + len(frames) == 40
            assert int(frames[-1].body) == 39


class TestStream:
    def test_who_comes_in_a_window_gets_all_once_and_in_order(self, world: Broker) -> None:
        first = world.reader(STREAM)
        world.publish(STREAM, "1", "2", "3")
        second = world.reader(STREAM, history="all")
        world.publish(STREAM, "4", "5")
        third = world.reader(STREAM, history="2")
        world.publish(STREAM, "6")
        world.advance(0.006)
        assert bodies(first) == ["1", "2", "3", "4", "5", "6"]
        assert bodies(second) == ["1", "2", "3", "4", "5", "6"]
        assert bodies(third) == ["4", "5", "6"]

    def test_what_was_not_sent_when_the_line_broke_is_in_the_history(self, world: Broker) -> None:
        peer = world.reader(STREAM)
        world.publish(STREAM, "1")
        world.advance(0.006)
        seen = peer.message().headers["message-id"]
        world.publish(STREAM, "2")
        peer.eof()
        again = world.reader(STREAM, last_message_id=seen)
        assert bodies(again) == ["2"]


def test_who_polls_gets_in_one_answer_what_waited_also_while_nobody_asked() -> None:
    app = StompApp("/ws", allowed_origins=["*"], sockjs=True, destinations=delays())
    with World(app, app.site()) as world:
        client = connected(world).send(f"SUBSCRIBE\nid:1\ndestination:{SLOW}\nreceipt:r\n\n\0")
        assert len(client.messages()) == 1
        client.receive()
        for number in range(3):
            app.template.convert_and_send(SLOW, number)
            world.settle()
        assert client.messages() == []
        world.advance(0.0051)
        assert [message[-2] for message in client.messages()] == ["0", "1", "2"]

        app.template.convert_and_send(SLOW, 3)
        world.settle()
        [last] = client.receive().messages()  # who asks waits for nothing
        assert last[-2] == "3"
        client.leave()


# Whatever is published, sent and asked for

Do: TypeAlias = tuple[str, int, int]
PEERS = 3
PLACES = (QUICK, SLOW, PLAIN, STREAM)


class Side:
    """A world with three clients of all four topics."""

    def __init__(self, **given: float | None) -> None:
        self.world = Broker(delays(**given))
        self.peers = [self.world.connect() for _ in range(PEERS)]
        self.got: list[list[Any]] = [[] for _ in self.peers]
        for peer in self.peers:
            for place in PLACES:
                peer.subscribe(place, place)
        self.sessions = list(self.world.broker.sessions.values())

    def do(self, name: str, which: int, count: int) -> None:
        peer = self.peers[which]
        if name == "publish":
            draft = drafted(PLACES[count % 4], (), b"%d" % count)
            self.world.runtime.driver.publish(draft)
        elif name == "ask":
            peer.send_to("/topic/other", "x", receipt=f"r{count}")
        elif name == "leave":
            if PLACES[count % 4] in self.sessions[which].subscriptions.active:
                peer.command("UNSUBSCRIBE", {"id": PLACES[count % 4]})
        elif name == "come":
            place = PLACES[count % 4]
            if place not in self.sessions[which].subscriptions.active:
                fields = {"destination": place, "id": place, "history": "all"}
                peer.command("SUBSCRIBE", fields)
        elif name == "window":
            peer.stream.open_window(count or None)
        elif name == "wait":
            self.world.advance(count / 10_000)
        else:
            self.world.settle()

    def end(self) -> list[bytes]:
        """Everything that the clients got."""
        for peer in self.peers:
            peer.stream.open_window(None)
        self.world.advance(0.2)
        return [bytes(peer.stream.received) for peer in self.peers]

    def check(self) -> None:
        """Nothing waits longer than it may, where the transport takes it."""
        now = self.world.now
        for session, peer in zip(self.sessions, self.peers, strict=True):
            for entry in session.mailbox.entries if not peer.stream.unsent else ():
                assert now - entry.at <= 0.0051


def do(name: str, most: int) -> st.SearchStrategy[Do]:
    return st.tuples(st.just(name), st.integers(0, PEERS - 1), st.integers(0, most))


STEPS = st.one_of(
    do("publish", 400), do("publish", 400), do("settle", 0), do("wait", 60), do("ask", 99),
    do("leave", 3), do("come", 3), do("window", 300),
)  # fmt: skip


@given(st.lists(STEPS, max_size=60))
def test_every_client_gets_the_same_octets_as_without_any_delay(steps: list[Do]) -> None:
    with ExitStack() as stack:
        delayed, plain = sides = Side(), Side(quick=None, slow=None)
        for side in sides:
            stack.callback(side.world.close)
        for step in steps:
            for side in sides:
                side.do(*step)
            delayed.world.settle()
            delayed.check()
        assert delayed.end() == plain.end()

"""What a lost session counts: the oldest delivery of each subscription, and nothing is buried by it
that was not delivered by itself.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stocksync_ws import policies
from stocksync_ws.broker.calls.events import DeadLetter, SessionDisconnected
from stocksync_ws.stomp.frame import Frame
from stocksync_ws.testing.peer import Peer
from tests.broker.kit import Broker, ack, bodies, policy

NAMED = {"login": "ann", "durable": "true"}
PLACES = {"/queue/drop": {}, "/topic/drop": NAMED}


def attempts(frames: list[Frame]) -> list[tuple[str, str, str]]:
    """What each message says of its deliveries."""
    return [
        (
            frame.body.decode(),
            frame.headers["redelivered"],
            frame.headers.get("delivery-attempt", "-"),
        )
        for frame in frames
    ]


@pytest.mark.parametrize("place", PLACES)
def test_messages_that_nobody_looked_at_are_not_buried(place: str) -> None:
    with Broker() as world:
        if place.startswith("/topic"):
            world.reader(place, ack="client-individual", **PLACES[place]).eof()
        world.publish(place, *map(str, range(20)))
        received = []
        for _ in range(8):
            peer = world.reader(place, ack="client-individual", **PLACES[place])
            frames = peer.frames()
            received.append(len(frames))
            ack(peer, frames[0])
            peer.eof()
        assert received == [20, 19, 18, 17, 16, 15, 14, 13]
        assert not world.heard(DeadLetter)


@pytest.mark.parametrize("place", PLACES)
def test_only_the_oldest_counts_and_all_that_was_written_is_marked(place: str) -> None:
    with Broker() as world:
        peer = world.reader(place, ack="client", **PLACES[place])
        world.publish(place, *"123")
        peer.frames()
        peer.eof()
        peer = world.reader(place, ack="client", **PLACES[place])
        assert attempts(peer.frames()) == [
            ("1", "true", "2"),
            ("2", "true", "1"),
            ("3", "true", "1"),
        ]


def test_each_subscription_has_an_oldest() -> None:
    with Broker() as world:
        peer = world.connect()
        for name in "ab":
            peer.subscribe(f"/queue/{name}", name, ack="client")
        for name in "ab":
            world.publish(f"/queue/{name}", "1", "2")
        peer.frames()
        peer.eof()
        for name in "ab":
            frames = world.reader(f"/queue/{name}", ack="client").frames()
            assert attempts(frames) == [("1", "true", "2"), ("2", "true", "1")]


def test_what_was_settled_before_the_loss_is_not_the_oldest() -> None:
    with Broker() as world:
        peer = world.reader("/queue/a", ack="client-individual")
        world.publish("/queue/a", *"123")
        one, two, _ = peer.frames()
        ack(peer, one)
        ack(peer, two, "NACK")  # comes again at once, and is the youngest now
        assert attempts(peer.frames()) == [("2", "true", "2")]
        peer.eof()
        frames = world.reader("/queue/a", ack="client").frames()
        assert attempts(frames) == [("2", "true", "2"), ("3", "true", "2")]


ENDS: dict[str, tuple[str, Callable[[Broker, Peer], object]]] = {
    "connection_lost": ("2", lambda world, peer: peer.eof()),
    "peer_closed": ("2", lambda world, peer: peer.close()),
    "protocol_error": ("2", lambda world, peer: peer.send(b"X\n\n\0")),
    "client_disconnect": ("1", lambda world, peer: peer.command("DISCONNECT", {})),
    "access_denied": (
        "1",
        lambda world, peer: peer.command("SUBSCRIBE", {"id": "x", "destination": "/user/x"}),
    ),
    "server_shutdown": ("1", lambda world, peer: world.runtime.driver.stop()),
}


@pytest.mark.parametrize("reason", ENDS)
def test_only_ends_that_a_message_may_be_to_blame_for_count(reason: str) -> None:
    counted, end = ENDS[reason]
    with Broker() as world:
        peer = world.reader("/queue/a", ack="client")
        world.publish("/queue/a", "1")
        peer.message()
        end(world, peer)
        world.advance(1)
        [event] = world.heard(SessionDisconnected)
        assert event.reason == reason
        [queue] = world.broker.delivery.registry.queues.values()
        assert queue.attempts.get(1, 0) == int(counted) - 1
        assert 1 in queue.seen


@pytest.mark.parametrize("place", PLACES)
def test_what_was_not_written_is_neither_counted_nor_marked(place: str) -> None:
    with Broker() as world:
        peer = world.reader(place, ack="client", **PLACES[place])
        peer.stream.open_window(0)
        world.publish(place, "1")
        world.settle()
        world.publish(place, "2")
        peer.eof()
        peer = world.reader(place, ack="client", **PLACES[place])
        assert attempts(peer.frames()) == [("1", "true", "2"), ("2", "false", "-")]


class TestByItself:
    """A message that losses alone have counted as often as it may."""

    def until_alone(self, world: Broker, place: str, *others: str) -> Peer:
        """Two losses count the first message; then it comes by itself."""
        if place.startswith("/topic"):
            world.reader(place, ack="client-individual", **PLACES[place]).eof()
        world.publish(place, "1", *others)
        for _ in range(2):
            peer = world.reader(place, ack="client-individual", **PLACES[place])
            assert len(peer.frames()) == 1 + len(others)
            peer.eof()
        return world.reader(place, ack="client-individual", **PLACES[place])

    @pytest.mark.parametrize("place", PLACES)
    def test_it_goes_by_itself_and_is_buried_by_one_more_loss(self, place: str) -> None:
        rules = {place: policy(place, max_deliveries=2, dead_letter="/queue/dead")}
        with Broker(rules) as world:
            peer = self.until_alone(world, place, "2", "3")
            assert attempts(peer.frames()) == [("1", "true", "3")]
            world.publish(place, "4")
            peer.nothing()
            peer.eof()
            dead = world.reader("/queue/dead").message().headers
            assert (dead["x-death-reason"], dead["delivery-attempt"]) == ("attempts", "3")
            peer = world.reader(place, ack="client-individual", **PLACES[place])
            told = attempts(peer.frames())
            assert told == [("2", "true", "1"), ("3", "true", "1"), ("4", "false", "-")]

    @pytest.mark.parametrize("place", PLACES)
    def test_when_it_is_settled_the_window_is_wide_again(self, place: str) -> None:
        with Broker({place: policy(place, max_deliveries=2)}) as world:
            peer = self.until_alone(world, place, "2", "3")
            ack(peer, peer.message())
            assert bodies(peer) == ["2", "3"]
            world.publish(place, "4")
            assert bodies(peer) == ["4"]
            assert not world.heard(DeadLetter)

    @pytest.mark.parametrize("place", PLACES)
    def test_an_end_that_counts_nothing_leaves_it_as_it_was(self, place: str) -> None:
        with Broker({place: policy(place, max_deliveries=2)}) as world:
            peer = self.until_alone(world, place, "2")
            assert attempts(peer.frames()) == [("1", "true", "3")]
            for _ in range(3):
                peer.command("DISCONNECT", {})
                peer = world.reader(place, ack="client-individual", **PLACES[place])
                assert attempts(peer.frames()) == [("1", "true", "3")]
            assert not world.heard(DeadLetter)

    @pytest.mark.parametrize("place", PLACES)
    def test_a_refusal_buries_it_as_before(self, place: str) -> None:
        with Broker({place: policy(place, max_deliveries=2)}) as world:
            peer = self.until_alone(world, place, "2")
            ack(peer, peer.message(), "NACK")
            assert [event.deliveries for event in world.heard(DeadLetter)] == [3]
            assert bodies(peer) == ["2"]

    @pytest.mark.parametrize("place", PLACES)
    def test_in_a_transaction_it_stays_by_itself(self, place: str) -> None:
        with Broker({place: policy(place, max_deliveries=2)}) as world:
            peer = self.until_alone(world, place, "2")
            peer.command("BEGIN", {"transaction": "t"})
            ack(peer, peer.message(), transaction="t")
            peer.nothing()
            peer.command("ABORT", {"transaction": "t"})
            peer.nothing()
            peer.eof()
            assert [event.deliveries for event in world.heard(DeadLetter)] == [3]

    def test_in_a_queue_it_waits_for_a_consumer_that_holds_nothing(self) -> None:
        with Broker({"/queue/drop": policies.Queue(max_deliveries=1)}) as world:
            first = world.reader("/queue/drop", ack="client-individual", prefetch_count="2")
            world.publish("/queue/drop", "1", "2")
            first.frames()
            second = world.reader("/queue/drop", ack="client-individual")
            world.publish("/queue/drop", "3")
            holds = second.message()
            first.eof()
            world.publish("/queue/drop", "4")
            second.nothing()
            ack(second, holds)
            assert attempts(second.frames()) == [("1", "true", "2")]

    def test_for_an_auto_consumer_nothing_is_held_up(self) -> None:
        with Broker({"/queue/drop": policies.Queue(max_deliveries=1)}) as world:
            peer = world.reader("/queue/drop", ack="client-individual")
            world.publish("/queue/drop", "1", "2")
            peer.frames()
            peer.eof()
            assert bodies(world.reader("/queue/drop")) == ["1", "2"]

    def test_for_a_name_it_waits_until_everything_else_is_settled(self) -> None:
        with Broker({"/topic/drop": policies.Topic(max_deliveries=1)}) as world:
            first = world.connect(login="ann")
            first.subscribe("/topic/drop", "s", ack="client-individual", durable="true")
            world.publish("/topic/drop", "1")
            first.message()
            first.command("UNSUBSCRIBE", {"id": "s"})  # owed to the session until that ends
            second = world.reader("/topic/drop", ack="client-individual", **NAMED)
            world.publish("/topic/drop", "2")
            holds = second.message()
            first.eof()
            world.publish("/topic/drop", "3")
            second.nothing()
            ack(second, holds)
            assert attempts(second.frames()) == [("1", "true", "2")]

    def test_the_same_id_again_keeps_the_window_narrow(self) -> None:
        with Broker({"/queue/drop": policies.Queue(max_deliveries=2)}) as world:
            peer = self.until_alone(world, "/queue/drop", "2")
            one = peer.message()
            peer.command("UNSUBSCRIBE", {"id": "s"})
            peer.subscribe("/queue/drop", "s", ack="client-individual")
            peer.nothing()
            ack(peer, one)
            assert bodies(peer) == ["2"]

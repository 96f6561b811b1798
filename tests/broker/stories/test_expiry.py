"""`expires` and `expiration`: dead on time, wherever a message is, and never at others' cost."""

from __future__ import annotations

import pytest

from stocksync_ws import StompApp, policies
from stocksync_ws.broker.calls.events import DeadLetter
from stocksync_ws.testing.world import World
from tests.broker.kit import Broker, ack, bodies, resubscribe

HISTORY = {"/topic/s": policies.Stream(seconds=1e6)}


def reasons(world: Broker) -> list[tuple[str, str]]:
    return [(event.destination, event.reason) for event in world.heard(DeadLetter)]


@pytest.mark.parametrize("place", ["/topic/a", "/queue/a", "/topic/s"])
def test_what_is_dead_on_arrival_reaches_nobody(place: str) -> None:
    with Broker(HISTORY) as world:
        reader, peer = world.reader(place), world.connect()
        peer.send_to(place, "late", expires="1000", receipt="r")
        peer.frame("RECEIPT")
        reader.nothing()
        assert reasons(world) == [(place, "expired")]
        assert world.counters.messages_dead == world.counters.messages_published == 1
        assert not world.broker.delivery.registry.stored.size


def test_a_time_long_past_moves_nobodys_clock() -> None:
    with Broker() as world:
        silent, sender = world.connect(heart_beat="0,0"), world.connect()
        reader = world.reader("/topic/a", ack="client")
        world.publish("/topic/a", "1")
        reader.message()
        for _ in range(3):
            sender.send_to("/queue/q", "x", expires="1")
        world.advance(31)
        assert world.broker._step._timers.slack == 0
        assert world.counters.stalls == 0
        assert world.counters.ack_timeouts == 1
        assert silent.closed is None


def test_an_expiration_of_0_reaches_who_waits_for_it_and_nobody_later() -> None:
    with Broker() as world:
        reader, peer = world.reader("/queue/a"), world.connect()
        peer.send_to("/queue/a", "now", expiration="0")
        assert bodies(reader) == ["now"]
        peer.send_to("/queue/b", "never", expiration="0")
        world.advance(0.001)
        assert reasons(world) == [("/queue/b", "expired")]
        assert "/queue/b" not in world.broker.delivery.registry.known


def test_each_message_has_its_own_time() -> None:
    with Broker() as world:
        peer = world.connect()
        for seconds in (3, 1, 2):
            peer.send_to("/queue/a", str(seconds), expiration=str(seconds * 1000))
        peer.send_to("/queue/a", "for ever")
        for gone in range(1, 4):
            world.advance(1.001)
            assert len(reasons(world)) == gone
        assert bodies(world.reader("/queue/a")) == ["for ever"]


def test_what_comes_back_dead_is_not_delivered_again() -> None:
    with Broker() as world:
        for place in ("/topic/a", "/queue/a"):
            reader = world.reader(place, ack="client-individual")
            world.connect().send_to(place, "x", expiration="1000")
            message = reader.message()
            world.advance(5)
            ack(reader, message, "NACK")
            world.advance(1)
            reader.nothing()
        assert reasons(world) == [("/topic/a", "expired"), ("/queue/a", "expired")]


def test_what_comes_back_to_a_queue_when_its_time_is_over_is_dead_at_once() -> None:
    with Broker() as world:
        peer = world.reader("/queue/a", ack="client")
        world.publish("/queue/a", "1", expiration="1000")
        world.advance(20)
        peer.eof()
        assert reasons(world) == [("/queue/a", "expired")]
        assert world.counters.stalls == 0
        assert "/queue/a" not in world.broker.delivery.registry.known


def test_in_a_history_only_what_somebody_still_was_to_get_is_a_dead_letter() -> None:
    with Broker(HISTORY, ack_window=1) as world:
        ready = world.reader("/topic/s")
        peer = world.connect()
        peer.send_to("/topic/s", "1", expiration="1000")
        assert bodies(ready) == ["1"]
        world.advance(2)
        assert reasons(world) == []
        waiting = world.reader("/topic/s", ack="client")
        for number in "23":
            peer.send_to("/topic/s", number, expiration="1000")
        assert bodies(waiting) == ["2"]
        world.advance(2)
        assert reasons(world) == [("/topic/s", "expired")]
        assert not world.broker.delivery.registry.stored.size


def test_a_receipt_does_not_count_what_is_dead() -> None:
    with Broker(HISTORY) as world:
        peer = world.connect()
        last = resubscribe(peer).headers["last-message-id"]
        sender = world.connect()
        sender.send_to("/topic/s", "a", expiration="1000")
        sender.send_to("/topic/s", "b")
        world.advance(1.0005)
        again = world.connect()
        receipt = resubscribe(again, last_message_id=last).headers
        assert receipt["replayed"] == "1"
        assert bodies(again) == ["b"]


def test_what_was_consumed_in_time_leaves_nothing_that_waits_for_its_end() -> None:
    with Broker() as world:
        world.reader("/queue/a")
        peer = world.connect()
        for _ in range(500):
            peer.send_to("/queue/a", "x", expiration="99999999999999")
        channel = world.broker.delivery.registry.find("/queue/a")
        assert channel is not None
        assert len(channel.log._expiring) < 200
        assert channel.log.next_expiry() is None


def test_a_queue_that_is_gone_waits_for_nothing() -> None:
    with Broker() as world:
        sender = world.connect()
        for number in range(200):
            reader = world.reader(f"/queue/{number}")
            sender.send_to(f"/queue/{number}", "x", expiration="99999999999999")
            reader.message()
            reader.eof()
        assert len(world.broker._step._timers) < 150


def test_an_end_of_life_that_is_no_number_is_refused_before_anything_is_published() -> None:
    with Broker(HISTORY) as world:
        reader, peer = world.reader("/topic/a"), world.connect()
        peer.command("BEGIN", {"transaction": "t"})
        peer.send_to("/topic/a", "x", expiration="10s", transaction="t")
        assert peer.frame("ERROR").headers["code"] == "bad-header"
        reader.nothing()
        assert world.counters.messages_published == 0


def test_to_a_handler_an_expiration_is_a_header_like_any_other() -> None:
    ws = StompApp("/ws")
    given: list[str] = []

    @ws.message_mapping("/x")
    def x(headers: dict[str, str]) -> None:
        given.append(headers["expiration"])

    with World(ws) as world:
        peer = world.connect()
        peer.send_to("/app/x", "x", expiration="10s", receipt="r")
        assert peer.frame("RECEIPT").headers["receipt-id"] == "r"
    assert given == ["10s"]


def test_expires_0_is_no_end() -> None:
    with Broker() as world:
        world.connect().send_to("/queue/a", "x", expires="0")
        world.advance(1_000)
        assert bodies(world.reader("/queue/a")) == ["x"]

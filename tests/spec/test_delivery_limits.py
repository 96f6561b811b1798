"""docs/contributing/promises.md: what is not guaranteed, shown to be so."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stocksync_ws.testing.world import World
from tests.spec.delivering import Shop, bodies, fill, recover
from tests.spec.talk import frame


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def world(broker: Callable[..., World], shop: Shop) -> World:
    return broker(shop.app)


def test_nothing_outlives_the_process(broker: Callable[..., World]) -> None:
    first = broker(Shop().app)
    peer = first.connect()
    peer.subscribe("/topic/history/a")
    fill(first, "/topic/history/a", "x")
    fill(first, "/queue/a", "x")
    last = peer.message().headers["message-id"]
    second = broker(Shop().app)
    peer = second.connect()
    receipt, got = recover(peer, "/topic/history/a", "another-epoch-1")
    assert receipt.headers["recovered"] == "false"
    assert got == []
    assert receipt.headers["last-message-id"] != last
    peer.subscribe("/queue/a")
    peer.nothing()


def test_the_receipt_of_send_says_nothing_about_who_received_it(world: World) -> None:
    peer = world.connect()
    peer.send_to("/topic/a", "x", receipt="r")
    assert peer.frame("RECEIPT")
    assert world.counters.messages_unrouted == 1


def test_a_transient_topic_keeps_nothing_for_those_who_come_later(world: World) -> None:
    fill(world, "/topic/a", "x")
    peer = world.connect()
    peer.subscribe("/topic/a")
    peer.nothing()
    assert not any(len(each.log) for each in world.broker.delivery.registry.known.values())


def test_a_user_who_is_not_there_misses_what_is_sent_to_him(world: World, shop: Shop) -> None:
    shop.app.template.convert_and_send_to_user("ann", "/queue/a", "x")
    world.settle()
    peer = world.connect(login="ann")
    peer.subscribe("/user/queue/a")
    peer.nothing()
    assert world.counters.messages_unrouted == 1


def test_in_auto_mode_what_a_dying_consumer_was_handed_is_lost(world: World) -> None:
    peer = world.connect()
    peer.subscribe("/queue/a")
    peer.stream.open_window(0)
    fill(world, "/queue/a", "x")  # handed to the transport, never taken from it
    peer.eof()
    other = world.connect()
    other.subscribe("/queue/a")
    other.nothing()


def test_what_is_out_at_unsubscribe_stays_with_its_session(world: World) -> None:
    peer, other = world.connect(), world.connect()
    peer.subscribe("/queue/a", id="s", ack="client")
    fill(world, "/queue/a", "x")
    peer.message()
    peer.send(frame("UNSUBSCRIBE", id="s"))
    other.subscribe("/queue/a")
    world.advance(40)
    other.nothing()
    peer.eof()
    assert bodies(other) == [b"x"]


def test_a_message_may_come_twice_when_its_acknowledgement_is_late(world: World) -> None:
    peer = world.connect()
    peer.subscribe("/topic/a", id="s", ack="client-individual")
    fill(world, "/topic/a", "x")
    first = peer.message()
    world.advance(30.1)
    again = peer.message()
    peer.send(frame("ACK", id=first.headers["ack"]))
    assert again.headers["message-id"] == first.headers["message-id"]


def test_a_redelivered_message_may_come_behind_later_ones(world: World) -> None:
    peer = world.connect()
    peer.subscribe("/topic/a", ack="client-individual")
    fill(world, "/topic/a", "a", "b")
    one, _ = peer.frames()
    peer.send(frame("NACK", id=one.headers["ack"]))
    assert bodies(peer) == [b"a"]


def test_a_handler_runs_again_for_a_send_that_is_repeated_without_a_key(
    world: World, shop: Shop
) -> None:
    peer = world.connect()
    for _ in range(2):
        peer.send_to("/app/note", "x", receipt="r")
    assert shop.handled == ["x", "x"]


def test_a_key_is_forgotten_after_its_time_and_never_kept_for_a_failure(
    world: World, shop: Shop
) -> None:
    peer, listener = world.connect(login="ann"), world.connect()
    listener.subscribe("/topic/a")
    for _ in range(2):
        peer.send_to("/topic/a", "x", idempotency_key="k")
        for _ in range(31):
            world.advance(10)
            peer.beat()
            listener.beat()
    assert bodies(listener) == [b"x", b"x"]
    peer.subscribe("/user/queue/errors")
    for _ in range(2):
        peer.send_to("/app/fail", idempotency_key="k")
        assert peer.message()


def test_one_send_to_a_handler_that_fails_does_not_undo_the_rest_of_its_transaction(
    world: World, shop: Shop
) -> None:
    peer = world.connect()
    peer.subscribe("/user/queue/errors", id="e")
    peer.subscribe("/topic/a", id="a")
    peer.send(frame("BEGIN", transaction="t"))
    peer.send(frame("SEND", b"x", destination="/topic/a", transaction="t", receipt="1"))
    peer.send(frame("SEND", b"", destination="/app/fail", transaction="t", receipt="2"))
    peer.send(frame("SEND", b"n", destination="/app/note", transaction="t", receipt="3"))
    peer.send(frame("COMMIT", transaction="t", receipt="4"))
    frames = peer.frames()
    assert [f.headers["receipt-id"] for f in frames if f.command == "RECEIPT"] == ["1", "3", "4"]
    assert b"x" in [f.body for f in frames]
    assert shop.handled == ["n"]


def test_a_durable_name_is_gone_after_five_minutes(world: World) -> None:
    peer = world.connect(login="ann")
    peer.subscribe("/topic/a", id="mine", durable="true")
    peer.eof()
    fill(world, "/topic/a", "x")
    world.advance(301)
    peer = world.connect(login="ann")
    peer.subscribe("/topic/a", id="mine", durable="true")
    peer.nothing()


def test_no_timer_is_more_precise_than_the_loop(world: World) -> None:
    peer = world.connect(heart_beat="0,1000")
    world.stall(5)
    assert peer.beats <= 1
    world.advance(1)
    assert peer.beats >= 1
    assert peer.closed is None

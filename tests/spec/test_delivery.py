"""docs/contributing/promises.md: what is guaranteed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stocksync_ws import (
    DeadLetter,
    DisconnectReason,
    SessionConnected,
    SessionDisconnected,
)
from stocksync_ws.testing.world import World
from tests.spec.delivering import Shop, bodies, fill, limited
from tests.spec.talk import frame


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def world(broker: Callable[..., World], shop: Shop) -> World:
    return broker(shop.app)


# Order


def test_every_subscriber_sees_a_destination_in_one_order(world: World) -> None:
    listeners = [world.connect(version) for version in ("1.0", "1.1", "1.2")]
    for each in listeners:
        each.subscribe("/topic/a", id="s")
    senders = [world.connect() for _ in range(3)]
    for turn in range(10):
        for place, each in enumerate(senders):
            each.send_to("/topic/a", f"{turn}-{place}")
    orders = {tuple(bodies(each)) for each in listeners}
    assert len(orders) == 1
    assert len(orders.pop()) == 30


def test_live_topics_reach_a_session_in_the_order_of_acceptance(world: World) -> None:
    peer, sender = world.connect(), world.connect()
    peer.subscribe("/topic/a")
    peer.subscribe("/topic/b")
    sender.send("".join(f"SEND\ndestination:/topic/{'ab'[n % 2]}\n\n{n}\0" for n in range(20)))
    assert bodies(peer) == [str(n).encode() for n in range(20)]


def test_the_frames_of_a_session_take_effect_one_after_the_other(world: World, shop: Shop) -> None:
    peer = world.connect()
    peer.subscribe("/topic/noted")
    world.hold_pool()
    for text in "abc":
        peer.send(frame("SEND", text.encode(), destination="/app/note"))
    peer.send(frame("SEND", b"last", destination="/topic/noted"))
    assert bodies(peer) == []
    for _ in range(3):
        world.release_pool()
    assert bodies(peer) == [b"a", b"b", b"c", b"last"]
    assert shop.handled == ["a", "b", "c"]


# Receipts


def test_after_the_receipt_of_subscribe_nothing_is_missed(world: World) -> None:
    peer = world.connect()
    peer.send(
        frame("SUBSCRIBE", id="s", destination="/topic/a", receipt="r")
        + frame("SEND", b"x", destination="/topic/a")
    )
    assert [each.command for each in peer.frames()] == ["RECEIPT", "MESSAGE"]


def test_after_the_receipt_of_unsubscribe_nothing_comes(world: World) -> None:
    peer = world.connect()
    peer.subscribe("/topic/a", id="s")
    peer.send(frame("UNSUBSCRIBE", id="s", receipt="r"))
    fill(world, "/topic/a", "x")
    assert [each.command for each in peer.frames()] == ["RECEIPT"]


def test_the_receipt_of_send_says_that_every_subscriber_has_it_queued(world: World) -> None:
    slow, sender = world.connect(), world.connect()
    slow.subscribe("/topic/a")
    slow.stream.open_window(0)
    sender.send_to("/topic/a", "x", receipt="r")
    assert sender.frame("RECEIPT")
    assert bodies(slow) == []
    slow.stream.open_window(None)
    world.settle()
    assert bodies(slow) == [b"x"]


def test_the_receipt_of_a_handlers_send_follows_its_return_and_its_sends(
    world: World, shop: Shop
) -> None:
    peer = world.connect()
    peer.subscribe("/topic/noted")
    world.hold_pool()
    peer.send_to("/app/note", "x", receipt="r")
    peer.nothing()
    world.release_pool()
    assert [each.command for each in peer.frames()] == ["MESSAGE", "RECEIPT"]
    assert shop.handled == ["x"]


def test_a_frame_that_failed_gets_no_receipt(world: World) -> None:
    for destination in ("/app/fail", "/app/unknown", "/user/bob/queue/a"):
        peer = world.connect()
        peer.send_to(destination, receipt="r")
        assert peer.error().headers["receipt-id"] == "r"


def test_the_receipt_of_disconnect_is_last(world: World) -> None:
    peer = world.connect()
    peer.subscribe("/topic/a")
    peer.stream.open_window(0)
    peer.send(frame("SEND", b"x", destination="/topic/a") * 20 + frame("DISCONNECT", receipt="r"))
    peer.stream.open_window(None)
    world.settle()
    frames = peer.frames()
    assert [each.command for each in frames] == ["MESSAGE"] * 20 + ["RECEIPT"]
    assert peer.closed == 1000


# Transactions


def test_a_commit_takes_effect_in_one_step(world: World) -> None:
    peer, other = world.connect(), world.connect()
    other.subscribe("/topic/a")
    peer.subscribe("/queue/a", id="q", ack="client")
    fill(world, "/queue/a", "work")
    got = peer.message()
    peer.send(frame("BEGIN", transaction="t"))
    peer.send(frame("SEND", b"1", destination="/topic/a", transaction="t"))
    peer.send(frame("ACK", id=got.headers["ack"], transaction="t"))
    other.send_to("/topic/a", "between")
    peer.send(frame("SEND", b"2", destination="/topic/a", transaction="t"))
    assert bodies(other) == [b"between"]
    peer.send(frame("COMMIT", transaction="t"))
    assert bodies(other) == [b"1", b"2"]
    assert world.counters.messages_settled == 1


def test_a_commit_that_a_queue_cannot_take_has_no_effect(broker: Callable[..., World]) -> None:
    _, world = limited(broker, queue_messages=1)
    peer, other = world.connect(), world.connect()
    other.subscribe("/topic/a")
    peer.send(frame("BEGIN", transaction="t"))
    for destination in ("/topic/a", "/queue/a", "/queue/a"):
        peer.send(frame("SEND", destination=destination, transaction="t"))
    peer.send(frame("COMMIT", transaction="t", receipt="r"))
    assert peer.error().headers["code"] == "queue-full"
    other.nothing()
    other.subscribe("/topic/b")
    assert "/queue/a" not in world.broker.delivery.registry.known


def test_a_lost_connection_aborts_its_transactions(world: World) -> None:
    peer, other = world.connect(), world.connect()
    other.subscribe("/topic/a")
    peer.send(frame("BEGIN", transaction="t"))
    peer.send(frame("SEND", destination="/topic/a", transaction="t"))
    peer.eof()
    other.nothing()


# Acknowledgement


def test_what_is_not_acknowledged_comes_again_and_then_is_a_dead_letter(
    world: World, shop: Shop
) -> None:
    peer = world.connect()
    peer.subscribe("/queue/strict", id="s", ack="client-individual")
    fill(world, "/queue/strict", "x")
    for attempt in range(1, 6):
        got = peer.message()
        assert got.headers["redelivered"] == ("false" if attempt == 1 else "true")
        assert got.headers.get("delivery-attempt", "1") == str(attempt)
        peer.send(frame("NACK", id=got.headers["ack"]))
        world.advance(4.1)
    peer.nothing()
    (event,) = shop.heard(DeadLetter)
    assert event.reason == "attempts"
    peer.subscribe("/queue/dead", id="d")
    dead = peer.message()
    assert dead.body == b"x"
    assert dead.headers["original-destination"] == "/queue/strict"
    assert dead.headers["x-death-reason"] == "attempts"
    assert dead.headers["delivery-attempt"] == "5"


def test_an_acknowledgement_on_a_topic_that_is_late_brings_the_message_again(world: World) -> None:
    peer = world.connect()
    peer.subscribe("/topic/a", ack="client")
    fill(world, "/topic/a", "x")
    first = peer.message()
    world.advance(30.1)
    again = peer.message()
    assert again.headers["redelivered"] == "true"
    assert again.headers["message-id"] == first.headers["message-id"]


def test_a_full_window_holds_the_rest_back_and_loses_nothing(world: World) -> None:
    peer = world.connect()
    peer.subscribe("/topic/a", id="s", ack="client-individual", prefetch_count="2")
    fill(world, "/topic/a", *"abcdef")
    order: list[bytes] = []
    while got := peer.frames():
        assert len(got) <= 2
        for each in got:
            order.append(each.body)
            peer.send(frame("ACK", id=each.headers["ack"]))
    assert order == [b"a", b"b", b"c", b"d", b"e", b"f"]


def test_what_waits_behind_a_full_window_is_bounded_and_its_loss_is_told(
    broker: Callable[..., World],
) -> None:
    shop, world = limited(broker, pending_messages=3)
    strict, lossy = world.connect(), world.connect()
    strict.subscribe("/topic/a", ack="client", prefetch_count="1")
    lossy.subscribe("/topic/lossy", id="s", ack="client", prefetch_count="1")
    fill(world, "/topic/a", *"abcd")
    assert strict.closed is None
    fill(world, "/topic/a", "e")
    assert strict.closed == 4010
    assert shop.heard(SessionDisconnected)[-2].reason is DisconnectReason.HISTORY_LOST
    fill(world, "/topic/lossy", *"abcdef")
    first = lossy.message()
    lossy.send(frame("ACK", id=first.headers["ack"]))
    (again,) = lossy.frames()
    assert again.body == b"d"
    assert again.headers["dropped"] == "2"
    assert lossy.closed is None


def test_a_session_that_ends_says_how_much_it_had_not_acknowledged(
    world: World, shop: Shop
) -> None:
    peer = world.connect()
    peer.subscribe("/topic/a", ack="client")
    fill(world, "/topic/a", "x", "y")
    peer.eof()
    assert shop.heard(SessionDisconnected)[-1].unacknowledged == 2


# Slow clients


def test_a_slow_subscriber_is_closed_and_the_others_are_not_held_up(
    broker: Callable[..., World],
) -> None:
    shop, world = limited(broker, send_queue=50_000, send_queue_seconds=5)
    slow, healthy, sender = world.connect(), world.connect(), world.connect()
    slow.subscribe("/topic/a")
    healthy.subscribe("/topic/a")
    slow.answers_close = False
    slow.stream.open_window(0)
    for _ in range(20):
        sender.send_to("/topic/a", "x" * 5_000)
    assert len(bodies(healthy)) == 20
    world.advance(11)
    (event,) = shop.heard(SessionDisconnected)
    assert event.reason is DisconnectReason.SLOW_CONSUMER
    assert event.close_code == 4008


def test_a_subscriber_that_may_lose_messages_is_told_how_many(broker: Callable[..., World]) -> None:
    _, world = limited(broker, send_queue=20_000)
    slow, sender = world.connect(), world.connect()
    slow.subscribe("/topic/lossy")
    slow.stream.open_window(0)
    for n in range(20):
        sender.send_to("/topic/lossy", f"{n:05}" * 500)
    slow.stream.open_window(None)
    world.settle()
    sender.send_to("/topic/lossy", "next")
    got = slow.frames()
    told = sum(int(each.headers.get("dropped", "0")) for each in got)
    assert got[-1].body == b"next"
    assert told == 21 - len(got)
    assert told == world.counters.messages_dropped > 0


# Sessions


def test_every_session_is_told_of_once_when_it_comes_and_once_when_it_goes(
    world: World, shop: Shop
) -> None:
    peers = [world.connect() for _ in range(4)]
    peers[0].eof()
    peers[1].send(frame("DISCONNECT"))
    peers[2].send(b"nonsense\n\n\0")
    peers[3].close()
    world.advance(60)
    came = [each.session_id for each in shop.heard(SessionConnected)]
    went = [each.session_id for each in shop.heard(SessionDisconnected)]
    assert len(set(came)) == len(came) == 4
    assert sorted(went) == sorted(came)

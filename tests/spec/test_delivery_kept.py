"""docs/contributing/promises.md: what is guaranteed of messages that are kept."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stocksync_ws import (
    MessageDropped,
)
from stocksync_ws.testing.world import World
from tests.spec.delivering import Shop, bodies, fill, limited, recover
from tests.spec.talk import frame


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def world(broker: Callable[..., World], shop: Shop) -> World:
    return broker(shop.app)


# Queues


def test_a_queue_keeps_a_message_until_one_consumer_took_it(world: World) -> None:
    fill(world, "/queue/a", *"abcd")
    world.advance(3600)
    first, second = world.connect(), world.connect()
    first.subscribe("/queue/a", ack="client", prefetch_count="2")
    second.subscribe("/queue/a", ack="client", prefetch_count="2")
    assert bodies(first) == [b"a", b"b"]
    assert bodies(second) == [b"c", b"d"]


def test_consumers_of_a_queue_are_served_in_turn(world: World) -> None:
    consumers = [world.connect() for _ in range(3)]
    for each in consumers:
        each.subscribe("/queue/a")
    fill(world, "/queue/a", *"abcdef")
    assert [bodies(each) for each in consumers] == [[b"a", b"d"], [b"b", b"e"], [b"c", b"f"]]


def test_what_a_dead_consumer_did_not_acknowledge_goes_to_another_in_its_old_place(
    world: World,
) -> None:
    first = world.connect()
    first.subscribe("/queue/a", ack="client", prefetch_count="2")
    fill(world, "/queue/a", *"abcd")
    assert bodies(first) == [b"a", b"b"]
    first.eof()
    second = world.connect()
    second.subscribe("/queue/a", ack="client")
    got = second.frames()
    assert [each.body for each in got] == [b"a", b"b", b"c", b"d"]
    assert [each.headers["redelivered"] for each in got] == ["true", "true", "false", "false"]


def test_a_full_queue_refuses_a_client_and_tells_the_server(broker: Callable[..., World]) -> None:
    shop, world = limited(broker, queue_messages=1)
    fill(world, "/queue/a", "x")
    peer = world.connect()
    peer.send_to("/queue/a", "y")
    assert peer.error().headers["code"] == "queue-full"
    assert peer.closed == 1013
    shop.app.template.convert_and_send("/queue/a", "z")
    world.settle()
    (event,) = shop.heard(MessageDropped)
    assert event.reason == "queue-full"
    assert world.counters.messages_dropped == 1


def test_in_auto_mode_a_consumer_that_is_blocked_is_skipped(world: World) -> None:
    blocked, other = world.connect(), world.connect()
    blocked.subscribe("/queue/a")
    other.subscribe("/queue/a")
    blocked.stream.open_window(0)
    fill(world, "/queue/a", *"abcd")
    assert bodies(other) == [b"b", b"c", b"d"]


def test_in_auto_mode_what_was_not_handed_to_the_transport_goes_back(
    world: World, shop: Shop
) -> None:
    blocked, other = world.connect(), world.connect()
    blocked.subscribe("/queue/a")
    blocked.stream.open_window(0)
    for letter in (b"a", b"b"):  # in one step: the second waits behind 60 KB
        shop.app.template.send("/queue/a", letter * 60_000)
    world.settle()
    other.subscribe("/queue/a")
    other.nothing()
    blocked.eof()
    (got,) = other.frames()
    assert got.body == b"b" * 60_000
    assert "redelivered" not in got.headers


# Coming back


def test_a_durable_name_keeps_what_its_user_missed(world: World) -> None:
    peer = world.connect(login="ann")
    peer.subscribe("/topic/a", id="mine", durable="true")
    peer.eof()
    fill(world, "/topic/a", *"abc")
    world.advance(299)
    peer = world.connect(login="ann")
    peer.subscribe("/topic/a", id="mine", durable="true")
    assert bodies(peer) == [b"a", b"b", b"c"]
    fill(world, "/topic/a", "d")
    assert bodies(peer) == [b"d"]


def test_a_durable_name_that_missed_too_much_is_told_how_much(
    broker: Callable[..., World],
) -> None:
    _, world = limited(broker, durable_messages=3)
    peer = world.connect(login="ann")
    peer.subscribe("/topic/a", id="mine", durable="true")
    peer.eof()
    fill(world, "/topic/a", *"abcde")
    peer = world.connect(login="ann")
    peer.subscribe("/topic/a", id="mine", durable="true")
    got = peer.frames()
    assert [each.body for each in got] == [b"c", b"d", b"e"]
    assert [each.headers.get("dropped") for each in got] == ["2", None, None]


def test_a_recovery_brings_everything_missed_exactly_once(world: World) -> None:
    peer = world.connect()
    peer.subscribe("/topic/history/a")
    fill(world, "/topic/history/a", *"abcdef")
    last = peer.frames()[1].headers["message-id"]
    peer.eof()
    fill(world, "/topic/history/a", *"gh")
    peer = world.connect()
    receipt, got = recover(peer, "/topic/history/a", last)
    assert receipt.headers["recovered"] == "true"
    assert receipt.headers["replayed"] == "6"
    assert [each.body for each in got] == [b"c", b"d", b"e", b"f", b"g", b"h"]
    assert {each.headers["replayed"] for each in got} == {"true"}
    fill(world, "/topic/history/a", "i")
    (live,) = peer.frames()
    assert "replayed" not in live.headers


def test_a_client_that_saw_nothing_yet_can_recover_too(world: World) -> None:
    peer = world.connect()
    peer.command("SUBSCRIBE", {"id": "s", "destination": "/topic/history/a", "receipt": "r"})
    last = peer.frame("RECEIPT").headers["last-message-id"]
    peer.eof()
    fill(world, "/topic/history/a", *"ab")
    receipt, got = recover(world.connect(), "/topic/history/a", last)
    assert receipt.headers["recovered"] == "true"
    assert [each.body for each in got] == [b"a", b"b"]


def test_a_recovery_that_cannot_be_whole_says_so_and_brings_nothing(world: World) -> None:
    peer = world.connect()
    peer.subscribe("/topic/history/a")
    fill(world, "/topic/history/a", "a")
    last = peer.message().headers["message-id"]
    peer.eof()
    fill(world, "/topic/history/a", *"bcdefghijkl")  # one more than the history keeps
    receipt, got = recover(world.connect(), "/topic/history/a", last)
    assert receipt.headers["recovered"] == "false"
    assert receipt.headers["replayed"] == "0"
    assert got == []


def test_a_latest_destination_brings_the_newest_value_of_each_key(world: World) -> None:
    sender = world.connect()
    for key, body in (("x", "1"), ("y", "2"), ("x", "3")):
        sender.send_to("/topic/latest", body, key=key)
    peer = world.connect()
    peer.subscribe("/topic/latest")
    assert bodies(peer) == [b"2", b"3"]
    sender.send_to("/topic/latest", "4", key="y")
    assert bodies(peer) == [b"4"]


@pytest.mark.parametrize(("wanted", "first"), [("all", "cdefghijkl"), ("3", "jkl"), ("0", "")])
def test_a_history_brings_the_newest_messages_then_what_is_live(
    world: World, wanted: str, first: str
) -> None:
    fill(world, "/topic/history/a", *"abcdefghijkl")
    peer = world.connect()
    headers = {"id": "s", "destination": "/topic/history/a", "receipt": "r", "history": wanted}
    peer.command("SUBSCRIBE", headers)
    receipt, *got = peer.frames()
    assert receipt.headers["replayed"] == str(len(first))
    assert [each.body.decode() for each in got] == [*first]
    assert all(each.headers["replayed"] == "true" for each in got)
    fill(world, "/topic/history/a", "live")
    (live,) = peer.frames()
    assert (live.body, "replayed" in live.headers) == (b"live", False)


def test_a_snapshot_comes_before_what_is_live(world: World) -> None:
    peer, sender = world.connect(), world.connect()
    world.hold_pool()
    peer.send(frame("SUBSCRIBE", id="s", destination="/topic/shelf", receipt="r"))
    sender.send_to("/topic/shelf", "meanwhile")
    peer.nothing()
    world.release_pool()
    sender.send_to("/topic/shelf", "later")
    receipt, snapshot, *live = peer.frames()
    assert receipt.command == "RECEIPT"
    assert snapshot.headers["snapshot"] == "true"
    assert snapshot.body == b"all there is"
    assert [each.body for each in live] == [b"meanwhile", b"later"]


# SEND with a key


def test_a_repeated_send_with_a_key_is_published_once(world: World) -> None:
    peer, listener = world.connect(login="ann"), world.connect()
    listener.subscribe("/topic/a")
    receipts = []
    for _ in range(3):
        peer.send_to("/topic/a", "x", idempotency_key="k", receipt="r")
        receipts.append(peer.frame("RECEIPT").headers)
        world.advance(40)
        peer.beat()
        listener.beat()
    assert bodies(listener) == [b"x"]
    assert [each.get("duplicate") for each in receipts] == [None, "true", "true"]
    assert len({each["message-id"] for each in receipts}) == 1

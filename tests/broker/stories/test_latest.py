"""Newest values and snapshots: what a subscriber gets before what is live."""

from __future__ import annotations

import asyncio
from typing import Any

from stocksync_ws import StompApp, policies
from tests.broker.kit import Broker, ack, bodies, epoch, resubscribe

STREAM = {"/topic/s": policies.Stream(history=5, seconds=60.0)}


# Newest values


LATEST = {"/topic/l": policies.Latest(), "/topic/sku/*": policies.Latest(key="sku")}


def test_a_subscriber_gets_the_newest_of_each_key_in_order_of_publication() -> None:
    with Broker(LATEST) as world:
        for key, body in (("a", "1"), ("b", "2"), ("a", "3"), ("c", "4")):
            world.publish("/topic/l", body, key=key)
        peer = world.connect()
        headers = resubscribe(peer, "/topic/l").headers
        assert "recovered" not in headers
        frames = peer.frames()
        assert [frame.body for frame in frames] == [b"2", b"3", b"4"]
        assert all(frame.headers["replayed"] == "true" for frame in frames)
        world.publish("/topic/l", "5", key="b")
        assert "replayed" not in peer.message().headers


def test_without_the_key_header_the_destination_is_the_key() -> None:
    with Broker(LATEST) as world:
        world.publish("/topic/sku/x", "1", "2", key="ignored")
        world.publish("/topic/sku/x", "3", sku="s")
        peer = world.connect()
        resubscribe(peer, "/topic/sku/x")
        assert bodies(peer) == ["2", "3"]


def test_recovery_of_newest_values_gets_only_what_is_newer_and_always_succeeds() -> None:
    with Broker(LATEST) as world:
        for key, body in (("a", "1"), ("b", "2"), ("c", "3")):
            world.publish("/topic/l", body, key=key)
        first = world.connect()
        last = resubscribe(first, "/topic/l").headers["last-message-id"]
        world.publish("/topic/l", "4", key="a")
        second = world.connect()
        headers = resubscribe(second, "/topic/l", last_message_id=last).headers
        assert (headers["recovered"], headers["replayed"]) == ("true", "1")
        assert bodies(second) == ["4"]
        third = world.connect()
        headers = resubscribe(third, "/topic/l", last_message_id="other-9").headers
        assert (headers["recovered"], headers["replayed"]) == ("true", "3")


def test_a_slow_subscriber_gets_newest_values_only_and_is_told_how_many_it_lost() -> None:
    with Broker(LATEST) as world:
        peer = world.connect()
        resubscribe(peer, "/topic/l")
        peer.stream.open_window(0)
        world.publish("/topic/l", "0", key="z")
        for number in range(50):
            world.publish("/topic/l", str(number), key="a")
        peer.stream.open_window(None)
        world.settle()
        first, second = peer.frames()
        assert (first.body, second.body) == (b"0", b"49")
        assert second.headers["dropped"] == "49"


def test_a_newer_value_takes_the_place_of_one_whose_redelivery_pauses() -> None:
    with Broker(LATEST) as world:
        peer = world.reader("/topic/l", ack="client-individual", prefetch_count="1")
        world.publish("/topic/l", "old", key="a")
        for _ in range(2):
            ack(peer, peer.message(), "NACK")  # the third delivery comes after a second
        world.publish("/topic/l", "new", key="a")
        peer.nothing()
        world.advance(1.0)
        assert bodies(peer) == ["new"]


def test_keys_are_bounded() -> None:
    with Broker(LATEST, max_keys=2) as world:
        for key in "abc":
            world.publish("/topic/l", key, key=key)
        peer = world.connect()
        resubscribe(peer, "/topic/l")
        assert bodies(peer) == ["b", "c"]


# Snapshots


class Snapshot:
    """A snapshot that waits until it is released."""

    def __init__(self, answer: Any = "now") -> None:
        self.release = asyncio.Event()
        self.answer = answer
        self.asked = 0

    def prepare(self, app: StompApp) -> None:
        @app.snapshot("/topic/{name}")
        async def current(name: str) -> str:
            self.asked += 1
            await self.release.wait()
            if isinstance(self.answer, Exception):
                raise self.answer
            return f"{name}:{self.answer}"


def test_receipt_then_snapshot_then_what_came_meanwhile_then_live() -> None:
    snapshot = Snapshot()
    with Broker(prepare=snapshot.prepare) as world:
        peer = world.connect()
        peer.command("SUBSCRIBE", {"destination": "/topic/a", "id": "s", "receipt": "r"})
        world.publish("/topic/a", "1", "2")
        peer.nothing()
        snapshot.release.set()
        world.settle()
        world.publish("/topic/a", "3")
        frames = peer.frames()
        assert [frame.command for frame in frames] == ["RECEIPT"] + ["MESSAGE"] * 4
        assert [frame.body for frame in frames[1:]] == [b"a:now", b"1", b"2", b"3"]
        assert frames[1].headers["snapshot"] == "true"
        assert "snapshot" not in frames[2].headers


def test_two_whose_snapshots_end_in_one_turn_share_what_came_meanwhile() -> None:
    snapshot = Snapshot()
    with Broker(prepare=snapshot.prepare) as world:
        peers = [world.connect() for _ in range(2)]
        for peer in peers:
            peer.command("SUBSCRIBE", {"destination": "/topic/a", "id": "s"})
        world.publish("/topic/a", "1", "2")
        snapshot.release.set()
        world.settle()
        assert [bodies(peer) for peer in peers] == [["a:now", "1", "2"]] * 2
        assert world.broker.office.total == 0


def test_a_snapshot_that_fails_leaves_no_subscription() -> None:
    snapshot = Snapshot(ValueError("no"))
    with Broker(prepare=snapshot.prepare) as world:
        peer = world.connect()
        peer.subscribe("/user/queue/errors", "e")
        peer.command("SUBSCRIBE", {"destination": "/topic/a", "id": "s", "receipt": "r"})
        snapshot.release.set()
        world.settle()
        assert b'"receipt_id":"r"' in peer.message().body
        world.publish("/topic/a", "1")
        peer.nothing()
        assert not [a for a in world.broker.delivery.registry.known if a == "/topic/a"]
        peer.command("UNSUBSCRIBE", {"id": "s", "receipt": "u"})
        peer.frame("RECEIPT")


def test_after_a_recovery_there_is_no_snapshot_and_after_a_failed_one_there_is() -> None:
    snapshot = Snapshot()
    snapshot.release.set()
    with Broker(STREAM, prepare=snapshot.prepare) as world:
        world.publish("/topic/s", "1", "2")
        peer = world.connect()
        resubscribe(peer, last_message_id=f"{epoch(world)}-1")
        assert (bodies(peer), snapshot.asked) == (["2"], 0)
        peer = world.connect()
        resubscribe(peer, last_message_id="other-1")
        assert (bodies(peer), snapshot.asked) == (["s:now"], 1)


def test_a_session_that_ends_during_its_snapshot_leaves_nothing() -> None:
    snapshot = Snapshot()
    with Broker(prepare=snapshot.prepare) as world:
        peer = world.connect()
        peer.command("SUBSCRIBE", {"destination": "/topic/a", "id": "s"})
        world.publish("/topic/a", "1")
        peer.eof()
        world.advance(10)
        assert not world.broker.delivery.registry.known
        assert world.broker.delivery.registry.stored.size == 0

"""Competing consumers: whose turn it is, whatever opens and closes, and what it costs."""

from __future__ import annotations

from typing import Any

import pytest

from stocksync_ws.broker.delivery.queues import Queues
from stocksync_ws.testing.peer import Peer
from tests.broker.kit import Broker, ack, bodies, drafted, resubscribe


def consumers(world: Broker, number: int, **more: str) -> list[Peer]:
    return [world.reader("/queue/a", ack="client-individual", **more) for _ in range(number)]


def test_who_was_skipped_comes_before_those_who_were_served_meanwhile() -> None:
    with Broker() as world:
        one, two, three = consumers(world, 3, prefetch_count="1")
        world.publish("/queue/a", *"abc")
        first = one.message()
        second = two.message()
        third = three.message()
        ack(three, third)
        world.publish("/queue/a", "d")
        ack(three, three.message())
        ack(two, second)
        ack(one, first)
        world.publish("/queue/a", *"ef")
        assert [bodies(peer) for peer in (one, two, three)] == [["e"], ["f"], []]


def test_a_window_that_opens_by_abort_or_retry_is_used_at_once() -> None:
    with Broker() as world:
        peer = world.connect()
        peer.subscribe("/topic/a", "s", ack="client")
        world.publish("/topic/a", "1", "2")
        got = peer.frames()
        for _ in range(2):
            ack(peer, got[-1], "NACK")
            got = peer.frames() or got
        peer.command("UNSUBSCRIBE", {"id": "s"})
        peer.subscribe("/queue/a", "s", ack="client", prefetch_count="3")
        world.publish("/queue/a", "3", "4")
        assert bodies(peer) == ["3"]
        world.advance(2)  # the retries of the topic find no subscription, and free their places
        assert bodies(peer) == ["4"]


def test_what_is_too_large_for_one_window_goes_to_another_and_small_ones_still_come() -> None:
    with Broker(ack_window_bytes=1_000) as world:
        tight, wide = consumers(world, 2)
        world.publish("/queue/a", "x" * 800)
        assert len(bodies(tight)) == 1
        world.publish("/queue/a", "y" * 900)
        assert len(bodies(wide)) == 1
        world.publish("/queue/a", "z" * 100, "z")
        assert bodies(tight) == ["z" * 100]
        assert bodies(wide) == ["z"]


def test_what_is_too_large_for_all_waits_for_the_first_ack() -> None:
    with Broker(ack_window_bytes=1_000) as world:
        peer = world.reader("/queue/a", ack="client")
        world.publish("/queue/a", "x" * 800, "y" * 900, "z")
        message = peer.message()
        peer.nothing()
        ack(peer, message)
        assert bodies(peer) == ["y" * 900, "z"]


def test_consumers_that_leave_leave_the_turn() -> None:
    with Broker() as world:
        stays, peer = world.reader("/queue/a"), world.connect()
        for number in range(300):
            peer.subscribe("/queue/a", f"{number}")
            peer.command("UNSUBSCRIBE", {"id": f"{number}"})
        channel = world.broker.delivery.registry.find("/queue/a")
        assert channel is not None
        assert len(channel.turn) < 80
        world.publish("/queue/a", "x")
        assert bodies(stays) == ["x"]


@pytest.mark.parametrize("number", [10, 80])
def test_an_ack_looks_at_few_consumers_however_many_there_are(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Broker() as world:
        peer = world.connect()
        for at in range(number):
            peer.subscribe("/queue/a", f"{at}", ack="client-individual", prefetch_count="2")
        for _ in range(number * 2 + 20):
            world.publish("/queue/a", "x")
        out = peer.frames()
        looks = 0
        is_open = Queues._is_open

        def counted(self: Queues, consumer: Any) -> bool:
            nonlocal looks
            looks += 1
            return is_open(self, consumer)

        monkeypatch.setattr(Queues, "_is_open", counted)
        peer.stream.open_window(0)
        for message in out[:20]:
            ack(peer, message)
        assert looks <= 20 * 3 + number


def test_a_session_gives_back_from_mailbox_and_ledger_in_one_order() -> None:
    with Broker() as world:
        dying = world.connect()
        dying.subscribe("/queue/a", "auto")
        dying.subscribe("/queue/a", "acked", ack="client")
        dying.stream.open_window(0)
        for number in "123456":  # in one step, so that none finds the transport blocked
            world.app.template.send("/queue/a", number.encode() + b"x" * 9_000)
        world.settle()
        dying.stream.open_window(None)
        dying.stream.open_window(0)
        for number in "789":
            world.app.template.send("/queue/a", number.encode() + b"x" * 30_000)
        world.settle()
        other = world.reader("/queue/a", ack="client-individual", prefetch_count="1")
        dying.eof()
        got: list[str] = []
        while frames := other.frames():
            got += [frame.body.decode()[0] for frame in frames]
            ack(other, frames[-1])
        assert got == sorted(got)
        assert set("2468") <= set(got)


def test_a_message_that_never_left_is_no_redelivery() -> None:
    with Broker() as world:
        dying = world.reader("/queue/a", ack="client")
        dying.stream.open_window(0)
        for letter in "ab":
            world.app.template.send("/queue/a", letter.encode() * 60_000)
        world.settle()
        other = world.reader("/queue/a", ack="client")
        dying.eof()
        handed, waited = other.frames()
        assert handed.headers["redelivered"] == "true"
        assert waited.headers["redelivered"] == "false"


def test_receivers_and_counters_of_a_queue() -> None:
    with Broker() as world:
        assert world.runtime.driver.publish(_draft("1")).receivers == 0
        assert world.counters.messages_unrouted == 0
        consumers(world, 2)
        world.settle()
        assert world.counters.messages_queued == 1
        assert world.runtime.driver.publish(_draft("2")).receivers == 1
        assert world.counters.messages_published == 2


def _draft(body: str) -> Any:

    return drafted("/queue/a", (), body.encode())


def test_a_queue_has_no_history_to_recover_from_and_says_so() -> None:
    with Broker() as world:
        peer = world.connect()
        receipt = resubscribe(peer, "/queue/a", last_message_id="x-1").headers
        assert (receipt["recovered"], receipt["replayed"]) == ("false", "0")
        other = world.connect()
        fields = {"id": "s", "destination": "/queue/b", "last-message-id": "x-1"}
        other.command("SUBSCRIBE", fields)
        world.publish("/queue/b", "1", "2")
        told = [frame.headers.get("recovered") for frame in other.frames()]
        assert told == ["false", None]
        assert world.counters.recoveries_failed == 2


def test_a_queue_whose_subscribe_is_refused_is_not_left_behind() -> None:
    with Broker(max_queues=1) as world:
        peer = world.connect()
        peer.command("SUBSCRIBE", {"id": "s", "destination": "/queue/a", "prefetch-count": "x"})
        assert peer.frames()[-1].headers["code"] == "bad-header"
        assert not world.broker.delivery.registry.known
        world.reader("/queue/b")

"""ACK and NACK around the corners: other subscriptions, other modes, forgotten ids, and the end."""

from __future__ import annotations

import asyncio

import pytest

from stocksync_ws import StompApp, policies
from stocksync_ws.broker.calls.events import SessionDisconnected
from stocksync_ws.testing.peer import client_frame
from tests.broker.kit import Broker, ack, bodies


def test_cumulative_does_not_reach_into_an_ended_subscription_of_the_same_id() -> None:
    with Broker() as world:
        peer = world.reader("/queue/a", ack="client")
        world.publish("/queue/a", "job")
        peer.message()
        peer.command("UNSUBSCRIBE", {"id": "s"})
        peer.subscribe("/topic/b", "s", ack="client")
        world.publish("/topic/b", "1", "2")
        ack(peer, peer.frames()[-1])
        assert world.counters.messages_settled == 2
        peer.eof()
        assert bodies(world.reader("/queue/a")) == ["job"]


def test_the_mode_is_the_one_at_delivery() -> None:
    with Broker() as world:
        peer = world.reader("/queue/a", ack="client-individual")
        world.publish("/queue/a", *"123")
        messages = peer.frames()
        peer.command("UNSUBSCRIBE", {"id": "s"})
        peer.subscribe("/queue/b", "s", ack="client")
        ack(peer, messages[2])
        assert world.counters.messages_settled == 1


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_a_late_repeat_is_no_error_however_many_ids_there_were(version: str) -> None:
    with Broker(max_subscriptions=2) as world:
        peer = world.connect(version)
        first = None
        for number in range(12):
            peer.subscribe("/topic/a", f"{number}", ack="client")
            world.publish("/topic/a", "x")
            message = peer.message()
            ack(peer, message)
            first = first or message
            peer.command("UNSUBSCRIBE", {"id": f"{number}"})
        assert first is not None
        ack(peer, first, receipt="r")
        peer.frame("RECEIPT")
        assert len(next(iter(world.broker.sessions.values())).subscriptions.ledgers or ()) <= 4


def test_ids_that_are_owed_acknowledgements_are_bounded() -> None:
    with Broker(max_subscriptions=2) as world:
        peer = world.connect()
        for number in range(4):
            peer.subscribe("/queue/a", f"{number}", ack="client")
            world.publish("/queue/a", "x")
            peer.message()
            peer.command("UNSUBSCRIBE", {"id": f"{number}"})
        peer.command("SUBSCRIBE", {"id": "5", "destination": "/queue/a", "ack": "client"})
        assert peer.error().headers["code"] == "limit"


@pytest.mark.parametrize("place", ["/topic/a", "/queue/a"])
def test_what_goes_back_together_comes_back_together_and_in_order(place: str) -> None:
    with Broker() as world:
        peer = world.reader(place, ack="client")
        world.publish(place, "1")
        for _ in range(2):
            ack(peer, peer.message(), "NACK")
        world.advance(1)
        peer.message()
        world.publish(place, "2")
        ack(peer, peer.message(), "NACK")  # the first has failed three times, the second never
        world.advance(1.5)
        peer.nothing()
        world.advance(1)
        assert bodies(peer) == ["1", "2"]


@pytest.mark.parametrize("place", ["/topic/a", "/queue/a"])
@pytest.mark.parametrize("mode", ["client", "client-individual"])
def test_the_receipt_of_a_nack_comes_before_what_it_brings_again(place: str, mode: str) -> None:
    with Broker() as world:
        peer = world.reader(place, ack=mode)
        world.publish(place, "1")
        ack(peer, peer.message(), "NACK", receipt="r")
        assert [frame.command for frame in peer.frames()] == ["RECEIPT", "MESSAGE"]


@pytest.mark.parametrize("fields", [{}, {"id": "nonsense"}, {"id": "auto.7"}])
def test_an_ack_that_names_an_auto_subscription_is_ignored_whatever_else_it_says(
    fields: dict[str, str],
) -> None:
    with Broker() as world:
        peer = world.reader("/topic/a")
        peer.command("ACK", fields | {"subscription": "s", "receipt": "1"})
        peer.command("UNSUBSCRIBE", {"id": "s"})
        peer.command("NACK", fields | {"subscription": "s", "receipt": "2"})
        receipts = [frame.headers["receipt-id"] for frame in peer.frames()]
        assert receipts == ["1", "2"]
        assert world.counters.acks_ignored == 2
        peer.command("ACK", fields | {"subscription": "t"})
        assert peer.error().headers["code"] in ("missing-header", "unknown-ack")


def test_the_ack_clock_stands_while_a_delivery_lies_in_the_mailbox() -> None:
    with Broker() as world:
        peer = world.reader("/topic/a", ack="client-individual")
        peer.stream.open_window(0)
        world.publish("/topic/a", "0" * 70_000)
        world.publish("/topic/a", "1")
        world.advance(40)
        assert world.counters.ack_timeouts == 1  # of the first, which the transport has
        peer.stream.open_window(None)
        got = [frame.body[:1] for frame in peer.frames()]
        assert got == [b"0", b"1", b"0"]
        world.advance(31)
        assert world.counters.ack_timeouts == 3


def test_a_newer_value_takes_the_place_of_a_redelivery() -> None:
    with Broker({"/topic/s": policies.Latest()}) as world:
        peer = world.reader("/topic/s", ack="client-individual")
        world.publish("/topic/s", "old", key="k")
        old = peer.message()
        world.publish("/topic/s", "new", key="k")
        assert bodies(peer) == ["new"]
        ack(peer, old, "NACK")
        peer.nothing()


# The end


def slow(app: StompApp) -> None:
    @app.message_mapping("/slow")
    async def slow_one() -> None:
        await asyncio.sleep(1)


FRAMES = (
    b"BEGIN\ntransaction:t\n\n\0",
    b"SEND\ndestination:/topic/a\ntransaction:t\n\nin it\0",
    b"COMMIT\ntransaction:t\n\n\0",
    b"SEND\ndestination:/topic/a\n\nbehind it\0",
)


def test_what_had_arrived_before_the_end_takes_effect() -> None:
    with Broker(prepare=slow) as world:
        reader = world.reader("/topic/a")
        peer = world.reader("/queue/a", ack="client-individual")
        world.publish("/queue/a", *"123")
        one, two, _ = peer.frames()
        peer.send_to("/app/slow")
        ack(peer, one)
        ack(peer, two, "NACK", requeue="false")
        for frame in FRAMES:
            peer.send(frame)
        peer.eof()
        assert not world.heard(SessionDisconnected)
        world.advance(2)
        assert bodies(reader) == ["in it", "behind it"]
        assert world.counters.messages_settled == 1
        assert world.counters.messages_dead == 1
        assert bodies(world.reader("/queue/a")) == ["3"]
        assert len(world.heard(SessionDisconnected)) == 1


def test_an_unsubscribe_that_had_arrived_still_deletes_its_name() -> None:
    with Broker(prepare=slow) as world:
        peer = world.connect(login="ann")
        peer.subscribe("/topic/a", "s", durable="true")
        peer.send_to("/app/slow")
        peer.command("UNSUBSCRIBE", {"id": "s", "durable": "true"})
        peer.eof()
        world.publish("/topic/a", "1")
        world.advance(2)
        assert not world.broker.delivery.registry.known


def test_a_transaction_that_was_not_committed_before_the_end_is_undone() -> None:
    with Broker() as world:
        peer = world.reader("/queue/a", ack="client")
        world.publish("/queue/a", "1")
        peer.command("BEGIN", {"transaction": "t"})
        ack(peer, peer.message(), transaction="t")
        peer.eof()
        (again,) = world.reader("/queue/a", ack="client").frames()
        assert again.headers["redelivered"] == "true"


def test_more_frames_than_a_turn_takes_are_processed_behind_the_end() -> None:
    with Broker() as world:
        reader = world.reader("/topic/a")
        peer = world.connect()
        many = FRAMES[0] + FRAMES[1] * 100 + FRAMES[2] + b"DISCONNECT\n\n\0"
        world.runtime.driver.feed(
            peer.stream.link, client_frame(1, many) + client_frame(8, b"\x03\xe8")
        )
        world.settle()
        assert len(bodies(reader)) == 100
        assert world.counters.transactions_aborted == 0

"""Durable names whose holder ends half way: whose is what had not left, and what is told of it."""

from __future__ import annotations

import pytest

from stocksync_ws import StompApp, policies
from stocksync_ws.broker.calls.events import DeadLetter, MessageDropped
from stocksync_ws.testing.peer import Peer
from tests.broker.kit import Broker, ack, bodies, resubscribe


def named(world: Broker, **more: str) -> Peer:
    """A client that holds the name."""
    peer = world.connect(login="ann")
    resubscribe(peer, durable="true", **more)
    return peer


def blocked(world: Broker, peer: Peer) -> Peer:
    """Its transport takes nothing, and holds bytes already."""
    peer.subscribe("/topic/other", "other")
    peer.stream.open_window(0)
    world.publish("/topic/other", "in the way")
    return peer


def told(peer: Peer) -> list[tuple[str, str | None]]:
    return [(frame.body[:1].decode(), frame.headers.get("dropped")) for frame in peer.frames()]


def test_what_had_not_left_expires_on_time_also_when_its_name_is_away() -> None:
    with Broker() as world:
        peer = blocked(world, named(world))
        world.publish("/topic/s", "1", expiration="1000")
        peer.eof()
        world.advance(2)
        assert [event.reason for event in world.heard(DeadLetter)] == ["expired"]
        channel = world.broker.delivery.registry.find("/topic/s")
        assert channel is not None
        assert not len(channel.log)
        world.advance(300)
        assert world.counters.messages_dropped == 0


def test_what_never_left_for_two_holders_is_no_redelivery_to_the_third() -> None:
    with Broker() as world:
        first = blocked(world, named(world, ack="client"))
        world.publish("/topic/s", "1")
        first.eof()
        second = blocked(world, world.connect(login="ann"))
        second.command("SUBSCRIBE", {"destination": "/topic/s", "id": "s", "durable": "true"})
        second.eof()
        message = named(world).message()
        assert message.body == b"1"
        assert message.headers.get("redelivered", "false") == "false"


def test_what_was_under_way_before_there_was_a_name_does_not_come_back_to_it() -> None:
    with Broker() as world:
        world.reader("/topic/s")
        peer = world.connect(login="ann")
        resubscribe(peer)
        blocked(world, peer)
        world.publish("/topic/s", "1")
        peer.command("UNSUBSCRIBE", {"id": "s"})
        peer.command("SUBSCRIBE", {"destination": "/topic/s", "id": "s", "durable": "true"})
        world.publish("/topic/s", "2")
        peer.eof()
        assert bodies(named(world)) == ["2"]


@pytest.mark.parametrize("policy", [policies.Stream(history=3), policies.Topic()])
def test_what_the_log_had_trimmed_but_a_mailbox_held_is_not_lost(
    policy: policies.DestinationPolicy,
) -> None:
    with Broker({"/topic/s": policy}) as world:
        peer = blocked(world, named(world))
        world.publish("/topic/s", *"12345678")
        peer.eof()
        assert told(named(world)) == [(number, None) for number in "12345678"]
        assert world.counters.messages_dropped == 0


def returning(world: Broker) -> Peer:
    """The name is taken by a client in whose transport and mailbox only a few fit."""
    peer = world.connect(login="ann")
    peer.subscribe("/topic/other", "other")
    peer.stream.open_window(0)
    world.app.template.send("/topic/other", b"x" * 40_000)  # in one turn with what follows
    peer.command("SUBSCRIBE", {"destination": "/topic/s", "id": "s", "durable": "true"})
    world.settle()
    return peer


def test_a_loss_that_could_not_be_told_is_told_to_the_next_holder() -> None:
    with Broker(durable_messages=5) as world:
        named(world).eof()
        world.publish("/topic/s", *(number + "x" * 30_000 for number in "12345678"))
        returning(world).eof()
        assert told(named(world)) == [("4", "3"), *((number, None) for number in "5678")]
        assert world.counters.messages_dropped == 3


def test_a_loss_behind_what_was_held_is_counted_once() -> None:
    with Broker(durable_messages=5) as world:
        named(world).eof()
        world.publish("/topic/s", *(number + "x" * 30_000 for number in "1234"))
        peer = returning(world)
        world.publish("/topic/s", *(number + "x" * 30_000 for number in "56789"))
        peer.eof()
        came = told(named(world))
        assert [number for number, _ in came] == [*"123", *"56789"]
        assert sum(int(dropped) for _, dropped in came if dropped) == 1
        assert [(e.reason, e.count) for e in world.heard(MessageDropped)] == [("slow-consumer", 1)]
        assert world.counters.messages_dropped == 1


def test_a_late_cumulative_acknowledgement_does_not_settle_what_has_not_left() -> None:
    with Broker({"/topic/s": policies.Topic(ack_timeout=2)}) as world:
        peer = named(world, ack="client")
        world.publish("/topic/s", "1")
        one = peer.message()
        blocked(world, peer)
        world.publish("/topic/s", "2")
        world.advance(2.5)  # the one waits again, behind the two
        ack(peer, one)
        assert world.counters.messages_settled == 1
        peer.eof()
        assert bodies(named(world, ack="client")) == ["2"]


def welcome(app: StompApp) -> None:
    @app.snapshot("/topic/s")
    async def snapshot() -> str:
        return "so far"


def test_a_snapshot_and_what_comes_back_share_an_id_and_are_acknowledged_each() -> None:
    with Broker({"/topic/s": policies.Stream()}, prepare=welcome) as world:
        peer = world.connect("1.1", login="ann")
        resubscribe(peer, durable="true", ack="client-individual")
        world.publish("/topic/s", "1")
        ack(peer, peer.message())
        peer.eof()
        peer = world.connect("1.1", login="ann")
        resubscribe(peer, durable="true", ack="client-individual")
        snapshot, again = peer.frames()
        assert (snapshot.body, again.body) == (b"so far", b"1")
        assert snapshot.headers["message-id"] == again.headers["message-id"]
        for message in (snapshot, again):
            ack(peer, message)
        world.advance(31)
        peer.nothing()
        assert world.counters.acks_ignored == 0
        assert world.counters.ack_timeouts == 0

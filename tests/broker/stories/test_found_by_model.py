"""What the model run found in the broker, each as the shortest script that shows it."""

from __future__ import annotations

import asyncio

from stocksync_ws import DeadLetter, StompApp, policies
from tests.broker.kit import Broker, ack, bodies


def test_what_is_refused_goes_to_the_consumer_whose_turn_it_is() -> None:
    with Broker() as world:
        peer = world.connect()
        peer.subscribe("/queue/a", "first", ack="client", prefetch_count="1")
        peer.subscribe("/queue/a", "other")
        world.publish("/queue/a", "1", "2", "3")
        first = peer.frames()[0]
        ack(peer, first, "NACK")
        # The first has been served longest ago, and its window is open again.
        assert peer.message().headers["subscription"] == "first"


def test_a_reply_queue_that_is_made_behind_the_end_of_a_stream_is_gone_with_its_session() -> None:
    def prepare(app: StompApp) -> None:
        @app.message_mapping("/wait")
        async def wait() -> None:
            await asyncio.sleep(1)

    with Broker(prepare=prepare) as world:
        peer = world.connect()
        peer.send_to("/app/wait")
        peer.send_to("/topic/a", "question", reply_to="/temp-queue/x")
        peer.eof()
        world.advance(2)
        assert not world.broker.sessions
        assert not world.broker.delivery.registry.known


def test_what_expired_in_the_mailbox_of_a_durable_name_is_dead_when_it_comes_back() -> None:
    with Broker() as world:
        peer = world.reader("/topic/a", login="ann", durable="true")
        peer.stream.open_window(0)
        world.publish("/topic/a", "1")
        world.publish("/topic/a", "2", expiration="500")
        world.advance(2)
        peer.command("UNSUBSCRIBE", {"id": "s"})
        world.settle()
        assert [event.body for event in world.heard(DeadLetter)] == [b"2"]


def test_a_dead_letter_is_not_told_as_dropped_as_well() -> None:
    lossy = policies.Topic(overflow="drop_oldest")
    with Broker({"/topic/a": lossy}, pending_messages=1) as world:
        peer = world.reader("/topic/a", ack="client", prefetch_count="1")
        world.publish("/topic/a", "1")
        world.publish("/topic/a", "2", expiration="500")
        world.advance(1)
        world.publish("/topic/a", "3", "4", "5")
        ack(peer, peer.message())
        message = peer.message()
        assert (message.body, message.headers["dropped"]) == (b"5", "2")


def test_an_ack_counts_for_an_id_that_was_of_an_auto_subscription_before() -> None:
    with Broker() as world:
        peer = world.reader("/topic/a", "1.1")
        peer.command("UNSUBSCRIBE", {"id": "s"})
        peer.subscribe("/queue/a", "s", ack="client")
        world.publish("/queue/a", "1")
        message = peer.message()
        peer.command("UNSUBSCRIBE", {"id": "s"})
        ack(peer, message)
        peer.eof()
        assert bodies(world.reader("/queue/a")) == []


def test_a_value_that_was_superseded_by_one_that_expired_is_told() -> None:
    with Broker({"/topic/a": policies.Latest()}) as world:
        peer = world.reader("/topic/a", ack="client", prefetch_count="1")
        world.publish("/topic/a", "1", key="x")
        world.publish("/topic/a", "2", key="y")
        world.publish("/topic/a", "3", key="y", expiration="500")
        world.advance(1)
        peer.send_to("/topic/b", receipt="r")  # it is looked at, and has nothing to read any more
        ack(peer, peer.message())
        assert peer.frame("RECEIPT")
        world.publish("/topic/a", "4", key="x")
        message = peer.message()
        assert (message.body, message.headers["dropped"]) == (b"4", "2")

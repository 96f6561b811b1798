"""Destinations: made when needed, gone when not, bounded all together."""

from __future__ import annotations

from stocksync_ws.broker.delivery.destinations import Destinations
from stocksync_ws.broker.delivery.registry import Registry
from stocksync_ws.broker.delivery.room import Delivery
from stocksync_ws.config import BrokerConfig, Limits
from tests.broker.kit import Broker, environment, policy, publication

STREAMS = {
    "/topic/first/**": policy(kind="stream"),
    "/topic/**": policy(kind="latest"),
}


def store(**limits: int) -> tuple[Destinations, Registry]:
    settings = {"max_total_queued": 10**9, "send_queue": 1} | limits
    config = BrokerConfig(destinations=STREAMS, limits=Limits(**settings))
    delivery = Delivery(environment(config))
    return delivery.destinations, delivery.registry


def test_the_first_policy_that_matches_counts() -> None:
    made, _ = store()
    assert made.policy("/topic/first/x").kind == "stream"
    assert made.policy("/topic/x").kind == "latest"
    assert made.policy("/queue/x").kind == "transient"
    assert made.policy(("ann", "/topic/x")).kind == "transient"


def test_history_is_kept_though_nobody_needs_it_and_the_rest_is_not() -> None:
    made, registry = store()
    kept, queue = made.open_topic("/topic/x"), made.open_queue("/queue/x")
    registry.release_topic(kept)
    registry.release_queue(queue)
    assert list(registry.known) == ["/topic/x"]
    assert kept.log.epoch == "token0-72"
    assert made.open_topic("/topic/x") is kept


def test_the_history_that_was_used_longest_ago_goes_first() -> None:
    made, registry = store(max_streams=2)
    first = made.open_topic("/topic/1")
    first.log.append(publication(1, "e-1", "/t", (), b"x", 0.0))
    made.open_topic("/topic/2")
    made.open_topic("/topic/1")
    made.open_topic("/topic/3")
    assert list(registry.known) == ["/topic/1", "/topic/3"]
    made.open_topic("/topic/4")
    assert list(registry.known) == ["/topic/3", "/topic/4"]
    assert registry.stored.size == 0


def test_histories_give_way_to_what_is_stored_newly_and_queues_do_not() -> None:
    with Broker({"/topic/s": policy(kind="stream")}, max_stored=100) as world:
        world.publish("/topic/s", "x" * 50)
        world.publish("/queue/a", "y" * 60)
        channel = world.broker.delivery.registry.find("/topic/s")
        assert channel is not None
        assert (len(channel.log), channel.log.lost) == (0, 1)
        world.publish("/queue/a", "z" * 60)
        assert world.counters.messages_dropped == 1
        assert world.broker.delivery.registry.stored.size == 68


def test_a_subscription_alone_leaves_nothing_behind() -> None:
    with Broker() as world:
        peer = world.reader("/topic/a")
        peer.subscribe("/user/queue/x", "u")
        assert len(world.broker.delivery.registry.known) == 2
        peer.eof()
        assert not world.broker.delivery.registry.known

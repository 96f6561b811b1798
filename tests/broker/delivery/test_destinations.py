"""Destinations: made when needed, gone when not, bounded all together."""

from __future__ import annotations

from stocksync_ws.broker.delivery.destinations import Destinations
from stocksync_ws.broker.model.publication import Publication
from stocksync_ws.config import BrokerConfig, Limits
from tests.broker.kit import Broker, environment, policy

STREAMS = {
    "/topic/first/**": policy(kind="stream"),
    "/topic/**": policy(kind="latest"),
}


def store(**limits: int) -> Destinations:
    settings = {"max_total_queued": 10**9, "send_queue": 1} | limits
    config = BrokerConfig(destinations=STREAMS, limits=Limits(**settings))
    made = Destinations(environment(config))
    made.keeper = None
    return made


def test_the_first_policy_that_matches_counts() -> None:
    made = store()
    assert made.policy("/topic/first/x").kind == "stream"
    assert made.policy("/topic/x").kind == "latest"
    assert made.policy("/queue/x").kind == "transient"
    assert made.policy(("ann", "/topic/x")).kind == "transient"


def test_history_is_kept_though_nobody_needs_it_and_the_rest_is_not() -> None:
    made = store()
    kept, queue = made.open("/topic/x"), made.open("/queue/x")
    for channel in (kept, queue):
        made.release(channel)
    assert list(made.channels) == ["/topic/x"]
    assert kept.epoch == "token0-72"
    assert made.open("/topic/x") is kept


def test_the_history_that_was_used_longest_ago_goes_first() -> None:
    made = store(max_streams=2)
    first = made.open("/topic/1")
    first.log.append(Publication(1, "e-1", "/t", (), b"x", 0.0))
    made.open("/topic/2")
    made.open("/topic/1")
    made.open("/topic/3")
    assert list(made.channels) == ["/topic/1", "/topic/3"]
    made.open("/topic/4")
    assert list(made.channels) == ["/topic/3", "/topic/4"]
    assert made.tally.size == 0


def test_histories_give_way_to_what_is_stored_newly_and_queues_do_not() -> None:
    with Broker({"/topic/s": policy(kind="stream")}, max_stored=100) as world:
        world.publish("/topic/s", "x" * 50)
        world.publish("/queue/a", "y" * 60)
        channel = world.broker.delivery.destinations.find("/topic/s")
        assert channel is not None
        assert (len(channel.log), channel.log.lost) == (0, 1)
        world.publish("/queue/a", "z" * 60)
        assert world.counters.messages_dropped == 1
        assert world.broker.delivery.destinations.tally.size == 68


def test_a_subscription_alone_leaves_nothing_behind() -> None:
    with Broker() as world:
        peer = world.reader("/topic/a")
        peer.subscribe("/user/queue/x", "u")
        assert len(world.broker.delivery.destinations.channels) == 2
        peer.eof()
        assert not world.broker.delivery.destinations.channels

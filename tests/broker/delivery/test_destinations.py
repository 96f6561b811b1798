"""Destinations: of which kind, made when they are needed and not before."""

from __future__ import annotations

import pytest

from stocksync_ws import policies
from stocksync_ws.broker.delivery.destinations import Destinations
from stocksync_ws.broker.delivery.registry import Registry
from stocksync_ws.broker.delivery.room import Delivery
from stocksync_ws.broker.model.latest_topic import LatestTopic
from stocksync_ws.broker.model.owner import Owner
from stocksync_ws.broker.model.topic import HistoryTopic, Topic
from stocksync_ws.config import BrokerConfig, Limits
from tests.broker.kit import Broker, environment, publication

STREAMS = {
    "/topic/first/**": policies.Stream(),
    "/topic/**": policies.Latest(),
}


def store(**limits: int) -> tuple[Destinations, Registry]:
    settings = {"max_total_queued": 10**9, "send_queue": 1} | limits
    config = BrokerConfig(destinations=STREAMS, limits=Limits(**settings))
    delivery = Delivery(environment(config))
    return delivery.destinations, delivery.registry


def test_the_first_policy_that_matches_counts() -> None:
    made, _ = store()
    assert made.policy("/topic/first/x") == policies.Stream()
    assert made.policy("/topic/x") == policies.Latest()
    assert made.policy("/queue/x") == policies.Queue()
    assert made.policy(("ann", "/topic/x")) == policies.Topic()


def test_history_is_kept_though_nobody_needs_it_and_the_rest_is_not() -> None:
    made, registry = store()
    kept, queue = made.open_topic("/topic/x"), made.open_queue("/queue/x")
    registry.release_topic(kept)
    registry.release_queue(queue)
    assert list(registry.known) == ["/topic/x"]
    assert kept.log.epoch == "token0-72"
    assert made.open_topic("/topic/x") is kept


def test_what_is_asked_for_is_made_of_its_kind_once() -> None:
    made, registry = store()
    assert type(made.open_topic("/topic/first/x")) is HistoryTopic
    assert type(made.open_topic("/topic/x")) is LatestTopic
    assert type(made.open_topic(("ann", "/topic/x"))) is Topic
    assert made.open_queue("/queue/x") is made.open_queue("/queue/x")
    assert len(registry.known) == 4


def test_only_histories_have_an_epoch_each_its_own_and_can_give_way() -> None:
    made, registry = store()
    one, two = made.open_topic("/topic/1"), made.open_topic("/topic/2")
    plain, queue = made.open_topic(("ann", "/topic/x")), made.open_queue("/queue/x")
    assert len({one.log.epoch, two.log.epoch, None}) == 3
    assert plain.log.epoch is queue.log.epoch is None
    for each in (one, two, plain, queue):
        each.log.append(publication(1, "e-1", "/t", (), b"x"))
    assert (registry.history_bytes.size, registry.stored.size) == (6, 12)


def test_a_message_makes_what_keeps_it_and_nothing_else() -> None:
    made, registry = store()
    assert made.make(("ann", "/topic/x")) is None
    assert not registry.known
    for address in ("/topic/x", "/queue/x"):
        assert made.make(address) is registry.find(address) is not None


def test_one_queue_too_many_is_refused_and_one_that_is_there_is_not() -> None:
    made, registry = store(max_queues=1)
    first = made.open_queue("/queue/1")
    with pytest.raises(OverflowError):
        made.make("/queue/2")
    assert made.make("/queue/1") is first
    made.private_queue("/reply-queue/x", Owner(Limits(), 1.0, ""))
    assert list(registry.known) == ["/queue/1", "/reply-queue/x"]


def test_a_subscription_alone_leaves_nothing_behind() -> None:
    with Broker() as world:
        peer = world.reader("/topic/a")
        peer.subscribe("/user/queue/x", "u")
        assert len(world.broker.delivery.registry.known) == 2
        peer.eof()
        assert not world.broker.delivery.registry.known

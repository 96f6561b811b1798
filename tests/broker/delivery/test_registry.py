"""All destinations together: what is forgotten, what gives way, and in which order."""

from __future__ import annotations

import pytest

from stocksync_ws import policies
from stocksync_ws.broker.delivery.room import Delivery
from stocksync_ws.broker.model.owner import Owner
from stocksync_ws.broker.model.queue import Queue
from stocksync_ws.broker.model.subscription import Reader
from stocksync_ws.broker.model.topic import Topic
from stocksync_ws.config import BrokerConfig, Limits
from stocksync_ws.stomp.frame import Version
from stocksync_ws.timers import Timers
from tests.broker.kit import Broker, environment, publication, record

KINDS = {"/topic/latest/**": policies.Latest(), "/topic/h/**": policies.Stream()}


class Store:
    """The destinations of a broker, without the broker."""

    def __init__(self, **limits: int) -> None:
        settings = {"max_total_queued": 10**9, "send_queue": 1} | limits
        config = BrokerConfig(destinations=KINDS, limits=Limits(**settings))
        self.timers = Timers()
        self.env = environment(config, self.timers)
        delivery = Delivery(self.env)
        self.made = delivery.destinations
        self.registry = delivery.registry

    def history(self, name: str, *sizes: int) -> Topic:
        topic = self.made.open_topic(f"/topic/h/{name}")
        for size in sizes:
            self.keep(topic, size)
        return topic

    def keep(self, home: Topic | Queue, size: int) -> None:
        item = publication(1, "e-1", "", (), b"x" * size)
        if isinstance(home, Topic):
            home.keep(item, self.env.limits)
        else:
            home.log.append(item)

    def reader(self, topic: Topic) -> Reader:
        session = record(self.env)
        session.version = Version.V12
        return Reader(session, "s", "", topic)

    @property
    def stored(self) -> tuple[int, int]:
        return self.registry.history_bytes.size, self.registry.stored.size


def names(store: Store) -> str:
    """The histories there are, the least recently used first."""
    return "".join(str(address)[-1] for address in store.registry.histories)


class TestTooManyHistories:
    def test_the_one_that_was_used_longest_ago_goes(self) -> None:
        store = Store(max_streams=2)
        for name in "abac":
            store.history(name)
        assert names(store) == "ac"
        assert len(store.registry._full) == 2
        store.history("d")
        assert names(store) == "cd"
        assert list(store.registry.known) == ["/topic/h/c", "/topic/h/d"]

    def test_one_that_somebody_reads_or_has_a_name_on_stays(self) -> None:
        store = Store(max_streams=2)
        read, named = store.history("r"), store.history("n")
        reader = store.reader(read)
        named.durables["ann", "s"] = None  # type: ignore[assignment]
        store.history("c")
        assert names(store) == "rnc"  # there is none that could go
        store.history("d")
        assert names(store) == "rnd"
        read.leave(reader)
        store.registry.release_topic(read)
        store.history("e")
        assert names(store) == "ne"

    def test_the_newest_itself_never_goes(self) -> None:
        store = Store(max_streams=1)
        store.reader(store.history("a"))
        assert store.history("b") is store.registry.find("/topic/h/b")

    def test_what_it_kept_is_given_back_and_its_clock_stopped(self) -> None:
        store = Store(max_streams=1)
        gone = store.history("a", 10, 10)
        store.env.step.sooner(gone, 60.0)
        store.history("b", 5)
        assert store.stored == (5, 5)
        assert len(gone.log) == 0
        assert store.timers.next() is None
        assert store.registry.make_room(0)

    def test_topics_without_a_history_do_not_count(self) -> None:
        store = Store(max_streams=1)
        store.history("a")
        for name in "bc":
            store.made.open_topic(("ann", f"/topic/{name}"))
        assert names(store) == "a"
        assert len(store.registry.topics) == 3

    def test_newest_values_do(self) -> None:
        store = Store(max_streams=1)
        store.history("a")
        store.made.open_topic("/topic/latest/b")
        assert names(store) == "b"


class TestForgetting:
    def test_a_topic_is_forgotten_when_nobody_needs_it_and_not_before(self) -> None:
        store = Store()
        topic = store.made.open_topic(("ann", "/topic/x"))
        reader = store.reader(topic)
        store.registry.release_topic(topic)
        assert store.registry.find(topic.address) is topic
        topic.leave(reader)
        store.env.step.sooner(topic, 5.0)
        store.registry.release_topic(topic)
        assert store.registry.find(topic.address) is None
        assert store.timers.next() is None

    def test_a_history_is_not(self) -> None:
        store = Store()
        store.registry.release_topic(store.history("a"))
        assert names(store) == "a"

    def test_who_is_released_late_takes_nobody_elses_place(self) -> None:
        store = Store()
        old = store.made.open_topic(("ann", "/topic/x"))
        store.registry.release_topic(old)
        new = store.made.open_topic(("ann", "/topic/x"))
        store.registry.release_topic(old)
        assert store.registry.find(new.address) is new
        first = store.made.open_queue("/queue/x")
        store.registry.release_queue(first)
        second = store.made.open_queue("/queue/x")
        store.registry.release_queue(first)
        assert store.registry.find("/queue/x") is second
        assert store.registry.has_queue(second)
        assert not store.registry.has_queue(first)

    def test_a_queue_with_something_in_it_stays_until_it_is_empty(self) -> None:
        store = Store()
        queue = store.made.open_queue("/queue/x")
        store.keep(queue, 10)
        store.registry.release_queue(queue)
        assert store.registry.has_queue(queue)
        queue.log.take(1)
        store.env.step.sooner(queue, 5.0)
        store.registry.release_queue(queue)
        assert not store.registry.known
        assert store.timers.next() is None

    def test_a_queue_is_forgotten_with_what_is_in_it_and_what_is_out(self) -> None:
        store = Store()
        queue = store.made.open_queue("/queue/x")
        store.keep(queue, 10)
        queue.take_out(publication(2, "e-2", "", (), b"x" * 30))
        assert store.stored == (0, 40)
        store.registry.forget_queue(queue)
        assert store.stored == (0, 0)
        assert store.registry.find("/queue/x") is None

    def test_a_reply_queue_is_counted_nowhere_and_needed_by_its_session_alone(self) -> None:
        store = Store(max_queues=1)
        private = store.made.private_queue("/reply-queue/x", Owner(Limits(), 1.0, ""))
        store.made.open_queue("/queue/x")
        assert (len(store.registry.queues), len(store.registry.private_queues)) == (1, 1)
        assert store.registry.find("/reply-queue/x") is private
        assert private.idle
        store.registry.release_queue(private)
        assert store.registry.has_queue(private)
        store.registry.forget_queue(private)
        assert list(store.registry.known) == ["/queue/x"]


class TestRoom:
    def test_histories_give_way_the_one_used_longest_ago_first_and_its_oldest_first(self) -> None:
        store = Store(max_stored=100)
        one, two = store.history("a", 30, 20), store.history("b", 40)
        assert store.registry.make_room(10)
        assert store.stored == (90, 90)
        assert store.registry.make_room(11)
        assert (len(one.log), one.log.lost, len(two.log)) == (1, 1, 1)
        assert store.registry.make_room(45)
        assert (len(one.log), len(two.log)) == (0, 1)
        assert names(store) == "ab"  # emptied, and still there

    def test_who_was_used_meanwhile_is_not_the_one(self) -> None:
        store = Store(max_stored=100)
        one, two = store.history("a", 50), store.history("b", 50)
        store.registry.touch(one)
        assert store.registry.make_room(10)
        assert (len(one.log), len(two.log)) == (1, 0)

    def test_an_emptied_one_gives_way_again_when_it_was_used_again(self) -> None:
        store = Store(max_stored=100)
        one = store.history("a", 50)
        assert store.registry.make_room(80)
        store.keep(one, 60)
        store.registry.touch(one)
        assert store.registry.make_room(80)
        assert store.stored == (0, 0)

    def test_where_that_would_not_be_enough_nothing_gives_way(self) -> None:
        store = Store(max_stored=100)
        one, queue = store.history("a", 30), store.made.open_queue("/queue/x")
        store.keep(queue, 60)
        assert not store.registry.make_room(41)
        assert len(one.log) == 1
        assert store.registry.make_room(40)
        assert store.stored == (0, 60)

    def test_newest_values_give_way_with_their_keys(self) -> None:
        store = Store(max_stored=100)
        latest = store.made.open_topic("/topic/latest/a")
        store.keep(latest, 80)
        assert store.registry.make_room(80)
        assert latest.keys == {}  # type: ignore[attr-defined]

    def test_more_than_there_may_be_at_all_is_refused(self) -> None:
        assert not Store(max_stored=100).registry.make_room(101)
        assert Store(max_stored=100).registry.make_room(100)


@pytest.mark.parametrize("prefix", ["/topic/h/", "/queue/"])
def test_an_address_of_nobody_is_found_nowhere(prefix: str) -> None:
    assert Store().registry.find(prefix + "x") is None


def test_histories_give_way_to_what_is_stored_newly_and_queues_do_not() -> None:
    with Broker({"/topic/s": policies.Stream()}, max_stored=100) as world:
        world.publish("/topic/s", "x" * 50)
        world.publish("/queue/a", "y" * 60)
        channel = world.broker.delivery.registry.find("/topic/s")
        assert channel is not None
        assert (len(channel.log), channel.log.lost) == (0, 1)
        world.publish("/queue/a", "z" * 60)
        assert world.counters.messages_dropped == 1
        assert world.broker.delivery.registry.stored.size == 68


class TestWhichHistoryGoes:
    def used(self, store: Store, name: str) -> Topic:
        """A history that something was published to."""
        topic = store.history(name, 1)
        store.registry.touch(topic, used=True)
        return topic

    def test_one_that_nothing_was_published_to_goes_before_those_that_are_used(self) -> None:
        store = Store(max_streams=3)
        self.used(store, "a")
        blank = store.history("b")
        self.used(store, "c")
        self.used(store, "d")
        assert names(store) == "acd"
        assert store.registry.find(blank.address) is None

    def test_one_that_is_left_may_go_and_is_the_last_whose_turn_comes(self) -> None:
        store = Store(max_streams=3)
        left = self.used(store, "a")
        reader = store.reader(left)
        for name in "bcde":
            self.used(store, name)
        assert names(store) == "ade"
        left.leave(reader)
        store.registry.release_topic(left)
        self.used(store, "f")
        assert names(store) == "aef"
        for name in "gh":
            self.used(store, name)
        assert names(store) == "fgh"

    def test_one_that_was_blank_when_it_was_left_and_is_used_then_is_like_the_others(
        self,
    ) -> None:
        store = Store(max_streams=2)
        topic = store.history("a")
        reader = store.reader(topic)
        topic.leave(reader)
        store.registry.release_topic(topic)
        assert list(store.registry._blank) == [topic]
        self.used(store, "a")
        assert (list(store.registry._blank), list(store.registry._free)) == ([], [topic])
        self.used(store, "b")
        store.history("c")
        assert names(store) == "bc"

    def test_nobody_is_looked_at_twice_who_is_read(self) -> None:
        store = Store(max_streams=3)
        for name in "abc":
            store.reader(self.used(store, name))
        for name in "def":
            self.used(store, name)
        assert names(store) == "abcf"
        assert [str(each.address)[-1] for each in store.registry._free] == ["f"]


class TestShares:
    def test_what_a_send_has_made_counts_as_long_as_it_is_there(self) -> None:
        store = Store(max_streams=10)
        owner = Owner(store.env.limits, 1.0, "")
        stream = store.made.make("/topic/h/a", owner)
        queue = store.made.make("/queue/a", owner)
        assert isinstance(stream, Topic)
        assert isinstance(queue, Queue)
        assert stream.owner is queue.owner is owner
        assert store.made.make("/queue/a", None) is queue
        store.made.private_queue("/reply-queue/x", owner)
        assert (owner.streams, owner.queues) == (1, 1)
        store.registry.forget_queue(queue)
        for number in range(10):
            store.history(f"{number}")
        assert (owner.streams, owner.queues) == (0, 0)

    def test_what_a_subscription_has_made_counts_for_nobody(self) -> None:
        store = Store()
        assert store.made.open_topic("/topic/h/a").owner is None
        assert store.made.open_queue("/queue/a").owner is None

    @pytest.mark.parametrize(
        ("address", "what"), [("/topic/h/a", "streams"), ("/queue/a", "queues")]
    )
    def test_one_that_is_more_than_a_share_is_not_made(self, address: str, what: str) -> None:
        store = Store(max_streams=10, max_queues=10)
        owner = store.env.owners.anonymous
        owner.own(5, what)
        with pytest.raises(OverflowError, match="the half of all anonymous clients of"):
            store.made.make(address, owner)
        assert not store.registry.known
        assert store.made.makes(address) == what
        assert store.made.makes("/topic/plain") is None

"""Newest values: what is kept of each key, and what is lost of them."""

from __future__ import annotations

from stocksync_ws.broker.model.latest_topic import LatestTopic
from stocksync_ws.broker.model.log import ByteCounter
from stocksync_ws.broker.model.topic import HistoryTopic, Topic
from stocksync_ws.config import Limits
from tests.broker.model.topics import LIMITS, item, kept, make, offsets, reader


class TestNewestValues:
    def test_a_newer_one_takes_the_place_of_the_older_of_its_key(self) -> None:
        topic = make(LatestTopic)
        assert [topic.keep(item(key=key), LIMITS) for key in "aba"] == [1, 2, 3]
        assert (offsets(topic), topic.keys, topic.log.lost) == ([2, 3], {"b": 2, "a": 3}, 0)
        assert topic.keep(item(key="a"), LIMITS, 9) == topic.keys["a"] == 9

    def test_of_too_many_keys_the_one_that_changed_longest_ago_goes_and_is_not_lost(self) -> None:
        topic = make(LatestTopic)
        for key in "abcad":
            topic.keep(item(key=key), LIMITS)
        assert (topic.keys, topic.log.lost) == ({"c": 3, "a": 4, "d": 5}, 0)
        assert offsets(topic) == [3, 4, 5]

    def test_the_key_is_the_header_of_the_policy_or_the_destination(self) -> None:
        topic = make(LatestTopic, key="sku")
        for headers in ({"sku": "a"}, {"key": "b"}, {"sku": ""}, {}):
            topic.keep(item(**headers), LIMITS)
        assert topic.keys == {"a": 1, "": 4}

    def test_what_is_trimmed_or_expires_takes_its_key_along(self) -> None:
        topic = make(LatestTopic)
        dead = item(key="b")
        dead.expires_at = 5.0
        for each in (item(key="a"), dead, item(key="c")):
            topic.keep(each, LIMITS)
        assert topic.take_expired(6.0) == [(2, dead)]
        assert topic.keys == {"a": 1, "c": 3}
        topic.trim()
        assert (topic.keys, topic.log.lost) == ({"c": 3}, 1)
        topic.trim()
        assert topic.trim() is None

    def test_an_older_value_that_expires_leaves_the_key_to_the_newer(self) -> None:
        topic = make(LatestTopic)
        dead = item(key="a")
        dead.expires_at = 5.0
        for each in (dead, item(key="a")):
            topic.keep(each, LIMITS)
        assert topic.take_expired(6.0) == []
        assert topic.keys == {"a": 2}

    def test_only_all_that_is_stored_bounds_them_and_one_stays(self) -> None:
        whole = ByteCounter()
        topic = make(LatestTopic, ByteCounter(whole))
        for key in "abc":
            topic.keep(item(500, key=key), LIMITS)
        assert kept(topic, 1e6) == [1, 2, 3]
        assert topic.next_aging(1e6) is None
        whole.add(100)
        assert kept(topic, 0.0, Limits(max_stored=1_100)) == [2, 3]
        assert kept(topic, 0.0, Limits(max_stored=1)) == [3]
        assert topic.keys == {"c": 3}

    def test_what_is_not_in_the_log_any_more_was_superseded(self) -> None:
        topic = make(LatestTopic)
        for key in "aa":
            topic.keep(item(key=key), LIMITS)
        assert [topic.is_superseded(offset) for offset in (0, 1, 2)] == [False, True, False]

    def test_a_reader_lost_what_came_since_it_subscribed_and_was_replaced_before_it_read(
        self,
    ) -> None:
        topic = make(LatestTopic)
        subscription = reader(topic, behind=1)
        subscription.replay_to = 4
        assert [topic.superseded(subscription, offset) for offset in (1, 4, 5, 6, 8)] == (
            [0, 0, 0, 1, 3]
        )
        subscription.next = 7
        assert [topic.superseded(subscription, offset) for offset in (7, 8, 10)] == [0, 1, 3]
        for kind in (Topic, HistoryTopic):
            assert make(kind).superseded(subscription, 100) == 0

"""What topics keep, for whom, and where a subscription begins: arithmetic on a log."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from stocksync_ws.broker.model.latest_topic import LatestTopic
from stocksync_ws.broker.model.ledger import AckMode, Delivery
from stocksync_ws.broker.model.log import ByteCounter
from stocksync_ws.broker.model.owner import Owner
from stocksync_ws.broker.model.publication import Publication
from stocksync_ws.broker.model.topic import HistoryTopic, Topic
from stocksync_ws.config import Limits
from stocksync_ws.position import Position
from tests.broker.kit import TextWire, publication
from tests.broker.model.topics import (
    LIMITS,
    T,
    fill,
    item,
    kept,
    make,
    name,
    numbers,
    offsets,
    reader,
)


class TestWhoNeedsIt:
    def test_a_topic_keeps_only_for_who_may_have_to_read_it(self) -> None:
        topic = make(Topic)
        assert not topic.keeps
        live = reader(topic)
        assert not topic.keeps
        acking = reader(topic, mode=AckMode.CLIENT)
        assert topic.keeps
        topic.leave(acking)
        assert not topic.keeps
        behind = reader(topic, behind=1)
        assert topic.keeps
        topic.leave(behind)
        topic.leave(live)
        assert not topic.keeps
        held = name(topic, 1, holder=live)
        assert not topic.keeps
        held.holder, topic.away = None, 1
        assert topic.keeps

    @pytest.mark.parametrize("kind", [HistoryTopic, LatestTopic])
    def test_a_history_keeps_though_nobody_is_there_and_is_never_idle(
        self, kind: type[Topic]
    ) -> None:
        topic = make(kind)
        assert topic.keeps
        assert topic.has_history
        assert not topic.idle

    def test_a_topic_is_idle_without_subscriptions_names_and_messages(self) -> None:
        topic = make(Topic)
        assert topic.idle
        assert not topic.has_history
        subscription = reader(topic)
        assert not topic.idle
        topic.leave(subscription)
        assert topic.idle
        durable = name(topic, 1)
        assert not topic.idle
        del topic.durables[durable.key]
        assert topic.idle
        fill(topic, 1)
        assert not topic.idle

    def test_who_leaves_is_neither_behind_nor_in_a_group_any_more(self) -> None:
        topic = make(Topic)
        going, staying = (reader(topic, 1, AckMode.CLIENT) for _ in range(2))
        topic.leave(going)
        assert list(topic.behind) == [staying]
        assert staying.group.refs == topic.acking == 1


class TestBoundsOfATopic:
    def test_what_nobody_will_read_is_forgotten_and_not_lost(self) -> None:
        topic = make(Topic)
        fill(topic, 3)
        assert (kept(topic), topic.log.lost) == ([], 0)

    def test_within_its_bounds_a_reader_behind_keeps_everything(self) -> None:
        topic = make(Topic)
        reader(topic, behind=3)
        fill(topic, 4, size=25)
        assert kept(topic) == [1, 2, 3, 4]

    def test_over_them_what_was_read_goes_first_and_is_not_lost(self) -> None:
        topic = make(Topic)
        reader(topic, behind=3)
        reader(topic, behind=5)
        fill(topic, 6)
        assert (kept(topic), topic.log.lost) == ([3, 4, 5, 6], 0)

    def test_a_name_that_is_away_needs_it_and_one_that_is_held_does_not(self) -> None:
        topic = make(Topic)
        name(topic, 1, holder=reader(topic))
        name(topic, 3)
        fill(topic, 7)
        assert (kept(topic), topic.log.lost) == ([3, 4, 5, 6, 7], 0)

    def test_what_is_still_over_them_is_lost(self) -> None:
        topic = make(Topic)
        reader(topic, behind=1)
        fill(topic, 6)
        assert (kept(topic), topic.log.lost) == ([3, 4, 5, 6], 2)

    def test_bytes_count_too_but_one_message_of_any_size_stays(self) -> None:
        topic = make(Topic)
        reader(topic, behind=1)
        fill(topic, 1, size=60)
        fill(topic, 1, size=500)
        assert (kept(topic), topic.log.lost) == ([2], 1)

    @pytest.mark.parametrize(("sizes", "number"), [([10] * 7, 6), ([60, 60], 2), ([60, 60, 1], 2)])
    def test_with_a_durable_name_the_bounds_are_those_of_names(
        self, sizes: list[int], number: int
    ) -> None:
        topic = make(Topic)
        name(topic, 1)
        for size in sizes:
            topic.keep(item(size), LIMITS)
        assert len(kept(topic)) == number

    def test_all_that_is_stored_counts_and_then_not_even_one_stays(self) -> None:
        whole = ByteCounter()
        topic = make(Topic, ByteCounter(whole))
        reader(topic, behind=1)
        fill(topic, 2)
        whole.add(80)
        assert kept(topic, 0.0, Limits(max_stored=100)) == [1, 2]
        whole.add(1)
        assert kept(topic, 0.0, Limits(max_stored=100)) == [2]
        whole.add(10)
        assert kept(topic, 0.0, Limits(max_stored=100)) == []

    def test_what_everybody_has_read_can_be_forgotten_within_the_bounds(self) -> None:
        topic = make(Topic)
        reader(topic, behind=3)
        fill(topic, 4)
        topic.forget_read()
        assert (offsets(topic), topic.log.lost) == ([3, 4], 0)
        name(topic, 2)
        fill(topic, 1)
        topic.forget_read()
        assert offsets(topic) == [3, 4, 5]

    @pytest.mark.parametrize("kind", [HistoryTopic, LatestTopic])
    def test_where_everything_is_kept_that_changes_nothing(self, kind: type[Topic]) -> None:
        topic = make(kind)
        reader(topic, behind=2)
        fill(topic, 1)
        topic.forget_read()
        assert offsets(topic) == [1]

    def test_a_name_that_has_not_read_it_keeps_it(self) -> None:
        topic = make(Topic)
        reader(topic, behind=3)
        name(topic, 2)
        fill(topic, 4)
        topic.forget_read()
        assert offsets(topic) == [2, 3, 4]


class TestHistory:
    def test_it_has_a_number(self) -> None:
        topic = make(HistoryTopic, history=3)
        fill(topic, 4)
        assert (kept(topic), topic.log.lost) == ([2, 3, 4], 1)

    def test_it_has_an_age(self) -> None:
        topic = make(HistoryTopic, seconds=60.0)
        for at in (0.0, 30.0, 60.0):
            fill(topic, 1, at=at)
        assert kept(topic, 59.9) == [1, 2, 3]
        assert topic.next_aging(59.9) == 60.0
        assert kept(topic, 60.0) == [2, 3]
        assert topic.next_aging(60.0) == 90.0
        assert kept(topic, 500.0) == []
        assert topic.next_aging(500.0) is None

    def test_what_is_too_old_and_still_wanted_is_looked_at_again(self) -> None:
        topic = make(HistoryTopic, seconds=60.0)
        name(topic, 1)
        fill(topic, 1)
        assert kept(topic, 100.0) == [1]
        assert [topic.next_aging(now) for now in (59.0, 60.0, 100.0)] == [60.0, 120.0, 160.0]

    def test_it_has_bytes_but_the_newest_stays_whatever_its_size(self) -> None:
        topic = make(HistoryTopic)
        fill(topic, 2, size=50)
        assert kept(topic) == [1, 2]
        fill(topic, 1, size=500)
        assert kept(topic) == [3]

    def test_it_gives_way_where_all_that_is_stored_is_too_much_but_for_the_newest(self) -> None:
        whole = ByteCounter()
        topic = make(HistoryTopic, ByteCounter(whole))
        fill(topic, 3)
        whole.add(80)
        assert kept(topic, 0.0, Limits(max_stored=100)) == [2, 3]
        whole.add(1_000)
        assert kept(topic, 0.0, Limits(max_stored=100)) == [3]

    def test_a_name_that_is_away_keeps_what_it_has_not_seen_within_the_bounds_of_names(
        self,
    ) -> None:
        topic = make(HistoryTopic, history=2)
        name(topic, 3)
        fill(topic, 5)
        assert kept(topic) == [3, 4, 5]
        fill(topic, 5)
        assert (kept(topic), topic.log.lost) == ([5, 6, 7, 8, 9, 10], 4)

    def test_a_name_whose_holder_reads_behind_keeps_as_well_and_a_live_one_nothing(self) -> None:
        topic = make(HistoryTopic, history=1)
        name(topic, 1, holder=reader(topic))
        name(topic, 1, holder=reader(topic, behind=3))
        fill(topic, 4)
        assert kept(topic) == [3, 4]

    def test_any_other_reader_keeps_nothing_unless_a_snapshot_held_it(self) -> None:
        topic = make(HistoryTopic, history=1)
        reader(topic, behind=1)
        fill(topic, 3)
        assert kept(topic) == [3]
        blocked, held = reader(topic, behind=4), reader(topic, behind=5)
        blocked.blocked, held.held_to = True, 5
        fill(topic, 3)
        assert kept(topic) == [4, 5, 6]
        blocked.blocked = False
        assert kept(topic) == [5, 6]
        held.next = 6
        assert kept(topic) == [6]

    def test_with_a_name_it_may_have_the_bytes_of_a_name(self) -> None:
        topic = make(HistoryTopic)
        fill(topic, 3, size=40)
        name(topic, 1)
        assert kept(topic) == [1, 2, 3]
        topic.durables.clear()
        assert kept(topic) == [2, 3]

    def test_a_long_history_is_not_bounded_by_what_names_may_keep(self) -> None:
        topic = make(HistoryTopic, history=8)
        name(topic, 1)
        fill(topic, 9)
        assert len(kept(topic)) == 8


class TestWhereASubscriptionBegins:
    KNOWN = Position("e", 0, 3)

    def test_behind_a_position_if_all_that_came_since_is_there(self) -> None:
        topic = make(HistoryTopic, history=3)
        fill(topic, 5)
        topic.hold_bounds(LIMITS, 0.0)
        assert topic.recover(self.KNOWN, 6) == (True, 4)
        assert topic.recover(Position("e", 0, 2), 6) == (True, 3)
        assert topic.recover(Position("e", 0, 5), 6) == (True, 6)

    @pytest.mark.parametrize(
        "position", [None, Position("e", 0, 1), Position("e", 0, 6), Position("f", 0, 3)]
    )
    def test_else_where_it_would_have_begun_anyway(self, position: Position | None) -> None:
        topic = make(HistoryTopic, history=3)
        fill(topic, 5)
        topic.hold_bounds(LIMITS, 0.0)
        assert topic.recover(position, 6) == (False, 6)

    def test_newest_values_are_always_recovered_and_with_a_position_only_newer_ones(self) -> None:
        topic = make(LatestTopic)
        for key in "abcaa":
            topic.keep(item(key=key), LIMITS)
        assert topic.recover(self.KNOWN, 1) == (True, 4)
        for unknown in (None, Position("e", 0, 6), Position("f", 0, 3)):
            assert topic.recover(unknown, 9) == (True, 1)

    def test_who_asks_for_nothing_gets_what_comes_or_all_newest_values(self) -> None:
        for kind, first in ((Topic, 4), (HistoryTopic, 4), (LatestTopic, 1)):
            topic = make(kind)
            fill(topic, 3)
            assert topic.first_offset() == first

    @pytest.mark.parametrize(
        ("on_subscribe", "wanted", "first"),
        [
            ("live", None, None),
            ("live", 0, 6),
            ("live", 2, 4),
            ("history", None, 3),
            ("history", 0, 6),
            ("history", 9, 3),
            (2, None, 4),
            (2, 3, 3),
        ],
    )
    def test_who_comes_for_the_history_begins_so_many_before_its_end(
        self, on_subscribe: Any, wanted: int | None, first: int | None
    ) -> None:
        topic = make(HistoryTopic, history=3, seconds=60.0, on_subscribe=on_subscribe)
        fill(topic, 5)
        assert topic.history_offset(wanted, 1.0) == first
        assert topic.history_offset(wanted, 60.0) == (None if first is None else 6)

    def test_only_a_history_can_be_begun_with(self) -> None:
        for kind in (Topic, LatestTopic):
            topic = make(kind)
            fill(topic, 3)
            assert topic.history_offset(2, 0.0) is None

    @pytest.mark.parametrize("kind", [Topic, HistoryTopic])
    def test_replayed_is_what_was_there_before_it_came(self, kind: type[Topic]) -> None:
        topic = make(kind)
        subscription = reader(topic)
        subscription.replay_to = 4
        assert [topic.is_replayed(subscription, offset) for offset in (3, 4, 5)] == (
            [True, True, False]
        )

    def test_of_newest_values_so_many_as_were_there_whatever_their_offsets(self) -> None:
        topic = make(LatestTopic)
        subscription = reader(topic)
        subscription.replay_left = 2
        assert [topic.is_replayed(subscription, 9) for _ in range(4)] == [True, True, False, False]
        assert subscription.replay_left == 0

    @pytest.mark.parametrize("kind", [HistoryTopic, LatestTopic])
    def test_who_can_be_sent_text_only_is_told_of_so_many_as_are_text(
        self, kind: type[Topic]
    ) -> None:
        topic = make(kind)
        for body in (b"1", b"\xff", b"2"):
            key = (("key", f"{next(numbers)}"),)
            topic.keep(publication(next(numbers), "n", "", key, body), LIMITS)
        texts, other = reader(topic, wire=TextWire()), reader(topic)
        assert [topic.count_for(texts, offset) for offset in range(1, 5)] == [2, 1, 1, 0]
        assert [topic.count_for(other, offset) for offset in range(1, 5)] == [3, 2, 1, 0]

    def test_a_trimmed_log_overtakes_who_has_not_read_it_and_newest_values_nobody(self) -> None:
        for kind, overtaken in ((Topic, True), (HistoryTopic, True), (LatestTopic, False)):
            topic = make(kind)
            fill(topic, 2)
            slow, quick = reader(topic, behind=1), reader(topic, behind=2)
            topic.trim()
            assert topic.is_overtaken(slow) is overtaken
            assert not topic.is_overtaken(quick)


@pytest.mark.pure("hands over a stand-in; compiled code takes its own records")
def test_what_is_no_record_is_asked_of_where_topics_are_acted_on() -> None:
    topic = make(Topic)
    keeper: Any = topic.keeper
    made, position = item(), Position("e", 0, 1)
    delivery, ledger = Delivery(topic, made, 1, 1, 0.0), SimpleNamespace()
    assert topic.publish(made, position, reserved=False) == 7
    assert topic.lose(delivery) == 7
    topic.accept(delivery)
    topic.reject(delivery)
    topic.give_back(delivery, ledger, 1.5)  # type: ignore[arg-type]
    topic.wake(3.0)
    assert keeper.asked == [
        ("publish", topic, made, position, False),
        ("lose", delivery),
        ("reject", delivery),
        ("give_back", delivery, ledger, 1.5),
        ("wake", topic, 3.0),
    ]


class TestShares:
    def made(self, kind: type[T], *owners: Owner | None, key: str = "") -> T:
        """A topic with a message of 10 bytes for each of these."""
        topic = make(kind)
        for number, owner in enumerate(owners):
            topic.keep(self.message(owner, key or f"{number}"), LIMITS)
        return topic

    def message(self, owner: Owner | None, key: str) -> Publication:
        made = publication(next(numbers), "n", "", (("key", key),), b"x" * (7 - len(key)))
        made.owner = owner
        return made

    def test_what_is_published_stays_with_a_history_or_for_those_that_are_not_up_to_date(
        self,
    ) -> None:
        topic = make(Topic)
        assert not topic.stores
        durable = name(topic, 1)
        assert topic.stores
        topic.away, durable.holder = 0, reader(topic)
        assert not topic.stores
        reader(topic, behind=1)
        assert topic.stores
        assert make(HistoryTopic).stores

    def test_the_oldest_of_the_owner_itself_gives_way(self) -> None:
        ann, bob = Owner(LIMITS, 1.0, ""), Owner(LIMITS, 1.0, "")
        topic = self.made(HistoryTopic, ann, ann, bob, ann)
        assert [topic.give_way(ann) for _ in range(3)] == [True, True, False]
        assert offsets(topic) == [3, 4]
        assert (ann.stored, bob.stored, topic.log.lost) == (10, 10, 2)
        assert not make(HistoryTopic).give_way(ann)

    def test_of_newest_values_the_older_one_of_the_key_is_replaced_and_none_gives_way(self) -> None:
        ann, bob = Owner(LIMITS, 1.0, ""), Owner(LIMITS, 1.0, "")
        topic = self.made(LatestTopic, ann, bob)
        assert not topic.give_way(ann)
        assert topic.replaced(self.message(ann, "0")) == 10
        assert topic.replaced(self.message(ann, "1")) == 0
        assert topic.replaced(self.message(ann, "new")) == 0
        assert self.made(HistoryTopic, ann).replaced(self.message(ann, "0")) == 0

    def test_who_reads_it_or_has_a_name_on_it_pins_it(self) -> None:
        topic = make(HistoryTopic)
        assert not topic.pinned
        name(topic, 1)
        assert topic.pinned

"""What leaves a log: who hears of it, who is closed for it, and when it is looked at again."""

from __future__ import annotations

from typing import Any

import pytest

from stocksync_ws.broker.delivery.retention import Retention
from stocksync_ws.broker.model.publication import Publication
from stocksync_ws.broker.model.subscription import Reader
from stocksync_ws.broker.model.topic import Topic
from tests.broker.delivery.room import Room

LOSSY = "/topic/lossy"


class Kept(Room):
    """A room, and its retention."""

    @property
    def retention(self) -> Retention:
        return self.delivery.retention

    @property
    def lost(self) -> dict[tuple[str, str], int]:
        """Losses that the end of the step will tell."""
        return self.env.step.dropped

    @property
    def dead(self) -> list[tuple[Publication, int, str]]:
        """Messages that the end of the step will bury."""
        return [(each.publication, each.deliveries, each.reason) for each in self.env.step.dead]

    def mortal(self, topic: Topic, expires_at: float) -> Publication:
        made = self.item("x")
        made.expires_at = expires_at
        topic.keep(made, self.env.limits)
        return made

    def asleep(self, *readers: Reader) -> None:
        """Nobody is to be flushed any more."""
        self.env.step.outputs.dirty.clear()
        for reader in readers:
            reader.session.mailbox.dirty = False

    def away(self, topic: Topic, start: int) -> Any:
        """A durable name that nobody holds."""
        durable = self.delivery.durables.create(topic, ("ann", f"{len(topic.durables)}"))
        durable.next = start
        return durable


def test_a_log_that_was_trimmed_to_nothing_is_told_of_once() -> None:
    room = Kept()
    topic = room.topic(LOSSY)
    reader = room.behind(topic)
    room.keep(topic, "1")
    topic.trim()
    for _ in range(2):
        room.retention.trim(topic)
        assert (len(topic.log), reader.dropped, reader.next) == (0, 1, 2)


class TestTrim:
    def test_a_log_is_held_within_its_bounds_and_looked_at_when_it_is_too_old(self) -> None:
        room = Kept(history_bytes=3)
        topic = room.topic("/topic/h/a")
        for at in (10.0, 20.0):
            made = room.item("")
            made.at = at
            topic.keep(made, room.env.limits)
        room.env.step.now = 20.0
        room.retention.trim(topic)
        assert [offset for offset, _ in topic.log] == [2]
        assert topic.deadline == 80.0

    def test_what_has_no_age_is_not_looked_at_again(self) -> None:
        room = Kept()
        topic = room.topic()
        room.behind(topic)
        room.keep(topic, "1")
        room.retention.trim(topic)
        assert topic.deadline is None

    def test_a_loss_is_looked_for_once(self) -> None:
        room = Kept(pending_messages=2)
        topic = room.topic(LOSSY)
        reader = room.behind(topic)
        room.keep(topic, *"1234")
        room.retention.trim(topic)
        assert (topic.told, reader.next, reader.dropped) == (2, 3, 2)
        reader.next = 1  # as if it were overtaken; it was told of everything up to here
        room.retention.trim(topic)
        assert reader.dropped == 2


class TestOvertaken:
    def test_who_keeps_up_is_left_alone_and_who_does_not_is_closed_at_the_end(self) -> None:
        room = Kept()
        topic = room.topic("/topic/h/a")
        room.keep(topic, *"123")
        slow, quick = room.behind(topic, 2), room.behind(topic, 3)
        topic.log.trim()
        topic.log.trim()
        room.retention.tell_lost(topic)
        assert room.env.step.lost == [slow.session]
        assert (slow.next, quick.next) == (3, 3)
        assert (room.lost, room.env.counters.messages_dropped) == ({}, 0)

    def test_where_the_policy_allows_it_the_loss_is_counted_and_will_be_told(self) -> None:
        room = Kept()
        topic = room.topic(LOSSY)
        one, two = room.behind(topic), room.behind(topic, 2)
        room.keep(topic, *"123")
        topic.log.trim()
        topic.log.trim()
        room.retention.tell_lost(topic)
        assert room.env.step.lost == []
        assert [(each.next, each.dropped) for each in (one, two)] == [(3, 2), (3, 1)]
        assert room.lost == {(LOSSY, "slow-consumer"): 3}
        assert room.env.counters.messages_dropped == 3

    def test_who_holds_a_durable_name_is_told_and_not_closed(self) -> None:
        room = Kept()
        topic = room.topic("/topic/h/a")
        reader = room.behind(topic)
        room.delivery.durables.hold(room.away(topic, 1), reader)
        room.keep(topic, *"12")
        topic.log.trim()
        room.retention.tell_lost(topic)
        assert room.env.step.lost == []
        assert (reader.next, reader.dropped) == (2, 1)


class TestDead:
    @pytest.mark.parametrize("who", ["reader", "name"])
    def test_what_somebody_was_still_to_get_is_a_dead_letter(self, who: str) -> None:
        room = Kept()
        topic = room.topic("/topic/h/a")
        if who == "reader":
            room.behind(topic, 1)
        else:
            room.away(topic, 1)
        made = room.mortal(topic, 5.0)
        room.env.step.now = 5.0
        room.retention.bury_dead(topic)
        assert room.dead == []
        room.env.step.now = 5.5
        room.retention.bury_dead(topic)
        assert room.dead == [(made, 0, "expired")]
        assert len(topic.log) == 0
        room.retention.bury_dead(topic)
        assert len(room.dead) == 1

    def test_what_everybody_has_seen_just_leaves(self) -> None:
        room = Kept()
        topic = room.topic("/topic/h/a")
        room.behind(topic, 2)
        room.away(topic, 2)
        room.delivery.durables.hold(room.away(topic, 1), room.live(topic))
        room.mortal(topic, 5.0)
        room.env.step.now = 6.0
        room.retention.bury_dead(topic)
        assert len(topic.log) == 0
        assert room.dead == []

    def test_who_waited_for_it_is_looked_at_since_it_may_have_been_the_last(self) -> None:
        room = Kept()
        topic = room.topic("/topic/h/a")
        waits, passed = room.behind(topic, 1), room.behind(topic, 2)
        room.mortal(topic, 5.0)
        room.asleep(waits, passed)
        room.env.step.now = 6.0
        room.retention.bury_dead(topic)
        assert room.env.step.outputs.dirty == [waits.session.mailbox]


class TestPutBack:
    def test_what_was_not_sent_after_all_has_its_old_place_and_its_end(self) -> None:
        room = Kept()
        topic = room.topic("/topic/h/a")
        made = room.mortal(topic, 5.0)
        topic.log.take(1)
        room.retention.put_back(topic, 1, made)
        assert topic.log.read(0) == (1, made)
        assert topic.deadline == 5.0
        assert room.dead == []

    def test_if_it_has_died_meanwhile_it_is_buried(self) -> None:
        room = Kept()
        topic = room.topic("/topic/h/a")
        made = room.mortal(topic, 5.0)
        topic.log.take(1)
        room.env.step.now = 6.0
        room.retention.put_back(topic, 1, made)
        assert topic.log.read(0) is None
        assert room.dead == [(made, 0, "expired")]


def test_a_loss_is_told_by_the_next_message_counted_and_told_by_an_event() -> None:
    room = Kept()
    reader = room.live(room.topic())
    room.retention.lose(reader, 0, "away")
    assert (reader.dropped, room.lost, room.env.step.noted) == (0, {}, False)
    room.retention.lose(reader, 2, "away")
    room.retention.lose(reader, 3, "away")
    assert reader.dropped == room.env.counters.messages_dropped == 5
    assert room.lost == {("/topic/a", "away"): 5}

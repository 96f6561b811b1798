"""One subscription's own deliveries: behind and live, its marks, and the entry that many share."""

from __future__ import annotations

from typing import Any

import pytest

from stocksync_ws.broker.delivery import readers
from stocksync_ws.broker.delivery.readers import FRESH, ROOM
from stocksync_ws.broker.model.subscription import Consumer, Reader
from tests.broker.delivery.room import Room, empty, head, waiting
from tests.broker.kit import TextWire

LOSSY = "/topic/lossy"


class TestBehindAndLive:
    def test_who_falls_behind_is_handed_nothing_and_reads_the_log(self) -> None:
        room = Room()
        topic = room.topic()
        reader = room.live(topic)
        session = reader.session
        session.mailbox.open(len)
        room.readers.fall_behind(reader, 5)
        assert not reader.group.members
        assert reader.next == 5
        assert list(topic.behind) == list(session.subscriptions.behind or ()) == [reader]
        assert not session.mailbox.is_open
        assert room.env.step.outputs.dirty == [session.mailbox]

    def test_who_goes_live_is_handed_what_comes_and_reads_the_log_no_more(self) -> None:
        room = Room()
        topic = room.topic()
        reader = room.behind(topic)
        room.readers.go_live(reader)
        assert reader.group.members == {reader.session.mailbox: reader}
        assert not topic.behind
        assert reader.session.subscriptions.behind is None
        room.publish(topic, "1")
        assert waiting(reader) == ["1"]

    def test_the_last_that_goes_live_leaves_nothing_in_the_log_of_a_topic(self) -> None:
        room = Room()
        topic = room.topic()
        one, two = room.behind(topic), room.behind(topic)
        room.publish(topic, "1")
        room.readers.pull(one.session)
        assert len(topic.log) == 1
        room.readers.pull(two.session)
        assert (len(topic.log), topic.log.lost) == (0, 0)

    @pytest.mark.parametrize("others", [0, 1])
    def test_who_begins_live_stands_where_it_would_if_it_had_fallen_behind(
        self, others: int
    ) -> None:
        stands: list[object] = []
        for begins in (True, False):
            room = Room()
            topic = room.topic()
            for _ in range(others):
                room.behind(topic)
            room.keep(topic, "1")
            reader = Reader(room.session(), "s", "/topic/a", topic)
            if begins:
                room.readers.begin_live(reader, 2)
            else:
                room.readers.fall_behind(reader, 2)
                room.readers.go_live(reader)
            stands.append((reader.next, len(topic.behind), len(topic.log), topic.log.lost))
            assert reader.group.members == {reader.session.mailbox: reader}
            assert reader.session.subscriptions.behind is None
        assert stands[0] == stands[1]

    def test_who_begins_live_is_written_to_as_directly_as_before(self) -> None:
        room = Room()
        reader = Reader(room.session(), "s", "/topic/a", room.topic())
        reader.session.mailbox.open(len)
        room.readers.begin_live(reader, 1)
        assert reader.session.mailbox.is_open
        assert not room.env.step.outputs.dirty

    def test_the_other_subscriptions_of_the_session_stay_behind(self) -> None:
        room = Room()
        one = room.behind(room.topic())
        two = room.behind(room.topic("/topic/b"), session=one.session, name="t")
        room.readers.stop(one)
        assert list(one.session.subscriptions.behind or ()) == [two]
        room.readers.stop(one)  # a second time changes nothing
        room.readers.stop(two)
        assert one.session.subscriptions.behind is None
        room.readers.stop(two)


class TestPull:
    def test_what_waits_comes_in_order_and_then_the_reader_is_live(self) -> None:
        room = Room()
        topic = room.topic("/topic/h/a")
        room.keep(topic, *"123")
        reader = room.behind(topic, 2)
        reader.replay_to = 2
        room.readers.pull(reader.session)
        assert waiting(reader) == ["2", "3"]
        first, second = reader.session.mailbox.entries
        assert (first.offset, second.offset) == (2, 3)
        assert (head(first).get("replayed"), head(second).get("replayed")) == ("true", None)
        assert reader.group.members
        room.publish(topic, "4")
        assert waiting(reader) == ["2", "3", "4"]

    def test_held_back_it_gets_what_waits_for_a_flush_delay(self) -> None:
        room = Room()
        reader = room.live(room.topic("/topic/delayed"))
        room.publish(reader.topic, "1")
        assert not reader.session.mailbox.dirty
        room.readers.hold(reader)
        assert room.env.office.dirty == [reader.session.mailbox]
        assert not reader.group.members

    def test_gaps_in_the_offsets_are_read_across(self) -> None:
        room = Room()
        topic = room.topic("/topic/h/a")
        for body, offset in (("1", 3), ("2", 9)):
            topic.keep(room.item(body), room.env.limits, offset)
        reader = room.behind(topic, 1)
        room.readers.pull(reader.session)
        assert [each.offset for each in reader.session.mailbox.entries] == [3, 9]
        assert reader.group.members
        assert (reader.dropped, room.env.counters.messages_dropped) == (0, 0)

    @pytest.mark.parametrize(("send_queue", "most"), [(10**6, ROOM), (8_000, 2_000)])
    def test_a_mailbox_is_filled_up_to_its_room_and_no_further(
        self, send_queue: int, most: int
    ) -> None:
        room = Room(send_queue=send_queue)
        assert room.readers.room == most
        topic = room.topic("/topic/h/a")
        room.keep(topic, *["x" * (most // 4)] * 9)
        reader = room.behind(topic)
        room.readers.pull(reader.session)
        assert len(reader.session.mailbox.entries) == 4
        assert reader.next == 5
        room.readers.pull(reader.session)
        assert reader.next == 5
        empty(reader)
        room.readers.pull(reader.session)
        assert reader.next == 9

    def test_the_readers_of_a_session_are_moved_in_turn(self) -> None:
        room = Room()
        one, two = room.topic("/topic/h/a"), room.topic("/topic/h/b")
        room.keep(one, *"123")
        room.keep(two, *"ab")
        reader = room.behind(one)
        room.behind(two, session=reader.session, name="t")
        room.readers.pull(reader.session)
        assert waiting(reader) == ["1", "a", "2", "b", "3"]

    def test_where_one_of_them_has_filled_the_mailbox_the_others_wait(self) -> None:
        room = Room(send_queue=8_000)
        one, two = room.topic("/topic/h/a"), room.topic("/topic/h/b")
        for topic in (one, two):
            room.keep(topic, "x" * 2_000)
        reader = room.behind(one)
        other = room.behind(two, session=reader.session, name="t")
        room.readers.pull(reader.session)
        assert (reader.next, other.next) == (2, 1)

    def test_a_snapshot_comes_behind_the_history_and_before_what_was_published_later(self) -> None:
        room = Room()
        topic = room.topic("/topic/h/a")
        room.keep(topic, *"123")
        reader = room.behind(topic, 2)
        reader.snapshot_at = 3
        room.readers.give_snapshot(reader, room.item("so far"))
        assert waiting(reader) == []
        room.readers.pull(reader.session)
        assert waiting(reader) == ["2", "so far", "3"]
        assert reader.group.members
        assert reader.snapshot is None

    @pytest.mark.parametrize("at", [0, 1])
    def test_where_there_is_no_history_it_comes_at_once(self, at: int) -> None:
        room = Room()
        reader = room.behind(room.topic("/topic/h/a"))
        reader.snapshot_at = at
        room.readers.give_snapshot(reader, room.item("so far"))
        assert waiting(reader) == ["so far"]

    def test_a_snapshot_behind_a_history_waits_for_room_in_the_window(self) -> None:
        room = Room()
        topic = room.topic("/topic/h/a")
        room.keep(topic, "1")
        reader = room.behind(topic, 1, window=1)
        reader.snapshot_at = 2
        room.readers.give_snapshot(reader, room.item("so far"))
        room.readers.pull(reader.session)
        assert waiting(reader) == ["1"]
        assert not reader.group.members
        assert reader.ledger is not None
        [delivery] = reader.ledger
        reader.ledger.remove(delivery.publication.number)
        room.readers.pull(reader.session)
        assert waiting(reader) == ["1", "so far"]

    @pytest.mark.parametrize("why", ["blocked", "ended"])
    def test_who_waits_for_a_snapshot_or_has_ended_is_left_alone(self, why: str) -> None:
        room = Room()
        topic = room.topic("/topic/h/a")
        room.keep(topic, "1")
        reader = room.behind(topic)
        setattr(reader, why, True)
        room.readers.pull(reader.session)
        assert waiting(reader) == []
        assert (reader.next, list(topic.behind)) == (1, [reader])

    def test_a_full_window_waits_for_an_acknowledgement(self) -> None:
        room = Room()
        topic = room.topic("/topic/h/a")
        room.keep(topic, *"123")
        reader = room.behind(topic, window=2)
        assert reader.ledger is not None
        room.readers.pull(reader.session)
        assert waiting(reader) == ["1", "2"]
        assert (len(reader.ledger), reader.next) == (2, 3)
        reader.ledger.clear()
        room.readers.pull(reader.session)
        assert waiting(reader) == ["1", "2", "3"]
        assert reader.group.members

    def test_what_is_for_another_session_is_skipped(self) -> None:
        room = Room()
        topic = room.topic("/topic/h/a")
        mine, other = room.keep(topic, "mine", "other")
        reader = room.behind(topic)
        mine.only, other.only = reader.session.id, "another"
        room.readers.pull(reader.session)
        assert waiting(reader) == ["mine"]
        assert reader.group.members

    def test_what_is_dead_is_buried_and_not_delivered(self) -> None:
        room = Room()
        topic = room.topic("/topic/h/a")
        dead = room.item("dead")
        dead.expires_at = 5.0
        topic.keep(dead, room.env.limits)
        room.keep(topic, "alive")
        reader = room.behind(topic)
        room.env.step.now = 6.0
        room.readers.pull(reader.session)
        assert waiting(reader) == ["alive"]
        assert [(each.publication, each.reason) for each in room.env.step.dead] == (
            [(dead, "expired")]
        )

    def test_whose_log_was_trimmed_is_noted_and_gets_nothing_more(self) -> None:
        room = Room()
        topic = room.topic("/topic/h/a")
        room.keep(topic, *"123")
        reader = room.behind(topic)
        topic.trim()
        room.readers.pull(reader.session)
        assert room.env.step.lost == [reader.session]
        assert waiting(reader) == []

    def test_where_losses_are_allowed_the_next_message_tells_them(self) -> None:
        room = Room()
        topic = room.topic("/topic/lossy")
        reader = room.behind(topic)
        room.keep(topic, *"1234")
        topic.trim()
        topic.trim()
        room.readers.pull(reader.session)
        assert room.env.step.lost == []
        first, second = reader.session.mailbox.entries
        assert (first.offset, head(first)["dropped"], first.tells) == (3, "2", 2)
        assert "dropped" not in head(second)
        assert reader.dropped == second.tells == 0

    def test_newest_values_that_were_replaced_unread_are_lost(self) -> None:
        room = Room()
        topic = room.topic("/topic/latest")
        reader = room.behind(topic)
        room.keep(topic, *"12", key="a")
        room.keep(topic, "3", key="b")
        room.readers.pull(reader.session)
        first, second = reader.session.mailbox.entries
        assert (head(first)["dropped"], head(second).get("dropped")) == ("1", None)
        assert room.env.step.dropped == {("/topic/latest", "superseded"): 1}

    @pytest.mark.parametrize("owed", [{"dropped": 3}, {"unrecovered": True}])
    def test_who_is_owed_a_word_stays_behind_for_a_message_of_its_own(
        self, owed: dict[str, Any]
    ) -> None:
        room = Room()
        topic = room.topic()
        reader, other = room.behind(topic), room.live(topic)
        for name, value in owed.items():
            setattr(reader, name, value)
        room.readers.pull(reader.session)
        assert reader in topic.behind
        room.publish(topic, "1")
        room.readers.pull(reader.session)
        told, plain = reader.session.mailbox.entries[0], other.session.mailbox.entries[0]
        word = ("dropped", "3") if "dropped" in owed else ("recovered", "false")
        assert word in head(told).items()
        assert word not in head(plain).items()
        assert reader.group.members
        assert not any((reader.dropped, reader.unrecovered))


class TestDeliver:
    def test_all_readers_of_a_group_share_one_entry(self) -> None:
        room = Room()
        topic = room.topic("/topic/h/a")
        room.keep(topic, "1")
        one, two, other = room.behind(topic), room.behind(topic), room.behind(topic, name="t")
        for each in (one, two, other):
            room.readers.pull(each.session)
        (entry,) = one.session.mailbox.entries
        assert two.session.mailbox.entries[0] is entry
        assert other.session.mailbox.entries[0] is not entry
        assert entry.waiting == 2
        assert room.env.office.total == entry.size + other.session.mailbox.entries[0].size
        assert room.env.counters.messages_queued == 3

    @pytest.mark.parametrize(("age", "shared"), [(FRESH, True), (FRESH + 0.001, False)])
    def test_an_entry_is_shared_as_long_as_it_is_fresh(self, age: float, shared: bool) -> None:
        """Its age is what its session's slowness is judged by."""
        room = Room()
        topic = room.topic("/topic/h/a")
        room.keep(topic, "1")
        one, two = room.behind(topic), room.behind(topic)
        room.readers.pull(one.session)
        room.env.step.now = age
        room.readers.pull(two.session)
        first, second = (each.session.mailbox.entries[0] for each in (one, two))
        assert (first is second) is shared
        assert second.at == (0.0 if shared else age)

    def test_those_who_read_a_history_together_share_what_is_replayed(self) -> None:
        room = Room()
        topic = room.topic("/topic/h/a")
        room.keep(topic, *"123")
        one, two, other, late = (room.behind(topic, name=name) for name in ("s", "s", "t", "s"))
        for each in (one, two, other, late):
            each.replay_to = 3
        for each in (one, two, other):
            room.readers.pull(each.session)
        first, second, third = (list(each.session.mailbox.entries) for each in (one, two, other))
        assert [head(entry).get("replayed") for entry in first] == ["true"] * 3
        assert [entry.offset for entry in first] == [1, 2, 3]
        assert all(mine is theirs for mine, theirs in zip(first, second, strict=True))
        assert not any(entry in first for entry in third)
        room.env.step.now = FRESH + 0.001
        room.readers.pull(late.session)
        assert not any(entry in first for entry in late.session.mailbox.entries)
        assert waiting(late) == waiting(one) == ["1", "2", "3"]
        assert topic.replays is None  # Nobody reads it any more.

    def test_what_says_more_than_that_it_is_replayed_is_shared_with_nobody(self) -> None:
        room = Room()
        topic = room.topic("/topic/h/a")
        room.keep(topic, *"12")
        one, two, three, _ = (room.behind(topic) for _ in range(4))
        for each in (one, two, three):
            each.replay_to = 2
        two.dropped = 3
        for each in (one, two, three):
            room.readers.pull(each.session)
        (first, _), (told, shared), (last, _) = (
            each.session.mailbox.entries for each in (one, two, three)
        )
        assert (head(told)["dropped"], told.tells) == ("3", 3)
        assert first is last is not told
        assert shared is one.session.mailbox.entries[1]

    def test_who_reads_a_history_alone_keeps_nothing_for_others(self) -> None:
        room = Room()
        topic = room.topic("/topic/h/a")
        room.keep(topic, *"12")
        reader = room.behind(topic)
        reader.replay_to = 3
        room.readers._pull_one(reader)
        assert (waiting(reader), topic.replays) == (["1"], None)

    def test_what_is_kept_for_others_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(readers, "MOST_REPLAYS", 3)
        room = Room()
        topic = room.topic("/topic/h/a")
        room.keep(topic, *"12345678")
        one, two = room.behind(topic), room.behind(topic)
        one.replay_to = two.replay_to = 9
        for _ in range(8):
            room.readers._pull_one(one)
            assert 0 < len(topic.replays or ()) <= 3
        room.readers.pull(two.session)
        assert waiting(two) == waiting(one)

    def test_an_entry_that_has_left_all_mailboxes_counts_again_when_it_is_used_again(self) -> None:
        room = Room()
        topic = room.topic("/topic/h/a")
        room.keep(topic, "1")
        one, two = room.behind(topic), room.behind(topic)
        room.readers.pull(one.session)
        (entry,) = empty(one)
        assert room.env.office.total == 0
        room.readers.pull(two.session)
        assert two.session.mailbox.entries[0] is entry
        assert room.env.office.total == entry.size

    def test_what_is_marked_is_made_for_one_and_disturbs_no_other(self) -> None:
        room = Room()
        topic = room.topic("/topic/h/a")
        (item,) = room.keep(topic, "1")
        one, two, three = (room.behind(topic) for _ in range(3))
        two.dropped = 2
        for each in (one, two, three):
            room.readers.deliver(each, item, 1)
        first, told, last = (each.session.mailbox.entries[0] for each in (one, two, three))
        assert first is last is not told
        assert head(told)["dropped"] == "2"
        assert told.tells == 2
        assert "dropped" not in head(first)

    def test_another_publication_is_another_entry(self) -> None:
        room = Room()
        reader = room.behind(room.topic())
        for item in (room.item("1"), room.item("2")):
            room.readers.deliver(reader, item, 1)
        assert waiting(reader) == ["1", "2"]

    def test_a_redelivery_says_so_and_how_often(self) -> None:
        room = Room()
        reader = room.behind(room.topic(), window=9)
        room.readers.deliver(reader, room.item("1"), 1, attempt=3)
        (entry,) = reader.session.mailbox.entries
        assert head(entry).items() >= {"redelivered": "true", "delivery-attempt": "3"}.items()
        assert entry.attempt == 3

    def test_the_marks_stand_in_one_order(self) -> None:
        room = Room()
        reader = room.behind(room.topic())
        reader.dropped, reader.unrecovered = 4, True
        room.readers.deliver(reader, room.item("1"), 1, attempt=2, replayed=True)
        (entry,) = reader.session.mailbox.entries
        names = ["redelivered", "delivery-attempt", "replayed", "recovered", "dropped"]
        assert list(head(entry))[1:6] == names

    def test_what_has_to_be_acknowledged_is_in_its_ledger_in_the_order_of_all_deliveries(
        self,
    ) -> None:
        room = Room()
        one, two = (room.behind(room.topic(), window=9) for _ in range(2))
        room.env.step.now = 3.0
        for reader in (one, two, one):
            room.readers.deliver(reader, room.item("1"), 7)
        assert one.ledger is not None
        assert two.ledger is not None
        assert [each.place for each in one.ledger] == [1, 3]
        (delivery,) = two.ledger
        assert (delivery.place, delivery.offset, delivery.attempt, delivery.at) == (2, 7, 1, 3.0)
        assert (delivery.home, delivery.subscription) == (two.topic, two)
        assert two.session.deadline == 33.0
        assert room.readers.next_place() == 4

    def test_what_a_queue_hands_out_is_shared_with_nobody_and_knows_its_origin(self) -> None:
        room = Room()
        queue = room.delivery.destinations.open_queue("/queue/a")
        one, two = (Consumer(room.session(), "s", "/queue/a", queue) for _ in range(2))
        item = room.item("1")
        for each in (one, two):
            room.readers.deliver(each, item, 5, origin=queue)
        first, second = (each.session.mailbox.entries[0] for each in (one, two))
        assert first is not second
        assert (first.origin, first.offset) == (queue, 5)

    @pytest.mark.pure("hands over a stand-in; compiled code takes its own records")
    def test_an_open_window_moves_a_reader_with_the_next_flush_and_a_queue_at_once(self) -> None:
        room = Room()
        reader = room.behind(room.topic(), window=1)
        asked: list[str] = []
        ledger: Any = reader.ledger
        ledger.subscription = type("Asked", (), {"opened": lambda self: asked.append("opened")})()
        room.env.step.outputs.dirty.clear()
        reader.session.mailbox.dirty = False
        room.readers.opened(reader.session, ledger)
        assert room.env.step.outputs.dirty == [reader.session.mailbox]
        assert asked == ["opened"]
        ledger.subscription = None
        room.readers.opened(reader.session, ledger)
        assert asked == ["opened"]


class TestTextOnly:
    """A wire that carries text only, and a message that is none."""

    def test_it_is_in_no_mailbox_and_in_no_ledger_and_the_next_tells_it(self) -> None:
        room = Room()
        topic = room.topic()
        reader = room.behind(topic, session=room.session(TextWire()), window=1)
        room.readers.deliver(reader, room.item(b"\xff"), 1, attempt=2)
        assert waiting(reader) == []
        assert reader.ledger is not None
        assert (len(reader.ledger), reader.ledger.highest) == (0, 0)
        assert (reader.dropped, room.env.counters.messages_queued) == (1, 0)
        assert room.env.counters.messages_dropped == 1
        assert room.env.step.dropped == {("/topic/a", "binary"): 1}
        room.readers.deliver(reader, room.item("1"), 2)
        (entry,) = reader.session.mailbox.entries
        assert head(entry)["dropped"] == "1"

    def test_who_is_live_reads_what_comes_next_from_the_log_and_is_live_again(self) -> None:
        room = Room()
        topic = room.topic()
        reader = room.live(topic, room.session(TextWire()))
        room.publish(topic, "1")
        room.readers.deliver(reader, room.item(b"\xff"), 2)
        assert (reader.next, list(topic.behind)) == (topic.log.top + 1, [reader])
        assert not reader.group.members
        room.publish(topic, "2")
        room.readers.pull(reader.session)
        assert [head(each).get("dropped") for each in reader.session.mailbox.entries] == [None, "1"]
        assert reader.group.members

    def test_who_reads_passes_it(self) -> None:
        room = Room()
        topic = room.topic("/topic/h/a")
        room.keep(topic, "1", b"\xff", "2", b"\xff")
        reader = room.behind(topic, session=room.session(TextWire()))
        room.readers.pull(reader.session)
        assert waiting(reader) == ["1", "2"]
        assert (reader.next, reader.dropped, list(topic.behind)) == (5, 1, [reader])

    def test_what_is_text_is_delivered_as_to_anybody(self) -> None:
        room = Room()
        reader = room.behind(room.topic(), session=room.session(TextWire()))
        room.readers.deliver(reader, room.item("grün"), 1)
        assert waiting(reader) == ["grün"]


class TestShed:
    """A slow consumer that may lose its oldest messages: which go, and where it is told."""

    def test_the_oldest_go_until_half_of_the_bound_is_free_and_the_next_tells_it(self) -> None:
        room = Room(send_queue=2_000)
        reader = room.live(room.topic(LOSSY))
        room.publish(room.topic(LOSSY), *(f"{n:02}" + "x" * 100 for n in range(20)))
        mailbox = reader.session.mailbox
        size = mailbox.entries[0].size
        assert room.readers.shed(reader.session)
        left = 1_000 // size
        assert [body[:2] for body in waiting(reader)] == [f"{n:02}" for n in range(20 - left, 20)]
        first, second = list(mailbox.entries)[:2]
        assert (head(first)["dropped"], first.tells) == (f"{20 - left}", 20 - left)
        assert "dropped" not in head(second)
        assert reader.dropped == 0
        assert mailbox.queued == room.env.office.total == sum(e.size for e in mailbox.entries)
        assert room.env.step.dropped == {(LOSSY, "slow-consumer"): 20 - left}

    def test_what_was_told_by_what_is_shed_next_is_told_again(self) -> None:
        room = Room(send_queue=2_000)
        topic = room.topic(LOSSY)
        reader = room.live(topic)
        bodies = [f"{n:02}" + "x" * 100 for n in range(40)]
        for half in (bodies[:20], bodies[20:]):
            room.publish(topic, *half)
            assert room.readers.shed(reader.session)
        first = reader.session.mailbox.entries[0]
        assert first.publication is not None
        assert head(first)["dropped"] == f"{first.tells}" == f"{int(first.publication.body[:2])}"
        assert room.env.counters.messages_dropped == first.tells

    def test_the_entry_that_tells_is_made_anew_and_keeps_its_age_and_its_place(self) -> None:
        room = Room(send_queue=2_000)
        topic = room.topic(LOSSY)
        slow, quick = room.live(topic), room.live(topic)
        for n in range(20):
            room.env.step.now = float(n)
            room.publish(topic, f"{n:02}" + "x" * 100)
        before = list(quick.session.mailbox.entries)
        room.readers.shed(slow.session)
        told, *rest = slow.session.mailbox.entries
        place = 20 - len(slow.session.mailbox.entries)
        assert (told.at, told.offset) == (float(place), before[place].offset)
        assert told.group is before[place].group
        assert told is not before[place]
        assert rest == before[place + 1 :]
        assert list(quick.session.mailbox.entries) == before
        assert "dropped" not in head(before[place])
        assert before[place].waiting == 1

    def test_who_has_nothing_left_is_told_by_the_next_message_that_comes(self) -> None:
        room = Room(send_queue=2_000)
        topic = room.topic(LOSSY)
        reader, other = room.live(topic), room.live(topic)
        reader.session.mailbox.unsent = 1_500
        room.publish(topic, "1", "2")
        assert room.readers.shed(reader.session)
        assert waiting(reader) == []
        assert reader.dropped == 2
        assert list(topic.behind) == [reader]
        room.publish(topic, "3")
        room.readers.pull(reader.session)
        (entry,) = reader.session.mailbox.entries
        assert head(entry)["dropped"] == "2"
        assert [head(each).get("dropped") for each in other.session.mailbox.entries] == [None] * 3
        assert not topic.behind

    def test_where_the_policy_does_not_allow_it_nothing_is_lost(self) -> None:
        room = Room(send_queue=2_000)
        lossy, safe = room.topic(LOSSY), room.topic("/topic/a")
        reader = room.live(safe)
        room.live(lossy, reader.session, "t")
        for _ in range(2):
            room.publish(safe, "safe" + "x" * 1_000)
        room.publish(lossy, "lossy")
        assert not room.readers.shed(reader.session)
        assert [body[:5] for body in waiting(reader)] == ["safex"] * 2

    def test_what_the_transport_holds_counts(self) -> None:
        room = Room(send_queue=2_000)
        reader = room.live(room.topic(LOSSY))
        room.publish(room.topic(LOSSY), "1")
        reader.session.mailbox.unsent = 2_001
        assert not room.readers.shed(reader.session)
        assert waiting(reader) == []

    def test_who_fell_behind_at_what_is_no_text_is_told_of_that_later(self) -> None:
        room = Room(send_queue=2_000)
        topic = room.topic(LOSSY)
        reader = room.live(topic, room.session(TextWire()))
        bodies = [f"{n:02}" + "x" * 100 for n in range(20)]
        room.publish(topic, *bodies, b"\xff")
        assert (reader.dropped, list(topic.behind)) == (1, [reader])
        assert room.readers.shed(reader.session)
        told, *rest = reader.session.mailbox.entries
        lost = 19 - len(rest)
        assert (head(told)["dropped"], told.tells) == (f"{lost}", lost)
        assert (reader.dropped, reader.next) == (1, 22)

    def test_if_nothing_is_left_it_is_all_told_by_what_it_reads_next(self) -> None:
        room = Room(send_queue=2_000)
        topic = room.topic(LOSSY)
        reader = room.live(topic, room.session(TextWire()))
        room.publish(topic, "1", "2", b"\xff", "3")
        reader.session.mailbox.unsent = 2_000
        room.readers.shed(reader.session)
        assert (reader.dropped, reader.next) == (3, 4)
        assert waiting(reader) == []

    def test_any_other_reader_behind_keeps_what_lies_in_the_mailbox(self) -> None:
        room = Room(send_queue=2_000)
        topic = room.topic(LOSSY)
        reader = room.live(topic)
        room.publish(topic, "1")
        room.readers.fall_behind(reader, 2)
        reader.session.mailbox.unsent = 3_000
        assert not room.readers.shed(reader.session)
        assert waiting(reader) == ["1"]

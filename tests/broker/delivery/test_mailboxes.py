"""Mailboxes: what is shared, what is counted, and who is judged slow."""

from __future__ import annotations

from typing import Any

from stocksync_ws.broker.delivery.mailboxes import Mailboxes
from stocksync_ws.broker.model.log import ByteCounter
from stocksync_ws.broker.model.mailbox import Verdict
from stocksync_ws.broker.model.outputs import drain
from stocksync_ws.broker.model.post_office import Outgoing
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.state import State
from stocksync_ws.broker.model.subscription import Reader
from stocksync_ws.broker.model.topic import Topic
from stocksync_ws.config import BrokerConfig, DestinationPolicy, Limits
from stocksync_ws.stomp.frame import Version
from tests.broker.kit import environment, publication, record

LIMITS = Limits(send_queue=1_000)


class Box:
    """An outbox with sessions that are subscribed to /topic/a."""

    def __init__(self) -> None:
        self.env = environment(BrokerConfig(limits=LIMITS))
        self.counters = self.env.counters
        self.outbox = Mailboxes(self.env)
        keeper: Any = None
        self.topic = Topic("/topic/a", DestinationPolicy(), ByteCounter(), keeper)
        self.number = 0

    def session(
        self, version: Version = Version.V12, state: State = State.CONNECTED, **slots: Any
    ) -> SessionRecord:
        session = record(self.env)
        session.version = version
        session.state = state
        for name, value in slots.items():
            setattr(session.mailbox, name, value)
        return session

    def subscribe(self, session: SessionRecord, subscription_id: str | None = "1") -> Reader:
        reader = Reader(session, subscription_id, "/topic/a", self.topic)
        reader.group.members[session.mailbox] = reader
        return reader

    def judge(self, session: SessionRecord, at: float) -> Verdict:
        self.env.step.now = at
        return session.mailbox.judge(closing=session.state is State.CLOSING)

    def publish(self, body: bytes = b"x", at: float = 0.0) -> int:
        self.number += 1
        made = publication(self.number, f"e-{self.number}", "/topic/a", (), body, at)
        self.env.step.now = at
        groups = self.topic.groups.values()
        return sum(self.outbox.publish(made, each, self.number) for each in groups)


def test_one_entry_for_all_receivers_of_a_kind() -> None:
    box = Box()
    one, two, old = box.session(), box.session(), box.session(Version.V11)
    for session in (one, two, old):
        box.subscribe(session)
    assert box.publish() == 3
    assert one.mailbox.entries[0] is two.mailbox.entries[0]
    assert one.mailbox.entries[0] is not old.mailbox.entries[0]
    assert one.mailbox.entries[0].waiting == 2
    assert box.env.office.total == one.mailbox.entries[0].size + old.mailbox.entries[0].size
    assert box.counters.messages_queued == 3


def test_an_entry_that_waits_in_two_mailboxes_is_counted_once() -> None:
    box = Box()
    one, two = box.session(), box.session()
    group = box.subscribe(one).group
    box.subscribe(two)
    made = publication(1, "e-1", "/topic/a", (), b"x", 0.0)
    entry = box.outbox.entry(made, group, one.mailbox)
    for session in (one, two):
        session.mailbox.append(entry)
    assert box.env.office.total == entry.size == one.mailbox.queued == two.mailbox.queued
    one.mailbox.drop()
    assert box.env.office.total == entry.size
    two.mailbox.drop()
    assert box.env.office.total == 0


def test_the_total_returns_to_zero_however_entries_leave() -> None:
    box = Box()
    one, two, three = box.session(), box.session(), box.session()
    for session in (one, two, three):
        box.subscribe(session)
        session.mailbox.frame(b"RECEIPT\n\n\0")
        session.mailbox.beat()
    box.publish()
    one.mailbox.chunk(one.wire.ping())
    assert box.env.office.total
    assert len(one.mailbox.take(10_000, 0.0)) == 4
    two.mailbox.drop()
    three.mailbox.drop(keep_own=True)
    assert len(three.mailbox.entries) == 2
    assert three.mailbox.queued == sum(entry.size for entry in three.mailbox.entries)
    three.mailbox.take(10_000, 0.0)
    assert (
        box.env.office.total
        == one.mailbox.queued
        == two.mailbox.queued
        == three.mailbox.queued
        == 0
    )


def test_take_gives_what_fits_but_at_least_one() -> None:
    box = Box()
    session = box.session()
    box.subscribe(session)
    for _ in range(3):
        box.publish(b"x" * 100)
    size = session.mailbox.entries[0].size
    assert len(session.mailbox.take(1, 0.0)) == 1
    assert len(session.mailbox.take(2 * size - 1, 0.0)) == 1
    assert session.mailbox.queued == size
    assert len(session.mailbox.take(size, 0.0)) == 1
    assert session.mailbox.take(1, 0.0) == []
    assert session.mailbox.handed == 3 * size


def test_a_session_is_in_the_dirty_list_once_and_in_order() -> None:
    box = Box()
    one, two = box.session(), box.session()
    box.subscribe(two)
    one.mailbox.mark()
    box.publish()
    box.publish()
    two.mailbox.mark()
    assert box.env.step.outputs.pending
    assert drain(box.env.step.outputs.dirty) == [one.mailbox, two.mailbox]
    assert not box.env.step.outputs.pending


def test_one_beat_for_all_sessions_of_a_wire() -> None:
    box = Box()
    one, two = box.session(), box.session()
    one.mailbox.beat()
    two.mailbox.beat()
    assert one.mailbox.entries[0] is two.mailbox.entries[0]
    assert one.mailbox.entries[0].chunk == b"\x81\x01\n"
    one.mailbox.take(100, 0.0)
    two.mailbox.drop()
    one.mailbox.beat()
    assert box.env.office.total == 0


def test_growth_past_the_bound_of_a_turn_is_noted_and_nothing_removed() -> None:
    box = Box()
    session = box.session()
    box.subscribe(session)
    for _ in range(8):
        box.publish(b"x" * 900)
    assert not box.env.step.overfull
    box.publish(b"x" * 900)
    assert box.env.step.overfull == [session.mailbox]
    assert len(session.mailbox.entries) == 9


class TestJudge:
    def waiting(self, queued: int, **slots: Any) -> tuple[Box, SessionRecord]:
        box = Box()
        session = box.session(queued=queued, **slots)
        if queued:
            session.mailbox.entries.append(Outgoing(b"", queued, 100.0, 1))
        return box, session

    def test_nothing_waits(self) -> None:
        box, session = self.waiting(0, progress_at=1.0, over_since=2.0)
        assert box.judge(session, 100.0) is Verdict.FINE
        assert session.mailbox.progress_at is session.mailbox.over_since is None
        assert session.mailbox.judge_at() is None

    def test_within_the_bound_it_may_wait(self) -> None:
        box, session = self.waiting(1_000)
        assert box.judge(session, 100.0) is Verdict.WAITING
        assert session.mailbox.judge_at() == 110.0

    def test_over_the_bound_without_progress(self) -> None:
        box, session = self.waiting(1_001)
        assert box.judge(session, 100.0) is Verdict.SLOW

    def test_what_the_transport_holds_counts_too(self) -> None:
        box, session = self.waiting(600, unsent=401, handed=401)
        assert box.judge(session, 100.0) is Verdict.SLOW

    def test_over_the_bound_with_progress_it_has_a_second(self) -> None:
        box, session = self.waiting(1_001, handed=10)
        assert box.judge(session, 100.0) is Verdict.WAITING
        assert session.mailbox.judge_at() == 101.0
        assert box.judge(session, 100.9) is Verdict.WAITING
        session.mailbox.handed = 20
        assert box.judge(session, 101.0) is Verdict.SLOW

    def test_back_below_it_the_second_is_forgotten(self) -> None:
        box, session = self.waiting(1_001, handed=10)
        box.judge(session, 100.0)
        session.mailbox.queued = 1_000
        box.judge(session, 100.9)
        assert session.mailbox.over_since is None
        session.mailbox.queued, session.mailbox.handed = 1_001, 20
        assert box.judge(session, 101.0) is Verdict.WAITING

    def test_no_progress_for_ten_seconds(self) -> None:
        box, session = self.waiting(10)
        box.judge(session, 100.0)
        assert box.judge(session, 109.9) is Verdict.WAITING
        session.mailbox.handed = 5
        assert box.judge(session, 109.9) is Verdict.WAITING
        assert box.judge(session, 119.8) is Verdict.WAITING
        assert box.judge(session, 119.9) is Verdict.SLOW

    def test_the_oldest_waits_for_thirty_seconds(self) -> None:
        box, session = self.waiting(10)
        for at in (100, 108, 116, 124, 129.9):
            session.mailbox.handed += 1
            assert box.judge(session, at) is Verdict.WAITING
        assert session.mailbox.judge_at() == 130.0
        session.mailbox.handed += 1
        assert box.judge(session, 130.0) is Verdict.SLOW

    def test_who_is_closing_is_left_to_the_abort_timer(self) -> None:
        box, session = self.waiting(9_999, state=State.CLOSING)
        assert box.judge(session, 100.0) is Verdict.WAITING
        assert box.judge(session, 900.0) is Verdict.WAITING

    def test_what_only_the_transport_holds_has_no_age(self) -> None:
        box, session = self.waiting(0, unsent=10, handed=10)
        assert box.judge(session, 100.0) is Verdict.WAITING
        assert session.mailbox.judge_at() == 110.0

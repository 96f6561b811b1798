"""Mailboxes: what is shared, what is counted, and who is judged slow."""

from __future__ import annotations

from contextvars import copy_context
from typing import Any

from stocksync_ws.broker.delivery.mailboxes import Mailboxes, Verdict
from stocksync_ws.broker.model.channel import Channel
from stocksync_ws.broker.model.log import ByteCounter
from stocksync_ws.broker.model.outputs import drain
from stocksync_ws.broker.model.publication import Publication
from stocksync_ws.broker.model.session import Outgoing, Session, State, Subscription
from stocksync_ws.config import BrokerConfig, DestinationPolicy, Limits
from stocksync_ws.stomp.decoder import Decoder
from stocksync_ws.stomp.frame import Version
from stocksync_ws.types import Handshake, HttpRequest
from stocksync_ws.wire import WebSocketWire
from tests.broker.kit import environment

LIMITS = Limits(send_queue=1_000)


class Box:
    """An outbox with sessions that are subscribed to /topic/a."""

    def __init__(self) -> None:
        self.env = environment(BrokerConfig(limits=LIMITS))
        self.counters = self.env.counters
        self.outbox = Mailboxes(self.env)
        self.channel = Channel("/topic/a", DestinationPolicy(), None, ByteCounter(), queue=False)
        self.number = 0

    def session(self, version: Version = Version.V12, **slots: Any) -> Session:
        wire = WebSocketWire()
        handshake = Handshake(HttpRequest("GET", "/"), wire, None)
        session = Session("s", wire, handshake, Decoder(LIMITS), copy_context(), 0.0)
        session.version = version
        session.state = State.CONNECTED
        for name, value in slots.items():
            setattr(session, name, value)
        return session

    def subscribe(self, session: Session, subscription_id: str | None = "1") -> Subscription:
        subscription = Subscription(session, subscription_id, "/topic/a")
        subscription.channel = self.channel
        self.channel.join(subscription).members[session] = subscription
        return subscription

    def judge(self, session: Session, at: float) -> Verdict:
        self.env.step.now = at
        return self.outbox.judge(session)

    def publish(self, body: bytes = b"x", at: float = 0.0) -> int:
        self.number += 1
        made = Publication(self.number, f"e-{self.number}", "/topic/a", (), body, at)
        self.env.step.now = at
        return sum(self.outbox.publish(made, each) for each in self.channel.groups.values())


def test_one_entry_for_all_receivers_of_a_kind() -> None:
    box = Box()
    one, two, old = box.session(), box.session(), box.session(Version.V11)
    for session in (one, two, old):
        box.subscribe(session)
    assert box.publish() == 3
    assert one.mailbox[0] is two.mailbox[0]
    assert one.mailbox[0] is not old.mailbox[0]
    assert one.mailbox[0].waiting == 2
    assert box.outbox.total == one.mailbox[0].size + old.mailbox[0].size
    assert box.counters.messages_queued == 3


def test_an_entry_that_waits_in_two_mailboxes_is_counted_once() -> None:
    box = Box()
    one, two = box.session(), box.session()
    group = box.subscribe(one).group
    box.subscribe(two)
    assert group is not None
    made = Publication(1, "e-1", "/topic/a", (), b"x", 0.0)
    entry = box.outbox.entry(made, one, group.head(made))
    for session in (one, two):
        box.outbox.append_shared(session, entry)
    assert box.outbox.total == entry.size == one.queued == two.queued
    box.outbox.drop(one)
    assert box.outbox.total == entry.size
    box.outbox.drop(two)
    assert box.outbox.total == 0


def test_the_total_returns_to_zero_however_entries_leave() -> None:
    box = Box()
    one, two, three = box.session(), box.session(), box.session()
    for session in (one, two, three):
        box.subscribe(session)
        box.outbox.frame(session, b"RECEIPT\n\n\0")
        box.outbox.beat(session)
    box.publish()
    box.outbox.control(one, [one.wire.ping()])
    assert box.outbox.total
    assert len(box.outbox.take(one, 10_000)) == 4
    box.outbox.drop(two)
    box.outbox.drop(three, keep_own=True)
    assert len(three.mailbox) == 2
    assert three.queued == sum(entry.size for entry in three.mailbox)
    box.outbox.take(three, 10_000)
    assert box.outbox.total == one.queued == two.queued == three.queued == 0


def test_take_gives_what_fits_but_at_least_one() -> None:
    box = Box()
    session = box.session()
    box.subscribe(session)
    for _ in range(3):
        box.publish(b"x" * 100)
    size = session.mailbox[0].size
    assert len(box.outbox.take(session, 1)) == 1
    assert len(box.outbox.take(session, 2 * size - 1)) == 1
    assert session.queued == size
    assert len(box.outbox.take(session, size)) == 1
    assert box.outbox.take(session, 1) == []
    assert session.handed == 3 * size


def test_a_session_is_in_the_dirty_list_once_and_in_order() -> None:
    box = Box()
    one, two = box.session(), box.session()
    box.subscribe(two)
    box.outbox.mark(one)
    box.publish()
    box.publish()
    box.outbox.mark(two)
    assert box.env.step.outputs.pending
    assert drain(box.env.step.outputs.dirty) == [one, two]
    assert not box.env.step.outputs.pending


def test_one_beat_for_all_sessions_of_a_wire() -> None:
    box = Box()
    one, two = box.session(), box.session()
    box.outbox.beat(one)
    box.outbox.beat(two)
    assert one.mailbox[0] is two.mailbox[0]
    assert one.mailbox[0].chunk == b"\x81\x01\n"
    box.outbox.take(one, 100)
    box.outbox.drop(two)
    box.outbox.beat(one)
    assert box.outbox.total == 0


def test_growth_past_the_bound_of_a_turn_is_noted_and_nothing_removed() -> None:
    box = Box()
    session = box.session()
    box.subscribe(session)
    for _ in range(8):
        box.publish(b"x" * 900)
    assert not box.env.step.overfull
    box.publish(b"x" * 900)
    assert box.env.step.overfull == [session]
    assert len(session.mailbox) == 9


class TestJudge:
    def waiting(self, queued: int, **slots: Any) -> tuple[Box, Session]:
        box = Box()
        session = box.session(queued=queued, **slots)
        if queued:
            session.mailbox.append(Outgoing(b"", queued, 100.0, 1))
        return box, session

    def test_nothing_waits(self) -> None:
        box, session = self.waiting(0, progress_at=1.0, over_since=2.0)
        assert box.judge(session, 100.0) is Verdict.FINE
        assert session.progress_at is session.over_since is None
        assert box.outbox.judge_at(session) is None

    def test_within_the_bound_it_may_wait(self) -> None:
        box, session = self.waiting(1_000)
        assert box.judge(session, 100.0) is Verdict.WAITING
        assert box.outbox.judge_at(session) == 110.0

    def test_over_the_bound_without_progress(self) -> None:
        box, session = self.waiting(1_001)
        assert box.judge(session, 100.0) is Verdict.SLOW

    def test_what_the_transport_holds_counts_too(self) -> None:
        box, session = self.waiting(600, unsent=401, handed=401)
        assert box.judge(session, 100.0) is Verdict.SLOW

    def test_over_the_bound_with_progress_it_has_a_second(self) -> None:
        box, session = self.waiting(1_001, handed=10)
        assert box.judge(session, 100.0) is Verdict.WAITING
        assert box.outbox.judge_at(session) == 101.0
        assert box.judge(session, 100.9) is Verdict.WAITING
        session.handed = 20
        assert box.judge(session, 101.0) is Verdict.SLOW

    def test_back_below_it_the_second_is_forgotten(self) -> None:
        box, session = self.waiting(1_001, handed=10)
        box.judge(session, 100.0)
        session.queued = 1_000
        box.judge(session, 100.9)
        assert session.over_since is None
        session.queued, session.handed = 1_001, 20
        assert box.judge(session, 101.0) is Verdict.WAITING

    def test_no_progress_for_ten_seconds(self) -> None:
        box, session = self.waiting(10)
        box.judge(session, 100.0)
        assert box.judge(session, 109.9) is Verdict.WAITING
        session.handed = 5
        assert box.judge(session, 109.9) is Verdict.WAITING
        assert box.judge(session, 119.8) is Verdict.WAITING
        assert box.judge(session, 119.9) is Verdict.SLOW

    def test_the_oldest_waits_for_thirty_seconds(self) -> None:
        box, session = self.waiting(10)
        for at in (100, 108, 116, 124, 129.9):
            session.handed += 1
            assert box.judge(session, at) is Verdict.WAITING
        assert box.outbox.judge_at(session) == 130.0
        session.handed += 1
        assert box.judge(session, 130.0) is Verdict.SLOW

    def test_who_is_closing_is_left_to_the_abort_timer(self) -> None:
        box, session = self.waiting(9_999, state=State.CLOSING)
        assert box.judge(session, 100.0) is Verdict.WAITING
        assert box.judge(session, 900.0) is Verdict.WAITING

    def test_what_only_the_transport_holds_has_no_age(self) -> None:
        box, session = self.waiting(0, unsent=10, handed=10)
        assert box.judge(session, 100.0) is Verdict.WAITING
        assert box.outbox.judge_at(session) == 110.0

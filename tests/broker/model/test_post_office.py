"""What all mailboxes share: bytes that count once, the bound over all of them, and the beats."""

from __future__ import annotations

from typing import Any

from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.mailbox import Mailbox
from stocksync_ws.broker.model.post_office import Outgoing
from stocksync_ws.broker.model.state import State
from stocksync_ws.broker.model.transaction import Transaction
from stocksync_ws.config import BrokerConfig, Limits
from tests.broker.kit import TextWire, environment, record


def office_of(most: int = 1_000) -> tuple[Environment, Mailbox, Mailbox]:
    """An office that may hold so many bytes, and two of its mailboxes."""
    env = environment(BrokerConfig(limits=Limits(send_queue=most, max_total_queued=most)))
    return env, record(env).mailbox, record(env).mailbox


def entry(size: int) -> Outgoing:
    return Outgoing(bytes(size), size, 0.0, 0)


def test_an_entry_that_waits_in_two_mailboxes_is_counted_once() -> None:
    env, one, two = office_of()
    shared = entry(10)
    one.append(shared)
    two.append(shared)
    assert env.office.total == one.queued == two.queued == 10
    one.drop()
    assert env.office.total == 10
    two.drop()
    assert env.office.total == shared.waiting == 0


def test_the_total_returns_to_zero_however_entries_leave() -> None:
    env, one, two = office_of()
    for mailbox in (one, two):
        mailbox.frame(b"RECEIPT\n\n\0")
        mailbox.chunk(mailbox.wire.ping())
        mailbox.beat()
    assert env.office.total
    assert len(one.take(10_000, 0.0)) == 3
    two.drop()
    assert env.office.total == one.queued == two.queued == 0


def test_what_is_over_the_bound_of_all_mailboxes_is_noted_and_nothing_removed() -> None:
    env, one, two = office_of(most=100)
    one.append(entry(100))
    assert not env.step.noted
    assert not env.office.over
    two.append(entry(1))
    assert env.step.noted
    assert env.office.over
    assert [len(each.entries) for each in (one, two)] == [1, 1]


def test_one_beat_for_all_sessions_of_a_wire() -> None:
    env, one, two = office_of()
    one.beat()
    two.beat()
    assert one.entries[0] is two.entries[0]
    assert one.entries[0].chunk == b"\x81\x01\n"
    one.take(100, 0.0)
    two.drop()
    one.beat()
    assert env.office.total == 0


def test_wires_that_dress_a_frame_in_another_way_have_a_beat_of_their_own() -> None:
    env, one, _ = office_of()
    other: Any = type("Other", (TextWire,), {"key": "other"})()
    assert env.office.beat(one.wire) is not env.office.beat(other)
    assert env.office.beat(other) is env.office.beat(other)


def test_what_came_of_a_session_counts_by_the_difference_to_what_was_counted() -> None:
    env, one, _ = office_of()
    session, office = one.owner, env.office
    assert session is not None
    session.state = State.CONNECTED
    session.inbound.size = 100
    session.wire.kept = 20
    session.inbound.decoder.feed(b"SEND\ndesti")
    assert session.inbound.decoder.next() is None
    transaction = Transaction(0.0)
    transaction.size = 5
    session.subscriptions.transactions = {"t": transaction}
    for _ in range(2):
        office.weigh(session)
        assert session.inbound.held == office.received == office.total == 135
    one.append(entry(10))
    session.inbound.size = 0
    office.weigh(session)
    assert (office.received, office.total) == (35, 45)
    session.state = State.CLOSING
    office.weigh(session)
    assert (office.received, office.total) == (0, 10)


def test_what_came_may_be_what_is_too_much() -> None:
    env, one, _ = office_of(most=100)
    session = one.owner
    assert session is not None
    session.state = State.CONNECTED
    for size in (100, 101):
        session.inbound.size = size
        env.office.weigh(session)
        assert env.office.over is env.step.noted is (size > 100)

"""The clocks of a session as arithmetic: one table, and what a pause of reading does to it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest

from stocksync_ws.broker.model.clocks import Clocks, Due, SessionClocks
from stocksync_ws.broker.model.credentials import Credentials
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.state import State
from stocksync_ws.broker.model.transaction import Transaction
from stocksync_ws.config import BrokerConfig
from stocksync_ws.types import HttpRequest
from tests.broker.kit import record


def test_every_clock_that_can_be_due_is_armed() -> None:
    """`due` and `next_deadline` read one table: whoever adds a clock adds it to both."""
    clocks = SessionClocks(BrokerConfig())
    assert [due for due, _ in clocks._clocks] == list(Due)


def test_the_clocks_stand_still_while_we_do_not_read() -> None:
    clocks = Clocks(100.0, pings=True)
    clocks.pinged_at, clocks.frame_since, clocks.paused_since = 101.0, 102.0, 103.0
    assert clocks.listened(150.0) == 103.0
    clocks.resume(153.0)
    assert (clocks.last_seen, clocks.pinged_at, clocks.frame_since) == (150.0, 151.0, 152.0)
    assert clocks.paused_since is None
    assert clocks.listened(160.0) == 110.0


def test_pauses_add_up() -> None:
    clocks = Clocks(100.0, pings=True)
    for began, ended in ((110.0, 115.0), (120.0, 121.0)):
        clocks.paused_since = began
        clocks.resume(ended)
    assert clocks.paused_total == 6.0
    assert clocks.listened(130.0) == 124.0
    assert clocks.last_seen == 106.0


def test_what_does_not_run_is_not_started_by_a_pause() -> None:
    clocks = Clocks(100.0, pings=True)
    clocks.paused_since = 100.0
    clocks.resume(110.0)
    assert clocks.pinged_at is clocks.frame_since is None


def test_who_was_seen_during_the_pause_was_not_seen_in_the_future() -> None:
    clocks = Clocks(100.0, pings=True)
    clocks.paused_since = 100.0
    clocks.seen(109.0)
    clocks.resume(110.0)
    assert clocks.last_seen == 110.0


def test_whatever_comes_is_the_answer_to_a_ping() -> None:
    clocks = Clocks(100.0, pings=True)
    clocks.pinged_at = 125.0
    clocks.seen(126.0)
    assert (clocks.last_seen, clocks.pinged_at) == (126.0, None)


def connected(*, pings: bool = True) -> SessionRecord:
    session = record()
    session.state = State.CONNECTED
    session.clocks = Clocks(0.0, pings=pings)
    return session


@pytest.mark.parametrize(("pings", "due"), [(True, [Due.PING]), (False, [])])
def test_a_wire_without_ping_has_no_clock_for_it(pings: bool, due: list[Due]) -> None:
    clocks, session = SessionClocks(BrokerConfig()), connected(pings=pings)
    assert list(clocks.due(session, 1_000.0)) == due
    assert (clocks.next_deadline(session) is None) is (not pings)


def test_who_is_closing_waits_for_the_end_of_its_close_alone() -> None:
    clocks, session = SessionClocks(BrokerConfig()), connected()
    session.state, session.clocks.close_by, session.clocks.drain_at = State.CLOSING, 9.0, 1.0
    assert clocks.next_deadline(session) == 9.0
    session.state = State.CLOSED
    assert clocks.next_deadline(session) is None


def unsettled(session: SessionRecord, at: float) -> None:
    ledger: Any = SimpleNamespace(oldest=lambda: SimpleNamespace(at=at, timeout=30.0))
    session.clocks.paused_total = 2.0
    session.subscriptions.ledgers = {"s": ledger}


def given_back(session: SessionRecord, at: float) -> None:
    delivery: Any = None
    session.subscriptions.retries = [(at, 1, 1, delivery), (at + 3.0, 2, 2, delivery)]


def opened(session: SessionRecord, at: float) -> None:
    session.subscriptions.transactions = {"t": Transaction(at), "u": Transaction(at + 1.0)}


@pytest.mark.pure("hands over a stand-in; compiled code takes its own records")
@pytest.mark.parametrize(
    ("begin", "due", "after"),
    [
        (unsettled, Due.ACK, 32.0),
        (given_back, Due.RETRY, 0.0),
        (opened, Due.TRANSACTION, 60.0),
    ],
)
def test_what_is_out_is_due_in_its_time_and_not_before(
    begin: Callable[[SessionRecord, float], None], due: Due, after: float
) -> None:
    clocks, session = SessionClocks(BrokerConfig()), connected(pings=False)
    begin(session, 100.0)
    assert clocks.next_deadline(session) == 100.0 + after
    assert list(clocks.due(session, 99.9 + after)) == []
    assert list(clocks.due(session, 100.0 + after)) == [due]


def at_clock(name: str) -> Callable[[SessionRecord, float], None]:
    return lambda session, at: setattr(session.clocks, name, at)


def waits(session: SessionRecord, at: float) -> None:
    session.mailbox.progress_at = at


def ends(session: SessionRecord, at: float) -> None:
    user: Any = SimpleNamespace(name="u")
    session.credentials = Credentials(user, 20.0, request=HttpRequest("GET", "/ws"))
    session.credentials.begin(at)


NOT_PLAIN: dict[str, Callable[[SessionRecord, float], None]] = {
    **{
        name: at_clock(name)
        for name in (
            *("close_by", "end_by", "drain_at", "frame_since", "message_since"),
            *("paused_since", "pinged_at", "connect_by"),
        )
    },
    "waits": waits,
    "ends": ends,
    "unsettled": unsettled,
    "given back": given_back,
    "opened": opened,
    "nothing": lambda session, at: None,
}
"""What may run besides the clocks of a plain session."""


@pytest.mark.pure("hands over a stand-in; compiled code takes its own records")
@pytest.mark.parametrize("name", NOT_PLAIN)
def test_a_plain_session_has_the_deadlines_of_any_other(name: str) -> None:
    clocks = SessionClocks(BrokerConfig())
    for state, pings, read, write, at in product(
        State, (True, False), (0.0, 20.0), (0.0, 30.0), (1.0, 500.0)
    ):
        session = connected(pings=pings)
        session.state = state
        session.clocks.last_seen, session.mailbox.last_write = 100.0, 110.0
        session.clocks.agree(read, write)
        NOT_PLAIN[name](session, at)
        every = [(due, moment) for due, clock in clocks._clocks if (moment := clock(session))]
        times = [moment for _, moment in every]
        if state is State.CLOSED:
            times = []
        elif state is State.CLOSING:
            times = [] if session.clocks.close_by is None else [session.clocks.close_by]
        assert clocks.next_deadline(session) == min(times, default=None)
        for now in (10.0, 130.0, 150.0, 1_000.0):
            due = [each for each, moment in every if moment <= now]
            assert list(clocks.due(session, now)) == due
            plain = name == "nothing"
            assert clocks.is_beat(session, now) is (due == [Due.BEAT] and plain)

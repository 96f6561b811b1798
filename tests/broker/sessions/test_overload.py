"""All sessions together: who is read no further, and who is closed."""

from __future__ import annotations

from typing import Any

import pytest

from stocksync_ws.broker.model.post_office import HOLDING, Outgoing
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.state import State
from stocksync_ws.broker.sessions.overload import LOOK, PATIENCE, Overload
from stocksync_ws.config import BrokerConfig, Limits
from stocksync_ws.errors import LimitExceeded
from stocksync_ws.timers import Timers
from tests.broker.kit import environment, record

pytestmark = pytest.mark.pure("hands over a stand-in; compiled code takes its own records")


class Rooms:
    """The policy alone: sessions that hold something, and rooms that write down what they do."""

    def __init__(self, most: int = 1_000) -> None:
        self.timers = Timers()
        limits = Limits(send_queue=100, max_total_queued=most)
        self.env = environment(BrokerConfig(limits=limits), self.timers)
        self.slow: list[SessionRecord] = []
        self.told: list[tuple[SessionRecord, str]] = []
        rooms: Any = self
        self.overload = Overload(self.env, rooms, rooms)

    def relieve(self) -> bool:
        return self.overload.relieve()

    def close(self, session: SessionRecord) -> None:
        """As `SlowConsumers`."""
        self.slow.append(session)
        self._end(session)

    def protocol(self, session: SessionRecord, problem: LimitExceeded) -> None:
        """As `ErrorReporter`."""
        self.told.append((session, problem.detail))
        self._end(session)

    def _end(self, session: SessionRecord) -> None:
        session.state = State.CLOSING
        session.mailbox.drop()
        self.env.office.weigh(session)

    def session(
        self,
        queued: int,
        unsent: int = 0,
        state: State = State.CONNECTED,
        received: int = 0,
    ) -> SessionRecord:
        made = record(self.env)
        made.state = state
        self.env.sessions[f"s{len(self.env.sessions)}"] = made
        for size in [100] * (queued // 100) + [queued % 100]:  # none of them is a large one
            if size:
                made.mailbox.append(Outgoing(bytes(size), size, 0.0, 0))
        made.mailbox.unsent = unsent
        self.receive(made, received)
        return made

    def receive(self, session: SessionRecord, size: int) -> None:
        """So many bytes more wait in its inbox."""
        session.inbound.size += size
        self.env.office.weigh(session)

    def pass_time(self, seconds: float) -> None:
        """Whatever is due is woken, and the step that it is ends as steps do."""
        end = self.env.step.now + seconds
        while (at := self.timers.next()) is not None and at <= end:
            for thing in self.timers.due(at):
                thing.wake(at)
            while self.relieve():
                pass
        self.env.step.now = end

    @property
    def held_back(self) -> list[SessionRecord]:
        return [each for each in self.env.sessions.values() if each.inbound.held_back]


class TestMailboxes:
    def test_within_the_bound_nobody_is_closed(self) -> None:
        rooms = Rooms()
        rooms.session(1_000, unsent=9_000)
        assert not rooms.relieve()
        assert rooms.slow == []

    def test_over_it_the_largest_of_the_blocked_is_closed(self) -> None:
        rooms = Rooms()
        rooms.session(300, unsent=5_000)
        largest = rooms.session(400, unsent=1)
        rooms.session(900)
        assert rooms.relieve()
        assert rooms.slow == [largest]
        assert len(rooms.slow) == 1

    def test_it_goes_on_until_it_holds(self) -> None:
        rooms = Rooms()
        sessions = [rooms.session(size, unsent=1) for size in (500, 700, 600)]
        assert rooms.relieve()
        assert rooms.relieve()
        assert not rooms.relieve()
        assert rooms.slow == [sessions[1], sessions[2]]

    def test_where_nobody_is_blocked_the_flush_is_waited_for_up_to_twice_the_bound(self) -> None:
        rooms = Rooms()
        rooms.session(900)
        largest = rooms.session(1_100)
        assert not rooms.relieve()
        rooms.session(1)
        assert rooms.relieve()
        assert rooms.slow == [largest]

    def test_who_is_not_connected_or_has_nothing_in_its_mailbox_is_not_chosen(self) -> None:
        rooms = Rooms()
        rooms.session(5_000, unsent=1, state=State.CLOSING)
        rooms.session(0, unsent=9_000)
        assert not rooms.relieve()
        chosen = rooms.session(1)
        assert rooms.relieve()
        assert rooms.slow == [chosen]


class TestHoldingBack:
    def test_those_that_sent_more_than_the_average_are_held_back_first(self) -> None:
        rooms = Rooms()
        sessions = [rooms.session(0, received=size) for size in (0, 100, 301, 600)]
        assert not rooms.relieve()
        assert rooms.held_back == sessions[2:]
        assert [each for each, _, _ in rooms.env.step.runnable] == sessions[2:]
        assert (rooms.slow, rooms.told) == ([], [])

    def test_they_go_on_when_all_together_are_within_the_bound(self) -> None:
        rooms = Rooms()
        session = rooms.session(0, received=1_001)
        rooms.session(0)
        rooms.relieve()
        rooms.env.step.runnable.clear()
        rooms.pass_time(LOOK / 2)
        rooms.receive(session, -1)
        assert rooms.held_back == [session]
        rooms.pass_time(LOOK)
        assert rooms.held_back == []
        assert [each for each, _, _ in rooms.env.step.runnable] == [session]
        assert rooms.timers.next() is None
        rooms.receive(session, 1)
        assert not rooms.relieve()
        assert rooms.held_back == [session]

    def test_where_that_is_not_enough_the_one_that_holds_most_is_closed_after_a_while(self) -> None:
        rooms = Rooms()
        most, _ = (rooms.session(0, received=size) for size in (900, 200))
        rooms.relieve()
        rooms.pass_time(PATIENCE - LOOK / 2)
        assert rooms.told == []
        rooms.pass_time(LOOK)
        assert rooms.told == [
            (most, "Limits.max_total_queued=1000, got 1100, of that 900 of this client")
        ]
        rooms.pass_time(LOOK)
        assert rooms.held_back == []
        assert rooms.timers.next() is None

    def test_an_eighth_above_the_bound_it_is_closed_at_once(self) -> None:
        rooms = Rooms()
        most, other = (rooms.session(0, received=size) for size in (900, 200))
        assert not rooms.relieve()
        rooms.receive(other, 25)
        assert not rooms.relieve()
        rooms.receive(other, 1)
        assert rooms.relieve()
        assert [each for each, _ in rooms.told] == [most]
        assert not rooms.relieve()

    def test_who_grows_above_the_average_meanwhile_is_held_back_too(self) -> None:
        rooms = Rooms()
        most, other, _ = (rooms.session(0, received=size) for size in (900, 101, 0))
        rooms.relieve()
        assert rooms.held_back == [most]
        rooms.receive(most, -500)
        rooms.receive(other, 500)
        rooms.pass_time(LOOK)
        assert rooms.held_back == [most, other]

    @pytest.mark.parametrize("state", [each for each in State if each not in HOLDING])
    def test_of_who_is_not_read_nothing_counts(self, state: State) -> None:
        rooms = Rooms()
        rooms.session(0, received=5_000, state=state)
        assert rooms.env.office.total == 0
        assert not rooms.relieve()

    @pytest.mark.parametrize("state", HOLDING)
    def test_of_who_is_read_it_counts_and_it_may_be_the_one(self, state: State) -> None:
        rooms = Rooms()
        session = rooms.session(0, received=2_000, state=state)
        assert rooms.relieve()
        assert [each for each, _ in rooms.told] == [session]
        assert rooms.env.office.total == rooms.env.office.received == 0


class TestAllKinds:
    @pytest.mark.parametrize(("queued", "received", "slow"), [(600, 600, True), (500, 601, False)])
    def test_most_of_what_it_holds_says_whose_fault_it_is(
        self, queued: int, received: int, slow: bool
    ) -> None:
        rooms = Rooms()
        session = rooms.session(queued, unsent=1, received=received)
        rooms.session(400, received=500)
        rooms.session(900)
        assert rooms.relieve()
        assert rooms.slow == ([session] if slow else [])
        assert [each for each, _ in rooms.told] == ([] if slow else [session])

    def test_where_most_lies_in_mailboxes_that_are_taken_nobody_is_closed_for_a_few_bytes(
        self,
    ) -> None:
        rooms = Rooms()
        rooms.session(1_200)
        rooms.session(0, received=10)
        assert not rooms.relieve()
        assert (rooms.slow, rooms.told) == ([], [])

    def test_a_large_message_that_is_leaving_counts_whole(self) -> None:
        rooms = Rooms(most=200)
        session = rooms.session(0)
        session.mailbox.append(Outgoing(bytes(500), 500, 0.0, 0))
        session.mailbox.take(1_000, 0.0)
        session.mailbox.unsent = 499
        rooms.session(150, unsent=1)
        assert rooms.relieve()
        assert rooms.slow == [session]

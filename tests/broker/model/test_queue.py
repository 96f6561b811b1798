"""The turn of a queue's consumers, and what is out, without a broker around it."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from stocksync_ws import policies
from stocksync_ws.broker.model.ledger import Delivery
from stocksync_ws.broker.model.log import ByteCounter
from stocksync_ws.broker.model.owner import Owner
from stocksync_ws.broker.model.queue import HOLES, Queue
from stocksync_ws.broker.model.subscription import Consumer
from stocksync_ws.config import Limits
from stocksync_ws.stomp.frame import Version
from stocksync_ws.types import Wire
from tests.broker.kit import TextWire, publication, record

_numbers = count(1)


def item(size: int = 10) -> Any:
    number = next(_numbers)
    return publication(number, f"e-{number}", "", (), b"x" * size)


class Keeper:
    """Writes down what a queue leaves to others."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        def ask(*args: Any, **named: Any) -> int:
            self.asked.append((name, *args, *named.values()))
            return 7

        return ask


def make(counter: ByteCounter | None = None) -> Queue:
    keeper: Any = Keeper()
    return Queue("/queue/a", policies.Queue(), counter or ByteCounter(), keeper)


def consumer(queue: Queue, name: str = "s", wire: Wire | None = None) -> Consumer:
    session = record(wire=wire)
    session.version = Version.V12
    return Consumer(session, name, "/queue/a", queue)


def joined(queue: Queue, number: int) -> list[Consumer]:
    made = [consumer(queue) for _ in range(number)]
    for each in made:
        queue.join(each)
    return made


def turn(queue: Queue) -> list[Consumer]:
    """Everybody in the turn, first to last; each is taken out of it."""
    found: list[Consumer] = []
    while (each := queue.next_in_turn()) is not None:
        found.append(each)
    return found


class TestTurn:
    def test_who_came_first_is_first(self) -> None:
        queue = make()
        one, two, three = joined(queue, 3)
        assert turn(queue) == [one, two, three]
        assert turn(queue) == []
        assert not any(each.in_turn for each in (one, two, three))

    def test_who_was_served_comes_behind_all_others(self) -> None:
        queue = make()
        one, two, three = joined(queue, 3)
        for expected in (one, two, three, one, two):
            found = queue.next_in_turn()
            assert found is expected
            queue.served(found)
        assert turn(queue) == [three, one, two]

    def test_who_was_not_ready_keeps_its_place_however_long_it_waits(self) -> None:
        queue = make()
        one, two, three = joined(queue, 3)
        assert queue.next_in_turn() is one  # and is not ready
        for expected in (two, three, two):
            found = queue.next_in_turn()
            assert found is expected
            queue.served(found)
        queue.line_up(one)
        assert turn(queue) == [one, three, two]

    def test_to_line_up_twice_is_to_stand_there_once(self) -> None:
        queue = make()
        one, two = joined(queue, 2)
        for _ in range(9):
            queue.line_up(one)
        assert len(queue.turn) == 2
        assert turn(queue) == [one, two]

    def test_who_has_left_is_passed_over(self) -> None:
        queue = make()
        one, two, three = joined(queue, 3)
        queue.leave(two)
        assert queue.next_in_turn() is one
        queue.leave(one)
        assert turn(queue) == [three]
        assert list(queue.consumers) == [three]

    def test_who_has_left_and_stands_there_is_bounded(self) -> None:
        queue = make()
        staying = joined(queue, 3)
        longest = 0
        for _ in range(1_000):
            (going,) = joined(queue, 1)
            queue.leave(going)
            longest = max(longest, len(queue.turn))
        assert HOLES < longest <= 2 * len(staying) + HOLES + 1
        assert turn(queue) == staying

    def test_when_those_who_left_are_swept_out_the_others_keep_their_order(self) -> None:
        queue = make()
        everybody = joined(queue, 2 * HOLES)
        for each in everybody[:HOLES]:
            assert queue.next_in_turn() is each
            queue.served(each)
        order = everybody[HOLES:] + everybody[:HOLES]
        staying = order[::8]
        for each in everybody:
            if each not in staying:
                queue.leave(each)
        assert len(queue.turn) < 2 * HOLES
        assert turn(queue) == staying

    def test_its_consumers_may_all_of_them_carry_text_only(self) -> None:
        queue = make()
        texts, other = consumer(queue, wire=TextWire()), consumer(queue)
        for each in (texts, other):
            queue.join(each)
        assert not queue.text_only
        queue.leave(other)
        assert queue.text_only

    def test_the_last_group_is_gone_with_the_last_consumer(self) -> None:
        queue = make()
        one, two = joined(queue, 2)
        queue.leave(one)
        assert list(queue.groups.values()) == [two.group]
        queue.leave(two)
        assert not queue.groups


class TurnModel(RuleBasedStateMachine):
    """The turn against a list, the one served longest ago first."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = make()
        self.order: list[Consumer] = []
        self.paused: list[Consumer] = []

    @rule()
    def join(self) -> None:
        self.order += joined(self.queue, 1)

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        if self.order:
            gone = self.order[data.draw(self.places())]
            self.order.remove(gone)
            self.paused = [each for each in self.paused if each is not gone]
            self.queue.leave(gone)

    def places(self) -> st.SearchStrategy[int]:
        """Consumers by number: Hypothesis keeps weak references to what it draws, and compiled
        records cannot bear that.
        """
        return st.integers(0, len(self.order) - 1)

    def next(self) -> Consumer | None:
        found = self.queue.next_in_turn()
        ready = [each for each in self.order if each not in self.paused]
        assert found is next(iter(ready), None)
        return found

    @rule()
    def serve(self) -> None:
        found = self.next()
        if found is not None:
            self.queue.served(found)
            self.order.remove(found)
            self.order.append(found)

    @rule()
    def pause(self) -> None:
        found = self.next()
        if found is not None:
            self.paused.append(found)

    @rule(data=st.data())
    def go_on(self, data: st.DataObject) -> None:
        if self.order:
            each = self.order[data.draw(self.places())]
            self.queue.line_up(each)
            self.paused = [other for other in self.paused if other is not each]

    @invariant()
    def knows_who_stands_there(self) -> None:
        assert set(self.queue.consumers) == set(self.order)
        for each in self.order:
            assert each.in_turn is (each not in self.paused)


TestTurnModel = TurnModel.TestCase
TestTurnModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


class TestWhatIsOut:
    def test_it_is_counted_in_the_queue_and_in_all_that_is_stored(self) -> None:
        counter = ByteCounter()
        queue = make(counter)
        one, two = item(10), item(25)
        queue.take_out(one)
        queue.take_out(two)
        assert (queue.out, queue.out_size, counter.size) == (2, 35, 35)
        queue.bring_back(one)
        assert (queue.out, queue.out_size, counter.size) == (1, 25, 25)

    def test_what_is_handed_out_is_stored_as_long_as_it_is_out(self) -> None:
        counter = ByteCounter()
        queue = make(counter)
        made = item(10)
        queue.log.append(made)
        assert counter.size == 10
        queue.log.take(1)
        queue.take_out(made)
        assert counter.size == 10
        queue.bring_back(made)
        queue.log.put_back(1, made)
        assert counter.size == queue.log.size == 10

    def test_what_comes_back_to_a_queue_that_is_gone_counts_for_nothing(self) -> None:
        counter = ByteCounter()
        counter.add(100)
        queue = make(counter)
        made = item(10)
        queue.take_out(made)
        queue.take_out(item(20))
        queue.forget()
        assert (queue.out, queue.out_size, counter.size) == (0, 0, 100)
        queue.bring_back(made)
        assert (queue.out, queue.out_size, counter.size) == (0, 0, 100)


class TestIdle:
    def test_a_fresh_one_is(self) -> None:
        assert make().idle

    @pytest.mark.parametrize("why", ["message", "consumer", "out", "delayed", "made, not joined"])
    def test_it_is_needed_by_each_of_these_alone(self, why: str) -> None:
        queue = make()
        if why == "message":
            queue.log.append(item())
        elif why == "consumer":
            queue.consumers[object()] = None  # type: ignore[index]
        elif why == "out":
            queue.attempts[1] = 1
        elif why == "delayed":
            queue.delayed.append((1.0, 1, item()))
        else:
            consumer(queue)
        assert not queue.idle

    def test_a_queue_that_gave_everything_away_and_lost_everybody_is(self) -> None:
        queue = make()
        (one,) = joined(queue, 1)
        queue.log.append(item())
        queue.log.take(1)
        queue.leave(one)
        assert queue.turn  # who has left still stands there
        assert queue.idle


@pytest.mark.pure("hands over a stand-in; compiled code takes its own records")
def test_what_is_no_record_is_asked_of_where_queues_are_acted_on() -> None:
    queue = make()
    keeper: Any = queue.keeper
    made = publication(1, "e-1", "/queue/a")
    delivery = Delivery(queue, made, 5, 3, 0.0)
    (one,) = joined(queue, 1)
    ledger: Any = None
    assert queue.publish(made, None, reserved=True) == 7
    queue.accept(delivery)
    queue.reject(delivery)
    queue.give_back(delivery, ledger, 1.5)
    assert queue.lose(delivery) == 0  # nothing is lost: another consumer gets it
    queue.wake(2.0)
    one.leave()
    one.opened()
    assert keeper.asked == [
        ("publish", queue, made, True),
        ("settle", queue, 5, made),
        ("reject", queue, 5, made),
        ("give_back", queue, delivery, 1.5),
        ("lose", queue, delivery),
        ("wake", queue, 2.0),
        ("leave", one),
        ("opened", one),
    ]


def test_what_is_out_counts_in_the_share_of_its_owner_until_it_is_settled_or_forgotten() -> None:
    queue, owner = make(), Owner(Limits(), 1.0, "")
    one, two, other = (publication(n, "n", "", (), b"x" * 10) for n in range(3))
    one.owner = two.owner = queue.owner = owner
    for each in (one, two, other):
        queue.take_out(each)
    assert (owner.stored, queue.out_owned) == (20, 20)
    queue.bring_back(one)
    assert (owner.stored, queue.out_owned) == (10, 10)
    queue.forget()
    assert (owner.stored, queue.out_owned, queue.out) == (0, 0, 0)
    queue.bring_back(two)
    assert owner.stored == 0

"""The lazy heap: every deadline is looked at in time, and none is kept longer than needed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stocksync_ws.timers import LATE, Timers


class Thing:
    def __init__(self, deadline: float | None) -> None:
        self.deadline = deadline
        self.armed = 0
        self.armed_at = 0.0


def armed(*deadlines: float | None) -> tuple[Timers, list[Thing]]:
    timers = Timers()
    things = [Thing(deadline) for deadline in deadlines]
    for thing in things:
        timers.arm(thing)
    return timers, things


def test_due_in_order_and_once() -> None:
    timers, (one, two, three) = armed(3.0, 1.0, 5.0)
    assert timers.next() == 1.0
    assert timers.due(0.9) == []
    assert timers.due(3.0) == [two, one]
    assert timers.due(3.0) == []
    assert timers.next() == 5.0
    assert three.armed


def test_without_a_deadline_there_is_no_entry() -> None:
    timers, _ = armed(None)
    assert timers.next() is None
    assert len(timers) == 0


def test_later_costs_nothing_until_it_comes_up() -> None:
    timers, [thing] = armed(1.0)
    for deadline in (2.0, 3.0, 4.0):
        thing.deadline = deadline
        timers.arm(thing)
    assert len(timers) == 1
    assert timers.next() == 1.0  # earlier than the real one: that is the price
    assert timers.due(1.0) == []
    assert timers.next() == 4.0
    assert timers.due(4.0) == [thing]


def test_earlier_gets_an_entry_of_its_own_and_the_old_one_is_dead() -> None:
    timers, [thing] = armed(5.0)
    thing.deadline = 1.0
    timers.arm(thing)
    assert timers.next() == 1.0
    assert timers.due(1.0) == [thing]
    thing.deadline = None
    assert timers.due(9.0) == []
    assert len(timers) == 0


def test_a_dead_entry_that_comes_up_first_is_passed_over() -> None:
    timers, (one, two) = armed(5.0, 6.0)
    one.deadline = 1.0
    timers.arm(one)
    assert timers.due(1.0) == [one]
    one.deadline = 8.0
    timers.arm(one)
    assert timers.due(6.0) == [two]
    assert timers.due(8.0) == [one]


def test_a_closed_thing_is_forgotten() -> None:
    timers, (one, two) = armed(1.0, 2.0)
    one.deadline = None
    assert timers.next() == 2.0
    assert one.armed == 0
    two.deadline = None
    assert timers.due(9.0) == []
    assert two.armed == 0
    one.deadline = 3.0
    timers.arm(one)
    assert timers.due(3.0) == [one]


def test_when_most_have_ended_the_others_are_still_due_in_time() -> None:
    timers, things = armed(*(float(number * 37 % 300) for number in range(300)))
    left = [thing for number, thing in enumerate(things) if number % 3 == 0]
    for thing in things:
        if thing not in left:
            timers.disarm(thing)
    assert len(timers) < 300
    for at in sorted(thing.deadline or 0.0 for thing in left):
        assert [thing.deadline for thing in timers.due(at)] == [at]
    assert timers.next() is None


def test_a_small_lateness_is_none() -> None:
    timers = Timers()
    assert timers.late(10.0, 10.0 + LATE) == 0.0
    assert timers.slack == 0.0


def test_a_stall_adds_its_length_and_a_quarter_second() -> None:
    timers = Timers()
    assert timers.late(10.0, 12.0) == 2.25
    assert timers.late(20.0, 21.0) == 1.25
    assert timers.slack == 3.5


@given(
    st.lists(
        st.tuples(
            st.integers(0, 4),
            st.one_of(st.none(), st.integers(0, 30)),
            st.integers(0, 3),
        ),
        max_size=60,
    )
)
def test_whatever_is_done_nothing_is_forgotten_and_nothing_comes_twice(
    steps: list[tuple[int, int | None, int]],
) -> None:
    timers = Timers()
    things = [Thing(None) for _ in range(5)]
    now = 0.0
    for which, deadline, passed in steps:
        things[which].deadline = None if deadline is None else now + deadline
        timers.arm(things[which])
        now += passed
        first = timers.next()
        due = [thing for thing in things if thing.deadline is not None and thing.deadline <= now]
        if due:
            assert first is not None
            assert first <= now
        ready = timers.due(now)
        assert {id(thing) for thing in ready} == {id(thing) for thing in due}
        assert len(ready) == len(due)
        for thing in ready:
            thing.deadline = None
        for thing in things:
            if thing.deadline is not None:
                assert thing.armed
                assert thing.armed_at <= thing.deadline


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(["arm", "disarm", "due"]), st.integers(1, 9)),
        max_size=30,
    )
)
def test_who_looks_only_when_something_came_in_front_asks_for_no_wake_too_late(
    steps: list[tuple[int, str, int]],
) -> None:
    timers, things = armed(None, None, None, None)
    asked: float | None = None
    now = 0.0
    for which, step, seconds in steps:
        thing = things[which]
        if step == "arm":
            thing.deadline = now + seconds
            timers.arm(thing)
        elif step == "disarm":
            timers.disarm(thing)
        else:
            now += seconds
            if asked is None or asked > now:
                continue
            asked, timers.earlier = None, True
            for each in timers.due(now):
                each.deadline = None
        if timers.earlier:
            timers.earlier = False
            first = timers.next()
            if first is not None and (asked is None or first < asked):
                asked = first
        first = timers.next()
        assert first is None or (asked is not None and asked <= first)

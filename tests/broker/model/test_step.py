"""A step: own time, work, and the end that it comes to only when something was noted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stocksync_ws.broker.model.step import TICK, DeadMessage, Step
from stocksync_ws.timers import Timers


class Steps:
    """A step whose ends are written down; each end clears what was noted."""

    def __init__(self, slack: float = 0.0) -> None:
        self.timers = Timers()
        self.timers.slack = slack
        self.ends: list[float] = []
        self.step = Step(self.timers, self.end)

    def end(self) -> None:
        self.ends.append(self.step.now)
        self.step.noted = False

    def note(self) -> None:
        self.step.noted = True


class Thing:
    def __init__(self, deadline: float | None = None) -> None:
        self.deadline = deadline
        self.armed = 0
        self.armed_at = 0.0


def fail() -> None:
    raise ZeroDivisionError


# One step


def test_own_time_is_the_callers_less_our_stalls() -> None:
    steps = Steps(slack=7.0)
    assert steps.step.run(100.0, lambda: steps.step.now) == 93.0
    assert steps.step.own(100.0) == 93.0
    assert steps.step.by(93.0) == 100.0


def test_the_work_gets_its_arguments_and_the_caller_what_it_returns() -> None:
    assert Steps().step.run(1.0, lambda one, two: one + two, "a", "b") == "ab"


def test_a_step_in_which_nothing_was_noted_has_no_end() -> None:
    steps = Steps()
    steps.step.run(1.0, lambda: None)
    assert steps.ends == []


def test_the_end_comes_once_and_behind_the_work() -> None:
    steps = Steps()

    def work() -> None:
        steps.note()
        steps.note()
        assert steps.ends == []

    steps.step.run(1.0, work)
    steps.step.run(2.0, lambda: None)
    assert steps.ends == [1.0]


def test_a_step_inside_of_a_step_is_a_part_of_it() -> None:
    steps = Steps()

    def inner() -> float:
        steps.note()
        return steps.step.now

    def outer() -> tuple[float, list[float]]:
        return steps.step.run(99.0, inner), list(steps.ends)

    assert steps.step.run(1.0, outer) == (1.0, [])
    assert steps.ends == [1.0]


def test_what_the_end_itself_runs_is_a_part_of_the_step() -> None:
    steps = Steps()
    seen: list[float] = []

    def end() -> None:
        steps.step.noted = False
        steps.step.run(99.0, lambda: seen.append(steps.step.now))

    step = steps.step = Step(steps.timers, end)
    step.run(1.0, steps.note)
    assert seen == [1.0]


def test_an_exception_leaves_the_step_usable_for_the_next_input() -> None:
    steps = Steps()
    with pytest.raises(ZeroDivisionError):
        steps.step.run(1.0, fail)
    assert steps.step.run(2.0, lambda: steps.step.now) == 2.0


def test_what_a_step_had_noted_before_it_failed_is_done_at_the_end_of_the_next() -> None:
    steps = Steps()

    def work() -> None:
        steps.note()
        fail()

    with pytest.raises(ZeroDivisionError):
        steps.step.run(1.0, work)
    assert steps.ends == []
    steps.step.run(2.0, lambda: None)
    assert steps.ends == [2.0]


def test_an_end_that_fails_leaves_the_step_usable_too() -> None:
    steps = Steps()
    steps.step = Step(steps.timers, fail)
    with pytest.raises(ZeroDivisionError):
        steps.step.run(1.0, steps.note)
    steps.step.noted = False
    assert steps.step.run(2.0, lambda: steps.step.now) == 2.0


# What the work notes


def made(*parts: str) -> tuple[Any, ...]:
    """Stand-ins: a step looks at nothing that it keeps."""
    return tuple(f"a {part}" for part in parts)


@pytest.mark.pure("hands over a stand-in; compiled code takes its own records")
@pytest.mark.parametrize(
    ("note", "arguments", "kept", "items"),
    [
        ("publish", made("task", "draft"), "drafts", [made("task", "draft")]),
        ("joined", ("a task", True), "ready", [("a task", True)]),
        ("ended", made("session", "task"), "runnable", [("a session", "a task", None)]),
        (
            "ended",
            made("session", "task", "error"),
            "runnable",
            [made("session", "task", "error")],
        ),
        ("go_on", made("session"), "runnable", [("a session", None, None)]),
        (
            "bury",
            ("a policy", "a publication", 3, "expired"),
            "dead",
            [DeadMessage("a policy", "a publication", 3, "expired")],  # type: ignore[arg-type]
        ),
        ("close_overfull", made("mailbox"), "overfull", ["a mailbox"]),
        ("close_lost", made("session"), "lost", ["a session"]),
    ],
)
def test_each_note_is_kept_in_its_place_and_gives_the_step_an_end(
    note: str, arguments: tuple[Any, ...], kept: str, items: list[Any]
) -> None:
    steps = Steps()
    work: Callable[..., None] = getattr(steps.step, note)
    steps.step.run(1.0, work, *arguments)
    assert list(getattr(steps.step, kept)) == items
    assert steps.ends == [1.0]


def test_losses_are_added_up_by_destination_and_reason() -> None:
    steps = Steps()

    def work() -> None:
        steps.step.tell_dropped("/topic/a", "slow", 2)
        steps.step.tell_dropped("/topic/a", "slow", 3)
        steps.step.tell_dropped("/topic/a", "full", 1)

    steps.step.run(1.0, work)
    assert steps.step.dropped == {("/topic/a", "slow"): 5, ("/topic/a", "full"): 1}
    assert steps.ends == [1.0]


# Time


@pytest.mark.parametrize(("at", "slack"), [(0.1, 0.7), (0.2, 86_400.3)])
def test_a_wake_is_not_too_early_for_a_deadline_that_was_rounded(at: float, slack: float) -> None:
    steps = Steps(slack)
    due = steps.step.by(at)
    assert steps.step.own(due) < at, "a pair that loses something on its way"
    seen: list[float] = []
    steps.step.wake(due, lambda late: seen.append(steps.step.now - late), at)
    assert 0 <= seen[0] <= 2 * TICK


def test_a_deadline_is_set_and_taken_away_in_own_time() -> None:
    steps, thing = Steps(slack=2.0), Thing()
    steps.step.rearm(thing, 3.0)
    assert thing.deadline == steps.timers.next() == 5.0
    steps.step.rearm(thing, 9.0)
    assert thing.deadline == 11.0
    steps.step.rearm(thing, None)
    assert thing.deadline is None
    assert steps.timers.next() is None


@pytest.mark.parametrize(("at", "deadline"), [(2.9, 4.9), (3.1, 5.0)])
def test_sooner_moves_a_deadline_only_to_an_earlier_time(at: float, deadline: float) -> None:
    steps, thing = Steps(slack=2.0), Thing()
    steps.step.rearm(thing, 3.0)
    steps.step.sooner(thing, at)
    assert thing.deadline == steps.timers.next() == deadline


def test_what_has_ended_is_forgotten() -> None:
    steps, thing = Steps(), Thing()
    steps.step.rearm(thing, 3.0)
    steps.step.disarm(thing)
    assert (thing.deadline, thing.armed) == (None, 0)
    assert steps.timers.due(9.0) == []

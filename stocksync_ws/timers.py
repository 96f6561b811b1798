"""Deadlines without a clock: one lazy heap for sessions, tasks, links and parked wires.

Rule: the object computes its next deadline itself; the heap only remembers when to ask. An entry is
(deadline, number, object), at most one live entry an object. Moving a deadline later costs nothing:
the entry that comes up early is put back. A closed object sets `deadline = None` and is forgotten.

A late wake is not the peer's fault. When the loop stood still, `late()` adds the lateness and a
quarter of a second to `slack`, and every liveness deadline moves with it, without a loop over
sessions: `seen = now - slack`, `deadline = seen + patience + slack`.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from typing import Any, Protocol

__all__ = ["Timed", "Timers"]

DEAD = 16
"""Dead entries above which they may be swept out of the heap."""
HURRIED = 1.0
"""Seconds a client that polls has to come back while its server stops: it does so at once, and a
stop is not held up by one that does not.
"""
LATE = 0.25
"""Seconds a wake may come after its deadline before the lateness is counted as our own stall."""


class Timed(Protocol):
    """An object with a deadline."""

    deadline: float | None
    """The time at which to wake it, in monotonic seconds, or None."""
    armed: int
    """The number of its live entry in the heap; 0 when it has none. Only `Timers` writes it."""
    armed_at: float
    """The deadline of that entry, in monotonic seconds. Only `Timers` writes it."""

    def wake(self, now: float) -> Sequence[Any] | None:
        """Act on the deadline, which came; then it is later, or None. A parked wire that has ended
        returns its `Closed` event, since no connection could bring it; others return nothing.
        """
        ...


class Timers:
    """The heap, and the slack of all liveness deadlines."""

    __slots__ = ("_dead", "_heap", "_number", "earlier", "slack")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timed]] = []
        self._number = 0
        self._dead = 0
        """A lower bound of the number of dead entries, which stand for nothing any more."""
        self.earlier = False
        """A thing was armed in front of all others, or the one there has ended. The caller that
        asks `next` for it clears this.
        """
        self.slack = 0.0
        """Seconds by which our own stalls have moved every liveness deadline so far."""

    def arm(self, thing: Timed) -> None:
        """Make sure that `thing` is looked at no later than its deadline."""
        deadline = thing.deadline
        if deadline is None:
            self._uncover(thing)
            return
        if thing.armed and thing.armed_at <= deadline:
            return
        if thing.armed:
            thing.armed = 0
            self._bury()
        self._number = thing.armed = self._number + 1
        thing.armed_at = deadline
        heappush(self._heap, (deadline, thing.armed, thing))
        if self._heap[0][1] == thing.armed:
            self.earlier = True

    def sooner(self, thing: Timed, at: float) -> None:
        """Make sure that `thing` is looked at no later than at this time."""
        if thing.deadline is None or at < thing.deadline:
            thing.deadline = at
            self.arm(thing)

    def disarm(self, thing: Timed) -> None:
        """Forget a thing for good: it has ended. The end of very many leaves no entries behind
        that would keep them alive.
        """
        thing.deadline = None
        if thing.armed:
            self._uncover(thing)
            thing.armed = 0
            self._bury()

    def _uncover(self, thing: Timed) -> None:
        """Note that a thing in front of all others has no deadline any more: `next` takes it out,
        and nothing keeps alive what has ended.
        """
        if thing.armed and self._heap[0][1] == thing.armed:
            self.earlier = True

    def _bury(self) -> None:
        self._dead += 1
        if self._dead > DEAD and self._dead * 2 > len(self._heap):
            self._heap[:] = [entry for entry in self._heap if entry[2].armed == entry[1]]
            heapify(self._heap)
            self._dead = 0

    def next(self) -> float | None:
        """The time at which `due` has something to look at, or None. It may be earlier than the
        first real deadline.
        """
        heap = self._heap
        while heap and (heap[0][2].armed != heap[0][1] or heap[0][2].deadline is None):
            _, number, thing = heappop(heap)
            if thing.armed == number:
                thing.armed = 0
            else:
                self._dead -= 1
        return heap[0][0] if heap else None

    def due(self, now: float) -> list[Timed]:
        """Take out all things whose deadline has come. The caller wakes and arms them again."""
        heap = self._heap
        ready: list[Timed] = []
        while heap and heap[0][0] <= now:
            _, number, thing = heappop(heap)
            if thing.armed != number:
                self._dead -= 1
                continue
            thing.armed = 0
            if thing.deadline is None:
                continue
            if thing.deadline <= now:
                ready.append(thing)
            else:
                self.arm(thing)
        return ready

    def live(self) -> list[Timed]:
        """All things that have a deadline, in no order."""
        return [thing for _, number, thing in self._heap if thing.armed == number]

    def late(self, scheduled: float, now: float) -> float:
        """Count a wake that was asked for at `scheduled` and came at `now`; return the lateness
        that was added, in seconds.
        """
        lateness = now - scheduled
        if lateness <= LATE:
            return 0.0
        self.slack += lateness + LATE
        return lateness + LATE

    def __len__(self) -> int:
        return len(self._heap)

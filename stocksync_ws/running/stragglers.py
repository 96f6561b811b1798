"""Coroutines that go on when their run is over: named in the log, and waited for no longer.

Rule: a coroutine may swallow its cancellation for ever, and so may the tasks that it has made, and
`asyncio.run` waits for every task of its loop. Tasks of user code are known by their context, which
what they make inherits. One that has been cancelled and goes on `CLEAN_UP` seconds later counts as
ended from then on, whatever it does: first tasks that calls have made, so that a call that waits
for one can end by itself. A task that nobody has cancelled is left alone: the loop may live longer
than the run.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Iterable, Iterator, Set
from contextvars import Context, ContextVar
from typing import Any

from stocksync_ws.broker.model.pipeline import Call

__all__ = ["CLEAN_UP", "Stragglers"]

CLEAN_UP = 3.0
"""Seconds that a coroutine may go on after it was cancelled, once its run is over."""
TURN = 0.01
"""Seconds for tasks that waited for one that has been left behind."""

_log = logging.getLogger("stocksync_ws.handler")


class _Mark:
    """The mark in the context of a call; equal to nothing but itself."""

    __slots__ = ("label",)

    def __init__(self, label: str) -> None:
        self.label = label


_mark: ContextVar[_Mark | None] = ContextVar("stocksync_call", default=None)


class Stragglers:
    """The stragglers of one run.

    Args:
        loop: The loop of the run.
        calls: The tasks of its calls that have not ended.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, calls: Set[asyncio.Task[Any]]) -> None:
        self._loop = loop
        self._calls = calls
        self._marks: dict[str, _Mark] = {}
        self._named: set[str] = set()
        self._waits = False
        """Tasks that waited for one left behind have a turn to end by themselves, unjudged."""
        self.left = False
        """A task was left behind."""

    def begin(self, call: Call) -> Any:
        """Make the coroutine of a call, in the context of its pipeline."""
        mark = self._marks.get(call.label)
        if mark is None:
            mark = self._marks[call.label] = _Mark(call.label)
        _mark.set(mark)
        return call.function(*call.args, **call.kwargs)

    def expect(self) -> None:
        """Look after a while for tasks that go on: the run is over, or its host is about to end."""
        self._loop.call_later(CLEAN_UP, self.leave_behind)

    async def end(self, calls: Iterable[asyncio.Task[Any]]) -> None:
        """Cancel the tasks that nobody has cancelled yet, and wait for none of them any longer."""
        for task in calls:
            if not task.cancelling():
                task.cancel()
        await asyncio.sleep(TURN)
        self.leave_behind()

    def leave_behind(self) -> None:
        """Let tasks that were cancelled and go on count as ended, and look again."""
        if not self._waits:
            self._look()

    def _look(self) -> None:
        self._waits = False
        found = dict(self._of_this_run())
        late = {task: label for task, label in found.items() if task.cancelling()}
        stuck = {task: label for task, label in late.items() if not _is_woken(task)}
        made = {task: label for task, label in stuck.items() if task not in self._calls}
        self.left = self.left or bool(stuck)
        for task, label in (made or stuck).items():
            self.name(label, f"in a task of {_name_of(task)}" if made else "")
            # The method of its base: it asks the coroutine nothing.
            super(asyncio.Task, task).cancel()
        if late:
            self._waits = True
            self._loop.call_later(TURN, self._look)
        elif found:
            self._loop.call_later(CLEAN_UP, self.leave_behind)

    def _of_this_run(self) -> Iterator[tuple[asyncio.Task[Any], str]]:
        for task in asyncio.all_tasks(self._loop):
            # Tasks show their context from Python 3.12 on only.
            for context in gc.get_referents(task):
                mark = context.get(_mark) if type(context) is Context else None
                if mark is not None and self._marks.get(mark.label) is mark:
                    yield task, mark.label

    def name(self, label: str, where: str = "") -> None:
        """Tell of user code that goes on, once."""
        if label not in self._named:
            self._named.add(label)
            _log.warning(
                "user code does not end, and is left behind: %s", f"{label} {where}".rstrip()
            )


def _is_woken(task: asyncio.Task[Any]) -> bool:
    """Tell whether the thing a task waits for came: its next step is in the queue of the loop."""
    return any(isinstance(each, asyncio.Future) and each.done() for each in gc.get_referents(task))


def _name_of(task: asyncio.Task[Any]) -> str:
    coroutine = task.get_coro()
    return str(getattr(coroutine, "__qualname__", coroutine))

"""Running pipelines: start, resume, time out, stop.

Rule: a pipeline is only ever advanced here, on the owner thread, between two inputs of the world,
and user code never runs inside. What ends a pipeline early is thrown into it after its running call
has ended, so that clean-up never runs beside the user's `finally`; a coroutine that swallows its
cancellation is left behind after `GIVE_UP` seconds, a pool function cannot be stopped and is left
behind at once.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import Any

from stocksync_ws.broker.calls.session_log import SessionLog
from stocksync_ws.broker.model.pipeline import GIVE_UP, Call, Mode, Outcome, Pipeline, Task
from stocksync_ws.broker.model.publication import Draft, Published
from stocksync_ws.broker.model.session import Session
from stocksync_ws.config import Limits
from stocksync_ws.counters import Counters
from stocksync_ws.errors import Cancelled, HandlerTimeout
from stocksync_ws.timers import Timers

__all__ = ["Tasks"]

Done = Callable[[Task, Any, BaseException | None, float], None]


class Tasks:
    """All running pipelines of a broker."""

    __slots__ = (
        "_counters",
        "_journal",
        "_limits",
        "_timers",
        "_unstick",
        "calls",
        "cancels",
        "publish",
        "running",
    )

    def __init__(
        self,
        limits: Limits,
        counters: Counters,
        timers: Timers,
        journal: SessionLog,
        unstick: Callable[[Session, float], None],
    ) -> None:
        self._limits = limits
        self._counters = counters
        self._timers = timers
        self._journal = journal
        self._unstick = unstick
        """Told when a pool function that was left behind has returned."""
        self.publish: Callable[[Draft, float], Published]
        """Publishes what a pipeline yields; set once by the broker."""
        self.calls: list[Task] = []
        """Calls to start, and `cancels`: those to ask to end."""
        self.cancels: list[Task] = []
        self.running: dict[Task, None] = {}

    def take_calls(self) -> list[Task]:
        """Calls to start."""
        calls = self.calls
        if calls:
            self.calls = []
        return calls

    def take_cancels(self) -> list[Task]:
        """Calls to ask to end."""
        cancels = self.cancels
        if cancels:
            self.cancels = []
        return cancels

    def start(
        self,
        session: Session | None,
        pipeline: Pipeline[Any],
        context: Context,
        done: Done,
        now: float,
    ) -> Task:
        """Run a pipeline to its first call. It may have ended, and `done` been told, on return."""
        task = Task(session, pipeline, context, done)
        self.running[task] = None
        self._advance(task, None, None, now)
        return task

    def run_frame(self, session: Session, pipeline: Pipeline[Any], done: Done, now: float) -> None:
        """Run the pipeline of a frame; the session's next frame waits for it."""
        task = self.start(session, pipeline, session.context.copy(), done, now)
        if task in self.running:
            session.task = task

    def frame_done(self, task: Task) -> Session:
        """The pipeline of a frame has ended; its session."""
        session = task.session
        assert session is not None
        session.task = None
        return session

    def resume(self, task: Task, outcome: Outcome, now: float) -> None:
        """A call has ended."""
        if task.call is not outcome.call:
            self._late(task, outcome, now)
            return
        task.handle = None
        if task.stopping is not None:
            error, task.stopping = task.stopping, None
            self._advance(task, None, error, now)
        else:
            self._advance(task, outcome.value, outcome.error, now)

    def _late(self, task: Task, outcome: Outcome, now: float) -> None:
        """A call that was left behind has ended after all; its result is dropped."""
        self._counters.results_dropped += 1
        if outcome.call.mode is Mode.POOL:
            self._counters.pool_slots_stuck -= 1
        if task.left is outcome.call:
            task.left = None
            if task.when_left_ends is not None:
                task.when_left_ends(outcome, now)
        session = task.session
        if session is not None and session.stuck is outcome.call:
            session.stuck = None
            self._unstick(session, now)

    def _advance(self, task: Task, value: Any, error: BaseException | None, now: float) -> None:
        task.call = None
        self._timers.disarm(task)
        if isinstance(error, Cancelled):
            # Its clean-up may yield calls too, and gets as much time again for them.
            task.end_by = now + GIVE_UP
        try:
            call = self._next_call(task, value, error, now)
        except StopIteration as stop:
            self._end(task, stop.value, None, now)
        except (Exception, Cancelled) as raised:
            self._end(task, None, raised, now)
        else:
            task.call = call
            task.label = call.label or task.label
            if call.mode is not Mode.INLINE:  # it will have ended before time goes on
                at = now + self._limits.handler_timeout
                self._set_deadline(task, at if task.end_by is None else min(at, task.end_by))
            self.calls.append(task)

    def end_by(self, task: Task, at: float) -> None:
        """The session of a pipeline is over: cancel what still runs at `at`."""
        task.end_by = at
        if task.deadline is not None and task.stopping is None:
            self._set_deadline(task, min(task.due, at))

    def _next_call(self, task: Task, value: Any, error: BaseException | None, now: float) -> Call:
        """Run the pipeline to its next call; what it wants published on the way is published."""
        pipeline = task.pipeline
        step = pipeline.send(value) if error is None else pipeline.throw(error)
        while isinstance(step, Draft):
            step = pipeline.send(self.publish(step, now))
        return step

    def _end(self, task: Task, value: Any, error: BaseException | None, now: float) -> None:
        del self.running[task]
        task.done(task, value, error, now)

    def _set_deadline(self, task: Task, at: float) -> None:
        task.due = at
        task.deadline = at + self._timers.slack
        self._timers.arm(task)

    def wake(self, task: Task, now: float) -> None:
        """The deadline of a call came: time it out, or leave it behind."""
        if task.call is None or task.deadline is None:
            return
        if task.due > now:
            self._set_deadline(task, task.due)
            return
        if task.stopping is None:
            if task.end_by is not None and task.end_by <= now:
                self.stop(task, Cancelled(), now)
            else:
                self._counters.handlers_timed_out += 1
                self.stop(task, HandlerTimeout(task.label), now)
        else:
            self._counters.calls_abandoned += 1
            self._leave_behind(task, now)

    def stop(self, task: Task, error: BaseException, now: float) -> None:
        """End a pipeline by `error`, once its running call has ended or can't be waited for."""
        call = task.call
        if call is None or task.stopping is not None:
            return
        task.stopping = error
        if call.mode is Mode.POOL:
            self._leave_behind(task, now)
        else:
            self.cancels.append(task)
            self._set_deadline(task, now + GIVE_UP)

    def _leave_behind(self, task: Task, now: float) -> None:
        call: Call | None = task.call
        session = task.session
        # The call may still be inside the context: what follows runs in a copy of it.
        task.context = task.context.copy()
        task.handle = None
        if call is not None and call.mode is Mode.POOL:
            self._counters.pool_slots_stuck += 1
            self._journal.note("a thread of the pool is stuck in mapping=%s", call.label)
            task.left = call
            if session is not None:
                session.stuck = call
        error, task.stopping = task.stopping, None
        self._advance(task, None, error, now)

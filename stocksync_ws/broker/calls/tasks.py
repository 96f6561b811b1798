"""Running pipelines: start, resume, time out, stop.

Rule: a pipeline is only ever advanced here, on the owner thread. User code runs outside, between
two inputs of the world; but an inline call of the script of a frame, which takes microseconds, runs
where it is met. What a pipeline wants published, and the session whose script has ended, are noted
in the step. What ends a pipeline early is thrown into it after its running call has ended, so that
clean-up never runs beside the user's `finally`; a coroutine that swallows its cancellation is left
behind after `GIVE_UP` seconds, a pool function cannot be stopped and is left behind at once. One
that no thread has begun is withdrawn and never runs, unless it is a listener: an event that was
fired reaches every one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import Any, TypeAlias

from stocksync_ws.broker.calls.session_log import SessionLog
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.pipeline import (
    AUTHENTICATOR_THREADS,
    AUTHENTICATORS_WAITING,
    GIVE_UP,
    INLINE,
    POOL,
    Call,
    Join,
    Outcome,
    Pipeline,
    Release,
    Script,
    Task,
    Threads,
)
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.codes import ErrorCode
from stocksync_ws.errors import Cancelled, HandlerTimeout, LimitExceeded

__all__ = ["Inline", "Tasks"]

Inline: TypeAlias = Callable[[Call, Context], "Outcome | None"]
"""Runs an inline call in a context; None: it cannot now."""


class Tasks:
    """All running pipelines of a broker."""

    __slots__ = (
        "_authenticators",
        "_counters",
        "_limits",
        "_log",
        "_outputs",
        "_step",
        "current",
        "inline",
        "running",
    )

    def __init__(self, env: Environment, log: SessionLog) -> None:
        self._limits = env.limits
        self._counters = env.counters
        self._step = env.step
        self._outputs = env.step.outputs
        self._log = log
        self._authenticators = 0
        """Plain authenticators that run or wait for a thread."""
        self.running: dict[Task, None] = {}
        self.current: Task | None = None
        """The task whose pipeline is being advanced: who asks inside of it means this one."""
        self.inline: Inline | None = None
        """Runs inline calls of the scripts of frames, inside of their step; None: nobody does, and
        they go the way of all others.
        """

    def start(self, pipeline: Pipeline[Any], context: Context) -> None:
        """Run a pipeline that no session waits for, to its first call."""
        self._start(Task(self, None, pipeline, context))

    def run_frame(self, session: SessionRecord, script: Script) -> bool:
        """Run the script of a frame; the session's next frame waits for it.

        Returns:
            Whether it has ended well already, and nothing is to be done about its end.
        """
        inbound = session.inbound
        task = Task(self, session, script, session.context.copy())
        inbound.begin(task)
        self.running[task] = None
        if not self._advance(task, None, None):
            return False
        inbound.end(task)
        return True

    def run_beside(self, session: SessionRecord, script: Script) -> None:
        """Run a script that holds back no frame of its session, and ends with it."""
        task = Task(self, session, script, session.context.copy())
        session.inbound.release(task)
        self._start(task)

    def _start(self, task: Task) -> None:
        self.running[task] = None
        self.go_on(task, None, None)

    def resume(self, task: Task, outcome: Outcome) -> None:
        """A call has ended."""
        if task.call is not outcome.call:
            self._late(task, outcome)
            return
        task.handle = None
        if task.stopping is not None:
            error, task.stopping = task.stopping, None
            self.go_on(task, None, error)
        else:
            self.go_on(task, outcome.value, outcome.error)

    def _late(self, task: Task, outcome: Outcome) -> None:
        """A call that was left behind has ended after all; its result is dropped."""
        self._counters.results_dropped += 1
        if outcome.call.stuck:
            outcome.call.stuck = False
            self._counters.pool_slots_stuck -= 1
        if task.left is outcome.call:
            task.left = None
            for waiting in task.outlived:
                self._step.joined(waiting, outcome.error is None)
        session = task.session
        if session is not None and session.inbound.unstick(outcome.call):
            self._step.go_on(session)

    def go_on(self, task: Task, value: Any, error: BaseException | None) -> None:
        """Run a pipeline to the next thing it waits for, or to its end."""
        if task.call is not None:
            if task.call.mode is POOL and task.call.threads is Threads.AUTHENTICATORS:
                self._authenticators -= 1
            task.call = None
            self._step.disarm(task)
        if isinstance(error, Cancelled):
            # Its clean-up may yield calls too, and gets as much time again for them.
            task.end_by = self._step.now + GIVE_UP
        if self._advance(task, value, error) and task.session is not None:
            self._step.ended(task.session, task)

    def _advance(self, task: Task, value: Any, error: BaseException | None) -> bool:
        """Run a pipeline on; whether it has ended well, which is not told to its session."""
        outer, self.current = self.current, task
        try:
            while True:
                request = task.pipeline.send(value) if error is None else task.pipeline.throw(error)
                if isinstance(request, Call):
                    outcome = self._at_once(task, request)
                    if outcome is None:
                        self._call(task, request)
                        return False
                    value, error = outcome.value, outcome.error
                elif isinstance(request, Release):
                    self._release(task)
                    value = error = None
                elif isinstance(request, Join):
                    request.waiting.append(task)
                    return False
                else:
                    self._step.publish(task, request)
                    return False
        except StopIteration:
            del self.running[task]
            return True
        except (Exception, Cancelled) as raised:
            self._failed(task, raised)
            return False
        finally:
            self.current = outer

    def _at_once(self, task: Task, call: Call) -> Outcome | None:
        """Run an inline call of the script of a frame inside of this step, unless something else is
        to be done before. Listeners are told in the middle of something, and wait.
        """
        if call.mode is not INLINE or task.session is None or self.inline is None:
            return None
        if self._outputs.calls or self._step.noted:
            return None
        task.label = call.label or task.label
        return self._step.outside(self.inline, call, task.context)

    def _call(self, task: Task, call: Call) -> None:
        if call.mode is POOL and call.threads is Threads.AUTHENTICATORS:
            if self._authenticators >= AUTHENTICATOR_THREADS + AUTHENTICATORS_WAITING:
                self.go_on(task, None, LimitExceeded(ErrorCode.LIMIT_COUNT))
                return
            self._authenticators += 1
        task.call = call
        task.label = call.label or task.label
        if call.mode is not INLINE:  # it will have ended before time goes on
            at = self._step.now + self._limits.handler_timeout
            self._set_deadline(task, at if task.end_by is None else min(at, task.end_by))
        self._outputs.calls.append(task)

    def _release(self, task: Task) -> None:
        if task.session is not None:
            task.session.inbound.release(task)
            self._step.ended(task.session, task)

    def _failed(self, task: Task, error: BaseException) -> None:
        """A pipeline has ended by an error: its session is told, and goes on."""
        del self.running[task]
        session = task.session
        cancelled = isinstance(error, Cancelled)
        if session is not None:
            self._step.ended(session, task, None if cancelled else error)
        elif not cancelled:
            self._counters.internal_errors += 1
            self._log.internal("a pipeline", None, error)

    def end_by(self, task: Task, at: float) -> None:
        """The session of a pipeline is over: cancel what still runs at `at`."""
        task.end_by = at
        if task.deadline is not None and task.stopping is None:
            self._set_deadline(task, min(task.due, at))

    def _set_deadline(self, task: Task, at: float) -> None:
        task.due = at
        self._step.rearm(task, at)

    def wake(self, task: Task, now: float) -> None:
        """The deadline of a call came: time it out, or leave it behind."""
        self._step.wake(now, self._overdue, task)

    def _overdue(self, task: Task) -> None:
        if task.call is None or task.deadline is None:
            return
        now = self._step.now
        if task.due > now:
            self._set_deadline(task, task.due)
            return
        if task.stopping is None:
            if task.end_by is not None and task.end_by <= now:
                self.stop(task, Cancelled())
            else:
                self._counters.handlers_timed_out += 1
                self.stop(task, HandlerTimeout(task.label))
        else:
            self._counters.calls_abandoned += 1
            self._leave_behind(task)

    def stop(self, task: Task, error: BaseException) -> None:
        """End a pipeline by `error`, once its running call has ended or can't be waited for."""
        call = task.call
        if call is None or task.stopping is not None:
            return
        task.stopping = error
        if call.mode is POOL:
            self._leave_behind(task)
        else:
            self._outputs.cancels.append(task)
            self._set_deadline(task, self._step.now + GIVE_UP)

    def _leave_behind(self, task: Task) -> None:
        call: Call | None = task.call
        # The call may still be inside the context: what follows runs in a copy of it.
        task.context = task.context.copy()
        task.handle = None
        if call is not None and call.mode is POOL:
            self._leave_in_pool(task, call)
        error, task.stopping = task.stopping, None
        self.go_on(task, None, error)

    def _leave_in_pool(self, task: Task, call: Call) -> None:
        if call.offered and isinstance(task.stopping, HandlerTimeout):
            self._log.note(
                "no thread of the pool was free in time for mapping=%s: raise"
                " Limits.handler_threads, or write `async def` where handlers wait",
                call.label,
            )
        if call.threads is not Threads.LISTENERS and call.withdraw():
            return
        task.left = call
        if not call.offered:
            call.stuck = True
            self._counters.pool_slots_stuck += 1
            self._log.note(
                "a thread of the pool is stuck in mapping=%s: it took longer than"
                " Limits.handler_timeout, and cannot be stopped; give what it waits for a timeout",
                call.label,
            )
        session = task.session
        if session is not None and session.inbound.task is task:
            session.inbound.stick(call)

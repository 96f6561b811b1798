"""What listeners are told: the events of sessions, and of the broker as a whole.

Rule: listeners see the events of one session in order and one at a time, and those about no session
as well; one that fails does not keep the next from hearing. The broker waits for none of them, but
a session whose events are not heard is not read, and what is about no session is bounded.
"""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Callable, Sequence

from stocksync_ws.broker.calls.dispatch import Dispatch
from stocksync_ws.broker.calls.events import Event
from stocksync_ws.broker.calls.session_log import SessionLog
from stocksync_ws.broker.calls.tasks import Tasks
from stocksync_ws.broker.model.pipeline import Call, Pipeline, Task
from stocksync_ws.broker.model.session import Session
from stocksync_ws.counters import Counters

__all__ = ["MOST", "Listeners"]

MOST = 1_000
"""Events that wait for their listeners."""


class Listeners:
    """Everybody who wants to know."""

    __slots__ = ("_counters", "_dispatch", "_journal", "_proceed", "_task", "_tasks", "_waiting")

    def __init__(
        self,
        dispatch: Dispatch,
        counters: Counters,
        tasks: Tasks,
        journal: SessionLog,
        proceed: Callable[[Session, float], None],
    ) -> None:
        self._dispatch = dispatch
        self._counters = counters
        self._tasks = tasks
        self._journal = journal
        self._proceed = proceed
        """Told when a session has no event waiting any more: it may have been held for them."""
        self._task: Task | None = None
        self._waiting: deque[Sequence[Call]] = deque()
        """Calls for events that are about no session."""

    def emit(self, session: Session, event: Event, now: float) -> None:
        """Tell the listeners, after everything this session has told them before."""
        calls = self._dispatch.event(event)
        if not calls:
            return
        if session.event_task is None:
            self._start(session, calls, now)
            return
        if session.events is None:
            session.events = deque()
        session.events.append(calls)

    def tell(self, event: Event, now: float) -> None:
        """Tell the listeners of something that is about no session, one after the other."""
        calls = self._dispatch.event(event)
        if not calls:
            return
        if self._task is None:
            self._start(None, calls, now)
        elif len(self._waiting) < MOST:
            self._waiting.append(calls)
        else:
            self._counters.events_dropped += 1

    def _start(self, session: Session | None, calls: Sequence[Call], now: float) -> None:
        pipeline = self._tell(calls, None if session is None else session.id)
        context = contextvars.copy_context() if session is None else session.context.copy()
        task = self._tasks.start(None, pipeline, context, self._told, now)
        task.owner = session
        if session is None:
            self._task = task
        else:
            session.event_task = task

    def _tell(self, calls: Sequence[Call], session_id: str | None) -> Pipeline[None]:
        """One listener after the other; one that fails does not keep the next from hearing."""
        for call in calls:
            try:
                yield call
            except Exception as error:
                self._counters.listeners_failed += 1
                self._journal.listener_failed(call.label, session_id, error)

    def _told(self, task: Task, value: object, error: BaseException | None, now: float) -> None:
        """The listeners of one event are done; go on with the next."""
        session = task.owner
        if session is None:
            self._task = None
            if self._waiting:
                self._start(None, self._waiting.popleft(), now)
            return
        session.event_task = None
        if session.events:
            self._start(session, session.events.popleft(), now)
        if not session.events:
            session.events = None
            self._proceed(session, now)

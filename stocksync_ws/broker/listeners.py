"""What listeners are told: the events of sessions, and of the broker as a whole.

Rule: listeners see the events of one session in order and one at a time; one that fails does not
keep the next from hearing. The broker waits for none of them.
"""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Sequence

from stocksync_ws.broker.dispatch import Dispatch
from stocksync_ws.broker.events import Event
from stocksync_ws.broker.journal import Journal
from stocksync_ws.broker.pipeline import Call, Pipeline, Task
from stocksync_ws.broker.session import Session
from stocksync_ws.broker.tasks import Tasks
from stocksync_ws.counters import Counters

__all__ = ["Listeners"]


class Listeners:
    """Everybody who wants to know."""

    __slots__ = ("_counters", "_dispatch", "_journal", "_tasks")

    def __init__(
        self, dispatch: Dispatch, counters: Counters, tasks: Tasks, journal: Journal
    ) -> None:
        self._dispatch = dispatch
        self._counters = counters
        self._tasks = tasks
        self._journal = journal

    def emit(self, session: Session, event: Event, now: float) -> None:
        """Tell the listeners, after everything this session has told them before."""
        if session.event_task is not None:
            if session.events is None:
                session.events = deque()
            session.events.append(event)
            return
        calls = self._dispatch.event(event)
        if calls:
            pipeline = self._tell(calls, session.id)
            task = self._tasks.start(None, pipeline, session.context.copy(), self._told, now)
            task.owner = session
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
        """The listeners of one event are done; go on with the session's next."""
        session = task.owner
        if session is None:
            return
        session.event_task = None
        while session.events and session.event_task is None:
            self.emit(session, session.events.popleft(), now)
        if not session.events:
            session.events = None

    def tell(self, event: Event, now: float) -> None:
        """Tell the listeners of something that is about no session."""
        calls = self._dispatch.event(event)
        if calls:
            pipeline = self._tell(calls, None)
            self._tasks.start(None, pipeline, contextvars.copy_context(), self._told, now)

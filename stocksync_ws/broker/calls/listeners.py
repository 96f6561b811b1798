"""Listeners: how they are told the events of sessions, and of the broker as a whole.

Rule: listeners see the events of one session in order and one at a time, and those about no session
as well; one that fails does not keep the next from hearing. The broker waits for none of them, but
a session whose events are not heard is not read, and what is about no session is bounded.
"""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Sequence

from stocksync_ws.broker.calls.dispatch import Dispatch
from stocksync_ws.broker.calls.events import Event
from stocksync_ws.broker.calls.session_log import SessionLog
from stocksync_ws.broker.calls.tasks import Tasks
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.pipeline import Call, Pipeline
from stocksync_ws.broker.model.session import SessionRecord

__all__ = ["MOST", "Listeners"]

MOST = 1_000
"""Events that wait for their listeners."""


class Listeners:
    """The listeners of the application, and the events that wait for them."""

    __slots__ = ("_counters", "_dispatch", "_heard", "_log", "_step", "_tasks", "_waiting")

    def __init__(self, env: Environment, dispatch: Dispatch, tasks: Tasks, log: SessionLog) -> None:
        self._dispatch = dispatch
        self._counters = env.counters
        self._step = env.step
        self._tasks = tasks
        self._log = log
        self._heard: dict[type[Event], bool] = {}
        self._waiting: deque[Sequence[Call]] | None = None
        """Calls for events that are about no session, behind the event that is told now; None when
        none is.
        """

    def hears(self, kind: type[Event]) -> bool:
        """Somebody listens for events of this kind: else nobody needs to make them."""
        known = self._heard.get(kind)
        if known is None:
            known = self._heard[kind] = self._dispatch.hears(kind)
        return known

    def emit(self, session: SessionRecord, event: Event) -> None:
        """Tell the listeners, after everything this session has told them before."""
        calls = self._dispatch.event(event)
        if not calls:
            return
        if session.events is None:
            session.events = deque()
            self._start(session, calls)
        else:
            session.events.append(calls)

    def tell(self, event: Event, *, bounded: bool = True) -> None:
        """Tell the listeners of something that is about no session, one after the other.

        Args:
            event: What has happened.
            bounded: It is dropped where too many wait already.
        """
        calls = self._dispatch.event(event)
        if not calls:
            return
        if self._waiting is None:
            self._waiting = deque()
            self._start(None, calls)
        elif not bounded or len(self._waiting) < MOST:
            self._waiting.append(calls)
        else:
            self._counters.events_dropped += 1

    def _start(self, session: SessionRecord | None, calls: Sequence[Call]) -> None:
        context = contextvars.copy_context() if session is None else session.context.copy()
        self._tasks.start(self._tell(session, calls), context)

    def _tell(self, session: SessionRecord | None, calls: Sequence[Call]) -> Pipeline[None]:
        """One listener after the other; one that fails does not keep the next from hearing."""
        for call in calls:
            try:
                yield call
            except Exception as error:
                self._counters.listeners_failed += 1
                session_id = None if session is None else session.id
                self._log.listener_failed(call.label, session_id, error)
        if session is None:
            self._tell_next()
        else:
            self._tell_next_of(session)

    def _tell_next(self) -> None:
        if self._waiting:
            self._start(None, self._waiting.popleft())
        else:
            self._waiting = None

    def _tell_next_of(self, session: SessionRecord) -> None:
        """Go on with the next event; behind the last one a session that was held is read again."""
        if session.events:
            self._start(session, session.events.popleft())
        else:
            session.events = None
        if not session.events:
            self._step.go_on(session)

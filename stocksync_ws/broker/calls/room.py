"""The room `calls/`: user code, and who is told of what happened.

Rule: a room makes its own parts, each from those made before it; the rooms above get it whole.
"""

from __future__ import annotations

from stocksync_ws.broker.calls.dispatch import Dispatch
from stocksync_ws.broker.calls.filters import Filters
from stocksync_ws.broker.calls.listeners import Listeners
from stocksync_ws.broker.calls.session_log import SessionLog
from stocksync_ws.broker.calls.tasks import Tasks
from stocksync_ws.broker.model.environment import Environment

__all__ = ["Calls"]


class Calls:
    """The room that runs user code, and tells listeners and logs."""

    __slots__ = ("_counters", "dispatch", "filters", "listeners", "log", "tasks")

    def __init__(self, env: Environment, dispatch: Dispatch) -> None:
        self.dispatch = dispatch
        self.log = SessionLog(env.step)
        self.tasks = Tasks(env, self.log)
        self.listeners = Listeners(env, dispatch, self.tasks, self.log)
        self.filters = Filters(env.step, dispatch, self.failed)
        self._counters = env.counters

    def failed(self, label: str, error: Exception) -> None:
        """An outbound interceptor or a delivery filter raised what is no refusal."""
        self._counters.interceptors_failed += 1
        self.log.interceptor_failed(label, error)

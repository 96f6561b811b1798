"""The inbound interceptors of the application: they see a frame before anything judges it.

Rule: what they make of a frame goes the way of the client's own: it is looked at for its headers,
judged by the settings and by rules, and is in no transaction before. What they refuse is told as
what a rule refuses; where a frame has no such answer (ACK, BEGIN ...), it failed. A DISCONNECT
happens whatever they say.
"""

from __future__ import annotations

from typing import Final

from stocksync_ws.broker.calls.room import Calls
from stocksync_ws.broker.frames.rates import Rates
from stocksync_ws.broker.frames.subscribe_options import read_subscribe
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.pipeline import Pipeline
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.state import State
from stocksync_ws.broker.sessions.errors import handler_code
from stocksync_ws.broker.sessions.room import Sessions
from stocksync_ws.errors import AccessDenied, Cancelled, RemoteProtocolError, StockSyncError
from stocksync_ws.stomp.frame import CONNECT, DISCONNECT, SEND, STOMP, SUBSCRIBE, Frame, Version
from stocksync_ws.stomp.negotiate import choose_version

__all__ = ["Intercepting"]

_CONNECTING: Final = frozenset((CONNECT, STOMP))
_DENIABLE: Final = frozenset((SEND, SUBSCRIBE))


class Intercepting:
    """Asks the inbound interceptors."""

    __slots__ = ("_dispatch", "_errors", "_limits", "_tasks", "none", "rates")

    def __init__(self, env: Environment, calls: Calls, sessions: Sessions, rates: Rates) -> None:
        self.rates = rates
        """Asked before: what is too much reaches no interceptor."""
        self.none = False
        """There are none: nobody needs to ask. Known with the first frame: an application may be
        declared until then.
        """
        self._limits = env.limits
        self._dispatch = calls.dispatch
        self._tasks = calls.tasks
        self._errors = sessions.errors

    def ask(self, session: SessionRecord, frame: Frame) -> Pipeline[Frame] | None:
        """The interceptors for a frame; None: there are none."""
        if not self._dispatch.has_inbound:
            self.none = True
            return None
        pipeline = self._dispatch.inbound(session, frame)
        if pipeline is not None and frame.command in _CONNECTING:
            session.clocks.end_connect()  # Its part is done; the rest is our own time.
        return pipeline

    def judge(
        self, session: SessionRecord, frame: Frame, pipeline: Pipeline[Frame]
    ) -> Pipeline[Frame | None]:
        """A frame as the interceptors leave it; None: they refuse it or failed, and that has been
        told, or the session has ended.

        Raises:
            RemoteProtocolError: They refuse a frame of a transaction, of which no part may be
                missing.
        """
        try:
            return (yield from pipeline)
        except Cancelled:
            return None
        except Exception as error:
            if frame.command in _CONNECTING:
                self._refuse_connect(session, frame, error)
            elif frame.command == DISCONNECT:
                self._errors.failed(session, frame, error)
                return frame
            else:
                self._refuse(session, frame, error)
        return None

    def _refuse_connect(self, session: SessionRecord, frame: Frame, error: Exception) -> None:
        if session.state is State.AWAITING:
            version = choose_version(frame.headers.get("accept-version")) or Version.V12
            task = self._tasks.current
            label = "" if task is None else task.label
            self._errors.refuse_connect(session, frame, version, error, label)

    def _refuse(self, session: SessionRecord, frame: Frame, error: Exception) -> None:
        command = frame.command
        if isinstance(error, AccessDenied) and command not in _DENIABLE:
            problem = f"an interceptor cannot refuse {command}, but raised AccessDenied: {error}"
            error = StockSyncError(problem)
        if command == SUBSCRIBE and session.state is State.CONNECTED:
            key = read_subscribe(session, frame, self._limits).key
            session.subscriptions.remember_refused(key, self._limits.max_subscriptions)
        if "transaction" in frame.headers:
            self._errors.failed(session, frame, error)
            code = handler_code(error, command)
            raise RemoteProtocolError(code, command, frame.headers, rule=str(error)) from error
        self._errors.handler(session, frame, error)

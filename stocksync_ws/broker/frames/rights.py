"""Who may: the application's rules, asked for a frame that the settings let through.

Rule: permission is asked when the frame arrives, and of every place that it names: where a client
may not SEND, it has nobody answered either. A private queue is open to whoever knows its name.
"""

from __future__ import annotations

from stocksync_ws.broker.calls.room import Calls
from stocksync_ws.broker.model.namespace import TEMP_QUEUE, is_reply_queue
from stocksync_ws.broker.model.pipeline import Pipeline
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.sessions.errors import handler_code
from stocksync_ws.broker.sessions.room import Sessions
from stocksync_ws.errors import Cancelled, RemoteProtocolError
from stocksync_ws.stomp.frame import SEND, SUBSCRIBE, Frame

__all__ = ["Rights"]


class Rights:
    """Asks the application whether a session may."""

    __slots__ = ("_dispatch", "_errors", "_judge", "none")

    def __init__(self, calls: Calls, sessions: Sessions) -> None:
        self.none = False
        """There are no rules: nobody needs to ask. Known with the first frame: an application may
        be declared until then.
        """
        self._dispatch = calls.dispatch
        self._judge = calls.dispatch.judge
        self._errors = sessions.errors

    def send(
        self, session: SessionRecord, frame: Frame, destination: str, reply_to: str | None
    ) -> str | Pipeline[str]:
        """Whether a SEND may go there, and be answered there: why not, or nothing; a pipeline where
        user code decides.
        """
        verdict: str | Pipeline[str] = ""
        if not self._dispatch.has_rules:
            self.none = True
            return verdict
        if not is_reply_queue(destination):
            verdict = self._judge(session, frame, SEND, destination)
        return verdict if reply_to is None else self._answered(session, frame, verdict, reply_to)

    def subscribe(
        self, session: SessionRecord, frame: Frame, destination: str, reply_to: str | None
    ) -> str | Pipeline[str]:
        """As `send`, for a SUBSCRIBE."""
        if not self._dispatch.has_rules:
            self.none = True
            return ""
        verdict = self._judge(session, frame, SUBSCRIBE, destination)
        return verdict if reply_to is None else self._answered(session, frame, verdict, reply_to)

    def _answered(
        self, session: SessionRecord, frame: Frame, verdict: str | Pipeline[str], reply_to: str
    ) -> str | Pipeline[str]:
        if reply_to.startswith(TEMP_QUEUE) or is_reply_queue(reply_to):
            return verdict
        if not isinstance(verdict, str):
            return self._both(session, frame, verdict, reply_to)
        return verdict or self._judge(session, frame, SEND, reply_to)

    def _both(
        self, session: SessionRecord, frame: Frame, verdict: Pipeline[str], reply_to: str
    ) -> Pipeline[str]:
        problem = yield from verdict
        if problem:
            return problem
        other = self._judge(session, frame, SEND, reply_to)
        return other if isinstance(other, str) else (yield from other)

    def ask(
        self, session: SessionRecord, frame: Frame, pipeline: Pipeline[str]
    ) -> Pipeline[str | None]:
        """The verdict of user code; None: it failed, and that is told.

        Raises:
            RemoteProtocolError: It failed within a transaction, of which no part may be missing.
        """
        try:
            return (yield from pipeline)
        except (Exception, Cancelled) as error:
            if "transaction" in frame.headers and not isinstance(error, Cancelled):
                code = handler_code(error, frame.command)
                raise RemoteProtocolError(
                    code, frame.command, frame.headers, rule=repr(error)
                ) from error
            self._errors.handler(session, frame, error)
            return None

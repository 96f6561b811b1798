"""Permission by the application's rules, asked for a frame that the settings let through.

Rule: permission is asked when the frame arrives, and of every place that it names: where a client
may not SEND, it has nobody answered either. A private queue is open to whoever knows its name.
"""

from __future__ import annotations

from typing import Final

from stocksync_ws.broker.calls.dispatch import Denial, Verdict
from stocksync_ws.broker.calls.room import Calls
from stocksync_ws.broker.model.namespace import TEMP_QUEUE, is_reply_queue
from stocksync_ws.broker.model.pipeline import Pipeline
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.sessions.errors import handler_code
from stocksync_ws.broker.sessions.room import Sessions
from stocksync_ws.errors import Cancelled, RemoteProtocolError
from stocksync_ws.stomp.frame import SEND, SUBSCRIBE, Frame

__all__ = ["FAILED", "Rights"]

FAILED: Final = Denial("")
"""The function of a rule failed, and that has been told; known by identity."""


class Rights:
    """Asks the application whether a session may."""

    __slots__ = ("_dispatch", "_errors", "none")

    def __init__(self, calls: Calls, sessions: Sessions) -> None:
        self.none = False
        """There are no rules: nobody needs to ask. Known with the first frame: an application may
        be declared until then.
        """
        self._dispatch = calls.dispatch
        self._errors = sessions.errors

    def send(
        self, session: SessionRecord, frame: Frame, destination: str, reply_to: str | None
    ) -> Verdict:
        """Whether a SEND may go there, and be answered there."""
        if is_reply_queue(destination):
            return None if reply_to is None else self._answered(session, frame, None, reply_to)
        return self._judge(session, frame, SEND, destination, reply_to)

    def subscribe(
        self, session: SessionRecord, frame: Frame, destination: str, reply_to: str | None
    ) -> Verdict:
        """Whether a SUBSCRIBE may be to it, and be answered there."""
        return self._judge(session, frame, SUBSCRIBE, destination, reply_to)

    def _judge(
        self,
        session: SessionRecord,
        frame: Frame,
        command: str,
        destination: str,
        reply_to: str | None,
    ) -> Verdict:
        if not self._dispatch.has_rules:
            self.none = True
            return None
        verdict = self._dispatch.judge(session, frame, command, destination)
        return verdict if reply_to is None else self._answered(session, frame, verdict, reply_to)

    def _answered(
        self, session: SessionRecord, frame: Frame, verdict: Verdict, reply_to: str
    ) -> Verdict:
        private = reply_to.startswith(TEMP_QUEUE) or is_reply_queue(reply_to)
        if private or isinstance(verdict, Denial):
            return verdict
        if verdict is None:
            return self._dispatch.judge_answer(session, frame, reply_to)
        return self._both(session, frame, verdict, reply_to)

    def _both(
        self,
        session: SessionRecord,
        frame: Frame,
        verdict: Pipeline[Denial | None],
        reply_to: str,
    ) -> Pipeline[Denial | None]:
        denial = yield from verdict
        if denial is not None:
            return denial
        other = self._dispatch.judge_answer(session, frame, reply_to)
        return other if other is None or isinstance(other, Denial) else (yield from other)

    def ask(
        self, session: SessionRecord, frame: Frame, pipeline: Pipeline[Denial | None]
    ) -> Pipeline[Denial | None]:
        """The verdict of user code, or `FAILED`.

        Raises:
            RemoteProtocolError: It failed within a transaction, of which no part may be missing.
        """
        try:
            return (yield from pipeline)
        except (Exception, Cancelled) as error:
            if "transaction" in frame.headers and not isinstance(error, Cancelled):
                self._errors.failed(session, frame, error)
                code = handler_code(error, frame.command)
                raise RemoteProtocolError(code, frame.command, frame.headers) from error
            self._errors.handler(session, frame, error)
            return FAILED

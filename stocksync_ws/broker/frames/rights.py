"""Permission by the application's rules, asked for a frame that the settings let through.

Rule: permission is asked when the frame arrives, and of every place that it names: where a client
may not SEND, it has nobody answered either. A private queue is open to whoever knows its name.
"""

from __future__ import annotations

from typing import Final

from stocksync_ws.broker.calls.dispatch import Denial, Verdict
from stocksync_ws.broker.calls.room import Calls
from stocksync_ws.broker.model.namespace import TEMP_QUEUE, Kind, Namespace, is_reply_queue
from stocksync_ws.broker.model.pipeline import Pipeline
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.state import State
from stocksync_ws.broker.model.subscription import Subscription
from stocksync_ws.broker.sessions.errors import handler_code
from stocksync_ws.broker.sessions.room import Sessions
from stocksync_ws.errors import Cancelled, RemoteProtocolError, StockSyncError
from stocksync_ws.stomp.frame import SEND, SUBSCRIBE, Frame

__all__ = ["FAILED", "Rights", "frame_of"]

FAILED: Final = Denial("")
"""The function of a rule failed, and that has been told; known by identity."""

MOST_ASKED: Final = 16
"""How often a rule is asked for one frame: one that has its own session judged anew would be asked
for ever."""


class Rights:
    """Asks the application whether a session may."""

    __slots__ = ("_dispatch", "_errors", "_namespace", "none")

    def __init__(self, namespace: Namespace, calls: Calls, sessions: Sessions) -> None:
        self._namespace = namespace
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

    def again(self, session: SessionRecord, subscription: Subscription) -> Verdict:
        """Whether a session may have a subscription that it has."""
        if not self._dispatch.has_rules:
            return None
        frame = subscription.asked or frame_of(subscription)
        destination = self._asked(subscription.destination)
        return self._dispatch.judge(session, frame, SUBSCRIBE, destination)

    def _asked(self, destination: str) -> str:
        """The place that is asked about: of a presence the destination that it is of."""
        kind, path = self._namespace.classify(destination)
        return path if kind is Kind.PRESENCE else destination

    def forget(self, session: SessionRecord) -> None:
        """Verdicts about a session do not count any more."""
        session.verdicts = None
        session.reviews += 1

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
        """The verdict of user code, or `FAILED`. One that was asked for before the rights of the
        session were judged anew does not count: it is asked for again, `MOST_ASKED` times.

        Raises:
            RemoteProtocolError: It failed within a transaction, of which no part may be missing.
        """
        try:
            for _ in range(MOST_ASKED):
                number = session.reviews
                denial = yield from pipeline
                if session.reviews == number or session.state is not State.CONNECTED:
                    return denial
                destination = self._asked(frame.headers["destination"])
                reply_to = frame.headers.get("reply-to")
                verdict = self._judge(session, frame, frame.command, destination, reply_to)
                if verdict is None or isinstance(verdict, Denial):
                    return verdict
                pipeline = verdict
            raise StockSyncError(
                f"the rights of the session were judged anew {MOST_ASKED} times while a rule for"
                f" {frame.headers['destination']!r} was asked: let no rule call users.reauthorize"
            )
        except (Exception, Cancelled) as error:
            if "transaction" in frame.headers and not isinstance(error, Cancelled):
                self._errors.failed(session, frame, error)
                code = handler_code(error, frame.command)
                raise RemoteProtocolError(code, frame.command, frame.headers) from error
            self._errors.handler(session, frame, error)
            return FAILED


def frame_of(subscription: Subscription) -> Frame:
    """A frame that stands for the SUBSCRIBE of a subscription, where that is not kept."""
    headers = {"destination": subscription.destination}
    if subscription.id is not None:
        headers["id"] = subscription.id
    return Frame(SUBSCRIBE, headers)

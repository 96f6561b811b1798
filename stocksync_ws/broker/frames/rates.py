"""Rates: SEND and SUBSCRIBE of a client that sends more of them than it may.

Rule: asked before anything is done for a frame, so that a refused one costs neither a rule, nor a
handler, nor an idempotency key. Frames that settle, end or take back something are never refused:
ACK, NACK, UNSUBSCRIBE, COMMIT, ABORT, DISCONNECT; nor is BEGIN, which is bounded by itself.
"""

from __future__ import annotations

from stocksync_ws.broker.frames.subscribe_options import read_subscribe
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.rate import seconds_left
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.sessions.room import Sessions
from stocksync_ws.codes import ErrorCode
from stocksync_ws.errors import RemoteProtocolError
from stocksync_ws.stomp.frame import SUBSCRIBE, Frame

__all__ = ["Rates"]


class Rates:
    """Refuses what comes too fast."""

    __slots__ = ("_buckets", "_counters", "_errors", "_limits", "_step")

    def __init__(self, env: Environment, sessions: Sessions) -> None:
        self._limits = env.limits
        self._buckets = env.buckets
        self._counters = env.counters
        self._step = env.step
        self._errors = sessions.errors

    def refuse(self, session: SessionRecord, frame: Frame) -> bool:
        """Refuse a SEND or SUBSCRIBE if it comes too fast; whether it did.

        Raises:
            RemoteProtocolError: It came too fast in a transaction, of which no part may be missing;
                or too fast and malformed.
        """
        now = self._step.now
        bucket = self._buckets.take(session, now)
        if bucket is None:
            return False
        self._counters.frames_rate_limited += 1
        code, wait = ErrorCode.RATE_LIMITED, seconds_left(bucket, now)
        if frame.command == SUBSCRIBE:
            # An UNSUBSCRIBE of it may be on its way.
            key = read_subscribe(session, frame, self._limits).key
            session.subscriptions.remember_refused(key, self._limits.max_subscriptions)
        elif "transaction" in frame.headers:
            raise RemoteProtocolError(
                code, frame.command, frame.headers, rule=bucket.rule, retry_after=wait
            )
        self._errors.application(session, frame, code, rule=bucket.rule, retry_after=wait)
        return True

"""What happens when a clock of a session has run out: one method per `Due`.

Rule: each action moves or clears the clock it was for, so that a deadline cannot come back at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from stocksync_ws.broker.calls.events import HeartBeatLost, TransactionAborted
from stocksync_ws.broker.calls.room import Calls
from stocksync_ws.broker.delivery.room import Delivery
from stocksync_ws.broker.model.clocks import Due
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.sessions.errors import ErrorReporter
from stocksync_ws.broker.sessions.lifecycle import Lifecycle
from stocksync_ws.codes import CloseCode, DisconnectReason, ErrorCode
from stocksync_ws.errors import RemoteProtocolError

__all__ = ["Liveness"]

_DRAINED = {
    CloseCode.RESTART: DisconnectReason.SERVER_SHUTDOWN,
    CloseCode.HISTORY_LOST: DisconnectReason.HISTORY_LOST,
    CloseCode.BACKPLANE_LOST: DisconnectReason.BACKPLANE_LOST,
}


class Liveness:
    """The actions behind the clocks of a session."""

    __slots__ = (
        "_actions",
        "_clocks",
        "_counters",
        "_delivery",
        "_errors",
        "_lifecycle",
        "_limits",
        "_listeners",
        "_step",
    )

    def __init__(
        self,
        env: Environment,
        calls: Calls,
        delivery: Delivery,
        lifecycle: Lifecycle,
        errors: ErrorReporter,
        others: Mapping[Due, Callable[[SessionRecord], None]],
    ) -> None:
        self._limits = env.limits
        self._counters = env.counters
        self._step = env.step
        self._listeners = calls.listeners
        self._delivery = delivery
        self._lifecycle = lifecycle
        self._clocks = lifecycle.clocks
        self._errors = errors
        self._actions: Mapping[Due, Callable[[SessionRecord], None]] = {
            Due.ABORT: self._abort,
            Due.END: lifecycle.hurry,
            Due.DRAIN: self._drain,
            Due.NO_CONNECT: self._no_connect,
            Due.FRAME: self._frame_late,
            Due.SILENT: self._silent,
            Due.PING: self._ping,
            Due.BEAT: self._beat,
            Due.ACK: delivery.acks.expire,
            Due.RETRY: delivery.topics.retry,
            Due.TRANSACTION: self._transaction_late,
            **others,
        }

    def wake(self, session: SessionRecord, now: float) -> None:
        """The deadline of a session came. After it, it is later or None."""
        self._step.wake(now, self._act, session)

    def _act(self, session: SessionRecord) -> None:
        if self._clocks.is_beat(session, self._step.now):
            self._beat(session)
        else:
            for due in self._clocks.due(session, self._step.now):
                self._actions[due](session)
        self._lifecycle.rearm(session)

    def _abort(self, session: SessionRecord) -> None:
        self._counters.aborts += 1
        self._lifecycle.abort(session)

    def _drain(self, session: SessionRecord) -> None:
        session.clocks.drain_at = None
        code = session.clocks.drain_as
        drop = code is not CloseCode.RESTART
        self._lifecycle.close(session, code, _DRAINED[code], drop=drop)

    def _no_connect(self, session: SessionRecord) -> None:
        session.clocks.connect_by = None
        self._late(session, ErrorCode.CONNECT_TIMEOUT, "connect_timeout")

    def _frame_late(self, session: SessionRecord) -> None:
        session.clocks.end_frame()
        session.clocks.end_message()
        self._late(session, ErrorCode.FRAME_TIMEOUT, "frame_timeout")

    def _late(self, session: SessionRecord, code: ErrorCode, limit: str) -> None:
        seconds = getattr(self._limits, limit)
        detail = f"Limits.{limit}={seconds} seconds. {session.inbound.decoder.wanting}".rstrip()
        self._errors.protocol(session, RemoteProtocolError(code, detail=detail))

    def _silent(self, session: SessionRecord) -> None:
        self._counters.heart_beats_lost += 1
        silence = self._step.now - session.clocks.last_seen
        event = HeartBeatLost(session_id=session.id, user=session.user, silence=silence)
        self._listeners.emit(session, event)
        reason = DisconnectReason.HEART_BEAT_LOST
        self._lifecycle.close(session, CloseCode.HEART_BEAT_LOST, reason, drop=True)

    def _ping(self, session: SessionRecord) -> None:
        session.clocks.pinged_at = self._step.now
        session.mailbox.chunk(session.wire.ping())
        # No STOMP client sees a PING, so it is no heart-beat.
        if session.clocks.write_every:
            session.mailbox.beat()

    def _beat(self, session: SessionRecord) -> None:
        session.mailbox.wrote(self._step.now)
        # Where bytes wait, they are the life sign themselves.
        if session.mailbox.empty and not session.mailbox.unsent:
            session.mailbox.beat()
        elif not session.mailbox.unsent:
            session.mailbox.mark()

    def _transaction_late(self, session: SessionRecord) -> None:
        for name in self._delivery.transactions.expire(session):
            self._counters.transactions_aborted += 1
            event = TransactionAborted(session_id=session.id, user=session.user, transaction=name)
            self._listeners.emit(session, event)

"""The life of a session: accepted, welcomed, closed by us, lost by the world.

Rule: a session ends by a row of the table in `ends.py` and in no other way. Whatever happens, it
leaves the index at once, its `SessionDisconnected` is emitted exactly once and only if it was
connected, and its close is backed by a deadline.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from stocksync_ws.broker.calls.events import (
    BrokerAvailability,
    HandshakeRejected,
    SessionConnected,
    SessionDisconnected,
)
from stocksync_ws.broker.calls.room import Calls
from stocksync_ws.broker.delivery.room import Delivery
from stocksync_ws.broker.model.clocks import SessionClocks
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.pipeline import GIVE_UP
from stocksync_ws.broker.model.session import Session, SessionRecord
from stocksync_ws.broker.model.state import State
from stocksync_ws.broker.model.user_index import UserIndex
from stocksync_ws.broker.sessions.ends import BLAMING, ENDS, Cause, Effect
from stocksync_ws.broker.sessions.presence import Presence
from stocksync_ws.broker.sessions.replies import connected, withholds_name
from stocksync_ws.codes import CloseCode, DisconnectReason
from stocksync_ws.stomp.decoder import Decoder
from stocksync_ws.types import Refusal

__all__ = ["CLOSE_REASONS", "STOP_WINDOW", "Lifecycle"]

MOMENT = 0.05
"""Seconds a cancelled handler has before its session ends without it."""
STOP_WINDOW = 20.0
"""Seconds over which a stop spreads its closes, at most; 200 sessions take one second."""
CLOSE_REASONS: Mapping[CloseCode, str] = {
    CloseCode.NORMAL: "bye",
    CloseCode.GOING_AWAY: "server stopped",
    CloseCode.PROTOCOL_ERROR: "protocol error",
    CloseCode.INVALID_DATA: "invalid data",
    CloseCode.POLICY: "not allowed",
    CloseCode.TOO_BIG: "too big",
    CloseCode.INTERNAL_ERROR: "internal error",
    CloseCode.RESTART: "server restarts",
    CloseCode.TRY_LATER: "try again later",
    CloseCode.HEART_BEAT_LOST: "no sign of life",
    CloseCode.CREDENTIALS_EXPIRED: "credentials expired",
    CloseCode.SLOW_CONSUMER: "slow consumer",
    CloseCode.BACKPLANE_LOST: "backplane lost",
    CloseCode.HISTORY_LOST: "history lost",
    CloseCode.CONNECT_REFUSED: "connection refused",
    CloseCode.BAD_CREDENTIALS: "bad credentials",
    CloseCode.KICKED: "kicked",
    CloseCode.USER_LIMIT: "too many sessions",
}
"""Constants: no text of a peer ever stands in a close reason."""


class Lifecycle:
    """Beginning and end of all sessions of a broker."""

    __slots__ = (
        "_buckets",
        "_calls",
        "_counters",
        "_delivery",
        "_effects",
        "_limits",
        "_office",
        "_outputs",
        "_presence",
        "_sessions",
        "_step",
        "clocks",
        "halted",
        "stopping",
        "users",
    )

    def __init__(
        self, env: Environment, calls: Calls, delivery: Delivery, presence: Presence
    ) -> None:
        self._limits = env.limits
        self._buckets = env.buckets
        self._office = env.office
        self._counters = env.counters
        self._step = env.step
        self._outputs = env.step.outputs
        self._sessions = env.sessions
        self._calls = calls
        self._delivery = delivery
        self._presence = presence
        self.clocks = SessionClocks(env.config)
        self.stopping = False
        """No new session is taken, those that there are get closed."""
        self.halted = False
        """Stopped for good: nothing is accepted any more."""
        self.users = UserIndex()
        self._effects: Mapping[Effect, Callable[[SessionRecord], None]] = {
            Effect.LOSE_TRANSPORT: self._lose_transport,
            Effect.PART: self.users.remove,
            Effect.LEAVE: self._leave,
            Effect.UNSEND: delivery.acks.unsent,
            Effect.DROP_MESSAGES: self._drop_messages,
            Effect.DROP_ALL: self._drop_all,
            Effect.DISPATCH: self._dispatch,
            Effect.SETTLE_UP: self._settle_up,
            Effect.SAY_CLOSE: self._say_close,
            Effect.WAIT: self._wait,
            Effect.FORGET: self._forget,
            Effect.CANCEL: self._cancel,
            Effect.TELL: self._tell,
        }

    def rearm(self, session: SessionRecord) -> None:
        """Something that a clock of the session depends on has changed."""
        self._step.rearm(session, self.clocks.next_deadline(session))

    def pause(self, session: SessionRecord, paused: bool) -> None:
        """Pause reading from a session, or go on."""
        if session.inbound.pause(paused):
            self._outputs.reads.append(session)

    def resume_clocks(self, session: SessionRecord) -> None:
        """Reading from the session has resumed: the time without it is nobody's silence."""
        if session.clocks.paused_since is not None:
            session.clocks.resume(self._step.now)
            self.rearm(session)

    # Beginning

    def decide(self, session: SessionRecord, refusal: Refusal | None) -> None:
        """Answer the handshake of a session; None accepts it."""
        if session.state is not State.OPENING or session.handshake is None:
            return
        self._outputs.answers.append((session.handshake, refusal))
        if refusal is not None:
            event = HandshakeRejected(status=refusal.status, reason=refusal.text, peer=session.peer)
            self._end(session, Cause.REFUSED)
            self._calls.listeners.tell(event)
            return
        session.state = State.AWAITING
        session.clocks.last_seen = self._step.now
        session.clocks.connect_by = self._step.now + self._limits.connect_timeout
        self.rearm(session)

    def welcome(self, session: SessionRecord, heart_beat: tuple[int, int]) -> None:
        """CONNECT was accepted; version, user and beats of the session are set."""
        version = session.version
        assert version is not None
        session.state = State.CONNECTED
        session.clocks.connect_by = None
        session.handshake = None
        session.face = Session(session)
        session.connected_at = self._step.now
        self.users.add(session)
        session.mailbox.wrote(self._step.now)
        self._counters.sessions += 1
        if withholds_name(session.user_name):
            self._counters.user_names_withheld += 1
        left = None if session.credentials is None else session.credentials.left(self._step.now)
        frame = connected(version, session.id, heart_beat, session.user_name, left)
        session.mailbox.frame(frame)
        self._calls.log.connected(session)
        if self._calls.listeners.hears(SessionConnected):
            event = SessionConnected(
                session_id=session.id,
                user=session.user,
                version=version.value,
                transport=session.transport,
                peer=session.peer,
            )
            self._calls.listeners.emit(session, event)
        self.rearm(session)

    # End

    def close(
        self,
        session: SessionRecord,
        code: CloseCode,
        reason: DisconnectReason,
        *,
        drop: bool = False,
    ) -> None:
        """Close from our side: what waits is written, then the close handshake; aborted if it
        hangs.

        Args:
            drop: Messages that wait are thrown away, so that the close is not behind them.
        """
        if session.state in (State.CLOSING, State.CLOSED):
            return
        if session.state is State.OPENING:
            self.decide(session, Refusal(503, "The server cannot take this connection."))
            return
        session.ending = reason
        if session.state is not State.ENDING:
            session.close_code = code
        self._end(session, Cause.CLOSED_NOW if drop else Cause.CLOSED)

    def close_lost(self, session: SessionRecord) -> None:
        """End a session whose log was trimmed under it: it cannot be brought up to date."""
        if session.state is State.CONNECTED:
            self.close(session, CloseCode.HISTORY_LOST, DisconnectReason.HISTORY_LOST, drop=True)

    def lost(self, session: SessionRecord, reason: DisconnectReason, code: int) -> None:
        """The stream ended. Frames that had arrived are still processed, for `GIVE_UP` seconds.

        Args:
            code: The peer's close code, 1006 when there was none.
        """
        if session.state in (State.CLOSED, State.ENDING):
            return
        if session.state is not State.CLOSING:
            session.close_code = code
            session.ending = reason
        self._end(session, Cause.LOST_AT_WORK if session.inbound.has_work else Cause.LOST)

    def end_if_done(self, session: SessionRecord) -> None:
        """The last frame that had arrived before the stream ended is done."""
        if session.state is State.ENDING and not session.inbound.has_work:
            self._end(session, Cause.DONE)

    def hurry(self, session: SessionRecord) -> None:
        """Grace for frames that had arrived is over: cancel the running handler, then end."""
        task = session.inbound.task
        if task is None or task.call is None or session.clocks.cancelling:
            self._end(session, Cause.DONE)
            return
        session.clocks.cancelling = True
        session.clocks.end_by = self._step.now + MOMENT
        session.inbound.clear(Decoder(self._limits))
        self._calls.tasks.end_by(task, self._step.now)

    def abort(self, session: SessionRecord) -> None:
        """Reset the connection of a session whose close took too long."""
        session.clocks.close_by = None
        self._outputs.aborts.append(session)

    def _end(self, session: SessionRecord, cause: Cause) -> None:
        """End a session by its row of the table. A bug in one effect takes away none of those
        behind it: nobody would come back to a session that ended by half.
        """
        end = ENDS.get((session.state, cause))
        if end is None:
            return
        session.state = end.state
        effects, bug = self._effects, None
        for effect in end.effects:
            try:
                effects[effect](session)
            except Exception as raised:
                bug = bug or raised
        if bug is not None:
            raise bug

    def _lose_transport(self, session: SessionRecord) -> None:
        if session.mailbox.in_transport is not None:
            self._delivery.queues.lost(session)
        if session.mailbox.unsent:
            session.mailbox.lose_transport()

    def _leave(self, session: SessionRecord) -> None:
        """End all subscriptions: no new message is queued after this."""
        most = self._limits.max_subscriptions
        for key, subscription in session.subscriptions.active.items():
            subscription.leave()
            if subscription.ledger is None:
                session.subscriptions.remember_auto(key, most)
            self._presence.ended(subscription, lost=True)
        session.subscriptions.active.clear()
        if session.subscriptions.reply_queues is not None:
            self._delivery.reply_queues.end(session)
        session.mailbox.block()
        session.clocks.connect_by = None
        session.clocks.drain_at = None
        session.clocks.end_message()
        self._end_scripts(session, self._step.now + GIVE_UP)

    def _drop_messages(self, session: SessionRecord) -> None:
        self._delivery.queues.unsent(session.mailbox.drop(keep_own=True))

    def _drop_all(self, session: SessionRecord) -> None:
        if not session.mailbox.empty:
            self._delivery.queues.unsent(session.mailbox.drop())

    def _dispatch(self, session: SessionRecord) -> None:
        self._delivery.queues.dispatch_returned()

    def _settle_up(self, session: SessionRecord) -> None:
        """What the session left open is undone, what it left unsettled goes back."""
        if session.subscriptions.transactions is not None:
            self._delivery.transactions.end(session)
        self._delivery.acks.end(session, counts=session.ending in BLAMING)
        if session.account is not None:
            self._delivery.idempotency.end(session)
        if session.buckets is not None:
            self._buckets.end(session, self._step.now)
        self._delivery.queues.dispatch_returned()

    def _say_close(self, session: SessionRecord) -> None:
        code = CloseCode(session.close_code)
        session.clocks.close_by = self._step.now + self._limits.close_timeout
        for chunk in session.wire.close(code, CLOSE_REASONS[code]):
            session.mailbox.chunk(chunk)
        self._throw_away(session)
        self.pause(session, False)
        self.rearm(session)

    def _throw_away(self, session: SessionRecord) -> None:
        """Nothing that came is decoded any more."""
        if session.inbound.held:
            session.inbound.clear(Decoder(self._limits))
            self._outputs.reads.append(session)  # its connection has thrown away nothing yet
        self._office.weigh(session)

    def _wait(self, session: SessionRecord) -> None:
        session.clocks.end_by = self._step.now + GIVE_UP
        self.users.ending[session] = None
        self.rearm(session)

    def _forget(self, session: SessionRecord) -> None:
        self.lose_face(session)
        session.inbound.clear()
        self._office.weigh(session)
        session.handshake = None
        session.mailbox.end()
        self._step.disarm(session)
        self._sessions.pop(session.id, None)
        self.users.ending.pop(session, None)
        self.users.asked.pop(session, None)

    def lose_face(self, session: SessionRecord) -> None:
        """A session that has ended, and for which no code runs any more, is free of cycles."""
        inbound = session.inbound
        if inbound.task is None and not inbound.released and session.state is State.CLOSED:
            session.face = None

    def _cancel(self, session: SessionRecord) -> None:
        self._end_scripts(session, self._step.now)

    def _end_scripts(self, session: SessionRecord, at: float) -> None:
        inbound = session.inbound
        if inbound.task is not None or inbound.released:
            for script in inbound.scripts:
                self._calls.tasks.end_by(script, at)

    def _tell(self, session: SessionRecord) -> None:
        reason = session.ending or DisconnectReason.CONNECTION_LOST
        duration = max(0.0, self._step.now - session.connected_at)
        self._calls.log.disconnected(session, reason, duration)
        if self._calls.listeners.hears(SessionDisconnected):
            event = SessionDisconnected(
                session_id=session.id,
                user=session.user,
                reason=reason,
                close_code=session.close_code,
                duration=duration,
                unacknowledged=session.subscriptions.unacknowledged,
            )
            self._calls.listeners.emit(session, event)

    # All sessions

    def start(self) -> None:
        """Messages are taken from now on."""
        self._calls.listeners.tell(BrokerAvailability(available=True))

    def stop(self, within: float) -> None:
        """Take no new session and close those that there are, spread over time, with 1012."""
        if self.stopping:
            return
        self.stopping = True
        self._presence.stop()
        self.drain(list(self._sessions.values()), CloseCode.RESTART, within)

    def drain(
        self, sessions: Sequence[SessionRecord], code: CloseCode, within: float = math.inf
    ) -> None:
        """Close sessions, spread over time, but at most so many seconds."""
        window = min(STOP_WINDOW, within, len(sessions) / 200)
        for place, session in enumerate(sessions):
            session.clocks.drain_as = code
            session.clocks.drain_at = self._step.now + window * place / len(sessions)
            self.rearm(session)

    def halt(self) -> None:
        """Close what is left with 1001 and accept nothing more."""
        self.stopping = True
        self._presence.stop()
        for session in list(self._sessions.values()):
            reason = DisconnectReason.SERVER_SHUTDOWN
            self.close(session, CloseCode.GOING_AWAY, reason, drop=True)

    def end(self) -> None:
        """Everything that `halt` has ended was told: so is the end of the broker itself, once."""
        if not self.halted:
            self.halted = True
            self._calls.listeners.tell(BrokerAvailability(available=False))

"""The life of a session: opened, welcomed, closed by us, lost by the world.

Rule: a session ends by a row of the table in `ends.py` and in no other way. Whatever happens, it
leaves the index at once, its `SessionDisconnected` is emitted exactly once and only if it was
connected, and its close is backed by a deadline.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Mapping

from stocksync_ws.broker.calls.events import (
    BrokerAvailability,
    SessionConnected,
    SessionDisconnected,
)
from stocksync_ws.broker.calls.room import Calls
from stocksync_ws.broker.delivery.room import Delivery
from stocksync_ws.broker.model.clocks import SessionClocks
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.pipeline import GIVE_UP, Pipeline, Script
from stocksync_ws.broker.model.session import Session, State
from stocksync_ws.broker.sessions.ends import ENDS, Cause, Effect
from stocksync_ws.broker.sessions.replies import connected, withholds_name
from stocksync_ws.errors import Cancelled, CloseCode, DisconnectReason
from stocksync_ws.stomp.decoder import Decoder
from stocksync_ws.types import Handshake, Refusal, Wire

__all__ = ["CLOSE_REASONS", "Lifecycle"]

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
    CloseCode.HEART_BEAT_LOST: "heart-beat lost",
    CloseCode.SLOW_CONSUMER: "slow consumer",
    CloseCode.HISTORY_LOST: "history lost",
    CloseCode.CONNECT_REFUSED: "connection refused",
    CloseCode.BAD_CREDENTIALS: "bad credentials",
    CloseCode.KICKED: "kicked",
}
"""Constants: no text of a peer ever stands in a close reason."""


class Lifecycle:
    """Beginning and end of all sessions of a broker."""

    __slots__ = (
        "_calls",
        "_counters",
        "_delivery",
        "_effects",
        "_limits",
        "_outputs",
        "_sessions",
        "_step",
        "_token",
        "clocks",
        "halted",
        "stopping",
    )

    def __init__(
        self, env: Environment, calls: Calls, delivery: Delivery, clocks: SessionClocks
    ) -> None:
        self._limits = env.limits
        self._counters = env.counters
        self._step = env.step
        self._outputs = env.step.outputs
        self._sessions = env.sessions
        self._token = env.token
        self._calls = calls
        self._delivery = delivery
        self.clocks = clocks
        self.stopping = False
        """No new session is taken, those that there are get closed."""
        self.halted = False
        """Stopped for good: nothing is accepted any more."""
        self._effects: Mapping[Effect, Callable[[Session], None]] = {
            Effect.LOSE_TRANSPORT: self._lose_transport,
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

    def rearm(self, session: Session) -> None:
        """Something that a clock of the session depends on has changed."""
        self._step.rearm(session, self.clocks.next_deadline(session))

    def hold(self, session: Session, held: bool) -> None:
        """Pause reading from a session, or go on."""
        if session.held is not held:
            session.held = held
            self._outputs.reads.append(session)

    def resume_clocks(self, session: Session) -> None:
        """Reading from the session has resumed: shift its clocks by the time it was paused."""
        if session.still_since is None:
            return
        now = self._step.now
        away = now - session.still_since
        session.still_since = None
        session.still_total += away
        session.last_seen = min(now, session.last_seen + away)
        if session.pinged_at is not None:
            session.pinged_at += away
        if session.frame_since is not None:
            session.frame_since += away
        self.rearm(session)

    # Beginning

    def open(self, wire: Wire, handshake: Handshake) -> Session:
        """A handshake came; its verdict comes by `Outputs.answers`, maybe much later."""
        session = Session(
            self._token(128),
            wire,
            handshake,
            Decoder(self._limits),
            contextvars.copy_context(),
            self._step.now,
        )
        self._sessions[session.id] = session
        if self.stopping:
            self.decide(session, Refusal(503, "The server is stopping."))
            return session
        pipeline = self._calls.dispatch.handshake(handshake)
        if pipeline is None:
            self.decide(session, None)
        else:
            self._calls.tasks.run_frame(session, self._judge(session, pipeline))
        return session

    def _judge(self, session: Session, pipeline: Pipeline[Refusal | None]) -> Script:
        refusal: Refusal | None = Refusal(500, "The server failed.")
        try:
            refusal = yield from pipeline
        except Cancelled:
            pass
        except Exception as problem:
            self._calls.log.internal("handshake", session, problem)
        self.decide(session, refusal)

    def decide(self, session: Session, refusal: Refusal | None) -> None:
        """Answer the handshake of a session; None accepts it."""
        if session.state is not State.OPENING or session.handshake is None:
            return
        self._outputs.answers.append((session.handshake, refusal))
        if refusal is not None:
            self._end(session, Cause.REFUSED)
            return
        session.state = State.AWAITING
        session.last_seen = self._step.now
        session.connect_by = self._step.now + self._limits.connect_timeout
        self.rearm(session)

    def welcome(self, session: Session, heart_beat: tuple[int, int]) -> None:
        """CONNECT was accepted; version, user and beats of the session are set."""
        version = session.version
        assert version is not None
        session.state = State.CONNECTED
        session.connect_by = None
        session.handshake = None
        session.connected_at = session.last_write = self._step.now
        self._counters.sessions += 1
        if withholds_name(session.user_name):
            self._counters.user_names_withheld += 1
        frame = connected(version, session.id, heart_beat, session.user_name)
        self._delivery.mailboxes.frame(session, frame)
        self._calls.log.connected(session)
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
        self, session: Session, code: CloseCode, reason: DisconnectReason, *, drop: bool = False
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

    def close_lost(self, session: Session) -> None:
        """End a session whose log was trimmed under it: it cannot be brought up to date."""
        if session.state is State.CONNECTED:
            self.close(session, CloseCode.HISTORY_LOST, DisconnectReason.HISTORY_LOST, drop=True)

    def lost(self, session: Session, reason: DisconnectReason, code: int, has_work: bool) -> None:
        """The stream ended. Frames that had arrived are still processed, for `GIVE_UP` seconds.

        Args:
            code: The peer's close code, 1006 when there was none.
            has_work: A frame is in work or waits.
        """
        if session.state in (State.CLOSED, State.ENDING):
            return
        if session.state is not State.CLOSING:
            session.close_code = code
            session.ending = reason
        self._end(session, Cause.LOST_AT_WORK if has_work else Cause.LOST)

    def end_if_done(self, session: Session, has_work: bool) -> None:
        """The last frame that had arrived before the stream ended is done."""
        if session.state is State.ENDING and not has_work:
            self._end(session, Cause.DONE)

    def hurry(self, session: Session) -> None:
        """Grace for frames that had arrived is over: cancel the running handler, then end."""
        task = session.task
        if task is None or task.call is None or session.hurried:
            self._end(session, Cause.DONE)
            return
        session.hurried = True
        session.end_by = self._step.now + MOMENT
        session.inbox = None
        session.inbox_bytes = 0
        session.decoder = Decoder(self._limits)
        session.hungry = True
        self._calls.tasks.end_by(task, self._step.now)

    def abort(self, session: Session) -> None:
        """Reset the connection of a session whose close took too long."""
        session.close_by = None
        self._outputs.aborts.append(session)

    def _end(self, session: Session, cause: Cause) -> None:
        """End a session by its row of the table."""
        end = ENDS.get((session.state, cause))
        if end is None:
            return
        session.state = end.state
        effects = self._effects
        for effect in end.effects:
            effects[effect](session)

    def _lose_transport(self, session: Session) -> None:
        self._delivery.queues.lost(session)
        session.unsent = 0

    def _leave(self, session: Session) -> None:
        """End all subscriptions: no new message is queued after this."""
        most = self._limits.max_subscriptions
        for key, subscription in session.subscriptions.items():
            self._delivery.end_subscription(subscription)
            if subscription.ledger is None:
                session.remember_auto(key, most)
        session.subscriptions.clear()
        self._delivery.reply_queues.end(session)
        session.lane = None
        session.connect_by = None
        session.drain_at = None
        if session.task is not None:
            self._calls.tasks.end_by(session.task, self._step.now + GIVE_UP)

    def _drop_messages(self, session: Session) -> None:
        queues, mailboxes = self._delivery.queues, self._delivery.mailboxes
        queues.unsent(mailboxes.drop(session, keep_own=True))

    def _drop_all(self, session: Session) -> None:
        self._delivery.queues.unsent(self._delivery.mailboxes.drop(session))

    def _dispatch(self, session: Session) -> None:
        self._delivery.queues.dispatch_returned()

    def _settle_up(self, session: Session) -> None:
        """What the session left open is undone, what it left unsettled goes back."""
        self._delivery.transactions.end(session)
        session.unacknowledged += self._delivery.acks.end(session)
        self._delivery.queues.dispatch_returned()

    def _say_close(self, session: Session) -> None:
        code = CloseCode(session.close_code)
        session.close_by = self._step.now + self._limits.close_timeout
        chunks = session.wire.close(code, CLOSE_REASONS[code])
        self._delivery.mailboxes.control(session, chunks)
        self.hold(session, False)
        self.rearm(session)

    def _wait(self, session: Session) -> None:
        session.end_by = self._step.now + GIVE_UP
        self.rearm(session)

    def _forget(self, session: Session) -> None:
        session.inbox = None
        session.inbox_bytes = 0
        session.handshake = None
        session.lane = None
        self._step.disarm(session)
        self._sessions.pop(session.id, None)

    def _cancel(self, session: Session) -> None:
        if session.task is not None:
            self._calls.tasks.end_by(session.task, self._step.now)

    def _tell(self, session: Session) -> None:
        reason = session.ending or DisconnectReason.CONNECTION_LOST
        duration = max(0.0, self._step.now - session.connected_at)
        self._calls.log.disconnected(session, reason, duration)
        event = SessionDisconnected(
            session_id=session.id,
            user=session.user,
            reason=reason,
            close_code=session.close_code,
            duration=duration,
            unacknowledged=session.unacknowledged,
        )
        self._calls.listeners.emit(session, event)

    # All sessions

    def start(self) -> None:
        """Messages are taken from now on."""
        self._calls.listeners.tell(BrokerAvailability(available=True))

    def stop(self) -> None:
        """Take no new session and close those that there are, spread over time, with 1012."""
        if self.stopping:
            return
        self.stopping = True
        sessions = list(self._sessions.values())
        window = min(STOP_WINDOW, len(sessions) / 200)
        for place, session in enumerate(sessions):
            session.drain_at = self._step.now + window * place / len(sessions)
            self.rearm(session)

    def halt(self) -> None:
        """Close what is left with 1001 and accept nothing more."""
        self.stopping = True
        for session in list(self._sessions.values()):
            reason = DisconnectReason.SERVER_SHUTDOWN
            self.close(session, CloseCode.GOING_AWAY, reason, drop=True)
        if not self.halted:
            self.halted = True
            self._calls.listeners.tell(BrokerAvailability(available=False))

"""The machine: one broker owns all sessions, takes inputs from the world and keeps outputs for it.

Rule: inputs are what the world does (`open receive alive proceed writable resume lost violate fail
wake publish stop halt`); each takes `now` and is atomic. Outputs are data (`take_*`), never
callbacks. It is owned by one thread or loop and holds no lock. Inside, `now` is the broker's own
time: the caller's less the slack of our own stalls, so that a stall of ours is nobody's silence.

    OPENING --accepted--> AWAITING --CONNECT--> CONNECTED --close--> CLOSING --+--> CLOSED
                                                   |                           |
                                    stream ended, work left --> ENDING --------+
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any

from stocksync_ws.broker.calls.dispatch import Dispatch
from stocksync_ws.broker.calls.events import BrokerAvailability
from stocksync_ws.broker.calls.session_log import SessionLog
from stocksync_ws.broker.frames.idempotency import Idempotency
from stocksync_ws.broker.model.channel import Channel
from stocksync_ws.broker.model.pipeline import Outcome, Task
from stocksync_ws.broker.model.publication import Draft, Published
from stocksync_ws.broker.model.session import AWAITING, CONNECTED, Outgoing, Session
from stocksync_ws.broker.rooms import Rooms
from stocksync_ws.config import BrokerConfig
from stocksync_ws.counters import Counters
from stocksync_ws.errors import (
    BrokerClosed,
    Cancelled,
    CloseCode,
    DisconnectReason,
    ErrorCode,
    LimitExceeded,
)
from stocksync_ws.stomp.decoder import Decoder
from stocksync_ws.timers import Timed, Timers
from stocksync_ws.types import Handshake, Refusal, Wire

__all__ = ["Broker"]

STOP_WINDOW = 20.0
"""Seconds over which a stop spreads its closes, at most; 200 sessions take one second."""

TICK = 1e-6
"""Seconds, far above what rounding can lose and far below what a deadline can mean."""


class Broker:
    """All sessions, subscriptions and messages of one running application.

    Args:
        config: Prefixes, permissions, beats, limits.
        dispatch: The application's pipelines.
        timers: The heap that the driver made; sessions and tasks keep their deadlines in it.
        wall: Seconds since the epoch; asked only for what clients date with `expires`.
        token: Makes an unguessable text of at least so many random bits.
        counters: Where everything refused or dropped is counted.
    """

    def __init__(
        self,
        config: BrokerConfig,
        dispatch: Dispatch,
        timers: Timers,
        token: Callable[[int], str],
        wall: Callable[[], float],
        counters: Counters | None = None,
    ) -> None:
        self.counters = counters if counters is not None else Counters()
        self._limits = config.limits
        self._dispatch = dispatch
        self._timers = timers
        self._token = token
        self.stopping = False
        """No new session is taken, those that there are get closed."""
        rooms = Rooms(config, dispatch, timers, self.counters, token, wall)
        self.journal = rooms.journal
        self.outbox = rooms.outbox
        self.tasks = rooms.tasks
        self.store = rooms.store
        self.life = rooms.life
        self._listeners = rooms.listeners
        self._topics = rooms.topics
        self._queues = rooms.queues
        self._publisher = rooms.publisher
        self._failures = rooms.failures
        self._intake = rooms.intake
        self._overdue = rooms.overdue

    def _own(self, now: float) -> float:
        own = self.outbox.now = now - self._timers.slack
        return own

    # Inputs: sessions and their bytes

    def open(self, wire: Wire, handshake: Handshake, now: float) -> Session:
        """A handshake came. Its verdict comes by `take_answers`, maybe much later."""
        own = self._own(now)
        session = Session(
            self._token(128),
            wire,
            handshake,
            Decoder(self._limits),
            contextvars.copy_context(),
            own,
        )
        self.life.sessions[session.id] = session
        if self.stopping:
            self.life.decide(session, Refusal(503, "The server is stopping."), own)
            return session
        pipeline = self._dispatch.handshake(handshake)
        if pipeline is None:
            self.life.decide(session, None, own)
        else:
            context = session.context.copy()
            task = self.tasks.start(session, pipeline, context, self._handshake_done, own)
            if task in self.tasks.running:
                session.task = task
        return session

    def _handshake_done(
        self, task: Task, refusal: Any, problem: BaseException | None, now: float
    ) -> None:
        session = task.session
        assert session is not None
        session.task = None
        if problem is not None:
            if not isinstance(problem, Cancelled):
                self.journal.internal("handshake", session, problem)
            refusal = Refusal(500, "The server failed.")
        self.life.decide(session, refusal, now)

    def receive(self, session: Session, payload: bytes, now: float) -> None:
        """One WebSocket or SockJS message came."""
        own = self._own(now)
        session.last_seen = own
        session.pinged_at = None
        if session.state is AWAITING:
            session.pre_auth += len(payload)
            if session.pre_auth > self._limits.pre_auth_bytes:
                self._failures.protocol(session, LimitExceeded(ErrorCode.LIMIT_SIZE), own)
                return
        elif session.state is not CONNECTED:
            return
        self._intake.take(session, payload, own)

    def alive(self, session: Session, now: float) -> None:
        """Something came that is no message: PONG, part of a message, a carrier attached."""
        session.last_seen = self._own(now)
        session.pinged_at = None
        if session.mailbox:
            self.outbox.mark(session)

    def proceed(self, session: Session, now: float) -> None:
        """A new turn: decode what the frames of the last one left over."""
        self._intake.proceed(session, self._own(now))

    def lost(
        self, session: Session, reason: DisconnectReason, now: float, code: int = 1006
    ) -> None:
        """The stream ended, with the peer's close code or without one."""
        own = self._own(now)
        self.life.lost(session, reason, code, self._intake.has_work(session), own)
        self._intake.pump(session, own)

    def violate(self, session: Session, code: int, now: float) -> None:
        """The peer broke the WebSocket framing or its limits: close with this code.

        A message over its limit was STOMP that we refuse to read, so an ERROR says so.
        """
        own = self._own(now)
        close = CloseCode(code)
        if close in (CloseCode.TOO_BIG, CloseCode.POLICY):
            size = close is CloseCode.TOO_BIG
            error = ErrorCode.LIMIT_SIZE if size else ErrorCode.LIMIT_COUNT
            self._failures.protocol(session, LimitExceeded(error), own)
        else:
            self.counters.protocol_errors += 1
            self.life.close(session, close, DisconnectReason.PROTOCOL_ERROR, own)
        self._publisher.settle(own)

    def fail(self, session: Session, problem: BaseException, now: float) -> None:
        """The fence: an input of this session raised by our own bug."""
        self._intake.give_up()
        own = self._own(now)
        self._failures.internal("session", session, problem, own)
        self._publisher.settle(own)

    # Inputs: the transport, user code, time

    def writable(self, session: Session, unsent: int, now: float) -> None:
        """A flush was tried, or the transport took bytes; `unsent` bytes are left in it."""
        own = self._own(now)
        session.unsent = unsent
        if unsent or session.queued:
            self._overdue.judge(session, own)
            self._publisher.settle(own)
        else:
            session.progress_at = session.over_since = None
            session.taken = session.handed
        if session.in_transport is not None:
            self._queues.written(session)
        if session.consumers is not None and not unsent:
            self._queues.dispatch_to(session)
            self._publisher.settle(own)

    def tick(self, now: float) -> None:
        """A step begins that brings nothing but the time: what is taken in it is taken now."""
        self._own(now)

    def resume(self, task: Task, outcome: Outcome, now: float) -> None:
        """A call of user code has ended."""
        own = self._own(now)
        self.tasks.resume(task, outcome, own)
        self._publisher.settle(own)

    def wake(self, thing: Timed, now: float) -> None:
        """The deadline of a session, a task or the journal came. After it, it is later or None."""
        # A tick ahead: what was rounded on its way through the slack must not look too early.
        own = self._own(now + TICK)
        if isinstance(thing, Session):
            for due in self.life.liveness.due(thing, own):
                self._overdue.act(due, thing, own)
            self.life.rearm(thing)
        elif isinstance(thing, Task):
            self.tasks.wake(thing, own)
        elif isinstance(thing, Channel):
            self._overdue.wake_channel(thing, own)
        else:
            assert isinstance(thing, SessionLog | Idempotency)
            thing.wake(own)
        self._publisher.settle(own)

    def publish(self, draft: Draft, now: float) -> Published:
        """Publish from the server's side.

        Raises:
            BrokerClosed: After `halt`.
        """
        if self.life.halted:
            raise BrokerClosed("the broker was stopped")
        own = self._own(now)
        published = self._publisher.publish(draft, own)
        self._publisher.settle(own)
        return published

    def start(self, now: float) -> None:
        """The broker takes messages from now on."""
        self._listeners.tell(BrokerAvailability(available=True), self._own(now))

    def stop(self, now: float) -> None:
        """Take no new session and close those that there are, spread over time, with 1012."""
        if self.stopping:
            return
        self.stopping = True
        own = self._own(now)
        sessions = list(self.life.sessions.values())
        window = min(STOP_WINDOW, len(sessions) / 200)
        for place, session in enumerate(sessions):
            session.drain_at = own + window * place / len(sessions)
            self.life.rearm(session)

    def halt(self, now: float) -> None:
        """The end: close what is left with 1001 and accept nothing more."""
        own = self._own(now)
        self.stopping = True
        for session in list(self.life.sessions.values()):
            reason = DisconnectReason.SERVER_SHUTDOWN
            self.life.close(session, CloseCode.GOING_AWAY, reason, own, drop=True)
        self._publisher.settle(own)
        if not self.life.halted:
            self.life.halted = True
            self._listeners.tell(BrokerAvailability(available=False), own)

    # Outputs

    @property
    def pending(self) -> bool:
        """There is something to flush, to decode or to call in the next turn."""
        tasks = self.tasks
        return bool(self.outbox.dirty or self._intake.backlog or tasks.calls or tasks.cancels)

    @property
    def asks(self) -> bool:
        """There is something to answer, to start, to pause or to reset: what a step ends with."""
        tasks, life = self.tasks, self.life
        return bool(tasks.calls or tasks.cancels or life.answers or life.reads or life.aborts)

    @property
    def close_timeout(self) -> float:
        """Seconds a close may take."""
        return self._limits.close_timeout

    def take_dirty(self) -> list[Session]:
        """Mailboxes to flush, first come first served; a flushed one's `dirty` is the driver's."""
        return self.outbox.take_dirty()

    def take_output(self, session: Session, room: int) -> list[Outgoing]:
        """At most `room` bytes for the transport, but at least one entry when there is one. Where
        the transport comes by itself, and not behind an input, `tick` tells the time.
        """
        # A transport is not handed so much that it alone would make its session slow.
        room = min(room, self._limits.send_queue // 2)
        taken = self.outbox.take(session, room)
        if session.has_consumed:
            self._queues.handed_over(session, taken)
        if session.behind is None or session.state is not CONNECTED:
            return taken
        size = sum(entry.size for entry in taken)
        self._topics.pull(session)
        while (
            size < room
            and session.mailbox
            and (not taken or session.mailbox[0].size <= room - size)
        ):
            more = self.outbox.take(session, room - size)
            if session.has_consumed:
                self._queues.handed_over(session, more)
            taken += more
            size += sum(entry.size for entry in more)
            self._topics.pull(session)
        self._publisher.settle(self.outbox.now)
        return taken

    def take_answers(self) -> list[tuple[Handshake, Refusal | None]]:
        """Handshakes decided; None accepts."""
        return self.life.take_answers()

    def take_reads(self) -> list[Session]:
        """Sessions whose `held` has changed."""
        return self.life.take_reads()

    def take_backlog(self) -> list[Session]:
        """Sessions with frames left over from this turn: `proceed` with each in the next one."""
        return self._intake.take_backlog()

    def take_calls(self) -> list[Task]:
        """User code to run."""
        return self.tasks.take_calls()

    def take_cancels(self) -> list[Task]:
        """User code to stop."""
        return self.tasks.take_cancels()

    def take_aborts(self) -> list[Session]:
        """Sessions whose connection must be reset: their close took too long."""
        return self.life.take_aborts()

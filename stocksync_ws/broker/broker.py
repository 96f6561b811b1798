"""The machine: one broker owns all sessions, takes inputs from the world and keeps outputs for it.

Rule: inputs are what the world does; each takes `now` and is one step: own time, work, end of the
step. Outputs are data (`outputs`), never callbacks. It is owned by one thread or loop and holds no
lock.

    OPENING --accepted--> AWAITING --CONNECT--> CONNECTED --close--> CLOSING --+--> CLOSED
                                                   |                           |
                                    stream ended, work left --> ENDING --------+
"""

from __future__ import annotations

from collections.abc import Callable

from stocksync_ws.broker.calls.dispatch import Dispatch
from stocksync_ws.broker.calls.events import MessageDropped
from stocksync_ws.broker.calls.room import Calls
from stocksync_ws.broker.calls.session_log import SessionLog
from stocksync_ws.broker.delivery.room import Delivery
from stocksync_ws.broker.frames.idempotency import Idempotency
from stocksync_ws.broker.frames.room import Frames
from stocksync_ws.broker.model.channel import Channel
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.namespace import Namespace
from stocksync_ws.broker.model.outputs import Outputs
from stocksync_ws.broker.model.pipeline import Outcome, Task
from stocksync_ws.broker.model.publication import Draft, Published
from stocksync_ws.broker.model.session import CONNECTED, Outgoing, Session
from stocksync_ws.broker.model.step import Step
from stocksync_ws.broker.sessions.room import Sessions
from stocksync_ws.config import BrokerConfig
from stocksync_ws.counters import Counters
from stocksync_ws.errors import (
    BrokerClosed,
    CloseCode,
    DisconnectReason,
    ErrorCode,
    LimitExceeded,
)
from stocksync_ws.timers import Timed, Timers
from stocksync_ws.types import Handshake, Wire

__all__ = ["Broker"]


class Broker:
    """All sessions, subscriptions and messages of one running application.

    Args:
        config: Prefixes, permissions, beats, limits.
        dispatch: The application's pipelines.
        timers: The heap that the driver made; sessions and tasks keep their deadlines in it.
        token: Makes an unguessable text of at least so many random bits.
        wall: Seconds since the epoch; asked only for what clients date with `expires`.
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
        self.limits = config.limits
        self._step = Step(timers, self._finish)
        self.outputs: Outputs = self._step.outputs
        """What the driver takes after each step."""
        env = Environment(
            config,
            config.limits,
            Namespace(config),
            self.counters,
            self._step,
            {},
            token,
            wall,
        )
        self.sessions = env.sessions
        """Every session from its handshake to the end of its stream, by id."""
        self.calls = Calls(env, dispatch)
        self.delivery = Delivery(env)
        self._sessions = Sessions(env, self.calls, self.delivery)
        self._decoding = Frames(env, self.calls, self.delivery, self._sessions).decoding

    # Inputs: sessions and their bytes

    def open(self, wire: Wire, handshake: Handshake, now: float) -> Session:
        """A handshake came. Its verdict comes by `Outputs.answers`, maybe much later."""
        return self._step.run(now, self._sessions.lifecycle.open, wire, handshake)

    def receive(self, session: Session, payload: bytes, now: float) -> None:
        """One WebSocket or SockJS message came."""
        self._step.run(now, self._decoding.receive, session, payload)

    def alive(self, session: Session, now: float) -> None:
        """Something came that is no message: PONG, part of a message, a carrier attached."""
        self._step.run(now, self._alive, session)

    def _alive(self, session: Session) -> None:
        session.last_seen = self._step.now
        session.pinged_at = None
        if session.mailbox:
            self.delivery.mailboxes.mark(session)

    def begin_turn(self) -> None:
        """A new turn of the loop: every session has its share of frames again."""
        self._decoding.begin_turn()

    def proceed(self, session: Session, now: float) -> None:
        """Decode what the frames of the last turn left over."""
        self._step.run(now, self._decoding.proceed, session)

    def lost(
        self, session: Session, reason: DisconnectReason, now: float, code: int = 1006
    ) -> None:
        """The stream ended, with the peer's close code or without one."""
        self._step.run(now, self._decoding.lost, session, reason, code)

    def violate(self, session: Session, code: int, now: float) -> None:
        """The peer broke the WebSocket framing or its limits: close with this code."""
        self._step.run(now, self._violate, session, CloseCode(code))

    def _violate(self, session: Session, close: CloseCode) -> None:
        """A message over its limit was STOMP that we refuse to read, so an ERROR says so."""
        if close in (CloseCode.TOO_BIG, CloseCode.POLICY):
            size = close is CloseCode.TOO_BIG
            error = ErrorCode.LIMIT_SIZE if size else ErrorCode.LIMIT_COUNT
            self._sessions.errors.protocol(session, LimitExceeded(error))
        else:
            self.counters.protocol_errors += 1
            self._sessions.lifecycle.close(session, close, DisconnectReason.PROTOCOL_ERROR)

    def fail(self, session: Session, problem: BaseException, now: float) -> None:
        """The fence: an input of this session raised by our own bug."""
        self._step.run(now, self._sessions.errors.internal, "session", session, problem)

    # Inputs: the transport, user code, time

    def writable(self, session: Session, unsent: int, now: float) -> None:
        """A flush was tried, or the transport took bytes; `unsent` bytes are left in it."""
        self._step.run(now, self._writable, session, unsent)

    def _writable(self, session: Session, unsent: int) -> None:
        session.unsent = unsent
        if unsent or session.queued:
            self._sessions.slow_consumers.judge(session)
        else:
            session.progress_at = session.over_since = None
            session.taken = session.handed
        if session.in_transport is not None:
            self.delivery.queues.written(session)
        if session.consumers is not None and not unsent:
            self.delivery.queues.dispatch_to(session)

    def take_output(self, session: Session, room: int, now: float) -> list[Outgoing]:
        """At most `room` bytes for the transport, but at least one entry when there is one."""
        return self._step.run(now, self._take_output, session, room)

    def _take_output(self, session: Session, room: int) -> list[Outgoing]:
        # A transport is not handed so much that it alone would make its session slow.
        room = min(room, self.limits.send_queue // 2)
        mailboxes, delivery = self.delivery.mailboxes, self.delivery
        taken = mailboxes.take(session, room)
        if session.has_consumed:
            delivery.queues.handed_over(session, taken)
        if session.behind is None or session.state is not CONNECTED:
            return taken
        size = sum(entry.size for entry in taken)
        delivery.topics.pull(session)
        while (
            size < room
            and session.mailbox
            and (not taken or session.mailbox[0].size <= room - size)
        ):
            more = mailboxes.take(session, room - size)
            if session.has_consumed:
                delivery.queues.handed_over(session, more)
            taken += more
            size += sum(entry.size for entry in more)
            delivery.topics.pull(session)
        return taken

    def resume(self, task: Task, outcome: Outcome, now: float) -> None:
        """A call of user code has ended."""
        self._step.run(now, self.calls.tasks.resume, task, outcome)

    def wake(self, thing: Timed, now: float) -> None:
        """The deadline of something came. After it, it is later or None."""
        if isinstance(thing, Session):
            self._sessions.liveness.wake(thing, now)
        elif isinstance(thing, Channel):
            self.delivery.aging.wake(thing, now)
        else:
            assert isinstance(thing, Task | SessionLog | Idempotency)
            thing.wake(now)

    def publish(self, draft: Draft, now: float) -> Published:
        """Publish from the server's side.

        Raises:
            BrokerClosed: After `halt`.
        """
        if self._sessions.lifecycle.halted:
            raise BrokerClosed("the broker was stopped")
        return self._step.run(now, self._sessions.publisher.publish, draft)

    def start(self, now: float) -> None:
        """The broker takes messages from now on."""
        self._step.run(now, self._sessions.lifecycle.start)

    def stop(self, now: float) -> None:
        """Take no new session and close those that there are, spread over time, with 1012."""
        self._step.run(now, self._sessions.lifecycle.stop)

    def halt(self, now: float) -> None:
        """The end: close what is left with 1001 and accept nothing more."""
        self._step.run(now, self._sessions.lifecycle.halt)

    # The end of a step

    def _finish(self) -> None:
        """Do what the step has noted, until nothing is noted any more: what pipelines want
        published, frames that had to wait, then deaths, closes and losses.
        """
        step = self._step
        while step.noted:
            if step.drafts:
                self._publish(*step.drafts.popleft())
            elif step.ready:
                task, succeeded = step.ready.popleft()
                self.calls.tasks.go_on(task, succeeded, None)
            elif step.runnable:
                session, script, error = step.runnable.popleft()
                try:
                    self._decoding.go_on(session, script, error)
                except Exception as bug:  # of this session, whatever the step was about
                    self._sessions.errors.internal("session", session, bug)
            else:
                step.noted = False
                self._settle()

    def _publish(self, task: Task, draft: Draft) -> None:
        try:
            published = self._sessions.publisher.publish(draft)
        except Exception as error:
            self.calls.tasks.go_on(task, None, error)
        else:
            self.calls.tasks.go_on(task, published, None)

    def _settle(self) -> None:
        """Send dead letters on their way, close what is over a bound, tell what was lost."""
        step, sessions = self._step, self._sessions
        dead, step.dead = step.dead, []
        sessions.publisher.publish_dead(dead)
        overfull, step.overfull = step.overfull, []
        for session in overfull:
            sessions.slow_consumers.relieve(session)
        lost, step.lost = step.lost, []
        for session in lost:
            sessions.lifecycle.close_lost(session)
        dropped, step.dropped = step.dropped, {}
        for (destination, reason), count in dropped.items():
            event = MessageDropped(destination=destination, reason=reason, count=count)
            self.calls.listeners.tell(event)
        if not step.noted and sessions.slow_consumers.relieve_all():
            step.noted = True

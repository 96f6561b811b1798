"""The machine: one broker owns all sessions, takes inputs from the world and keeps outputs for it.

Rule: inputs are what the world does; each takes `now` and is one step: own time, work, end of the
step. Outputs are data (`outputs`), never callbacks. It is owned by one thread or loop and holds no
lock.

    OPENING --accepted--> AWAITING --CONNECT--> CONNECTED --close--> CLOSING --+--> CLOSED
                                                   |                           |
                                    stream ended, work left --> ENDING --------+
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVarTuple

from stocksync_ws.backplane import BackplaneEvent
from stocksync_ws.broker.calls.dispatch import Dispatch
from stocksync_ws.broker.calls.events import MessageDropped
from stocksync_ws.broker.calls.room import Calls
from stocksync_ws.broker.calls.tasks import Inline
from stocksync_ws.broker.delivery.room import Delivery
from stocksync_ws.broker.frames.room import Frames
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.namespace import Namespace
from stocksync_ws.broker.model.outputs import Outputs, drain
from stocksync_ws.broker.model.pipeline import Outcome, Task
from stocksync_ws.broker.model.post_office import Outgoing, PostOffice
from stocksync_ws.broker.model.publication import Draft, Published, Told
from stocksync_ws.broker.model.roster import Roster
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.state import CONNECTED
from stocksync_ws.broker.model.step import Step
from stocksync_ws.broker.model.turn import Turn
from stocksync_ws.broker.sessions.lifecycle import STOP_WINDOW
from stocksync_ws.broker.sessions.room import Sessions
from stocksync_ws.codes import CloseCode, DisconnectReason, ErrorCode
from stocksync_ws.config import BrokerConfig
from stocksync_ws.counters import Counters
from stocksync_ws.errors import BrokerBusy, BrokerClosed
from stocksync_ws.timers import Timers
from stocksync_ws.types import Handshake, Wire

__all__ = ["Broker"]

Args = TypeVarTuple("Args")


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
        """The data that the driver takes after each step."""
        self.deal = self._step.deal
        self.turn = Turn()
        """The turn of the loop, bounded over all sessions."""
        env = Environment(
            config,
            config.limits,
            Namespace(config),
            self.counters,
            self._step,
            PostOffice(config.limits, self._step),
            {},
            token,
            wall,
            self.turn,
        )
        self.office = env.office
        """The books that all mailboxes share."""
        self.sessions = env.sessions
        """Every session from its handshake to the end of its stream, by id."""
        self.worker = env.worker
        """The name of this worker for the engine that it shares with others; empty: none."""
        self.calls = Calls(env, dispatch)
        self.delivery = Delivery(env, self.calls.filters.find)
        self._sessions = Sessions(env, self.calls, self.delivery)
        frames = Frames(env, self.calls, self.delivery, self._sessions)
        self._decoding = frames.decoding
        self._orders = frames.orders
        self._control_log = frames.control_log
        self.users = self._sessions.lifecycle.users
        """Sessions by the names of their users."""

    def run_inline(self, run: Inline) -> None:
        """Have inline calls of frames run by `run`, each where it is met in a step; without, they
        are outputs as all others are.
        """
        self.calls.tasks.inline = run

    # Inputs: sessions and their bytes

    def open(self, wire: Wire, handshake: Handshake, now: float) -> SessionRecord:
        """A handshake came. Its verdict comes by `Outputs.answers`, maybe much later."""
        return self._step.run(now, self._sessions.opening.open, handshake)

    def receive(self, session: SessionRecord, payload: bytes, now: float) -> None:
        """One WebSocket or SockJS message came."""
        self._step.run(now, self._decoding.receive, session, payload)

    def alive(self, session: SessionRecord, now: float, *, unfinished: bool = False) -> None:
        """Something came that is no message: PONG, part of a message, a carrier attached."""
        self._step.run(now, self._alive, session, unfinished)

    def _alive(self, session: SessionRecord, unfinished: bool) -> None:
        session.clocks.seen(self._step.now)
        session.mailbox.hurry()
        self._decoding.kept(session, unfinished)

    def proceed(self, session: SessionRecord, now: float) -> None:
        """A session that waited for its share of a turn goes on."""
        self._step.run(now, self._decoding.proceed, session)

    def lost(
        self, session: SessionRecord, reason: DisconnectReason, now: float, code: int = 1006
    ) -> None:
        """The stream ended, with the peer's close code or without one."""
        self._step.run(now, self._decoding.lost, session, reason, code)

    def violate(self, session: SessionRecord, code: int, detail: str, now: float) -> None:
        """The peer broke the WebSocket framing or its limits: close with this code, and tell it
        this text of ours.
        """
        self._step.run(now, self._violate, session, CloseCode(code), detail)

    def _violate(self, session: SessionRecord, close: CloseCode, detail: str) -> None:
        """A message over its limit was STOMP that we refuse to read, so an ERROR says so."""
        if close in (CloseCode.TOO_BIG, CloseCode.POLICY):
            size = close is CloseCode.TOO_BIG
            error = ErrorCode.LIMIT_SIZE if size else ErrorCode.LIMIT_COUNT
            self._decoding.exceeded(session, error, detail)
        else:
            self.counters.protocol_errors += 1
            self.calls.log.violated(session, close, detail)
            self._sessions.lifecycle.close(session, close, DisconnectReason.PROTOCOL_ERROR)

    def fail(self, culprit: object, problem: BaseException, now: float) -> None:
        """The fence: an input raised by our own bug, which ends one session at the most.

        Args:
            culprit: A session, a task, another timed object, or None.
        """
        session = culprit.session if isinstance(culprit, Task) else culprit
        self._step.run(now, self._fail, session, problem)

    def _fail(self, session: object, problem: BaseException) -> None:
        if isinstance(session, SessionRecord):
            self._sessions.errors.internal("session", session, problem)
        else:
            self.counters.internal_errors += 1
            self.calls.log.internal("the broker", None, problem)

    @property
    def looking(self) -> bool:
        """Outbound interceptors or a delivery filter run, in the middle of a step."""
        return self._step.looking

    @property
    def busy(self) -> bool:
        """User code runs, or the engine that several workers share has not answered. A script that
        waits for another one is ended with that one.
        """
        workers = self._sessions.workers
        if workers is not None and workers.in_flight:
            return True
        return any(task.call is not None for task in self.calls.tasks.running)

    # Inputs: the transport, user code, time

    def writable(self, session: SessionRecord, unsent: int, now: float) -> bool:
        """A flush was tried, or the transport took bytes; `unsent` bytes are left in it.

        Returns:
            Whether what lies in the mailbox is all there is, so that it may be sent directly.
        """
        mailbox, subscriptions = session.mailbox, session.subscriptions
        if unsent or mailbox.front or subscriptions.has_consumed:
            return self._step.run(now, self._writable, session, unsent)
        mailbox.written()
        return subscriptions.behind is None and session.state is CONNECTED

    def _writable(self, session: SessionRecord, unsent: int) -> bool:
        mailbox, subscriptions = session.mailbox, session.subscriptions
        if unsent or mailbox.front:
            self._sessions.slow_consumers.judge(session, unsent)
        else:
            mailbox.written()
        if mailbox.in_transport is not None:
            self.delivery.queues.written(session)
        if subscriptions.consumers is not None:
            if not unsent:
                self.delivery.queues.dispatch_to(session)
            return False
        return subscriptions.behind is None and session.state is CONNECTED

    def take_output(self, session: SessionRecord, room: int, now: float) -> list[Outgoing]:
        """At most `room` bytes for the transport, but at least one entry when there is one."""
        subscriptions = session.subscriptions
        plain = subscriptions.behind is None and not subscriptions.has_consumed
        if plain and not session.inbound.owes:
            return session.mailbox.take(room, self._step.own(now))
        return self._step.run(now, self._take_output, session, room)

    def _take_output(self, session: SessionRecord, room: int) -> list[Outgoing]:
        mailbox = session.mailbox
        taken = self._take(session, room)
        if session.subscriptions.behind is None or session.state is not CONNECTED:
            return taken
        readers = self.delivery.readers
        size = sum(entry.size for entry in taken)
        readers.pull(session)
        while (
            size < room
            and (front := mailbox.front) is not None
            and (not taken or front.size <= room - size)
        ):
            more = self._take(session, room - size)
            taken += more
            size += sum(entry.size for entry in more)
            readers.pull(session)
        return taken

    def _take(self, session: SessionRecord, room: int) -> list[Outgoing]:
        taken = session.mailbox.take(room, self._step.now)
        if session.subscriptions.has_consumed:
            self.delivery.queues.handed_over(session, taken)
        if session.inbound.owes:
            self._decoding.receipts_left(session)
        return taken

    def resume(self, task: Task, outcome: Outcome, now: float) -> None:
        """A call of user code has ended."""
        self._step.run(now, self.calls.tasks.resume, task, outcome)

    def publish(self, draft: Draft, now: float, told: Told | None = None) -> Published | None:
        """Publish from the server's side.

        Args:
            told: Hears what became of a message that an engine orders.

        Returns:
            None: an engine orders it.

        Raises:
            BrokerBusy: The queue is full; the message was dropped, with event and counter.
            AccessDenied: An outbound interceptor refuses it, with event and counter.
            InterceptorFailed: One failed, with event and counter.
            BrokerClosed: After `halt`.
        """
        if self._sessions.lifecycle.halted:
            raise BrokerClosed("the broker was stopped")
        if self._step.looking:
            self._sessions.publisher.post(draft)
            return Published("", 0)
        self._step.alone = True
        published = self._step.run(now, self._sessions.publisher.send, draft, told)
        if published is not None and not published.message_id:
            raise BrokerBusy(
                f"the queue {draft.target[0]!r} is full, and the message was dropped: see"
                " Limits.queue_messages, queue_bytes, max_stored and max_queues"
            )
        return published

    def attach(self, session_id: str, info: str | None, now: float) -> None:
        """Replace what the application says of a session to those who ask who is there.

        Args:
            info: JSON within `Limits.presence_info`; None: nothing.
        """
        self._step.run(now, self._orders.attach, session_id, info)

    def roster(self, destination: str) -> Roster | None:
        """The members of a destination; None where there are none, or they are not kept. May be
        asked from any thread, and read there by way of copies.
        """
        return self._sessions.presence.rosters.get(destination)

    # Inputs: what the application does to users

    def disconnect_user(self, name: str, reason: str, now: float) -> int:
        """End the sessions of a user, and CONNECTs of that user which are being decided; how many
        sessions.
        """
        return self._step.run(now, self._orders.disconnect_user, name, reason)

    def disconnect_session(self, session_id: str, reason: str, now: float) -> int:
        """End a session; 1, or 0 when there is none."""
        return self._step.run(now, self._orders.disconnect_session, session_id, reason)

    def review_user(self, name: str, now: float) -> int:
        """Judge again what the sessions of a user may; how many these are."""
        return self._step.run(now, self._orders.review_user, name)

    def review_session(self, session_id: str, now: float) -> int:
        """Judge again what a session may; 1, or 0 when there is none."""
        return self._step.run(now, self._orders.review_session, session_id)

    # Inputs: the engine that several workers share

    def engine(self, events: Sequence[BackplaneEvent], now: float) -> None:
        """The engine tells something."""
        self._step.run(now, self._engine, events)

    def _engine(self, events: Sequence[BackplaneEvent]) -> None:
        workers, outages = self._sessions.workers, self._sessions.outages
        assert workers is not None
        assert outages is not None
        self._guard(None, workers.receive, events)
        outages.look()

    @property
    def reachable(self) -> bool:
        """The engine that several workers share is there, or there is none."""
        workers = self._sessions.workers
        return workers is None or workers.down_since is None

    # Inputs: its life

    def start(self, now: float) -> None:
        """The broker takes messages from now on."""
        self._step.run(now, self._start)

    def _start(self) -> None:
        sessions = self._sessions
        sessions.lifecycle.start()
        for channel in (sessions.workers, sessions.replies, self._control_log):
            if channel is not None:
                channel.start()
        if sessions.outages is not None:
            sessions.outages.look()

    def stop(self, now: float, within: float = math.inf) -> None:
        """Take no new session and close those that there are, spread over time, but at most so many
        seconds, with 1012.
        """
        self._step.run(now, self._stop, within)

    def _stop(self, within: float) -> None:
        window = min(STOP_WINDOW, within, len(self.sessions) / 200)
        if self._sessions.leases is not None:
            self._sessions.leases.stop(window + self.limits.presence_grace)
        self._sessions.lifecycle.stop(within)

    def halt(self, now: float) -> None:
        """The end: close what is left with 1001 and accept nothing more."""
        self._step.run(now, self._sessions.lifecycle.halt)
        if self._sessions.workers is not None:
            self._step.run(now, self._sessions.workers.halt)
        self._step.run(now, self._sessions.lifecycle.end)

    # The end of a step

    def _finish(self) -> None:
        """Do what the step has noted, until nothing is noted any more: what interceptors have
        published, what pipelines want published, scripts that waited for another; then deaths,
        closes and losses; then a session that waited goes on with its next frame.
        """
        step, office = self._step, self.office
        while step.noted:
            if step.posted:
                self._guard(None, self._sessions.publisher.publish_posted)
            elif step.settled:
                done, settlement = step.settled.popleft()
                self._guard(None, done, settlement)
            elif step.drafts:
                task, draft = step.drafts.popleft()
                self._guard(task.session, self._publish, task, draft)
            elif step.ready:
                task, succeeded = step.ready.popleft()
                self._guard(task.session, self.calls.tasks.go_on, task, succeeded, None)
            elif step.dead or step.overfull or step.lost or step.dropped:
                self._settle()
            elif office.total > office.most and self._relieved():
                continue
            elif step.runnable:
                step.settles_first = False
                session, script, error = step.runnable.popleft()
                self._guard(session, self._decoding.go_on, session, script, error)
            else:
                step.noted = step.settles_first = False

    def _publish(self, task: Task, draft: Draft) -> None:
        draft.sender = None if task.session is None else task.session.face
        go_on = partial(self.calls.tasks.go_on, task)
        try:
            published = self._sessions.publisher.send(draft, go_on)
        except Exception as error:
            go_on(None, error)
        else:
            if published is not None:
                go_on(published, None)

    def _settle(self) -> None:
        """Send dead letters on their way, close what is over a bound, tell what was lost."""
        step, sessions = self._step, self._sessions
        for dead in drain(step.dead):
            self._guard(None, sessions.publisher.publish_dead, dead)
        for mailbox in dict.fromkeys(drain(step.overfull)):  # once, however often it grew
            if mailbox.owner is not None:
                self._guard(mailbox.owner, sessions.slow_consumers.relieve, mailbox.owner)
        for session in drain(step.lost):
            self._guard(session, sessions.lifecycle.close_lost, session)
        dropped, step.dropped = step.dropped, {}
        for (destination, reason), count in dropped.items():
            event = MessageDropped(destination=destination, reason=reason, count=count)
            self._guard(None, self.calls.listeners.tell, event)

    def _relieved(self) -> bool:
        """All sessions together were over their bound, and one was closed for it."""
        try:
            return self._sessions.overload.relieve()
        except Exception as bug:
            self._fail(None, bug)
            return False

    def _guard(
        self, session: SessionRecord | None, work: Callable[[*Args], object], *args: *Args
    ) -> None:
        """The fence around what is done at the end of a step: whatever the step was about, a bug of
        ours ends the session it happened to, and the rest is still done.
        """
        try:
            work(*args)
        except Exception as bug:
            self._fail(session, bug)

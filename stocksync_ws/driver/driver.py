"""The one caller of connections and broker: a step, then one flush per turn of the loop.

Rule: a *step* is one read, one batch of posts, one resumed call or one wake. After it, what the
broker put out is carried out, except the mailboxes: they are flushed once per turn. A step that was
entered from user code starts no call: those start in the turn, because an eager start in a context
that is already entered would hang the loop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import cast

from stocksync_ws.broker.broker import Broker
from stocksync_ws.broker.model.outputs import drain
from stocksync_ws.broker.model.pipeline import Outcome, Task
from stocksync_ws.broker.model.publication import Draft, Published
from stocksync_ws.broker.model.session import Session
from stocksync_ws.driver.flush import Flusher
from stocksync_ws.driver.links import Links
from stocksync_ws.driver.ports import Host, Link, Stream
from stocksync_ws.errors import DisconnectReason
from stocksync_ws.timers import Timed, Timers
from stocksync_ws.types import Connection

__all__ = ["Driver"]

STUCK = 1.0
"""Seconds after which a deadline that did not move is looked at again."""

_log = logging.getLogger("stocksync_ws.transport")


class Driver:
    """Drives any number of connections and one broker, on one thread."""

    __slots__ = (
        "_broker",
        "_flusher",
        "_host",
        "_idle",
        "_links",
        "_scheduled",
        "_starting",
        "_timers",
        "_wake_at",
    )

    def __init__(self, host: Host, broker: Broker, timers: Timers) -> None:
        self._host = host
        self._broker = broker
        self._timers = timers
        self._links = Links(broker, timers)
        self._flusher = Flusher(broker, self._links, timers)
        self._scheduled = False
        self._starting = False
        self._wake_at: float | None = None
        self._idle: Callable[[], None] | None = None

    def when_idle(self, callback: Callable[[], None]) -> None:
        """Call back once, in a later turn, when no connection is open and no user code runs."""
        self._idle = callback
        self._schedule()

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return len(self._links.open)

    # Inputs: streams

    def connected(self, stream: Stream, connection: Connection) -> Link:
        """A connection was accepted."""
        link = self._links.add(stream, connection)
        self._arm()
        return link

    def feed(self, link: Link, data: bytes) -> None:
        """Bytes came from a stream."""
        if link.gone or link.close_by is not None:
            return
        now = self._host.now()
        self._links.handle(link, link.connection.receive(data, now), now)
        self._links.write_own(link, now)
        self._finish(now)

    def ended(self, link: Link) -> None:
        """A stream ended: EOF, or reset."""
        if link.gone:
            return
        now = self._host.now()
        if not self._links.half_closed(link, now):
            self._links.drop(link, now)
        self._finish(now)

    def drained(self, link: Link) -> None:
        """A stream that had unsent bytes wrote some of them."""
        if link.gone:
            return
        now = self._host.now()
        self._links.progressed(link, now)
        self._flusher.flush_link(link, now)
        self._finish(now)

    # Inputs: user code, time, other threads

    def resume(self, task: Task, outcome: Outcome) -> None:
        """A call has ended."""
        now = self._host.now()
        try:
            self._broker.resume(task, outcome, now)
        except Exception as error:
            self._links.fail(task.session, error, now)
        if not self._starting:
            self._finish(now)

    def publish(self, draft: Draft) -> Published:
        """Publish, on the owner thread. Starts no user code.

        Raises:
            BrokerClosed: After the end.
        """
        published = self._broker.publish(draft, self._host.now())
        self._schedule()
        return published

    def wake(self) -> None:
        """The time given to `wake_at` has come."""
        now = self._host.now()
        scheduled, self._wake_at = self._wake_at, None
        if scheduled is not None and self._timers.late(scheduled, now):
            self._broker.counters.stalls += 1
        for thing in self._timers.due(now):
            try:
                self._wake_one(thing, now)
            except Exception as error:
                self._links.fail(_session_of(thing), error, now)
            self._keep_moving(thing, now)
        self._finish(now)

    def start(self) -> None:
        """The broker takes messages."""
        self._broker.start(self._host.now())
        self._finish(self._host.now())

    def stop(self) -> None:
        """Begin to close all sessions, spread over time; connections without one close now."""
        now = self._host.now()
        self._broker.stop(now)
        for link in list(self._links.open):
            if link.wire is None:
                self._links.drop(link, now)
        self._finish(now)

    def halt(self) -> None:
        """Close what is left."""
        now = self._host.now()
        self._broker.halt(now)
        self._finish(now)

    def abort(self) -> None:
        """Reset every connection."""
        now = self._host.now()
        for link in list(self._links.open):
            self._links.drop(link, now)
        self._finish(now)

    # After a step

    def _finish(self, now: float) -> None:
        """Carry out what the broker put out in this step; mailboxes wait for the turn."""
        broker, outputs = self._broker, self._broker.outputs
        while outputs.urgent:
            for handshake, refusal in drain(outputs.answers):
                self._links.answer(handshake, refusal, now)
            for session in drain(outputs.reads):
                link = cast("Link | None", session.wire.link)
                if link is not None:
                    self._links.watch(link)
            for session in drain(outputs.aborts):
                link = cast("Link | None", session.wire.link)
                if link is not None:
                    self._links.drop(link, now)
                else:
                    broker.lost(session, DisconnectReason.CONNECTION_LOST, now)
            self._start_calls()
        if outputs.pending or (self._idle is not None and self._is_idle()):
            self._schedule()
        self._arm()

    def _start_calls(self) -> None:
        """Start and cancel user code."""
        for task in drain(self._broker.outputs.cancels):
            self._host.cancel(task)
        calls = drain(self._broker.outputs.calls)
        if not calls:
            return
        self._starting = True
        try:
            for task in calls:
                if task.call is not None:
                    self._host.call(task)
        finally:
            self._starting = False

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._host.soon(self._run_turn)

    def _run_turn(self) -> None:
        """One turn: what the last one left over, then one flush."""
        now = self._host.now()
        try:
            # `_scheduled` still stands: what this step makes dirty is flushed in this turn.
            backlog = drain(self._broker.outputs.backlog)
            if backlog:
                self._broker.begin_turn()
            for session in backlog:
                try:
                    self._broker.proceed(session, now)
                except Exception as error:
                    self._links.fail(session, error, now)
            self._finish(now)
            self._flusher.flush(now)
        finally:
            self._scheduled = False
        if self._flusher.left:
            self._schedule()
        self._finish(now)
        if self._is_idle():
            idle, self._idle = self._idle, None
            assert idle is not None
            idle()

    def _is_idle(self) -> bool:
        """Somebody waits for there being nothing left to do, and there is nothing."""
        return (
            self._idle is not None and not self._links.open and not self._broker.calls.tasks.running
        )

    # Time

    def _arm(self) -> None:
        """Ask the host for the next wake, if it is earlier than what was asked for."""
        first = self._timers.next()
        if first is not None and (self._wake_at is None or first < self._wake_at):
            # What was due before it was asked for is not late, however old it is.
            self._wake_at = max(first, self._host.now())
            self._host.wake_at(self._wake_at)

    def _wake_one(self, thing: Timed, now: float) -> None:
        if isinstance(thing, Link):
            self._links.wake(thing, now)
        else:
            self._broker.wake(thing, now)

    def _keep_moving(self, thing: Timed, now: float) -> None:
        """A deadline that has not moved after its wake is a bug of ours, and must not loop."""
        if thing.deadline is not None and thing.deadline <= now:
            self._broker.counters.stuck_deadlines += 1
            _log.error("a deadline did not move after its wake: %s", type(thing).__name__)
            thing.deadline = now + STUCK
            self._timers.arm(thing)


def _session_of(thing: Timed) -> Session | None:
    if isinstance(thing, Session):
        return thing
    return thing.session if isinstance(thing, Task) else None

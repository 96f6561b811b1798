"""The one caller of connections and a machine: a step, then one flush per turn of the loop.

Rule: a *step* is one read, one batch of posts, one resumed call or one wake. After it, what the
machine put out is carried out, except the mailboxes: they are flushed once per turn. A step that
was entered from user code starts no call: those start in the turn, because an eager start in a
context that is already entered would hang the loop. A turn begins with the input of streams and
goes on with sessions that have frames left over; both are bounded, by the machine in frames and
here in time, and while either is used up no stream reads.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from stocksync_ws.broker.model.outputs import drain
from stocksync_ws.broker.model.pipeline import Outcome, Task
from stocksync_ws.broker.model.publication import Draft, Published, Told
from stocksync_ws.broker.model.turn import QUIET
from stocksync_ws.driver.flush import Flusher
from stocksync_ws.driver.links import Links
from stocksync_ws.driver.ports import Host, Link, Machine, Stream
from stocksync_ws.timers import Timed, Timers
from stocksync_ws.types import Connection, Parking

__all__ = ["Driver"]

READING = 0.015
"""Seconds of a turn in which streams are read."""
TURN = 0.02
"""Seconds after which a turn handles no further frames."""
LEAST = 0.005
"""Seconds that sessions with frames left over have in any case; a turn follows input that took as
long.
"""
STUCK = 1.0
"""Seconds after which a deadline that did not move is looked at again."""

_log = logging.getLogger("stocksync_ws.transport")


class Driver:
    """The driver of any number of connections and one machine, on one thread."""

    __slots__ = (
        "_began",
        "_flusher",
        "_host",
        "_idle",
        "_links",
        "_machine",
        "_outputs",
        "_scheduled",
        "_starting",
        "_timers",
        "_turn",
        "_unpolled",
        "_wake_at",
    )

    def __init__(self, host: Host, machine: Machine, timers: Timers) -> None:
        self._host = host
        self._machine = machine
        self._outputs = machine.outputs
        self._turn = machine.turn
        self._began = 0.0
        """The time at which the next turn was asked for, in monotonic seconds."""
        self._timers = timers
        self._links = Links(machine, timers)
        self._flusher = Flusher(machine, self._links, timers)
        self._scheduled = False
        self._starting = False
        self._wake_at: float | None = None
        self._idle: Callable[[], None] | None = None
        self._unpolled: list[Callable[[], None]] = []
        machine.run_inline(host.inline)

    def when_idle(self, callback: Callable[[], None]) -> None:
        """Call back once, in a later turn, when no connection is open, no client is waited for that
        polls, and no user code runs.
        """
        self._idle = callback
        self._schedule()

    @property
    def polled(self) -> bool:
        """Sessions exist whose clients may come back by new connections."""
        return bool(self._links.polled)

    def when_unpolled(self, callback: Callable[[], None]) -> None:
        """Call back once when no sessions are `polled`: now, or in a later turn."""
        if self._links.polled:
            self._unpolled.append(callback)
        else:
            callback()

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return len(self._links.open)

    # Inputs: streams

    def connected(self, stream: Stream, connection: Connection) -> Link:
        """Add a connection that was accepted, and take the events that it has without any byte."""
        now = self._host.now()
        link = self._links.add(stream, connection, now)
        self._links.write_own(link, now)
        self._finish(now)
        return link

    @property
    def may_read(self) -> bool:
        """A stream may read now; else it is to ask again in the next turn, which will come."""
        if not self._scheduled:
            return True
        return self._turn.may_read and self._host.now() - self._began < READING

    def feed(self, link: Link, data: bytes) -> None:
        """Take bytes of a stream. Beyond the time of a turn for reading, their frames wait."""
        if link.gone or link.close_by is not None:
            return
        now = self._host.now()
        if self._scheduled and now - self._began >= READING:
            self._turn.reads = False
        self._links.handle(link, link.connection.receive(data, now), now)
        self._links.write_own(link, now)
        self._finish(now)
        if not self._scheduled and (self._turn.left <= QUIET or self._host.now() - now >= LEAST):
            self._schedule()

    def ended(self, link: Link) -> None:
        """Take the end of a stream: EOF, or a reset."""
        if link.gone:
            return
        now = self._host.now()
        if not self._links.half_closed(link, now):
            self._links.drop(link, now)
        self._finish(now)

    def failed(self, link: Link, problem: Exception) -> None:
        """End the session of a stream with an error: it cannot send any more, though neither side
        has ended it.
        """
        now = self._host.now()
        session = link.session
        if link.gone or session is None:
            return
        self._machine.fail(session, problem, now)
        self._finish(now)

    def drained(self, link: Link) -> None:
        """Go on with a stream that had unsent bytes and wrote some of them."""
        if link.gone:
            return
        now = self._host.now()
        self._links.progressed(link, now)
        self._flusher.flush_link(link, now)
        self._finish(now)

    # Inputs: user code, time, other threads

    def resume(self, task: Task, outcome: Outcome) -> None:
        """Take the outcome of a call that has ended."""
        now = self._host.now()
        try:
            self._machine.resume(task, outcome, now)
        except Exception as error:
            self._machine.fail(task, error, now)
        if not self._starting:
            self._finish(now)

    def publish(self, draft: Draft, told: Told | None = None) -> Published | None:
        """Publish, on the owner thread. Starts no user code.

        Returns:
            The outcome; None: an engine orders it, and `told` will hear.

        Raises:
            BrokerBusy: The queue is full; the message was dropped.
            BrokerClosed: After the end.
        """
        try:
            return self._machine.publish(draft, self._host.now(), told)
        finally:
            if not self._scheduled:
                # A refusal may have told listeners; what waits for a `flush_delay` needs no turn.
                if self._outputs.pending or self._outputs.urgent:
                    self._schedule()
                elif self._timers.earlier:
                    self._arm()

    def act(self, work: Callable[[float], None]) -> None:
        """Run `work`, an input of the machine that the driver does not know, at the time that it is
        given, on the owner thread. Starts no user code.
        """
        try:
            work(self._host.now())
        finally:
            outputs = self._outputs
            waits = outputs.pending or outputs.urgent or self._turn.waiting
            # Whoever waits for the end may be told by what a turn looks at.
            if waits or self._idle is not None or self._unpolled:
                self._schedule()
            elif self._timers.earlier:
                self._arm()

    def wake(self) -> None:
        """Wake everything that is due: the time given to `wake_at` has come."""
        now = self._host.now()
        scheduled, self._wake_at = self._wake_at, None
        self._timers.earlier = True  # than what is not asked for any more
        if scheduled is not None and self._timers.late(scheduled, now):
            self._machine.counters.stalls += 1
        for thing in self._timers.due(now):
            try:
                self._wake_one(thing, now)
            except Exception as error:
                culprit = thing.session if isinstance(thing, Link) else thing
                self._machine.fail(culprit, error, now)
            self._keep_moving(thing, now)
        self._finish(now)

    def start(self) -> None:
        """Let the machine take messages."""
        self._machine.start(self._host.now())
        self._finish(self._host.now())

    def stop(self, within: float = math.inf) -> None:
        """Begin to close all sessions, spread over `within` seconds at most. Connections without
        a session close when no client that polls may need them.
        """
        now = self._host.now()
        self._machine.stop(now, within)
        self._links.stop(now)
        self.when_unpolled(self._drop_idle)
        self._finish(now)

    def _drop_idle(self) -> None:
        now = self._host.now()
        for link in list(self._links.open):
            if link.wire is None:
                self._links.drop(link, now)
        self._finish(now)

    def halt(self) -> None:
        """Close what is left."""
        now = self._host.now()
        self._machine.halt(now)
        self._finish(now)

    def abort(self) -> None:
        """Reset every connection; a session that is parked ends as well, and none is remembered:
        their table outlives this run, and its timers do not.
        """
        now = self._host.now()
        self._unpolled.clear()
        for link in list(self._links.open):
            self._links.drop(link, now)
        self._links.abort_parked(now)
        for thing in self._timers.live():
            if isinstance(thing, Parking):
                thing.wake(math.inf)
        self._finish(now)

    # After a step

    def _finish(self, now: float) -> None:
        """Carry out what the machine put out in this step; mailboxes wait for the turn."""
        outputs = self._outputs
        while outputs.urgent:
            for handshake, refusal in drain(outputs.answers):
                self._links.answer(handshake, refusal, now)
            for session in drain(outputs.reads):
                self._links.watch_all(session.wire, now)
            for session in drain(outputs.aborts):
                self._links.abort(session.wire, now)
            self._start_calls()
        if not self._scheduled and (
            outputs.pending or self._turn.waiting or (self._idle is not None and self._is_idle())
        ):
            self._schedule()
        if self._unpolled and not self._links.polled:
            # In a turn of their own: the connection that carried the last answer goes on behind it.
            for callback in drain(self._unpolled):
                self._host.soon(callback)
        if self._timers.earlier:
            self._arm()

    def _start_calls(self) -> None:
        """Start and cancel user code."""
        for task in drain(self._outputs.cancels):
            self._host.cancel(task)
        if not self._outputs.calls:
            return
        self._starting = True
        try:
            for task in drain(self._outputs.calls):
                self._call(task)
        finally:
            self._starting = False

    def _call(self, task: Task) -> None:
        """Run a call; one that the host cannot even start ends by that error."""
        call = task.call
        if call is None:
            return
        try:
            self._host.call(task)
        except Exception as error:
            if task.call is call:
                self.resume(task, Outcome(call, error=error))

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._began = self._host.now()
            self._host.soon(self._run_turn)

    def _run_turn(self) -> None:
        """End a turn: handle frames that are left over, then flush once."""
        now = self._host.now()
        try:
            # `_scheduled` still stands: what this step makes dirty is flushed in this turn.
            if self._turn.waiting:
                now = self._proceed(now)
            if self._outputs.urgent:
                self._finish(now)
            left = self._flusher.flush(now)
            if self._outputs.engine:
                self._host.carry(drain(self._outputs.engine))
        finally:
            self._scheduled = False
            self._turn.begin()
        if left:
            self._schedule()
        self._finish(now)
        if self._idle is not None and self._is_idle():
            idle, self._idle = self._idle, None
            idle()

    def _proceed(self, now: float) -> float:
        """Go on with sessions that wait, until the turn is used up; return the time afterwards."""
        turn = self._turn
        until = max(self._began + TURN, now + LEAST)
        while turn.left > 0 and (session := turn.next()) is not None:
            try:
                self._machine.proceed(session, now)
            except Exception as error:
                self._machine.fail(session, error, now)
            self._finish(now)
            now = self._host.now()
            if now >= until:
                break
        return now

    def _is_idle(self) -> bool:
        """Tell whether nothing is left to do."""
        links = self._links
        return not links.open and not links.parked and not self._machine.busy

    # Time

    def _arm(self) -> None:
        """Ask the host for the next wake, if it is earlier than what was asked for."""
        self._timers.earlier = False
        first = self._timers.next()
        if first is not None and (self._wake_at is None or first < self._wake_at):
            # What was due before it was asked for is not late, however old it is.
            self._wake_at = max(first, self._host.now())
            self._host.wake_at(self._wake_at)

    def _wake_one(self, thing: Timed, now: float) -> None:
        """Wake one thing. A parked wire has no link, so its end comes back from its wake."""
        for closed in thing.wake(now) or ():
            self._links.closed(closed, now)

    def _keep_moving(self, thing: Timed, now: float) -> None:
        """Put off a deadline that has not moved after its wake: a bug of ours must not loop."""
        if thing.deadline is not None and thing.deadline <= now:
            self._machine.counters.stuck_deadlines += 1
            _log.error("a deadline did not move after its wake: %s", type(thing).__name__)
            thing.deadline = now + STUCK
            self._timers.arm(thing)

"""Connections and the machine, tied together: what comes from one goes to the other.

Rule: the link is the only thing that knows a stream, its connection and the session behind its
wire. One place decides whether a stream is read (`watch`), one ends it (`drop`). A wire may have
several links that bring its input and at most one that carries its output; when its session is not
to be read, or not open yet, posts wait (`bring`), and so does the link of a wire that has no
others. An exception of our own ends the session it happened to, and nothing else.
"""

from __future__ import annotations

from collections import deque

from stocksync_ws.codes import DisconnectReason
from stocksync_ws.driver.ports import ENDED, Link, Machine, Stream
from stocksync_ws.timers import HURRIED, Timers
from stocksync_ws.types import (
    Alive,
    Attached,
    Closed,
    Connection,
    Detached,
    Ending,
    Event,
    Handshake,
    Message,
    Parking,
    Refusal,
    Wire,
)

__all__ = ["Links"]


class Links:
    """The links of all connections that are open."""

    __slots__ = (
        "_bringing",
        "_close_timeout",
        "_machine",
        "_stopping",
        "_timers",
        "_to_bring",
        "_unjudged",
        "open",
        "parked",
        "polled",
    )

    def __init__(self, machine: Machine, timers: Timers) -> None:
        self._machine = machine
        self._to_bring: deque[Wire] = deque()
        """Wires whose posts are to be taken; those of the first one are taken now."""
        self._unjudged: set[Wire] = set()
        """Wires whose handshake has no verdict yet, while posts may come already."""
        self._close_timeout = machine.limits.close_timeout
        self._timers = timers
        self.open: dict[Link, None] = {}
        self.parked: dict[Wire, None] = {}
        """Wires with a session that no connection carries now."""
        self.polled = 0
        """The number of wires with a session whose client may come by a new connection."""
        self._stopping = False
        self._bringing: dict[Wire, dict[Link, None]] = {}
        """Links that bring posts for a wire and do not carry it, in the order of their coming."""

    def add(self, stream: Stream, connection: Connection, now: float) -> Link:
        """Add a connection that was accepted, and take its first events."""
        link = Link(stream, connection, self)
        self.open[link] = None
        self._machine.counters.connections += 1
        self.handle(link, connection.start(now), now)
        return link

    def handle(self, link: Link, events: list[Event], now: float) -> None:
        """Take the events of a connection."""
        for event in events:
            wire = event.wire
            session = wire.session
            try:
                if isinstance(event, Message):
                    if session is not None:
                        self._machine.receive(session, event.payload, now)
                elif isinstance(event, Alive):
                    if link.wire is not wire:
                        self._brings(link, wire)
                    if session is not None:
                        self._machine.alive(session, now, unfinished=event.unfinished)
                else:
                    self._rare(link, event, now)
            except Exception as error:
                self._machine.fail(session, error, now)
        # That a session is paused is told by `Outputs.reads`.
        if link.connection.held or link.paused:
            self.watch(link)
        if link.connection.deadline != link.deadline and not link.gone:
            self._rearm(link)
        feeds = link.wire
        if feeds is not None and feeds.link is not link and events:
            self.bring(feeds, now)

    def _rare(
        self, link: Link, event: Handshake | Attached | Ending | Detached | Closed, now: float
    ) -> None:
        wire = event.wire
        session = wire.session
        if isinstance(event, Handshake):
            event.connection = link
            self._carries(link, wire)
            wire.session = self._machine.open(wire, event, now)
            if wire.parking is not None:
                self._unjudged.add(wire)
                self.polled += 1
        elif isinstance(event, Ending):
            link.ending = True
            if session is not None:
                session.mailbox.block()
        elif isinstance(event, Detached):
            self._detached(link, wire, now)
        elif isinstance(event, Closed):
            self.closed(event, now)
        elif session is not None:
            session.mailbox.block()
            self._carries(link, wire)
            self.watch(link)
            self._machine.alive(session, now)

    def _detached(self, link: Link, wire: Wire, now: float) -> None:
        """Part a link from a wire; if the link carried the wire, that is parked."""
        if wire.link is link:
            if wire.session is not None:
                wire.session.mailbox.block()
            if wire.parking is not None:
                self._timers.arm(wire.parking)
                if wire.session is not None:
                    self.parked[wire] = None
                    if self._stopping:
                        self._hurry(wire.parking, now)
        if link.wire is wire:
            link.ending = False
            self._leave(link)
            self.watch(link)

    def closed(self, event: Closed, now: float) -> None:
        """Tell the machine that a wire has ended, or that the peer broke its framing."""
        wire = event.wire
        session = wire.session
        if session is None:
            # Nothing, but where a bug has kept a session from being opened.
            self._forget(wire, now)
            return
        if event.ours:
            self._machine.violate(session, event.code, event.reason, now)
            return
        lost = event.code == 1006
        told = DisconnectReason.CONNECTION_LOST if lost else DisconnectReason.PEER_CLOSED
        reason = event.cause or told
        self._forget(wire, now)
        self._machine.lost(session, reason, now, event.code)

    def _forget(self, wire: Wire, now: float) -> None:
        """Forget the session behind a wire: it is over for the connections."""
        session, wire.session = wire.session, None
        if wire.parking is not None:
            self.polled -= session is not None
            self.parked.pop(wire, None)
            self._unjudged.discard(wire)
            wire.parking.ended(now)
            self._timers.arm(wire.parking)
            self.bring(wire, now)

    # Links and wires

    def _carries(self, link: Link, wire: Wire) -> None:
        """Let this link carry the output of the wire from now on; it may bring its input. The link
        that carried the wire until now is parted from it.
        """
        self._leave(link)
        if wire.link is not None:
            self._leave(wire.link)
        wire.link, link.wire = link, wire
        self.parked.pop(wire, None)

    def _brings(self, link: Link, wire: Wire) -> None:
        """Note that a post of a wire comes by a link that does not carry it."""
        self._leave(link)
        link.wire = wire
        self._bringing.setdefault(wire, {})[link] = None

    def _leave(self, link: Link) -> None:
        """Part a link from its wire, if it has one."""
        wire, link.wire = link.wire, None
        if wire is None:
            return
        if wire.link is link:
            wire.link = None
        else:
            others = self._bringing[wire]
            others.pop(link, None)
            if not others:
                del self._bringing[wire]

    def watch_all(self, wire: Wire, now: float) -> None:
        """Pause a wire, or go on with it: its session is to be read no more, or again."""
        link = wire.link
        if wire.parking is not None:
            self.bring(wire, now)
        elif link is not None:
            self.watch(link)
            self.handle(link, link.connection.resume(now), now)

    def bring(self, wire: Wire, now: float) -> None:
        """Take posts of a wire as long as its session is read, and answer those that were taken.
        A wire that comes up meanwhile waits for its turn.
        """
        if wire.parking is None:
            return
        self._to_bring.append(wire)
        if len(self._to_bring) > 1:
            return
        while self._to_bring:
            wire = self._to_bring[0]
            session = wire.session
            try:
                self._take_posts(wire, now)
                for link in list(self._bringing.get(wire, ())):
                    self.handle(link, link.connection.resume(now), now)
                    self.write_own(link, now)
            except Exception as error:
                self._machine.fail(session, error, now)
            self._to_bring.popleft()

    def _take_posts(self, wire: Wire, now: float) -> None:
        session, parking = wire.session, wire.parking
        assert parking is not None
        if wire in self._unjudged:
            parking.paused = True
            return
        while session is not None and not session.paused:
            batch = parking.batch()
            if not batch:
                break
            for payload in batch:
                try:
                    self._machine.receive(session, payload, now)
                except Exception as error:
                    self._machine.fail(session, error, now)
            session = wire.session
        parking.paused = session is not None and session.paused

    def watch(self, link: Link) -> None:
        """Decide whether a stream is read; no other place does."""
        wire = link.wire
        session = None if wire is None or wire.parking is not None else wire.session
        held = link.connection.held or (session is not None and session.paused)
        if held is not link.paused and not link.gone:
            link.paused = held
            if held:
                link.stream.pause()
            else:
                link.stream.unpause()

    # Handshakes, and the ends of connections

    def answer(self, handshake: Handshake, refusal: Refusal | None, now: float) -> None:
        """Accept a handshake, or refuse it."""
        link: Link = handshake.connection
        if handshake.wire.parking is not None:
            self._answer_late(handshake.wire, handshake.wire.parking, refusal, now)
            return
        if link.gone:
            return
        if refusal is None:
            events = link.connection.accept(handshake, now)
        else:
            handshake.wire.session = None
            events = link.connection.refuse(handshake, refusal.status, refusal.text, now)
        self.handle(link, events, now)
        self.write_own(link, now)

    def _answer_late(
        self, wire: Wire, parking: Parking, refusal: Refusal | None, now: float
    ) -> None:
        """Answer a client that was told before that its session is open: a refusal is a close."""
        self._unjudged.discard(wire)
        if wire.session is None:
            return
        if refusal is None:
            self.bring(wire, now)
            return
        self._machine.counters.handshakes_refused += 1
        parking.refuse(refusal.status)
        self._forget(wire, now)
        carrier = wire.link
        if carrier is not None:
            self.handle(carrier, carrier.connection.detach(now), now)
            self.write_own(carrier, now)

    def abort(self, wire: Wire, now: float) -> None:
        """Reset the carrier of a session whose close took too long; the session is lost."""
        if wire.link is not None:
            self.drop(wire.link, now)
        self.closed(Closed(wire, 1006, ""), now)  # nothing, if the carrier has said so itself

    def stop(self, now: float) -> None:
        """Give clients of parked wires `HURRIED` seconds to come back: a stop waits no longer."""
        self._stopping = True
        for wire in self.parked:
            assert wire.parking is not None
            self._hurry(wire.parking, now)

    def _hurry(self, parking: Parking, now: float) -> None:
        assert parking.deadline is not None
        parking.deadline = min(parking.deadline, now + HURRIED)
        self._timers.arm(parking)

    def abort_parked(self, now: float) -> None:
        """End the sessions of wires that are parked as lost: no client can come back to them."""
        for wire in list(self.parked):
            self.closed(Closed(wire, 1006, ""), now)

    def drop(self, link: Link, now: float) -> None:
        """End a connection at once, and abort its stream."""
        if link.gone:
            return
        link.gone = True
        self._timers.disarm(link)
        del self.open[link]
        self.handle(link, link.connection.lost(now), now)
        self._leave(link)
        stream, link.stream = link.stream, ENDED
        stream.abort()

    def write_own(self, link: Link, now: float) -> None:
        """Write the connection's own output, if the transport has nothing unsent. When all of an
        answer that has ended is written, its connection goes on without the wire.
        """
        stream, connection = link.stream, link.connection
        while True:
            if not stream.unsent:
                chunks = connection.take()
                if chunks:
                    session = link.session
                    if stream.write(chunks) and session is not None:
                        session.mailbox.block()
                    self.watch(link)
            if not link.ending:
                break
            if stream.unsent:
                if link.session is not None:
                    self._machine.writable(link.session, stream.unsent, now)
                break
            link.ending = False
            self.handle(link, connection.detach(now), now)
        if link.connection.shut:
            self.shut(link, now)

    def progressed(self, link: Link, now: float) -> None:
        """Put off the abort of a stream that wrote bytes: a peer may take an answer slowly."""
        if link.close_by is not None and not link.shut:
            link.close_by = now + self._close_timeout
            self._rearm(link)

    def half_closed(self, link: Link, now: float) -> bool:
        """Finish an answer on its way though EOF came behind its request; tell whether one was."""
        if link.wire is not None or not link.stream.unsent or link.shut:
            return False
        self.handle(link, link.connection.lost(now), now)
        link.stream.pause()
        self.shut(link, now)
        return True

    def shut(self, link: Link, now: float) -> None:
        """Close a connection: when everything is written, end our direction, and wait for the peer
        to end its own. It is aborted after `close_timeout`, whatever happens.
        """
        if link.close_by is None:
            link.close_by = now + self._close_timeout
            self._rearm(link)
        session = link.session if link.carries else None
        waits = link.stream.unsent or (session is not None and not session.mailbox.empty)
        if not waits and not link.shut:
            link.shut = True
            link.stream.shut()

    # Time

    def _rearm(self, link: Link) -> None:
        if link.close_by is not None:
            link.deadline = link.close_by
        else:
            link.deadline = link.connection.deadline
        if link.deadline is None:
            # A WebSocket has none of its own. Those of a crowd would stay for `handshake_timeout`.
            self._timers.disarm(link)
        else:
            self._timers.arm(link)

    def wake(self, link: Link, now: float) -> list[Event]:
        """Act on the deadline of a link, which came."""
        if link.close_by is not None:
            self._machine.counters.aborts += 1
            self.drop(link, now)
        else:
            self.handle(link, link.connection.wake(now), now)
            self.write_own(link, now)
        return []

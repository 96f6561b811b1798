"""Connections and the broker, tied together: what comes from one goes to the other.

Rule: the link is the only thing that knows a stream, its connection and the session behind its
wire. One place decides whether a stream is read (`watch`), one ends it (`drop`). An exception of
our own ends the session it happened to, and nothing else.
"""

from __future__ import annotations

import logging

from stocksync_ws.broker.broker import Broker
from stocksync_ws.broker.model.session import Session
from stocksync_ws.driver.ports import Link, Stream
from stocksync_ws.errors import DisconnectReason
from stocksync_ws.timers import Timers
from stocksync_ws.types import (
    Alive,
    Attached,
    Closed,
    Connection,
    Detached,
    Event,
    Handshake,
    Message,
    Refusal,
)

__all__ = ["Links"]

_log = logging.getLogger("stocksync_ws.transport")


class Links:
    """Every connection that is open."""

    __slots__ = ("_broker", "_close_timeout", "_timers", "open")

    def __init__(self, broker: Broker, timers: Timers) -> None:
        self._broker = broker
        self._close_timeout = broker.limits.close_timeout
        self._timers = timers
        self.open: dict[Link, None] = {}

    def add(self, stream: Stream, connection: Connection) -> Link:
        """A connection was accepted."""
        link = Link(stream, connection)
        self.open[link] = None
        self._broker.counters.connections += 1
        self._rearm(link)
        return link

    def handle(self, link: Link, events: list[Event], now: float) -> None:
        for event in events:
            wire = event.wire
            session = wire.session
            try:
                if isinstance(event, Message):
                    if session is not None:
                        self._broker.receive(session, event.payload, now)
                elif isinstance(event, Alive):
                    if session is not None:
                        self._broker.alive(session, now)
                else:
                    self._rare(link, event, now)
            except Exception as error:
                self.fail(session, error, now)
        # That a session is held is told by `take_reads`.
        if link.connection.held or link.paused:
            self.watch(link)
        if link.connection.deadline != link.deadline and not link.gone:
            self._rearm(link)

    def _rare(
        self, link: Link, event: Handshake | Attached | Detached | Closed, now: float
    ) -> None:
        wire = event.wire
        session: Session | None = wire.session
        if isinstance(event, Handshake):
            event.connection = link
            wire.link, link.wire = link, wire
            wire.session = self._broker.open(wire, event, now)
        elif session is None:
            return
        elif isinstance(event, Attached):
            wire.link, link.wire = link, wire
            self.watch(link)
            self._broker.alive(session, now)
        elif isinstance(event, Detached):
            wire.link = link.wire = None
            session.lane = None
        elif event.ours:
            self._broker.violate(session, event.code, now)
        else:
            wire.session = None
            session.lane = None
            lost = event.code == 1006
            reason = DisconnectReason.CONNECTION_LOST if lost else DisconnectReason.PEER_CLOSED
            self._broker.lost(session, reason, now, event.code)

    def answer(self, handshake: Handshake, refusal: Refusal | None, now: float) -> None:
        link: Link = handshake.connection
        if link.gone:
            return
        if refusal is None:
            events = link.connection.accept(handshake, now)
        else:
            handshake.wire.session = None
            events = link.connection.refuse(handshake, refusal.status, refusal.text, now)
        self.handle(link, events, now)
        self.write_own(link, now)

    def drop(self, link: Link, now: float) -> None:
        """A connection is over."""
        if link.gone:
            return
        link.gone = True
        self._timers.disarm(link)
        del self.open[link]
        self.handle(link, link.connection.lost(now), now)
        if link.wire is not None:
            link.wire.link = None
        link.stream.abort()

    def watch(self, link: Link) -> None:
        """The one place that decides whether a stream is read."""
        session = link.wire.session if link.wire is not None else None
        held = link.connection.held or (session is not None and session.held)
        if held is not link.paused and not link.gone:
            link.paused = held
            if held:
                link.stream.pause()
            else:
                link.stream.unpause()

    def write_own(self, link: Link, now: float) -> None:
        """The connection's own output, if the transport has nothing unsent."""
        if not link.stream.unsent:
            chunks = link.connection.take()
            if chunks:
                session = link.wire.session if link.wire is not None else None
                if link.stream.write(chunks) and session is not None:
                    session.lane = None
                self.watch(link)
        if link.connection.shut:
            self.shut(link, now)

    def progressed(self, link: Link, now: float) -> None:
        """A stream wrote bytes: who takes an answer slowly, but takes it, has time."""
        if link.close_by is not None and not link.shut:
            link.close_by = now + self._close_timeout
            self._rearm(link)

    def half_closed(self, link: Link, now: float) -> bool:
        """EOF came behind a request whose answer is on its way: it is still written."""
        if link.wire is not None or not link.stream.unsent or link.shut:
            return False
        self.handle(link, link.connection.lost(now), now)
        link.stream.pause()
        self.shut(link, now)
        return True

    def shut(self, link: Link, now: float) -> None:
        """A connection is over: it is aborted in time, whatever happens. When everything is
        written, our direction ends, and the peer is waited for to end its own.
        """
        if link.close_by is None:
            link.close_by = now + self._close_timeout
            self._rearm(link)
        session = link.wire.session if link.wire is not None else None
        waits = link.stream.unsent or (session is not None and session.mailbox)
        if not waits and not link.shut:
            link.shut = True
            link.stream.shut()

    def _rearm(self, link: Link) -> None:
        if link.close_by is not None:
            link.deadline = link.close_by
        else:
            link.deadline = link.connection.deadline
        self._timers.arm(link)

    def wake(self, link: Link, now: float) -> None:
        """Its deadline came."""
        if link.close_by is not None:
            self._broker.counters.aborts += 1
            self.drop(link, now)
            return
        self.handle(link, link.connection.wake(now), now)
        self.write_own(link, now)

    def fail(self, session: Session | None, error: Exception, now: float) -> None:
        """The fence: a bug of ours ends the session it happened to, and nothing else."""
        if session is None:
            self._broker.counters.internal_errors += 1
            _log.error("internal error outside of a session", exc_info=error)
        else:
            self._broker.fail(session, error, now)

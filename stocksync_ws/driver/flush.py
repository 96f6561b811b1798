"""The way out: mailboxes to transports, once per turn.

Rule: first come first served, at most `BATCH` sessions a turn and `ROOM` bytes a transport; a
transport that holds unsent bytes is left alone until it has written them.

The lane. The general way (`take_output`, `pack`, `write`) costs more than the kernel's `send` of a
small frame. So a session has a slot `lane`: the stream's bare `send` while the plain case holds.
Only the general way sets it, anyone clears it. A mailbox of one entry goes through it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import cast

from stocksync_ws.broker.broker import Broker
from stocksync_ws.broker.model.session import Outgoing, Session, State
from stocksync_ws.driver.links import Links
from stocksync_ws.driver.ports import Link
from stocksync_ws.timers import Timers

__all__ = ["BATCH", "ROOM", "Flusher"]

BATCH = 256
"""Sessions flushed in one turn."""
ROOM = 65_536
"""Bytes handed to one transport in one turn."""


class Flusher:
    """Hands mailboxes to transports."""

    __slots__ = ("_broker", "_links", "_queue", "_timers")

    def __init__(self, broker: Broker, links: Links, timers: Timers) -> None:
        self._broker = broker
        self._links = links
        self._timers = timers
        self._queue: deque[Session] = deque()

    @property
    def left(self) -> bool:
        """Sessions wait for the next turn."""
        return bool(self._queue)

    def flush(self, now: float) -> None:
        """Hand the mailboxes of at most `BATCH` sessions to their transports."""
        queue = self._queue
        dirty = self._broker.outputs.dirty
        queue.extend(dirty)
        dirty.clear()
        if len(queue) <= BATCH:
            batch = iter(list(queue))
            queue.clear()
        else:
            batch = iter([queue.popleft() for _ in range(BATCH)])
        while self._flush_some(batch, now):
            pass

    def _flush_some(self, batch: Iterator[Session], now: float) -> bool:
        """Flush sessions until one fails; whether one did, so that the rest is to be gone on
        with.
        """
        outbox = self._broker.delivery.mailboxes
        own = now - self._timers.slack
        session: Session | None = None
        entry: Outgoing | None = None
        try:
            for session in batch:
                lane = session.lane
                mailbox = session.mailbox
                if lane is not None and len(mailbox) == 1:
                    entry = mailbox.popleft()
                    sent = lane(entry.chunk)
                    if sent != entry.size:
                        self._partly_sent(session, entry, sent, now)
                        continue
                    session.dirty = False
                    session.queued = 0
                    session.last_write = own
                    entry.waiting -= 1
                    if not entry.waiting:
                        outbox.total -= sent
                else:
                    entry = None
                    self._flush_general(session, now)
        except (BlockingIOError, InterruptedError):
            assert session is not None
            assert entry is not None
            self._partly_sent(session, entry, 0, now)
            return True
        except OSError:
            assert session is not None
            assert entry is not None
            outbox.release(entry)
            session.queued = 0
            session.dirty = False
            link = cast("Link | None", session.wire.link)
            if link is not None:
                self._links.drop(link, now)
            return True
        except Exception as error:
            assert session is not None
            if entry is not None:
                outbox.release(entry)
                session.queued = 0
            session.dirty = False
            session.lane = None
            self._links.fail(session, error, now)
            return True
        return False

    def _partly_sent(self, session: Session, entry: Outgoing, sent: int, now: float) -> None:
        """The lane took less than the entry: the rest goes the general way."""
        link: Link = session.wire.link
        self._broker.delivery.mailboxes.release(entry)
        session.lane = None
        session.dirty = False
        session.queued = 0
        session.last_write = now - self._timers.slack
        session.handed += entry.size - sent
        unsent = link.stream.write([entry.chunk[sent:]])
        self._broker.writable(session, unsent, now)

    def _flush_general(self, session: Session, now: float) -> None:
        session.dirty = False
        link = cast("Link | None", session.wire.link)
        if link is not None:
            self.flush_link(link, now)
        elif session.state is not State.CLOSED:
            # Parked: nothing carries its output, but its bounds hold.
            self._broker.writable(session, 0, now)

    def flush_link(self, link: Link, now: float) -> None:
        """The general way: the connection's own output, then the mailbox, up to `ROOM` bytes."""
        stream = link.stream
        wire = link.wire
        session = cast("Session | None", wire.session) if wire is not None else None
        if session is None or wire is None:
            self._links.write_own(link, now)
            return
        # Whatever happens here: nothing may overtake bytes that are left unsent.
        session.lane = None
        if stream.unsent:
            self._broker.writable(session, stream.unsent, now)
            return
        chunks = link.connection.take()
        entries = self._broker.take_output(session, ROOM, now)
        ends = False
        if entries:
            packed, ends = wire.pack([entry.chunk for entry in entries])
            chunks = chunks + packed if chunks else packed
        unsent = stream.write(chunks) if chunks else 0
        self._broker.writable(session, unsent, now)
        if ends:
            self._links.handle(link, link.connection.detach(now), now)
        if wire.link is link:
            self._after_write(link, session, unsent, now)

    def _after_write(self, link: Link, session: Session, unsent: int, now: float) -> None:
        self._links.watch(link)
        if session.mailbox:
            if not unsent:
                self._broker.delivery.mailboxes.mark(session)
            return
        if link.connection.shut:
            self._links.shut(link, now)
        elif not unsent and session.plain:
            session.lane = link.stream.send

"""The way out: mailboxes to transports, once per turn.

Rule: first come first served, at most `BATCH` mailboxes a turn and `ROOM` bytes a transport; a
transport that holds unsent bytes is left alone until it has written them. Mailboxes of one entry go
the direct way, see `broker/model/mailbox.py`; everything else goes the general way, which alone
opens the direct one.
"""

from __future__ import annotations

from collections import deque

from stocksync_ws.broker.model.mailbox import Mailbox, send_each
from stocksync_ws.driver.links import Links
from stocksync_ws.driver.ports import Conversation, Link, Machine
from stocksync_ws.timers import Timers
from stocksync_ws.types import Chunk

__all__ = ["BATCH", "ROOM", "Flusher"]

BATCH = 256
"""Mailboxes flushed in one turn."""
ROOM = 65_536
"""Bytes handed to one transport in one turn."""


class Flusher:
    """Hands mailboxes to transports."""

    __slots__ = ("_dirty", "_links", "_machine", "_queue", "_timers")

    def __init__(self, machine: Machine, links: Links, timers: Timers) -> None:
        self._machine = machine
        self._dirty = machine.outputs.dirty
        self._links = links
        self._timers = timers
        self._queue: deque[Mailbox] = deque()

    @property
    def left(self) -> bool:
        """Mailboxes wait for the next turn."""
        return bool(self._queue)

    def flush(self, now: float) -> None:
        """Hand at most `BATCH` mailboxes to their transports."""
        queue = self._queue
        queue.extend(self._dirty)
        self._dirty.clear()
        if len(queue) <= BATCH:
            batch = list(queue)
            queue.clear()
        else:
            batch = [queue.popleft() for _ in range(BATCH)]
        for mailbox, rest, error in send_each(batch, now - self._timers.slack):
            session = mailbox.wire.session
            if session is None:
                continue
            try:
                self._flush_one(session, mailbox.wire.link, rest, error, now)
            except Exception as bug:
                mailbox.block()
                self._machine.fail(session, bug, now)

    def _flush_one(
        self,
        session: Conversation,
        link: Link | None,
        rest: Chunk | None,
        error: Exception | None,
        now: float,
    ) -> None:
        """The general way for one mailbox.

        Args:
            link: What carries its output; None while its wire is parked, and then only its bounds
                hold.
            rest: What the direct way has begun to send.
            error: What the direct way has raised.
        """
        if link is None:
            self._machine.writable(session, 0, now)
        elif error is not None:
            if not isinstance(error, OSError):
                raise error
            self._links.drop(link, now)
        elif rest is not None:
            self._machine.writable(session, link.stream.write([rest]), now)
        else:
            self.flush_link(link, now)

    def flush_link(self, link: Link, now: float) -> None:
        """The general way: the connection's own output, then the mailbox, up to `ROOM` bytes."""
        stream, wire = link.stream, link.wire
        session = link.session if link.carries else None
        if session is None or wire is None:
            self._links.write_own(link, now)
            return
        # Whatever happens here: nothing may overtake bytes that are left unsent.
        session.mailbox.block()
        if stream.unsent:
            self._machine.writable(session, stream.unsent, now)
            return
        chunks = link.connection.take()
        entries = self._machine.take_output(session, ROOM, now)
        ends = False
        if entries:
            packed, ends = wire.pack([entry.chunk for entry in entries])
            chunks = chunks + packed if chunks else packed
        unsent = stream.write(chunks) if chunks else 0
        plain = self._machine.writable(session, unsent, now)
        if ends:
            self._links.handle(link, link.connection.detach(now), now)
        if wire.link is link:
            self._after_write(link, session.mailbox, unsent, now, plain=plain)
        else:
            self._links.write_own(link, now)

    def _after_write(
        self, link: Link, mailbox: Mailbox, unsent: int, now: float, *, plain: bool
    ) -> None:
        self._links.watch(link)
        if mailbox.entries:
            if not unsent:
                mailbox.mark()
        elif link.connection.shut:
            self._links.shut(link, now)
        elif plain and not unsent:
            mailbox.open(link.stream.send)

"""The way out: mailboxes to transports, once per turn.

Rule: first come first served, at most `BATCH` mailboxes a turn and `ROOM` bytes a transport; a
transport that holds unsent bytes is left alone until it has written them. Mailboxes whose direct
way is open go that way: by `send_each` (see `broker/model/lane.py`), several entries of a wire that
does not join its chunks by `_flush_several`; everything else goes the general way, which alone
opens the direct one.
"""

from __future__ import annotations

from collections.abc import Iterator

from stocksync_ws.broker.model.lane import Rest, Stopped, send_each
from stocksync_ws.broker.model.mailbox import Mailbox
from stocksync_ws.driver.links import Links
from stocksync_ws.driver.ports import Conversation, Link, Machine
from stocksync_ws.timers import Timers
from stocksync_ws.types import Wire

__all__ = ["BATCH", "ROOM", "Flusher"]

BATCH = 256
"""Mailboxes flushed in one turn."""
ROOM = 65_536
"""Bytes handed to one transport in one turn."""


class Flusher:
    """The way of mailboxes to their transports."""

    __slots__ = (
        "_dirty",
        "_done",
        "_links",
        "_machine",
        "_outputs",
        "_queue",
        "_room",
        "_timers",
    )

    def __init__(self, machine: Machine, links: Links, timers: Timers) -> None:
        self._machine = machine
        self._outputs = machine.outputs
        self._dirty = machine.outputs.dirty
        self._links = links
        self._timers = timers
        # A transport is not handed so much that it alone would make its session slow.
        self._room = min(ROOM, machine.limits.send_queue // 2)
        self._queue: list[Mailbox] = []
        self._done = 0
        """The number of mailboxes of the queue that have had their turn."""

    def _batch(self) -> list[Mailbox]:
        """The next mailboxes, at most `BATCH`."""
        queue, done = self._queue, self._done
        queue += self._dirty
        self._dirty.clear()
        batch = queue[done : done + BATCH]
        done += len(batch)
        if 2 * done >= len(queue):
            del queue[:done]
            done = 0
        self._done = done
        return batch

    def flush(self, now: float) -> bool:
        """Hand at most `BATCH` mailboxes to their transports; whether others wait for the next
        turn.
        """
        slack = self._timers.slack
        crowd = self._outputs.crowd
        if crowd is not None:
            if not self._queue:
                self._go_through(crowd.send(now - slack), now)
            if self._outputs.crowd is crowd:
                self._machine.deal(now)
        if self._dirty or self._queue:
            self._go_through(send_each(self._batch(), now - slack, self._room), now)
        return bool(self._queue)

    def _go_through(self, stopped: Iterator[Stopped], now: float) -> None:
        """Send by the direct way, and flush by another what it could not send."""
        for mailbox, rest, error in stopped:
            wire = mailbox.wire
            session = wire.session
            if session is None:
                continue
            try:
                if rest is None and error is None and wire.link is not None:
                    if mailbox.is_open and mailbox.front:
                        self._flush_several(wire.link, wire, mailbox, now)
                    else:
                        self._flush_general(wire.link, wire, session, now)
                else:
                    self._flush_rest(wire.link, session, rest, error, now)
            except Exception as bug:
                mailbox.block()
                self._machine.fail(session, bug, now)

    def _flush_rest(
        self,
        link: Link | None,
        session: Conversation,
        rest: Rest | None,
        error: Exception | None,
        now: float,
    ) -> None:
        """Flush a mailbox that the direct way could not empty.

        Args:
            link: The carrier of its output; None while its wire is parked, and then only its
                bounds hold.
            rest: The chunk that the direct way has sent in part: an entry, or several joined ones.
            error: The exception that the direct way has raised.
        """
        if link is None:
            self._machine.writable(session, 0, now)
        elif rest is not None and link.wire is not None and link.wire.parking is not None:
            # The direct way has kept what is unsent: nothing to write, but the answer may be full.
            chunks, ends = link.wire.pack([])
            unsent = link.stream.write(chunks) if chunks else link.stream.unsent
            self._go_on(link, link.wire, session, unsent, ends, now)
        elif rest is not None:
            self._machine.writable(session, link.stream.keep(*rest), now)
        elif isinstance(error, OSError):
            self._links.drop(link, now)
        else:
            assert error is not None
            raise error

    def flush_link(self, link: Link, now: float) -> None:
        """Flush a stream that takes bytes again: its connection's own output, then the mailbox."""
        wire = link.wire
        if wire is None or wire.link is not link or wire.session is None:
            self._links.write_own(link, now)
        else:
            self._flush_general(link, wire, wire.session, now)

    def _flush_several(self, link: Link, wire: Wire, mailbox: Mailbox, now: float) -> None:
        """Flush by the direct way several entries that were not joined: the general one without
        its checks, since an open direct way says already that nothing is unsent and that the
        mailbox holds all there is.
        """
        entries = mailbox.take(self._room, now - self._timers.slack)
        chunks, ends = wire.pack([entry.chunk for entry in entries])
        unsent = link.stream.write(chunks)
        if unsent or ends or mailbox.front:
            mailbox.block()
            self._go_on(link, wire, wire.session, unsent, ends, now)
        else:
            mailbox.written()

    def _flush_general(self, link: Link, wire: Wire, session: Conversation, now: float) -> None:
        """Flush by the general way: the connection's own output, then the mailbox, up to `ROOM`."""
        session.mailbox.block()  # Whatever happens: nothing may overtake bytes left unsent.
        stream, machine = link.stream, self._machine
        if stream.unsent:
            machine.writable(session, stream.unsent, now)
            return
        if link.ending:
            machine.writable(session, 0, now)
            self._links.write_own(link, now)
            return
        chunks = link.connection.take()
        entries = machine.take_output(session, self._room, now)
        ends = False
        if entries:
            packed, ends = wire.pack([entry.chunk for entry in entries])
            chunks = chunks + packed if chunks else packed
        unsent = stream.write(chunks) if chunks else 0
        self._go_on(link, wire, session, unsent, ends, now)

    def _go_on(
        self, link: Link, wire: Wire, session: Conversation, unsent: int, ends: bool, now: float
    ) -> None:
        """End the general way: act on the outcome of a write.

        Args:
            unsent: Bytes left in the stream.
            ends: The carrier ends with this write.
        """
        plain = self._machine.writable(session, unsent, now)
        link.ending = ends
        if ends and not unsent:
            self._links.write_own(link, now)
        if wire.link is not link:
            return
        self._links.watch(link)
        if not session.mailbox.empty:
            if not unsent:
                session.mailbox.mark()
        elif link.connection.shut:
            self._links.shut(link, now)
        elif plain and not unsent:
            send = link.stream.send
            if wire.parking is not None and send is not None:
                send = wire.parking.sender(send, link.stream.keep)
            session.mailbox.open(send, joins=wire.joins)

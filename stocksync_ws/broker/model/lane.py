"""The direct way of a mailbox: what waits is sent at once, at the price of a call of `send`.

Rule: the general way out (`take`, `pack`, `write`) costs more than the kernel's `send` of a small
frame. So a mailbox keeps the stream's bare `send` while the plain case holds: nothing is unsent,
and what lies in the mailbox is all there is. Only `Mailbox.open` sets it, `block` clears it, and
`send_each` uses it for one entry, and for several where the chunks of the wire are octets that can
be joined. Elsewhere that it is open is enough to know of several: the flusher takes and writes
them, and asks for nothing else.

Who has very many mailboxes pays for each part of memory that a delivery touches: between two
publications the kernel's own work has thrown them out of the cache. So what the plain case needs
stands together at the beginning of a mailbox, and its one entry in a slot; no other object of the
session is looked at.
"""

# pyright: reportPrivateUsage=false
# `send_each` is a part of Mailbox, and a function so that nothing is called per recipient.
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from stocksync_ws.broker.model.post_office import Outgoing
from stocksync_ws.types import Chunk

if TYPE_CHECKING:
    from stocksync_ws.broker.model.mailbox import Mailbox

__all__ = ["Lane", "Rest", "Stopped", "keep_rest", "send_each", "stopped"]


class Lane:
    """What a delivery by the direct way reads and writes of a mailbox."""

    __slots__ = ("_send", "dirty", "front", "joins", "last_write", "several")

    def __init__(self, now: float) -> None:
        self._send: Callable[[Chunk], int] | None = None
        """The stream's bare `send`, while the plain case holds."""
        self.dirty = False
        """The mailbox is in the list of those to flush."""
        self.front: Outgoing | None = None
        """The oldest entry; None where nothing waits."""
        self.joins = False
        """Chunks of its wire are octets: several, one behind the other, are sent as one."""
        self.last_write = now
        """When something was written last, or counted as written."""
        self.several = 0
        """Bytes of the entries where there are several; else 0."""


Rest: TypeAlias = tuple[Chunk, int]
"""A chunk that a stream took in part, and how much of it."""

Stopped: TypeAlias = "tuple[Mailbox, Rest | None, Exception | None]"
"""A mailbox that `send_each` could not empty by itself, what the stream took of its entry where
that was a part, and the exception of a `send` that failed.
"""


def send_each(mailboxes: Sequence[Mailbox], now: float, room: int) -> Iterator[Stopped]:
    """Send the mailboxes whose direct way is open, and yield the others: those of one entry, and
    those of several whose wires let them be joined.

    The loop calls nothing per recipient of one entry but the stream's `send`, and enters no `try`
    anew. What many mailboxes hold alike is joined once.

    Args:
        now: The broker's own time.
        room: Bytes that a stream may be given at once, where it is not one entry.
    """
    left = iter(mailboxes)
    shared: list[Outgoing] = []
    chunk: Chunk = b""
    joined: Chunk = b""
    size = 0
    last: Outgoing | None = None
    while True:
        mailbox: Mailbox | None = None
        try:
            for mailbox in left:
                send, entry = mailbox._send, mailbox.front
                mailbox.dirty = False
                if send is None or entry is None:
                    yield mailbox, None, None
                    continue
                if mailbox.several:
                    size, last = mailbox.several, None
                    if size > room or not mailbox.joins:
                        yield mailbox, None, None
                        continue
                    entries = mailbox.entries
                    if entries != shared:
                        shared, joined = entries, b"".join([each.chunk for each in entries])
                    chunk = joined
                    _take_all(mailbox, entries)
                else:
                    if entry is not last:
                        last, chunk, size = entry, entry.chunk, entry.size
                    mailbox.front = None
                    entry.waiting = waiting = entry.waiting - 1
                    if not waiting:
                        mailbox._office.total -= size
                mailbox.last_write = now
                # Behind the books: a host's `send` may publish to the same mailbox.
                sent = send(chunk)
                if sent != size:
                    keep_rest(mailbox, size - sent)
                    yield mailbox, (chunk, sent), None
            return
        except Exception as error:
            assert mailbox is not None
            yield stopped(mailbox, chunk, size, error)


def _take_all(mailbox: Mailbox, entries: list[Outgoing]) -> None:
    """All entries of a mailbox that holds several leave it."""
    office, tail = mailbox._office, mailbox.tail
    for entry in entries:
        entry.waiting -= 1
        if not entry.waiting:
            office.total -= entry.size
    assert tail is not None
    tail.clear()
    mailbox.front, mailbox.several = None, 0


def stopped(mailbox: Mailbox, chunk: Chunk, size: int, error: Exception) -> Stopped:
    """What a `send` that has raised means for its mailbox: nothing was taken, or it has failed."""
    if isinstance(error, (BlockingIOError, InterruptedError)):
        keep_rest(mailbox, size)
        return mailbox, (chunk, 0), None
    mailbox._send = None
    return mailbox, None, error


def keep_rest(mailbox: Mailbox, size: int) -> None:
    """The stream of a mailbox has so many bytes still to write: nothing may overtake them."""
    mailbox.handed += size
    mailbox._send = None

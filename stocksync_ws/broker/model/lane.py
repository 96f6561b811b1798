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

__all__ = ["Lane", "Rest", "Stopped", "send_each"]


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
    joined: Chunk = b""
    while True:
        mailbox: Mailbox | None = None
        try:
            for mailbox in left:
                send, entry = mailbox._send, mailbox.front
                if send is None or entry is None:
                    mailbox.dirty = False
                    yield mailbox, None, None
                    continue
                if several := mailbox.several:
                    if several > room or not mailbox.joins:
                        mailbox.dirty = False
                        yield mailbox, None, None
                        continue
                    entries = mailbox.entries
                    if entries != shared:
                        shared, joined = entries, b"".join([each.chunk for each in entries])
                    sent = send(joined)
                    if sent != several:
                        yield mailbox, _sent_partly(mailbox, joined, sent, now), None
                    else:
                        _sent(mailbox, entries, now)
                    continue
                sent = send(entry.chunk)
                if sent != entry.size:
                    yield mailbox, _sent_partly(mailbox, entry.chunk, sent, now), None
                    continue
                mailbox.front = None
                mailbox.dirty = False
                mailbox.last_write = now
                entry.waiting -= 1
                if not entry.waiting:
                    mailbox._office.total -= sent
            return
        except (BlockingIOError, InterruptedError):
            assert mailbox is not None
            chunk = joined if mailbox.several else mailbox.entries[0].chunk
            yield mailbox, _sent_partly(mailbox, chunk, 0, now), None
        except Exception as error:
            assert mailbox is not None
            _sent_partly(mailbox, b"", mailbox.queued, now)
            yield mailbox, None, error


def _sent(mailbox: Mailbox, entries: list[Outgoing], now: float) -> None:
    """All entries have left the mailbox."""
    office, tail = mailbox._office, mailbox.tail
    for entry in entries:
        entry.waiting -= 1
        if not entry.waiting:
            office.total -= entry.size
    if tail is not None:
        tail.clear()
    mailbox.front, mailbox.several = None, 0
    mailbox.dirty = False
    mailbox.last_write = now


def _sent_partly(mailbox: Mailbox, chunk: Chunk, sent: int, now: float) -> Rest:
    """All entries have left the mailbox, and its stream has the rest still to write."""
    mailbox.handed += mailbox.queued - sent
    mailbox._send = None
    _sent(mailbox, mailbox.entries, now)
    return chunk, sent

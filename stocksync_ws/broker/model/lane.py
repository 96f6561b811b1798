"""The direct way of a mailbox: one entry, sent at once, at the price of a call of `send`.

Rule: the general way out (`take`, `pack`, `write`) costs more than the kernel's `send` of a small
frame. So a mailbox keeps the stream's bare `send` while the plain case holds: nothing is unsent,
and what lies in the mailbox is all there is. Only `Mailbox.open` sets it, `block` clears it, and
`send_each` uses it for mailboxes of one entry. For several entries that it is open is enough to
know: the flusher takes and writes them, and asks for nothing else.

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

    __slots__ = ("_send", "dirty", "front", "last_write", "several")

    def __init__(self, now: float) -> None:
        self._send: Callable[[Chunk], int] | None = None
        """The stream's bare `send`, while the plain case holds."""
        self.dirty = False
        """The mailbox is in the list of those to flush."""
        self.front: Outgoing | None = None
        """The oldest entry; None where nothing waits."""
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


def send_each(mailboxes: Sequence[Mailbox], now: float) -> Iterator[Stopped]:
    """Send the mailboxes of one entry whose direct way is open; yield the others.

    The loop calls nothing per recipient but the stream's `send`, and enters no `try` anew.

    Args:
        now: The broker's own time.
    """
    left = iter(mailboxes)
    while True:
        mailbox: Mailbox | None = None
        entry: Outgoing | None = None
        try:
            for mailbox in left:
                send, entry = mailbox._send, mailbox.front
                if send is None or entry is None or mailbox.several:
                    entry = None
                    mailbox.dirty = False
                    yield mailbox, None, None
                    continue
                sent = send(entry.chunk)
                if sent != entry.size:
                    _sent_partly(mailbox, entry, sent, now)
                    yield mailbox, (entry.chunk, sent), None
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
            assert entry is not None
            _sent_partly(mailbox, entry, 0, now)
            yield mailbox, (entry.chunk, 0), None
        except Exception as error:
            assert mailbox is not None
            assert entry is not None
            _sent_partly(mailbox, entry, entry.size, now)
            yield mailbox, None, error


def _sent_partly(mailbox: Mailbox, entry: Outgoing, sent: int, now: float) -> None:
    """An entry has left the mailbox, and its stream has the rest still to write."""
    mailbox._office.release(entry)
    mailbox._send = mailbox.front = None
    mailbox.dirty = False
    mailbox.last_write = now
    mailbox.handed += entry.size - sent

"""One message above `Limits.send_queue` in a mailbox, until the transport has written it.

Rule: a plain record of a mailbox. While it waits and leaves, its own bytes are not what makes a
session slow; it counts in the bound over all mailboxes until its last receiver has it, once.
"""

from __future__ import annotations

from collections.abc import Sequence

from stocksync_ws.broker.model.post_office import Outgoing

__all__ = ["Large"]


class Large:
    """The one large message that a mailbox has taken."""

    __slots__ = ("end", "entry")

    def __init__(self, entry: Outgoing) -> None:
        self.entry = entry
        self.end: int | None = None
        """Where it ends among the bytes handed to the transport; None while it lies in the
        mailbox.
        """

    def hand_over(self, taken: Sequence[Outgoing], handed: int) -> None:
        """Entries go to the transport. If it is one of them it still counts, until it is written.

        Args:
            handed: Bytes that were handed over before them.
        """
        if self.end is None and self.entry in taken:
            place = taken.index(self.entry) + 1
            self.end = handed + sum(entry.size for entry in taken[:place])
            self.entry.waiting += 1

    def is_written(self, written: int) -> bool:
        """The transport has written it, with everything before it."""
        return self.end is not None and written >= self.end

    def load(self, queued: int, unsent: int) -> int:
        """Bytes besides it: what waits with it, and what waits behind it while it leaves."""
        return queued - self.entry.size + unsent if self.end is None else queued

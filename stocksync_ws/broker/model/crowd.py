"""A crowd: who a publication is for that was the whole of its step, while it lies in no mailbox.

Rule: most publications come alone, and their receivers have nothing else to get in that turn. To
put the entry into each mailbox only to take it out again costs a tenth of a microsecond for each.
So it waits for the end of the turn with the list of its receivers, and is sent to each whose direct
way is open and whose mailbox is empty. Before any other step, where something is noted in its own,
and where mailboxes of an earlier turn wait, it is dealt: from then on it lies in the mailboxes as
if it always had. Whoever looks into a mailbox does so in a step, so nobody sees the difference.
"""

# pyright: reportPrivateUsage=false
# `send` is for a crowd what `send_each` is for mailboxes.
from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING

from stocksync_ws.broker.model.lane import Stopped, keep_rest, stopped
from stocksync_ws.broker.model.post_office import Outgoing, PostOffice

if TYPE_CHECKING:
    from stocksync_ws.broker.model.mailbox import Mailbox

__all__ = ["MOST", "Crowd"]

MOST = 256
"""Receivers of a crowd: as many mailboxes as are flushed in a turn."""


class Crowd:
    """An entry and those who get it.

    Args:
        entry: What they get; it counts as lying in all of their mailboxes.
        mailboxes: Theirs.
        office: Where it counts.
        put: Puts an entry into mailboxes.
    """

    __slots__ = ("_left", "_office", "_others", "_put", "entry")

    def __init__(
        self,
        entry: Outgoing,
        mailboxes: Collection[Mailbox],
        office: PostOffice,
        put: Callable[[Outgoing, Collection[Mailbox]], None],
    ) -> None:
        self.entry = entry
        # A copy: a group that lost a member now would end the sending for all others.
        self._left = iter(list(mailboxes))
        self._others: list[Mailbox] = []
        """The mailboxes that cannot be sent the entry at once."""
        self._office = office
        self._put = put

    def send(self, now: float) -> Iterator[Stopped]:
        """Send the entry to all who can be sent it at once, and yield those whose streams did not
        take it. Where all were sent it, the crowd is over; else `deal` is still to be called.

        What a `send` or the caller does meanwhile may deal the crowd: then the rest is not here.

        Args:
            now: The broker's own time.
        """
        entry, left, others = self.entry, self._left, self._others
        chunk, size = entry.chunk, entry.size
        while True:
            mailbox: Mailbox | None = None
            try:
                for mailbox in left:
                    send = mailbox._send
                    if send is None or mailbox.front is not None:
                        others.append(mailbox)
                        continue
                    mailbox.last_write = now
                    sent = send(chunk)
                    if sent != size:
                        keep_rest(mailbox, size - sent)
                        yield mailbox, (chunk, sent), None
                break
            except Exception as error:
                assert mailbox is not None
                yield stopped(mailbox, chunk, size, error)
        if not others and (outputs := self._office.step.outputs).crowd is self:
            outputs.crowd = None
            entry.waiting = 0
            self._office.total -= size

    def deal(self) -> None:
        """Put the entry into the mailboxes of those who were not sent it, in a step."""
        entry, rest = self.entry, [*self._others, *self._left]
        self._others.clear()
        entry.waiting = len(rest)
        if rest:
            self._put(entry, rest)
        else:
            self._office.total -= entry.size

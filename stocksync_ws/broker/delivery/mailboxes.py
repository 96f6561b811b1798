"""Fan-out: one publication, encoded once per kind of receiver, into the mailboxes of all of them.

Rule: nothing is made per recipient. What a group of receivers gets is one shared entry; appending
it is an append, two numbers and a mark, and never removes anything. What is alone in its step waits
for the turn beside the mailboxes (`model/crowd.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from stocksync_ws.broker.model.crowd import MOST, Crowd
from stocksync_ws.broker.model.destination import Group
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.flush_window import FlushWindow
from stocksync_ws.broker.model.mailbox import Mailbox
from stocksync_ws.broker.model.post_office import Outgoing
from stocksync_ws.broker.model.publication import Publication
from stocksync_ws.stomp.encoder import TailEncoder

__all__ = ["Mailboxes"]


class Mailboxes:
    """The way from a publication to mailboxes."""

    __slots__ = ("_counters", "_office", "_step", "_tails")

    def __init__(self, env: Environment) -> None:
        self._counters = env.counters
        self._office = env.office
        self._step = env.step
        self._tails = TailEncoder()

    def spread(
        self,
        entry: Outgoing,
        mailboxes: Collection[Mailbox],
        window: FlushWindow | None = None,
        alone: bool = False,
    ) -> None:
        """Give a new entry to all its receivers.

        Args:
            window: At whose end their mailboxes are flushed, but for those that are over their
                bound with it; None: now.
            alone: Nothing else is put into a mailbox in this step.
        """
        office, count = self._office, len(mailboxes)
        entry.waiting = count
        # `PostOffice.add`, written out: it would be called for each publication.
        office.total += entry.size
        if office.total > office.most:
            office.step.noted = True
        self._counters.messages_queued += count
        if window is not None:
            window.begin()
            self.put(entry, mailboxes, waits=True)
        elif alone and count <= MOST and entry.size <= office.soft and not office.dirty:
            office.step.outputs.crowd = Crowd(entry, mailboxes, office, self.put)
        else:
            self.put(entry, mailboxes)

    def put(self, entry: Outgoing, mailboxes: Collection[Mailbox], *, waits: bool = False) -> None:
        """Append an entry that is counted to mailboxes.

        Args:
            waits: They are flushed for something else, but for those that are over their bound.
        """
        office = self._office
        dirty, soft, size = office.dirty, office.soft, entry.size
        if waits or size > soft:
            for mailbox in mailboxes:
                over = mailbox.put(entry) > soft
                if over:
                    mailbox.outgrow(entry)
                if over or not waits:
                    mailbox.mark()
            return
        for mailbox in mailboxes:
            front = mailbox.front
            if front is None:
                mailbox.front = entry
            else:
                # `Mailbox.put`, written out.
                tail = mailbox.tail
                if tail is None:
                    tail = mailbox.tail = deque()
                tail.append(entry)
                several = mailbox.several = (mailbox.several or front.size) + size
                if several > soft:
                    mailbox.outgrow(entry)
            if not mailbox.dirty:
                mailbox.dirty = True
                dirty.append(mailbox)

    def entry(
        self,
        publication: Publication,
        group: Group,
        receiver: Mailbox,
        marks: tuple[tuple[str, str], ...] = (),
    ) -> Outgoing:
        """Encode a publication once for a group and wrap it in an unqueued entry.

        Args:
            receiver: The mailbox of any member: all have equal wires.
            marks: Headers of this delivery.
        """
        wire = receiver.wire
        head, tail = group.head(publication, marks), publication.tail(group.version, self._tails)
        chunk = wire.dress(head, tail, publication.text)
        return Outgoing(chunk, wire.size(chunk), self._step.now, 0, publication)

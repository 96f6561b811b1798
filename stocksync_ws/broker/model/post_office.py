"""What lies in mailboxes, and what all mailboxes of a broker share; the bytes of all sessions.

Rule: an entry is made once per publication and kind of receiver, and counts once however many
mailboxes it lies in. What came of a session and is kept for it counts beside, by the difference to
what was counted before, after each look at what it brought.
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum, auto
from typing import TYPE_CHECKING

from stocksync_ws.broker.model.state import State
from stocksync_ws.broker.model.step import Step
from stocksync_ws.config import Limits
from stocksync_ws.stomp.encoder import HEART_BEAT
from stocksync_ws.types import Chunk, Wire

if TYPE_CHECKING:
    from stocksync_ws.broker.model.destination import Group
    from stocksync_ws.broker.model.publication import Publication
    from stocksync_ws.broker.model.queue import Queue
    from stocksync_ws.broker.model.session import SessionRecord

__all__ = ["BURST", "HOLDING", "Outgoing", "PostOffice", "Verdict"]

BURST = 8
"""Within one turn a mailbox may grow to this many times `Limits.send_queue`."""
HOLDING = frozenset((State.AWAITING, State.CONNECTED, State.ENDING))
"""States in which what came of a session is kept."""


class Verdict(Enum):
    """What a look at a waiting mailbox says."""

    FINE = auto()
    WAITING = auto()
    """Something waits; look again at the next deadline."""
    OVER = auto()
    """More waits than may. Whether the transport takes bytes is not known yet: one that never
    finishes a write at once has had no time to say so.
    """
    SLOW = auto()


class Outgoing:
    """An entry of mailboxes: one per publication and kind of receiver, shared by all its
    receivers.
    """

    __slots__ = (
        "again",
        "at",
        "attempt",
        "chunk",
        "group",
        "offset",
        "origin",
        "publication",
        "reader",
        "size",
        "tells",
        "waiting",
    )

    def __init__(
        self,
        chunk: Chunk,
        size: int,
        at: float,
        waiting: int,
        publication: Publication | None = None,
    ) -> None:
        self.chunk = chunk
        self.size = size
        """Bytes on the wire, in the unit of `Wire.size`."""
        self.at = at
        """When it was queued."""
        self.waiting = waiting
        """Mailboxes it still lies in; at 0 its bytes leave the total."""
        self.publication = publication
        """None for receipts, ERROR, replies, beats and the close handshake: never dropped."""
        self.origin: Queue | None = None
        """The queue it goes back to when its session ends before it was written."""
        self.offset = 0
        """The place of its message in the log of its destination; 0: in none."""
        self.group: Group | None = None
        """The group it was made for, where it may be taken away from a slow consumer."""
        self.reader: Group | None = None
        """The group of the one reader it was made for, where it was not published to all."""
        self.attempt = 1
        """Which delivery of its message it is, of those that count."""
        self.again = False
        """Its message was written before."""
        self.tells = 0
        """Lost messages that its `dropped` header announces."""


class PostOffice:
    """What all mailboxes of a broker share: the list of those to flush, the beats, and the bytes of
    all sessions.
    """

    __slots__ = ("_beats", "dirty", "hard", "limits", "most", "received", "soft", "step", "total")

    def __init__(self, limits: Limits, step: Step) -> None:
        self.limits = limits
        self.step = step
        self.soft = limits.send_queue
        """Bytes above which a mailbox is looked at."""
        self.hard = BURST * limits.send_queue
        """Bytes a mailbox may grow to in one turn."""
        self.most = limits.max_total_queued
        """Bytes all sessions may hold together."""
        self.dirty = step.outputs.dirty
        self.total = 0
        """Bytes in all mailboxes, where a shared entry counts once, and those in `received`."""
        self.received = 0
        """Bytes that came of all sessions and wait for us."""
        self._beats: dict[Hashable, Outgoing] = {}

    def add(self, size: int) -> None:
        """Count bytes of an entry that lies in its first mailbox."""
        self.total += size
        if self.total > self.most:
            self.step.noted = True

    def release(self, entry: Outgoing) -> None:
        """Count an entry that left one mailbox."""
        entry.waiting -= 1
        if not entry.waiting:
            self.total -= entry.size

    def weigh(self, session: SessionRecord) -> None:
        """Count what came of a session and is kept: its inbox, the beginning of a frame or message,
        its transactions. What a session that is closing still brings is thrown away.
        """
        inbound, held = session.inbound, 0
        if session.state in HOLDING:
            held = inbound.size + inbound.decoder.kept + session.wire.kept
            opened = session.subscriptions.transactions
            if opened is not None:
                for transaction in opened.values():
                    held += transaction.size
        change = held - inbound.held
        if change:
            inbound.held = held
            self.received += change
            # `add`, written out: many small messages that wait are counted one by one.
            self.total += change
            if self.total > self.most:
                self.step.noted = True

    @property
    def over(self) -> bool:
        """All sessions together hold more than they may."""
        return self.total > self.most

    def beat(self, wire: Wire) -> Outgoing:
        """The heart-beat of a kind of wires: one entry for all sessions of a wire key."""
        entry = self._beats.get(wire.key)
        if entry is None:
            chunk = wire.dress(HEART_BEAT, b"", True)
            # `waiting` starts at 1 and never falls to 0: the entry lives as long as the broker.
            entry = self._beats[wire.key] = Outgoing(chunk, wire.size(chunk), float("inf"), 1)
        return entry

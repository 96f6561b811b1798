"""Mailboxes: what waits for one session, how much of it, and whether the session takes it.

Rule: what happens now is pushed: one shared entry is appended to many mailboxes and nothing is made
per recipient. Nothing is removed while messages are appended: a mailbox that grew past its bound is
only noted, and dealt with at the end of the step. Slowness is judged after a flush was tried, never
at append.

What a delivery by the direct way touches stands in `Lane` (`lane.py`), in front of everything else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from stocksync_ws.broker.model.lane import Lane
from stocksync_ws.broker.model.large import Large
from stocksync_ws.broker.model.post_office import Outgoing, PostOffice, Verdict
from stocksync_ws.types import Chunk, Wire

if TYPE_CHECKING:
    from stocksync_ws.broker.model.destination import Group
    from stocksync_ws.broker.model.session import SessionRecord
    from stocksync_ws.broker.model.subscription import Reader

__all__ = ["RECOVER", "Mailbox", "Verdict"]

RECOVER = 1.0
"""Seconds a session over its bound has to fall below it."""


class Mailbox(Lane):
    """What waits for one session."""

    __slots__ = (
        "_office",
        "calm_since",
        "handed",
        "in_transport",
        "large",
        "over_since",
        "owner",
        "progress_at",
        "receipts",
        "tail",
        "taken",
        "unsent",
        "wire",
    )

    def __init__(self, office: PostOffice, wire: Wire, owner: SessionRecord) -> None:
        super().__init__(office.step.now)
        self._office = office
        self.wire = wire
        self.owner: SessionRecord | None = owner
        """The session it belongs to; None when that has ended."""
        self.tail: deque[Outgoing] | None = None
        """The entries behind the front; None until there is one. It is kept while the direct way
        is open, so that a burst makes none per recipient, and goes with the next `open`.
        """
        self.unsent = 0
        """Bytes the transport was handed and has not written, in the unit of `Wire.size`."""
        self.handed = 0
        """Bytes handed to the transport so far, without those that `send_each` sent at once."""
        self.taken = 0
        """Bytes of those that the transport had written at the last look."""
        self.in_transport: list[tuple[int, str]] | None = None
        """What queues handed to the transport and is not written: where it ends among the bytes
        handed over, and its destination.
        """
        self.receipts: deque[Outgoing] | None = None
        """RECEIPTs that may still be among the entries, oldest first."""
        self.progress_at: float | None = None
        """When the transport last took bytes, while something waits; None when nothing waits."""
        self.over_since: float | None = None
        """Since when more than `Limits.send_queue` waits."""
        self.large: Large | None = None
        """The message above `Limits.send_queue` that lies here, or is leaving."""
        self.calm_since = float("-inf")
        """When the last one had left: what waited behind it has its age from then on."""

    # In

    def append(self, entry: Outgoing) -> None:
        """Put an entry into this mailbox; one that lies in none yet begins to count."""
        office = self._office
        if not entry.waiting:
            # `PostOffice.add`, written out: it would be called for each receiver.
            office.total += entry.size
            if office.total > office.most:
                office.step.noted = True
        entry.waiting += 1
        if self.put(entry) > office.soft:
            self.outgrow(entry)
        self.mark()

    def put(self, entry: Outgoing) -> int:
        """Put an entry behind all others, without any reason to flush; bytes of all."""
        front, tail = self.front, self.tail
        if front is None:
            self.front = entry
            return entry.size
        if tail is None:
            tail = self.tail = deque()
        tail.append(entry)
        self.several = queued = (self.several or front.size) + entry.size
        return queued

    def outgrow(self, entry: Outgoing) -> None:
        """Look at a mailbox that is over its bound with this entry. One that was within it takes
        one larger message, and that one's size is nobody's fault.
        """
        office = self._office
        before = self.queued + self.unsent - entry.size
        if self.large is None and entry.size > office.soft and before <= office.soft:
            self.large = Large(entry)
            self.block()  # only the general way says where it is
        elif self.load > office.hard:
            office.step.close_overfull(self)

    def frame(self, frame: bytes) -> Outgoing:
        """Append one frame of the server's own (CONNECTED, RECEIPT, ERROR); its entry."""
        return self.chunk(self.wire.dress(frame, b"", True))

    def chunk(self, chunk: Chunk) -> Outgoing:
        """Append what is no STOMP frame, a PING or the close handshake; its entry."""
        entry = Outgoing(chunk, self.wire.size(chunk), self._office.step.now, 0)
        self.append(entry)
        return entry

    def beat(self) -> None:
        """Append a heart-beat."""
        self.append(self._office.beat(self.wire))

    def mark(self) -> None:
        """Put the mailbox into the list of those to flush."""
        if not self.dirty:
            self.dirty = True
            self._office.dirty.append(self)

    def hurry(self) -> None:
        """What waits in here for a `flush_delay` leaves with the next flush."""
        if self.front is not None:
            self.mark()

    # Out

    def block(self) -> None:
        """Close the direct way: what comes next goes the general way."""
        self._send = None

    def open(self, send: Callable[[Chunk], int] | None, *, joins: bool = False) -> None:
        """Open the direct way: the stream has nothing unsent, and the entries are all there is.

        Args:
            joins: See `Wire.joins`.
        """
        self._send, self.joins = send, joins
        self.tail = self.tail or None

    @property
    def empty(self) -> bool:
        """Nothing waits for the transport."""
        return self.front is None

    @property
    def entries(self) -> list[Outgoing]:
        """What waits for the transport, oldest first: a new list."""
        front = self.front
        if front is None:
            return []
        tail = self.tail
        return [front, *tail] if tail else [front]

    @property
    def queued(self) -> int:
        """Bytes of the entries."""
        front = self.front
        return self.several or (0 if front is None else front.size)

    @property
    def load(self) -> int:
        """Bytes that count against `Limits.send_queue`: what waits, without a large message."""
        large = self.large
        return self.queued + self.unsent if large is None else large.load(self.queued, self.unsent)

    @property
    def is_open(self) -> bool:
        """The direct way is open."""
        return self._send is not None

    def take(self, room: int, now: float) -> list[Outgoing]:
        """At most `room` bytes, but at least one entry when there is one.

        Args:
            now: The broker's own time: the transport is written to.
        """
        front, tail = self.front, self.tail
        if front is None:
            return []
        taken, size = [front], front.size
        if not tail:
            self.front = None
        elif self.several <= room:
            taken += tail
            size = self.several
            tail.clear()
            self.front, self.several = None, 0
        else:
            while size + tail[0].size <= room:  # not all of it fits
                entry = tail.popleft()
                taken.append(entry)
                size += entry.size
            self.front = tail.popleft()
            self.several = self.several - size if tail else 0
        office = self._office
        if self.large is not None:
            self.large.hand_over(taken, self.handed)
        for entry in taken:
            entry.waiting -= 1
            if not entry.waiting:
                office.total -= entry.size
        self.last_write = now
        self.handed += size
        return taken

    def drop(self, *, keep_own: bool = False) -> list[Outgoing]:
        """Empty the mailbox; with `keep_own` only of messages. What was dropped."""
        dropped = [each for each in self.entries if not keep_own or each.publication is not None]
        kept = [each for each in self.entries if keep_own and each.publication is None]
        for entry in dropped:
            self._office.release(entry)
        self._keep(kept)
        self._end_large()
        return dropped

    def _keep(self, kept: list[Outgoing]) -> None:
        self.front, behind = (kept[0], kept[1:]) if kept else (None, [])
        self.tail = deque(behind) or None
        self.several = sum(entry.size for entry in kept) if behind else 0
        if self.large is not None and self.large.end is None and self.large.entry not in kept:
            self.large = None

    # One subscription's

    def first(self, group: Group) -> Outgoing | None:
        """The first entry that was published to a group."""
        for entry in self.entries:
            if entry.group is group:
                return entry
        return None

    def replace(self, old: Outgoing, new: Outgoing) -> None:
        """Put another entry in the place of one."""
        if self.large is not None and self.large.entry is old:
            self.large.entry = new
        self._keep([new if each is old else each for each in self.entries])
        self._office.release(old)
        new.waiting = 1
        self._office.add(new.size)

    def of_group(self, group: Group) -> list[Outgoing]:
        """The messages for one group."""
        return [
            entry
            for entry in self.entries
            if entry.publication is not None and group in (entry.group, entry.reader)
        ]

    def take_back(self, reader: Reader) -> list[Outgoing]:
        """Take everything of one subscription out; what was to be told is to be told again."""
        ghosts = {id(entry) for entry in reader.ghosts}
        taken = [each for each in self.of_group(reader.group) if id(each) not in ghosts]
        if taken:
            gone = {id(entry) for entry in taken}
            self._keep([entry for entry in self.entries if id(entry) not in gone])
        for entry in taken:
            reader.dropped += entry.tells
            self._office.release(entry)
        return taken

    def shed(self) -> dict[Reader, int]:
        """Take the oldest messages away where the policy of their destination says so, until half
        of the bound is free, so that it is not done again for every message. How many of which
        subscription.
        """
        lost: dict[Reader, int] = {}
        kept: list[Outgoing] = []
        load, most = self.load, self._office.limits.send_queue // 2
        readers = self._readers_behind()
        for entry in self.entries:
            over = load > most and (self.large is None or entry is not self.large.entry)
            group = entry.group if over else None
            reader = None if group is None else group.members.get(self) or readers.get(group)
            if reader is None or not reader.topic.drops:
                kept.append(entry)
                continue
            lost[reader] = lost.get(reader, 0) + 1
            reader.dropped += entry.tells
            load -= entry.size
            self._office.release(entry)
        self._keep(kept)
        return lost

    def _readers_behind(self) -> dict[Group, Reader]:
        """Those that fell behind at a message that their wire could not carry: what was pushed to
        them before may still lie here.
        """
        behind = () if self.owner is None else self.owner.subscriptions.behind or ()
        return {reader.group: reader for reader in behind if reader.group.text_only}

    # Slowness

    def judge(self, unsent: int, *, closing: bool) -> Verdict:
        """After a flush was tried: does the session take what it is sent?

        Args:
            unsent: What is left in the transport.
            closing: Only the close handshake waits to be written: its own deadline judges.
        """
        limits, now = self._office.limits, self._office.step.now
        self.unsent = unsent
        waiting = self.queued + unsent
        if not waiting:
            self.written()
            return Verdict.FINE
        written = self.handed - unsent
        progress = written > self.taken
        self.taken = written
        if self.progress_at is None or progress:
            self.progress_at = now
        if closing:
            return Verdict.WAITING
        if self.large is not None and not self.large.is_written(written):
            self.over_since = None
            stalled = now - self.progress_at >= limits.send_stall_seconds
            return Verdict.SLOW if stalled else Verdict.WAITING
        self._end_large()
        if waiting <= limits.send_queue:
            self.over_since = None
        elif self.over_since is None:
            self.over_since = now
            if not progress:
                return Verdict.OVER
        elif now - self.over_since >= RECOVER:
            return Verdict.SLOW
        if now - self.progress_at >= limits.send_stall_seconds:
            return Verdict.SLOW
        front = self.front
        if front and now - max(front.at, self.calm_since) >= limits.send_queue_seconds:
            return Verdict.SLOW
        return Verdict.WAITING

    def _end_large(self) -> None:
        """The large message is written, or gone with its transport."""
        large, self.large = self.large, None
        if large is not None and large.end is not None:
            self._office.release(large.entry)
            self.calm_since = self._office.step.now

    def wrote(self, now: float) -> None:
        """Something was written, or counts as written: the next heart-beat is due later."""
        self.last_write = now

    def forgive(self) -> None:
        """The mailbox is within its bound again."""
        self.over_since = None

    def lose_transport(self) -> None:
        """The transport is gone, with what it held."""
        self.unsent = 0

    def end(self) -> None:
        """The session has ended; nobody owns the mailbox any more."""
        self.owner = None
        self._send = None
        self._end_large()

    def owe(self, receipt: Outgoing) -> None:
        """A RECEIPT was queued that counts until it has left."""
        owed = self.receipts = deque() if self.receipts is None else self.receipts
        while owed and not owed[0].waiting:
            owed.popleft()
        owed.append(receipt)

    def written(self) -> None:
        """The transport has written everything, and nothing waits."""
        self.unsent = 0
        if self.large is not None:
            self._end_large()
        self.progress_at = self.over_since = None
        self.taken = self.handed

    def judge_at(self) -> float | None:
        """When `judge` has to be asked again although nothing happens; None when nothing waits."""
        if self.progress_at is None:
            return None
        limits = self._office.limits
        at = self.progress_at + limits.send_stall_seconds
        if self.large is not None:
            return at
        if self.front is not None:
            at = min(at, max(self.front.at, self.calm_since) + limits.send_queue_seconds)
        if self.over_since is not None:
            at = min(at, self.over_since + RECOVER)
        return at

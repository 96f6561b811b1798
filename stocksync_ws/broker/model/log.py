"""A log: the publications of one destination by offset, bounded in count, bytes and age.

Rule: this is the only store. History, queues, durable names, full windows and newest values are
policies of it: who reads keeps an offset, never a copy. Offsets rise by one with every append and
are never used again; what leaves early (settled, superseded) leaves a hole, what is trimmed raises
`lost`. Reading is O(log n), everything else O(1) amortised.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from stocksync_ws.broker.model.publication import Publication
from stocksync_ws.position import Position, generation_end

__all__ = ["ByteCounter", "Log"]

HOLES = 64
"""Holes that are kept before the lists are rewritten, besides as many as there are entries."""


_FIRST = ((0, 0),)


class ByteCounter:
    """Bytes of several logs together, which may be a part of a larger sum."""

    __slots__ = ("_whole", "size")

    def __init__(self, whole: ByteCounter | None = None) -> None:
        self._whole = whole
        self.size = 0

    @property
    def whole(self) -> int:
        """The larger sum, where this is a part of one."""
        return self.size if self._whole is None else self._whole.size

    def add(self, change: int) -> None:
        """Bytes came, or went."""
        self.size += change
        if self._whole is not None:
            self._whole.size += change


class Log:
    """The publications of one destination.

    Attributes:
        top: The offset of the newest publication ever appended; 0 before the first.
        lost: The highest offset that was trimmed; who wants more than that from the past is told.
        size: Bytes of the publications in it, and `len()` their number.
    """

    __slots__ = (
        "_count",
        "_expiring",
        "_items",
        "_offsets",
        "_start",
        "_tally",
        "begins",
        "epoch",
        "lost",
        "since",
        "size",
        "top",
    )

    def __init__(self, tally: ByteCounter, epoch: str | None = None) -> None:
        self._tally = tally
        self.epoch = epoch
        """The epoch of its positions and message ids; None where there is no history."""
        self.begins: tuple[tuple[int, int], ...] = ()
        """The generations of a history that several workers share, in their order: number, and the
        offset behind which it began. Empty inside one process.
        """
        self.since = 0
        """Messages up to this offset were never here: the history began somewhere else."""
        self._offsets: list[int] = []
        self._items: list[Publication | None] = []
        self._start = 0
        self._count = 0
        self._expiring: list[tuple[float, int]] = []
        """A heap of those with an end of life: (when, offset); what has left stays for a while."""
        self.top = 0
        self.lost = 0
        self.size = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[int, Publication]]:
        """All entries, oldest first. Do not change the log meanwhile."""
        for at in range(self._start, len(self._items)):
            item = self._items[at]
            if item is not None:
                yield self._offsets[at], item

    @property
    def stored(self) -> int:
        """Bytes of all logs together."""
        return self._tally.whole

    def adopt(self, epoch: str, begins: tuple[tuple[int, int], ...], start: int) -> None:
        """Take over a history that several workers share; what was here counts no more.

        Args:
            epoch: Its epoch.
            begins: Its generations.
            start: Messages up to this offset do not come here.
        """
        self.forget(self.top + 1)
        self.epoch = epoch
        self.begins = begins
        self.top = self.since = start
        self.lost = 0

    def message_id(self, offset: int) -> str:
        """The message-id of an offset: its position as text."""
        if not self.begins:
            return f"{self.epoch}-{offset}"
        written = [number for number, begin in self.begins if begin < offset]
        generation = written[-1] if written else self.begins[0][0]
        return str(Position(self.epoch or "", generation, offset))

    def knows(self, position: Position) -> bool:
        """A position is one of this log's, whatever is left of it."""
        if position.epoch != self.epoch:
            return False
        end = generation_end(self.begins or _FIRST, position.generation, self.top)
        return end is not None and 0 <= position.offset <= end

    def covers(self, position: Position) -> bool:
        """Everything that came behind a position is still here, or has left for good reason."""
        return self.knows(position) and position.offset >= max(self.lost, self.since)

    def skip(self, offset: int | None = None) -> int:
        """Count a publication that nobody will read here; its offset.

        Args:
            offset: The one that somebody else has given it, above `top`; None: the next one.
        """
        self.top = self.top + 1 if offset is None else offset
        return self.top

    def append(self, publication: Publication, offset: int | None = None) -> int:
        """Keep a publication; its offset.

        Args:
            offset: The one that somebody else has given it, above `top`; None: the next one.
        """
        self.top = self.top + 1 if offset is None else offset
        self._offsets.append(self.top)
        self._items.append(publication)
        self._count += 1
        self._weigh(publication, publication.size)
        if publication.expires_at is not None:
            self._watch(self.top, publication.expires_at)
        return self.top

    def read(self, offset: int) -> tuple[int, Publication] | None:
        """The first entry at this offset or behind it, or None."""
        at = self._find(offset)
        while at < len(self._items):
            item = self._items[at]
            if item is not None:
                return self._offsets[at], item
            at += 1
        return None

    def take(self, offset: int) -> Publication | None:
        """Take an entry out; a hole stays. None when it is not there any more."""
        at = self._find(offset)
        if at >= len(self._items) or self._offsets[at] != offset:
            return None
        item = self._items[at]
        if item is not None:
            self._items[at] = None
            self._count -= 1
            self._weigh(item, -item.size)
            self._advance()
            self._tidy()
        return item

    def put_back(self, offset: int, publication: Publication) -> None:
        """Put an entry that was taken back into its old place."""
        at = self._find(offset)
        if at < len(self._offsets) and self._offsets[at] == offset:
            self._items[at] = publication
        elif at == self._start and at > 0:
            self._start -= 1
            self._offsets[at - 1] = offset
            self._items[at - 1] = publication
        else:
            self._offsets.insert(at, offset)
            self._items.insert(at, publication)
        self._count += 1
        self._weigh(publication, publication.size)
        if publication.expires_at is not None:
            self._watch(offset, publication.expires_at)

    def trim(self) -> Publication | None:
        """Drop the oldest entry and remember that it is lost; None when the log is empty."""
        while self._start < len(self._items):
            item = self._items[self._start]
            offset = self._offsets[self._start]
            self._items[self._start] = None
            self._start += 1
            if item is not None:
                self._count -= 1
                self._weigh(item, -item.size)
                self.lost = max(self.lost, offset)
                self._advance()
                self._tidy()
                return item
        self._tidy()
        return None

    def forget(self, offset: int) -> None:
        """Drop everything below an offset: all that will be read from there on has been read."""
        while self._start < len(self._items) and self._offsets[self._start] < offset:
            item = self._items[self._start]
            self._items[self._start] = None
            self._start += 1
            if item is not None:
                self._count -= 1
                self._weigh(item, -item.size)
        self._tidy()

    def oldest(self) -> tuple[int, Publication] | None:
        """The oldest entry, with its offset."""
        return self.read(0)

    def count_from(self, offset: int) -> int:
        """Entries at this offset or behind it."""
        at = self._find(offset)
        return sum(item is not None for item in self._items[at:])

    def newest(self, count: int, since: float) -> int:
        """The offset of the oldest of the newest entries: at most so many, and none that came at
        `since` or before; what comes next, where there is none.
        """
        start = self.top + 1
        for at in range(len(self._items) - 1, self._start - 1, -1):
            item = self._items[at]
            if item is None:
                continue
            if count <= 0 or item.at <= since:
                break
            start, count = self._offsets[at], count - 1
        return start

    def next_expiry(self) -> float | None:
        """When the next entry is dead, in the broker's own time; None when none will be."""
        expiring = self._expiring
        while expiring and not self.holds(expiring[0][1]):
            heappop(expiring)
        return expiring[0][0] if expiring else None

    def take_expired(self, now: float) -> list[tuple[int, Publication]]:
        """Take out everything that is dead now."""
        dead: list[tuple[int, Publication]] = []
        while self._expiring and self._expiring[0][0] < now:
            _, offset = heappop(self._expiring)
            publication = self.take(offset)
            if publication is not None:
                dead.append((offset, publication))
        return dead

    def _watch(self, offset: int, expires_at: float) -> None:
        if len(self._expiring) > 2 * self._count + HOLES:
            self._expiring = [
                (item.expires_at, at) for at, item in self if item.expires_at is not None
            ]
            heapify(self._expiring)
        else:
            heappush(self._expiring, (expires_at, offset))

    def holds(self, offset: int) -> bool:
        """Whether this entry is in it."""
        at = self._find(offset)
        return (
            at < len(self._offsets) and self._offsets[at] == offset and self._items[at] is not None
        )

    def _weigh(self, publication: Publication, change: int) -> None:
        self.size += change
        self._tally.add(change)
        if publication.owner is not None:
            publication.owner.store(change)

    def _find(self, offset: int) -> int:
        return bisect_left(self._offsets, offset, self._start)

    def _advance(self) -> None:
        """Nothing is read twice that is only a hole at the beginning."""
        while self._start < len(self._items) and self._items[self._start] is None:
            self._start += 1

    def _tidy(self) -> None:
        """Rewrite the lists when most of them is holes."""
        if len(self._items) - self._count <= self._count + HOLES:
            return
        kept = [
            (offset, item)
            for offset, item in zip(
                self._offsets[self._start :], self._items[self._start :], strict=True
            )
            if item is not None
        ]
        self._offsets = [offset for offset, _ in kept]
        self._items = [item for _, item in kept]
        self._start = 0

"""Commands of a worker as the bytes that Redis reads, and its answers as events.

Rule: pure. An append is most of what is sent: what stays the same for a channel is packed once, and
nothing is packed by the general client, which takes longer than everything else together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from hashlib import sha256
from zlib import crc32

from stocksync_ws.backplane import (
    Append,
    Appended,
    AppendOutcome,
    History,
    Item,
    Keep,
    Pushed,
    Read,
)
from stocksync_ws.broker.model.channels import FOR_EVER
from stocksync_ws.position import Position
from stocksync_ws.redis.scripts import REIGN

__all__ = [
    "PARTITIONS",
    "Names",
    "Packer",
    "appended",
    "command",
    "history",
    "pushed",
    "reign",
]

PARTITIONS = 64
KNOWN_FOR = 600
"""Seconds that Redis knows what a worker has done last in a channel."""
KEY_FOR = 300
"""Seconds that it knows an idempotency key."""
EMPTY = 600
"""Seconds that it knows one to which nobody has written, since somebody has followed it."""
LIFE = 86_400
"""Seconds that it knows a channel at least, since somebody has written to it or followed it."""
PAGE = 200
"""Messages of an answer to a read at most."""
PAGE_BYTES = 1024 * 1024
"""Bytes of them; the last one may go beyond."""
MOST_HEADS = 10_000
"""Channels whose part of a command is kept."""

_OUTCOMES = {each.value.encode(): each for each in AppendOutcome}


class Names:
    """The names of what is in Redis. All that a channel has is in one slot of a cluster.

    Args:
        prefix: What they begin with.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def partition(self, channel: str) -> int:
        """The group of channels that are in one slot."""
        return crc32(channel.encode()) % PARTITIONS

    def tag(self, partition: int) -> str:
        """The part of a name that decides about the slot."""
        return f"{{p{partition}}}"

    def facts(self, channel: str) -> str:
        """The hash of the facts of a channel."""
        return self._of(channel, "f")

    def stream(self, channel: str) -> str:
        """The stream of its messages."""
        return self._of(channel, "s")

    def slots(self, channel: str) -> str:
        """The hash of what stands in which slot."""
        return self._of(channel, "v")

    def done(self, channel: str, worker: str) -> str:
        """The list of what a worker has done there."""
        return self._of(f"{worker}:{channel}", "d", channel)

    def key(self, channel: str, key: str) -> str:
        """The hash of an idempotency key of that channel."""
        return self._of(f"{len(channel)}:{channel}:{key}", "k", channel)

    def pushes(self, channel: str) -> str:
        """The channel of Redis by which its messages are pushed."""
        return self._of(channel, "c")

    def probe(self, worker: str, partition: int) -> str:
        """The channel of Redis by which a worker hears itself."""
        return f"{self.prefix}:{self.tag(partition)}:probe:{worker}"

    def mark(self, worker: str, partition: int) -> str:
        """A key by which a worker finds out whether Redis takes what it writes."""
        return f"{self.prefix}:{self.tag(partition)}:mark:{worker}"

    def reign(self, partition: int) -> str:
        """The hash that says which process of Redis reigns where it is."""
        return f"{self.prefix}:{self.tag(partition)}:reign"

    def shared(self, what: str) -> str:
        """A key of all workers."""
        return f"{self.prefix}:{self.tag(0)}:{what}"

    def _of(self, name: str, kind: str, channel: str = "") -> str:
        return f"{self.prefix}:{self.tag(self.partition(channel or name))}:{kind}:{name}"


def reign(names: Names, partitions: Collection[int], worker: str, *words: str) -> bytes:
    """A command that asks which reign it is, by writing something.

    Args:
        names: The names in Redis.
        partitions: Those that a process has.
        worker: Who asks.
        words: The process, and a fresh text.
    """
    first = min(partitions, default=0)
    return command("EVAL", REIGN, 2, names.reign(first), names.mark(worker, first), *words)


def command(*words: str | bytes | int) -> bytes:
    """Any command, packed."""
    return b"*%d\r\n%b" % (len(words), _words(*words))


def _words(*words: str | bytes | int) -> bytes:
    parts: list[bytes] = []
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


class Packer:
    """The commands of one worker over one connection, as bytes. Each append is packed once: its
    number makes fresh what the script begins.

    Args:
        names: The names in Redis.
        worker: The name of the worker.
        run: The run of Redis that is connected; empty: it is not to be trusted.
        scripts: The digests of the scripts that append and read; empty for what is not done.
        publishes: `PUBLISH`, or `SPUBLISH` in a cluster.
        token: An unguessable text of so many random bits.
    """

    def __init__(
        self,
        names: Names,
        worker: str,
        run: str,
        scripts: tuple[str, str],
        publishes: str,
        token: Callable[[int], str],
    ) -> None:
        self._names = names
        self._worker = worker
        self._run = run
        self._append, self._reading = scripts
        self._fixed = _words(run, publishes, KNOWN_FOR, KEY_FOR, *_fresh(token))
        self._fresh_of_reads = _fresh(token)
        self._reads = 0
        self._heads: dict[str, bytes] = {}
        self._ones: dict[tuple[str, int, float], tuple[bytes, bytes]] = {}
        self._places: dict[tuple[str, int], bytes] = {}
        self._kept: dict[tuple[str, int, float], bytes] = {}

    def append(self, append: Append) -> bytes:
        """An append as a command."""
        items, key, digest = append.items, append.key, append.digest
        count = len(items)
        if count == 1 and not key:
            return self._append_one(append.number, append.oldest, items[0])
        keys = b"".join([self._head(item.channel) for item in items])
        if key:
            keys += _words(self._names.key(items[0].channel, key))
            digest = "=" + digest
        begin = b"*%d\r\n$7\r\nEVALSHA\r\n$40\r\n%b\r\n" % (
            12 + 13 * count + bool(key),
            self._append.encode(),
        )
        parts = [begin, _words(4 * count + bool(key)), keys, self._fixed]
        parts.append(_words(append.number, append.oldest, digest))
        for item in items:
            keep = item.keep
            parts.append(self._keep(item.channel, keep))
            slot = "" if keep.slot is None else "=" + keep.slot
            parts.append(_words(slot, *_seen(item.seen), item.payload))
        return b"".join(parts)

    def _append_one(self, number: int, oldest: int, item: Item) -> bytes:
        """The same, for what nearly all of them are: one message, without a key."""
        channel, payload, keep, seen = item.channel, item.payload, item.keep, item.seen
        head = self._ones.get((channel, keep.messages, keep.seconds))
        if head is None:
            begin = b"*25\r\n" + _words("EVALSHA", self._append, 4)
            kept = _words("") + self._keep(channel, keep)
            head = begin + self._head(channel) + self._fixed, kept
            if len(self._ones) >= MOST_HEADS:
                self._ones.clear()
            self._ones[channel, keep.messages, keep.seconds] = head
        begin, kept = head
        slot = b"$0\r\n\r\n" if keep.slot is None else _words("=" + keep.slot)
        place, offset = self._place(seen), b"0" if seen is None else b"%d" % seen.offset
        one, other = b"%d" % number, b"%d" % oldest
        return (b"%b$%d\r\n%b\r\n$%d\r\n%b\r\n%b%b%b$%d\r\n%b\r\n$%d\r\n%b\r\n") % (
            *(begin, len(one), one, len(other), other, kept, slot, place),
            *(len(offset), offset, len(payload), payload),
        )

    def read(self, read: Read, *, anew: bool = False) -> bytes:
        """A read as a command.

        Args:
            read: The read.
            anew: The channel begins anew, whatever it holds.
        """
        channel, names = read.channel, self._names
        start = "" if read.start is None else read.start
        keys = names.facts(channel), names.stream(channel), names.slots(channel)
        bounds = start, PAGE, PAGE_BYTES, int(anew), EMPTY
        self._reads += 1
        fresh = self._run, *self._fresh_of_reads, self._reads, LIFE
        return command("EVALSHA", self._reading, 3, *keys, *fresh, *_seen(read.seen), *bounds)

    def _place(self, seen: Position | None) -> bytes:
        """Words for the epoch and the generation of what was seen: few are seen at a time."""
        if seen is None:
            return _words("", 0)
        named = seen[:2]
        place = self._places.get(named)
        if place is None:
            if len(self._places) >= MOST_HEADS:
                self._places.clear()
            place = self._places[named] = _words(*named)
        return place

    def _head(self, channel: str) -> bytes:
        head = self._heads.get(channel)
        if head is None:
            names = self._names
            keys = names.facts(channel), names.stream(channel), names.slots(channel)
            if len(self._heads) >= MOST_HEADS:
                self._heads.clear()
            head = self._heads[channel] = _words(*keys, names.done(channel, self._worker))
        return head

    def _keep(self, channel: str, keep: Keep) -> bytes:
        found = self._kept.get((channel, keep.messages, keep.seconds))
        if found is None:
            seconds, life = "", ""
            if keep.seconds < FOR_EVER:
                seconds = str(math.ceil(keep.seconds))
                life = str(max(LIFE, 2 * math.ceil(keep.seconds)))
            if len(self._kept) >= MOST_HEADS:
                self._kept.clear()
            found = _words(self._names.pushes(channel), keep.messages, seconds, life)
            self._kept[channel, keep.messages, keep.seconds] = found
        return found


def _fresh(token: Callable[[int], str]) -> tuple[str, int]:
    """The beginning of epochs, and a number below all generations, of one connection alone."""
    digest = sha256(token(128).encode()).digest()
    return token(72), int.from_bytes(digest[:8], "big") >> 12


def _seen(seen: Position | None) -> tuple[str, int, int]:
    return ("", 0, 0) if seen is None else (seen.epoch, seen.generation, seen.offset)


def appended(number: int, answer: bytes, *, ours: int) -> tuple[Appended, bool]:
    """The answer to an append; and whether generations begin so often that they say nothing.

    Args:
        number: Of the append.
        answer: What the script has returned.
        ours: How often it was pushed to this worker itself.
    """
    outcome, reached, unsteady, *places = answer.split(b" ")
    positions: tuple[Position, ...]
    if len(places) == 3:
        positions = (_position(*places),)
    else:
        starts = range(0, len(places), 3)
        positions = tuple([_position(*places[at : at + 3]) for at in starts])
    workers = int(reached) - ours
    event = Appended(number, _OUTCOMES[outcome], positions, workers if workers > 0 else 0)
    return event, unsteady == b"1"


def _position(epoch: bytes, generation: bytes, offset: bytes) -> Position:
    return Position(epoch.decode(), int(generation), int(offset))


def history(read: Read, answer: Sequence[bytes]) -> tuple[History, bool]:
    """The answer to a read; and whether generations begin so often that they say nothing."""
    name, generation, top, lost, complete, unsteady, *begins = answer[0].split(b" ")
    epoch = name.decode()
    entries: list[tuple[Position, bytes]] = []
    for place, payload in zip(answer[1::2], answer[2::2], strict=True):
        offset, of = place.split(b" ")
        entries.append((Position(epoch, int(of), int(offset)), payload))
    event = History(
        read.channel,
        read.turn,
        Position(epoch, int(generation), int(top)),
        int(lost),
        tuple(_begin(each) for each in begins),
        tuple(entries),
        int(complete),
    )
    return event, unsteady == b"1"


def _begin(text: bytes) -> tuple[int, int]:
    generation, _, offset = text.partition(b":")
    return int(generation), int(offset)


def pushed(channel: str, data: bytes) -> Pushed:
    """A message that is pushed."""
    place, generation, epoch, payload = data.split(b" ", 3)
    offset = int(place)
    return Pushed(channel, offset - 1, Position(epoch.decode(), int(generation), offset), payload)

"""The engine in memory: several Worlds in one process publish as several workers would.

    backplane = MemoryBackplane()
    with World(shop(backplane)) as one, World(shop(backplane)) as two:
        browser = two.connect()
        browser.subscribe("/topic/inventory")
        one.app.template.convert_and_send("/topic/inventory", {"quantity": 7})
        one.settle()
        assert browser.message().body == b'{"quantity":7}'

Rule: naive and exact. It keeps the contract of `stocksync_ws.backplane.Backplane` by plain lists,
and fails when it is told to: a worker can be cut off, an answer lost, the engine can come back with
what it had, with less, or with nothing.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from weakref import WeakKeyDictionary
from zlib import crc32

from stocksync_ws.backplane import (
    Append,
    Appended,
    AppendOutcome,
    BackplaneCommand,
    BackplaneEvent,
    BackplaneSettings,
    Connected,
    History,
    Item,
    Lost,
    Pushed,
    Read,
    Subscribe,
    Subscribed,
)
from stocksync_ws.position import Position, generation_end

__all__ = ["MemoryBackplane", "MemoryEngine", "MemoryLink"]

PARTITIONS = 64


class _Channel:
    """One log."""

    def __init__(self, epoch: str, run: int) -> None:
        self.epoch = epoch
        self.run = run
        self.generation = 0
        self.begins = [(0, 0)]
        self.top = 0
        self.lost = 0
        self.entries: dict[int, tuple[Position, bytes, str | None, float]] = {}

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.generation, self.top)


class MemoryEngine:
    """The state of an engine, and what a command does to it."""

    def __init__(self, page: int = 2_000) -> None:
        self.page = page
        """Entries of one answer to a read."""
        self.refuses = ""
        """Why appends are refused; empty: they are not."""
        self._runs = count()
        self._epochs = count(1)
        self._run = next(self._runs)
        self._channels: dict[str, _Channel] = {}
        self._producers: dict[tuple[str, str], dict[int, tuple[Position, ...]]] = {}
        """Appends that were done, by worker and channel: the last one, and what may come again."""
        self._results: dict[tuple[str, str], tuple[str, tuple[Position, ...]]] = {}
        """Appends with a key, by the first channel and that."""

    def snapshot(self) -> object:
        """What would be on its disk."""
        return copy.deepcopy((self._channels, self._producers, self._results))

    def restart(self, snapshot: object = None) -> None:
        """Come back as another run, with what was on the disk; None: with nothing."""
        self._run = next(self._runs)
        self._channels, self._producers, self._results = {}, {}, {}
        if snapshot is not None:
            found = copy.deepcopy(snapshot)
            assert isinstance(found, tuple)
            self._channels, self._producers, self._results = found

    def trim(self, channel: str, keep: int) -> None:
        """Let the oldest messages of a channel age."""
        found = self._channels.get(channel)
        if found is not None:
            self._trim(found, keep)

    def append(self, worker: str, append: Append, at: float) -> tuple[Appended, list[Pushed]]:
        """Do an append; what it is answered, and what is pushed."""
        number, items, key, digest = append.number, append.items, append.key, append.digest
        done = [self._producers.get((worker, item.channel), {}) for item in items]
        if number <= max([max(each, default=0) for each in done]):
            answers = [each[number] for each in done if number in each]
            return Appended(number, AppendOutcome.REPEATED, next(iter(answers), ())), []
        named = items[0].channel, key
        if key and named in self._results:
            known, positions = self._results[named]
            same = known == digest
            outcome = AppendOutcome.DUPLICATE if same else AppendOutcome.MISMATCH
            return Appended(number, outcome, positions if same else ()), []
        if self.refuses:
            return Appended(number, AppendOutcome.REFUSED, problem=self.refuses), []
        pushes = [self._put(item, at) for item in items]
        positions = tuple(push.position for push in pushes)
        for item in items:
            before = self._producers.get((worker, item.channel), {})
            kept = {each: answer for each, answer in before.items() if each >= append.oldest}
            self._producers[worker, item.channel] = kept | {number: positions}
        if key:
            self._results[named] = digest, positions
        return Appended(number, AppendOutcome.ACCEPTED, positions), pushes

    def _put(self, item: Item, at: float) -> Pushed:
        channel = self._find(item.channel, item.seen)
        after = channel.top
        channel.top += 1
        keep = item.keep
        if keep.slot is not None:
            for offset, (_, _, slot, _) in list(channel.entries.items()):
                if slot == keep.slot:
                    del channel.entries[offset]
        channel.entries[channel.top] = channel.position, item.payload, keep.slot, at
        self._trim(channel, keep.messages)
        for offset, (*_, then) in list(channel.entries.items()):
            if then < at - keep.seconds:
                del channel.entries[offset]
                channel.lost = max(channel.lost, offset)
        return Pushed(item.channel, after, channel.position, item.payload)

    def _trim(self, channel: _Channel, keep: int) -> None:
        while len(channel.entries) > keep:
            oldest = next(iter(channel.entries))
            del channel.entries[oldest]
            channel.lost = max(channel.lost, oldest)

    def read(self, read: Read) -> History:
        """Answer a read."""
        name, turn, start, seen = read
        channel = self._find(name, seen)
        found = [
            (position, payload)
            for offset, (position, payload, _, _) in sorted(channel.entries.items())
            if start is not None and offset >= start
        ]
        page = tuple(found[: self.page])
        complete = channel.top if len(page) == len(found) else page[-1][0].offset
        begins = tuple(channel.begins)
        return History(name, turn, channel.position, channel.lost, begins, page, complete)

    def _find(self, name: str, seen: Position | None) -> _Channel:
        """A channel as it stands, for a worker that has seen so much of it."""
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = self._anew()
        if channel.run != self._run:
            channel.run = self._run
            channel.generation = self._run
            channel.begins.append((self._run, channel.top))
        if seen is not None and seen.epoch == channel.epoch:
            end = generation_end(channel.begins, seen.generation, channel.top)
            if end is None or seen.offset > end:
                channel = self._channels[name] = self._anew()
        return channel

    def _anew(self) -> _Channel:
        return _Channel(f"e{next(self._epochs)}", self._run)


class MemoryLink:
    """A worker's way to the engine: commands on their way there, answers and pushes on theirs."""

    def __init__(
        self,
        backplane: MemoryBackplane,
        worker: str,
        receive: Callable[[Sequence[BackplaneEvent]], None],
    ) -> None:
        self.worker = worker
        self.connected = False
        self.commands: deque[BackplaneCommand] = deque()
        self.answers: deque[BackplaneEvent] = deque()
        self.pushes: deque[Pushed] = deque()
        self.channels: set[str] = set()
        self._backplane = backplane
        self._receive = receive

    def send(self, commands: Sequence[BackplaneCommand]) -> None:
        """Put commands on their way."""
        if self.connected:
            self.commands.extend(commands)
            self._backplane.moved(self)

    def close(self) -> None:
        """The worker has ended."""
        self._drop()
        self._backplane.links.pop(self.worker, None)

    def connect(self) -> None:
        """A new connection."""
        self.connected = True
        self._receive([Connected()])

    def lose(self, reason: str = "") -> None:
        """The connection is gone, with all that was on its way."""
        if self.connected:
            self._drop()
            self._receive([Lost(reason)])

    def _drop(self) -> None:
        self.connected = False
        self.commands.clear()
        self.answers.clear()
        self.pushes.clear()
        self.channels.clear()

    def execute(self) -> None:
        """The engine does the first command that has arrived."""
        command = self.commands.popleft()
        engine = self._backplane.engine
        if isinstance(command, Append):
            answer, pushes = engine.append(self.worker, command, self._backplane.now())
            links = [each for each in self._backplane.links.values() if each.connected]
            reached = 0
            for push in pushes:
                for link in links:
                    if push.channel in link.channels:
                        link.pushes.append(push)
                        reached += link is not self
                        self._backplane.moved(link)
            self.answers.append(replace(answer, workers=reached))
        elif isinstance(command, Read):
            self.answers.append(engine.read(command))
        elif isinstance(command, Subscribe):
            self.channels.add(command.channel)
            self.answers.append(Subscribed(*command))
        else:
            self.channels.discard(command.channel)

    def tell_answer(self) -> None:
        """The first answer arrives."""
        self._receive([self.answers.popleft()])

    def tell_push(self) -> None:
        """The first push arrives."""
        self._receive([self.pushes.popleft()])


class MemoryBackplane:
    """An engine in this process, for tests with several Worlds. See `Backplane`.

    Args:
        settings: Times and bounds of the workers that wait for it.
        page: Messages that a read is answered at once.
    """

    def __init__(self, settings: BackplaneSettings | None = None, *, page: int = 2_000) -> None:
        self.config = settings or BackplaneSettings()
        self.engine = MemoryEngine(page)
        self.links: dict[str, MemoryLink] = {}
        self._loops: WeakKeyDictionary[MemoryLink, asyncio.AbstractEventLoop] = WeakKeyDictionary()
        self._names = count(1)
        self._moving: set[MemoryLink] = set()
        self.reachable = True

    def name(self) -> str:
        """A name for a World, whose random texts are counted."""
        return f"w{next(self._names)}"

    def open(
        self, worker: str, agreement: str, receive: Callable[[Sequence[BackplaneEvent]], None]
    ) -> MemoryLink:
        """A worker begins; it is connected in the next turn of its loop."""
        link = self.links[worker] = MemoryLink(self, worker, receive)
        self._loops[link] = asyncio.get_running_loop()
        if self.reachable:
            self._loops[link].call_soon(link.connect)
        return link

    def partition(self, channel: str) -> int:
        """One of 64."""
        return crc32(channel.encode()) % PARTITIONS

    def now(self) -> float:
        """Seconds, of the clock that is ahead."""
        return max((loop.time() for loop in self._loops.values()), default=0.0)

    def moved(self, link: MemoryLink) -> None:
        """Something of a link is on its way: it arrives in the next turn of its loop."""
        if link not in self._moving:
            self._moving.add(link)
            self._loops[link].call_soon(self._move, link)

    def _move(self, link: MemoryLink) -> None:
        self._moving.discard(link)
        while link.commands:
            link.execute()
        while link.answers:
            link.tell_answer()
        while link.pushes:
            link.tell_push()

    # Faults

    def disconnect(self) -> None:
        """Lose every connection, with what is on its way, and take no new one."""
        self.reachable = False
        for link in list(self.links.values()):
            link.lose("disconnected")

    def reconnect(self) -> None:
        """Take connections again; every worker has one at once."""
        self.reachable = True
        for link in list(self.links.values()):
            if not link.connected:
                link.connect()

    def restart(self, snapshot: object = None) -> None:
        """Lose every connection, and come back with the state of a snapshot of the engine; None:
        with nothing.
        """
        self.disconnect()
        self.engine.restart(snapshot)
        self.reconnect()

"""The engine as it should be, and all that it has ever put into an order.

Rule: every entry knows the one before it, on its own branch: an engine that comes back with less
begins another branch. Nothing is ever forgotten here, so that what somebody was given can be laid
beside what there was.
"""

from __future__ import annotations

from stocksync_ws.backplane import Append, Appended, Pushed
from stocksync_ws.position import Position
from stocksync_ws.testing.backplane import MemoryEngine

__all__ = ["Entry", "Truth"]


class Entry:
    """One message in one place; offset 0 is the beginning of an epoch."""

    __slots__ = (
        "before",
        "behind",
        "body",
        "channel",
        "known",
        "number",
        "position",
        "slot",
        "trimmed",
        "worker",
    )

    def __init__(
        self,
        channel: str,
        position: Position,
        body: str,
        before: Entry | None,
        worker: str = "",
        slot: str | None = None,
    ) -> None:
        self.channel = channel
        self.position = position
        self.body = body
        self.before = before
        self.worker = worker
        self.slot = slot
        self.behind: list[Entry] = []
        """What came behind it: more than one where the engine has forgotten something."""
        self.known: set[str] = set()
        """Workers that were told of it."""
        self.number = 0
        """In the order of their coming."""
        self.trimmed = False
        """The engine let it age."""
        if before is not None:
            before.behind.append(self)

    def __repr__(self) -> str:
        return f"{self.channel}@{self.position}={self.body!r}"

    def follows(self, other: Entry | None) -> bool:
        """It stands behind another one, or is it."""
        at: Entry | None = self
        while at is not None and at is not other:
            at = at.before
        return at is other

    def branch(self) -> list[Entry]:
        """It, and all that was ever put behind it."""
        found, todo = [], [self]
        while todo:
            entry = todo.pop()
            found.append(entry)
            todo += entry.behind
        return found


class Truth(MemoryEngine):
    """The engine in memory, which remembers everything."""

    def __init__(self, page: int) -> None:
        super().__init__(page)
        self.entries: dict[tuple[str, str], Entry] = {}
        """By channel and message-id."""
        self.bodies: dict[str, list[Entry]] = {}
        """Places of a message, the newest last."""
        self._tips: dict[str, Entry] = {}
        self.count = 0

    def snapshot(self) -> object:
        return super().snapshot(), dict(self._tips)

    def restart(self, snapshot: object = None) -> None:
        state: object = None
        self._tips = {}
        if snapshot is not None:
            assert isinstance(snapshot, tuple)
            state, tips = snapshot
            self._tips = dict(tips)
        super().restart(state)

    def trim(self, channel: str, keep: int) -> None:
        super().trim(channel, keep)
        found = self._channels.get(channel)
        tip = self.tip(channel)
        while found is not None and tip is not None:
            tip.trimmed = tip.trimmed or tip.position.offset not in found.entries
            tip = tip.before

    def append(self, worker: str, append: Append, at: float) -> tuple[Appended, list[Pushed]]:
        answer, pushes = super().append(worker, append, at)
        for item, push in zip(append.items, pushes, strict=False):
            self._note(worker, push, item.keep.slot)
        return answer, pushes

    def _note(self, worker: str, push: Pushed, slot: str | None) -> None:
        channel, after, position = push.channel, push.after, push.position
        body = push.payload.partition(b"\n")[2].decode()
        before = self._tips.get(channel)
        if before is None or before.position.epoch != position.epoch:
            before = self.root(channel, position.epoch)
        assert before.position.offset == after, f"{push} is not behind {before}"
        name = channel, str(position)
        assert name not in self.entries, f"{name} is {self.entries[name]} already"
        entry = self.entries[name] = Entry(channel, position, body, before, worker, slot)
        self.count += 1
        entry.number = self.count
        self._tips[channel] = entry
        self.bodies.setdefault(body, []).append(entry)

    def root(self, channel: str, epoch: str) -> Entry:
        """The beginning of an epoch."""
        name = channel, f"{epoch} begins"
        if name not in self.entries:
            self.entries[name] = Entry(channel, Position(epoch, 0, 0), "", None)
        return self.entries[name]

    def find(self, channel: str, message_id: str) -> Entry | None:
        """What a message-id names."""
        position = Position.parse(message_id)
        if position is not None and not position.offset:
            return self.root(channel, position.epoch)
        return self.entries.get((channel, message_id))

    @property
    def has_aged(self) -> bool:
        """Something was kept no longer."""
        return any(channel.lost for channel in self._channels.values())

    def tip(self, channel: str) -> Entry | None:
        """The newest message of a channel; None where the engine knows nothing of it."""
        found = self._channels.get(channel)
        if found is None:
            return None
        tip = self._tips.get(channel)
        if tip is None or tip.position.epoch != found.epoch:
            return self.root(channel, found.epoch)
        return tip

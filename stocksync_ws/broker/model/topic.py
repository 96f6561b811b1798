"""Topics: what everybody gets. A history is a topic that keeps; newest values stand in
`latest_topic.py`.

Rule: plain records. A subscription is *live* when everything published is handed to it as it comes:
it is a member of its group. It is *behind* when it reads the log from its own offset: while it
recovers, while its window is full, while a snapshot runs, while its session is slow. It goes live
in the step in which it reaches the top: no gap, no duplicate, whatever the backlog. What is kept is
arithmetic on the log, so the bounds stand here; what follows from a loss does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from stocksync_ws.broker.model.destination import Address, Destination, Passes
from stocksync_ws.broker.model.ledger import Delivery, Ledger
from stocksync_ws.broker.model.log import ByteCounter
from stocksync_ws.broker.model.publication import Publication
from stocksync_ws.broker.model.subscription import Reader
from stocksync_ws.config import Limits
from stocksync_ws.policies import Stream, TopicPolicy
from stocksync_ws.position import Position

if TYPE_CHECKING:
    from stocksync_ws.broker.model.durable import Durable
    from stocksync_ws.broker.model.flush_window import FlushWindow
    from stocksync_ws.broker.model.owner import Owner

__all__ = ["HistoryTopic", "Topic", "TopicKeeper"]


class TopicKeeper(Protocol):
    """Where topics are acted on."""

    def wake(self, topic: Topic, now: float) -> None: ...
    def publish(
        self,
        topic: Topic,
        publication: Publication,
        position: Position | None,
        reserved: bool = False,
    ) -> int: ...
    def leave(self, reader: Reader) -> None: ...
    def reject(self, delivery: Delivery) -> None: ...
    def give_back(self, delivery: Delivery, ledger: Ledger, pause: float) -> None: ...
    def opened(self, reader: Reader, durable: Durable) -> None: ...
    def lose(self, delivery: Delivery) -> int: ...


class Topic(Destination):
    """A topic that keeps only what somebody has still to read."""

    __slots__ = (
        "acking",
        "away",
        "behind",
        "drops",
        "durables",
        "keeper",
        "passes",
        "told",
        "window",
    )

    pushes = True
    """What is published is handed to the live; else everybody reads it from the log."""

    def __init__(
        self,
        address: Address,
        policy: TopicPolicy,
        counter: ByteCounter,
        keeper: TopicKeeper,
        epoch: str | None = None,
    ) -> None:
        super().__init__(address, policy, counter, epoch)
        self.keeper = keeper
        self.passes: Passes | None = None
        """Whether a session gets a message; None: every subscriber gets every one."""
        self.window: FlushWindow | None = None
        """In which what is published waits to be sent; None: it leaves at once."""
        self.drops = policy.overflow == "drop_oldest"
        """A subscriber that does not keep up loses its oldest messages, and goes on."""
        self.behind: dict[Reader, None] = {}
        self.acking = 0
        """Subscriptions that acknowledge, whose window may be full."""
        self.durables: dict[tuple[str, str], Durable] = {}
        """Durable names, held or not."""
        self.away = 0
        """Durable names that nobody holds."""
        self.told = 0
        """Highest trimmed offset already reported to readers behind."""

    def wake(self, now: float) -> None:
        """What is kept here has aged."""
        self.keeper.wake(self, now)

    @property
    def readers(self) -> int:
        """How many are subscribed."""
        return len(self.behind) + sum(len(group.members) for group in self.groups.values())

    @property
    def has_history(self) -> bool:
        """Messages are kept for those that come later."""
        return self.log.epoch is not None

    @property
    def keeps(self) -> bool:
        """What is published may have to be read from the log."""
        return bool(self.behind or self.acking or self.away)

    @property
    def stores(self) -> bool:
        """What is published stays for a while, for those that come later or are behind."""
        return self.has_history or bool(self.behind or self.away)

    @property
    def pinned(self) -> bool:
        """Somebody reads it, or has a durable name on it."""
        return bool(self.groups or self.durables)

    @property
    def idle(self) -> bool:
        """Nobody needs it: no subscription, no durable name, no message, no history."""
        return not (self.pinned or len(self.log))

    # What is kept

    def keep(self, publication: Publication, limits: Limits, offset: int | None = None) -> int:
        """Append a publication to the log; its offset."""
        return self.log.append(publication, offset)

    def replaced(self, publication: Publication) -> int:
        """Bytes of the same owner that a publication takes the place of."""
        return 0

    def trim(self) -> Publication | None:
        """Drop the oldest message; None when there is none."""
        return self.log.trim()

    def give_way(self, owner: Owner) -> bool:
        """Drop the oldest message, if it is this owner's; whether it was."""
        oldest = self.log.oldest()
        return oldest is not None and oldest[1].owner is owner and self.trim() is not None

    def take_expired(self, now: float) -> list[tuple[int, Publication]]:
        """Take out of the log what has reached the end of its life."""
        return self.log.take_expired(now)

    def hold_bounds(self, limits: Limits, now: float) -> None:
        """Drop what is beyond the bounds, and what nobody will read."""
        log = self.log
        if not self.behind and not self.away:
            log.forget(log.top + 1)
            return
        if self._is_over(limits):
            self.forget_read()
        while self._is_over(limits):
            log.trim()

    def forget_read(self) -> None:
        """Drop what everybody has read: it costs as much as there are readers behind."""
        needed = [reader.next for reader in self.behind]
        needed += [each.next for each in self.durables.values() if each.holder is None]
        self.log.forget(min(needed, default=self.log.top + 1))

    def _is_over(self, limits: Limits) -> bool:
        log = self.log
        most = limits.durable_messages if self.durables else limits.pending_messages
        size = limits.durable_bytes if self.durables else limits.pending_bytes
        if len(log) > most or (log.size > size and len(log) > 1):
            return True
        return len(log) > 0 and log.stored > limits.max_stored

    def next_aging(self, now: float) -> float | None:
        """When the oldest message is too old, in the broker's own time."""
        return None

    # Readers

    def recover(self, position: Position | None, start: int) -> tuple[bool, int]:
        """Where a subscription that has seen everything up to a position goes on. All or nothing:
        everything behind the position is still there, or nothing is replayed.

        Returns:
            Whether it was recovered, and the first offset to read.
        """
        if position is not None and self.log.covers(position):
            return True, position.offset + 1
        return False, start

    def first_offset(self) -> int:
        """Where a subscription begins that asks for nothing."""
        return self.log.top + 1

    def history_offset(self, wanted: int | None, now: float) -> int | None:
        """Where a subscription begins that comes for the history; None: it does not, or there is
        none to begin with.

        Args:
            wanted: So many messages; None: as many as the policy says.
        """
        return None

    def count_for(self, reader: Reader, offset: int) -> int:
        """Messages from an offset on that a reader will get; it may be able to get only text, and a
        filter may withhold some.
        """
        passes, text_only = self.passes, reader.group.text_only
        if not text_only and passes is None:
            return self.log.count_from(offset)
        return sum(
            at >= offset
            and (each.text or not text_only)
            and (passes is None or passes(reader.session, each))
            for at, each in self.log
        )

    def is_replayed(self, reader: Reader, offset: int) -> bool:
        """Whether what a reader reads at an offset is marked as replayed."""
        return offset <= reader.replay_to

    def is_overtaken(self, reader: Reader) -> bool:
        """The log was trimmed under a reader."""
        return reader.next <= self.log.lost

    def superseded(self, reader: Reader, offset: int) -> int:
        """Messages before an offset that a reader has not seen and that newer ones replaced."""
        return 0

    # As a destination

    def publish(self, publication: Publication, position: Position | None, reserved: bool) -> int:
        """Hand a publication to everybody; a topic has room, where its owner has."""
        return self.keeper.publish(self, publication, position, reserved)

    def accept(self, delivery: Delivery) -> None:
        """An acknowledged delivery leaves its ledger, and nothing else."""

    def reject(self, delivery: Delivery) -> None:
        """A delivery was refused for good: a dead letter."""
        self.keeper.reject(delivery)

    def give_back(self, delivery: Delivery, ledger: Ledger, pause: float) -> None:
        """NACK or timeout: the same subscription gets it once more."""
        self.keeper.give_back(delivery, ledger, pause)

    def lose(self, delivery: Delivery) -> int:
        """The session of a delivery has ended: only a durable name may get it again."""
        return self.keeper.lose(delivery)

    def join(self, reader: Reader) -> None:
        """A subscription came."""
        self.acking += reader.group.acked

    def leave(self, reader: Reader) -> None:
        """A subscription has ended, live or behind."""
        self.behind.pop(reader, None)
        self.acking -= reader.group.acked
        self.leave_group(reader)


class HistoryTopic(Topic):
    """A topic that keeps its last messages for those that come later."""

    __slots__ = ("_begins", "_history", "_seconds")

    def __init__(
        self,
        address: Address,
        policy: Stream,
        counter: ByteCounter,
        keeper: TopicKeeper,
        epoch: str | None = None,
    ) -> None:
        super().__init__(address, policy, counter, keeper, epoch)
        self._history, self._seconds = policy.history, policy.seconds
        begins = policy.on_subscribe
        if isinstance(begins, str):
            self._begins = policy.history if begins == "history" else None
        else:
            self._begins = begins

    def forget_read(self) -> None:
        """Drop nothing: what was read is kept for those that come later."""

    def history_offset(self, wanted: int | None, now: float) -> int | None:
        """Where a subscription begins that comes for the history. What is kept beyond it for a
        durable name is for that name only.
        """
        wanted = self._begins if wanted is None else wanted
        if wanted is None:
            return None
        return self.log.newest(min(wanted, self._history), now - self._seconds)

    @property
    def keeps(self) -> bool:
        """Everything is kept."""
        return True

    @property
    def idle(self) -> bool:
        """Never: it goes when there are too many histories."""
        return False

    def hold_bounds(self, limits: Limits, now: float) -> None:
        """Drop what is beyond the history, and what durable names have not seen beyond theirs."""
        log = self.log
        wanted: int | None = None
        while (oldest := log.oldest()) is not None:
            offset, publication = oldest
            if not self._is_over(limits):
                fresh = publication.at + self._seconds > now
                if fresh and len(log) <= self._history:
                    return
                wanted = self._wanted() if wanted is None else wanted
                if offset >= wanted:
                    return
            self.trim()

    def _is_over(self, limits: Limits) -> bool:
        log = self.log
        most = max(limits.durable_messages, self._history)
        size = max(limits.durable_bytes if self.durables else 0, limits.history_bytes)
        if len(log) > most:
            return True
        return len(log) > 1 and (log.size > size or log.stored > limits.max_stored)

    def _wanted(self) -> int:
        """The first offset that a durable name, or a snapshot's subscriber, has not seen."""
        wanted = self.log.top + 1
        for durable in self.durables.values():
            if durable.holder is None:
                wanted = min(wanted, durable.next)
            elif durable.holder in self.behind:
                wanted = min(wanted, durable.holder.next)
        for reader in self.behind:
            if reader.blocked or reader.next <= reader.held_to:
                wanted = min(wanted, reader.next)
        return wanted

    def next_aging(self, now: float) -> float | None:
        """When the oldest message is too old; if it is and somebody still wants it, when to look
        again.
        """
        oldest = self.log.oldest()
        if oldest is None:
            return None
        at = oldest[1].at + self._seconds
        return at if at > now else now + self._seconds

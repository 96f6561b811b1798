"""What the broker keeps of one destination: its log, its groups of receivers, its readers behind.

Rule: plain records. A subscription is *live* when everything published is handed to it as it comes:
it is a member of its group. It is *behind* when it reads the log from its own offset: while it
recovers, while its window is full, while a snapshot runs, while its session is slow. It goes live
in the step in which it reaches the top: no gap, no duplicate, whatever the backlog.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Protocol, TypeAlias

from stocksync_ws.broker.model.log import ByteCounter, Log
from stocksync_ws.broker.model.mailbox import Mailbox
from stocksync_ws.broker.model.post_office import Outgoing
from stocksync_ws.broker.model.subscription import Subscription
from stocksync_ws.config import DestinationPolicy
from stocksync_ws.stomp.encoder import encode_head
from stocksync_ws.stomp.frame import MESSAGE, Version

if TYPE_CHECKING:
    from stocksync_ws.broker.model.durable import Durable
    from stocksync_ws.broker.model.publication import Publication

__all__ = ["Address", "Channel", "Group", "QueueState"]

Address: TypeAlias = str | tuple[str, str]
"""A destination, or (user name, destination behind the user prefix)."""


ACK_TIMEOUT = 30.0
"""Seconds a delivery on a topic may stay unsettled, where the policy does not say."""
_V12 = Version.V12
HOLES = 64
"""Consumers that have left and stand in a turn, besides twice as many as there are."""


class Group:
    """Receivers of one destination that get equal bytes: one version, id, mode and wire key."""

    __slots__ = ("_head", "acked", "cached", "key", "members", "refs", "subscription_id", "version")

    def __init__(
        self, key: object, version: Version, subscription_id: str | None, acked: bool
    ) -> None:
        self.key = key
        self.version = version
        self.subscription_id = subscription_id
        self.acked = acked
        self.members: dict[Mailbox, Subscription] = {}
        """The mailboxes of the live ones."""
        self.refs = 0
        """Subscriptions of this kind, live or behind."""
        self.cached: Outgoing | None = None
        """The last entry that was made for readers behind; many read the same."""
        self._head = encode_head(MESSAGE, self._own(), version)

    def _own(self) -> list[tuple[str, str]]:
        return [] if self.subscription_id is None else [("subscription", self.subscription_id)]

    def head(self, publication: Publication, extra: tuple[tuple[str, str], ...] = ()) -> bytes:
        """The part of MESSAGE that is the group's own, with the marks of this delivery."""
        if not self.acked and not extra:
            return self._head
        headers = self._own()
        if self.acked:
            if self.version is _V12:
                headers.append(("ack", f"{self.subscription_id}.{publication.number}"))
            if not any(name == "redelivered" for name, _ in extra):
                headers.append(("redelivered", "false"))
        headers += extra
        return encode_head(MESSAGE, headers, self.version)


class QueueState:
    """What a queue knows besides its log: who consumes, and what is out.

    A consumer stands in the turn (`Subscription.in_turn`) or waits until somebody lines it up
    again; either way it keeps its place, the number it got when it was served last.
    """

    __slots__ = ("_number", "_tally", "attempts", "consumers", "delayed", "out", "out_size", "turn")

    def __init__(self, tally: ByteCounter) -> None:
        self._tally = tally
        self._number = 0
        self.consumers: dict[Subscription, None] = {}
        self.turn: list[tuple[int, Subscription]] = []
        """A heap of those that may be ready; who has left since stands in it for a while."""
        self.attempts: dict[int, int] = {}
        """Deliveries so far of messages that were out, by offset."""
        self.out = 0
        """Messages that were handed out and not settled, or come back after a pause."""
        self.out_size = 0
        """Bytes of them."""
        self.delayed: list[tuple[float, int, Publication]] = []
        """A heap of those that come back later: (when, offset, publication)."""

    def join(self, consumer: Subscription) -> None:
        """It came, and is the last in turn."""
        self.consumers[consumer] = None
        self.served(consumer)

    def leave(self, consumer: Subscription) -> None:
        """It went."""
        del self.consumers[consumer]
        consumer.in_turn = False
        if len(self.turn) > 2 * len(self.consumers) + HOLES:
            self.turn = [each for each in self.turn if _stands(each)]
            heapify(self.turn)

    def served(self, consumer: Subscription) -> None:
        """All others come first."""
        self._number += 1
        consumer.place = self._number
        self.line_up(consumer)

    def line_up(self, consumer: Subscription) -> None:
        """It may be ready."""
        if not consumer.in_turn:
            consumer.in_turn = True
            heappush(self.turn, (consumer.place, consumer))

    def next_in_turn(self) -> Subscription | None:
        """Take the first out of the turn; None when nobody is in it."""
        while self.turn:
            each = heappop(self.turn)
            if _stands(each):
                each[1].in_turn = False
                return each[1]
        return None

    def take_out(self, publication: Publication) -> None:
        """A message was handed out."""
        self.out += 1
        self.out_size += publication.size
        self._tally.add(publication.size)

    def bring_back(self, publication: Publication) -> None:
        """It was settled, or is in the log again."""
        if self.out:
            self.out -= 1
            self.out_size -= publication.size
            self._tally.add(-publication.size)

    def forget(self) -> None:
        """The queue is gone with everything in it."""
        self._tally.add(-self.out_size)
        self.out = self.out_size = 0


def _stands(each: tuple[int, Subscription]) -> bool:
    return each[1].in_turn and each[1].place == each[0]


class Keeper(Protocol):
    """Where the deadline of a destination is acted on."""

    def wake(self, channel: Channel, now: float) -> None:
        """The deadline came."""
        ...


class Channel:
    """One destination."""

    __slots__ = (
        "acking",
        "address",
        "armed",
        "armed_at",
        "away",
        "behind",
        "deadline",
        "durables",
        "epoch",
        "groups",
        "keeper",
        "keys",
        "log",
        "policy",
        "private",
        "queue",
        "told",
    )

    def __init__(
        self,
        address: Address,
        policy: DestinationPolicy,
        epoch: str | None,
        tally: ByteCounter,
        *,
        queue: bool,
        private: bool = False,
    ) -> None:
        self.address = address
        self.keeper: Keeper
        self.policy = policy
        self.epoch = epoch
        """Of its message ids; None where there is no history."""
        self.log = Log(tally)
        self.groups: dict[object, Group] = {}
        self.behind: dict[Subscription, None] = {}
        self.acking = 0
        """Subscriptions that acknowledge, whose window may be full."""
        self.keys: dict[str, int] | None = {} if policy.kind == "latest" else None
        """The offset of the newest message of each key."""
        self.queue = QueueState(tally) if queue else None
        self.private = private
        """The reply queue of one session."""
        self.durables: dict[tuple[str, str], Durable] = {}
        self.away = 0
        """Durable names that nobody holds."""
        self.told = 0
        """Up to this offset, readers behind were told what was trimmed under them."""
        self.deadline: float | None = None
        self.armed = 0
        self.armed_at = 0.0

    def wake(self, now: float) -> None:
        """What is kept here has aged."""
        self.keeper.wake(self, now)

    @property
    def ack_timeout(self) -> float | None:
        """Seconds a delivery may stay unsettled; None: for ever."""
        if self.policy.ack_timeout is not None:
            return self.policy.ack_timeout
        return None if self.queue is not None else ACK_TIMEOUT

    @property
    def has_history(self) -> bool:
        """Its messages are kept for those that come later."""
        return self.epoch is not None

    @property
    def keeps(self) -> bool:
        """What is published may have to be read from the log."""
        return bool(self.epoch is not None or self.behind or self.acking or self.away)

    @property
    def idle(self) -> bool:
        """Nobody needs it: no subscription, no durable name, no message, no history."""
        return not (
            self.groups or self.durables or len(self.log) or self.has_history or self._busy_queue
        )

    @property
    def _busy_queue(self) -> bool:
        queue = self.queue
        return queue is not None and bool(queue.consumers or queue.delayed or queue.attempts)

    def key(self, publication: Publication) -> str:
        """What a `latest` destination knows a message by."""
        return publication.header(self.policy.key) or publication.destination

    def trim(self) -> Publication | None:
        """Drop the oldest entry of the log; None when that is empty."""
        publication = self.log.trim()
        if publication is not None and self.keys is not None:
            self.keys.pop(self.key(publication), None)
        return publication

    def take_expired(self, now: float) -> list[tuple[int, Publication]]:
        """Take out of the log what has reached the end of its life."""
        dead = self.log.take_expired(now)
        if self.keys is not None:
            for _, publication in dead:
                self.keys.pop(self.key(publication), None)
        return dead

    def message_id(self, offset: int) -> str:
        """The message-id of an offset in the history."""
        return f"{self.epoch}-{offset}"

    def join(self, subscription: Subscription) -> Group:
        """Give a subscription its group; it is not a member before it is live."""
        session = subscription.session
        version = session.version
        assert version is not None
        key = (version, subscription.id, subscription.mode, session.wire.key)
        group = self.groups.get(key)
        if group is None:
            acked = subscription.ledger is not None
            group = self.groups[key] = Group(key, version, subscription.id, acked)
        group.refs += 1
        self.acking += group.acked
        subscription.group = group
        return group

    def leave(self, subscription: Subscription) -> None:
        """Take a subscription out, live or behind."""
        group = subscription.group
        assert group is not None
        subscription.group = None
        group.members.pop(subscription.session.mailbox, None)
        self.behind.pop(subscription, None)
        group.refs -= 1
        self.acking -= group.acked
        if not group.refs:
            del self.groups[group.key]

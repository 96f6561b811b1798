"""One SUBSCRIBE of one session, and everything that a session has subscribed to.

Rule: plain records. Every change of a subscription's place (live, behind, consuming, ended) is made
by `delivery/`; which ids are in use is decided by `frames/`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stocksync_ws.broker.model.ledger import AckMode, Delivery, Ledger

if TYPE_CHECKING:
    from stocksync_ws.broker.model.destination import Destination, Group
    from stocksync_ws.broker.model.durable import Durable
    from stocksync_ws.broker.model.post_office import Outgoing
    from stocksync_ws.broker.model.publication import Publication
    from stocksync_ws.broker.model.queue import Queue
    from stocksync_ws.broker.model.session import SessionRecord
    from stocksync_ws.broker.model.topic import Topic
    from stocksync_ws.broker.model.transaction import Transaction
    from stocksync_ws.stomp.frame import Frame

__all__ = ["Consumer", "Reader", "Subscription", "Subscriptions"]


class Subscription:
    """One SUBSCRIBE of one session."""

    __slots__ = (
        "asked",
        "destination",
        "dropped",
        "durable",
        "ended",
        "group",
        "id",
        "ledger",
        "mode",
        "session",
        "told",
        "unrecovered",
    )

    def __init__(
        self,
        session: SessionRecord,
        subscription_id: str | None,
        destination: str,
        home: Destination,
        mode: AckMode = AckMode.AUTO,
        ledger: Ledger | None = None,
    ) -> None:
        self.session = session
        self.id = subscription_id
        """The client's id; None for STOMP 1.0 without one."""
        self.destination = destination
        """As the client named it."""
        self.mode = mode
        self.ledger = ledger
        """Where its deliveries wait for their acknowledgement; None in auto mode."""
        self.group: Group = home.group_of(self)
        """Its kind of receiver."""
        self.ended = False
        self.told = False
        """Listeners were told that it is active."""
        self.dropped = 0
        """Messages it lost since its last MESSAGE, which the next one tells."""
        self.unrecovered = False
        """Its next MESSAGE says that the recovery it asked for failed."""
        self.durable: Durable | None = None
        """The durable name it holds."""
        self.asked: Frame | None = None
        """Its SUBSCRIBE, where the function of a rule was asked: that may read it once more."""

    @property
    @abstractmethod
    def home(self) -> Destination:
        """The destination it is subscribed to."""
        ...

    @abstractmethod
    def leave(self) -> None:
        """The subscription ends; its durable name stays."""
        ...

    @abstractmethod
    def opened(self) -> None:
        """Its window may have room again."""
        ...


class Reader(Subscription):
    """A subscription to a topic. One to the application reads a topic with nothing in it."""

    __slots__ = (
        "blocked",
        "ghosts",
        "held_to",
        "next",
        "replay_left",
        "replay_to",
        "snapshot",
        "snapshot_at",
        "topic",
    )

    def __init__(
        self,
        session: SessionRecord,
        subscription_id: str | None,
        destination: str,
        topic: Topic,
        mode: AckMode = AckMode.AUTO,
        ledger: Ledger | None = None,
    ) -> None:
        super().__init__(session, subscription_id, destination, topic, mode, ledger)
        self.topic = topic
        self.next = 0
        """Behind: the offset it reads next."""
        self.replay_to = 0
        """Up to this offset what it reads was published before it subscribed."""
        self.replay_left = 0
        """Newest values only: number of next messages to mark `replayed:true`."""
        self.held_to = 0
        """Up to this offset what it reads was published while its snapshot ran."""
        self.blocked = False
        """A snapshot runs: what is published waits in the log."""
        self.snapshot: Publication | None = None
        """The snapshot of its destination, while there is history to be read before it."""
        self.snapshot_at = 0
        """A snapshot stands before this offset: everything below it is history."""
        self.ghosts: Sequence[Outgoing] = ()
        """Entries of a previous subscription with the same id that are still in the mailbox;
        skipped by `Mailbox.take_back`.
        """
        topic.join(self)

    @property
    def home(self) -> Topic:
        """The topic."""
        return self.topic

    def leave(self) -> None:
        """The subscription ends; its durable name stays."""
        self.topic.keeper.leave(self)

    def opened(self) -> None:
        """Its window may have room again: it goes on reading with the next flush."""
        durable = self.durable
        if durable is not None and durable.returned and not self.blocked:
            self.topic.keeper.opened(self, durable)


class Consumer(Subscription):
    """A subscription to a queue."""

    __slots__ = ("in_turn", "place", "queue")

    def __init__(
        self,
        session: SessionRecord,
        subscription_id: str | None,
        destination: str,
        queue: Queue,
        mode: AckMode = AckMode.AUTO,
        ledger: Ledger | None = None,
    ) -> None:
        super().__init__(session, subscription_id, destination, queue, mode, ledger)
        self.queue = queue
        self.place = 0
        """Where it stands in the turn of its queue."""
        self.in_turn = False
        """True while it is in the queue's ready heap."""

    @property
    def home(self) -> Queue:
        """The queue."""
        return self.queue

    def leave(self) -> None:
        """The subscription ends; unsettled deliveries stay with its session."""
        self.queue.keeper.leave(self)

    def opened(self) -> None:
        """Its window may have room again: its queue goes on."""
        self.queue.keeper.opened(self)


class Subscriptions:
    """The subscriptions of one session, and what is owed there."""

    __slots__ = (
        "active",
        "behind",
        "consumers",
        "ended_auto",
        "forgotten",
        "has_consumed",
        "ledgers",
        "refused_ids",
        "reply_queues",
        "retries",
        "transactions",
        "unacknowledged",
    )

    def __init__(self) -> None:
        self.active: dict[str, Subscription] = {}
        """By key: the client's id, or in 1.0 without one the destination."""
        self.refused_ids: dict[str, None] | None = None
        """Ids whose SUBSCRIBE was refused while the session lived on; the newest last."""
        self.behind: dict[Reader, None] | None = None
        """Subscriptions that read their log themselves."""
        self.consumers: dict[Consumer, None] | None = None
        """Subscriptions to queues."""
        self.has_consumed = False
        """True once the session has consumed from a queue; never reset."""
        self.ledgers: dict[str, Ledger] | None = None
        """Ledgers of its acknowledging subscriptions, ended ones too, by their key."""
        self.forgotten: Ledger | None = None
        """Highest ack ids of closed, fully settled ledgers; late ACKs for them are no errors."""
        self.ended_auto: dict[str, None] | None = None
        """Keys of ended subscriptions in auto mode, the newest last: to acknowledge there what has
        no acknowledgement is no error afterwards either.
        """
        self.retries: list[tuple[float, int, int, Delivery]] | None = None
        """A heap of deliveries that go out again: (when, number, turn, delivery)."""
        self.transactions: dict[str, Transaction] | None = None
        """Open transactions by name, the oldest first."""
        self.reply_queues: dict[str, str] | None = None
        """Addresses of its private queues, by the name it gave them."""
        self.unacknowledged = 0
        """Deliveries on topics it left unsettled at its end."""

    def remember_refused(self, key: str, most: int) -> None:
        """Remember a refused id: UNSUBSCRIBE by a client that did not see it is no error."""
        self.refused_ids = _remember(self.refused_ids, key, most)

    def remember_auto(self, key: str, most: int) -> None:
        """Remember an ended `auto` id: an ACK behind its UNSUBSCRIBE is no error."""
        self.ended_auto = _remember(self.ended_auto, key, most)


def _remember(keys: dict[str, None] | None, key: str, most: int) -> dict[str, None]:
    """The newest last, and a bounded number of them."""
    keys = {} if keys is None else keys
    keys.pop(key, None)
    keys[key] = None
    if len(keys) > most:
        del keys[next(iter(keys))]
    return keys

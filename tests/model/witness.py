"""What really happened, as the invariants see it: frames sent, frames read, messages accepted,
events told.

Rule: it asks the real broker and the wire, never the naive one. Of the real broker it taps the one
place at which a message is accepted, and looks at which subscriptions there are.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from stocksync_ws import DeadLetter, MessageDropped, SessionDisconnected
from stocksync_ws.broker.model.queue import Queue
from stocksync_ws.testing.world import World
from stocksync_ws.types import ToSession, ToUser
from tests.model import rules
from tests.model.client import Client
from tests.model.parser import Read
from tests.model.records import Frame

__all__ = ["Accepted", "Reading", "Record", "Witness"]

Address = Any
"""Of the real broker: a destination, or the user and what follows the prefix."""


@dataclass(eq=False)
class Accepted:
    """A message that the broker took."""

    number: int
    address: Address
    index: int
    """Its place among those of its address."""
    message_id: str
    body: str
    expires: float | None


@dataclass(eq=False)
class Reading:
    """One subscription, from the end of the step in which it came."""

    real: Any
    address: Address
    frame: Frame
    upper: int
    """What is accepted from this index on must reach it."""
    loose: bool
    """What the client reads first may belong to one of the same id before it."""
    last: int | None = None
    """The index of the last message it got for the first time; `newest` is the same for I2."""
    newest: int = -1
    dropped: int = 0
    """Losses it was told of since."""


@dataclass(eq=False)
class Record:
    """What one client did and got."""

    client: Client
    asked: dict[str, Frame] = field(default_factory=dict)
    """Frames whose RECEIPT has not come."""
    subscribes: dict[str, Frame] = field(default_factory=dict)
    """The last SUBSCRIBE of each id."""
    readings: dict[str, Reading] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    """Ids of which nothing may come."""
    news: list[Read] = field(default_factory=list)
    """What was read since the last look."""
    kinds: list[str] = field(default_factory=list)
    """The kinds of all that was read."""
    last_number: int = 0
    """Of the live messages in auto mode."""
    connected: int = 0
    disconnected: int = 0
    over_at: int | None = None
    """Messages that had been accepted when its end was told."""
    broken: bool = False
    """Its transport is."""
    closing_since: float | None = None
    gone_since: float | None = None


class Witness:
    """All of one round."""

    def __init__(self, world: World, events: list[Any]) -> None:
        self.world = world
        self.events = events
        self.records: list[Record] = []
        """Of the clients that are not forgotten; `all` has the others too."""
        self.all: list[Record] = []
        self._sent = 0
        self.accepted: dict[str, Accepted] = {}
        """By message-id."""
        self.order: dict[Address, list[Accepted]] = {}
        self.unread: dict[Address, dict[str, Accepted]] = {}
        """Messages of queues that nobody has got."""
        self.read_as_new: set[str] = set()
        self.dead: set[str] = set()
        self.expired: Counter[Address] = Counter()
        """Messages of queues that nobody consumed, which one event has told of since the last look.
        """
        self.excused = False
        """A transport broke, and with it what it held."""
        self.stopping_since: float | None = None
        """When the server began to stop."""
        self.raised: list[Exception] = []
        """What a publisher had to see."""
        self.fullest = 0
        """Messages that a queue has kept when it took one more."""
        self.held: set[str] = set()
        """Messages of queues that were delivered and not settled, at the last look."""
        self.settled = 0
        """Deliveries that had been acknowledged by then."""
        self._told = 0
        self._tap()

    def _tap(self) -> None:
        publisher = self.world.broker._sessions.publisher
        publish_local = publisher._publishing.publish_local

        def tapped(publication: Any, *args: Any, **kwargs: Any) -> Any:
            published = publish_local(publication, *args, **kwargs)
            address = self._accept(publication)
            if not kwargs.get("reserved"):
                self._weigh(address)
            return published

        publisher._publishing = SimpleNamespace(publish_local=tapped)

    def _accept(self, publication: Any) -> Address:
        target = publication.target
        address: Address = target[0]
        if isinstance(target, ToUser):
            address = tuple(target)
        if isinstance(target, ToSession):
            address = (*target, "alone")
        order = self.order.setdefault(address, [])
        body = publication.body.decode()
        message_id, expires = publication.message_id, publication.expires_at
        one = Accepted(publication.number, address, len(order), message_id, body, expires)
        order.append(one)
        self.accepted[one.message_id] = one
        if address in rules.PLACES and rules.is_queue(address):
            self.unread.setdefault(address, {})[one.message_id] = one
        return address

    def _weigh(self, address: Address) -> None:
        """A queue that takes a message has had room for it; what comes back may fill it further."""
        if isinstance(address, tuple) and len(address) > 2:
            return  # of one session alone: no destination
        channel = self.world.broker.delivery.registry.find(address)
        if isinstance(channel, Queue):
            self.fullest = max(self.fullest, len(channel.log) + channel.out)

    def is_dead(self, one: Accepted) -> bool:
        """It was told of as a dead letter, or its time is over, and nobody was to get it."""
        over = one.expires is not None and one.expires <= self.world.now
        return over or one.message_id in self.dead

    # Clients

    def joined(self, client: Client) -> None:
        self.records.append(Record(client))
        self.all.append(self.records[-1])

    def of(self, client: Client) -> Record:
        return next(record for record in self.records if record.client is client)

    def sent(self, client: Client, frame: Frame) -> None:
        """A whole frame was sent."""
        record = self.of(client)
        self._sent += 1
        frame["sent"] = self._sent
        if "receipt" in frame:
            record.asked[frame["receipt"]] = frame
        if frame["command"] == "SUBSCRIBE":
            record.subscribes[frame["id"]] = frame
            record.closed.discard(frame["id"])

    def read(self, client: Client, new: list[Read]) -> None:
        self.of(client).news += new

    # The end of a step

    def look(self) -> None:
        """Take note of events, and of subscriptions that came and went."""
        for event in self.events[self._told :]:
            if isinstance(event, DeadLetter):
                self.dead.add(event.message_id)
                for unread in self.unread.values():
                    unread.pop(event.message_id, None)
            if isinstance(event, MessageDropped) and event.reason == "expired":
                self.expired[event.destination] += event.count
            for record in self.all:
                if getattr(event, "session_id", "") == record.client.real.id:
                    self._hear(record, event)
        self._told = len(self.events)
        for record in self.records:
            self._look_at(record)

    def _hear(self, record: Record, event: Any) -> None:
        record.connected += type(event).__name__ == "SessionConnected"
        if isinstance(event, SessionDisconnected):
            record.disconnected += 1
            record.over_at = self.count

    @property
    def count(self) -> int:
        """The number of the newest message."""
        return max((one[-1].number for one in self.order.values()), default=0)

    def _look_at(self, record: Record) -> None:
        client = record.client
        there = client.real.subscriptions.active
        for sub_id, sub in there.items():
            known = record.readings.get(sub_id)
            if known is not None and known.real is sub:
                continue
            address = self.address(client, sub.destination)
            upper = len(self.order.get(address, []))
            loose = client.stuck or known is not None
            frame = record.subscribes[sub_id]
            record.readings[sub_id] = Reading(sub, address, frame, upper, loose)

    def address(self, client: Client, said: str) -> Address:
        if not said.startswith("/user/"):
            return said
        user = client.real.user
        return ("\0" + client.real.id if user is None else user.name, said[5:])

    # Queues

    def unsettled(self) -> set[str]:
        """What sessions have not settled, or not committed to have settled."""
        found: set[str] = set()
        for record in self.records:
            real = record.client.real
            for ledger in (real.subscriptions.ledgers or {}).values():
                found.update(delivery.publication.message_id for delivery in ledger)
            for transaction in (real.subscriptions.transactions or {}).values():
                for settlements in transaction.settlements.values():
                    taken = [delivery for each in settlements for delivery in each.deliveries]
                    found.update(delivery.publication.message_id for delivery in taken)
        return found

    def kept(self) -> set[str]:
        """Messages that are there: in a queue, pausing, or unsettled."""
        found = self.unsettled()
        for channel in self.world.broker.delivery.registry.known.values():
            if isinstance(channel, Queue):
                found.update(publication.message_id for _, publication in channel.log)
                found.update(each[2].message_id for each in channel.delayed)
        return found

    def note_held(self) -> None:
        queued = [one.message_id for place in self.unread for one in self.order[place]]
        self.held = self.unsettled() & set(queued)
        self.settled = self.world.counters.messages_settled

    def step_is_over(self) -> None:
        """What is new is old now, and what has ended is forgotten."""
        for record in self.records:
            record.news.clear()
            there = record.client.real.subscriptions.active
            ended = [i for i, r in record.readings.items() if there.get(i) is not r.real]
            for sub_id in ended:
                del record.readings[sub_id]

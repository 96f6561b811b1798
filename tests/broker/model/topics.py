"""What the tests of topics share: topics without a broker, and what is kept in them."""

from __future__ import annotations

from itertools import count
from typing import Any, TypeVar

from stocksync_ws import policies
from stocksync_ws.broker.model.durable import Durable
from stocksync_ws.broker.model.latest_topic import LatestTopic
from stocksync_ws.broker.model.ledger import AckMode, Ledger
from stocksync_ws.broker.model.log import ByteCounter
from stocksync_ws.broker.model.publication import Publication
from stocksync_ws.broker.model.subscription import Reader
from stocksync_ws.broker.model.topic import HistoryTopic, Topic
from stocksync_ws.config import Limits
from stocksync_ws.stomp.frame import Version
from stocksync_ws.types import Wire
from tests.broker.kit import publication, record

__all__ = [
    "LIMITS",
    "Keeper",
    "T",
    "fill",
    "item",
    "kept",
    "make",
    "name",
    "numbers",
    "offsets",
    "reader",
]

T = TypeVar("T", bound=Topic)
LIMITS = Limits(
    pending_messages=4,
    pending_bytes=100,
    durable_messages=6,
    durable_bytes=120,
    history_bytes=100,
    max_keys=3,
)
numbers = count(1)


def item(size: int = 10, at: float = 0.0, **headers: str) -> Publication:
    """A publication that counts for `size` bytes."""
    number = next(numbers)
    pairs = tuple(headers.items())
    size -= sum(len(name) + len(value) for name, value in pairs)
    return publication(number, f"n-{number}", "", pairs, b"x" * size, at)


class Keeper:
    """Writes down what a topic leaves to others."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        def ask(*args: Any, **named: Any) -> int:
            self.asked.append((name, *args, *named.values()))
            return 7

        return ask


_POLICIES: dict[type, Any] = {
    Topic: policies.Topic,
    HistoryTopic: policies.Stream,
    LatestTopic: policies.Latest,
}


def make(kind: type[T], counter: ByteCounter | None = None, **settings: Any) -> T:
    keeper: Any = Keeper()
    epoch = None if kind is Topic else "e"
    policy = _POLICIES[kind](**settings)
    return kind("/topic/a", policy, counter or ByteCounter(), keeper, epoch)


def reader(
    topic: Topic,
    behind: int | None = None,
    mode: AckMode = AckMode.AUTO,
    wire: Wire | None = None,
) -> Reader:
    """A subscription; behind, at this offset."""
    session = record(wire=wire)
    session.version = Version.V12
    ledger = None if mode is AckMode.AUTO else Ledger(mode, 9, by_message_id=False)
    made = Reader(session, "s", "/topic/a", topic, mode, ledger)
    if behind is not None:
        made.next = behind
        topic.behind[made] = None
    return made


def name(topic: Topic, start: int, holder: Reader | None = None) -> Durable:
    """A durable name that nobody holds, or this subscription."""
    durable = Durable(topic, ("ann", f"{len(topic.durables)}"), start)
    durable.holder = holder
    topic.durables[durable.key] = durable
    topic.away += holder is None
    return durable


def fill(topic: Topic, number: int, size: int = 10, at: float = 0.0) -> None:
    for _ in range(number):
        topic.keep(item(size, at), LIMITS)


def offsets(topic: Topic) -> list[int]:
    return [offset for offset, _ in topic.log]


def kept(topic: Topic, now: float = 0.0, limits: Limits = LIMITS) -> list[int]:
    """The offsets that are within the bounds."""
    topic.hold_bounds(limits, now)
    return offsets(topic)

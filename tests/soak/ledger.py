"""What was sent, what was promised, and what came: the judge of the soak.

Rule: it believes the clients alone. A publication is promised when a RECEIPT confirmed it, or a
later frame of its session; until then it may come or not. What is promised to a reader that was
there in time has to come, in the order of its sender; what comes twice says `redelivered`; what a
confirmed ACK settled, or an aborted transaction sent, comes never. Stamps are numbers of one clock
that counts what the clients did and heard.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from enum import Enum, auto

__all__ = ["Holding", "Ledger", "LiveReader", "Publication", "State", "StreamReader"]

TOLD = 50
"""Violations whose text is kept; all are counted."""


class State(Enum):
    """How far a publication has come."""

    HELD = auto()
    """In a transaction that nobody committed: it must not come."""
    SENT = auto()
    """It may come, or not."""
    PROMISED = auto()
    """It has to come."""
    FORBIDDEN = auto()
    """Its transaction was aborted: it must not come."""


@dataclass(slots=True, eq=False)
class Publication:
    """One SEND of a client."""

    destination: str
    sender: str
    number: int
    """The place among those of its sender to its destination."""
    sent_at: int
    state: State = State.SENT
    promised_at: int = 0

    @property
    def name(self) -> str:
        """Who it is, for people."""
        return f"{self.destination} {self.sender} {self.number}"

    def body(self, size: int) -> str:
        """What is sent: the name, and so many octets more."""
        return f"{self.name} {'x' * size}"


class Ledger:
    """The publications of one round, and everything that was wrong with it."""

    def __init__(self) -> None:
        self.violations: list[str] = []
        self.violated = 0
        self.sent = 0
        self.delivered = 0
        self._clock = 0
        self._publications: dict[str, Publication] = {}
        self._of: dict[str, list[Publication]] = {}
        self._numbers: dict[tuple[str, str], int] = {}
        self.successors: dict[tuple[str, str], str] = {}
        """Of a stream and a message-id: the message-id that every reader found behind it."""

    def stamp(self) -> int:
        """The next number of the clock."""
        self._clock += 1
        return self._clock

    def violate(self, text: str) -> None:
        """Something is wrong."""
        self.violated += 1
        if len(self.violations) < TOLD:
            self.violations.append(text)

    # What is sent

    def send(self, destination: str, sender: str, *, held: bool = False) -> Publication:
        """A client is about to SEND; `held` in a transaction."""
        number = self._numbers.get((destination, sender), 0) + 1
        self._numbers[destination, sender] = number
        publication = Publication(destination, sender, number, self.stamp())
        if held:
            publication.state = State.HELD
        self._publications[publication.name] = publication
        self._of.setdefault(destination, []).append(publication)
        self.sent += 1
        return publication

    def promise(self, publication: Publication) -> None:
        """A RECEIPT confirmed it."""
        publication.state, publication.promised_at = State.PROMISED, self.stamp()

    def promised(self, destination: str, since: int, until: int) -> list[Publication]:
        """What was sent to a destination after one stamp, and promised before another."""
        sent = self._of.get(destination, [])
        first = bisect_left(sent, since, key=lambda each: each.sent_at)
        return [
            each
            for each in sent[first:]
            if each.state is State.PROMISED and each.promised_at < until
        ]

    # What comes

    def find(self, body: str) -> Publication | None:
        """Whose body this is; it is a violation if nobody may have it."""
        self.delivered += 1
        name = body.rpartition(" ")[0]
        found = self._publications.get(name)
        if found is None:
            self.violate(f"nobody sent {body[:80]!r}")
        elif found.state in (State.HELD, State.FORBIDDEN):
            self.violate(f"{name} came, and its transaction was not committed")
        return found


@dataclass(eq=False)
class LiveReader:
    """One subscription of a topic in `auto` mode: everything once, in order."""

    ledger: Ledger
    destination: str
    label: str
    since: int = 0
    """The stamp of the RECEIPT of its SUBSCRIBE; 0 before."""
    seen: set[str] = field(default_factory=set)
    newest: dict[str, int] = field(default_factory=dict)

    def take(self, found: Publication, message_id: str) -> None:
        """A MESSAGE came."""
        if found.name in self.seen:
            self.ledger.violate(f"{self.label} got {found.name} twice")
        self.seen.add(found.name)
        if self.newest.get(found.sender, 0) > found.number:
            self.ledger.violate(f"{self.label} got {found.name} behind a later one")
        self.newest[found.sender] = found.number

    def missing(self, until: int) -> list[str]:
        """What was promised to it before a stamp and did not come."""
        if not self.since:
            return []
        promised = self.ledger.promised(self.destination, self.since, until)
        return [each.name for each in promised if each.name not in self.seen]

    def finish(self, until: int) -> None:
        """It ended in good order: everything promised before must have come."""
        for name in self.missing(until):
            self.ledger.violate(f"{self.label} never got {name}")


@dataclass(eq=False)
class StreamReader(LiveReader):
    """A reader of a stream, over all its connections: all readers see one sequence, whole."""

    last: str = ""
    """The message-id it goes on from."""

    def take(self, found: Publication, message_id: str) -> None:
        super().take(found, message_id)
        if self.last:
            place = (self.destination, self.last)
            expected = self.ledger.successors.setdefault(place, message_id)
            if expected != message_id:
                self.ledger.violate(f"{self.label} got {found.name} where others got another one")
        self.last = message_id

    def begin_anew(self, message_id: str) -> None:
        """The history was too short, which the server said: nothing before counts."""
        self.since, self.last = self.ledger.stamp(), message_id


@dataclass(eq=False)
class Holding:
    """What a queue keeps for its consumers, or a durable name for its holder: each message until
    somebody has settled it.
    """

    ledger: Ledger
    destination: str
    label: str
    since: int = 0
    """The stamp from which on promises count; 0: none yet."""
    ordered: bool = False
    """There is one consumer at a time: what comes for the first time comes in order."""
    fresh: set[str] = field(default_factory=set)
    """These came without `redelivered`, which happens once."""
    settled: set[str] = field(default_factory=set)
    """A confirmed ACK, or a NACK that makes a dead letter, has settled these."""
    perhaps: set[str] = field(default_factory=set)
    """An ACK, or a NACK that makes a dead letter, was sent and not confirmed."""
    rejected: set[str] = field(default_factory=set)
    """A confirmed NACK made dead letters of these."""
    dead: set[str] = field(default_factory=set)
    """These came as dead letters."""
    newest: dict[str, int] = field(default_factory=dict)

    def take(self, found: Publication, redelivered: bool) -> None:
        """A MESSAGE came to a consumer."""
        name = found.name
        if name in self.settled:
            self.ledger.violate(f"{self.label} got {name}, which was settled")
        if redelivered:
            return
        if name in self.fresh:
            self.ledger.violate(f"{self.label} got {name} twice without redelivered")
        self.fresh.add(name)
        if self.ordered and self.newest.get(found.sender, 0) > found.number:
            self.ledger.violate(f"{self.label} got {name} behind a later one")
        self.newest[found.sender] = found.number

    def bury(self, found: Publication) -> None:
        """It came as a dead letter."""
        name = found.name
        if name in self.dead:
            self.ledger.violate(f"{name} died twice")
        if name in self.settled and name not in self.rejected:
            self.ledger.violate(f"{name} died, and it was acknowledged")
        self.dead.add(name)

    def settle(self, name: str, *, acknowledged: bool = True) -> None:
        """A confirmed ACK, or a confirmed NACK that makes a dead letter of it."""
        self.settled.add(name)
        if not acknowledged:
            self.rejected.add(name)

    def missing(self, until: int) -> list[str]:
        """What was promised before a stamp, and nobody has settled."""
        if not self.since:
            return []
        over = self.settled | self.perhaps | self.dead
        promised = self.ledger.promised(self.destination, self.since, until)
        return [each.name for each in promised if each.name not in over]

    def finish(self, until: int) -> None:
        """Everything was read to the end."""
        for name in self.missing(until):
            self.ledger.violate(f"{self.label} lost {name}")
        for name in sorted(self.rejected - self.dead):
            self.ledger.violate(f"{self.label}: {name} was rejected, and is no dead letter")

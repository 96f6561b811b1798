"""The whole of delivery once more, with lists and loops only: what the broker must do.

Rule: no indexes, no sharing, no bytes, nothing lazy: every look goes through a whole list. What a
client must see is appended to `Session.out` as (kind, text, marks). Times are exact binary
fractions, so that both sides agree to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

WINDOW, HISTORY, PENDING, QUEUE, NAMES, ATTEMPTS = 3, 4, 5, 6, 2, 4
AGE, ACK_TIMEOUT, QUEUE_TIMEOUT = 60.0, 30.0, 20.0
AWAY, TX_SECONDS, KEY_SECONDS = 300.0, 60.0, 300.0
TX_OPEN, TX_FRAMES = 2, 4
STREAM, LATEST, LOSSY, PLAIN = "/topic/stream", "/topic/latest", "/topic/lossy", "/topic/plain"
QUEUE_A, QUEUE_B, DEAD = "/queue/a", "/queue/b", "/queue/dead"
DEAD_LETTER = {PLAIN: DEAD, QUEUE_B: PLAIN}


class Refused(Exception):
    """ERROR with this code, then close."""


@dataclass(eq=False)
class Message:
    body: str
    dest: str
    at: float
    key: str = ""
    marks: dict[str, str] = field(default_factory=dict)
    offset: int = 0
    number: int = 0


@dataclass(eq=False)
class Delivery:
    sub: Subscription
    message: Message
    attempt: int
    at: float
    place: int


@dataclass(eq=False)
class Subscription:
    session: Session
    id: str
    dest: str
    mode: str
    window: int = WINDOW
    next: int = 0
    replay_to: int = 0
    dropped: int = 0
    unrecovered: bool = False
    ended: bool = False
    name: Name | None = None

    @property
    def ledger(self) -> list[Delivery]:
        return self.session.ledgers[self.id]

    def room(self) -> bool:
        if self.mode == "auto":
            return True
        held = len(self.ledger) + sum(d.sub.id == self.id for d in self.session.held)
        held += sum(d.sub.id == self.id for _, d in self.session.retries)
        return held < self.session.windows[self.id]


@dataclass(eq=False)
class Session:
    number: int
    version: str
    user: str | None
    subs: dict[str, Subscription] = field(default_factory=dict)
    ledgers: dict[str, list[Delivery]] = field(default_factory=dict)
    modes: dict[str, str] = field(default_factory=dict)
    windows: dict[str, int] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    txs: dict[str, Transaction] = field(default_factory=dict)
    retries: list[tuple[float, Delivery]] = field(default_factory=list)
    behind: list[Subscription] = field(default_factory=list)
    mailbox: list[tuple[Any, ...]] = field(default_factory=list)
    out: list[tuple[Any, ...]] = field(default_factory=list)
    stuck: bool = False
    alive: bool = True
    unacknowledged: int = 0

    @property
    def held(self) -> list[Delivery]:
        return [d for tx in self.txs.values() for taken in tx.taken for d in taken]

    def say(self, kind: str, text: str, **marks: str) -> None:
        self.mailbox.append((kind, text, {k.replace("_", "-"): v for k, v in marks.items()}))


@dataclass(eq=False)
class Transaction:
    began: float
    frames: list[dict[str, Any]] = field(default_factory=list)
    taken: list[list[Delivery]] = field(default_factory=list)


@dataclass(eq=False)
class Name:
    """A durable subscription."""

    user: str
    id: str
    dest: str
    next: int
    holder: Subscription | None = None
    returned: list[Delivery] = field(default_factory=list)
    dropped: int = 0
    until: float = 0.0


@dataclass(eq=False)
class Place:
    """A destination: a topic's log, or a queue."""

    log: list[Message] = field(default_factory=list)
    top: int = 0
    lost: int = 0
    kinds: list[tuple[str, str, str]] = field(default_factory=list)
    turn: list[Subscription] = field(default_factory=list)
    delayed: list[tuple[float, Message]] = field(default_factory=list)
    attempts: dict[int, int] = field(default_factory=dict)


class Naive:
    def __init__(self, now: float) -> None:
        self.now = now
        self.sessions: list[Session] = []
        self.names: list[Name] = []
        self.keys: dict[tuple[str, str, str], tuple[str, float]] = {}
        names = (STREAM, LATEST, LOSSY, PLAIN, QUEUE_A, QUEUE_B, DEAD)
        self.places = {dest: Place() for dest in names}
        self.dead = self.published = self.placed = 0

    # Publishing

    def publish(
        self, dest: str, body: str, key: str = "", *, reserved: bool = False, **marks: str
    ) -> None:
        place = self.places[dest]
        if not reserved and not self.fits(dest, 1):
            raise Refused("queue-full")
        self.published += 1
        place.top += 1
        marks = {name.replace("_", "-"): value for name, value in marks.items()}
        message = Message(body, dest, self.now, key or dest, marks, place.top, self.published)
        if dest == LATEST:
            place.log = [m for m in place.log if m.key != message.key]
        place.log.append(message)
        if dest.startswith("/queue"):
            self.dispatch(dest)
            return
        full: list[Subscription] = []
        for kind in list(place.kinds):
            for sub in self.live(dest, kind):
                if dest == LATEST or not sub.room():
                    full.append(sub)
                else:
                    self.deliver(sub, message)
        for sub in full:
            sub.next = message.offset
            sub.session.behind.append(sub)
        self.trim(dest)

    def fits(self, dest: str, count: int) -> bool:
        place = self.places[dest]
        held = len(place.log) + len(place.delayed) + count
        return held <= QUEUE or not dest.startswith("/queue")

    def live(self, dest: str, kind: tuple[str, str, str]) -> list[Subscription]:
        found = [s for s in self.all_subs(dest) if (s.session.version, s.id, s.mode) == kind]
        return [s for s in found if s not in s.session.behind]

    def all_subs(self, dest: str) -> list[Subscription]:
        return [s for each in self.sessions for s in each.subs.values() if s.dest == dest]

    def deliver(self, sub: Subscription, m: Message, attempt: int = 1, **more: str) -> None:
        marks = dict(m.marks)
        if m.dest in (STREAM, LATEST):
            marks["offset"] = str(m.offset)
        if sub.mode != "auto":
            marks["redelivered"] = "false" if attempt == 1 else "true"
            self.placed += 1
            sub.ledger[:] = [d for d in sub.ledger if d.message is not m]
            sub.ledger.append(Delivery(sub, m, attempt, self.now, self.placed))
        if attempt > 1:
            marks |= {"redelivered": "true", "delivery-attempt": str(attempt)}
        if not m.dest.startswith("/queue"):
            if sub.unrecovered:
                marks["recovered"] = "false"
            if sub.dropped:
                marks["dropped"] = str(sub.dropped)
            sub.unrecovered, sub.dropped = False, 0
        sub.session.mailbox.append(("MESSAGE", m.body, marks | more, sub, m))

    def trim(self, dest: str) -> None:
        place = self.places[dest]
        behind = [s for s in self.all_subs(dest) if s in s.session.behind]
        away = [n for n in self.names if n.dest == dest and not n.holder]
        if dest == STREAM:
            wanted = self.wanted(dest)
            for m in list(place.log):
                old = len(place.log) > HISTORY or m.at + AGE <= self.now
                if old and (m.offset < wanted or len(place.log) > max(PENDING, HISTORY)):
                    place.log.remove(m)
                    place.lost = m.offset
        elif dest != LATEST:
            needed = min([each.next for each in behind + away], default=place.top + 1)
            place.log = [m for m in place.log if m.offset >= needed]
            while len(place.log) > PENDING:
                place.lost = place.log.pop(0).offset
        for sub in behind:
            if sub.next <= place.lost and dest != LATEST:
                missed, sub.next = place.lost + 1 - sub.next, place.lost + 1
                if dest == LOSSY or sub.name:
                    sub.dropped += missed
                else:
                    self.end(sub.session, "4010", drop=True)

    def wanted(self, dest: str) -> int:
        """The first offset that a durable name has not seen."""
        away = [n.next for n in self.names if n.dest == dest and not n.holder]
        behind = [s.next for s in self.all_subs(dest) if s.name and s in s.session.behind]
        return min(away + behind, default=self.places[dest].top + 1)

    def pull_one(self, sub: Subscription) -> bool:
        place = self.places[sub.dest]
        m = next((m for m in place.log if m.offset >= sub.next), None)
        if m is None:
            if not sub.dropped and not sub.unrecovered:
                sub.session.behind.remove(sub)
            return False
        if not sub.room():
            return False
        if sub.dest == LATEST and m.offset > sub.replay_to:
            sub.dropped += m.offset - max(sub.next, sub.replay_to + 1)
        sub.next = m.offset + 1
        self.deliver(sub, m, **({"replayed": "true"} if m.offset <= sub.replay_to else {}))
        self.trim(sub.dest)
        return True

    def flush(self) -> None:
        """The end of a step: who is not stuck gets everything."""
        for session in self.sessions:
            moved = not session.stuck
            while moved and session.alive:
                moves = [self.pull_one(sub) for sub in list(session.behind) if session.alive]
                moved = any(moves)
            if not session.stuck:
                session.out += session.mailbox
                session.mailbox.clear()

    # Queues

    def dispatch(self, dest: str) -> None:
        place = self.places[dest]
        while place.log:
            ready = [s for s in place.turn if not s.session.stuck and s.room()]
            if not ready:
                return
            m, consumer = place.log.pop(0), ready[0]
            place.turn.remove(consumer)
            place.turn.append(consumer)
            place.attempts[m.offset] = place.attempts.get(m.offset, 0) + 1
            self.deliver(consumer, m, place.attempts[m.offset])

    def dispatch_to(self, session: Session) -> None:
        for sub in session.subs.values():
            if sub.dest.startswith("/queue"):
                self.dispatch(sub.dest)

    def put_back(self, m: Message) -> None:
        place = self.places[m.dest]
        place.log = sorted([*place.log, m], key=lambda each: each.offset)

    # Coming back

    def give_back(self, deliveries: Iterable[Delivery], *, lost: bool = False) -> None:
        touched: list[str] = []
        for d in deliveries:
            sub, m = d.sub, d.message
            queue = m.dest.startswith("/queue")
            name = sub.name if sub.name in self.names else None
            if not queue and name is None and (sub.ended or lost):
                sub.session.unacknowledged += lost
            elif d.attempt >= ATTEMPTS:
                self.bury(m, "attempts", d.attempt)
            elif not queue and (lost or sub.ended):
                assert name is not None
                if name.holder is None:
                    name.returned.append(d)
                else:
                    self.deliver(name.holder, m, d.attempt + 1)
            else:
                due = self.now + (0.0 if lost or d.attempt < 2 else 2.0 ** (d.attempt - 2))
                if queue and due > self.now:
                    self.places[m.dest].delayed.append((due, m))
                elif queue:
                    self.put_back(m)
                    touched += [m.dest] * (m.dest not in touched)
                else:
                    sub.session.retries.append((due, d))
                    if due <= self.now:
                        self.retry(sub.session)
        for dest in touched:
            self.dispatch(dest)

    def retry(self, s: Session) -> None:
        for each in sorted(s.retries, key=lambda r: (r[0], r[1].message.number)):
            if each[0] <= self.now and each in s.retries:
                s.retries.remove(each)
                self.again(each[1])

    def again(self, d: Delivery) -> None:
        name = d.sub.name if d.sub.name in self.names else None
        if not d.sub.ended:
            self.deliver(d.sub, d.message, d.attempt + 1)
            return
        if name is not None and name.holder is None:
            name.returned.append(d)
        elif name is not None and name.holder is not None:
            self.deliver(name.holder, d.message, d.attempt + 1)
        self.dispatch_to(d.sub.session)  # the id may be a consumer's now, whose window it left

    def bury(self, m: Message, reason: str, attempts: int) -> None:
        self.dead += 1
        dest = DEAD_LETTER.get(m.dest)
        if dest and "x-death-reason" not in m.marks and self.fits(dest, 1):
            self.publish(
                dest,
                m.body,
                original_destination=m.dest,
                x_death_reason=reason,
                delivery_attempt=str(attempts),
            )

    def end(self, session: Session, code: str = "", *, drop: bool = False) -> None:
        """A session ends; what it left goes back."""
        if not session.alive:
            return
        session.alive = False
        for sub in list(session.subs.values()):
            self.leave(sub)
        if drop:
            session.mailbox = [each for each in session.mailbox if each[0] != "MESSAGE"]
        for name, tx in session.txs.items():
            if name != "\0":  # the one in the middle of its COMMIT goes on
                self.undo(tx)
        session.txs.clear()
        left = [d for ledger in session.ledgers.values() for d in ledger]
        left += [d for _, d in sorted(session.retries, key=lambda r: (r[0], r[1].message.number))]
        session.ledgers.clear()
        session.retries.clear()
        self.give_back(left, lost=True)
        if code:
            session.say("CLOSE", code)

    def leave(self, sub: Subscription) -> None:
        session, place = sub.session, self.places[sub.dest]
        del session.subs[sub.id]
        sub.ended = True
        if sub in place.turn:
            place.turn.remove(sub)
        name, behind = sub.name, sub in session.behind
        if name and name.holder is sub:
            first = sub.next if behind else place.top + 1
            gone = sub.mode == "auto" and not session.alive
            unsent = [e[4] for e in session.mailbox if len(e) > 3 and e[3] is sub and gone]
            for m in unsent:
                if m not in place.log and m.offset > place.lost:
                    self.put_back(m)
            name.holder, name.dropped, name.until = None, sub.dropped, self.now + AWAY
            name.next = min([first, *(m.offset for m in unsent)])
        if behind:
            session.behind.remove(sub)
        kind = (session.version, sub.id, sub.mode)
        if not any((s.session.version, s.id, s.mode) == kind for s in self.all_subs(sub.dest)):
            place.kinds = [each for each in place.kinds if each != kind]
        if not sub.dest.startswith("/queue"):
            self.trim(sub.dest)

    def undo(self, tx: Transaction) -> None:
        for taken in tx.taken:
            for d in taken:
                d.at = self.now
                ledger = d.sub.session.ledgers[d.sub.id]
                ledger += [d] * all(each.message is not d.message for each in ledger)
                ledger.sort(key=lambda each: each.place)

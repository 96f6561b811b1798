"""The whole of delivery once more, with lists and loops only: what the broker must do.

Rule: no indexes, no sharing, no bytes, nothing lazy: every look goes through a whole list. This
file publishes, keeps and hands out; `ends.py` takes back, `frames.py` is what clients ask for,
`running.py` is user code, `clock.py` is time.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.model import rules
from tests.model.records import Delivery, Key, Message, Name, Place, Refused, Session, Subscription

__all__ = ["Naive"]


class Naive:
    """Destinations, and what is on its way to whom."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.sessions: list[Session] = []
        self.names: list[Name] = []
        self.keys: dict[tuple[str, str, str], Key] = {}
        self.places = {address: Place() for address in rules.PLACES}
        self.dead = self.published = self.placed = 0
        self.overtaken: list[Session] = []
        """Sessions whose log was trimmed under them; closed at the end of the step."""
        self.ended_at: Callable[[Session], int] = lambda _: 0
        """Which of them is closed first is for the real one to say."""
        self.buried: list[tuple[str, Message]] = []
        """Dead letters, and where to; sent on their way at the end of the step."""

    def place(self, address: str) -> Place:
        return self.places.setdefault(address, Place())

    # Publishing

    def publish(
        self,
        address: str,
        body: str,
        key: str = "",
        *,
        reserved: bool = False,
        expiration: int | None = None,
        marks: dict[str, str] | None = None,
    ) -> None:
        """Everybody who listens now will have it."""
        if address.startswith("reply:") and address not in self.places:
            return  # who asked is gone
        place = self.place(address)
        if not reserved and not self.fits(address, 1):
            raise Refused("queue-full")
        message = self.message(address, body, marks)
        message.key = key or address
        place.top += 1
        message.offset = place.top
        if expiration is not None:
            message.expires = self.now + expiration / 1000
            place.sooner(message.expires)
        if address == rules.LATEST:
            place.log = [m for m in place.log if m.key != message.key]
        if rules.is_queue(address):
            if not place.log and not self.out(address):
                place.idle_since = None  # it is a new one
            self.watch(address)
        place.log.append(message)
        if rules.is_queue(address):
            self.dispatch(address)
            return
        full: list[Subscription] = []
        for kind in list(place.kinds):
            for sub in self.live(address, kind):
                if address == rules.LATEST or not sub.room():
                    full.append(sub)
                else:
                    self.deliver(sub, message)
        for sub in full:
            sub.next = message.offset
            sub.session.behind.append(sub)
        self.trim(address)

    def message(self, address: str, body: str, marks: dict[str, str] | None = None) -> Message:
        self.published += 1
        return Message(body, address, self.now, marks=dict(marks or {}), number=self.published)

    def publish_to(self, session: Session, path: str, body: str, marks: dict[str, str]) -> None:
        """To one session only: its subscriptions to `/user` and this path. All others skip it."""
        if not session.alive:
            return
        address = rules.own(session.owner, path)
        place = self.place(address)
        m = self.message(address, body, marks)
        place.top += 1
        m.offset, m.only = place.top, session
        live = [sub for kind in place.kinds for sub in self.live(address, kind)]
        live = [sub for sub in live if sub.session is session]
        full = [sub for sub in live if not sub.room()]
        behind = [sub for sub in self.all_subs(address) if sub in session.behind]
        if behind or full:
            place.log.append(m)
        for sub in live:
            if sub not in full:
                self.deliver(sub, m)
            else:
                sub.next = m.offset
                session.behind.append(sub)
        self.trim(address)

    def fits(self, address: str, count: int) -> bool:
        """A queue has room for so many more; what is out counts until it is settled."""
        if address not in self.places or not rules.is_queue(address):
            return True
        return len(self.places[address].log) + self.out(address) + count <= rules.QUEUE

    def out(self, address: str) -> int:
        """Messages of a queue that were handed out and not settled, or come back later."""
        count = len(self.places[address].delayed)
        for s in self.sessions:
            unsettled = [d for ledger in s.ledgers.values() for d in ledger] + s.held
            count += sum(d.message.address == address for d in unsettled)
            waiting = [e for e in s.mailbox if e[0] == "MESSAGE" and e[3].mode == "auto"]
            count += sum(e[4].address == address for e in waiting)
        return count

    def live(self, address: str, kind: tuple[str, str, str]) -> list[Subscription]:
        found = [s for s in self.all_subs(address) if (s.session.version, s.id, s.mode) == kind]
        return [s for s in found if s not in s.session.behind]

    def all_subs(self, address: str) -> list[Subscription]:
        return [s for each in self.sessions for s in each.subs.values() if s.address == address]

    # Delivery

    def deliver(
        self, sub: Subscription, m: Message, attempt: int = 1, again: bool = False, **more: str
    ) -> None:
        again = again or attempt > 1
        marks = dict(m.marks)
        if m.offset and m.address in rules.WITH_HISTORY:
            marks["offset"] = str(m.offset)
        if sub.mode != "auto":
            marks["redelivered"] = "true" if again else "false"
            self.placed += 1
            sub.ledger[:] = [d for d in sub.ledger if d.message is not m]
            at = sub.session.listened(self.now)
            sub.ledger.append(Delivery(sub, m, attempt, at, self.placed, again))
            if attempt > rules.attempts(m.address):
                sub.session.narrowed.add(sub.id)
        if again:
            marks |= {"redelivered": "true", "delivery-attempt": str(attempt)}
        tells = sub.dropped
        if sub.unrecovered:
            marks["recovered"] = "false"
        if sub.dropped:
            marks["dropped"] = str(sub.dropped)
        sub.unrecovered, sub.dropped = False, 0
        entry = ("MESSAGE", m.body, marks | more, sub, m, attempt, tells, again)
        sub.session.mailbox.append(entry)

    def tell(self, sub: Subscription, text: str, marks: dict[str, str]) -> None:
        """The first MESSAGE of a subscription: an answer, or a snapshot, unless history comes
        before it. It is in no log.
        """
        m = self.message(sub.address, text, marks)
        if sub.next < sub.snapshot_at:
            sub.snapshot = m
        else:
            self.deliver(sub, m)

    def tell_snapshot(self, sub: Subscription, m: Message) -> bool:
        """The history before it was told; whether there was room for it."""
        if not sub.room():
            return False
        sub.snapshot = None
        self.deliver(sub, m)
        return True

    def flush(self) -> None:
        """The end of a turn: whose transport is not stuck gets everything."""
        moved = True
        while moved:
            moved = False
            for session in list(self.sessions):
                if not session.stuck:
                    reads = bool(session.behind)
                    self.pull(session)
                    moved = self.write(session) or moved
                    if reads:
                        self.settle_step()

    def write(self, session: Session) -> bool:
        written, session.mailbox = session.mailbox, []
        session.out += written
        if written:
            session.last_write = self.now
            session.stuck = session.narrow
            session.progress_at = self.now if session.stuck else None
        return bool(written)

    def pull(self, session: Session) -> None:
        """Its readers go on as far as they can, in turn."""
        moved = session.alive
        while moved:
            moves = [self.pull_one(sub) for sub in list(session.behind)]
            moved = any(moves)

    def pull_one(self, sub: Subscription) -> bool:
        if sub.blocked or sub.ended or sub.session in self.overtaken:
            return False
        place = self.places[sub.address]
        m = next((m for m in place.log if m.offset >= sub.next), None)
        if sub.snapshot is not None and (m is None or m.offset >= sub.snapshot_at):
            return self.tell_snapshot(sub, sub.snapshot)
        if m is None:
            if sub.address == rules.LATEST:
                self.lose_newer(sub, place.top + 1)
            if not sub.dropped and not sub.unrecovered:
                sub.session.behind.remove(sub)
                if not any(s in s.session.behind for s in self.all_subs(sub.address)):
                    self.trim(sub.address)
            return False
        if m.only not in (None, sub.session):
            sub.next = m.offset + 1
            return True
        if m.dead(self.now):
            self.bury_dead(sub.address)
            return True
        if not sub.room():
            return False
        replayed = m.offset <= sub.replay_to
        if sub.address == rules.LATEST:
            self.lose_newer(sub, m.offset)
            replayed = sub.replays > 0
            sub.replays -= replayed
        sub.next = m.offset + 1
        self.deliver(sub, m, **({"replayed": "true"} if replayed else {}))
        return True

    def lose_newer(self, sub: Subscription, offset: int) -> None:
        """Newest values only: what came since it subscribed and is gone before this offset."""
        sub.dropped += max(0, offset - max(sub.next, sub.replay_to + 1))
        sub.next = max(sub.next, offset)

    # What a topic keeps

    def trim(self, address: str) -> None:
        place = self.places[address]
        if address in rules.STREAMS:
            self.age(address)
            place.sooner(self.age_at(address))
        elif address != rules.LATEST:
            place.log = [m for m in place.log if m.offset >= self.needed(address)]
            while len(place.log) > rules.PENDING:
                place.lost = place.log.pop(0).offset
        lost = 0 if address == rules.LATEST else place.lost
        for sub in self.all_subs(address):
            if sub in sub.session.behind and sub.next <= lost:
                missed, sub.next = lost + 1 - sub.next, lost + 1
                if address == rules.LOSSY or sub.name:
                    sub.dropped += missed
                else:
                    self.overtaken.append(sub.session)

    def needed(self, address: str) -> int:
        """The first offset that somebody has still to read."""
        behind = [s for s in self.all_subs(address) if s in s.session.behind]
        away = [n for n in self.names if n.address == address and not n.holder]
        return min([each.next for each in behind + away], default=self.places[address].top + 1)

    def bury_dead(self, address: str) -> None:
        """What has reached the end of its life; a dead letter if somebody was still to get it."""
        place = self.places[address]
        dead = [m for m in place.log if m.dead(self.now)]
        for m in sorted(dead, key=lambda m: (m.expires, m.offset)):
            place.log.remove(m)
            behind = [s for s in self.all_subs(address) if s in s.session.behind]
            away = [n for n in self.names if n.address == address and not n.holder]
            if any(each.next <= m.offset for each in behind + away):
                self.bury(m, "expired", 0)

    def settle_step(self) -> None:
        """The end of a step. Dead letters go where they have to; who cannot be brought up to date
        is closed, and what waits for it is dropped.
        """
        while self.overtaken or self.buried:
            buried, self.buried = self.buried, []
            for address, m in buried:
                if self.fits(address, 1):
                    self.publish(address, m.body, marks=m.marks)
            overtaken, self.overtaken = self.overtaken, []
            for session in sorted(overtaken, key=self.ended_at):
                self.close(session, "4010", drop=True)

    def age(self, address: str) -> None:
        """Drop what is beyond the history of a stream. It is looked for when something comes or
        goes, not when somebody has read a message.
        """
        place = self.places[address]
        wanted = self.wanted(address)
        most = max(rules.PENDING, rules.HISTORY)
        for m in list(place.log):
            old = len(place.log) > rules.HISTORY or m.at + rules.AGE <= self.now
            if len(place.log) <= most and not (old and m.offset < wanted):
                return
            place.log.remove(m)
            place.lost = m.offset

    def age_at(self, address: str) -> float | None:
        """When the oldest message is too old; if it is already, when to look again."""
        log = self.places[address].log
        if not log:
            return None
        at = log[0].at + rules.AGE
        return at if at > self.now else self.now + rules.AGE

    def wanted(self, address: str) -> int:
        """The first offset of a stream that must not age: a durable name has not seen it, or it was
        published while a snapshot was made.
        """
        wanted = [n.next for n in self.names if n.address == address and not n.holder]
        behind = [s for s in self.all_subs(address) if s in s.session.behind]
        wanted += [s.next for s in behind if s.name or s.blocked or s.next <= s.held_to]
        return min(wanted, default=self.places[address].top + 1)

    # Queues

    def dispatch(self, address: str) -> None:
        """Hand out what can be handed out, in turn."""
        place = self.places[address]
        while place.log and place.turn:
            m = place.log[0]
            if m.dead(self.now):
                place.log.remove(m)
                self.bury(m, "expired", place.attempts.pop(m.offset, 0))
                continue
            ready = [s for s in place.turn if self.ready(s)]
            if place.attempts.get(m.offset, 0) >= rules.attempts(address):
                ready = [s for s in ready if s.idle]
            if not ready:
                return
            place.log.remove(m)
            place.turn.remove(ready[0])
            place.turn.append(ready[0])
            place.attempts[m.offset] = place.attempts.get(m.offset, 0) + 1
            self.deliver(ready[0], m, place.attempts[m.offset], m.offset in place.seen)

    def watch(self, address: str) -> None:
        """What is in a queue that nobody consumes has its time."""
        place = self.places[address]
        if not place.turn:
            place.idle_since = self.now if place.idle_since is None else place.idle_since
            place.sooner(max(self.now, place.idle_since + rules.QUEUE_IDLE))

    def give_up(self, address: str) -> None:
        """That time is over: everything in it is a dead letter."""
        place = self.places[address]
        place.idle_since = None
        place.log += [m for _, m in place.delayed]
        place.delayed.clear()
        for m in sorted(place.log, key=lambda each: each.offset):
            self.bury(m, "expired", place.attempts.pop(m.offset, 0))
        place.log.clear()

    def ready(self, consumer: Subscription) -> bool:
        session = consumer.session
        return session.alive and not session.stuck and consumer.room()

    def dispatch_to(self, session: Session) -> None:
        for sub in [each for each in session.consumers if self.ready(each)]:
            self.dispatch(sub.address)

    def opened(self, session: Session, sub_id: str) -> None:
        """The window of this id has room again; who consumes under it now goes on."""
        if sub_id in session.narrowed and not session.holds(sub_id):
            session.narrowed.discard(sub_id)
        sub = session.subs.get(sub_id)
        name = sub.name if sub is not None else None
        if sub is not None and name is not None and name.holder is sub and not sub.blocked:
            returned, name.returned = name.returned, []
            self.give_again(sub, returned)
        if sub is not None and sub in session.consumers and self.ready(sub):
            self.dispatch(sub.address)

    def put_back(self, m: Message) -> None:
        place = self.places[m.address]
        place.log = sorted([*place.log, m], key=lambda each: each.offset)
        if rules.is_queue(m.address):
            self.watch(m.address)
        if m.expires is not None:
            place.sooner(max(m.expires, self.now))

    # In the files above this one

    def give_again(self, sub: Subscription, returned: list[Delivery]) -> None:
        raise NotImplementedError

    def bury(self, m: Message, reason: str, attempt: int) -> None:
        raise NotImplementedError

    def close(self, session: Session, code: str, *, drop: bool = False) -> None:
        raise NotImplementedError

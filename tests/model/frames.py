"""What each client frame, and time, does to the naive broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tests.model import naive
from tests.model.naive import Delivery, Naive, Name, Refused, Session, Subscription, Transaction

__all__ = ["Model"]

TICK = 1e-6
"""What is woken looks so far ahead."""


class Model(Naive):
    """The frame table and the clock of the naive broker."""

    def frame(self, session: Session, frame: dict[str, Any]) -> None:
        """One client frame: `command` and what it says."""
        try:
            getattr(self, frame["command"].lower())(session, frame)
        except Refused as refusal:
            session.say("ERROR", str(refusal))
            self.end(session, CLOSES.get(str(refusal), "1002"))

    def receipt(self, session: Session, frame: dict[str, Any], **more: str) -> None:
        if frame.get("receipt") and session.alive:
            session.say("RECEIPT", frame["receipt"], **more)

    # SUBSCRIBE

    def subscribe(self, session: Session, frame: dict[str, Any]) -> None:
        sub_id, dest, mode = frame["id"], frame["destination"], frame["ack"]
        queue = dest.startswith("/queue")
        durable = frame["durable"] and not queue
        if sub_id in session.subs:
            raise Refused("duplicate-subscription")
        if durable and session.user is None:
            raise Refused("subscribe-denied")
        name = next((n for n in self.names if (n.user, n.id) == (session.user, sub_id)), None)
        if durable and name is None and sum(n.user == session.user for n in self.names) >= 2:
            raise Refused("limit")
        if durable and name is not None and name.dest != dest:
            self.end_holder(name)
            self.names.remove(name)
            self.trim(name.dest)
            name = None
        sub = Subscription(session, sub_id, dest, mode)
        if mode != "auto":
            session.ledgers.setdefault(sub_id, [])
            session.modes[sub_id] = mode
            session.windows[sub_id] = min(frame["prefetch"] or naive.WINDOW, naive.WINDOW)
        session.subs[sub_id] = sub
        place = self.places[dest]
        kind = (session.version, sub_id, mode)
        place.kinds += [kind] * (kind not in place.kinds)
        if queue:
            self.receipt(session, frame)
            place.turn.append(sub)
            self.dispatch(dest)
            return
        more, returned = self.position(sub, frame, name if durable else None, durable)
        self.receipt(session, frame, **more)
        for d in sorted(returned, key=lambda each: each.message.number):
            self.deliver(sub, d.message, d.attempt + 1)

    def position(
        self, sub: Subscription, frame: dict[str, Any], name: Name | None, durable: bool
    ) -> tuple[dict[str, str], list[Delivery]]:
        place, wanted, dest = self.places[sub.dest], frame.get("last"), sub.dest
        if dest == naive.STREAM:
            self.trim(dest)
        start, more = place.top + 1, {}
        returned: list[Delivery] = []
        if durable:
            assert sub.session.user is not None
            if name is None:
                name = Name(sub.session.user, sub.id, dest, place.top + 1)
                self.names.append(name)
            returned = self.evict(name)
            sub.name, name.holder, sub.dropped, name.dropped = name, sub, name.dropped, 0
            if name.next <= place.lost:
                sub.dropped += place.lost + 1 - name.next
            start = max(name.next, place.lost + 1)
        if wanted is not None:
            known = dest in (naive.STREAM, naive.LATEST) and wanted >= 0
            recovered = known and place.lost <= wanted <= place.top
            if dest == naive.LATEST:
                start = wanted + 1 if 0 <= wanted <= place.top else 1
                recovered = True
            elif recovered:
                start = wanted + 1
            count = sum(m.offset >= start for m in place.log) if recovered else 0
            more = {"recovered": "true" if recovered else "false", "replayed": str(count)}
            sub.unrecovered = not recovered and not frame.get("receipt")
        elif dest == naive.LATEST:
            start, more = 1, {"replayed": str(len(place.log))}
        if dest in (naive.STREAM, naive.LATEST):
            more["offset"] = str(place.top)
        sub.replay_to, sub.next = place.top, start
        if start <= place.top or sub.unrecovered or sub.dropped:
            sub.session.behind.append(sub)
        return more, returned

    def evict(self, name: Name) -> list[Delivery]:
        """Nobody holds the name any more; what came back to it."""
        holder = name.holder
        if holder is not None:
            self.end_holder(name)
            session = holder.session
            for ledger in session.ledgers.values():
                name.returned += [d for d in ledger if d.sub is holder]
                ledger[:] = [d for d in ledger if d.sub is not holder]
            name.returned += [d for _, d in session.retries if d.sub is holder]
            session.retries = [each for each in session.retries if each[1].sub is not holder]
        returned, name.returned = name.returned, []
        return returned

    def end_holder(self, name: Name) -> None:
        if name.holder is not None:
            name.holder.session.refused.add(name.holder.id)
            self.leave(name.holder)

    def unsubscribe(self, session: Session, frame: dict[str, Any]) -> None:
        sub = session.subs.get(frame["id"])
        if sub is None:
            if frame["id"] not in session.refused:
                raise Refused("unknown-subscription")
            session.refused.discard(frame["id"])
        else:
            self.leave(sub)
            if sub.name is not None and frame["durable"]:
                self.names.remove(sub.name)
                self.trim(sub.dest)
        self.receipt(session, frame)

    # SEND and transactions

    def send(self, session: Session, frame: dict[str, Any]) -> None:
        if "transaction" in frame:
            self.keep(session, frame)
            return
        key = (session.user or f"\0{session.number}", frame["destination"], frame.get("once", ""))
        known = self.keys.get(key)
        if key[2] and known is not None and known[1] > self.now:
            if known[0] != frame["body"]:
                raise Refused("idempotency-mismatch")
            self.receipt(session, frame, duplicate="true")
            return
        self.publish(frame["destination"], frame["body"], frame.get("key", ""))
        if key[2]:
            self.keys[key] = (frame["body"], self.now + naive.KEY_SECONDS)
        self.receipt(session, frame)

    def find(self, session: Session, frame: dict[str, Any]) -> Transaction:
        if frame["transaction"] not in session.txs:
            raise Refused("unknown-transaction")
        return session.txs[frame["transaction"]]

    def keep(self, session: Session, frame: dict[str, Any]) -> None:
        tx = self.find(session, frame)
        if len(tx.frames) >= naive.TX_FRAMES:
            raise Refused("limit")
        tx.frames.append(frame)
        tx.taken.append([])

    def begin(self, session: Session, frame: dict[str, Any]) -> None:
        if frame["transaction"] in session.txs:
            raise Refused("duplicate-transaction")
        if len(session.txs) >= naive.TX_OPEN:
            raise Refused("limit")
        session.txs[frame["transaction"]] = Transaction(self.now)
        self.receipt(session, frame)

    def abort(self, session: Session, frame: dict[str, Any]) -> None:
        tx = self.find(session, frame)
        del session.txs[frame["transaction"]]
        self.undo(tx)
        self.receipt(session, frame)

    def commit(self, session: Session, frame: dict[str, Any]) -> None:
        tx = self.find(session, frame)
        dests = [each["destination"] for each in tx.frames if each["command"] == "SEND"]
        del session.txs[frame["transaction"]]
        if not all(self.fits(dest, dests.count(dest)) for dest in dests):
            self.undo(tx)
            raise Refused("queue-full")
        waiting = dict(enumerate(tx.taken))
        session.txs["\0"] = Transaction(0.0, [], tx.taken)  # what is not applied yet is held
        for place, each in enumerate(tx.frames):
            taken = waiting[place]
            tx.taken[place] = []
            if each["command"] == "SEND":
                dest, body = each["destination"], each["body"]
                self.publish(dest, body, each.get("key", ""), reserved=True)
            else:
                self.settle(session, each, taken)
        session.txs.pop("\0", None)
        for each in [*tx.frames, frame]:
            self.receipt(session, each)

    # ACK, NACK

    def ack(self, session: Session, frame: dict[str, Any]) -> None:
        if "transaction" in frame:
            self.keep(session, frame)
            for taken in self.take(session, frame):
                self.find(session, frame).taken[-1] += taken
            return
        for taken in self.take(session, frame):
            self.settle(session, frame, taken)
        self.receipt(session, frame)

    nack = ack

    def take(self, session: Session, frame: dict[str, Any]) -> list[list[Delivery]]:
        named, message = frame.get("subscription"), frame["message"]
        if named in session.subs and session.subs[named].mode == "auto":
            return []
        if message is None:
            raise Refused("unknown-ack")
        found: list[list[Delivery]] = []
        only = frame["sub"] if session.version == "1.2" else named
        for sub_id, ledger in session.ledgers.items():
            at = next((n for n, d in enumerate(ledger) if d.message is message), None)
            if at is not None and only in (None, sub_id):
                first = 0 if session.modes[sub_id] == "client" else at
                found.append(ledger[first : at + 1])
                del ledger[first : at + 1]
        return found

    def settle(self, session: Session, frame: dict[str, Any], taken: list[Delivery]) -> None:
        if not taken:
            return
        if frame["command"] == "NACK" and frame.get("requeue") == "false":
            for d in taken:
                self.bury(d.message, "rejected", d.attempt)
        elif frame["command"] == "NACK":
            self.give_back(taken)
        if session.alive:
            self.dispatch_to(session)

    # Ends

    def disconnect(self, session: Session, frame: dict[str, Any]) -> None:
        self.receipt(session, frame)
        self.end(session, "1000")

    # Time

    def next_time(self) -> float | None:
        times = [self.session_due(s) for s in self.sessions if s.alive]
        times += [self.place_due(dest) for dest in self.places]
        return min([t for t in times if t is not None], default=None)

    def session_due(self, s: Session) -> float | None:
        times = [d.at + t for ds in s.ledgers.values() for d in ds if (t := timeout(d)) is not None]
        times += [due for due, _ in s.retries]
        times += [tx.began + naive.TX_SECONDS for tx in s.txs.values()]
        return min(times, default=None)

    def place_due(self, dest: str) -> float | None:
        place = self.places[dest]
        times = [due for due, _ in place.delayed]
        if dest == naive.STREAM and place.log and place.log[0].offset < self.wanted(dest):
            times.append(place.log[0].at + naive.AGE)
        times += [n.until for n in self.names if n.dest == dest and n.holder is None]
        return min(times, default=None)

    def wake(self, order: Callable[[Session | str], Any]) -> None:
        """Everything that is due now, in the order in which the real one looks at it."""
        things: list[Session | str] = [s for s in self.sessions if s.alive and self.is_due(s)]
        things += [dest for dest in self.places if self.is_due(dest)]
        self.now += TICK
        for thing in sorted(things, key=order):
            if isinstance(thing, Session):
                self.wake_session(thing)
            else:
                self.wake_place(thing)

    def is_due(self, thing: Session | str) -> bool:
        due = self.session_due(thing) if isinstance(thing, Session) else self.place_due(thing)
        return due is not None and due <= self.now

    def wake_session(self, s: Session) -> None:
        had = any((t := timeout(d)) and d.at + t <= self.now for x in s.ledgers.values() for d in x)
        self.give_back(self.late(s))
        if had and s.alive:
            self.dispatch_to(s)
        self.retry(s)
        for name, tx in list(s.txs.items()):
            if tx.began + naive.TX_SECONDS <= self.now:
                del s.txs[name]
                self.undo(tx)

    def late(self, s: Session) -> Iterator[Delivery]:
        """What was out for too long, ledger by ledger, the first that was due first."""
        unsent = [each[4] for each in s.mailbox if each[0] == "MESSAGE"]
        for ledger in list(s.ledgers.values()):
            due = [d for d in ledger if (t := timeout(d)) and d.at + t <= self.now]
            for d in sorted(due, key=lambda d: d.at + (timeout(d) or 0.0)):
                if d.message in unsent:
                    d.at = self.now  # it has not left yet
                elif d in ledger:
                    ledger.remove(d)
                    yield d

    def wake_place(self, dest: str) -> None:
        place = self.places[dest]
        for each in sorted(place.delayed, key=lambda d: (d[0], d[1].offset)):
            if each[0] <= self.now:
                place.delayed.remove(each)
                self.put_back(each[1])
        self.names = [n for n in self.names if n.dest != dest or n.holder or n.until > self.now]
        if dest.startswith("/queue"):
            self.dispatch(dest)
        else:
            self.trim(dest)


CLOSES = {
    "subscribe-denied": "1008",
    "limit": "1008",
    "idempotency-mismatch": "1008",
    "queue-full": "1013",
}


def timeout(delivery: Delivery) -> float | None:
    """Seconds it may stay unsettled."""
    dest = delivery.message.dest
    if dest == naive.QUEUE_B:
        return naive.QUEUE_TIMEOUT
    return None if dest.startswith("/queue") else naive.ACK_TIMEOUT

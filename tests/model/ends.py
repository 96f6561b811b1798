"""What comes back, and how sessions end.

Rule: a delivery that is not settled goes back where it came from: to its queue, its durable name or
its subscription, or it is a dead letter. A session is `open`, then `closing` (we closed it) or
`ending` (its stream ended, and frames of it are left), then `gone`.
"""

from __future__ import annotations

from typing import Any

from tests.model import rules
from tests.model.naive import Naive
from tests.model.records import Delivery, Job, Message, Session, Subscription, Transaction

__all__ = ["BLAMING", "Ends", "pause"]

BLAMING = ("1002", "1007", "4000", "4008")
"""Codes of our closes that a message may be to blame for."""


class Ends(Naive):
    """Coming back, and ends."""

    def __init__(self, now: float) -> None:
        super().__init__(now)
        self.returned_to: list[str] = []
        """Queues that got something back in this step."""
        self.settled = False
        """What follows from a frame is done before the next one, of whichever session."""

    def give_back(self, d: Delivery, pause: float, *, lost: bool = False) -> None:
        """NACK, timeout, or (`lost`) the end of the session. Then `dispatch_returned`."""
        sub, m = d.sub, d.message
        queue = rules.is_queue(m.address)
        if queue and m.address not in self.places:
            return
        name = sub.name if sub.name in self.names and m.offset else None
        if not queue and name is None and (sub.ended or lost):
            sub.session.unacknowledged += lost
        elif d.attempt >= rules.attempts(m.address) + lost:
            self.bury(m, "attempts", d.attempt)
        elif not queue and (lost or sub.ended):
            self.to_name(d)
        elif queue:
            self.places[m.address].attempts[m.offset] = d.attempt
            if d.again:
                self.places[m.address].seen.add(m.offset)
            if pause:
                self.places[m.address].delayed.append((self.now + pause, m))
                self.places[m.address].sooner(self.now + pause)
            else:
                self.put_back(m)
                self.returned_to.append(m.address)
        else:
            sub.session.retries.append((self.now + pause, d))
            if not pause:
                self.retry(sub.session)

    def dispatch_returned(self) -> None:
        """All that comes back in this step has its old place."""
        while self.returned_to:
            address = self.returned_to.pop(0)
            if address in self.places:
                self.dispatch(address)

    def to_name(self, d: Delivery) -> None:
        """It was for a durable name: who holds that now gets it, or will."""
        name = d.sub.name
        assert name is not None
        if name.holder is None or name.holder.blocked:
            name.returned.append(d)
        else:
            self.give_again(name.holder, [d])

    def give_again(self, sub: Subscription, returned: list[Delivery]) -> None:
        """What came back to the name it holds; what must go by itself has everything before it
        settled, and everything behind it waits.
        """
        waiting = sorted(returned, key=lambda each: each.message.number)
        while waiting:
            alone = waiting[0].attempt >= rules.attempts(waiting[0].message.address)
            if not sub.idle and (alone or sub.id in sub.session.narrowed):
                assert sub.name is not None
                sub.name.returned += waiting
                sub.session.narrowed.add(sub.id)
                return
            self.deliver_again(sub, waiting.pop(0))

    def deliver_again(self, sub: Subscription, d: Delivery) -> bool:
        """Once more, unless meanwhile it has died, or a newer value took its place."""
        m = d.message
        if m.dead(self.now):
            self.bury(m, "expired", d.attempt)
            return False
        if m.offset and m.address == rules.LATEST and m not in self.places[m.address].log:
            return False
        self.deliver(sub, m, d.attempt + 1, d.again)
        return True

    def retry(self, s: Session) -> None:
        for each in sorted(s.retries, key=lambda r: (r[0], r[1].message.number)):
            if each[0] <= self.now and each in s.retries:
                s.retries.remove(each)
                self.again(each[1])

    def again(self, d: Delivery) -> None:
        if not d.sub.ended and self.deliver_again(d.sub, d):
            return
        if d.sub.ended and d.sub.name in self.names and d.message.offset:
            self.to_name(d)
        self.opened(d.sub.session, d.sub.id)

    def bury(self, m: Message, reason: str, attempt: int) -> None:
        """A dead letter."""
        self.dead += 1
        address = rules.DEAD_LETTER.get(m.address)
        if address and "x-death-reason" not in m.marks:
            marks = {
                "original-destination": m.address,
                "x-death-reason": reason,
                "delivery-attempt": str(attempt),
            }
            self.buried.append((address, Message(m.body, address, self.now, marks=m.marks | marks)))

    # The end of a session

    def close(
        self, session: Session, code: str, *, drop: bool = False, blames: bool | None = None
    ) -> None:
        """We close it: what waits is written before the Close, but for messages if `drop`."""
        if session.state in ("open", "ending"):
            session.blames = code in BLAMING if blames is None else blames
        if session.state == "ending":
            self.gone(session)
        if not session.alive:
            return
        session.state = "closing"
        session.close_by = self.now + rules.CLOSE_SECONDS
        self.leave_all(session)
        if drop:
            dropped = [each for each in session.mailbox if each[0] == "MESSAGE"]
            session.mailbox = [each for each in session.mailbox if each[0] != "MESSAGE"]
            self.unsent(session, dropped)
        self.settle_up(session)
        session.say("CLOSE", code)

    def lost(self, session: Session) -> None:
        """Its stream ended; the frames that had come are still done, for five seconds."""
        session.blames = session.blames if session.state == "ending" else True
        if session.alive and session.busy:
            session.state = "ending"
            self.leave_all(session)
            self.empty(session)
            self.dispatch_returned()
            session.end_by = self.now + rules.GIVE_UP
        elif session.state != "ending":
            self.gone(session)

    def gone(self, session: Session) -> None:
        """Nothing of it is left but its handler, which is cancelled."""
        was, session.state = session.state, "gone"
        if was == "open":
            self.leave_all(session)
        self.drop_replies(session)
        session.inbox.clear()
        session.frames.clear()
        self.empty(session)
        self.settle_up(session)
        if session.job is not None and was != "closing":  # there it has its time already
            self.end_by(session.job, self.now)
        self.sessions.remove(session)

    def leave_all(self, session: Session) -> None:
        """Nothing reaches it any more."""
        for sub in list(session.subs.values()):
            self.leave(sub)
            if sub.mode == "auto":
                session.ended_auto.add(sub.id)
        self.drop_replies(session)
        session.drain_at = None
        if session.job is not None:
            self.end_by(session.job, self.now + rules.GIVE_UP)

    def settle_up(self, session: Session) -> None:
        """Nothing comes from it any more: what it left open is undone, what it had not settled goes
        back.
        """
        for name, tx in session.txs.items():
            if name != "\0":  # the one in the middle of its COMMIT goes on
                self.undo(tx)
        session.txs.clear()
        if session.user is None:
            ended = [k for k, known in self.keys.items() if k[0] == session.owner and known.until]
            for key in ended:
                del self.keys[key]
        left = [d for ledger in session.ledgers.values() for d in ledger]
        unwritten = [each[4] for each in session.mailbox if each[0] == "MESSAGE"]
        blamed: list[Subscription] = []
        for d in left:
            first = d.sent and d.message not in unwritten and d.sub not in blamed
            blamed += [d.sub] * first
            d.attempt -= not (first and session.blames)
            d.again = d.again or d.sent
        left += [d for _, d in sorted(session.retries, key=lambda r: (r[0], r[1].message.number))]
        session.ledgers.clear()
        session.retries.clear()
        for d in left:
            self.give_back(d, 0.0, lost=True)
        self.dispatch_returned()

    def end_by(self, job: Job, at: float) -> None:
        """Its session is over: cancel it at that time."""
        job.end_by = at
        if job.due is not None and not job.stopping:
            job.due = min(job.due, at)

    def empty(self, session: Session) -> None:
        left, session.mailbox = session.mailbox, []
        self.unsent(session, left)

    def unsent(self, session: Session, entries: list[tuple[Any, ...]]) -> None:
        """What was not written was not delivered; what a queue had handed out in auto mode goes
        back to it.
        """
        for _, _, _, sub, m, *_ in [each for each in entries if each[0] == "MESSAGE"]:
            for d in session.ledgers.get(sub.id, []):
                if d.message is m and sub.mode != "auto":
                    d.sent = False
            if rules.is_queue(m.address) and sub.mode == "auto" and m.address in self.places:
                self.places[m.address].attempts[m.offset] -= 1
                self.put_back(m)
                self.returned_to.append(m.address)

    def drop_replies(self, session: Session) -> None:
        for address in session.replies.values():
            del self.places[address]
        session.consumers = [s for s in session.consumers if s.address in self.places]
        session.replies.clear()

    def leave(self, sub: Subscription) -> None:
        """A subscription ends; a durable name of it stays."""
        session = sub.session
        session.subs.pop(sub.id, None)
        was, sub.ended = sub.ended, True
        if was or not sub.address:
            return
        place = self.places[sub.address]
        if sub in place.turn:
            place.turn.remove(sub)
            session.consumers.remove(sub)
            if place.log or place.delayed or self.out(sub.address):
                self.watch(sub.address)
        behind = sub in session.behind
        if sub.name and sub.name.holder is sub:
            self.leave_name(sub, sub.next if behind else place.top + 1)
        if behind:
            session.behind.remove(sub)
        kind = (session.version, sub.id, sub.mode)
        if not any((s.session.version, s.id, s.mode) == kind for s in self.all_subs(sub.address)):
            place.kinds = [each for each in place.kinds if each != kind]
        if not rules.is_queue(sub.address):
            self.trim(sub.address)

    def leave_name(self, sub: Subscription, first: int) -> None:
        """It goes on behind what was handed to the transport, or will be."""
        session, place, name = sub.session, self.places[sub.address], sub.name
        assert name is not None
        unsent = [each for each in session.mailbox if len(each) > 3 and each[3] is sub]
        session.mailbox = [each for each in session.mailbox if each not in unsent]
        for _, _, _, _, m, attempt, tells, again in unsent:
            sub.dropped += tells
            if sub.mode != "auto":
                owed = [d for d in sub.ledger if d.message is m]
                if not owed:
                    continue  # the ACK of an earlier delivery has settled it
                sub.ledger.remove(owed[0])
            if not m.offset:
                continue  # a snapshot: the next holder gets one of its own
            if sub.mode == "auto" and m.offset >= max(name.next, place.lost + 1):
                if m.dead(self.now):
                    self.bury(m, "expired", 0)
                elif m not in place.log:
                    self.put_back(m)
                first = min(first, m.offset)
            else:  # it had come back before, or the log has no place for it any more
                name.returned.append(Delivery(sub, m, attempt - 1, 0.0, 0, again))
        name.holder, name.dropped, name.until = None, sub.dropped, self.now + rules.AWAY
        name.next = first
        place.sooner(name.until)

    def undo(self, tx: Transaction) -> None:
        """What it settled is unsettled again, at its old place, its clock afresh."""
        for taken in tx.taken:
            for d in taken:
                d.at = d.sub.session.listened(self.now)
                ledger = d.sub.session.ledgers[d.sub.id]
                ledger += [d] * all(each.message is not d.message for each in ledger)
                ledger.sort(key=lambda each: each.place)
        for taken in tx.taken:
            for d in taken[:1]:
                self.opened(d.sub.session, d.sub.id)


def pause(deliveries: list[Delivery]) -> float:
    """Seconds before what goes back together comes again: none for the second delivery, then 1, 2
    and 4.
    """
    attempt = max((d.attempt for d in deliveries), default=0)
    return 0.0 if attempt < 2 else 2.0 ** (attempt - 2)

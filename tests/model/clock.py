"""Time in the naive broker: what is due when, and what happens then.

Rule: nothing is kept of a deadline; it is worked out anew from what it depends on. What is due at
one moment is looked at in the order in which the real one looks at it, which it is told.
"""

from __future__ import annotations

from tests.model import rules
from tests.model.ends import pause
from tests.model.records import Delivery, Job, Session
from tests.model.running import Running

__all__ = ["Model", "Thing"]

TICK = 2.0**-20
"""Seconds that what is woken looks ahead; exact, so that no rounding decides what is first."""
SLIGHTLY = 1e-4
"""Seconds that count for nothing: ticks."""

Thing = Session | str | Job
"""What has a deadline: a session, a destination, a handler."""


class Model(Running):
    """The whole naive broker."""

    def next_time(self) -> float | None:
        """When something is due next."""
        times = [self.session_due(s) for s in self.sessions]
        times += [place.due for place in self.places.values()]
        times += [job.due for job in self.jobs]
        return min([t for t in times if t is not None], default=None)

    def session_due(self, s: Session) -> float | None:
        if s.state == "closing":
            return s.close_by
        times = [s.drain_at, s.end_by if s.state == "ending" else None]
        if s.state == "open":
            times += [self.silent_at(s), self.beat_at(s), self.frame_at(s), self.stalled_at(s)]
        if s.state in ("open", "ending"):
            times += [due for due, _ in s.retries]
            times += [tx.began + rules.TX_SECONDS for tx in s.txs.values()]
            if s.still_since is None:
                times += [soonest(ledger) for ledger in s.ledgers.values() if ledger]
        return min([t for t in times if t is not None], default=None)

    def silent_at(self, s: Session) -> float | None:
        if not s.beats or s.still_since is not None:
            return None
        return s.last_seen + rules.GRACE * rules.BEAT_SECONDS

    def beat_at(self, s: Session) -> float | None:
        return s.last_write + rules.EARLY * rules.BEAT_SECONDS if s.beats else None

    def frame_at(self, s: Session) -> float | None:
        if s.frame_since is None or s.still_since is not None:
            return None
        return s.frame_since + rules.FRAME_SECONDS

    def stalled_at(self, s: Session) -> float | None:
        return None if s.progress_at is None else s.progress_at + rules.STALL_SECONDS

    def due(self) -> list[Thing]:
        """What is due now."""
        things: list[Thing] = [*self.sessions, *self.places, *self.jobs]
        return [thing for thing in things if self.is_due(thing)]

    def is_due(self, thing: Thing) -> bool:
        if isinstance(thing, Session):
            at = self.session_due(thing)
        elif isinstance(thing, Job):
            at = thing.due
        else:
            at = self.places[thing].due
        return at is not None and at <= self.now

    def wake(self, due: list[Thing]) -> None:
        """What is due now, in this order, then the turns behind it."""
        self.wake_things(due)
        self.settle_turns()

    def wake_now(self) -> bool:
        """What has become due by what was just done; whether there was anything."""
        due = [thing for thing in self.due() if not isinstance(thing, Session)]
        self.wake_things(due)
        return bool(due)

    def wake_things(self, due: list[Thing]) -> None:
        now, self.now = self.now, self.now + TICK
        for thing in due:
            if isinstance(thing, Session):
                self.wake_session(thing)
            elif isinstance(thing, Job):
                self.wake_job(thing)
            else:
                self.wake_place(thing)
            self.settle_step()
        self.now = now  # only a wake looks a tick ahead, the turn behind it does not
        self.run_calls()

    # A session

    def wake_session(self, s: Session) -> None:
        if s.state == "closing" and s.close_by is not None and s.close_by <= self.now:
            self.gone(s)
        if s.state == "ending" and s.end_by is not None and s.end_by <= self.now:
            self.hurry(s)
        if s.drain_at is not None and s.drain_at <= self.now:
            s.drain_at = None
            self.close(s, "1012")
        if s.alive and (at := self.frame_at(s)) is not None and at <= self.now:
            s.frame_since = None
            self.refuse(s, "frame-timeout", {"command": "GARBAGE"})
        if s.alive and (at := self.silent_at(s)) is not None and at <= self.now:
            self.close(s, "4000", drop=True)
        if s.alive and self.is_stalled(s):
            return
        if s.state in ("open", "ending"):
            self.wake_deliveries(s)

    def hurry(self, s: Session) -> None:
        """The time for what had come is over: its handler is cancelled, and has a moment."""
        if s.job is None or s.hurried:
            self.gone(s)
            return
        s.hurried = True
        s.end_by = self.now + rules.MOMENT
        s.inbox.clear()
        s.frames.clear()
        self.end_by(s.job, self.now)

    def is_stalled(self, s: Session) -> bool:
        """A beat is due, or the transport took nothing for too long."""
        if (at := self.beat_at(s)) is not None and at <= self.now:
            s.last_write = self.now
            if not s.mailbox and not s.stuck:
                s.say("BEAT", "")
        if (at := self.stalled_at(s)) is not None and at <= self.now:
            self.close(s, "4008", drop=True)
            return True
        return False

    def wake_deliveries(self, s: Session) -> None:
        self.expire(s)
        self.retry(s)
        for name, tx in list(s.txs.items()):
            if tx.began + rules.TX_SECONDS <= self.now:
                del s.txs[name]
                self.undo(tx)

    def expire(self, s: Session) -> None:
        """Give back what was out for too long. What lies in the mailbox was not out at all."""
        unsent = [each[4] for each in s.mailbox if each[0] == "MESSAGE"]
        for sub_id, ledger in list(s.ledgers.items()):
            late = [d for d in ledger if s.still_since is None and is_late(d, self.now)]
            late.sort(key=lambda d: round(due_at(d) or 0.0, 4))  # a tick is none
            together = pause(late) if s.modes[sub_id] == "client" else None
            for d in late:
                if d.message in unsent:
                    d.at = s.listened(self.now)
                elif d in ledger:
                    ledger.remove(d)
                    self.give_back(d, pause([d]) if together is None else together)
            if late:
                self.opened(s, sub_id)
        self.dispatch_returned()

    # A handler, a destination

    def wake_job(self, job: Job) -> None:
        """It is asked to end; one that does not is left behind."""
        if job.due is None or job.due > self.now:
            return
        if job.stopping:
            self.returned(job)
            return
        over = job.end_by is not None and job.end_by <= self.now
        job.stopping = "cancelled" if over else "timeout"
        job.due = self.now + rules.GIVE_UP
        if not job.stubborn:
            self.soon.append(job)

    def wake_place(self, address: str) -> None:
        place = self.places[address]
        if place.idle_since is not None and place.idle_since + rules.QUEUE_IDLE <= self.now:
            self.give_up(address)
        for each in sorted(place.delayed, key=lambda d: (d[0], d[1].offset)):
            if each[0] <= self.now:
                place.delayed.remove(each)
                self.put_back(each[1])
        away = [n for n in self.names if n.address == address and not n.holder]
        self.names = [n for n in self.names if n not in away or n.until > self.now]
        times = []
        if rules.is_queue(address):
            dead = [m for m in place.log if m.dead(self.now)]
            for m in sorted(dead, key=lambda m: (m.expires, m.offset)):
                place.log.remove(m)
                self.bury(m, "expired", place.attempts.pop(m.offset, 0))
            self.dispatch(address)
            if place.idle_since is not None:
                times.append(place.idle_since + rules.QUEUE_IDLE)
        else:
            self.bury_dead(address)
            self.trim(address)
            if address in rules.STREAMS:
                times.append(self.age_at(address))
        times += [due for due, _ in place.delayed]
        times += [m.expires for m in place.log]
        times += [n.until for n in self.names if n.address == address and n.holder is None]
        place.due = min([at for at in times if at is not None], default=None)


def due_at(d: Delivery) -> float | None:
    """When its time for an ACK is over."""
    timeout = rules.ack_timeout(d.message.address)
    return None if timeout is None else d.at + timeout + d.sub.session.still_total


def soonest(ledger: list[Delivery]) -> float | None:
    """When the first is late: a few ticks do not make another one the first."""
    times = [at for at in map(due_at, ledger) if at is not None]
    if times and times[0] - min(times) < SLIGHTLY:
        return times[0]
    return min(times, default=None)


def is_late(d: Delivery, now: float) -> bool:
    """It was unsettled for too long."""
    at = due_at(d)
    return at is not None and at <= now

"""Which workers live: each has one lease in the control log, and renews it in time.

Rule: whatever comes of a worker renews its lease. One whose lease has run out is declared dead by
whoever sees that first: by an append with a key, which is done once, and which is void where
something of that worker came before it. While this worker is cut off nobody is judged, and when it
is back everybody has a whole lease again. A worker that reads of its own death has been away for
too long, and tells everything of its own anew.
"""

from __future__ import annotations

from stocksync_ws.broker.model.control import CHANNEL, Lease, Notice, notice
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.flight import Settlement
from stocksync_ws.broker.sessions.shared_presence import SharedPresence
from stocksync_ws.broker.sessions.workers import Workers

__all__ = ["LEASE", "RENEW", "Leases"]

LEASE = 30.0
"""Seconds after which a worker that was not heard of is dead."""
RENEW = 10.0
"""Seconds between two signs of life."""


class Leases:
    """The workers that live.

    Args:
        workers: Sends what this one tells, and is told who lives.
        presence: Loses the members of workers that die; None: there is no presence.
    """

    __slots__ = (
        "_epoch",
        "_known",
        "_presence",
        "_renewed_at",
        "_renewing",
        "_step",
        "_stopping",
        "_worker",
        "_workers",
        "armed",
        "armed_at",
        "deadline",
    )

    def __init__(self, env: Environment, workers: Workers, presence: SharedPresence | None) -> None:
        self._step = env.step
        self._worker = env.worker
        self._workers = workers
        self._presence = presence
        self._known: dict[str, Lease] = {}
        self._epoch = ""
        self._renewing = False
        """A sign of life is on its way."""
        self._renewed_at = float("-inf")
        self._stopping = False
        self.deadline: float | None = None
        self.armed = 0
        self.armed_at = 0.0

    # What the control log tells

    def begin(self, epoch: str) -> None:
        """The log is known, or another one: offsets are of this epoch."""
        self._epoch = epoch
        for lease in self._known.values():
            lease.last = 0

    def attached(self) -> None:
        """The log is live: what others have said meanwhile has been read."""
        now = self._step.now
        for lease in self._known.values():
            lease.heard = now
        self._workers.living = {self._worker, *self._known}
        self._renew()
        self._rearm()

    def heard(self, worker: str, offset: int) -> None:
        """Something of a worker came."""
        lease = self._known.get(worker)
        is_new = lease is None
        if lease is None:
            lease = self._known[worker] = Lease(LEASE)
            if self._workers.living is not None:
                self._workers.living.add(worker)
        lease.heard = self._step.now
        lease.last = offset
        if is_new:
            self._rearm()

    def lasts(self, worker: str, seconds: float) -> None:
        """A worker says how long it is to be taken for alive."""
        self._known[worker].seconds = seconds
        self._rearm()

    def died(self, worker: str, epoch: str, last: int, by: str) -> None:
        """A worker was declared dead, by one that had heard of it last at this place of the log."""
        lease = self._known.get(worker)
        if lease is None or epoch != self._epoch or lease.last > last:
            return
        del self._known[worker]
        ours = worker == self._worker
        if self._workers.living is not None and not ours:
            self._workers.living.discard(worker)
        if self._presence is not None and ours:
            self._presence.lapsed()
        elif self._presence is not None:
            self._presence.lose(worker, tells=by == self._worker)
        if ours and self._workers.is_live(CHANNEL):
            self._renew()

    def stop(self, seconds: float) -> None:
        """This worker stops: what is left of it is to be forgotten after so many seconds."""
        if not self._stopping:
            self._stopping = True
            if self._workers.is_live(CHANNEL):  # else nobody waits for it, and it ages
                self._tell(seconds)
            self._step.disarm(self)

    # What this worker tells

    def _renew(self) -> None:
        if not self._renewing and not self._stopping:
            self._tell(LEASE)

    def _tell(self, seconds: float) -> None:
        slot = f"lease {self._worker}"
        message = notice(Notice.LEASE, self._worker, slot, seconds=seconds)
        self._renewed_at = self._step.now
        self._renewing = not self._workers.append((message,), self._told)

    def _told(self, settlement: Settlement) -> None:
        self._renewing = False

    def _declare(self, worker: str, lease: Lease) -> None:
        """A worker has not been heard of in time."""
        facts = {"dead": worker, "epoch": self._epoch, "last": lease.last}
        message = notice(Notice.DEAD, self._worker, f"lease {worker}", **facts)
        key = f"dead {worker} {self._epoch} {lease.last}"
        self._workers.append((message,), _settled, key=key)
        lease.heard = self._step.now + RENEW - lease.seconds

    # Time

    def wake(self, now: float) -> None:
        """A lease is to be renewed, or has run out."""
        self._step.wake(now, self._act)

    def _act(self) -> None:
        now = self._step.now
        if self._workers.is_live(CHANNEL):
            if self._renewed_at + RENEW <= now:
                self._renew()
            for worker, lease in self._known.items():
                if worker != self._worker and lease.heard + lease.seconds <= now:
                    self._declare(worker, lease)
            if self._presence is not None:
                self._presence.look()
        self._rearm()

    def _rearm(self) -> None:
        if self._stopping:
            return
        due = max(self._renewed_at, self._step.now - RENEW / 2) + RENEW
        if self._workers.is_live(CHANNEL):
            for worker, lease in self._known.items():
                if worker != self._worker:
                    due = min(due, lease.heard + lease.seconds)
        self._step.rearm(self, due)


def _settled(settlement: Settlement) -> None:
    """Whatever became of it: what counts is what the log says."""

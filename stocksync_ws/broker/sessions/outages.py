"""Sessions that end because of the engine that several workers share: it is away for too long, or
has lost what they were reading.

Rule: they are closed spread over time, so that all of them can go to workers that are better off.
An engine that is back in time ends no further session. Who comes while it is away for too long
already may stay as long as that once more, and no longer.
"""

from __future__ import annotations

from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.state import CONNECTED
from stocksync_ws.broker.sessions.lifecycle import Lifecycle
from stocksync_ws.broker.sessions.workers import Workers
from stocksync_ws.codes import CloseCode

__all__ = ["Outages"]


class Outages:
    """Closes sessions for the engine.

    Args:
        workers: Knows since when it is away, and who has lost something.
    """

    __slots__ = (
        "_leaving",
        "_lifecycle",
        "_sessions",
        "_step",
        "_workers",
        "armed",
        "armed_at",
        "deadline",
    )

    def __init__(self, env: Environment, lifecycle: Lifecycle, workers: Workers) -> None:
        self._sessions = env.sessions
        self._step = env.step
        self._lifecycle = lifecycle
        self._workers = workers
        self._leaving = False
        """It has been away for too long."""
        self.deadline: float | None = None
        self.armed = 0
        self.armed_at = 0.0

    def look(self) -> None:
        """Something has come of the engine, or the broker has started."""
        lost = self._workers.take_lost()
        if lost:
            self._lifecycle.drain(lost, CloseCode.HISTORY_LOST)
        at = self._workers.outage_at
        if at is not None and self._leaving:
            return  # those who came meanwhile have as long again
        if at is None and self._leaving:
            self._stay()
        if at is not None or self.deadline is not None:
            self._step.rearm(self, at)

    def wake(self, now: float) -> None:
        """The engine has been away for too long."""
        self._step.wake(now, self._leave)

    def _leave(self) -> None:
        at, since = self._workers.outage_at, self._workers.down_since
        assert at is not None
        assert since is not None
        self._leaving = True
        sessions = self._sessions.values()
        here = [each for each in sessions if each.state is CONNECTED and not _is_drained(each)]
        self._lifecycle.drain(here, CloseCode.BACKPLANE_LOST)
        self._step.rearm(self, self._step.now + at - since)

    def _stay(self) -> None:
        """It is back: who has not been closed for it stays."""
        self._leaving = False
        for session in self._sessions.values():
            if _leaves(session):
                session.clocks.drain_at = None
                self._lifecycle.rearm(session)


def _is_drained(session: SessionRecord) -> bool:
    return session.clocks.drain_at is not None


def _leaves(session: SessionRecord) -> bool:
    clocks = session.clocks
    return clocks.drain_at is not None and clocks.drain_as is CloseCode.BACKPLANE_LOST

"""The bound over all sessions: what waits for them, and what came of them and waits for us.

Rule: mailboxes, inboxes, half frames and transactions count together in `PostOffice.total`. Over
the bound those that sent more than the average are read no further; when it is still too much after
a while, or an eighth too much, the session that holds most of all kinds is closed. It is asked only
when something was counted above the bound, and looked at again while somebody is held back.
"""

from __future__ import annotations

from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.post_office import HOLDING
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.sessions.errors import ErrorReporter
from stocksync_ws.broker.sessions.slow_consumers import SlowConsumers
from stocksync_ws.codes import ErrorCode
from stocksync_ws.config import exceeded
from stocksync_ws.errors import LimitExceeded

__all__ = ["Overload"]

PATIENCE = 1.0
"""Seconds that those that are held back have to be enough."""
LOOK = 0.1
"""Seconds between two looks while somebody is held back."""


class Overload:
    """The policy for all sessions together."""

    __slots__ = (
        "_errors",
        "_held_back",
        "_limits",
        "_office",
        "_sessions",
        "_since",
        "_slow_consumers",
        "_step",
        "armed",
        "armed_at",
        "deadline",
    )

    def __init__(
        self, env: Environment, errors: ErrorReporter, slow_consumers: SlowConsumers
    ) -> None:
        self._limits = env.limits
        self._office = env.office
        self._sessions = env.sessions
        self._step = env.step
        self._errors = errors
        self._slow_consumers = slow_consumers
        self._held_back: list[SessionRecord] = []
        """Those that are read no further."""
        self._since = 0.0
        """When the first of them was held back."""
        self.deadline: float | None = None
        self.armed = 0
        self.armed_at = 0.0

    def relieve(self) -> bool:
        """All sessions together may hold more than they may: hold back those that sent much, or
        close the one that holds most; whether one was closed.
        """
        office = self._office
        if not office.over:
            return False
        if not self._held_back:
            self._since = self._step.now
            self._hold_back()
            if self._held_back:
                self._step.sooner(self, self._step.now + LOOK)
        waits = bool(self._held_back) and self._step.now - self._since < PATIENCE
        if waits and office.total <= office.most + office.most // 8:
            return False
        hog = self._hog()
        if hog is not None:
            self._close(hog)
        return hog is not None

    def wake(self, now: float) -> None:
        """Somebody is held back: look whether that was enough."""
        self._step.wake(now, self._look)

    def _look(self) -> None:
        if self._office.over:
            self._hold_back()
            self._step.noted = True  # the end of the step relieves
            self._step.rearm(self, self._step.now + LOOK)
            return
        self._step.rearm(self, None)
        held_back, self._held_back = self._held_back, []
        for session in held_back:
            session.inbound.hold_back(False)
            self._step.go_on(session)

    def _hold_back(self) -> None:
        """Those that hold more than the average of what came are read no further."""
        average = self._office.received / max(1, len(self._sessions))
        for session in self._sessions.values():
            inbound = session.inbound
            if inbound.held > average and not inbound.held_back and session.state in HOLDING:
                inbound.hold_back(True)
                self._held_back.append(session)
                self._step.go_on(session)

    def _hog(self) -> SessionRecord | None:
        """The session that holds most. Where most lies in mailboxes, only those count whose
        transport takes nothing; where all of them take what they get, the next flush is waited for,
        up to twice the bound.
        """
        office = self._office
        sessions = [each for each in self._sessions.values() if each.state in HOLDING]
        if 2 * office.received < office.total <= 2 * office.most:
            sessions = [each for each in sessions if each.mailbox.unsent]
        hog = max(sessions, key=_holds, default=None)
        return hog if hog is not None and _holds(hog) else None

    def _close(self, session: SessionRecord) -> None:
        """Most of what it holds says whose fault it is."""
        if 2 * session.inbound.held <= _holds(session):
            self._slow_consumers.close(session)
            return
        detail = exceeded(self._limits, "max_total_queued", self._office.total)
        detail += f", of that {_holds(session)} of this client"
        self._errors.protocol(session, LimitExceeded(ErrorCode.LIMIT_COUNT, detail=detail))


def _holds(session: SessionRecord) -> int:
    """Bytes a session holds of all kinds, a large message that is leaving counted whole."""
    large = session.mailbox.large
    leaving = 0 if large is None or large.end is None else large.entry.size
    return session.inbound.held + session.mailbox.queued + leaving

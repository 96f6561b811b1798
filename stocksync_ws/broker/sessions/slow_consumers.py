"""Sessions that do not take what they are sent: they lose messages, or they are closed.

Rule: slowness is judged after a flush was tried, or at the end of the step in which a mailbox grew
past the bound of one turn; never in the middle of a publication.
"""

from __future__ import annotations

from stocksync_ws.broker.calls.events import SlowConsumer
from stocksync_ws.broker.calls.listeners import Listeners
from stocksync_ws.broker.delivery.room import Delivery
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.post_office import Verdict
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.state import CONNECTED, State
from stocksync_ws.broker.sessions.lifecycle import Lifecycle
from stocksync_ws.codes import CloseCode, DisconnectReason

__all__ = ["SlowConsumers"]


class SlowConsumers:
    """The policy for slow sessions."""

    __slots__ = ("_counters", "_lifecycle", "_limits", "_listeners", "_office", "_readers", "_step")

    def __init__(
        self, env: Environment, delivery: Delivery, lifecycle: Lifecycle, listeners: Listeners
    ) -> None:
        self._listeners = listeners
        self._counters = env.counters
        self._limits = env.limits
        self._office = env.office
        self._step = env.step
        self._readers = delivery.readers
        self._lifecycle = lifecycle

    def judge(self, session: SessionRecord, unsent: int) -> None:
        """Look at a session after a flush was tried: slow ones are dealt with, others looked at
        again in time.

        Args:
            unsent: What is left in the transport.
        """
        if self._office.over:
            self._step.noted = True
        verdict = session.mailbox.judge(unsent, closing=session.state is State.CLOSING)
        if verdict is Verdict.SLOW:
            self.relieve(session)
        elif verdict is not Verdict.OVER or not self._shed(session):
            self._lifecycle.rearm(session)

    def due(self, session: SessionRecord) -> None:
        """Something waits in the mailbox, and it is time to look again."""
        self.judge(session, session.mailbox.unsent)

    def relieve(self, session: SessionRecord) -> None:
        """A session is over a bound: it loses messages where it may, else it is closed."""
        if not self._shed(session):
            self.close(session)

    def _shed(self, session: SessionRecord) -> bool:
        """Take messages away that a session over its bound may lose; whether there were any."""
        mailbox = session.mailbox
        load = mailbox.load
        over = load > self._limits.send_queue
        if not over or session.state is not CONNECTED or not self._readers.shed(session):
            return False
        mailbox.forgive()
        self._tell(session, load, closed=False)
        return True

    def close(self, session: SessionRecord) -> None:
        """Close a session that does not take what it is sent, without it."""
        if session.state is CONNECTED:
            self._counters.slow_consumers += 1
            self._tell(session, session.mailbox.load, closed=True)
            self._lifecycle.close(
                session, CloseCode.SLOW_CONSUMER, DisconnectReason.SLOW_CONSUMER, drop=True
            )

    def _tell(self, session: SessionRecord, queued: int, *, closed: bool) -> None:
        event = SlowConsumer(session_id=session.id, user=session.user, queued=queued, closed=closed)
        self._listeners.emit(session, event)

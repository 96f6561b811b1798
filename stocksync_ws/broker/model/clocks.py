"""Is the peer alive, do we owe it a beat, does it take too long: deadlines of a session as pure
arithmetic.

Rule: nothing here acts. `due` says what is due, `next_deadline` when to ask again; both read the
same table, so that no clock can be checked and not armed, or armed and not checked. Times are the
broker's own (`now` less the slack of our stalls): a stall of ours is nobody's silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import TypeAlias

from stocksync_ws.broker.model.session import Session, State
from stocksync_ws.config import BrokerConfig

__all__ = ["Due", "SessionClocks"]

EARLY = 0.9
"""Our beat leaves after this part of the interval we owe."""


Clock: TypeAlias = Callable[[Session], float | None]


class Due(Enum):
    """What is due, in the order in which it is looked at."""

    ABORT = auto()
    """A close took longer than `close_timeout`."""
    END = auto()
    """What had arrived before the stream ended was not done in time."""
    DRAIN = auto()
    """A stop closes this session now."""
    NO_CONNECT = auto()
    """No CONNECT in time."""
    FRAME = auto()
    """A frame was begun and not finished in time."""
    SILENT = auto()
    """Nothing came from the peer for too long."""
    PING = auto()
    """Ask the peer whether it lives."""
    BEAT = auto()
    """We owe a heart-beat."""
    JUDGE = auto()
    """Something waits in the mailbox and nothing moves."""
    ACK = auto()
    """A delivery was not settled in time."""
    RETRY = auto()
    """A delivery goes out again."""
    TRANSACTION = auto()
    """A transaction was open for too long."""


class SessionClocks:
    """The clocks of a session."""

    __slots__ = ("_clocks", "_grace", "_limits")

    def __init__(
        self,
        config: BrokerConfig,
        judge_at: Clock,
        ack_at: Clock,
        transaction_at: Clock,
    ) -> None:
        self._limits = config.limits
        self._grace = config.grace
        self._clocks: tuple[tuple[Due, Clock], ...] = (
            (Due.ABORT, lambda s: s.close_by),
            (Due.END, lambda s: s.end_by),
            (Due.DRAIN, lambda s: s.drain_at),
            (Due.NO_CONNECT, lambda s: s.connect_by),
            (Due.FRAME, self._frame_at),
            (Due.SILENT, self._silent_at),
            (Due.PING, self._ping_at),
            (Due.BEAT, self._beat_at),
            (Due.JUDGE, judge_at),
            (Due.ACK, ack_at),
            (Due.RETRY, lambda s: s.retries[0][0] if s.retries else None),
            (Due.TRANSACTION, transaction_at),
        )

    def due(self, session: Session, now: float) -> Iterator[Due]:
        """What is due now. The caller acts on each before the next is asked for."""
        for due, clock in self._clocks:
            at = clock(session)
            if at is not None and at <= now:
                yield due

    def next_deadline(self, session: Session) -> float | None:
        """When something will be due, in the broker's own time; None for a session that has
        ended.
        """
        if session.state is State.CLOSED:
            return None
        if session.state is State.CLOSING:
            return session.close_by
        times = [at for _, clock in self._clocks if (at := clock(session)) is not None]
        return min(times) if times else None

    def _frame_at(self, session: Session) -> float | None:
        if session.frame_since is None or session.still_since is not None:
            return None
        return session.frame_since + self._limits.frame_timeout

    def _listening(self, session: Session) -> bool:
        """Whether its silence counts: it is connected and we read from it."""
        return session.state is State.CONNECTED and session.still_since is None

    def _silent_at(self, session: Session) -> float | None:
        if not self._listening(session):
            return None
        if session.read_every:
            return session.last_seen + self._grace * session.read_every
        if session.pinged_at is not None:
            return session.pinged_at + self._limits.pong_timeout
        return None

    def _ping_at(self, session: Session) -> float | None:
        if not self._listening(session) or session.pinged_at is not None:
            return None
        return session.last_seen + self._limits.ping_after

    def _beat_at(self, session: Session) -> float | None:
        if not session.write_every or session.state is not State.CONNECTED:
            return None
        return session.last_write + EARLY * session.write_every

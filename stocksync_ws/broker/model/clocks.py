"""Is the peer alive, do we owe it a beat, does it take too long: deadlines of a session as pure
arithmetic.

Rule: nothing here acts. `due` says what is due, `next_deadline` when to ask again; both read the
same table, so that no clock can be checked and not armed, or armed and not checked. `_is_plain`
says of which sessions most of it need not be looked at: nearly all, nearly always. Times are the
broker's own (`now` less the slack of our stalls): a stall of ours is nobody's silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import TYPE_CHECKING, TypeAlias

from stocksync_ws.broker.model.state import CONNECTED, State
from stocksync_ws.codes import CloseCode
from stocksync_ws.config import BrokerConfig

if TYPE_CHECKING:
    from stocksync_ws.broker.model.session import SessionRecord

__all__ = ["Clocks", "Due", "SessionClocks"]

EARLY = 0.9
"""Our beat leaves after this part of the interval we owe."""


Clock: TypeAlias = Callable[["SessionRecord"], float | None]


class Clocks:
    """The times of one session, in the broker's own time."""

    __slots__ = (
        "cancelling",
        "close_by",
        "connect_by",
        "drain_as",
        "drain_at",
        "end_by",
        "frame_since",
        "last_seen",
        "message_since",
        "paused_since",
        "paused_total",
        "pinged_at",
        "pings",
        "read_every",
        "write_every",
    )

    def __init__(self, now: float, *, pings: bool) -> None:
        self.pings = pings
        """Its wire has a PING; without one no answer is waited for."""
        self.connect_by: float | None = None
        self.last_seen = now
        """When the last byte came from the peer."""
        self.read_every = 0.0
        """Seconds the client agreed to send something in; 0: it owes nothing."""
        self.write_every = 0.0
        """Seconds we agreed to send something in; 0: we owe nothing."""
        self.pinged_at: float | None = None
        """When a PING was sent that nothing has followed."""
        self.paused_since: float | None = None
        """Since when we do not read from it, so that its silence does not count."""
        self.paused_total = 0.0
        """Seconds in which we did not read from it, in all."""
        self.frame_since: float | None = None
        """When the unfinished frame in the decoder began."""
        self.message_since: float | None = None
        """When the unfinished WebSocket frame or fragmented message in the connection began."""
        self.drain_as = CloseCode.RESTART
        """The close code of a session that is closed at `drain_at`."""
        self.drain_at: float | None = None
        """When a stop closes it."""
        self.end_by: float | None = None
        """When what had arrived before the stream ended must be done."""
        self.cancelling = False
        """Its handler was asked to end, and has a moment for that."""
        self.close_by: float | None = None
        """When an unfinished close is aborted."""

    def seen(self, now: float) -> None:
        """Something came from the peer."""
        self.last_seen = now
        self.pinged_at = None

    def agree(self, read_every: float, write_every: float) -> None:
        """Heart-beats were agreed at CONNECT, in seconds; 0: none."""
        self.read_every, self.write_every = read_every, write_every

    def end_connect(self) -> None:
        """The CONNECT frame is there, or is waited for no longer."""
        self.connect_by = None

    def begin_frame(self, now: float) -> None:
        """A frame has begun, and is not complete."""
        self.frame_since = now

    def end_frame(self) -> None:
        """There is no unfinished frame."""
        self.frame_since = None

    def begin_message(self, now: float) -> None:
        """A WebSocket frame or a fragmented message has begun, and is not whole."""
        self.message_since = now

    def end_message(self) -> None:
        """The message that was unfinished is over: nothing that is kept began before now."""
        self.message_since = None

    def pause(self, now: float) -> None:
        """Nothing is read, or what was read waits: silence does not count from now on."""
        self.paused_since = now

    def listened(self, now: float) -> float:
        """`now` on a clock that stands still while we do not read from the session."""
        return (now if self.paused_since is None else self.paused_since) - self.paused_total

    def resume(self, now: float) -> None:
        """Reading has resumed: shift the clocks by the time it was paused."""
        assert self.paused_since is not None
        away = now - self.paused_since
        self.paused_since = None
        self.paused_total += away
        self.last_seen = min(now, self.last_seen + away)
        if self.pinged_at is not None:
            self.pinged_at += away
        if self.frame_since is not None:
            self.frame_since += away
        if self.message_since is not None:
            self.message_since += away


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
    CREDENTIALS = auto()
    """The credentials of the session are about to end, or have ended."""
    TRANSACTION = auto()
    """A transaction was open for too long."""

    # By identity, in C: that of Enum hashes the name in Python, once for each beat.
    __hash__ = object.__hash__


_PLAIN = frozenset((Due.NO_CONNECT, Due.SILENT, Due.PING, Due.BEAT))
"""Clocks of a session that says and is told nothing out of the ordinary."""


class SessionClocks:
    """The table of the clocks of a session."""

    __slots__ = ("_clocks", "_limits", "_missed", "_ping_after", "_plain")

    def __init__(self, config: BrokerConfig) -> None:
        self._limits = config.limits
        self._ping_after = config.limits.ping_after
        self._missed = config.missed_heart_beats
        self._clocks: tuple[tuple[Due, Clock], ...] = (
            (Due.ABORT, lambda s: s.clocks.close_by),
            (Due.END, lambda s: s.clocks.end_by),
            (Due.DRAIN, lambda s: s.clocks.drain_at),
            (Due.NO_CONNECT, lambda s: s.clocks.connect_by),
            (Due.FRAME, self._frame_at),
            (Due.SILENT, self._silent_at),
            (Due.PING, self._ping_at),
            (Due.BEAT, self._beat_at),
            (Due.JUDGE, lambda s: s.mailbox.judge_at()),
            (Due.ACK, self._ack_at),
            (Due.RETRY, self._retry_at),
            (Due.CREDENTIALS, self._credentials_at),
            (Due.TRANSACTION, self._transaction_at),
        )
        self._plain = tuple(row for row in self._clocks if row[0] in _PLAIN)

    def due(self, session: SessionRecord, now: float) -> Iterator[Due]:
        """What is due now. The caller acts on each before the next is asked for."""
        for due, clock in self._plain if _is_plain(session) else self._clocks:
            at = clock(session)
            if at is not None and at <= now:
                yield due

    def is_beat(self, session: SessionRecord, now: float) -> bool:
        """`due` says that a beat is due, and nothing else: of a plain session, as nearly always."""
        clocks = session.clocks
        every, seen = clocks.read_every, clocks.last_seen
        return (
            clocks.write_every > 0
            and session.mailbox.last_write + EARLY * clocks.write_every <= now
            and session.state is CONNECTED
            and clocks.connect_by is None
            and not (every and seen + self._missed * every <= now)
            and not (clocks.pings and seen + self._ping_after <= now)
            and _is_plain(session)
        )

    def next_deadline(self, session: SessionRecord) -> float | None:
        """When something will be due, in the broker's own time; None for a session that has
        ended.
        """
        if session.state is State.CLOSED:
            return None
        if session.state is State.CLOSING:
            return session.clocks.close_by
        if _is_plain(session):
            return self._plain_deadline(session)
        times = [at for _, clock in self._clocks if (at := clock(session)) is not None]
        return min(times) if times else None

    def _plain_deadline(self, session: SessionRecord) -> float | None:
        """The clocks in `_PLAIN`, written out."""
        clocks = session.clocks
        first = clocks.connect_by
        if session.state is not CONNECTED:
            return first
        if clocks.read_every:
            at = clocks.last_seen + self._missed * clocks.read_every
            if first is None or at < first:
                first = at
        if clocks.pings:
            at = clocks.last_seen + self._ping_after
            if first is None or at < first:
                first = at
        if clocks.write_every:
            at = session.mailbox.last_write + EARLY * clocks.write_every
            if first is None or at < first:
                first = at
        return first

    def _frame_at(self, session: SessionRecord) -> float | None:
        clocks = session.clocks
        began = clocks.frame_since
        if began is None or (clocks.message_since is not None and clocks.message_since < began):
            began = clocks.message_since
        if began is None or clocks.paused_since is not None:
            return None
        return began + self._limits.frame_timeout

    def _listening(self, session: SessionRecord) -> bool:
        """Whether its silence counts: it is connected and we read from it."""
        return session.state is State.CONNECTED and session.clocks.paused_since is None

    def _silent_at(self, session: SessionRecord) -> float | None:
        if not self._listening(session):
            return None
        if session.clocks.read_every:
            return session.clocks.last_seen + self._missed * session.clocks.read_every
        if session.clocks.pinged_at is not None:
            return session.clocks.pinged_at + self._limits.pong_timeout
        return None

    def _ping_at(self, session: SessionRecord) -> float | None:
        if not session.clocks.pings or session.clocks.pinged_at is not None:
            return None
        if not self._listening(session):
            return None
        return session.clocks.last_seen + self._limits.ping_after

    def _beat_at(self, session: SessionRecord) -> float | None:
        if not session.clocks.write_every or session.state is not State.CONNECTED:
            return None
        return session.mailbox.last_write + EARLY * session.clocks.write_every

    def _ack_at(self, session: SessionRecord) -> float | None:
        """When the first delivery has been unsettled for too long."""
        clocks, ledgers = session.clocks, session.subscriptions.ledgers
        if ledgers is None or clocks.paused_since is not None:
            return None
        times = [
            delivery.at + timeout + clocks.paused_total
            for ledger in ledgers.values()
            if (delivery := ledger.oldest()) is not None
            and (timeout := delivery.timeout) is not None
        ]
        return min(times, default=None)

    def _retry_at(self, session: SessionRecord) -> float | None:
        retries = session.subscriptions.retries
        return retries[0][0] if retries else None

    def _credentials_at(self, session: SessionRecord) -> float | None:
        credentials = session.credentials
        if credentials is None or session.state is not State.CONNECTED:
            return None
        return credentials.due_at

    def _transaction_at(self, session: SessionRecord) -> float | None:
        """When the oldest transaction has been open for too long."""
        opened = session.subscriptions.transactions
        if not opened:
            return None
        oldest = next(iter(opened.values()))
        return oldest.began + self._limits.transaction_timeout


def _is_plain(session: SessionRecord) -> bool:
    """No clock of a session runs but those in `_PLAIN`, none of which is paused or waits for an
    answer.
    """
    clocks, subscriptions = session.clocks, session.subscriptions
    return (
        clocks.paused_since is None
        and clocks.pinged_at is None
        and clocks.frame_since is None
        and clocks.message_since is None
        and session.mailbox.progress_at is None
        and subscriptions.ledgers is None
        and not subscriptions.retries
        and not subscriptions.transactions
        and session.credentials is None
        and clocks.drain_at is None
        and clocks.close_by is None
        and clocks.end_by is None
    )

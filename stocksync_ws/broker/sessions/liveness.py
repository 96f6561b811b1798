"""What happens when a clock of a session has run out: one method per `Due`.

Rule: each action moves or clears the clock it was for, so that a deadline cannot come back at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from stocksync_ws.broker.calls.events import TransactionAborted
from stocksync_ws.broker.calls.listeners import Listeners
from stocksync_ws.broker.delivery.acknowledgements import Acknowledgements
from stocksync_ws.broker.delivery.destinations import Destinations
from stocksync_ws.broker.delivery.durables import Durables
from stocksync_ws.broker.delivery.mailboxes import Mailboxes, Verdict
from stocksync_ws.broker.delivery.queues import Queues
from stocksync_ws.broker.delivery.retention import Retention
from stocksync_ws.broker.delivery.transactions import Transactions
from stocksync_ws.broker.model.channel import Channel
from stocksync_ws.broker.model.clocks import Due
from stocksync_ws.broker.model.durable import Durable
from stocksync_ws.broker.model.session import Session
from stocksync_ws.broker.sessions.errors import ErrorReporter
from stocksync_ws.broker.sessions.lifecycle import Lifecycle
from stocksync_ws.broker.sessions.publisher import Publisher
from stocksync_ws.counters import Counters
from stocksync_ws.errors import CloseCode, DisconnectReason, ErrorCode
from stocksync_ws.timers import Timers

__all__ = ["Liveness"]


class Liveness:
    """The actions behind the clocks."""

    __slots__ = (
        "_acks",
        "_actions",
        "_counters",
        "_durables",
        "_failures",
        "_life",
        "_listeners",
        "_outbox",
        "_publisher",
        "_queues",
        "_retention",
        "_store",
        "_timers",
        "_transactions",
    )

    def __init__(
        self,
        counters: Counters,
        outbox: Mailboxes,
        life: Lifecycle,
        listeners: Listeners,
        publisher: Publisher,
        failures: ErrorReporter,
        acks: Acknowledgements,
        transactions: Transactions,
        retention: Retention,
        queues: Queues,
        durables: Durables,
        store: Destinations,
        timers: Timers,
    ) -> None:
        self._counters = counters
        self._outbox = outbox
        self._life = life
        self._listeners = listeners
        self._publisher = publisher
        self._failures = failures
        self._acks = acks
        self._transactions = transactions
        self._retention = retention
        self._queues = queues
        self._durables = durables
        self._store = store
        self._timers = timers
        self._actions: Mapping[Due, Callable[[Session, float], None]] = {
            Due.ABORT: self._abort,
            Due.END: self._end,
            Due.DRAIN: self._drain,
            Due.NO_CONNECT: self._no_connect,
            Due.FRAME: self._frame_late,
            Due.SILENT: self._silent,
            Due.PING: self._ping,
            Due.BEAT: self._beat,
            Due.JUDGE: self.judge,
            Due.ACK: self._ack_late,
            Due.RETRY: self._retry,
            Due.TRANSACTION: self._transaction_late,
        }

    def act(self, due: Due, session: Session, now: float) -> None:
        """Do what is due."""
        self._actions[due](session, now)

    def judge(self, session: Session, now: float) -> None:
        """Close a session that does not take what it is sent; else look again in time."""
        if self._outbox.judge(session, now) is Verdict.SLOW:
            self._publisher.judge_slow(session, now)
        else:
            self._life.rearm(session)

    def wake_channel(self, channel: Channel, now: float) -> None:
        """What a destination keeps has aged."""
        if channel.queue is not None:
            self._queues.wake(channel)
            return
        for durable in self._durables.expire(channel):
            self._forget_name(durable)
        self._retention.bury_dead(channel)
        self._retention.trim(channel)
        times = [
            self._retention.expire_at(channel),
            self._durables.expire_at(channel),
            channel.log.next_expiry(),
        ]
        due = [at for at in times if at is not None]
        channel.deadline = min(due) + self._timers.slack if due else None
        self._timers.arm(channel)
        self._store.release(channel)
        self._publisher.settle(now)

    def _forget_name(self, durable: Durable) -> None:
        """A name was away for too long: what was kept for it is lost."""
        log = durable.channel.log
        lost = max(0, log.lost + 1 - durable.next) + log.count_from(durable.next)
        if lost:
            self._retention.note_loss(durable.destination, lost, "away-too-long")
        self._counters.messages_unsettled += len(durable.returned)

    def _abort(self, session: Session, now: float) -> None:
        self._counters.aborts += 1
        self._life.abort(session)

    def _end(self, session: Session, now: float) -> None:
        self._life.hurry(session, now)

    def _drain(self, session: Session, now: float) -> None:
        session.drain_at = None
        self._life.close(session, CloseCode.RESTART, DisconnectReason.SERVER_SHUTDOWN, now)

    def _no_connect(self, session: Session, now: float) -> None:
        session.connect_by = None
        self._failures.timed_out(session, ErrorCode.CONNECT_TIMEOUT, now)

    def _frame_late(self, session: Session, now: float) -> None:
        session.frame_since = None
        self._failures.timed_out(session, ErrorCode.FRAME_TIMEOUT, now)

    def _silent(self, session: Session, now: float) -> None:
        self._counters.heart_beats_lost += 1
        reason = DisconnectReason.HEART_BEAT_LOST
        self._life.close(session, CloseCode.HEART_BEAT_LOST, reason, now, drop=True)

    def _ping(self, session: Session, now: float) -> None:
        session.pinged_at = now
        self._outbox.control(session, [session.wire.ping()], now)
        # No STOMP client sees a PING, so it is no heart-beat.
        if session.write_every:
            self._outbox.beat(session)

    def _beat(self, session: Session, now: float) -> None:
        session.last_write = now
        # Where bytes wait, they are the life sign themselves.
        if not session.mailbox and not session.unsent:
            self._outbox.beat(session)

    def _ack_late(self, session: Session, now: float) -> None:
        self._acks.expire(session)

    def _retry(self, session: Session, now: float) -> None:
        self._acks.retry(session)

    def _transaction_late(self, session: Session, now: float) -> None:
        for name in self._transactions.expire(session, now):
            self._counters.transactions_aborted += 1
            event = TransactionAborted(session_id=session.id, user=session.user, transaction=name)
            self._listeners.emit(session, event, now)

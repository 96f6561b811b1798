"""The rooms of a broker, made and introduced to one another in the order in which they may know.

Rule: nothing happens here. Each room is given only those that were made before it; the two that
must call back (dead letters, and decoding on) get a function.
"""

from __future__ import annotations

from collections.abc import Callable

from stocksync_ws.broker.calls.dispatch import Dispatch
from stocksync_ws.broker.calls.listeners import Listeners
from stocksync_ws.broker.calls.session_log import SessionLog
from stocksync_ws.broker.calls.tasks import Tasks
from stocksync_ws.broker.delivery.acknowledgements import Acknowledgements
from stocksync_ws.broker.delivery.destinations import Destinations
from stocksync_ws.broker.delivery.durables import Durables
from stocksync_ws.broker.delivery.mailboxes import Mailboxes
from stocksync_ws.broker.delivery.queues import Queues
from stocksync_ws.broker.delivery.retention import Retention
from stocksync_ws.broker.delivery.topics import Topics
from stocksync_ws.broker.delivery.transactions import Transactions
from stocksync_ws.broker.frames.commands import Commands
from stocksync_ws.broker.frames.decoding import Decoding
from stocksync_ws.broker.frames.durable_names import DurableNames
from stocksync_ws.broker.frames.idempotency import Idempotency
from stocksync_ws.broker.frames.receipts import Receipts
from stocksync_ws.broker.frames.sending import Sending
from stocksync_ws.broker.frames.subscribing import Subscribing
from stocksync_ws.broker.frames.transactions import TransactionFrames
from stocksync_ws.broker.model.namespace import Namespace
from stocksync_ws.broker.model.session import Session
from stocksync_ws.broker.sessions.errors import ErrorReporter
from stocksync_ws.broker.sessions.lifecycle import Lifecycle
from stocksync_ws.broker.sessions.liveness import Liveness
from stocksync_ws.broker.sessions.publisher import Publisher
from stocksync_ws.config import BrokerConfig, Limits
from stocksync_ws.counters import Counters
from stocksync_ws.timers import Timers

__all__ = ["Rooms"]


class Rooms:
    """Everything a broker is made of."""

    def __init__(
        self,
        config: BrokerConfig,
        dispatch: Dispatch,
        timers: Timers,
        counters: Counters,
        token: Callable[[int], str],
        wall: Callable[[], float],
    ) -> None:
        limits = config.limits
        space = Namespace(config)
        self._timers = timers
        self.journal = SessionLog(timers)
        self.outbox = Mailboxes(limits, counters)
        self.tasks = Tasks(limits, counters, timers, self.journal, self._pump)
        self.store = Destinations(config, space, token, timers)
        self.retention = Retention(limits, counters, self.outbox, timers)
        self.topics = Topics(limits, counters, self.outbox, self.retention, timers)
        self.queues = Queues(limits, self.outbox, self.store, self.topics, self.retention, timers)
        self.durables = Durables(limits, self.outbox, timers)
        self.acks = Acknowledgements(
            limits,
            counters,
            self.outbox,
            self.topics,
            self.retention,
            self.queues,
            self.durables,
            timers,
        )
        self.transactions = Transactions(limits, self.acks, timers)
        self.listeners = Listeners(dispatch, counters, self.tasks, self.journal, self._pump)
        self.life = Lifecycle(
            config,
            counters,
            timers,
            self.outbox,
            self.store,
            self.retention,
            self.queues,
            self.durables,
            self.acks,
            self.transactions,
            self.tasks,
            self.journal,
            self.listeners,
        )
        self._publish(config, space, counters, token, wall)
        self.receipts = Receipts(limits, self.outbox)
        self._put_in(limits, dispatch, space, counters)
        self._take_out(limits, dispatch, space, counters)
        self._introduce(config, dispatch, counters)

    def _publish(
        self,
        config: BrokerConfig,
        space: Namespace,
        counters: Counters,
        token: Callable[[int], str],
        wall: Callable[[], float],
    ) -> None:
        """What puts messages in, and what says that something went wrong."""
        self.publisher = Publisher(
            config,
            token,
            wall,
            counters,
            self.outbox,
            self.store,
            self.topics,
            self.retention,
            self.queues,
            self.life,
            self.listeners,
        )
        self.retention.bury = self.queues.bury = self.acks.bury = self.publisher.bury
        self.tasks.publish = self.publisher.publish
        self.failures = ErrorReporter(
            config.limits,
            space,
            counters,
            self.life,
            self.listeners,
            self.publisher,
            self.outbox,
            self.journal,
            lambda: token(64),
        )

    def _put_in(
        self, limits: Limits, dispatch: Dispatch, space: Namespace, counters: Counters
    ) -> None:
        """What the frames do by which clients put something in."""
        idempotency = Idempotency(limits, self._timers)
        self.sending = Sending(
            limits,
            dispatch,
            space,
            counters,
            self.acks,
            self.transactions,
            idempotency,
            self.publisher,
            self.tasks,
            self.failures,
            self.receipts,
            self._pump,
        )
        self.committing = TransactionFrames(
            dispatch,
            space,
            counters,
            self.acks,
            self.transactions,
            idempotency,
            self.publisher,
            self.tasks,
            self.failures,
            self.receipts,
            self.sending,
            self._pump,
        )

    def _take_out(
        self, limits: Limits, dispatch: Dispatch, space: Namespace, counters: Counters
    ) -> None:
        """What the frames do by which clients get something."""
        naming = DurableNames(
            limits,
            self.outbox,
            self.durables,
            self.store,
            self.retention,
            self.acks,
            self.life,
            self.listeners,
        )
        self.subscribing = Subscribing(
            limits,
            dispatch,
            space,
            counters,
            self.store,
            self.topics,
            self.retention,
            self.queues,
            self.acks,
            naming,
            self.life,
            self.listeners,
            self.publisher,
            self.tasks,
            self.failures,
            self.receipts,
            self._pump,
        )

    def _introduce(self, config: BrokerConfig, dispatch: Dispatch, counters: Counters) -> None:
        """The tables: frames to methods, clocks to actions."""
        commands = Commands(
            config,
            dispatch,
            self.life,
            self.tasks,
            self.failures,
            self.receipts,
            self.sending,
            self.committing,
            self.subscribing,
            self._pump,
        )
        self.intake = Decoding(
            config.limits, counters, self.life, self.publisher, self.failures, commands
        )
        self.overdue = Liveness(
            counters,
            self.outbox,
            self.life,
            self.listeners,
            self.publisher,
            self.failures,
            self.acks,
            self.transactions,
            self.retention,
            self.queues,
            self.durables,
            self.store,
            self._timers,
        )

    def _pump(self, session: Session, now: float) -> None:
        """Decode on: what the session's next frame had waited for is over."""
        self.intake.pump(session, now)

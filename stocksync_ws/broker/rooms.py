"""The rooms of a broker, made and introduced to one another in the order in which they may know.

Rule: nothing happens here. Each room is given only those that were made before it; what must call
back gets a function.
"""

from __future__ import annotations

from collections.abc import Callable

from stocksync_ws.broker.commands import Commands
from stocksync_ws.broker.destinations import Space
from stocksync_ws.broker.dispatch import Dispatch
from stocksync_ws.broker.failures import Failures
from stocksync_ws.broker.index import Index
from stocksync_ws.broker.journal import Journal
from stocksync_ws.broker.life import Life
from stocksync_ws.broker.outbox import Outbox
from stocksync_ws.broker.overdue import Overdue
from stocksync_ws.broker.publisher import Publisher
from stocksync_ws.broker.session import Session
from stocksync_ws.broker.tasks import Tasks
from stocksync_ws.config import BrokerConfig
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
        pump: Callable[[Session, float], None],
    ) -> None:
        limits = config.limits
        space = Space(config)
        self.journal = Journal(timers)
        self.index = Index()
        self.outbox = Outbox(limits, counters)
        self.tasks = Tasks(limits, counters, timers, self.journal, pump)
        self.life = Life(
            config,
            dispatch,
            counters,
            timers,
            self.index,
            self.outbox,
            self.tasks,
            self.journal,
        )
        self.publisher = Publisher(config, token(72), counters, self.index, self.outbox, self.life)
        self.tasks.publish = self.publisher.publish
        self.failures = Failures(
            limits,
            space,
            counters,
            self.life,
            self.outbox,
            self.publisher,
            self.journal,
            lambda: token(64),
        )
        self.commands = Commands(
            config,
            dispatch,
            space,
            counters,
            self.index,
            self.outbox,
            self.life,
            self.publisher,
            self.tasks,
            self.failures,
            pump,
        )
        self.overdue = Overdue(counters, self.outbox, self.life, self.publisher, self.failures)

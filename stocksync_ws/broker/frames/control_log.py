"""The control log at this worker: what the workers tell each other, to those it concerns.

Rule: the log is followed from the start of the broker, and read again after an outage, so that an
outage loses nothing of it. Whatever comes of a worker is a sign of its life. A message that cannot
be taken is a fault of one worker, and keeps nothing of the others back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stocksync_ws.backplane import History
from stocksync_ws.broker.calls.session_log import SessionLog
from stocksync_ws.broker.delivery.mirrors import Reset
from stocksync_ws.broker.frames.orders import Orders
from stocksync_ws.broker.model.control import CHANNEL, Notice, read_notice
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.sessions.leases import Leases
from stocksync_ws.broker.sessions.shared_presence import SharedPresence
from stocksync_ws.broker.sessions.workers import Workers
from stocksync_ws.position import Position

__all__ = ["ControlLog"]


class ControlLog:
    """Takes what comes of the log.

    Args:
        log: Where faults are told.
        workers: Follows it.
        leases: Who lives.
        presence: Members at other workers; None: there is no presence.
        orders: What is done to sessions at all workers.
    """

    __slots__ = ("_counters", "_leases", "_log", "_orders", "_presence", "_workers")

    def __init__(
        self,
        env: Environment,
        log: SessionLog,
        workers: Workers,
        leases: Leases,
        presence: SharedPresence | None,
        orders: Orders,
    ) -> None:
        self._counters = env.counters
        self._log = log
        self._workers = workers
        self._leases = leases
        self._presence = presence
        self._orders = orders

    def start(self) -> None:
        """The broker takes messages."""
        self._orders.start()
        self._workers.attend(CHANNEL, self)

    def begin(self, channel: str, history: History) -> None:
        """What is kept of the log follows."""
        self._leases.begin(history.top.epoch)

    def continues(self, channel: str, history: History) -> None:
        """Another run of the engine goes on with the log."""

    def reset(self, channel: str, why: Reset) -> None:
        """The engine has not what was applied: it is filled again."""
        self._counters.backplane_resets += 1
        if self._presence is not None:
            self._presence.reset()

    def attached(self, channel: str) -> None:
        """The log is live."""
        self._leases.attached()
        if self._presence is not None:
            self._presence.attached()

    def apply(self, channel: str, position: Position, payload: bytes) -> None:
        """Take the next message of the log."""
        try:
            found = read_notice(payload)
            if found is not None:
                self._take(position, *found)
        except Exception as bug:
            self._counters.internal_errors += 1
            self._log.internal("the control log", None, bug)

    def _take(
        self, position: Position, kind: Notice, worker: str, facts: Mapping[str, Any]
    ) -> None:
        self._leases.heard(worker, position.offset)
        if kind is Notice.LEASE:
            self._leases.lasts(worker, facts["seconds"])
        elif kind is Notice.DEAD:
            self._leases.died(facts["dead"], facts["epoch"], facts["last"], worker)
        elif kind is Notice.ORDER:
            self._orders.take(worker, facts)
        elif self._presence is not None:
            self._presence.take(kind, worker, facts)

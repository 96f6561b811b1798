"""The room `sessions/`: a session's life, its clocks, and what it is told.

Rule: a room makes its own parts, each from those made before it; the rooms above get it whole.
"""

from __future__ import annotations

from stocksync_ws.broker.calls.room import Calls
from stocksync_ws.broker.delivery.room import Delivery
from stocksync_ws.broker.model.clocks import Due
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.sessions.errors import ErrorReporter
from stocksync_ws.broker.sessions.expiry import Expiry
from stocksync_ws.broker.sessions.interception import Interception
from stocksync_ws.broker.sessions.leases import Leases
from stocksync_ws.broker.sessions.lifecycle import Lifecycle
from stocksync_ws.broker.sessions.liveness import Liveness
from stocksync_ws.broker.sessions.opening import Opening
from stocksync_ws.broker.sessions.outages import Outages
from stocksync_ws.broker.sessions.overload import Overload
from stocksync_ws.broker.sessions.presence import Presence
from stocksync_ws.broker.sessions.publisher import Publisher
from stocksync_ws.broker.sessions.reply_channel import ReplyChannel
from stocksync_ws.broker.sessions.slow_consumers import SlowConsumers
from stocksync_ws.broker.sessions.users import Users
from stocksync_ws.broker.sessions.workers import Workers

__all__ = ["Sessions"]


class Sessions:
    """Beginning, end and clocks of sessions, and everything they are told."""

    __slots__ = (
        "errors",
        "expiry",
        "leases",
        "lifecycle",
        "opening",
        "outages",
        "overload",
        "presence",
        "publisher",
        "replies",
        "slow_consumers",
        "users",
        "workers",
    )

    def __init__(self, env: Environment, calls: Calls, delivery: Delivery) -> None:
        backplane = env.config.backplane
        self.workers = None
        if backplane is not None:
            self.workers = Workers(env, delivery, calls.listeners, backplane)
        self.publisher = Publisher(
            env, delivery, calls.listeners, calls.log, Interception(env, calls), self.workers
        )
        self.presence = Presence(env, calls, delivery, self.publisher, self.workers)
        self.lifecycle = Lifecycle(env, calls, delivery, self.presence)
        self.outages = self.replies = self.leases = None
        if self.workers is not None:
            self.leases = Leases(env, self.workers, self.presence.shared)
            self.replies = ReplyChannel(env, delivery, calls.listeners, self.workers)
            self.outages = Outages(env, self.lifecycle, self.workers)
        self.errors = ErrorReporter(env, calls, self.lifecycle, self.publisher)
        self.slow_consumers = SlowConsumers(env, delivery, self.lifecycle, calls.listeners)
        self.users = Users(env, self.lifecycle, self.errors)
        self.overload = Overload(env, self.errors, self.slow_consumers)
        self.expiry = Expiry(env, self.errors, self.publisher)
        others = {Due.JUDGE: self.slow_consumers.due, Due.CREDENTIALS: self.expiry.due}
        liveness = Liveness(env, calls, delivery, self.lifecycle, self.errors, others)
        self.opening = Opening(env, calls, self.lifecycle, liveness, self.errors)

"""Reply queues: private queues of one session, whose unguessable names it may hand out.

Rule: a reply queue is made and consumed at the first use of its name, and gone with its session.
Their number is bounded; beyond the bound the one that was used longest ago goes.
"""

from __future__ import annotations

from stocksync_ws.broker.delivery.destinations import Destinations
from stocksync_ws.broker.delivery.queues import Queues
from stocksync_ws.broker.delivery.registry import Registry
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.namespace import REPLY_QUEUE
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.state import CONNECTED
from stocksync_ws.broker.model.subscription import Consumer

__all__ = ["ReplyQueues"]


class ReplyQueues:
    """The private queues of all sessions."""

    __slots__ = (
        "_counters",
        "_destinations",
        "_limits",
        "_owners",
        "_queues",
        "_registry",
        "_root",
        "_token",
    )

    def __init__(
        self, env: Environment, registry: Registry, destinations: Destinations, queues: Queues
    ) -> None:
        self._counters = env.counters
        self._limits = env.limits
        self._owners = env.owners
        self._token = env.token
        self._root = f"{REPLY_QUEUE}{env.worker}." if env.worker else REPLY_QUEUE
        """What all addresses of this worker begin with."""
        self._registry = registry
        self._destinations = destinations
        self._queues = queues

    def address(self, session: SessionRecord, name: str) -> str:
        """The address of a session's private queue. What comes later for one that had to give way
        is unrouted, as is what comes for a session that has ended.
        """
        if session.state is not CONNECTED:
            return self._root + self._token(128)
        owned = session.subscriptions.reply_queues = session.subscriptions.reply_queues or {}
        address = owned.pop(name, None)
        if address is None:
            address = self._root + self._token(128)
            queue = self._destinations.private_queue(address, self._owners.of(session))
            self._queues.join(Consumer(session, name, address, queue))
        owned[name] = address
        if len(owned) > self._limits.max_reply_queues:
            name = next(iter(owned))
            self._drop(owned.pop(name))
            session.subscriptions.remember_auto(name, self._limits.max_subscriptions)
        return address

    def end(self, session: SessionRecord) -> None:
        """A session ends, and with it its private queues."""
        for address in (session.subscriptions.reply_queues or {}).values():
            self._drop(address)
        session.subscriptions.reply_queues = None

    def _drop(self, address: str) -> None:
        """Forget a private queue; what is in it reaches nobody."""
        queue = self._registry.private_queues[address]
        self._counters.messages_unrouted += len(queue.log)
        for consumer in list(queue.consumers):
            self._queues.leave(consumer)
        self._registry.forget_queue(queue)

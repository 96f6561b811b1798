"""Which destinations there are, and of which kind: made when they are needed.

Rule: history is kept only where the configuration says so, never because a client named something.
The first policy that matches a destination counts.
"""

from __future__ import annotations

from stocksync_ws.broker.delivery.queues import Queues
from stocksync_ws.broker.delivery.registry import Registry
from stocksync_ws.broker.delivery.topics import Topics
from stocksync_ws.broker.model.destination import Address
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.namespace import Kind, Patterns
from stocksync_ws.broker.model.queue import Queue
from stocksync_ws.broker.model.topic import HistoryTopic, LatestTopic, Topic
from stocksync_ws.config import DestinationPolicy

__all__ = ["Destinations"]

_PLAIN = DestinationPolicy()
_KINDS = {"transient": Topic, "stream": HistoryTopic, "latest": LatestTopic}


class Destinations:
    """Makes destinations, and finds them."""

    __slots__ = (
        "_limits",
        "_namespace",
        "_policies",
        "_queues",
        "_registry",
        "_token",
        "_topics",
    )

    def __init__(
        self, env: Environment, registry: Registry, topics: Topics, queues: Queues
    ) -> None:
        self._limits = env.limits
        self._namespace = env.namespace
        self._token = env.token
        policies = env.config.destinations.items()
        self._policies = [(Patterns([pattern]), policy) for pattern, policy in policies]
        self._registry = registry
        self._topics = topics
        self._queues = queues

    def policy(self, address: Address) -> DestinationPolicy:
        """The policy of a destination: the first that matches."""
        if isinstance(address, str):
            for pattern, policy in self._policies:
                if pattern.match(address):
                    return policy
        return _PLAIN

    def is_queue(self, address: Address) -> bool:
        """A destination is under a queue prefix."""
        return isinstance(address, str) and self._namespace.classify(address)[0] is Kind.QUEUE

    def open(self, address: Address) -> Topic | Queue | None:
        """Where a message to a destination goes; made if it keeps messages for nobody yet, None if
        it does not.

        Raises:
            OverflowError: There are as many queues as there may be.
        """
        found = self._registry.find(address)
        if found is not None:
            return found
        if self.is_queue(address):
            return self.open_queue(address)
        if self.policy(address).kind == "transient":
            return None
        return self.open_topic(address)

    def open_topic(self, address: Address) -> Topic:
        """A topic; made if it is not there."""
        topic = self._registry.topics.get(address)
        if topic is None:
            policy = self.policy(address)
            epoch = None if policy.kind == "transient" else self._token(72)
            counter = self._registry.stored if epoch is None else self._registry.history_bytes
            topic = _KINDS[policy.kind](address, policy, counter, self._topics, epoch)
            self._registry.add_topic(topic)
        elif topic.has_history:
            self._registry.touch(topic)
        return topic

    def open_queue(self, address: Address) -> Queue:
        """A queue; made if it is not there.

        Raises:
            OverflowError: There are as many queues as there may be.
        """
        queue = self._registry.queues.get(address)
        if queue is None:
            if len(self._registry.queues) >= self._limits.max_queues:
                raise OverflowError("too many queues")
            queue = Queue(address, self.policy(address), self._registry.stored, self._queues)
            self._registry.add_queue(queue)
        return queue

    def private_queue(self, address: str) -> Queue:
        """A new reply queue of one session."""
        counter = self._registry.stored
        queue = Queue(address, _PLAIN, counter, self._queues, private=True)
        self._registry.add_queue(queue)
        return queue

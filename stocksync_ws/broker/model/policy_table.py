"""The policy of a destination: the first pattern that matches counts, or the default.

Rule: pure, and the same at every worker and publisher. What is a user's own is an ordinary topic.
"""

from __future__ import annotations

from typing import TypeVar

from stocksync_ws.broker.model.destination import Address
from stocksync_ws.broker.model.namespace import MOST_FOUND, Kind, Namespace, Patterns
from stocksync_ws.config import BrokerConfig
from stocksync_ws.policies import Policy, Queue, Topic, TopicPolicy

__all__ = ["QUEUE", "PolicyTable"]

P = TypeVar("P")

TOPIC = Topic()
QUEUE = Queue()


class PolicyTable:
    """The policies of one configuration."""

    __slots__ = ("_found", "_namespace", "_queues", "_topics")

    def __init__(self, config: BrokerConfig, namespace: Namespace) -> None:
        self._namespace = namespace
        self._found: dict[Address, Policy] = {}
        """Answers of `of`, those that were asked for last."""
        self._topics: list[tuple[Patterns, TopicPolicy]] = []
        self._queues: list[tuple[Patterns, Queue]] = []
        for pattern, policy in config.destinations.items():
            if isinstance(policy, Queue):
                self._queues.append((Patterns([pattern]), policy))
            else:
                self._topics.append((Patterns([pattern]), policy))

    def is_queue(self, address: Address) -> bool:
        """A destination is under a queue prefix."""
        return isinstance(address, str) and self._namespace.classify(address)[0] is Kind.QUEUE

    def of(self, address: Address) -> Policy:
        """The policy of a destination. The last ones are known."""
        found = self._found.get(address)
        if found is None:
            found = self.of_queue(address) if self.is_queue(address) else self.of_topic(address)
            if len(self._found) >= MOST_FOUND:
                self._found.clear()
            self._found[address] = found
        return found

    def of_topic(self, address: Address) -> TopicPolicy:
        """The policy of what is known to be a topic."""
        return _first(self._topics, address) or TOPIC

    def of_queue(self, address: Address) -> Queue:
        """The policy of what is known to be a queue."""
        return _first(self._queues, address) or QUEUE


def _first(known: list[tuple[Patterns, P]], address: Address) -> P | None:
    if isinstance(address, str):
        for pattern, policy in known:
            if pattern.match(address):
                return policy
    return None

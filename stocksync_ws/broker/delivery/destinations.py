"""Which destinations there are, and of which kind: made when they are needed.

Rule: history is kept only where the configuration says so, never because a client named something.
The first policy that matches a destination counts.
"""

from __future__ import annotations

from stocksync_ws import policies
from stocksync_ws.broker.delivery.flush_windows import FlushWindows
from stocksync_ws.broker.delivery.queues import Queues
from stocksync_ws.broker.delivery.registry import Registry
from stocksync_ws.broker.delivery.topics import Topics
from stocksync_ws.broker.model.destination import Address, FilterOf
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.latest_topic import LatestTopic
from stocksync_ws.broker.model.owner import Owner
from stocksync_ws.broker.model.policy_table import QUEUE, PolicyTable
from stocksync_ws.broker.model.queue import Queue
from stocksync_ws.broker.model.topic import HistoryTopic, Topic
from stocksync_ws.config import exceeded

__all__ = ["Destinations"]


class Destinations:
    """Makes destinations, and finds them."""

    __slots__ = (
        "_filters",
        "_limits",
        "_namespace",
        "_policies",
        "_queues",
        "_registry",
        "_token",
        "_topics",
        "_windows",
    )

    def __init__(
        self,
        env: Environment,
        registry: Registry,
        topics: Topics,
        queues: Queues,
        filters: FilterOf,
    ) -> None:
        self._filters = filters
        self._windows = FlushWindows(env)
        self._limits = env.limits
        self._token = env.token
        self._namespace = env.namespace
        self._policies = PolicyTable(env.config, env.namespace)
        self._registry = registry
        self._topics = topics
        self._queues = queues

    def policy(self, address: Address) -> policies.Policy:
        """The policy of a destination: the first that matches."""
        return self._policies.of(address)

    def is_queue(self, address: Address) -> bool:
        """A destination is under a queue prefix."""
        return self._policies.is_queue(address)

    def makes(self, address: Address) -> str | None:
        """Which kind that counts a message makes at an address where nothing is: `queues`,
        `streams`, or none.
        """
        if self.is_queue(address):
            return "queues"
        return None if isinstance(self._policies.of_topic(address), policies.Topic) else "streams"

    def make(self, address: Address, owner: Owner | None = None) -> Topic | Queue | None:
        """Make where a message goes that is the first one to its destination, if that keeps
        messages for nobody yet; else None.

        Args:
            owner: Whose SEND it is.

        Raises:
            OverflowError: There are as many of the kind as there may be, or as its owner may have.
        """
        if self.is_queue(address):
            return self.open_queue(address, owner)
        if isinstance(self._policies.of_topic(address), policies.Topic):
            return None
        return self.open_topic(address, owner)

    def open_topic(self, address: Address, owner: Owner | None = None) -> Topic:
        """A topic; made if it is not there.

        Raises:
            OverflowError: It has a history, and its owner has as many as it may.
        """
        topic = self._registry.topics.get(address)
        if topic is None:
            self._check_share(owner, "streams")
            topic = self._make_topic(address, self._policies.of_topic(address))
            topic.owner = owner
            topic.attended = self._namespace.is_attended(address)
            named = (
                address if isinstance(address, str) else self._namespace.user_prefix + address[1]
            )
            topic.passes = self._filters(named)
            topic.window = self._windows.of(topic)
            self._registry.add_topic(topic)
        elif topic.has_history:
            self._registry.touch(topic)
        return topic

    def _make_topic(self, address: Address, policy: policies.TopicPolicy) -> Topic:
        kept = self._registry.history_bytes
        if isinstance(policy, policies.Stream):
            return HistoryTopic(address, policy, kept, self._topics, self._token(72))
        if isinstance(policy, policies.Latest):
            return LatestTopic(address, policy, kept, self._topics, self._token(72))
        return Topic(address, policy, self._registry.stored, self._topics)

    def open_queue(self, address: Address, owner: Owner | None = None) -> Queue:
        """A queue; made if it is not there.

        Raises:
            OverflowError: There are as many queues as there may be, or as its owner may have.
        """
        queue = self._registry.queues.get(address)
        if queue is None:
            count = len(self._registry.queues) + 1
            if count > self._limits.max_queues:
                raise OverflowError(exceeded(self._limits, "max_queues", count))
            self._check_share(owner, "queues")
            policy = self._policies.of_queue(address)
            queue = Queue(address, policy, self._registry.stored, self._queues)
            queue.owner = owner
            self._registry.add_queue(queue)
        return queue

    def _check_share(self, owner: Owner | None, what: str) -> None:
        if owner is not None and (refusal := owner.refusal(what, 1)):
            raise OverflowError(refusal)

    def private_queue(self, address: str, owner: Owner) -> Queue:
        """A new reply queue of one session.

        Args:
            owner: Who owns what the session sends, and what clients answer it.
        """
        counter = self._registry.stored
        queue = Queue(address, QUEUE, counter, self._queues, private=True)
        queue.owner = owner
        self._registry.add_queue(queue)
        return queue

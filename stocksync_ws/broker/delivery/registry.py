"""All destinations the broker keeps anything of, and the bounds of all of them together.

Rule: a destination is made by its first subscription or by its first message that is kept, and is
gone when nobody needs it. When a bound is reached, the least recently used history goes first;
queues refuse instead.
"""

from __future__ import annotations

from stocksync_ws.broker.model.destination import Address
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.log import ByteCounter
from stocksync_ws.broker.model.queue import Queue
from stocksync_ws.broker.model.topic import Topic

__all__ = ["Registry"]


class Registry:
    """Topics and queues by address."""

    __slots__ = (
        "_full",
        "_limits",
        "_step",
        "histories",
        "history_bytes",
        "private_queues",
        "queues",
        "stored",
        "topics",
    )

    def __init__(self, env: Environment) -> None:
        self._limits = env.limits
        self._step = env.step
        self.stored = ByteCounter()
        """Bytes that are stored in all."""
        self.history_bytes = ByteCounter(self.stored)
        """Bytes of the histories among them, which can give way."""
        self.topics: dict[Address, Topic] = {}
        self.queues: dict[Address, Queue] = {}
        self.private_queues: dict[Address, Queue] = {}
        """Reply queues of sessions; their number is bounded there."""
        self.histories: dict[Address, Topic] = {}
        """Topics with history, the least recently used first."""
        self._full: dict[Topic, None] = {}
        """The same, without those that were emptied since."""

    def find(self, address: Address) -> Topic | Queue | None:
        """The topic or queue at an address, if there is one."""
        return (
            self.topics.get(address) or self.queues.get(address) or self.private_queues.get(address)
        )

    @property
    def known(self) -> dict[Address, Topic | Queue]:
        """Everything there is, by address."""
        return {**self.topics, **self.queues, **self.private_queues}

    # Topics

    def add_topic(self, topic: Topic) -> None:
        """A topic was made; if there are too many histories now, one goes."""
        self.topics[topic.address] = topic
        if topic.has_history:
            self.touch(topic)
            self._evict(topic)

    def release_topic(self, topic: Topic) -> None:
        """Forget a topic that nobody needs."""
        if topic.idle and self.topics.get(topic.address) is topic:
            self._forget_topic(topic)

    def _forget_topic(self, topic: Topic) -> None:
        del self.topics[topic.address]
        self.histories.pop(topic.address, None)
        self._full.pop(topic, None)
        self._step.disarm(topic)
        if topic.log.size:
            topic.log.forget(topic.log.top + 1)

    def touch(self, topic: Topic) -> None:
        """The history of a topic was used just now."""
        self.histories.pop(topic.address, None)
        self.histories[topic.address] = topic
        self._full.pop(topic, None)
        self._full[topic] = None

    def _evict(self, newest: Topic) -> None:
        """Too many histories: the one that was used longest ago, and that nobody reads, goes."""
        while len(self.histories) > self._limits.max_streams:
            for topic in self.histories.values():
                if topic is not newest and not (topic.groups or topic.durables):
                    self._forget_topic(topic)
                    break
            else:
                return

    # Queues

    def add_queue(self, queue: Queue) -> None:
        """A queue was made."""
        self._queues_of(queue)[queue.address] = queue

    def has_queue(self, queue: Queue) -> bool:
        """A queue is still kept."""
        return self._queues_of(queue).get(queue.address) is queue

    def release_queue(self, queue: Queue) -> None:
        """Forget a queue that nobody needs. A reply queue is needed by its session."""
        if not queue.private and queue.idle and self.has_queue(queue):
            self.forget_queue(queue)

    def forget_queue(self, queue: Queue) -> None:
        """Forget a queue with everything in it."""
        del self._queues_of(queue)[queue.address]
        self._step.disarm(queue)
        queue.log.forget(queue.log.top + 1)
        queue.forget()

    def _queues_of(self, queue: Queue) -> dict[Address, Queue]:
        return self.private_queues if queue.private else self.queues

    # Bounds

    def make_room(self, size: int) -> bool:
        """Whether so many bytes more may be stored; histories give way, if that is enough."""
        stored, most = self.stored, self._limits.max_stored - size
        if stored.size > most and stored.size - self.history_bytes.size <= most:
            while stored.size > most and self._full:
                oldest = next(iter(self._full))
                if oldest.trim() is None:
                    del self._full[oldest]
        return stored.size <= most

"""All destinations the broker keeps anything of, and the bounds of all of them together.

Rule: a destination is made by its first subscription or by its first message that is kept, and is
gone when nobody needs it. When a bound is reached, the least recently used history goes first, of
those that somebody reads none, and one that nothing was published to before all others; queues
refuse instead. Nobody looks through those that stay.
"""

from __future__ import annotations

from collections import OrderedDict

from stocksync_ws.broker.model.destination import Address
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.log import ByteCounter
from stocksync_ws.broker.model.queue import Queue
from stocksync_ws.broker.model.topic import Topic

__all__ = ["Registry"]


class Registry:
    """Topics and queues by address."""

    __slots__ = (
        "_blank",
        "_free",
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
        self.histories: OrderedDict[Address, Topic] = OrderedDict()
        """Topics with history, the least recently used first."""
        self._free: OrderedDict[Topic, None] = OrderedDict()
        """Histories that can go. One that is read is taken out when its turn comes, and put in
        again when it is left.
        """
        self._blank: OrderedDict[Topic, None] = OrderedDict()
        """The same, of those that nothing was published to: they go first."""
        self._full: OrderedDict[Topic, None] = OrderedDict()
        """Histories without those that were emptied since."""

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
            if topic.owner is not None:
                topic.owner.own(1, "streams")
            self._evict(topic)

    def release_topic(self, topic: Topic) -> None:
        """Forget a topic that nobody needs; a history may go from now on, if nobody reads it."""
        if self.topics.get(topic.address) is not topic:
            return
        if topic.idle:
            self._forget_topic(topic)
        elif topic.has_history and not topic.pinned:
            self._may_go(topic, used=topic.log.top > 0)

    def _may_go(self, topic: Topic, *, used: bool) -> None:
        """A history may go: it is the last whose turn comes. One that is used comes behind all that
        were made by a SUBSCRIBE and never published to.
        """
        if used:
            self._blank.pop(topic, None)
        place = self._free if used else self._blank
        place[topic] = None
        place.move_to_end(topic)

    def _forget_topic(self, topic: Topic) -> None:
        del self.topics[topic.address]
        if topic.has_history:
            del self.histories[topic.address]
            for each in (self._full, self._free, self._blank):
                each.pop(topic, None)
            if topic.owner is not None:
                topic.owner.own(-1, "streams")
        self._step.disarm(topic)
        if topic.window is not None:
            self._step.disarm(topic.window)
        if topic.log.size:
            topic.log.forget(topic.log.top + 1)

    def touch(self, topic: Topic, *, used: bool = False) -> None:
        """The history of a topic was used just now.

        Args:
            used: Something is published to it, or was before.
        """
        self.histories[topic.address] = topic
        self.histories.move_to_end(topic.address)
        self._full[topic] = None
        self._full.move_to_end(topic)
        if not topic.pinned:
            self._may_go(topic, used=used or topic.log.top > 0)

    def _evict(self, newest: Topic) -> None:
        """Too many histories: the one that was used longest ago, and that nobody reads, goes."""
        for places in (self._blank, self._free):
            while len(self.histories) > self._limits.max_streams and places:
                topic = next(iter(places))
                if topic is newest:
                    break
                del places[topic]
                if not topic.pinned:
                    self._forget_topic(topic)

    # Queues

    def add_queue(self, queue: Queue) -> None:
        """A queue was made."""
        self._queues_of(queue)[queue.address] = queue
        if queue.owner is not None and not queue.private:
            queue.owner.own(1, "queues")

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
        if queue.owner is not None and not queue.private:
            queue.owner.own(-1, "queues")
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

"""Retention: messages that a topic keeps no longer, and readers whose log was trimmed.

Rule: whatever is trimmed before a reader came there ends its session, or is told by `dropped`, as
the destination's policy says; every loss is counted, and told by an event at the end of the step.

What costs as much as there are readers behind is done when something is published or lost, never
for a message that one of them reads: a crowd that comes back would pay the square of its number.
"""

from __future__ import annotations

from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.publication import Publication
from stocksync_ws.broker.model.subscription import Subscription
from stocksync_ws.broker.model.topic import Topic

__all__ = ["Retention"]


class Retention:
    """The bounds of all topics, and losses."""

    __slots__ = ("_counters", "_limits", "_step")

    def __init__(self, env: Environment) -> None:
        self._limits = env.limits
        self._counters = env.counters
        self._step = env.step

    def trim(self, topic: Topic) -> None:
        """Hold the log within its bounds, and drop what nobody will read."""
        if _is_bare(topic):
            return
        topic.hold_bounds(self._limits, self._step.now)
        at = topic.next_aging(self._step.now)
        if at is not None:
            self._step.sooner(topic, at)
        if topic.log.lost > topic.told:
            self.tell_lost(topic)

    def put_back(self, topic: Topic, offset: int, publication: Publication) -> None:
        """A message that was handed out and not sent is in the log again."""
        if publication.is_dead(self._step.now):
            self._step.bury(topic.policy, publication, 0, "expired")
            return
        topic.log.put_back(offset, publication)
        if publication.expires_at is not None:
            self._step.sooner(topic, publication.expires_at)

    def bury_dead(self, topic: Topic) -> None:
        """What has reached the end of its life leaves the log. It is a dead letter if somebody was
        still to get it.
        """
        if _is_bare(topic):
            return
        for offset, publication in topic.take_expired(self._step.now):
            waiting = [each for each in topic.behind if each.next <= offset]
            for reader in waiting:
                # The message may have been the last that this reader waited for.
                reader.session.mailbox.mark()
            if waiting or any(
                each.next <= offset for each in topic.durables.values() if each.holder is None
            ):
                self._step.bury(topic.policy, publication, 0, "expired")

    def lose(self, subscription: Subscription, count: int, reason: str) -> None:
        """A subscription lost messages: its next one tells how many, and so does an event."""
        if count:
            subscription.dropped += count
            self.note_loss(subscription.destination, count, reason)

    def note_loss(self, destination: str, count: int, reason: str) -> None:
        """Count messages that were lost for somebody; the end of the step tells of them."""
        self._counters.messages_dropped += count
        self._step.tell_dropped(destination, reason, count)

    def tell_lost(self, topic: Topic) -> None:
        """Look for readers whose log was trimmed under them."""
        lost = topic.told = topic.log.lost
        for reader in topic.behind:
            if not topic.is_overtaken(reader):
                continue
            missed = lost + 1 - reader.next
            reader.next = lost + 1
            if topic.drops or reader.durable is not None:
                self.lose(reader, missed, "slow-consumer")
            else:
                self._step.close_lost(reader.session)


def _is_bare(topic: Topic) -> bool:
    """Nothing is kept of a topic, and every loss was told: there is nothing to hold in bounds."""
    return not len(topic.log) and topic.log.lost <= topic.told

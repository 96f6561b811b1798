"""What a destination keeps grows old: messages expire, histories shorten, names are forgotten.

Rule: one wake of a destination does everything that is due there and sets its next deadline.
"""

from __future__ import annotations

from stocksync_ws.broker.delivery.destinations import Destinations
from stocksync_ws.broker.delivery.durables import Durables
from stocksync_ws.broker.delivery.queues import Queues
from stocksync_ws.broker.delivery.retention import Retention
from stocksync_ws.broker.model.channel import Channel
from stocksync_ws.broker.model.durable import Durable
from stocksync_ws.broker.model.environment import Environment

__all__ = ["Aging"]


class Aging:
    """The deadlines of all destinations."""

    __slots__ = ("_counters", "_destinations", "_durables", "_queues", "_retention", "_step")

    def __init__(
        self,
        env: Environment,
        destinations: Destinations,
        retention: Retention,
        queues: Queues,
        durables: Durables,
    ) -> None:
        self._counters = env.counters
        self._step = env.step
        self._destinations = destinations
        self._retention = retention
        self._queues = queues
        self._durables = durables

    def wake(self, channel: Channel, now: float) -> None:
        """The deadline of a destination came."""
        self._step.wake(now, self._age, channel)

    def _age(self, channel: Channel) -> None:
        if channel.queue is not None:
            self._queues.wake(channel)
            return
        for durable in self._durables.expire(channel):
            self._forget_name(durable)
        self._retention.bury_dead(channel)
        self._retention.trim(channel)
        times = [
            self._retention.expire_at(channel),
            self._durables.expire_at(channel),
            channel.log.next_expiry(),
        ]
        self._step.rearm(channel, min([at for at in times if at is not None], default=None))
        self._destinations.release(channel)

    def _forget_name(self, durable: Durable) -> None:
        """A name was away for too long: what was kept for it is lost."""
        log = durable.channel.log
        lost = max(0, log.lost + 1 - durable.next) + log.count_from(durable.next)
        if lost:
            self._retention.note_loss(durable.destination, lost, "away-too-long")
        self._counters.messages_unsettled += len(durable.returned)

"""Durable topic subscriptions: what a named subscription of a user missed while it was away.

Rule: RabbitMQ's form and no other: `durable:true` (or `persistent:true`) with `id`, owned by the
authenticated user. While nobody holds the name its cursor keeps the destination's log, within
bounds of count, bytes and time; what was trimmed is told by `dropped`. A second session takes the
name over: there are never two live owners.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from stocksync_ws.broker.model.channel import Channel
from stocksync_ws.broker.model.durable import Durable
from stocksync_ws.broker.model.session import Subscription
from stocksync_ws.config import Limits
from stocksync_ws.timers import Timers

if TYPE_CHECKING:
    from stocksync_ws.broker.delivery.mailboxes import Mailboxes

__all__ = ["Durables"]


class Durables:
    """All durable names."""

    __slots__ = ("_limits", "_names", "_of_user", "_outbox", "_timers")

    def __init__(self, limits: Limits, outbox: Mailboxes, timers: Timers) -> None:
        self._limits = limits
        self._outbox = outbox
        self._timers = timers
        self._names: dict[tuple[str, str], Durable] = {}
        self._of_user: Counter[str] = Counter()
        """How many each user has."""

    def find(self, key: tuple[str, str]) -> Durable | None:
        """A name that exists."""
        return self._names.get(key)

    def full(self, user: str) -> bool:
        """A user has as many names as there may be."""
        return self._of_user[user] >= self._limits.max_durables

    def hold(self, durable: Durable, subscription: Subscription) -> None:
        """A subscription holds the name, which nobody holds, from now on."""
        durable.channel.away -= 1
        durable.subscription = subscription
        durable.expires_at = None
        subscription.durable = durable

    def create(self, channel: Channel, key: tuple[str, str]) -> Durable:
        """A new name; it has missed nothing."""
        durable = Durable(channel, key, channel.log.top + 1)
        self._names[key] = channel.durables[key] = durable
        self._of_user[key[0]] += 1
        channel.away += 1
        return durable

    def resume(self, durable: Durable, subscription: Subscription) -> int:
        """A subscription holds the name again, and goes on at `next`; how many messages were
        trimmed before that while it was away.
        """
        subscription.dropped, durable.dropped = durable.dropped, 0
        trimmed = max(0, durable.channel.log.lost + 1 - durable.next)
        durable.next += trimmed
        return trimmed

    def away(self, subscription: Subscription, next_offset: int) -> None:
        """Its session ended, or it unsubscribed without deleting the name."""
        durable = subscription.durable
        assert durable is not None
        durable.subscription = None
        durable.channel.away += 1
        durable.next = next_offset
        durable.dropped = subscription.dropped
        durable.expires_at = self._outbox.now + self._limits.durable_seconds
        self._timers.sooner(durable.channel, durable.expires_at + self._timers.slack)

    def delete(self, durable: Durable) -> None:
        """The name is gone; what the log kept for it can be trimmed."""
        durable.gone = True
        del self._names[durable.key]
        user = durable.key[0]
        self._of_user[user] -= 1
        if not self._of_user[user]:
            del self._of_user[user]
        del durable.channel.durables[durable.key]
        if durable.subscription is not None:
            durable.subscription.durable = None
        else:
            durable.channel.away -= 1

    def expire(self, channel: Channel) -> list[Durable]:
        """Delete the names that were away for too long; which those were."""
        now = self._outbox.now
        gone = [
            durable
            for durable in channel.durables.values()
            if durable.expires_at is not None and durable.expires_at <= now
        ]
        for durable in gone:
            self.delete(durable)
        return gone

    def expire_at(self, channel: Channel) -> float | None:
        """When the next name expires."""
        times = [d.expires_at for d in channel.durables.values() if d.expires_at is not None]
        return min(times, default=None)

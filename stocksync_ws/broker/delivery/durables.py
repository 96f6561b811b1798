"""Durable topic subscriptions: what a named subscription of a user missed while it was away.

Rule: RabbitMQ's form and no other: `durable:true` (or `persistent:true`) with `id`, owned by the
authenticated user. While nobody holds the name its offset keeps the log of the topic, within
bounds of count, bytes and time; what was trimmed is told by `dropped`. A second session takes the
name over: there are never two live owners.
"""

from __future__ import annotations

from collections import Counter

from stocksync_ws.broker.delivery.retention import Retention
from stocksync_ws.broker.model.durable import Durable
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.ledger import Delivery
from stocksync_ws.broker.model.subscription import Reader
from stocksync_ws.broker.model.topic import Topic

__all__ = ["Durables"]


class Durables:
    """All durable names."""

    __slots__ = ("_limits", "_names", "_of_user", "_retention", "_step")

    def __init__(self, env: Environment, retention: Retention) -> None:
        self._limits = env.limits
        self._step = env.step
        self._retention = retention
        self._names: dict[tuple[str, str], Durable] = {}
        self._of_user: Counter[str] = Counter()
        """How many each user has."""

    def find(self, key: tuple[str, str]) -> Durable | None:
        """A name that exists."""
        return self._names.get(key)

    def full(self, user: str) -> bool:
        """A user has as many names as there may be."""
        return self._of_user[user] >= self._limits.max_durables

    def hold(self, durable: Durable, reader: Reader) -> None:
        """A subscription holds the name, which nobody holds, from now on."""
        durable.topic.away -= 1
        durable.holder = reader
        durable.expires_at = None
        reader.durable = durable

    def create(self, topic: Topic, key: tuple[str, str]) -> Durable:
        """A new name; it has missed nothing."""
        durable = Durable(topic, key, topic.log.top + 1)
        self._names[key] = topic.durables[key] = durable
        self._of_user[key[0]] += 1
        topic.away += 1
        return durable

    def resume(self, durable: Durable, reader: Reader) -> int:
        """A subscription holds the name again, and goes on at `next`; how many messages were
        trimmed before that while it was away.
        """
        reader.dropped, durable.dropped = durable.dropped, 0
        trimmed = max(0, durable.topic.log.lost + 1 - durable.next)
        durable.next += trimmed
        return trimmed

    def leave(self, reader: Reader) -> None:
        """A subscription ends: the name that it holds, if any, stays."""
        durable = reader.durable
        if durable is None:
            return
        first = self._first_unsent(reader, durable)
        durable.holder = None
        durable.topic.away += 1
        durable.next = first
        durable.dropped = reader.dropped
        durable.expires_at = self._step.now + self._limits.durable_seconds
        self._step.sooner(durable.topic, durable.expires_at)

    def _first_unsent(self, reader: Reader, durable: Durable) -> int:
        """Where a name goes on: at the first message that was not handed to the transport. Those
        are taken out of the mailbox, and come when the name does.
        """
        topic, ledger, log = durable.topic, reader.ledger, durable.topic.log
        first = read = reader.next if reader in topic.behind else log.top + 1
        for entry in reader.session.mailbox.take_back(reader):
            publication = entry.publication
            assert publication is not None
            offset = entry.offset
            if ledger is not None and ledger.remove(publication.number) is None:
                continue  # the ACK of an earlier delivery has settled it
            if not offset:
                continue  # a snapshot: the next holder gets one of its own
            if ledger is None and offset >= max(durable.next, log.lost + 1):
                if not log.holds(offset):
                    self._retention.put_back(topic, offset, publication)
                first = min(first, offset)
            else:  # it had come back to the name before, or the log has no place for it any more
                before = entry.attempt - 1
                unsent = Delivery(topic, publication, offset, before, 0.0, reader)
                unsent.again = entry.again
                durable.returned.append(unsent)
        if reader.group.text_only:
            # What this wire could not carry behind that place is read again, perhaps by another.
            reader.dropped -= sum(first <= at < read and not each.text for at, each in log)
        return first

    def delete(self, durable: Durable) -> None:
        """The name is gone; what the log kept for it can be trimmed."""
        durable.gone = True
        del self._names[durable.key]
        user = durable.key[0]
        self._of_user[user] -= 1
        if not self._of_user[user]:
            del self._of_user[user]
        del durable.topic.durables[durable.key]
        if durable.holder is not None:
            durable.holder.durable = None
        else:
            durable.topic.away -= 1

    def expire(self, topic: Topic) -> list[Durable]:
        """Delete the names that were away for too long; which those were."""
        now = self._step.now
        gone = [
            durable
            for durable in topic.durables.values()
            if durable.expires_at is not None and durable.expires_at <= now
        ]
        for durable in gone:
            self.delete(durable)
        return gone

    def expire_at(self, topic: Topic) -> float | None:
        """When the next name expires."""
        times = [d.expires_at for d in topic.durables.values() if d.expires_at is not None]
        return min(times, default=None)

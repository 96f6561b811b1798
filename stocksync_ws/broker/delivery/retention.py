"""What a topic keeps, and what becomes of readers whose log was trimmed under them.

Rule: a transient destination keeps only what somebody has still to read, a history what its policy
says and what a durable name has not seen, newest values one a key. Whatever is trimmed before a
reader came there ends its session, or is told by `dropped`, as the destination's policy says; every
loss is counted, and told by an event at the end of the step.

What costs as much as there are readers behind is done when something is published or lost, never
for a message that one of them reads: a crowd that comes back would pay the square of its number.
"""

from __future__ import annotations

from stocksync_ws.broker.model.channel import Channel
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.log import Log
from stocksync_ws.broker.model.publication import Publication
from stocksync_ws.broker.model.subscription import Subscription

__all__ = ["Retention"]


class Retention:
    """The bounds of all topics."""

    __slots__ = ("_counters", "_limits", "_step")

    def __init__(self, env: Environment) -> None:
        self._limits = env.limits
        self._counters = env.counters
        self._step = env.step

    def trim(self, channel: Channel) -> None:
        """Hold the log within its bounds, and drop what nobody will read."""
        policy = channel.policy
        if policy.kind == "stream":
            self._expire(channel)
            at = self.expire_at(channel)
            if at is not None:
                self._step.sooner(channel, at)
        elif policy.kind == "transient":
            self._trim_transient(channel)
        else:
            while len(channel.log) > 1 and self._is_full(channel.log):
                channel.trim()
        if channel.log.lost > channel.told:
            self.tell_lost(channel)

    def _expire(self, channel: Channel) -> None:
        """Drop what is beyond the history, and what durable names have not seen beyond theirs."""
        log, policy, limits = channel.log, channel.policy, self._limits
        now = self._step.now
        wanted: int | None = None
        most = max(limits.durable_messages, policy.history)
        size = max(limits.durable_bytes if channel.durables else 0, limits.history_bytes)
        while (oldest := log.oldest()) is not None:
            over = len(log) > most or (len(log) > 1 and (log.size > size or self._is_full(log)))
            old = len(log) > policy.history or oldest.at + policy.history_seconds <= now
            if not over:
                if not old:
                    return
                wanted = self._wanted(channel) if wanted is None else wanted
                if oldest.offset >= wanted:
                    return
            channel.trim()

    def _is_full(self, log: Log) -> bool:
        """Everything that is stored is too much."""
        return log.stored > self._limits.max_stored

    def put_back(self, channel: Channel, offset: int, publication: Publication) -> None:
        """What was handed out and not sent is in the log again."""
        if publication.is_dead(self._step.now):
            self._step.bury(channel.policy, publication, 0, "expired")
            return
        channel.log.put_back(offset, publication)
        if publication.expires_at is not None:
            self._step.sooner(channel, publication.expires_at)

    def bury_dead(self, channel: Channel) -> None:
        """What has reached the end of its life leaves the log. It is a dead letter if somebody was
        still to get it.
        """
        for offset, publication in channel.take_expired(self._step.now):
            waiting = [each for each in channel.behind if each.next <= offset]
            for subscription in waiting:
                subscription.session.mailbox.mark()  # it may have been the last it waited for
            if waiting or any(
                each.next <= offset
                for each in channel.durables.values()
                if each.subscription is None
            ):
                self._step.bury(channel.policy, publication, 0, "expired")

    def expire_at(self, channel: Channel) -> float | None:
        """When the oldest message is too old; if it is and somebody still wants it, when to look
        again.
        """
        oldest = channel.log.oldest() if channel.policy.kind == "stream" else None
        if oldest is None:
            return None
        now, seconds = self._step.now, channel.policy.history_seconds
        at = oldest.at + seconds
        return at if at > now else now + seconds

    def _wanted(self, channel: Channel) -> int:
        """The first offset that a durable name has not seen."""
        wanted = channel.log.top + 1
        for durable in channel.durables.values():
            holder = durable.subscription
            if holder is None:
                wanted = min(wanted, durable.next)
            elif holder in channel.behind:
                wanted = min(wanted, holder.next)
        for subscription in channel.behind:
            if subscription.blocked or subscription.next <= subscription.held_to:
                wanted = min(wanted, subscription.next)
        return wanted

    def _trim_transient(self, channel: Channel) -> None:
        log, limits = channel.log, self._limits
        if not channel.behind and not channel.away:
            log.forget(log.top + 1)
            return
        most = limits.durable_messages if channel.durables else limits.pending_messages
        size = limits.durable_bytes if channel.durables else limits.pending_bytes

        def is_over() -> bool:
            over = len(log) > most or (log.size > size and len(log) > 1)
            return over or (len(log) > 0 and self._is_full(log))

        if is_over():
            needed = [subscription.next for subscription in channel.behind]
            needed += [each.next for each in channel.durables.values() if each.subscription is None]
            log.forget(min(needed, default=log.top + 1))
        while is_over():
            log.trim()

    def lose(self, subscription: Subscription, count: int, reason: str) -> None:
        """A subscription lost messages: its next one tells how many, and so does an event."""
        if count:
            subscription.dropped += count
            self.note_loss(subscription.destination, count, reason)

    def note_loss(self, destination: str, count: int, reason: str) -> None:
        """Messages were lost for somebody; counted, and told by an event after the step."""
        self._counters.messages_dropped += count
        self._step.tell_dropped(destination, reason, count)

    def tell_lost(self, channel: Channel) -> None:
        """Readers whose log was trimmed under them."""
        lost = channel.told = channel.log.lost
        for subscription in channel.behind:
            if subscription.next > lost or channel.keys is not None:
                continue
            missed = lost + 1 - subscription.next
            subscription.next = lost + 1
            if channel.policy.overflow == "drop_oldest" or subscription.durable is not None:
                self.lose(subscription, missed, "slow-consumer")
            else:
                self._step.close_lost(subscription.session)

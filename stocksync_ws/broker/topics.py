"""Topics: fan-out to the live, and the log for those behind.

Rule: a publication is one atomic step. Live subscriptions get a shared entry; a live one that
cannot take it (its window is full) falls behind and finds it in the log. Readers behind are moved
by `pull`, from `take_output`, while the mailbox has room. What a transient destination keeps for
them is dropped when the last of them is live again, and before any of it counts against a bound. A
log that was trimmed under a reader ends its session, or is told by `dropped`, as the destination's
policy says; it is never skipped silently.

What costs as much as there are readers behind is done when something is published or lost, never
for a message that one of them reads: a crowd that comes back would pay the square of its number.
"""

from __future__ import annotations

from collections.abc import Callable

from stocksync_ws.broker.channel import Channel, Group
from stocksync_ws.broker.ledger import Delivery, Ledger
from stocksync_ws.broker.log import Log
from stocksync_ws.broker.outbox import Outbox
from stocksync_ws.broker.publication import Publication
from stocksync_ws.broker.session import Session, Subscription
from stocksync_ws.config import DestinationPolicy, Limits
from stocksync_ws.counters import Counters
from stocksync_ws.timers import Timers

__all__ = ["Topics"]

FRESH = 1.0
"""Seconds an entry made for one reader behind is used for others."""
ROOM = 65_536
"""Bytes a mailbox holds before readers behind wait."""


class Topics:
    """Everything about destinations that fan out."""

    __slots__ = ("_counters", "_limits", "_outbox", "_timers", "bury", "dropped", "lost")

    def __init__(self, limits: Limits, counters: Counters, outbox: Outbox, timers: Timers) -> None:
        self.bury: Callable[[DestinationPolicy, Publication, int, str], None]
        """Makes a dead letter; set once."""
        self._timers = timers
        self._limits = limits
        self._counters = counters
        self._outbox = outbox
        self.dropped: dict[tuple[str, str], int] = {}
        """Messages that subscribers lost, by destination and reason; told after the step."""
        self.lost: list[Session] = []
        """Sessions whose log was trimmed under them; the broker closes them after the step."""

    # Publishing

    def publish(self, channel: Channel, publication: Publication) -> int:
        """Hand a publication to everybody; the subscriptions it will reach."""
        if publication.only is not None:
            return self._to_one_session(channel, publication)
        if not channel.keeps:
            channel.log.skip(publication)
            receivers = 0
            for group in channel.groups.values():
                receivers += self._outbox.publish(publication, group)
            return receivers
        offset = self._keep(channel, publication)
        receivers = len(channel.behind)
        if channel.keys is not None:
            receivers += self._all_fall_behind(channel, offset)
        else:
            for group in channel.groups.values():
                if not group.members:
                    continue
                if group.acked:
                    receivers += self._to_acked(channel, group, publication, offset)
                else:
                    receivers += self._outbox.publish(publication, group)
        for subscription in channel.behind:
            self._outbox.mark(subscription.session)
        self.trim(channel)
        return receivers

    def _to_one_session(self, channel: Channel, publication: Publication) -> int:
        """The others skip it; in the one session it has its place among what is for all."""
        offset = channel.log.append(publication)
        most = self._limits.ack_window_bytes
        behind = [each for each in channel.behind if each.session.id == publication.only]
        live = [
            subscription
            for group in channel.groups.values()
            for session, subscription in group.members.items()
            if session.id == publication.only
        ]
        for subscription in behind:
            self._outbox.mark(subscription.session)
        for subscription in live:
            ledger = subscription.ledger
            if ledger is None or ledger.has_room(publication.size, most):
                self.deliver(subscription, publication, offset)
            else:
                self.fall_behind(subscription, offset)
        self.trim(channel)
        return len(behind) + len(live)

    def _keep(self, channel: Channel, publication: Publication) -> int:
        """Append it, if anybody may need it later; its offset."""
        if channel.keys is not None:
            self._supersede(channel, publication)
        offset = channel.log.append(publication)
        if publication.expires_at is not None:
            self._timers.sooner(channel, publication.expires_at + self._timers.slack)
        if channel.has_history:
            publication.message_id = channel.message_id(offset)
        return offset

    def _supersede(self, channel: Channel, publication: Publication) -> None:
        """Of each key only the newest is kept."""
        keys = channel.keys
        assert keys is not None
        key = channel.key(publication)
        old = keys.pop(key, None)
        if old is not None:
            channel.log.take(old)
        elif len(keys) >= self._limits.max_keys:
            channel.log.take(keys.pop(next(iter(keys))))
        keys[key] = channel.log.top + 1

    def _to_acked(
        self, channel: Channel, group: Group, publication: Publication, offset: int
    ) -> int:
        """Live acknowledging subscriptions: one shared entry, and one shared delivery in each
        ledger.
        """
        reached = len(group.members)
        timeout = channel.ack_timeout
        by = None if timeout is None else self._outbox.now + self._timers.slack + timeout
        delivery = Delivery(channel, publication, offset, 1, self._outbox.now)
        most = self._limits.ack_window_bytes
        for subscription in Ledger.hand_out(group.members, delivery, most, self._timers, by):
            self.fall_behind(subscription, offset)
        if group.members:
            entry = self._outbox.entry(
                publication, next(iter(group.members)), group.head(publication)
            )
            entry.reader = group
            self._outbox.spread(entry, group.members)
        return reached

    def _all_fall_behind(self, channel: Channel, offset: int) -> int:
        """Newest values are always read from the log: what is superseded is never queued."""
        live = [each for group in channel.groups.values() for each in group.members.values()]
        for subscription in live:
            self.fall_behind(subscription, offset)
        return len(live)

    # Behind

    def fall_behind(self, subscription: Subscription, offset: int) -> None:
        """From this offset on the subscription reads the log itself."""
        group, channel, session = subscription.group, subscription.channel, subscription.session
        assert group is not None
        assert channel is not None
        group.members.pop(session, None)
        subscription.next = offset
        channel.behind[subscription] = None
        if session.behind is None:
            session.behind = {}
        session.behind[subscription] = None
        session.lane = None
        self._outbox.mark(session)

    def go_live(self, subscription: Subscription) -> None:
        """It has read everything: what comes next is handed to it."""
        group, channel, session = subscription.group, subscription.channel, subscription.session
        assert group is not None
        assert channel is not None
        channel.behind.pop(subscription, None)
        if session.behind is not None:
            session.behind.pop(subscription, None)
            if not session.behind:
                session.behind = None
        group.members[session] = subscription
        if not channel.behind:
            self.trim(channel)

    def pull(self, session: Session, room: int = ROOM) -> None:
        """Move the session's readers while its mailbox has room, in turn."""
        moved = True
        while moved and session.behind is not None and session.queued < room:
            moved = False
            for subscription in list(session.behind):
                if session.queued >= room:
                    return
                moved = self._pull_one(subscription) or moved

    def _pull_one(self, subscription: Subscription) -> bool:
        """One message for one reader; whether there was one."""
        channel = subscription.channel
        assert channel is not None
        if subscription.blocked or subscription.group is None:
            return False
        if subscription.next <= channel.log.lost and channel.keys is None:
            # Trimmed since this reader was looked at: by a bound of all logs, or by a newcomer.
            self._tell_lost(channel)
        if subscription.session in self.lost:
            return False
        found = channel.log.read(subscription.next)
        if found is None:
            if channel.keys is not None:
                self._lose_newer(subscription, channel.log.top + 1)
            # What the next message must tell is told by one that is made for it alone.
            if not subscription.dropped and not subscription.unrecovered:
                self.go_live(subscription)
            return False
        offset, publication = found
        if publication.only is not None and publication.only != subscription.session.id:
            subscription.next = offset + 1
            return True
        if publication.is_dead(self._outbox.now):
            self.bury_dead(channel)
            return True
        ledger = subscription.ledger
        if ledger is not None and not ledger.has_room(
            publication.size, self._limits.ack_window_bytes
        ):
            return False
        if channel.keys is not None:
            self._lose_newer(subscription, offset)
        subscription.next = offset + 1
        replayed = offset <= subscription.replay_to
        if channel.keys is not None:
            replayed = subscription.replay_left > 0
            subscription.replay_left -= replayed
        self.deliver(subscription, publication, offset, replayed=replayed)
        return True

    def _lose_newer(self, subscription: Subscription, offset: int) -> None:
        """Newest values only: what came since it subscribed and is gone before this offset."""
        first = max(subscription.next, subscription.replay_to + 1)
        self.lose(subscription, max(0, offset - first), "superseded")
        subscription.next = max(subscription.next, offset)

    def deliver(
        self,
        subscription: Subscription,
        publication: Publication,
        offset: int,
        *,
        attempt: int = 1,
        replayed: bool = False,
        settles: bool = False,
    ) -> None:
        """Queue one message for one subscription, with the marks it needs.

        Args:
            settles: It leaves a queue when it is handed to the transport.
        """
        session, group = subscription.session, subscription.group
        assert group is not None
        extra = self._marks(subscription, attempt, replayed=replayed)
        if subscription.ledger is not None:
            at = session.listened(self._outbox.now)
            assert subscription.channel is not None
            delivery = Delivery(
                subscription.channel, publication, offset, attempt, at, subscription
            )
            subscription.ledger.add(delivery)
            if delivery.timeout is not None:
                by = self._outbox.now + self._timers.slack + delivery.timeout
                self._timers.sooner(session, by)
        self._counters.messages_queued += 1
        cached = group.cached
        if cached is not None and self._outbox.now - cached.at > FRESH:
            cached = group.cached = None  # its age would be taken for slowness of this session
        if not extra and cached is not None and cached.publication is publication:
            self._outbox.append_shared(session, cached)
            return
        entry = self._outbox.entry(publication, session, group.head(publication, extra))
        entry.reader = group
        if settles:
            entry.origin, entry.offset = subscription.channel, offset
        elif not extra:
            group.cached = entry
        self._outbox.append_shared(session, entry)

    def _marks(
        self, subscription: Subscription, attempt: int, *, replayed: bool
    ) -> tuple[tuple[str, str], ...]:
        marks: list[tuple[str, str]] = []
        if attempt > 1:
            marks += [("redelivered", "true"), ("delivery-attempt", str(attempt))]
        if replayed:
            marks.append(("replayed", "true"))
        if subscription.unrecovered:
            subscription.unrecovered = False
            marks.append(("recovered", "false"))
        if subscription.dropped:
            marks.append(("dropped", str(subscription.dropped)))
            subscription.dropped = 0
        return tuple(marks)

    # Bounds

    def trim(self, channel: Channel) -> None:
        """Hold the log within its bounds, and drop what nobody will read."""
        policy = channel.policy
        if policy.kind == "stream":
            self.expire(channel, self._outbox.now)
            at = self.expire_at(channel)
            if at is not None:
                self._timers.sooner(channel, at + self._timers.slack)
        elif policy.kind == "transient":
            self._trim_transient(channel)
        else:
            while len(channel.log) > 1 and self._is_full(channel.log):
                channel.trim()
        if channel.log.lost > channel.told:
            self._tell_lost(channel)

    def expire(self, channel: Channel, now: float) -> None:
        """Drop what is beyond the history, and what durable names have not seen beyond theirs."""
        log, policy, limits = channel.log, channel.policy, self._limits
        if policy.kind != "stream":
            return
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

    def bury_dead(self, channel: Channel) -> None:
        """What has reached the end of its life leaves the log. It is a dead letter if somebody was
        still to get it.
        """
        for offset, publication in channel.take_expired(self._outbox.now):
            waiting = [each for each in channel.behind if each.next <= offset]
            for subscription in waiting:
                self._outbox.mark(subscription.session)  # it may have been the last it waited for
            if waiting or any(
                each.next <= offset
                for each in channel.durables.values()
                if each.subscription is None
            ):
                self.bury(channel.policy, publication, 0, "expired")

    def expire_at(self, channel: Channel) -> float | None:
        """When the oldest message is too old; None while a durable name keeps it."""
        oldest = channel.log.oldest() if channel.policy.kind == "stream" else None
        if oldest is None or oldest.offset >= self._wanted(channel):
            return None
        return oldest.at + channel.policy.history_seconds

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

    def shed(self, session: Session) -> bool:
        """Let a slow consumer lose its oldest messages, where the policy says so; told by `dropped`
        on the next one. Whether it is within its bound now.
        """
        lost = self._outbox.shed(session)
        for subscription, count in lost.items():
            self.lose(subscription, count, "slow-consumer")
            self._tell_next(subscription)
        return session.queued + session.unsent <= self._limits.send_queue

    def _tell_next(self, subscription: Subscription) -> None:
        """Its next message says what it lost, and so is made for this subscription alone."""
        session, group, channel = subscription.session, subscription.group, subscription.channel
        assert group is not None
        assert channel is not None
        shared = self._outbox.first(session, group)
        if shared is None:
            self.fall_behind(subscription, channel.log.top + 1)
            return
        publication = shared.publication
        assert publication is not None
        tells = subscription.dropped + shared.tells
        subscription.dropped = tells
        head = group.head(publication, self._marks(subscription, 1, replayed=False))
        entry = self._outbox.entry(publication, session, head)
        entry.group, entry.tells = group, tells
        entry.at = shared.at
        self._outbox.replace(session, shared, entry)

    def lose(self, subscription: Subscription, count: int, reason: str) -> None:
        """A subscription lost messages: its next one tells how many, and so does an event."""
        if count:
            subscription.dropped += count
            self.note_loss(subscription.destination, count, reason)

    def note_loss(self, destination: str, count: int, reason: str) -> None:
        """Messages were lost for somebody; counted, and told by an event after the step."""
        self._counters.messages_dropped += count
        key = destination, reason
        self.dropped[key] = self.dropped.get(key, 0) + count

    def _tell_lost(self, channel: Channel) -> None:
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
                self.lost.append(subscription.session)

"""Topics: fan-out to the live, and the log for those behind.

Rule: a publication is one atomic step. Live subscriptions get a shared entry; a live one that
cannot take it (its window is full) falls behind and finds it in the log. Readers behind are moved
by `pull`, from `take_output`, while the mailbox has room. `Retention` says what stays in the log.
"""

from __future__ import annotations

from stocksync_ws.broker.delivery.mailboxes import Mailboxes
from stocksync_ws.broker.delivery.retention import Retention
from stocksync_ws.broker.model.channel import Channel, Group
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.ledger import Delivery, Ledger
from stocksync_ws.broker.model.publication import Publication
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.subscription import Subscription

__all__ = ["Topics"]

FRESH = 1.0
"""Seconds an entry made for one reader behind is used for others."""
ROOM = 65_536
"""Bytes a mailbox holds at the most before readers behind wait."""


class Topics:
    """Everything about destinations that fan out."""

    __slots__ = ("_counters", "_deliveries", "_limits", "_mailboxes", "_retention", "_step", "room")

    def __init__(self, env: Environment, mailboxes: Mailboxes, retention: Retention) -> None:
        self._limits = env.limits
        self._counters = env.counters
        self._step = env.step
        self._mailboxes = mailboxes
        self._retention = retention
        self._deliveries = 0
        """Deliveries made so far: the order in which an acknowledgement is cumulative."""
        self.room = min(ROOM, env.limits.send_queue // 4)
        """Bytes a mailbox holds before readers behind wait, and consumers are passed over. What is
        pulled like this must not be what makes a session slow.
        """

    # Publishing

    def publish(self, channel: Channel, publication: Publication) -> int:
        """Hand a publication to everybody; the subscriptions it will reach."""
        if not channel.keeps:
            channel.log.skip(publication)
            receivers = 0
            for group in channel.groups.values():
                receivers += self._mailboxes.publish(publication, group)
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
                    receivers += self._mailboxes.publish(publication, group)
        for subscription in channel.behind:
            subscription.session.mailbox.mark()
        self._retention.trim(channel)
        return receivers

    def publish_to(self, channel: Channel, session: SessionRecord, publication: Publication) -> int:
        """To one session only, in its place among what is for all. It is in the log only while that
        session has to read it from there; the others skip it.
        """
        most = self._limits.ack_window_bytes
        live = [
            subscription
            for group in channel.groups.values()
            if (subscription := group.members.get(session.mailbox)) is not None
        ]
        behind = [each for each in session.subscriptions.behind or () if each.channel is channel]
        full = [
            each
            for each in live
            if each.ledger is not None and not each.ledger.has_room(publication.size, most)
        ]
        log = channel.log
        offset = log.append(publication) if behind or full else log.skip(publication)
        for subscription in live:
            if subscription in full:
                self.fall_behind(subscription, offset)
            else:
                self.deliver(subscription, publication, offset)
        if behind:
            session.mailbox.mark()
        self._retention.trim(channel)
        return len(behind) + len(live)

    def _keep(self, channel: Channel, publication: Publication) -> int:
        """Append it, if anybody may need it later; its offset."""
        if channel.keys is not None:
            self._supersede(channel, publication)
        offset = channel.log.append(publication)
        if publication.expires_at is not None:
            self._step.sooner(channel, publication.expires_at)
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
        by = None if timeout is None else self._step.now + timeout
        delivery = Delivery(channel, publication, offset, 1, self._step.now)
        self._deliveries += 1
        delivery.place = self._deliveries
        most = self._limits.ack_window_bytes
        for subscription in Ledger.hand_out(group.members, delivery, most, self._step, by):
            self.fall_behind(subscription, offset)
        if group.members:
            entry = self._mailboxes.entry(publication, group, next(iter(group.members)))
            entry.reader = group
            self._mailboxes.spread(entry, group.members)
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
        group.members.pop(session.mailbox, None)
        subscription.next = offset
        channel.behind[subscription] = None
        if session.subscriptions.behind is None:
            session.subscriptions.behind = {}
        session.subscriptions.behind[subscription] = None
        session.mailbox.block()
        session.mailbox.mark()

    def go_live(self, subscription: Subscription) -> None:
        """It has read everything: what comes next is handed to it."""
        group, channel, session = subscription.group, subscription.channel, subscription.session
        assert group is not None
        assert channel is not None
        channel.behind.pop(subscription, None)
        assert session.subscriptions.behind is not None
        session.subscriptions.behind.pop(subscription)
        session.subscriptions.behind = session.subscriptions.behind or None
        group.members[session.mailbox] = subscription
        if not channel.behind:
            self._retention.trim(channel)

    def pull(self, session: SessionRecord) -> None:
        """Move the session's readers while its mailbox has room, in turn."""
        room = self.room
        moved = True
        while moved and session.subscriptions.behind is not None and session.mailbox.queued < room:
            moved = False
            for subscription in list(session.subscriptions.behind):
                if session.mailbox.queued >= room:
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
            self._retention.tell_lost(channel)
        if subscription.session in self._step.lost:
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
        if publication.is_dead(self._step.now):
            self._retention.bury_dead(channel)
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
        self._retention.lose(subscription, max(0, offset - first), "superseded")
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
        tells = subscription.dropped
        extra = self._marks(subscription, attempt, replayed=replayed)
        if subscription.ledger is not None:
            at = session.clocks.listened(self._step.now)
            assert subscription.channel is not None
            delivery = Delivery(
                subscription.channel, publication, offset, attempt, at, subscription
            )
            self._deliveries += 1
            delivery.place = self._deliveries
            subscription.ledger.add(delivery)
            if delivery.timeout is not None:
                self._step.sooner(session, self._step.now + delivery.timeout)
        self._counters.messages_queued += 1
        cached = group.cached
        if cached is not None and self._step.now - cached.at > FRESH:
            cached = group.cached = None  # its age would be taken for slowness of this session
        if not extra and cached is not None and cached.publication is publication:
            session.mailbox.append(cached)
            return
        entry = self._mailboxes.entry(publication, group, session.mailbox, extra)
        entry.reader, entry.attempt, entry.tells = group, attempt, tells
        if settles:
            entry.origin, entry.offset = subscription.channel, offset
        elif not extra:
            group.cached = entry
        session.mailbox.append(entry)

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

    def leave(self, subscription: Subscription) -> None:
        """A subscription ends."""
        channel, session = subscription.channel, subscription.session
        assert channel is not None
        channel.leave(subscription)
        if session.subscriptions.behind is not None:
            session.subscriptions.behind.pop(subscription, None)
            session.subscriptions.behind = session.subscriptions.behind or None
        self._retention.trim(channel)

    # Slow consumers

    def shed(self, session: SessionRecord) -> bool:
        """Let a slow consumer lose its oldest messages, where the policy says so; told by `dropped`
        on the next one. Whether it is within its bound now.
        """
        lost = session.mailbox.shed()
        for subscription, count in lost.items():
            self._retention.lose(subscription, count, "slow-consumer")
            self._tell_next(subscription)
        return session.mailbox.queued + session.mailbox.unsent <= self._limits.send_queue

    def _tell_next(self, subscription: Subscription) -> None:
        """Its next message says what it lost, and so is made for this subscription alone."""
        session, group, channel = subscription.session, subscription.group, subscription.channel
        assert group is not None
        assert channel is not None
        shared = session.mailbox.first(group)
        if shared is None:
            self.fall_behind(subscription, channel.log.top + 1)
            return
        publication = shared.publication
        assert publication is not None
        tells = subscription.dropped + shared.tells
        subscription.dropped = tells
        marks = self._marks(subscription, 1, replayed=False)
        entry = self._mailboxes.entry(publication, group, session.mailbox, marks)
        entry.group, entry.tells = group, tells
        entry.at = shared.at
        session.mailbox.replace(shared, entry)

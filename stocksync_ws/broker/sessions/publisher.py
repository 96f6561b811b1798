"""Publishing: admitted, numbered, encoded once, queued for every receiver, in one step.

Rule: `publish` is `admit` and then `publish_local`. What runs for a publication (interceptors,
authorization: their issue brings them) runs once, in `admit`; `publish_local` is the atomic step
and the place where a backplane between several workers will stand before. A destination's order is
the order of acceptance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stocksync_ws.broker.calls.events import DeadLetter, MessageDropped
from stocksync_ws.broker.calls.listeners import Listeners
from stocksync_ws.broker.delivery.destinations import Destinations
from stocksync_ws.broker.delivery.mailboxes import Mailboxes
from stocksync_ws.broker.delivery.queues import QueueFull, Queues
from stocksync_ws.broker.delivery.retention import Retention
from stocksync_ws.broker.delivery.topics import Topics
from stocksync_ws.broker.model.channel import Address
from stocksync_ws.broker.model.namespace import REPLY_QUEUE
from stocksync_ws.broker.model.publication import Draft, Publication, Published
from stocksync_ws.broker.model.session import Session, State, Subscription
from stocksync_ws.broker.sessions.lifecycle import Lifecycle
from stocksync_ws.config import BrokerConfig, DestinationPolicy
from stocksync_ws.counters import Counters
from stocksync_ws.errors import CloseCode, DisconnectReason

__all__ = ["Publisher"]


class Publisher:
    """Everything that becomes a MESSAGE."""

    def __init__(
        self,
        config: BrokerConfig,
        token: Callable[[int], str],
        wall: Callable[[], float],
        counters: Counters,
        outbox: Mailboxes,
        store: Destinations,
        topics: Topics,
        retention: Retention,
        queues: Queues,
        life: Lifecycle,
        listeners: Listeners,
    ) -> None:
        self._limits = config.limits
        self._user = config.user_prefix
        self._token = token
        self._wall = wall
        self._epoch = token(72)
        self._counters = counters
        self._outbox = outbox
        self._store = store
        self._topics = topics
        self._retention = retention
        self._queues = queues
        self._life = life
        self._listeners = listeners
        self._number = 0
        self._dead: list[tuple[str | None, Publication, int, str]] = []
        """Dead letters of this step: where to, what, deliveries, reason."""

    @property
    def now(self) -> float:
        """The broker's own time in this step."""
        return self._outbox.now

    def publish(self, draft: Draft, now: float) -> Published:
        """Publish from the server's side; what a full queue does not take is told and counted."""
        try:
            return self.publish_for_client(draft, now)
        except QueueFull:
            self._counters.messages_dropped += 1
            event = MessageDropped(destination=draft.destination, reason="queue-full")
            self._listeners.tell(event, now)
            return Published("", 0)

    def publish_for_client(self, draft: Draft, now: float, *, reserved: bool = False) -> Published:
        """Accept a message and queue it for its receivers.

        Args:
            reserved: `has_room` was asked in this step; it is taken.

        Raises:
            QueueFull: It was not taken.
        """
        return self.publish_local(draft, self.admit(draft, now), now, reserved=reserved)

    def admit(self, draft: Draft, now: float) -> Publication:
        """Give a message its number and its id, which no other will ever have."""
        own = draft.user is not None or draft.session is not None
        destination = self._user + draft.destination if own else draft.destination
        publication = self._publication(destination, draft.headers, draft.body, now)
        publication.expires_at = self._expiry(publication, now)
        return publication

    def publish_local(
        self, draft: Draft, publication: Publication, now: float, *, reserved: bool = False
    ) -> Published:
        """The atomic step: every subscription that is active now has it queued."""
        address: Address = draft.destination
        if draft.user is not None:
            address = (draft.user, draft.destination)
        kept = False
        if draft.session is not None:
            receivers = self._to_session(draft.session, draft.destination, publication)
        elif publication.is_dead(now):
            receivers, kept = 0, True
            self.bury(self._store.policy(address), publication, 0, "expired")
        else:
            receivers = self._to_channel(address, publication, reserved)
            channel = None if receivers else self._store.find(address)
            kept = channel is not None and len(channel.log) > 0
        self._counters.messages_published += 1
        self._counters.messages_unrouted += not receivers and not kept
        return Published(publication.message_id, receivers)

    def _to_session(self, session_id: str, path: str, publication: Publication) -> int:
        """To one session, if it is there."""
        session = self._life.sessions.get(session_id)
        if session is None or session.state is not State.CONNECTED:
            return 0
        channel = self._store.find((session.owner, path))
        publication.only = session.id
        return 0 if channel is None else self._topics.publish_to(channel, session, publication)

    def _to_channel(self, address: Address, publication: Publication, reserved: bool) -> int:
        channel = self._store.find(address)
        if channel is None:
            if not self._store.keeps(address):
                return 0
            try:
                channel = self._store.open(address)
            except OverflowError:
                raise QueueFull from None
        if channel.queue is not None:
            try:
                return self._queues.publish(channel, publication, reserved=reserved)
            except QueueFull:
                self._store.release(channel)
                raise
        if channel.has_history:
            self._store.touch(channel)
            self._store.make_room(publication.size)
        return self._topics.publish(channel, publication)

    def _expiry(self, publication: Publication, now: float) -> float | None:
        """`expiration` is ms from now, `expires` ms since the epoch; what is no number is
        ignored.
        """
        text = publication.header("expiration")
        if text is not None and _is_number(text):
            return now + int(text) / 1000
        text = publication.header("expires")
        if text is not None and _is_number(text) and int(text):
            return now + int(text) / 1000 - self._wall()
        return None

    def tell(
        self,
        subscription: Subscription,
        headers: tuple[tuple[str, str], ...],
        body: bytes,
        now: float,
        message_id: str | None = None,
    ) -> None:
        """The first MESSAGE of a subscription, in no log: an answer, or a snapshot.

        Args:
            message_id: A place in the history of the destination that it stands for.
        """
        publication = self._publication(subscription.destination, headers, body, now)
        publication.message_id = message_id or publication.message_id
        self._topics.deliver(subscription, publication, 0)

    def _publication(
        self, destination: str, headers: tuple[tuple[str, str], ...], body: bytes, now: float
    ) -> Publication:
        self._number += 1
        message_id = f"{self._epoch}-{self._number}"
        return Publication(self._number, message_id, destination, headers, body, now)

    # Queues

    def has_room(self, drafts: Sequence[Draft]) -> bool:
        """Whether the queues can take all of these: what a transaction asks before its step."""
        waiting: dict[str, list[int]] = {}
        for draft in drafts:
            channel = self._store.find(draft.destination)
            if self.is_reply_queue(draft.destination):
                continue  # what its requester does not fetch is dropped, and refuses nobody
            if channel.queue is not None if channel else self._store.is_queue(draft.destination):
                waiting.setdefault(draft.destination, []).append(draft.size)
        new = sum(self._store.find(destination) is None for destination in waiting)
        if new and self._store.queues + new > self._limits.max_queues:
            return False
        if not self._store.make_room(sum(map(sum, waiting.values()))):
            return False
        return all(
            self._queues.has_room(self._store.find(destination), sizes)
            for destination, sizes in waiting.items()
        )

    def is_reply_queue(self, destination: str) -> bool:
        """It is a reply queue, or was one; who knows its name may send to it."""
        return destination.startswith(REPLY_QUEUE)

    def reply_address(self, session: Session, name: str) -> str:
        """The address of a session's private queue; made, and consumed, at its first use. Beyond
        the bound the one that was used longest ago goes: what still comes for it is unrouted, as is
        what comes for a session that has ended.
        """
        if session.state is not State.CONNECTED:
            return REPLY_QUEUE + self._token(128)
        owned = session.reply_queues = session.reply_queues or {}
        address = owned.pop(name, None)
        if address is None:
            address = REPLY_QUEUE + self._token(128)
            subscription = Subscription(session, name, address)
            subscription.channel = self._store.private_queue(address)
            self._queues.join(subscription)
        owned[name] = address
        if len(owned) > self._limits.max_reply_queues:
            name = next(iter(owned))
            self._life.drop_reply_queue(owned.pop(name))
            session.remember_auto(name, self._limits.max_subscriptions)
        return address

    # Dead letters

    def bury(
        self, policy: DestinationPolicy, publication: Publication, deliveries: int, reason: str
    ) -> None:
        """A message is dead. What follows from that, `settle` does: a dead letter is a publication
        of its own, which may end sessions, and must not do so in the middle of something.
        """
        self._counters.messages_dead += 1
        self._dead.append((policy.dead_letter, publication, deliveries, reason))

    def _publish_dead(self, now: float) -> None:
        """Tell the listeners of dead letters, and send them where their policies say."""
        dead, self._dead = self._dead, []
        for target, publication, deliveries, reason in dead:
            event = DeadLetter(
                destination=publication.destination,
                message_id=publication.message_id,
                reason=reason,
                deliveries=deliveries,
                headers=dict(publication.headers),
                body=publication.body,
            )
            self._listeners.tell(event, now)
            if target is None or publication.dead:
                continue
            headers = (
                ("original-destination", publication.destination),
                ("x-death-reason", reason),
                ("delivery-attempt", str(deliveries)),
                *publication.headers,
            )
            letter = self._publication(target, headers, publication.body, now)
            letter.dead = True
            try:
                self.publish_local(Draft(target, headers, publication.body), letter, now)
            except QueueFull:
                self._counters.messages_dropped += 1
                dropped = MessageDropped(destination=target, reason="queue-full")
                self._listeners.tell(dropped, now)

    # Bounds

    def settle(self, now: float) -> None:
        """The end of a step: send dead letters on their way, close what grew past the bound of one
        turn and what holds most past the bound of all, tell what was lost.
        """
        self._carry_out(now)
        while self._outbox.over_all and (hog := self._hog()) is not None:
            self.close_slow(hog, now)
            self._carry_out(now)

    def _carry_out(self, now: float) -> None:
        outbox, retention = self._outbox, self._retention
        while outbox.overfull or retention.lost or retention.dropped or self._dead:
            self._publish_dead(now)
            overfull, outbox.overfull = outbox.overfull, []
            for session in overfull:
                self.judge_slow(session, now)
            lost, retention.lost = retention.lost, []
            for session in lost:
                self._close_lost(session, now)
            dropped, retention.dropped = retention.dropped, {}
            for (destination, reason), count in dropped.items():
                event = MessageDropped(destination=destination, reason=reason, count=count)
                self._listeners.tell(event, now)

    def _hog(self) -> Session | None:
        """Who is closed when all mailboxes together hold too much: the largest of those whose
        transport takes nothing. Where all of them take what they get, the next flush is waited
        for, up to twice the bound.
        """
        sessions = self._life.sessions.values()
        waiting = [each for each in sessions if each.queued and each.state is State.CONNECTED]
        blocked = [each for each in waiting if each.unsent]
        if not blocked and self._outbox.total <= 2 * self._limits.max_total_queued:
            return None
        return max(blocked or waiting, key=_queued, default=None)

    def judge_slow(self, session: Session, now: float) -> None:
        """A session is over a bound: it loses messages where it may, else it is closed."""
        over = session.queued + session.unsent > self._limits.send_queue
        if over and session.state is State.CONNECTED and self._topics.shed(session):
            session.over_since = None
        else:
            self.close_slow(session, now)

    def close_slow(self, session: Session, now: float) -> None:
        """End a session that does not take what it is sent."""
        if session.state is State.CONNECTED:
            self._counters.slow_consumers += 1
            self._life.close(
                session, CloseCode.SLOW_CONSUMER, DisconnectReason.SLOW_CONSUMER, now, drop=True
            )

    def _close_lost(self, session: Session, now: float) -> None:
        """End a session whose log was trimmed under it: it cannot be brought up to date."""
        if session.state is State.CONNECTED:
            self._life.close(
                session, CloseCode.HISTORY_LOST, DisconnectReason.HISTORY_LOST, now, drop=True
            )


def _queued(session: Session) -> int:
    return session.queued


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 15

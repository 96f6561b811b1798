"""Durable names, on behalf of the frames that use them: taken, taken over, deleted.

Rule: there are never two live owners. Who loses a name to another session hears that it is
unsubscribed, and what had not left for it goes with the name.
"""

from __future__ import annotations

from stocksync_ws.broker.calls.listeners import Listeners
from stocksync_ws.broker.calls.notices import unsubscribed
from stocksync_ws.broker.delivery.acknowledgements import Acknowledgements
from stocksync_ws.broker.delivery.destinations import Destinations
from stocksync_ws.broker.delivery.durables import Durables
from stocksync_ws.broker.delivery.mailboxes import Mailboxes
from stocksync_ws.broker.delivery.retention import Retention
from stocksync_ws.broker.frames.subscribe_options import SubscribeOptions
from stocksync_ws.broker.model.channel import Channel
from stocksync_ws.broker.model.durable import Durable
from stocksync_ws.broker.model.session import Session, Subscription
from stocksync_ws.broker.sessions.lifecycle import Lifecycle
from stocksync_ws.config import Limits
from stocksync_ws.errors import ErrorCode, RemoteProtocolError
from stocksync_ws.stomp.frame import Frame

__all__ = ["DurableNames"]


class DurableNames:
    """What frames do to durable names."""

    __slots__ = (
        "_acks",
        "_durables",
        "_life",
        "_limits",
        "_listeners",
        "_outbox",
        "_retention",
        "_store",
    )

    def __init__(
        self,
        limits: Limits,
        outbox: Mailboxes,
        durables: Durables,
        store: Destinations,
        retention: Retention,
        acks: Acknowledgements,
        life: Lifecycle,
        listeners: Listeners,
    ) -> None:
        self._limits = limits
        self._outbox = outbox
        self._durables = durables
        self._store = store
        self._retention = retention
        self._acks = acks
        self._life = life
        self._listeners = listeners

    def claim(
        self, session: Session, frame: Frame, wanted: SubscribeOptions, now: float
    ) -> tuple[str, str] | None:
        """The name that a SUBSCRIBE to a topic is about, None for none. A name that is known on
        another destination is given up there.

        Raises:
            RemoteProtocolError: The user has as many names as may be, or the frame has no id.
        """
        user = session.user
        if user is None or not wanted.durable:
            return None
        if wanted.id is None:
            raise RemoteProtocolError(ErrorCode.MISSING_HEADER, frame.command, frame.headers)
        key = (user.name, wanted.id)
        found = self._durables.find(key)
        if found is None and self._durables.full(user.name):
            raise RemoteProtocolError(ErrorCode.LIMIT_COUNT, frame.command, frame.headers)
        if found is not None and found.destination != frame.headers["destination"]:
            self._evict(found.subscription, now)
            self.delete(found)
        return key

    def take(
        self, subscription: Subscription, channel: Channel, key: tuple[str, str], now: float
    ) -> int:
        """Hold a name; the offset at which it was left."""
        durable = self._durables.find(key)
        if durable is None:
            durable = self._durables.create(channel, key)
        holder = durable.subscription
        if holder is not None:
            self._evict(holder, now)
            durable.returned += self._acks.take_back(holder)
        self._durables.hold(durable, subscription)
        assert subscription.group is not None
        subscription.ghosts = self._outbox.of_group(subscription.session, subscription.group)
        self._retention.lose(subscription, self._durables.resume(durable, subscription), "away")
        return durable.next

    def give_returned(self, subscription: Subscription) -> None:
        """What came back to its name follows the RECEIPT, and the snapshot."""
        durable = subscription.durable
        if durable is not None and subscription.group is not None:
            durable.fresh = False
            returned, durable.returned = durable.returned, []
            self._acks.give_again(subscription, returned)

    def recovered(self, subscription: Subscription, start: int) -> None:
        """Everything from an offset on is replayed: it needs neither to come back, nor to be missed
        any more.
        """
        durable = subscription.durable
        if durable is not None:
            durable.returned = [each for each in durable.returned if each.offset < start]
        subscription.dropped = 0

    def failed(self, subscription: Subscription) -> None:
        """Its SUBSCRIBE failed after all: a name that it made is none."""
        durable = subscription.durable
        if durable is not None and durable.fresh:
            self.delete(durable)

    def forget(self, session: Session, subscription_id: str) -> None:
        """A session that has ended had asked for a name to be deleted."""
        if session.user is None:
            return
        durable = self._durables.find((session.user.name, subscription_id))
        if durable is not None and durable.subscription is None:
            self.delete(durable)

    def delete(self, durable: Durable) -> None:
        """The name is gone, and what was kept for it."""
        self._durables.delete(durable)
        self._retention.trim(durable.channel)
        self._store.release(durable.channel)

    def _evict(self, subscription: Subscription | None, now: float) -> None:
        if subscription is None:
            return
        session = subscription.session
        key = subscription.id
        assert key is not None
        session.subscriptions.pop(key, None)
        self._life.end_subscription(subscription)
        session.remember_refused(key, self._limits.max_subscriptions)
        # While its snapshot runs, nobody has heard of it yet.
        if not subscription.blocked:
            self._listeners.emit(session, unsubscribed(subscription), now)

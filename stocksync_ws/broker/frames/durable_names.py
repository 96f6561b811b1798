"""Durable names, on behalf of the frames that use them: taken, taken over, deleted.

Rule: there are never two live owners. Who loses a name to another session hears that it is
unsubscribed, and what had not left for it goes with the name.
"""

from __future__ import annotations

from stocksync_ws.broker.calls.events import unsubscribed
from stocksync_ws.broker.calls.room import Calls
from stocksync_ws.broker.delivery.room import Delivery
from stocksync_ws.broker.frames.subscribe_options import SubscribeOptions
from stocksync_ws.broker.model.channel import Channel
from stocksync_ws.broker.model.durable import Durable
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.subscription import Subscription
from stocksync_ws.errors import ErrorCode, RemoteProtocolError
from stocksync_ws.stomp.frame import Frame

__all__ = ["DurableNames"]


class DurableNames:
    """What frames do to durable names."""

    __slots__ = ("_delivery", "_limits", "_listeners")

    def __init__(self, env: Environment, calls: Calls, delivery: Delivery) -> None:
        self._limits = env.limits
        self._listeners = calls.listeners
        self._delivery = delivery

    def claim(
        self, session: SessionRecord, frame: Frame, wanted: SubscribeOptions
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
        found = self._delivery.durables.find(key)
        if found is None and self._delivery.durables.full(user.name):
            raise RemoteProtocolError(ErrorCode.LIMIT_COUNT, frame.command, frame.headers)
        if found is not None and found.destination != frame.headers["destination"]:
            self._evict(found.subscription)
            self.delete(found)
        return key

    def take(self, subscription: Subscription, channel: Channel, key: tuple[str, str]) -> int:
        """Hold a name; the offset at which it was left."""
        durables = self._delivery.durables
        durable = durables.find(key)
        if durable is None:
            durable = durables.create(channel, key)
        holder = durable.subscription
        if holder is not None:
            self._evict(holder)
            durable.returned += self._delivery.acks.take_back(holder)
        durables.hold(durable, subscription)
        assert subscription.group is not None
        subscription.ghosts = subscription.session.mailbox.of_group(subscription.group)
        trimmed = durables.resume(durable, subscription)
        self._delivery.retention.lose(subscription, trimmed, "away")
        return durable.next

    def give_returned(self, subscription: Subscription) -> None:
        """What came back to its name follows the RECEIPT, and the snapshot."""
        durable = subscription.durable
        if durable is not None and subscription.group is not None:
            durable.fresh = False
            returned, durable.returned = durable.returned, []
            self._delivery.acks.give_again(subscription, returned)

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

    def forget(self, session: SessionRecord, subscription_id: str) -> None:
        """A session that has ended had asked for a name to be deleted."""
        if session.user is None:
            return
        durable = self._delivery.durables.find((session.user.name, subscription_id))
        if durable is not None and durable.subscription is None:
            self.delete(durable)

    def delete(self, durable: Durable) -> None:
        """The name is gone, and what was kept for it."""
        self._delivery.durables.delete(durable)
        self._delivery.retention.trim(durable.channel)
        self._delivery.destinations.release(durable.channel)

    def _evict(self, subscription: Subscription | None) -> None:
        if subscription is None:
            return
        session = subscription.session
        key = subscription.id
        assert key is not None
        session.subscriptions.active.pop(key, None)
        self._delivery.end_subscription(subscription)
        session.subscriptions.remember_refused(key, self._limits.max_subscriptions)
        # While its snapshot runs, nobody has heard of it yet.
        if not subscription.blocked:
            self._listeners.emit(session, unsubscribed(subscription))

"""Durable names, on behalf of the frames that use them: taken, taken over, deleted.

Rule: there are never two live owners. Who loses a name to another session hears that it is
unsubscribed, and what had not left for it goes with the name.
"""

from __future__ import annotations

from stocksync_ws.broker.delivery.room import Delivery
from stocksync_ws.broker.frames.subscribe_options import SubscribeOptions
from stocksync_ws.broker.model.durable import Durable
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.subscription import Reader
from stocksync_ws.broker.sessions.presence import Presence
from stocksync_ws.codes import ErrorCode
from stocksync_ws.config import exceeded
from stocksync_ws.errors import RemoteProtocolError
from stocksync_ws.stomp.frame import Frame, missing

__all__ = ["DurableNames"]


class DurableNames:
    """What frames do to durable names."""

    __slots__ = ("_delivery", "_limits", "_presence")

    def __init__(self, env: Environment, delivery: Delivery, presence: Presence) -> None:
        self._limits = env.limits
        self._presence = presence
        self._delivery = delivery

    def claim(
        self, session: SessionRecord, frame: Frame, wanted: SubscribeOptions
    ) -> tuple[str, str] | None:
        """The name that a SUBSCRIBE to a topic is about, None for none. A name that is known on
        another destination is given up there.

        Raises:
            RemoteProtocolError: The user has as many names as may be, or the frame has no id.
        """
        user, durables = session.user, self._delivery.durables
        if user is None or not wanted.durable:
            return None
        if wanted.id is None:
            raise missing(frame, "id")
        key = (user.name, wanted.id)
        found = durables.find(key)
        if found is None and durables.full(user.name):
            detail = exceeded(self._limits, "max_durables", self._limits.max_durables + 1)
            raise RemoteProtocolError(ErrorCode.LIMIT_COUNT, frame.command, frame.headers, detail)
        if found is not None and found.destination != frame.headers["destination"]:
            if found.holder is not None:
                self._evict(found.holder)
            self.delete(found)
        return key

    def take(self, reader: Reader, key: tuple[str, str]) -> int | None:
        """Hold a name; the offset at which it was left, None for a new one."""
        durables = self._delivery.durables
        known = durables.find(key)
        durable = known or durables.create(reader.topic, key)
        holder = durable.holder
        if holder is not None:
            self._evict(holder)
            durable.returned += self._delivery.topics.take_back(holder)
        durables.hold(durable, reader)
        reader.ghosts = reader.session.mailbox.of_group(reader.group)
        trimmed = durables.resume(durable, reader)
        self._delivery.retention.lose(reader, trimmed, "away")
        return None if known is None else durable.next

    def give_returned(self, reader: Reader) -> None:
        """What came back to its name follows the RECEIPT, and the snapshot."""
        durable = reader.durable
        if durable is not None and not reader.ended:
            durable.fresh = False
            returned, durable.returned = durable.returned, []
            self._delivery.topics.give_again(reader, returned)

    def recovered(self, reader: Reader, start: int) -> None:
        """Everything from an offset on is replayed: it needs neither to come back, nor to be missed
        any more.
        """
        durable = reader.durable
        if durable is not None:
            durable.returned = [each for each in durable.returned if each.offset < start]
        reader.dropped = 0

    def begin(self, reader: Reader, start: int) -> None:
        """A new name begins with the history, at this offset."""
        if reader.durable is not None:
            reader.durable.next = start

    def failed(self, reader: Reader) -> None:
        """Its SUBSCRIBE failed after all: a name that it made is none."""
        durable = reader.durable
        if durable is not None and durable.fresh:
            self.delete(durable)

    def forget(self, session: SessionRecord, subscription_id: str) -> None:
        """A session that has ended had asked for a name to be deleted."""
        if session.user is None:
            return
        durable = self._delivery.durables.find((session.user.name, subscription_id))
        if durable is not None and durable.holder is None:
            self.delete(durable)

    def delete(self, durable: Durable) -> None:
        """The name is gone, and what was kept for it."""
        self._delivery.durables.delete(durable)
        self._delivery.retention.trim(durable.topic)
        self._delivery.registry.release_topic(durable.topic)

    def _evict(self, reader: Reader) -> None:
        """Another session takes the name: this one's subscription ends."""
        session, key = reader.session, reader.id
        assert key is not None
        session.subscriptions.active.pop(key, None)
        reader.leave()
        session.subscriptions.remember_refused(key, self._limits.max_subscriptions)
        self._presence.ended(reader, lost=True)

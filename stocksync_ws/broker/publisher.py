"""Publishing: admitted, numbered, encoded once, queued for every receiver, in one step.

Rule: `publish` is `admit` and then `publish_local`. What runs for a publication (interceptors,
authorization: their issue brings them) runs once, in `admit`; `publish_local` is the atomic step
and the place where a backplane between several workers will stand before. A destination's order is
the order of acceptance.
"""

from __future__ import annotations

from stocksync_ws.broker.dispatch import Reply
from stocksync_ws.broker.index import Index
from stocksync_ws.broker.life import Life
from stocksync_ws.broker.outbox import Outbox
from stocksync_ws.broker.publication import Draft, Publication, Published
from stocksync_ws.broker.session import Session, State, Subscription
from stocksync_ws.config import BrokerConfig
from stocksync_ws.counters import Counters
from stocksync_ws.errors import CloseCode, DisconnectReason

__all__ = ["Publisher"]


class Publisher:
    """Everything that becomes a MESSAGE."""

    __slots__ = ("_counters", "_epoch", "_index", "_life", "_limits", "_number", "_outbox", "_user")

    def __init__(
        self,
        config: BrokerConfig,
        epoch: str,
        counters: Counters,
        index: Index,
        outbox: Outbox,
        life: Life,
    ) -> None:
        self._limits = config.limits
        self._user = config.user_prefix
        self._epoch = epoch
        self._counters = counters
        self._index = index
        self._outbox = outbox
        self._life = life
        self._number = 0

    def publish(self, draft: Draft, now: float) -> Published:
        """Accept a message and queue it for its receivers."""
        return self.publish_local(draft, self.admit(draft, now), now)

    def admit(self, draft: Draft, now: float) -> Publication:
        """Give a message its number and its id, which no other will ever have."""
        own = draft.user is not None or draft.session is not None
        destination = self._user + draft.destination if own else draft.destination
        return self._publication(destination, draft.headers, draft.body, now)

    def publish_local(self, draft: Draft, publication: Publication, now: float) -> Published:
        """The atomic step: every subscription that is active now has it queued."""
        self._counters.messages_published += 1
        if draft.session is not None:
            receivers = self._to_session(draft.session, publication)
        elif draft.user is not None:
            groups = self._index.groups((draft.user, draft.destination))
            receivers = self._outbox.publish(publication, groups)
        else:
            receivers = self._outbox.publish(publication, self._index.groups(draft.destination))
        if not receivers:
            self._counters.messages_unrouted += 1
        self.close_overfull(now)
        return Published(publication.message_id, receivers)

    def answer(self, subscription: Subscription, reply: Reply, now: float) -> None:
        """The one MESSAGE that answers a SUBSCRIBE to the application."""
        self.tell(subscription, reply.headers, reply.body, now)

    def tell(
        self,
        subscription: Subscription,
        headers: tuple[tuple[str, str], ...],
        body: bytes,
        now: float,
    ) -> None:
        """A MESSAGE to one subscription only."""
        publication = self._publication(subscription.destination, headers, body, now)
        self._outbox.deliver(publication, subscription)

    def _publication(
        self, destination: str, headers: tuple[tuple[str, str], ...], body: bytes, now: float
    ) -> Publication:
        self._number += 1
        message_id = f"{self._epoch}-{self._number}"
        return Publication(self._number, message_id, destination, headers, body, now)

    def _to_session(self, session_id: str, publication: Publication) -> int:
        session = self._life.sessions.get(session_id)
        if session is None or session.state is not State.CONNECTED:
            return 0
        receivers = 0
        for subscription in session.subscriptions.values():
            if subscription.destination == publication.destination:
                self._outbox.deliver(publication, subscription)
                receivers += 1
        return receivers

    def close_overfull(self, now: float) -> None:
        """Close what grew past the bound of one turn, and the largest queues past the bound of
        all.
        """
        outbox = self._outbox
        if outbox.overfull:
            overfull, outbox.overfull = outbox.overfull, []
            for session in overfull:
                self.close_slow(session, now)
        while outbox.total > self._limits.max_total_queued:
            waiting = [each for each in self._life.sessions.values() if each.queued]
            open_ones = [each for each in waiting if each.state is State.CONNECTED]
            if not open_ones:
                return
            self.close_slow(max(open_ones, key=_queued), now)

    def close_slow(self, session: Session, now: float) -> None:
        """End a session that does not take what it is sent."""
        if session.state is State.CONNECTED:
            self._counters.slow_consumers += 1
            self._life.close(
                session, CloseCode.SLOW_CONSUMER, DisconnectReason.SLOW_CONSUMER, now, drop=True
            )


def _queued(session: Session) -> int:
    return session.queued

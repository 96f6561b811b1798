"""UNSUBSCRIBE: how a subscription ends.

Rule: one that a client cannot know to be refused is no error of its own. What a subscription left
unsettled stays with its session.
"""

from __future__ import annotations

from stocksync_ws.broker.delivery.room import Delivery
from stocksync_ws.broker.frames.durable_names import DurableNames
from stocksync_ws.broker.frames.receipts import Receipts
from stocksync_ws.broker.frames.subscribe_options import ended_keys, wants_durable
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.sessions.room import Sessions
from stocksync_ws.codes import ErrorCode
from stocksync_ws.errors import RemoteProtocolError
from stocksync_ws.stomp.frame import Frame

__all__ = ["Unsubscribing"]


class Unsubscribing:
    """The frame UNSUBSCRIBE."""

    __slots__ = ("_counters", "_delivery", "_limits", "_names", "_presence", "_receipts", "_step")

    def __init__(
        self, env: Environment, delivery: Delivery, sessions: Sessions, receipts: Receipts
    ) -> None:
        self._step = env.step
        self._limits = env.limits
        self._counters = env.counters
        self._delivery = delivery
        self._presence = sessions.presence
        self._receipts = receipts
        self._names = DurableNames(env, delivery, sessions.presence)

    def unsubscribe(self, session: SessionRecord, frame: Frame) -> None:
        """End a subscription; its unsettled deliveries stay with the session.

        Raises:
            RemoteProtocolError: There is none of this id, or a header is malformed.
        """
        deletes = wants_durable(frame)
        for key in ended_keys(session, frame):
            self._end(session, frame, key, deletes)
        self._receipts.send(session, frame)
        self._delivery.queues.dispatch_returned()
        self._step.settle_first()

    def _end(self, session: SessionRecord, frame: Frame, key: str, deletes: bool) -> None:
        subscription = session.subscriptions.active.pop(key, None)
        if subscription is not None:
            if subscription.durable is not None and deletes:
                self._names.delete(subscription.durable)
            subscription.leave()
            if subscription.ledger is None:
                session.subscriptions.remember_auto(key, self._limits.max_subscriptions)
            self._presence.ended(subscription, lost=False)
        elif (
            session.subscriptions.refused_ids is not None
            and key in session.subscriptions.refused_ids
        ):
            del session.subscriptions.refused_ids[key]
            self._counters.unsubscribes_ignored += 1
        else:
            raise RemoteProtocolError(ErrorCode.UNKNOWN_SUBSCRIPTION, frame.command, frame.headers)

    def forget_name(self, session: SessionRecord, frame: Frame) -> None:
        """The stream has ended, and with it every subscription; what is left of an UNSUBSCRIBE is
        that it may delete a name.
        """
        if "id" in frame.headers and wants_durable(frame):
            self._names.forget(session, frame.headers["id"])
            self._step.settle_first()

"""SUBSCRIBE and UNSUBSCRIBE: who may, what it gets first, and how it ends.

Rule: a subscription is attached in one step and goes live in the step in which its reader reaches
the top of the log, so that there is neither gap nor duplicate. On the wire: RECEIPT, then what was
missed (`replayed:true`) or the snapshot, then what is live.
"""

from __future__ import annotations

from stocksync_ws.broker.calls.dispatch import Reply
from stocksync_ws.broker.calls.events import subscribed, unsubscribed
from stocksync_ws.broker.calls.room import Calls
from stocksync_ws.broker.delivery.room import Delivery
from stocksync_ws.broker.frames.durable_names import DurableNames
from stocksync_ws.broker.frames.receipts import Receipts
from stocksync_ws.broker.frames.subscribe_options import (
    SubscribeOptions,
    ended_keys,
    read_subscribe,
    wants_durable,
)
from stocksync_ws.broker.model.channel import Channel
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.ledger import AckMode
from stocksync_ws.broker.model.namespace import Kind, has_wildcard
from stocksync_ws.broker.model.pipeline import Pipeline, Script
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.state import State
from stocksync_ws.broker.model.subscription import Subscription
from stocksync_ws.broker.sessions.room import Sessions
from stocksync_ws.errors import Cancelled, ErrorCode, RemoteProtocolError
from stocksync_ws.stomp.frame import Frame

__all__ = ["Subscribing"]


class Subscribing:
    """The frames SUBSCRIBE and UNSUBSCRIBE."""

    __slots__ = (
        "_counters",
        "_delivery",
        "_dispatch",
        "_errors",
        "_limits",
        "_listeners",
        "_names",
        "_namespace",
        "_publisher",
        "_receipts",
    )

    def __init__(
        self,
        env: Environment,
        calls: Calls,
        delivery: Delivery,
        sessions: Sessions,
        receipts: Receipts,
    ) -> None:
        self._limits = env.limits
        self._namespace = env.namespace
        self._counters = env.counters
        self._dispatch = calls.dispatch
        self._listeners = calls.listeners
        self._delivery = delivery
        self._publisher = sessions.publisher
        self._errors = sessions.errors
        self._receipts = receipts
        self._names = DurableNames(env, calls, delivery)

    # SUBSCRIBE

    def subscribe(self, session: SessionRecord, frame: Frame, destination: str) -> Script | None:
        """Attach a subscription, or refuse it.

        Raises:
            RemoteProtocolError: The frame is malformed, or there is one too many.
        """
        wanted = read_subscribe(session, frame, self._limits)
        kind, path = self._namespace.classify(destination)
        refusal = self._refusal(session, wanted, kind, destination)
        if refusal is not None:
            self._refuse(session, frame, wanted.key, refusal)
            return None
        if kind is Kind.APPLICATION:
            return self._to_handler(session, frame, wanted, path)
        subscription = self._record(session, frame, wanted)
        return self._attach(subscription, frame, wanted, kind, path)

    def _refusal(
        self, session: SessionRecord, wanted: SubscribeOptions, kind: Kind, destination: str
    ) -> ErrorCode | None:
        if has_wildcard(destination):
            return ErrorCode.SUBSCRIBE_DENIED
        if kind is Kind.APPLICATION:
            return None
        if kind is Kind.NOWHERE:
            return ErrorCode.NO_DESTINATION
        if kind is Kind.USER:
            allowed = self._namespace.is_own(destination)
        else:
            allowed = self._namespace.may_subscribe.match(destination)
        if wanted.durable and session.user is None and self._keeps_names(kind, destination):
            allowed = False
        return None if allowed else ErrorCode.SUBSCRIBE_DENIED

    def _keeps_names(self, kind: Kind, destination: str) -> bool:
        """A queue keeps everything anyway, and a `latest` destination all that is worth keeping."""
        return (
            kind is Kind.TOPIC and self._delivery.destinations.policy(destination).kind != "latest"
        )

    def _attach(
        self,
        subscription: Subscription,
        frame: Frame,
        wanted: SubscribeOptions,
        kind: Kind,
        path: str,
    ) -> Script | None:
        session = subscription.session
        name = None
        if self._keeps_names(kind, subscription.destination):
            name = self._names.claim(session, frame, wanted)
        try:
            address = (session.owner, path) if kind is Kind.USER else subscription.destination
            channel = self._delivery.destinations.open(address)
        except OverflowError:
            raise RemoteProtocolError(ErrorCode.QUEUE_FULL, frame.command, frame.headers) from None
        subscription.channel = channel
        session.subscriptions.active[wanted.key] = subscription
        (session.subscriptions.refused_ids or {}).pop(wanted.key, None)
        if channel.queue is not None:
            self._join_queue(subscription, channel, frame, wanted)
            return None
        channel.join(subscription)
        extra = self._position(subscription, wanted, name)
        if extra.get("recovered") != "true":
            pipeline = self._dispatch.snapshot(session, frame, subscription.destination)
            if pipeline is not None:
                return self._snapshot(pipeline, subscription, frame, wanted.key, extra)
        self._receipts.send(session, frame, extra)
        self._listeners.emit(session, subscribed(subscription))
        self._names.give_returned(subscription)
        return None

    def _join_queue(
        self,
        subscription: Subscription,
        channel: Channel,
        frame: Frame,
        wanted: SubscribeOptions,
    ) -> None:
        """A queue has no history to recover from: what is in it comes to whoever consumes."""
        extra: dict[str, str] = {}
        if wanted.last_message_id is not None:
            self._counters.recoveries_failed += 1
            extra = {"recovered": "false", "replayed": "0"}
            subscription.unrecovered = not wanted.receipt
        self._receipts.send(subscription.session, frame, extra)
        self._delivery.queues.join(subscription)
        self._delivery.queues.dispatch(channel)
        self._listeners.emit(subscription.session, subscribed(subscription))

    def _position(
        self,
        subscription: Subscription,
        wanted: SubscribeOptions,
        name: tuple[str, str] | None,
    ) -> dict[str, str]:
        """Where it begins to read; what the RECEIPT says of it."""
        channel = subscription.channel
        assert channel is not None
        self._delivery.retention.trim(channel)
        self._delivery.retention.bury_dead(channel)
        extra: dict[str, str] = {}
        top = channel.log.top
        start = top + 1
        if name is not None:
            start = self._names.take(subscription, channel, name)
        if wanted.last_message_id is not None:
            recovered, start = self._recover(channel, wanted.last_message_id, start)
            if recovered:
                self._names.recovered(subscription, start)
            extra["recovered"] = "true" if recovered else "false"
            extra["replayed"] = str(channel.log.count_from(start))
            subscription.unrecovered = not recovered and not wanted.receipt
        elif channel.keys is not None:
            start = 1
            extra["replayed"] = str(len(channel.log))
        if channel.has_history:
            extra["last-message-id"] = channel.message_id(top)
        subscription.replay_to = top
        subscription.replay_left = channel.log.count_from(start)
        self._delivery.topics.fall_behind(subscription, start)
        if start > top and not subscription.unrecovered and not subscription.dropped:
            self._delivery.topics.go_live(subscription)
        return extra

    def _recover(self, channel: Channel, message_id: str, start: int) -> tuple[bool, int]:
        """All or nothing: everything behind that message is still there, or nothing is replayed."""
        epoch, _, digits = message_id.rpartition("-")
        known = channel.has_history and epoch == channel.epoch
        valid = known and digits.isascii() and digits.isdigit() and len(digits) < 20
        offset = int(digits) if valid else -1
        if channel.keys is not None:
            self._counters.recoveries += 1
            return True, offset + 1 if 0 <= offset <= channel.log.top else 1
        if channel.log.lost <= offset <= channel.log.top:
            self._counters.recoveries += 1
            return True, offset + 1
        self._counters.recoveries_failed += 1
        return False, start

    # The application

    def _to_handler(
        self, session: SessionRecord, frame: Frame, wanted: SubscribeOptions, path: str
    ) -> Script | None:
        pipeline = self._dispatch.subscribe(session, frame, path)
        if pipeline is None:
            self._refuse(session, frame, wanted.key, ErrorCode.NO_HANDLER)
            return None
        subscription = self._record(session, frame, wanted)
        subscription.channel = self._delivery.destinations.open(subscription.destination)
        subscription.channel.join(subscription)
        session.subscriptions.active[wanted.key] = subscription
        return self._answer(pipeline, subscription, frame, wanted.key)

    def _answer(
        self,
        pipeline: Pipeline[Reply | None],
        subscription: Subscription,
        frame: Frame,
        key: str,
    ) -> Script:
        """RECEIPT, and the one MESSAGE, when the handler has returned."""
        session = subscription.session
        try:
            reply = yield from pipeline
        except (Exception, Cancelled) as error:
            self._take_off(subscription, key)
            self._errors.handler(session, frame, error)
            return
        self._receipts.send(session, frame)
        if session.state is State.CONNECTED:
            self._listeners.emit(session, subscribed(subscription))
            if reply is not None:
                self._publisher.tell(subscription, reply.headers, reply.body)

    def _snapshot(
        self,
        pipeline: Pipeline[Reply | None],
        subscription: Subscription,
        frame: Frame,
        key: str,
        extra: dict[str, str],
    ) -> Script:
        """RECEIPT, the snapshot, what was published meanwhile, then what is live. None after a
        recovery.
        """
        session, channel, topics = subscription.session, subscription.channel, self._delivery.topics
        assert channel is not None
        subscription.blocked = True
        if subscription not in channel.behind:
            topics.fall_behind(subscription, channel.log.top + 1)
        try:
            reply = yield from pipeline
        except (Exception, Cancelled) as error:
            self._take_off(subscription, key)
            self._errors.handler(session, frame, error)
            return
        if reply is None:
            self._take_off(subscription, key)
            return
        if session.state is not State.CONNECTED:
            return
        self._receipts.send(session, frame, extra)
        self._listeners.emit(session, subscribed(subscription))
        if subscription.group is None:  # another session has taken its name meanwhile
            self._listeners.emit(session, unsubscribed(subscription))
            return
        headers = (("snapshot", "true"), *reply.headers)
        self._publisher.tell(subscription, headers, reply.body, extra.get("last-message-id"))
        subscription.blocked = False
        subscription.held_to = channel.log.top
        self._names.give_returned(subscription)
        topics.pull(session)

    def _take_off(self, subscription: Subscription, key: str) -> None:
        """User code failed: the subscription does not exist after all."""
        session = subscription.session
        if session.subscriptions.active.pop(key, None) is not None:
            self._names.failed(subscription)
            self._delivery.end_subscription(subscription)
        session.subscriptions.remember_refused(key, self._limits.max_subscriptions)

    # UNSUBSCRIBE

    def unsubscribe(self, session: SessionRecord, frame: Frame) -> None:
        """End a subscription; its unsettled deliveries stay with the session.

        Raises:
            RemoteProtocolError: There is none of this id.
        """
        for key in ended_keys(session, frame):
            self._end(session, frame, key)
        self._receipts.send(session, frame)

    def _end(self, session: SessionRecord, frame: Frame, key: str) -> None:
        subscription = session.subscriptions.active.pop(key, None)
        if subscription is not None:
            if subscription.durable is not None and wants_durable(frame.headers):
                self._names.delete(subscription.durable)
            self._delivery.end_subscription(subscription)
            if subscription.ledger is None:
                session.subscriptions.remember_auto(key, self._limits.max_subscriptions)
            self._listeners.emit(session, unsubscribed(subscription))
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
        if "id" in frame.headers and wants_durable(frame.headers):
            self._names.forget(session, frame.headers["id"])

    # Records

    def _record(
        self, session: SessionRecord, frame: Frame, wanted: SubscribeOptions
    ) -> Subscription:
        """The record of a new subscription."""
        destination, mode = frame.headers["destination"], wanted.mode
        if mode is AckMode.AUTO:
            return Subscription(session, wanted.id, destination)
        ledger = self._delivery.acks.open(session, frame, wanted.key, mode, wanted.prefetch)
        if session.subscriptions.ended_auto is not None:
            session.subscriptions.ended_auto.pop(wanted.key, None)
        subscription = ledger.subscription = Subscription(
            session, wanted.id, destination, mode, ledger
        )
        return subscription

    def _refuse(self, session: SessionRecord, frame: Frame, key: str, code: ErrorCode) -> None:
        session.subscriptions.remember_refused(key, self._limits.max_subscriptions)
        self._errors.application(session, frame, code)

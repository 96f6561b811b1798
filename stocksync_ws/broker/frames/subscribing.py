"""SUBSCRIBE and UNSUBSCRIBE: who may, what it gets first, and how it ends.

Rule: a subscription is attached in one step and goes live in the step in which its reader reaches
the top of the log, so that there is neither gap nor duplicate. On the wire: RECEIPT, then what was
missed (`replayed:true`) or the snapshot, then what is live.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from stocksync_ws.broker.calls.dispatch import Dispatch, Reply
from stocksync_ws.broker.calls.listeners import Listeners
from stocksync_ws.broker.calls.notices import subscribed, unsubscribed
from stocksync_ws.broker.calls.tasks import Tasks
from stocksync_ws.broker.delivery.acknowledgements import Acknowledgements
from stocksync_ws.broker.delivery.destinations import Destinations
from stocksync_ws.broker.delivery.queues import Queues
from stocksync_ws.broker.delivery.retention import Retention
from stocksync_ws.broker.delivery.topics import Topics
from stocksync_ws.broker.frames.durable_names import DurableNames
from stocksync_ws.broker.frames.receipts import Receipts
from stocksync_ws.broker.frames.subscribe_options import (
    SubscribeOptions,
    ended_keys,
    read_subscribe,
    wants_durable,
)
from stocksync_ws.broker.model.channel import Channel
from stocksync_ws.broker.model.ledger import AckMode
from stocksync_ws.broker.model.namespace import Kind, Namespace, has_wildcard
from stocksync_ws.broker.model.pipeline import Task
from stocksync_ws.broker.model.session import Session, State, Subscription
from stocksync_ws.broker.sessions.errors import ErrorReporter
from stocksync_ws.broker.sessions.lifecycle import Lifecycle
from stocksync_ws.broker.sessions.publisher import Publisher
from stocksync_ws.config import Limits
from stocksync_ws.counters import Counters
from stocksync_ws.errors import ErrorCode, RemoteProtocolError
from stocksync_ws.stomp.frame import Frame

__all__ = ["Subscribing"]


class Subscribing:
    """The frames SUBSCRIBE and UNSUBSCRIBE."""

    def __init__(
        self,
        limits: Limits,
        dispatch: Dispatch,
        space: Namespace,
        counters: Counters,
        store: Destinations,
        topics: Topics,
        retention: Retention,
        queues: Queues,
        acks: Acknowledgements,
        naming: DurableNames,
        life: Lifecycle,
        listeners: Listeners,
        publisher: Publisher,
        tasks: Tasks,
        failures: ErrorReporter,
        receipts: Receipts,
        proceed: Callable[[Session, float], None],
    ) -> None:
        self._limits = limits
        self._dispatch = dispatch
        self._space = space
        self._counters = counters
        self._store = store
        self._topics = topics
        self._retention = retention
        self._queues = queues
        self._acks = acks
        self._naming = naming
        self._life = life
        self._listeners = listeners
        self._publisher = publisher
        self._tasks = tasks
        self._failures = failures
        self._receipts = receipts
        self._proceed = proceed

    # SUBSCRIBE

    def subscribe(self, session: Session, frame: Frame, destination: str, now: float) -> None:
        """Attach a subscription, or refuse it.

        Raises:
            RemoteProtocolError: The frame is malformed, or there is one too many.
        """
        wanted = read_subscribe(session, frame, self._limits)
        kind, path = self._space.classify(destination)
        refusal = self._refusal(session, wanted, kind, destination)
        if refusal is not None:
            self._refuse(session, frame, wanted.key, refusal, now)
        elif kind is Kind.APPLICATION:
            self._to_handler(session, frame, wanted, path, now)
        else:
            subscription = self._record(session, frame, wanted)
            self._attach(subscription, frame, wanted, kind, path, now)
            self._publisher.settle(now)

    def _refusal(
        self, session: Session, wanted: SubscribeOptions, kind: Kind, destination: str
    ) -> ErrorCode | None:
        if has_wildcard(destination):
            return ErrorCode.SUBSCRIBE_DENIED
        if kind is Kind.APPLICATION:
            return None
        if kind is Kind.NOWHERE:
            return ErrorCode.NO_DESTINATION
        if kind is Kind.USER:
            allowed = self._space.is_own(destination)
        else:
            allowed = self._space.may_subscribe.match(destination)
        if wanted.durable and session.user is None and self._keeps_names(kind, destination):
            allowed = False
        return None if allowed else ErrorCode.SUBSCRIBE_DENIED

    def _keeps_names(self, kind: Kind, destination: str) -> bool:
        """A queue keeps everything anyway, and a `latest` destination all that is worth keeping."""
        return kind is Kind.TOPIC and self._store.policy(destination).kind != "latest"

    def _attach(
        self,
        subscription: Subscription,
        frame: Frame,
        wanted: SubscribeOptions,
        kind: Kind,
        path: str,
        now: float,
    ) -> None:
        session = subscription.session
        name = None
        if self._keeps_names(kind, subscription.destination):
            name = self._naming.claim(session, frame, wanted, now)
        try:
            own = kind is Kind.USER
            channel = self._store.open((session.owner, path) if own else subscription.destination)
        except OverflowError:
            raise RemoteProtocolError(ErrorCode.QUEUE_FULL, frame.command, frame.headers) from None
        subscription.channel = channel
        session.subscriptions[wanted.key] = subscription
        (session.refused_ids or {}).pop(wanted.key, None)
        if channel.queue is not None:
            self._join_queue(subscription, channel, frame, wanted, now)
            return
        channel.join(subscription)
        extra = self._position(subscription, wanted, name, now)
        if not self._start_snapshot(subscription, frame, wanted.key, extra, now):
            self._receipts.send(session, frame, now, extra)
            self._listeners.emit(session, subscribed(subscription), now)
            self._naming.give_returned(subscription)

    def _join_queue(
        self,
        subscription: Subscription,
        channel: Channel,
        frame: Frame,
        wanted: SubscribeOptions,
        now: float,
    ) -> None:
        """A queue has no history to recover from: what is in it comes to whoever consumes."""
        extra: dict[str, str] = {}
        if wanted.last_message_id is not None:
            self._counters.recoveries_failed += 1
            extra = {"recovered": "false", "replayed": "0"}
            subscription.unrecovered = not wanted.receipt
        self._receipts.send(subscription.session, frame, now, extra)
        self._queues.join(subscription)
        self._queues.dispatch(channel)
        self._listeners.emit(subscription.session, subscribed(subscription), now)

    def _position(
        self,
        subscription: Subscription,
        wanted: SubscribeOptions,
        name: tuple[str, str] | None,
        now: float,
    ) -> dict[str, str]:
        """Where it begins to read; what the RECEIPT says of it."""
        channel = subscription.channel
        assert channel is not None
        self._retention.trim(channel)
        self._retention.bury_dead(channel)
        extra: dict[str, str] = {}
        top = channel.log.top
        start = top + 1
        if name is not None:
            start = self._naming.take(subscription, channel, name, now)
        if wanted.last_message_id is not None:
            recovered, start = self._recover(channel, wanted.last_message_id, start)
            if recovered:
                self._naming.recovered(subscription, start)
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
        self._topics.fall_behind(subscription, start)
        if start > top and not subscription.unrecovered and not subscription.dropped:
            self._topics.go_live(subscription)
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
        self, session: Session, frame: Frame, wanted: SubscribeOptions, path: str, now: float
    ) -> None:
        pipeline = self._dispatch.subscribe(session, frame, path)
        if pipeline is None:
            self._refuse(session, frame, wanted.key, ErrorCode.NO_HANDLER, now)
            return
        subscription = self._record(session, frame, wanted)
        subscription.channel = self._store.open(subscription.destination)
        subscription.channel.join(subscription)
        session.subscriptions[wanted.key] = subscription
        done = partial(self._handler_done, frame, wanted.key, subscription)
        self._tasks.run_frame(session, pipeline, done, now)

    def _handler_done(
        self,
        frame: Frame,
        key: str,
        subscription: Subscription,
        task: Task,
        reply: Reply | None,
        error: BaseException | None,
        now: float,
    ) -> None:
        session = self._tasks.frame_done(task)
        if error is not None:
            self._take_off(subscription, key)
            self._failures.handler(session, frame, error, task.label, now)
        else:
            self._receipts.send(session, frame, now)
            if session.state is State.CONNECTED:
                self._listeners.emit(session, subscribed(subscription), now)
                if reply is not None:
                    self._publisher.tell(subscription, reply.headers, reply.body, now)
        self._proceed(session, now)

    def _start_snapshot(
        self,
        subscription: Subscription,
        frame: Frame,
        key: str,
        extra: dict[str, str],
        now: float,
    ) -> bool:
        """A snapshot comes before what is live; none after a recovery. Whether one runs."""
        session = subscription.session
        if extra.get("recovered") == "true":
            return False
        pipeline = self._dispatch.snapshot(session, frame, subscription.destination)
        if pipeline is None:
            return False
        channel = subscription.channel
        assert channel is not None
        subscription.blocked = True
        if subscription not in channel.behind:
            self._topics.fall_behind(subscription, channel.log.top + 1)
        done = partial(self._snapshot_done, frame, key, subscription, extra)
        self._tasks.run_frame(session, pipeline, done, now)
        return True

    def _snapshot_done(
        self,
        frame: Frame,
        key: str,
        subscription: Subscription,
        extra: dict[str, str],
        task: Task,
        reply: Reply | None,
        error: BaseException | None,
        now: float,
    ) -> None:
        session = self._tasks.frame_done(task)
        if error is not None or reply is None:
            self._take_off(subscription, key)
            if error is not None:
                self._failures.handler(session, frame, error, task.label, now)
        elif session.state is State.CONNECTED:
            self._receipts.send(session, frame, now, extra)
            self._listeners.emit(session, subscribed(subscription), now)
            if subscription.group is None:  # another session has taken its name meanwhile
                self._listeners.emit(session, unsubscribed(subscription), now)
                self._proceed(session, now)
                return
            headers = (("snapshot", "true"), *reply.headers)
            place = extra.get("last-message-id")
            self._publisher.tell(subscription, headers, reply.body, now, place)
            subscription.blocked = False
            assert subscription.channel is not None
            subscription.held_to = subscription.channel.log.top
            self._naming.give_returned(subscription)
            self._topics.pull(session)
            self._publisher.settle(now)
        self._proceed(session, now)

    def _take_off(self, subscription: Subscription, key: str) -> None:
        """User code failed: the subscription does not exist after all."""
        session = subscription.session
        if session.subscriptions.pop(key, None) is not None:
            self._naming.failed(subscription)
            self._life.end_subscription(subscription)
        session.remember_refused(key, self._limits.max_subscriptions)

    # UNSUBSCRIBE

    def unsubscribe(self, session: Session, frame: Frame, now: float) -> None:
        """End a subscription; its unsettled deliveries stay with the session.

        Raises:
            RemoteProtocolError: There is none of this id.
        """
        for key in ended_keys(session, frame):
            self._end(session, frame, key, now)
        self._publisher.settle(now)
        self._receipts.send(session, frame, now)

    def _end(self, session: Session, frame: Frame, key: str, now: float) -> None:
        subscription = session.subscriptions.pop(key, None)
        if subscription is not None:
            if subscription.durable is not None and wants_durable(frame.headers):
                self._naming.delete(subscription.durable)
            self._life.end_subscription(subscription)
            if subscription.ledger is None:
                session.remember_auto(key, self._limits.max_subscriptions)
            self._listeners.emit(session, unsubscribed(subscription), now)
        elif session.refused_ids is not None and key in session.refused_ids:
            del session.refused_ids[key]
            self._counters.unsubscribes_ignored += 1
        else:
            raise RemoteProtocolError(ErrorCode.UNKNOWN_SUBSCRIPTION, frame.command, frame.headers)

    def forget_name(self, session: Session, frame: Frame, now: float) -> None:
        """The stream has ended, and with it every subscription; what is left of an UNSUBSCRIBE is
        that it may delete a name.
        """
        if "id" in frame.headers and wants_durable(frame.headers):
            self._naming.forget(session, frame.headers["id"])
            self._publisher.settle(now)

    # Records

    def _record(self, session: Session, frame: Frame, wanted: SubscribeOptions) -> Subscription:
        """The record of a new subscription."""
        destination, mode = frame.headers["destination"], wanted.mode
        if mode is AckMode.AUTO:
            return Subscription(session, wanted.id, destination)
        ledger = self._acks.open(session, frame, wanted.key, mode, wanted.prefetch)
        if session.ended_auto is not None:
            session.ended_auto.pop(wanted.key, None)
        subscription = ledger.subscription = Subscription(
            session, wanted.id, destination, mode, ledger
        )
        return subscription

    def _refuse(
        self, session: Session, frame: Frame, key: str, code: ErrorCode, now: float
    ) -> None:
        session.remember_refused(key, self._limits.max_subscriptions)
        self._failures.application(session, frame, code, now)

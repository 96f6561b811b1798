"""SUBSCRIBE: who may, and what it gets first.

Rule: a subscription is attached in one step and goes live in the step in which its reader reaches
the top of the log, so that there is neither gap nor duplicate. On the wire: RECEIPT, then what was
missed or the history (`replayed:true`), then the snapshot unless it was recovered, then what is
live.
"""

from __future__ import annotations

from typing import Final

from stocksync_ws.broker.calls.dispatch import UNSENT, Denial, Reply
from stocksync_ws.broker.calls.room import Calls
from stocksync_ws.broker.delivery.room import Delivery
from stocksync_ws.broker.frames.beginning import Beginning
from stocksync_ws.broker.frames.durable_names import DurableNames
from stocksync_ws.broker.frames.rights import FAILED, Rights
from stocksync_ws.broker.frames.sharing import Sharing
from stocksync_ws.broker.frames.subscribe_options import (
    SubscribeOptions,
    check_presence,
    read_subscribe,
)
from stocksync_ws.broker.frames.unsubscribing import Unsubscribing
from stocksync_ws.broker.model.destination import Address
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.ledger import AckMode, Ledger
from stocksync_ws.broker.model.namespace import Kind, Place, is_pattern
from stocksync_ws.broker.model.pipeline import Pipeline, Script
from stocksync_ws.broker.model.publication import PublicationKind
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.state import State
from stocksync_ws.broker.model.subscription import Consumer, Reader, Subscription
from stocksync_ws.broker.sessions.errors import NO_ANSWER_THERE, NO_PREFIX, NOT_OWN
from stocksync_ws.broker.sessions.room import Sessions
from stocksync_ws.codes import ErrorCode
from stocksync_ws.errors import Cancelled, RemoteProtocolError
from stocksync_ws.policies import Latest
from stocksync_ws.stomp.frame import Frame

__all__ = ["Subscribing"]

NO_NAMES = "A destination that several workers share has no durable names."
UNSAID: Final = Denial("")
"""Whoever reports the refusal knows why."""


class Subscribing:
    """The frame SUBSCRIBE."""

    __slots__ = (
        "_beginning",
        "_counters",
        "_delivery",
        "_dispatch",
        "_errors",
        "_limits",
        "_names",
        "_namespace",
        "_presence",
        "_publisher",
        "_receipts",
        "_rights",
        "_sharing",
        "_step",
        "unsubscribing",
    )

    def __init__(
        self,
        env: Environment,
        calls: Calls,
        delivery: Delivery,
        sessions: Sessions,
        sharing: Sharing,
        rights: Rights,
    ) -> None:
        self._sharing = None if sharing.none else sharing
        self._step = env.step
        self._limits = env.limits
        self._namespace = env.namespace
        self._counters = env.counters
        self._dispatch = calls.dispatch
        self._delivery = delivery
        self._publisher = sessions.publisher
        self._errors = sessions.errors
        self._receipts = sharing.receipts
        self._rights = rights
        self._presence = sessions.presence
        self._names = DurableNames(env, delivery, sessions.presence)
        self._beginning = Beginning(env, delivery, self._names)
        self.unsubscribing = Unsubscribing(env, delivery, sessions, self._receipts)
        """Its opposite."""

    # SUBSCRIBE

    def subscribe(self, session: SessionRecord, frame: Frame, place: Place) -> Script | None:
        """Attach a subscription, or refuse it.

        Raises:
            RemoteProtocolError: The frame is malformed, or there is one too many.
        """
        wanted = read_subscribe(session, frame, self._limits)
        # Who may be there, may see who is.
        asked = place.path if place.kind is Kind.PRESENCE else place.destination
        refusal = self._refusal(session, wanted, place, asked)
        reply_to = frame.headers.get("reply-to")
        if reply_to is not None and not self._namespace.may_be_answered_at(reply_to):
            # The function that answers may read it, as one for a SEND may.
            refusal = refusal or (ErrorCode.SUBSCRIBE_DENIED, Denial(NO_ANSWER_THERE))
        if refusal is None and not self._rights.none:
            verdict = self._rights.subscribe(session, frame, asked, reply_to)
            if isinstance(verdict, Denial):
                refusal = ErrorCode.SUBSCRIBE_DENIED, verdict
            elif verdict is not None:
                return self._judged(session, frame, verdict, wanted, place)
        return self._take(session, frame, wanted, place, refusal)

    def _judged(
        self,
        session: SessionRecord,
        frame: Frame,
        pipeline: Pipeline[Denial | None],
        wanted: SubscribeOptions,
        place: Place,
    ) -> Script:
        """Go on when the functions of rules have decided."""
        denial = yield from self._rights.ask(session, frame, pipeline)
        if denial is FAILED:
            session.subscriptions.remember_refused(wanted.key, self._limits.max_subscriptions)
        if denial is FAILED or session.state is not State.CONNECTED:
            return
        refusal = None if denial is None else (ErrorCode.SUBSCRIBE_DENIED, denial)
        script = self._take(session, frame, wanted._replace(asked=frame), place, refusal)
        if script is not None:
            yield from script

    def _take(
        self,
        session: SessionRecord,
        frame: Frame,
        wanted: SubscribeOptions,
        place: Place,
        refusal: tuple[ErrorCode, Denial] | None,
    ) -> Script | None:
        """Attach a subscription, or refuse it."""
        kind, path = place.kind, place.path
        if refusal is not None:
            self._refuse(session, frame, wanted.key, *refusal)
        elif kind is Kind.APPLICATION:
            return self._to_handler(session, frame, wanted, path)
        elif kind is Kind.QUEUE:
            self._to_queue(session, frame, wanted, place.destination)
        elif kind is Kind.PRESENCE:
            self._to_presence(session, frame, wanted, path)
        else:
            if wanted.durable and kind is Kind.TOPIC and self._is_shared(place.destination):
                code = ErrorCode.UNSUPPORTED
                raise RemoteProtocolError(code, frame.command, frame.headers, NO_NAMES)
            address = (session.owner, path) if kind is Kind.USER else place.destination
            if self._sharing is not None and not self._sharing.follows(session, address):
                return self._later(session, frame, wanted, place, address)
            return self._to_topic(session, frame, wanted, kind, address)
        return None

    def _is_shared(self, destination: str) -> bool:
        return self._sharing is not None and self._sharing.shares(destination)

    def _later(
        self,
        session: SessionRecord,
        frame: Frame,
        wanted: SubscribeOptions,
        place: Place,
        address: Address,
    ) -> Script:
        """Subscribe when this worker follows the destination, if its history has not given way to
        others by then; else wait once more. Rights that were judged anew meanwhile are asked again.
        """
        assert self._sharing is not None
        reviews = session.reviews
        followed = yield from self._sharing.attach(address)
        if session.state is not State.CONNECTED:
            return
        if not followed:
            self._refuse(session, frame, wanted.key, ErrorCode.BACKPLANE_UNAVAILABLE)
            return
        if session.reviews == reviews:
            script = self._take(session, frame, wanted, place, None)
        else:
            script = self.subscribe(session, frame, place)
        if script is not None:
            yield from script

    def _refusal(
        self, session: SessionRecord, wanted: SubscribeOptions, place: Place, destination: str
    ) -> tuple[ErrorCode, Denial] | None:
        """The refusal of a SUBSCRIBE, and the setting behind it."""
        kind = place.kind
        if kind is Kind.NOWHERE and not is_pattern(destination):
            return ErrorCode.NO_DESTINATION, Denial(NO_PREFIX)
        rule = ""
        if is_pattern(destination):
            rule = "a SUBSCRIBE takes no wildcard: write one for each destination"
        elif kind is Kind.APPLICATION:
            return None
        elif kind is Kind.USER and not self._namespace.is_own(destination):
            rule = NOT_OWN
        elif kind is Kind.PRESENCE and not self._namespace.is_attended(destination):
            rule = "presence: none of its patterns covers it; add one"
        elif kind is not Kind.USER and not place.may_subscribe:
            rule = "client_subscribe: none of its patterns covers it; add one"
        elif wanted.durable and session.user is None and self._keeps_names(kind, destination):
            rule = "a durable name needs a user, and the session is anonymous: see authenticator"
        return (ErrorCode.SUBSCRIBE_DENIED, Denial(rule)) if rule else None

    def _keeps_names(self, kind: Kind, destination: str) -> bool:
        """A queue keeps everything anyway, and a `latest` destination all that is worth keeping."""
        policy = self._delivery.destinations.policy(destination)
        return kind is Kind.TOPIC and not isinstance(policy, Latest)

    def _refuse(
        self,
        session: SessionRecord,
        frame: Frame,
        key: str,
        code: ErrorCode,
        denial: Denial = UNSAID,
    ) -> None:
        session.subscriptions.remember_refused(key, self._limits.max_subscriptions)
        self._errors.denied(session, frame, code, denial)

    def _ledger(
        self, session: SessionRecord, frame: Frame, wanted: SubscribeOptions
    ) -> Ledger | None:
        """Where the deliveries of a new subscription will wait; None in auto mode."""
        if wanted.mode is AckMode.AUTO:
            return None
        return self._delivery.acks.open(session, frame, wanted.key, wanted.mode, wanted.prefetch)

    def _add(self, subscription: Subscription, wanted: SubscribeOptions) -> None:
        """A subscription has its id."""
        key = wanted.key
        subscription.asked = wanted.asked
        subscriptions, ledger = subscription.session.subscriptions, subscription.ledger
        if ledger is not None:
            ledger.subscription = subscription
            (subscriptions.ended_auto or {}).pop(key, None)
        (subscriptions.refused_ids or {}).pop(key, None)
        subscriptions.active[key] = subscription

    # Queues

    def _to_queue(
        self, session: SessionRecord, frame: Frame, wanted: SubscribeOptions, destination: str
    ) -> None:
        """A queue has no history to recover from: what is in it comes to whoever consumes."""
        ledger = self._ledger(session, frame, wanted)
        try:
            queue = self._delivery.destinations.open_queue(destination)
        except OverflowError:
            raise RemoteProtocolError(ErrorCode.QUEUE_FULL, frame.command, frame.headers) from None
        consumer = Consumer(session, wanted.id, destination, queue, wanted.mode, ledger)
        self._add(consumer, wanted)
        extra: dict[str, str] = {}
        if wanted.last_message_id is not None:
            self._counters.recoveries_failed += 1
            extra = {"recovered": "false", "replayed": "0"}
            consumer.unrecovered = not wanted.receipt
        self._receipts.send(session, frame, extra)
        self._delivery.queues.join(consumer)
        self._delivery.queues.dispatch(queue)
        self._presence.began(consumer)
        self._step.settle_first()

    def _to_presence(
        self, session: SessionRecord, frame: Frame, wanted: SubscribeOptions, path: str
    ) -> None:
        check_presence(frame, wanted)
        follower = self._presence.follower(session, wanted.id, path)
        self._add(follower, wanted)
        self._receipts.send(session, frame)
        self._presence.follow(follower)

    # Topics

    def _to_topic(
        self,
        session: SessionRecord,
        frame: Frame,
        wanted: SubscribeOptions,
        kind: Kind,
        address: Address,
    ) -> Script | None:
        destination = frame.headers["destination"]
        ledger = self._ledger(session, frame, wanted)
        name = None
        if wanted.durable and self._keeps_names(kind, destination):
            name = self._names.claim(session, frame, wanted)
        topic = self._delivery.destinations.open_topic(address)
        reader = Reader(session, wanted.id, destination, topic, wanted.mode, ledger)
        self._add(reader, wanted)
        extra = self._beginning.begin(reader, wanted, name)
        if extra.get("recovered") != "true":
            pipeline = self._dispatch.snapshot(session, frame, destination)
            if pipeline is not None:
                self._step.settle_first()
                return self._snapshot(pipeline, reader, frame, wanted.key, extra)
        self._receipts.send(session, frame, extra)
        self._presence.began(reader)
        self._names.give_returned(reader)
        self._step.settle_first()
        return None

    def _snapshot(
        self,
        pipeline: Pipeline[Reply | None],
        reader: Reader,
        frame: Frame,
        key: str,
        extra: dict[str, str],
    ) -> Script:
        """RECEIPT, the history if it comes first, the snapshot if there is something to send, what
        was published meanwhile, then what is live.
        """
        session, topic, readers = reader.session, reader.topic, self._delivery.readers
        reader.blocked = True
        if reader not in topic.behind:
            readers.fall_behind(reader, topic.log.top + 1)
        draft = None
        try:
            reply = yield from pipeline
            if reply is not None and reply is not UNSENT:
                headers = (("snapshot", "true"), *reply.headers)
                kind = PublicationKind.SNAPSHOT
                draft = self._publisher.draft_for(reader, kind, headers, reply.body)
        except (Exception, Cancelled) as error:
            self._take_off(reader, key)
            self._errors.handler(session, frame, error)
            return
        if reply is None:
            self._take_off(reader, key)
            return
        if session.state is not State.CONNECTED:
            return
        self._receipts.send(session, frame, extra)
        if reader.ended:  # meanwhile it was revoked, or another session has taken its name
            self._presence.passed(reader)
            return
        self._presence.began(reader)
        if draft is not None:
            self._publisher.snapshot(reader, draft, extra.get("last-message-id"))
        reader.blocked = False
        reader.held_to = topic.log.top
        self._names.give_returned(reader)
        readers.pull(session)
        self._step.settle_first()

    # The application

    def _to_handler(
        self, session: SessionRecord, frame: Frame, wanted: SubscribeOptions, path: str
    ) -> Script | None:
        pipeline = self._dispatch.subscribe(session, frame, path)
        if pipeline is None:
            self._refuse(session, frame, wanted.key, ErrorCode.NO_HANDLER)
            return None
        destination = frame.headers["destination"]
        ledger = self._ledger(session, frame, wanted)
        topic = self._delivery.destinations.open_topic(destination)
        reader = Reader(session, wanted.id, destination, topic, wanted.mode, ledger)
        self._add(reader, wanted)
        return self._answer(pipeline, reader, frame, wanted.key)

    def _answer(
        self, pipeline: Pipeline[Reply | None], reader: Reader, frame: Frame, key: str
    ) -> Script:
        """RECEIPT, and the one MESSAGE, when the handler has returned."""
        session = reader.session
        draft = None
        try:
            reply = yield from pipeline
            if reply is not None:
                kind = PublicationKind.ANSWER
                draft = self._publisher.draft_for(reader, kind, reply.headers, reply.body)
        except (Exception, Cancelled) as error:
            self._take_off(reader, key)
            self._errors.handler(session, frame, error)
            return
        self._receipts.send(session, frame)
        if session.state is not State.CONNECTED:
            return
        if reader.ended:  # it was revoked meanwhile
            self._presence.passed(reader)
            return
        self._presence.began(reader)
        if draft is not None:
            self._publisher.answer(reader, draft)

    def _take_off(self, reader: Reader, key: str) -> None:
        """User code failed: the subscription does not exist after all."""
        subscriptions = reader.session.subscriptions
        if subscriptions.active.pop(key, None) is not None:
            self._names.failed(reader)
            reader.leave()
        subscriptions.remember_refused(key, self._limits.max_subscriptions)

"""Publishing: everything that becomes a MESSAGE is admitted here, and told when it is dead.

Rule: `publish` is `admit` and then `publish_local`. Everything that runs once for a publication
runs in `admit`, the interceptors first; the atomic step behind it stands in
`delivery/publishing.py`. What all workers get is looked at by the interceptors here, and gets its
id from the engine and its number when it comes back (`workers.py`). Whether a client may publish is
judged by `frames/`, before. A destination's order is the order of acceptance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from stocksync_ws.backplane import AppendOutcome
from stocksync_ws.broker.calls.events import DeadLetter, MessageDropped
from stocksync_ws.broker.calls.listeners import Listeners
from stocksync_ws.broker.calls.session_log import SessionLog
from stocksync_ws.broker.delivery.queues import QueueFull
from stocksync_ws.broker.delivery.room import Delivery
from stocksync_ws.broker.model.destination import address_of
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.flight import Done, Failure, Settlement
from stocksync_ws.broker.model.publication import (
    Draft,
    Publication,
    PublicationKind,
    Published,
    Told,
    expiry,
)
from stocksync_ws.broker.model.state import CONNECTED
from stocksync_ws.broker.model.step import DeadMessage
from stocksync_ws.broker.model.subscription import Reader, Subscription
from stocksync_ws.broker.sessions.interception import Interception
from stocksync_ws.broker.sessions.workers import Workers
from stocksync_ws.errors import (
    REFUSED,
    AccessDenied,
    BackplaneUnavailable,
    BrokerBusy,
    InterceptorFailed,
    PublishUncertain,
)
from stocksync_ws.types import ToDestination

__all__ = ["Publisher"]

NOT_THERE = "the engine behind the workers was not there in time, and nothing was sent"
NOT_ANSWERED = "the engine behind the workers has not answered in time; it may have been published"

_REASONS: Mapping[type[Exception], str] = {
    AccessDenied: "vetoed",
    BrokerBusy: "backplane-busy",
    BackplaneUnavailable: "backplane-unavailable",
    PublishUncertain: "publish-uncertain",
}


class _Sent:
    """Waits for what becomes of a message of the server's side. It is made for each of them, so it
    is one object, where two closures would be four.
    """

    __slots__ = ("draft", "publisher", "told")

    def __init__(self, publisher: Publisher, draft: Draft, told: Told | None) -> None:
        self.publisher = publisher
        self.draft = draft
        self.told = told

    def __call__(self, settlement: Settlement) -> None:
        """The engine has answered, or has not in time."""
        self.publisher.settled(self.draft, self.told, settlement)


class Publisher:
    """The one door for publications."""

    __slots__ = (
        "_counters",
        "_epoch",
        "_listeners",
        "_log",
        "_numbers",
        "_publishing",
        "_readers",
        "_step",
        "_topics",
        "_user_prefix",
        "_wall",
        "_workers",
        "interception",
    )

    def __init__(
        self,
        env: Environment,
        delivery: Delivery,
        listeners: Listeners,
        log: SessionLog,
        interception: Interception,
        workers: Workers | None = None,
    ) -> None:
        self._workers = workers
        self.interception = interception
        self._counters = env.counters
        self._step = env.step
        self._user_prefix = env.config.user_prefix
        self._wall = env.wall
        self._epoch = env.token(72)
        self._numbers = env.numbers
        self._publishing = delivery.publishing
        self._readers = delivery.readers
        self._topics = delivery.registry.topics
        self._listeners = listeners
        self._log = log

    def publish(
        self,
        draft: Draft,
        kind: PublicationKind = PublicationKind.MESSAGE,
        intercepted: bool = False,
    ) -> Published:
        """Publish from the server's side; what a full queue does not take is told and counted, and
        its `message_id` is empty.

        Args:
            draft: The message.
            kind: What it is.
            intercepted: The interceptors were asked in this step.

        Raises:
            AccessDenied: An interceptor refuses it, which is told and counted.
            InterceptorFailed: One failed; told and counted too.
        """
        try:
            publication = self.admit(draft, kind, intercepted)
        except (AccessDenied, InterceptorFailed) as refusal:
            self._tell_refused(draft, refusal)
            raise
        try:
            receivers = self._publishing.publish_local(publication)
        except QueueFull:
            self._tell_queue_full(publication)
            return Published("", 0)
        return Published(publication.message_id, receivers)

    def send(
        self,
        draft: Draft,
        told: Told | None = None,
        kind: PublicationKind = PublicationKind.MESSAGE,
        key: str = "",
    ) -> Published | None:
        """Publish from the server's side, to all workers where the destination is shared.

        Args:
            draft: The message.
            told: Hears what became of a message that is shared.
            kind: What it is.
            key: Of what several workers send for the same reason, a shared message that is sent
                once; empty: there is nothing like that.

        Returns:
            None: the engine orders it, and `told` will hear.

        Raises:
            AccessDenied: An interceptor refuses it, which is told and counted.
            InterceptorFailed: One failed; told and counted too.
            BrokerBusy: Too much waits for the engine; told and counted too.
        """
        workers = self._workers
        if workers is None or not workers.shares(draft.target):
            return self.publish(draft, kind)
        try:
            self.intercept(draft, kind)
            problem = workers.submit((draft,), _Sent(self, draft, told), kind, key=key)
            if problem:
                self._counters.backplane_refused += 1
                busy = BrokerBusy(problem)
                if told is None:
                    self._tell_lost(draft, busy)
                raise busy
        except REFUSED as refusal:
            self._tell_refused(draft, refusal)
            raise
        return None

    def submit(
        self,
        drafts: Sequence[Draft],
        done: Done,
        *,
        key: str = "",
        digest: str = "",
        intercepted: bool = False,
    ) -> str:
        """Send what a client publishes to all workers, all of it in one step or nothing.

        Args:
            drafts: The messages.
            done: Told what became of them.
            key: Their idempotency key; empty: there is none.
            digest: What else of the same key must have.
            intercepted: The interceptors were asked in this step.

        Returns:
            Why that cannot be; empty: `done` will be told.

        Raises:
            AccessDenied: An interceptor refuses it.
            InterceptorFailed: One failed.
        """
        assert self._workers is not None
        if not intercepted:
            for draft in drafts:
                self.intercept(draft)
        counted = partial(self._count, drafts, done)
        return self._workers.submit(drafts, counted, key=key, digest=digest)

    def _count(self, drafts: Sequence[Draft], done: Done, settlement: Settlement) -> None:
        assert self._workers is not None
        self._workers.count(drafts, settlement)
        done(settlement)

    def settled(self, draft: Draft, told: Told | None, settlement: Settlement) -> None:
        """The engine has answered one of the server's side, or has not in time."""
        assert self._workers is not None
        self._workers.count((draft,), settlement)
        failure = self._failure(settlement)
        if told is None:
            if failure is not None:
                self._tell_lost(draft, failure)
                self._tell_refused(draft, failure)
        elif failure is not None:
            told(None, failure)
        else:
            topic = self._topics.get(address_of(draft.target))
            receivers = 0 if topic is None else topic.readers
            told(Published(str(settlement.positions[0]), receivers, settlement.workers), None)

    def _failure(self, settlement: Settlement) -> Exception | None:
        """The error of a message that was not sent, or may not have been: it is counted here."""
        outcome = settlement.outcome
        if outcome is Failure.UNAVAILABLE or outcome is AppendOutcome.REFUSED:
            self._counters.backplane_refused += 1
            return BackplaneUnavailable(settlement.problem or self._not_there())
        if outcome is Failure.UNCERTAIN or not settlement.positions:
            self._counters.backplane_uncertain += 1
            return PublishUncertain(NOT_ANSWERED)
        return None

    def _not_there(self) -> str:
        assert self._workers is not None
        trouble = self._workers.trouble
        return f"{NOT_THERE}: {trouble}" if trouble else NOT_THERE

    def publish_for_client(self, draft: Draft, *, reserved: bool = False) -> Published:
        """Accept a message and queue it for its receivers.

        Args:
            reserved: The interceptors and `has_room` were asked in this step; it is taken.

        Raises:
            QueueFull: It was not taken.
            AccessDenied: An interceptor refuses it.
            InterceptorFailed: One failed.
        """
        publication = self.admit(draft, intercepted=reserved)
        receivers = self._publishing.publish_local(publication, reserved=reserved)
        return Published(publication.message_id, receivers)

    def post(self, draft: Draft) -> None:
        """Take what an interceptor or a filter publishes: behind what it looks at. What is too much
        is dropped, told and counted.
        """
        try:
            self._step.post(draft)
        except (BrokerBusy, InterceptorFailed) as refusal:
            self.interception.failed(refusal)
            self._tell_refused(draft, refusal)

    def publish_posted(self) -> None:
        """Publish what an interceptor or a filter wanted published behind what it looked at."""
        step = self._step
        draft, step.depth = step.posted.popleft()
        try:
            self.send(draft)
        except REFUSED:
            pass  # Counted, and told by an event.
        finally:
            step.depth = 0

    def admit(
        self,
        draft: Draft,
        kind: PublicationKind = PublicationKind.MESSAGE,
        intercepted: bool = False,
    ) -> Publication:
        """Let the interceptors look at a message, and give it its number and its id, which no other
        will ever have. Everything that becomes a MESSAGE of this worker alone passes here once.

        Raises:
            AccessDenied: An interceptor refuses it.
            InterceptorFailed: One failed.
        """
        if not intercepted and not self.interception.none:
            self.interception.look(draft, kind)
        target, headers = draft.target, draft.headers
        # Most are for a destination, and say of themselves what they are and nothing else.
        if isinstance(target, ToDestination):
            destination = target.destination
        else:
            destination = self._named(draft)
        number, now = next(self._numbers), self._step.now
        message_id = f"{self._epoch}-{number}"
        publication = Publication(number, message_id, destination, draft, now, kind)
        is_bare = len(headers) == 1 and headers[0][0] == "content-type"
        if kind is PublicationKind.MESSAGE and not is_bare:
            publication.expires_at = expiry(publication, now, self._wall)
        return publication

    def _named(self, draft: Draft) -> str:
        """The destination as its receivers see it."""
        target = draft.target
        if isinstance(target, ToDestination):
            return target.destination
        return self._user_prefix + target.path

    def intercept(self, draft: Draft, kind: PublicationKind = PublicationKind.MESSAGE) -> None:
        """Let the interceptors look at a message before something else is done for it, which they
        may make void.

        Raises:
            AccessDenied: One refuses it.
            InterceptorFailed: One failed.
        """
        if not self.interception.none:
            self.interception.look(draft, kind)

    def draft_for(
        self,
        reader: Reader,
        kind: PublicationKind,
        headers: tuple[tuple[str, str], ...],
        body: bytes,
    ) -> Draft | None:
        """A draft for one subscription alone, as the interceptors leave it; None: it has ended.

        Raises:
            AccessDenied: One refuses it: there is no subscription without it.
            InterceptorFailed: One failed.
        """
        if reader.session.state is not CONNECTED or reader.ended:
            return None
        draft = Draft(ToDestination(reader.destination), headers, body)
        draft.sender = reader.session.face
        self.intercept(draft, kind)
        return draft

    def answer(self, subscription: Subscription, draft: Draft) -> None:
        """Queue the one MESSAGE of a subscription to the application, which has been intercepted;
        it is in no log.
        """
        publication = self.admit(draft, PublicationKind.ANSWER, intercepted=True)
        self._readers.deliver(subscription, publication, 0)

    def snapshot(self, reader: Reader, draft: Draft, message_id: str | None) -> None:
        """Give a subscription its snapshot, which has been intercepted; it is in no log.

        Args:
            reader: The subscription.
            draft: The snapshot.
            message_id: The place in the history of the destination that it stands for, if there is
                a history.
        """
        publication = self.admit(draft, PublicationKind.SNAPSHOT, intercepted=True)
        publication.message_id = message_id or publication.message_id
        self._readers.give_snapshot(reader, publication)

    # Dead letters

    def publish_dead(self, dead: DeadMessage) -> None:
        """Tell the listeners of a dead message, and send it where its policy says."""
        publication, target = dead.publication, dead.policy.dead_letter
        self._counters.messages_dead += 1
        if not dead.told:
            event = DeadLetter(
                destination=publication.destination,
                message_id=publication.message_id,
                reason=dead.reason,
                deliveries=dead.deliveries,
                headers=dict(publication.headers),
                body=publication.body,
            )
            self._listeners.tell(event)
        if target is not None and publication.kind is not PublicationKind.DEAD_LETTER:
            self._publish_letter(target, dead)

    def _publish_letter(self, target: str, dead: DeadMessage) -> None:
        publication = dead.publication
        headers = (
            ("original-destination", publication.destination),
            ("x-death-reason", dead.reason),
            ("delivery-attempt", str(dead.deliveries)),
            *publication.headers,
        )
        draft = Draft(ToDestination(target), headers, publication.body)
        key = ""
        if dead.reason == "expired":
            # It was still to be read at other workers too, and dies there as well.
            key = f"expired {publication.message_id} {publication.destination}"
        try:
            self.send(draft, kind=PublicationKind.DEAD_LETTER, key=key)
        except REFUSED:
            pass  # Counted, and told by an event.

    def _tell_queue_full(self, publication: Publication) -> None:
        self._counters.messages_dropped += 1
        destination = publication.destination
        self._listeners.tell(MessageDropped(destination=destination, reason="queue-full"))

    def _tell_lost(self, draft: Draft, failure: Exception) -> None:
        """Nobody waits for a message that the engine has not taken, or may not have."""
        self._log.lost(self._named(draft), _REASONS[type(failure)], failure)

    def _tell_refused(self, draft: Draft, refusal: Exception) -> None:
        self._counters.messages_dropped += 1
        destination = self._named(draft)
        reason = _REASONS.get(type(refusal), "interceptor-failed")
        self._listeners.tell(MessageDropped(destination=destination, reason=reason))

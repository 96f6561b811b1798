"""Queues: messages kept until somebody consumes them, consumers served in fair turn.

Rule: a message leaves the log towards a consumer only while that consumer's mailbox has room, its
transport is not blocked and its window is open; a paused consumer is skipped and keeps its turn.
What comes back takes its old place. In auto mode a message is settled when it is handed to the
transport. Until it is settled a message counts against the bounds of its queue, wherever it is.

The turn is a heap of those consumers that may be ready: who turns out not to be is taken out, and
put in again when its window opens or its transport drains. So a message costs the logarithm of the
number of consumers, however many of them are paused.
"""

from __future__ import annotations

from heapq import heappop, heappush

from stocksync_ws.broker.delivery.readers import Readers
from stocksync_ws.broker.delivery.registry import Registry
from stocksync_ws.broker.delivery.retention import Retention
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.ledger import Delivery
from stocksync_ws.broker.model.post_office import Outgoing
from stocksync_ws.broker.model.publication import Publication
from stocksync_ws.broker.model.queue import Queue
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.state import CONNECTED
from stocksync_ws.broker.model.subscription import Consumer

__all__ = ["QueueFull", "Queues"]


class QueueFull(Exception):
    """A queue has no room, or the owner of a message may hold no more; it was not taken."""


class Queues:
    """Everything about destinations with competing consumers."""

    __slots__ = ("_limits", "_readers", "_registry", "_retention", "_returned", "_step")

    def __init__(
        self, env: Environment, registry: Registry, retention: Retention, readers: Readers
    ) -> None:
        self._limits = env.limits
        self._step = env.step
        self._registry = registry
        self._retention = retention
        self._readers = readers
        self._returned: dict[Queue, None] = {}
        """Queues that got something back in this step."""

    def publish(self, queue: Queue, publication: Publication, *, reserved: bool) -> int:
        """Keep a message and hand it out; 1 if a consumer got it at once.

        Args:
            reserved: There was room at the beginning of this step: a transaction is not refused
                in its middle.

        Raises:
            QueueFull: The queue, everything that is stored, or what its owner has of that, is at
                its bound.
        """
        if queue.private and publication.owner is not None:
            publication.owner = queue.owner  # who asked has named the queue
        if not reserved:
            owner, size, refusal = publication.owner, publication.size, ""
            if owner is not None and not owner.may_store(size):
                refusal = owner.refusal("stored", size)
            if refusal or not self.has_room(queue, [size]):
                self._registry.release_queue(queue)
                raise QueueFull(refusal)
        offset = queue.log.append(publication)
        if not queue.consumers:
            self._watch(queue)
        if publication.expires_at is not None:
            self._step.sooner(queue, publication.expires_at)
        self.dispatch(queue)
        return int(offset in queue.attempts)

    def has_room(self, queue: Queue | None, sizes: list[int]) -> bool:
        """Whether a queue, which may not be there yet, can take messages of these sizes."""
        limits, total = self._limits, sum(sizes)
        count = held = 0
        if queue is not None:
            count = len(queue.log) + queue.out
            held = queue.log.size + queue.out_size
        return (
            count + len(sizes) <= limits.queue_messages
            and held + total <= limits.queue_bytes
            and self._registry.make_room(total)
        )

    # Consumers

    def join(self, consumer: Consumer) -> None:
        """A consumer came."""
        session, subscriptions = consumer.session, consumer.session.subscriptions
        consumer.queue.join(consumer)
        if subscriptions.consumers is None:
            subscriptions.consumers = {}
        subscriptions.consumers[consumer] = None
        subscriptions.has_consumed = True
        session.mailbox.block()

    def leave(self, consumer: Consumer) -> None:
        """A consumer went; what it holds unsettled stays with its session."""
        queue, subscriptions = consumer.queue, consumer.session.subscriptions
        if consumer.ledger is not None:
            consumer.ledger.leave()
        consumer.ended = True
        queue.leave(consumer)
        consumers = subscriptions.consumers or {}
        consumers.pop(consumer, None)
        subscriptions.consumers = consumers or None
        if queue.consumers and len(queue.log) and queue.text_only:
            self._returned[queue] = None  # what waited for this one, waits for nobody any more
        self._registry.release_queue(queue)
        if not queue.consumers and self._registry.has_queue(queue):
            self._watch(queue)

    def _watch(self, queue: Queue) -> None:
        """Nobody consumes a queue: what is in it has its time from when that began."""
        now = self._step.now
        if queue.idle_since is None:
            queue.idle_since = now
        self._step.sooner(queue, max(now, queue.idle_since + self._limits.queue_idle_seconds))

    def dispatch(self, queue: Queue) -> None:
        """Hand out what can be handed out."""
        log = queue.log
        while queue.turn:
            found = log.read(0)
            if found is None:
                return
            offset, publication = found
            if publication.is_dead(self._step.now):
                log.take(offset)
                self._bury(queue, offset, publication, "expired")
                continue
            alone = queue.attempts.get(offset, 0) >= queue.policy.max_deliveries
            consumer = self._next_ready(queue, publication, alone)
            if consumer is None:
                return
            log.take(offset)
            if consumer.group.text_only and not publication.text:
                self._retention.lose(consumer, 1, "binary")
                self._bury(queue, offset, publication, "binary")
                continue
            self._hand_out(queue, consumer, offset, publication)

    def dispatch_to(self, session: SessionRecord) -> None:
        """A session has room again."""
        waiting: dict[Queue, None] = {}
        for consumer in session.subscriptions.consumers or ():
            if self._look_at(consumer):
                waiting[consumer.queue] = None
        for queue in waiting:
            self.dispatch(queue)

    def opened(self, consumer: Consumer) -> None:
        """Reschedule a consumer whose ack window opened."""
        if self._look_at(consumer):
            self.dispatch(consumer.queue)

    def _look_at(self, consumer: Consumer) -> bool:
        """Put a consumer into the turn again, if it is ready; whether something waits for it."""
        if not self._is_open(consumer):
            return False
        consumer.queue.line_up(consumer)
        return len(consumer.queue.log) > 0

    def _next_ready(self, queue: Queue, publication: Publication, alone: bool) -> Consumer | None:
        """The next in turn that can take it; those that cannot are skipped and keep their turn.

        What is no text waits for a consumer that can be sent it, as long as there is one; else any
        of them will do, to be told that it lost it. One that must go by itself waits for a consumer
        that holds nothing.
        """
        unfit: list[Consumer] = []
        found: Consumer | None = None
        most = self._limits.ack_window_bytes
        waits = not publication.text and not queue.text_only
        while found is None and (consumer := queue.next_in_turn()) is not None:
            if not self._is_open(consumer):
                continue
            ledger = consumer.ledger
            if waits and consumer.group.text_only:
                unfit.append(consumer)
            elif ledger is None or (
                ledger.idle if alone else ledger.has_room(publication.size, most)
            ):
                found = consumer
            else:
                unfit.append(consumer)
        for consumer in unfit:
            queue.line_up(consumer)
        if found is not None:
            queue.served(found)
        return found

    def _is_open(self, consumer: Consumer) -> bool:
        """The consumer can take something, if only something small."""
        session, mailbox, ledger = consumer.session, consumer.session.mailbox, consumer.ledger
        if session.state is not CONNECTED or mailbox.unsent:
            return False
        if mailbox.queued >= self._readers.room:
            return False
        return ledger is None or ledger.has_room(0, self._limits.ack_window_bytes)

    def _hand_out(
        self, queue: Queue, consumer: Consumer, offset: int, publication: Publication
    ) -> None:
        attempt = queue.attempts.get(offset, 0) + 1
        queue.attempts[offset] = attempt
        queue.take_out(publication)
        origin = queue if consumer.ledger is None else None
        again = offset in queue.seen
        self._readers.deliver(
            consumer, publication, offset, attempt=attempt, again=again, origin=origin
        )

    # Settled

    def handed_over(self, session: SessionRecord, entries: list[Outgoing]) -> None:
        """The transport has them: what a queue had handed out in auto mode is settled. Until its
        bytes are written, the session remembers them.
        """
        at = session.mailbox.handed - sum(entry.size for entry in entries)
        for entry in entries:
            at += entry.size
            if entry.origin is None:
                continue
            assert entry.publication is not None
            self.settle(entry.origin, entry.offset, entry.publication)
            if session.mailbox.in_transport is None:
                session.mailbox.in_transport = []
            session.mailbox.in_transport.append((at, entry.publication.destination))

    def written(self, session: SessionRecord) -> None:
        """The transport wrote bytes."""
        done = session.mailbox.handed - session.mailbox.unsent
        left = [each for each in session.mailbox.in_transport or () if each[0] > done]
        session.mailbox.in_transport = left or None

    def lost(self, session: SessionRecord) -> None:
        """A session ends: what its transport still held is lost with it, and told."""
        self.written(session)
        for _, destination in session.mailbox.in_transport or ():
            self._retention.note_loss(destination, 1, "connection-lost")
        session.mailbox.in_transport = None

    def settle(self, queue: Queue, offset: int, publication: Publication) -> None:
        """A message was acknowledged, or in auto mode handed to the transport."""
        queue.attempts.pop(offset, None)
        queue.seen.discard(offset)
        queue.bring_back(publication)
        self._registry.release_queue(queue)

    # Coming back

    def give_back(self, queue: Queue, delivery: Delivery, pause: float) -> None:
        """NACK or timeout: the message takes its old place, at once or after a pause (seconds),
        unless it was the last time. Call `dispatch_returned` when all is back.
        """
        last = delivery.attempt >= queue.policy.max_deliveries
        self._take_back(queue, delivery, pause, last=last)

    def lose(self, queue: Queue, delivery: Delivery) -> None:
        """The session of a delivery has ended: as `give_back`, but losses alone bury nothing. What
        has counted as often as it may goes out once more, by itself, and only then is it the one
        to blame.
        """
        last = delivery.attempt > queue.policy.max_deliveries
        self._take_back(queue, delivery, 0.0, last=last)

    def _take_back(self, queue: Queue, delivery: Delivery, pause: float, *, last: bool) -> None:
        offset, publication = delivery.offset, delivery.publication
        if last:
            queue.bring_back(publication)
            self._bury(queue, offset, publication, "attempts")
            return
        if delivery.again:
            queue.seen.add(offset)
        self._put_back(queue, offset, publication, delivery.attempt, pause)

    def _put_back(
        self,
        queue: Queue,
        offset: int,
        publication: Publication,
        attempt: int,
        pause: float = 0.0,
    ) -> None:
        """A message takes its old place, at once or after a pause.

        Args:
            attempt: Deliveries that have counted so far.
            pause: Seconds.
        """
        if attempt:
            queue.attempts[offset] = attempt
        else:
            queue.attempts.pop(offset, None)
        if pause:
            due = self._step.now + pause
            heappush(queue.delayed, (due, offset, publication))
            self._step.sooner(queue, due)
            return
        queue.bring_back(publication)
        queue.log.put_back(offset, publication)
        if not queue.consumers:
            self._watch(queue)
        if publication.expires_at is not None:
            at = max(publication.expires_at, self._step.now)  # no late wake: it was out meanwhile
            self._step.sooner(queue, at)
        self._returned[queue] = None

    def unsent(self, entries: list[Outgoing]) -> None:
        """Messages in the mailbox of a session that ended go back, as if never handed out."""
        for entry in entries:
            queue, publication = entry.origin, entry.publication
            if queue is not None and publication is not None and self._registry.has_queue(queue):
                attempt = queue.attempts[entry.offset] - 1
                self._put_back(queue, entry.offset, publication, attempt)

    def dispatch_returned(self) -> None:
        """Everything that came back has its old place, and who had to leave has left: hand out in
        order.
        """
        while self._returned:
            returned, self._returned = self._returned, {}
            for queue in returned:
                self.dispatch(queue)
                self._registry.release_queue(queue)

    def reject(self, queue: Queue, offset: int, publication: Publication) -> None:
        """A consumer will not have it: a dead letter."""
        queue.bring_back(publication)
        self._bury(queue, offset, publication, "rejected")

    def wake(self, queue: Queue, now: float) -> None:
        """The deadline of a queue came."""
        self._step.wake(now, self._age, queue)

    def _age(self, queue: Queue) -> None:
        """Pauses, expiries, and the time of a queue that nobody consumes, have run out."""
        now, idle_at = self._step.now, None
        if queue.idle_since is not None:
            idle_at = queue.idle_since + self._limits.queue_idle_seconds
            if idle_at <= now:
                self._give_up(queue)
                idle_at = None
        while queue.delayed and queue.delayed[0][0] <= now:
            _, offset, publication = heappop(queue.delayed)
            queue.bring_back(publication)
            queue.log.put_back(offset, publication)
        for offset, publication in queue.log.take_expired(now):
            self._bury(queue, offset, publication, "expired")
        self.dispatch(queue)
        times = [queue.delayed[0][0] if queue.delayed else None, queue.log.next_expiry(), idle_at]
        self._step.rearm(queue, min([at for at in times if at is not None], default=None))
        self._registry.release_queue(queue)

    def _give_up(self, queue: Queue) -> None:
        """Nobody has consumed a queue for so long that its messages expire: dead letters, of which
        one event tells. What comes back or is sent from now on has a time of its own.
        """
        queue.idle_since = None
        for _, offset, publication in queue.delayed:
            queue.bring_back(publication)
            queue.log.put_back(offset, publication)
        queue.delayed.clear()
        given_up = list(queue.log)
        for offset, publication in given_up:
            queue.log.take(offset)
            self._bury(queue, offset, publication, "expired", told=True)
        if given_up:
            self._step.tell_dropped(given_up[0][1].destination, "expired", len(given_up))

    def _bury(
        self,
        queue: Queue,
        offset: int,
        publication: Publication,
        reason: str,
        *,
        told: bool = False,
    ) -> None:
        attempts = queue.attempts.pop(offset, 0)
        queue.seen.discard(offset)
        self._step.bury(queue.policy, publication, attempts, reason, told=told)
        self._registry.release_queue(queue)

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

from stocksync_ws.broker.delivery.destinations import Destinations
from stocksync_ws.broker.delivery.retention import Retention
from stocksync_ws.broker.delivery.topics import Topics
from stocksync_ws.broker.model.channel import Channel, QueueState
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.post_office import Outgoing
from stocksync_ws.broker.model.publication import Publication
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.state import CONNECTED
from stocksync_ws.broker.model.subscription import Subscription

__all__ = ["QueueFull", "Queues"]


class QueueFull(Exception):
    """A queue has no room; the message was not taken."""


class Queues:
    """Everything about destinations with competing consumers."""

    __slots__ = ("_destinations", "_limits", "_retention", "_returned", "_step", "_topics")

    def __init__(
        self,
        env: Environment,
        destinations: Destinations,
        topics: Topics,
        retention: Retention,
    ) -> None:
        self._limits = env.limits
        self._step = env.step
        self._destinations = destinations
        self._topics = topics
        self._retention = retention
        self._returned: dict[Channel, None] = {}
        """Queues that got something back in this step."""

    def publish(self, channel: Channel, publication: Publication, *, reserved: bool = False) -> int:
        """Keep a message and hand it out; 1 if a consumer got it at once.

        Args:
            reserved: There was room at the beginning of this step: a transaction is not refused
                in its middle.

        Raises:
            QueueFull: The queue, or everything that is stored, is at its bound.
        """
        if not reserved and not self.has_room(channel, [publication.size]):
            raise QueueFull
        offset = channel.log.append(publication)
        if publication.expires_at is not None:
            self._step.sooner(channel, publication.expires_at)
        self.dispatch(channel)
        return int(not channel.log.holds(offset))

    def has_room(self, channel: Channel | None, sizes: list[int]) -> bool:
        """Whether a queue can take messages of these sizes."""
        limits, total = self._limits, sum(sizes)
        count = held = 0
        if channel is not None:
            state = _state(channel)
            count = len(channel.log) + state.out
            held = channel.log.size + state.out_size
        return (
            count + len(sizes) <= limits.queue_messages
            and held + total <= limits.queue_bytes
            and self._destinations.make_room(total)
        )

    # Consumers

    def join(self, subscription: Subscription) -> None:
        """A consumer came."""
        channel, session = subscription.channel, subscription.session
        assert channel is not None
        channel.join(subscription)
        _state(channel).join(subscription)
        if session.subscriptions.consumers is None:
            session.subscriptions.consumers = {}
        session.subscriptions.consumers[subscription] = None
        session.subscriptions.has_consumed = True
        session.mailbox.block()

    def leave(self, subscription: Subscription) -> None:
        """A consumer went; what it holds unsettled stays with its session."""
        channel, session = subscription.channel, subscription.session
        assert channel is not None
        channel.leave(subscription)
        _state(channel).leave(subscription)
        assert session.subscriptions.consumers is not None
        session.subscriptions.consumers.pop(subscription)
        session.subscriptions.consumers = session.subscriptions.consumers or None

    def dispatch(self, channel: Channel) -> None:
        """Hand out what can be handed out."""
        state, log = _state(channel), channel.log
        while state.turn:
            found = log.read(0)
            if found is None:
                return
            offset, publication = found
            if publication.is_dead(self._step.now):
                log.take(offset)
                self._bury(channel, offset, publication, "expired")
                continue
            consumer = self._next_ready(state, publication)
            if consumer is None:
                return
            log.take(offset)
            self._hand_out(state, consumer, offset, publication)

    def dispatch_to(self, session: SessionRecord) -> None:
        """A session has room again."""
        waiting: dict[Channel, None] = {}
        for consumer in session.subscriptions.consumers or ():
            if self._look_at(consumer):
                assert consumer.channel is not None
                waiting[consumer.channel] = None
        for channel in waiting:
            self.dispatch(channel)

    def opened(self, consumer: Subscription) -> None:
        """The window of one consumer has room again."""
        if self._look_at(consumer):
            assert consumer.channel is not None
            self.dispatch(consumer.channel)

    def _look_at(self, consumer: Subscription) -> bool:
        """Put a consumer into the turn again, if it is ready; whether something waits for it."""
        channel = consumer.channel
        assert channel is not None
        if not self._is_open(consumer):
            return False
        _state(channel).line_up(consumer)
        return len(channel.log) > 0

    def _next_ready(self, state: QueueState, publication: Publication) -> Subscription | None:
        """The next in turn that can take it; those that cannot are skipped and keep their turn."""
        too_small: list[Subscription] = []
        found: Subscription | None = None
        while found is None and (consumer := state.next_in_turn()) is not None:
            if not self._is_open(consumer):
                continue
            ledger = consumer.ledger
            most = self._limits.ack_window_bytes
            if ledger is None or ledger.has_room(publication.size, most):
                found = consumer
            else:
                too_small.append(consumer)
        for consumer in too_small:
            state.line_up(consumer)
        if found is not None:
            state.served(found)
        return found

    def _is_open(self, consumer: Subscription) -> bool:
        """It can take something, if only something small."""
        session, ledger = consumer.session, consumer.ledger
        if (
            session.state is not CONNECTED
            or session.mailbox.unsent
            or session.mailbox.queued >= self._topics.room
        ):
            return False
        return ledger is None or ledger.has_room(0, self._limits.ack_window_bytes)

    def _hand_out(
        self, state: QueueState, consumer: Subscription, offset: int, publication: Publication
    ) -> None:
        attempt = state.attempts.get(offset, 0) + 1
        state.attempts[offset] = attempt
        state.take_out(publication)
        self._topics.deliver(
            consumer, publication, offset, attempt=attempt, settles=consumer.ledger is None
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

    def settle(self, channel: Channel, offset: int, publication: Publication) -> None:
        """A message was acknowledged, or in auto mode handed to the transport."""
        state = _state(channel)
        state.attempts.pop(offset, None)
        state.bring_back(publication)
        self._destinations.release(channel)

    # Coming back

    def give_back(
        self,
        channel: Channel,
        offset: int,
        publication: Publication,
        attempt: int,
        pause: float = 0.0,
    ) -> None:
        """A delivery failed: the message takes its old place, at once or after a pause.

        Call `dispatch_returned` when all that comes back in this step is back.

        Args:
            attempt: Deliveries so far; 0 for one that never left.
            pause: Seconds.
        """
        state = _state(channel)
        if attempt >= channel.policy.max_deliveries:
            state.bring_back(publication)
            self._bury(channel, offset, publication, "attempts")
            return
        if attempt:
            state.attempts[offset] = attempt
        else:
            state.attempts.pop(offset, None)
        if pause:
            due = self._step.now + pause
            heappush(state.delayed, (due, offset, publication))
            self._step.sooner(channel, due)
            return
        state.bring_back(publication)
        channel.log.put_back(offset, publication)
        if publication.expires_at is not None:
            at = max(publication.expires_at, self._step.now)  # no late wake: it was out meanwhile
            self._step.sooner(channel, at)
        self._returned[channel] = None

    def unsent(self, entries: list[Outgoing]) -> None:
        """What lay in the mailbox of a session that ended goes back, as if never handed out."""
        for entry in entries:
            channel, publication = entry.origin, entry.publication
            if channel is not None and publication is not None and self._destinations.has(channel):
                attempt = _state(channel).attempts[entry.offset] - 1
                self.give_back(channel, entry.offset, publication, attempt)

    def dispatch_returned(self) -> None:
        """Everything that came back has its old place: hand it out in order."""
        while self._returned:
            returned, self._returned = self._returned, {}
            for channel in returned:
                self.dispatch(channel)
                self._destinations.release(channel)

    def reject(self, channel: Channel, offset: int, publication: Publication) -> None:
        """A consumer will not have it: a dead letter."""
        _state(channel).bring_back(publication)
        self._bury(channel, offset, publication, "rejected")

    def wake(self, channel: Channel) -> None:
        """Pauses and expiries have run out."""
        state, now = _state(channel), self._step.now
        while state.delayed and state.delayed[0][0] <= now:
            _, offset, publication = heappop(state.delayed)
            state.bring_back(publication)
            channel.log.put_back(offset, publication)
        for offset, publication in channel.log.take_expired(now):
            self._bury(channel, offset, publication, "expired")
        self.dispatch(channel)
        times = [state.delayed[0][0] if state.delayed else None, channel.log.next_expiry()]
        self._step.rearm(channel, min([at for at in times if at is not None], default=None))
        self._destinations.release(channel)

    def _bury(self, channel: Channel, offset: int, publication: Publication, reason: str) -> None:
        attempts = _state(channel).attempts.pop(offset, 0)
        self._step.bury(channel.policy, publication, attempts, reason)
        self._destinations.release(channel)


def _state(channel: Channel) -> QueueState:
    state = channel.queue
    assert state is not None
    return state

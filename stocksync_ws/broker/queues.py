"""Queues: messages kept until somebody consumes them, consumers served in fair turn.

Rule: a message leaves the log towards a consumer only while that consumer's mailbox has room, its
transport is not blocked and its window is open; a paused consumer is skipped. What comes back takes
its old place. In auto mode a message is settled when it is handed to the transport.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

from stocksync_ws.broker.channel import Channel, QueueState
from stocksync_ws.broker.outbox import Outbox
from stocksync_ws.broker.publication import Publication
from stocksync_ws.broker.session import Outgoing, Session, State, Subscription
from stocksync_ws.broker.store import Store
from stocksync_ws.broker.topics import ROOM, Topics
from stocksync_ws.config import DestinationPolicy, Limits
from stocksync_ws.timers import Timers

__all__ = ["QueueFull", "Queues"]


class QueueFull(Exception):
    """A queue has no room; the message was not taken."""


class Queues:
    """Everything about destinations with competing consumers."""

    __slots__ = ("_limits", "_outbox", "_returned", "_store", "_timers", "_topics", "bury")

    def __init__(
        self, limits: Limits, outbox: Outbox, store: Store, topics: Topics, timers: Timers
    ) -> None:
        self._limits = limits
        self._outbox = outbox
        self._store = store
        self._topics = topics
        self._timers = timers
        self._returned: dict[Channel, None] = {}
        """Queues that got something back in this step."""
        self.bury: Callable[[DestinationPolicy, Publication, int, str], None]
        """Makes a dead letter: (policy, publication, deliveries, reason); set once."""

    def publish(self, channel: Channel, publication: Publication, *, reserved: bool = False) -> int:
        """Keep a message and hand it out; how many consumers there are.

        Args:
            reserved: There was room at the beginning of this step: a transaction is not refused
                in its middle.

        Raises:
            QueueFull: The queue, or everything that is stored, is at its bound.
        """
        state, log = _state(channel), channel.log
        if not reserved and not self.has_room(channel, [publication.size]):
            raise QueueFull
        log.append(publication)
        if publication.expires_at is not None:
            self._timers.sooner(channel, publication.expires_at + self._timers.slack)
        self.dispatch(channel)
        return len(state.consumers)

    def has_room(self, channel: Channel | None, sizes: list[int]) -> bool:
        """Whether a queue can take messages of these sizes."""
        limits, total = self._limits, sum(sizes)
        count = held = 0
        if channel is not None:
            state = _state(channel)
            count = len(channel.log) + len(state.delayed)
            held = channel.log.size + state.delayed_size
        return (
            count + len(sizes) <= limits.queue_messages
            and held + total <= limits.queue_bytes
            and self._store.make_room(total)
        )

    def join(self, subscription: Subscription) -> None:
        """A consumer came."""
        channel, session = subscription.channel, subscription.session
        assert channel is not None
        channel.join(subscription)
        _state(channel).consumers.append(subscription)
        if session.consumers is None:
            session.consumers = {}
        session.consumers[subscription] = None
        session.lane = None

    def leave(self, subscription: Subscription) -> None:
        """A consumer went; what it holds unsettled stays with its session."""
        channel, session = subscription.channel, subscription.session
        assert channel is not None
        channel.leave(subscription)
        _state(channel).consumers.remove(subscription)
        if session.consumers is not None:
            session.consumers.pop(subscription, None)
            session.consumers = session.consumers or None

    def dispatch(self, channel: Channel) -> None:
        """Hand out what can be handed out."""
        state, log = _state(channel), channel.log
        while state.consumers:
            found = log.read(0)
            if found is None:
                return
            offset, publication = found
            if publication.is_dead(self._outbox.now):
                log.take(offset)
                self._bury(channel, offset, publication, "expired")
                continue
            consumer = self._next_ready(state, publication)
            if consumer is None:
                return
            log.take(offset)
            self._hand_out(channel, consumer, offset, publication)

    def dispatch_to(self, session: Session) -> None:
        """A session has room again."""
        if session.consumers is not None:
            for subscription in list(session.consumers):
                if subscription.channel is not None:
                    self.dispatch(subscription.channel)

    def _next_ready(self, state: QueueState, publication: Publication) -> Subscription | None:
        """The next in turn that can take it; those that cannot are skipped and keep their turn."""
        consumers = state.consumers
        for at, consumer in enumerate(consumers):
            if self._is_ready(consumer, publication):
                del consumers[at]
                consumers.append(consumer)
                return consumer
        return None

    def _is_ready(self, consumer: Subscription, publication: Publication) -> bool:
        session, ledger = consumer.session, consumer.ledger
        if session.state is not State.CONNECTED or session.unsent or session.queued >= ROOM:
            return False
        most = self._limits.ack_window_bytes
        return ledger is None or ledger.has_room(publication.size, most)

    def _hand_out(
        self, channel: Channel, consumer: Subscription, offset: int, publication: Publication
    ) -> None:
        state, session, group = _state(channel), consumer.session, consumer.group
        assert group is not None
        attempt = state.attempts.get(offset, 0) + 1
        state.attempts[offset] = attempt
        if consumer.ledger is not None:
            self._topics.deliver(consumer, publication, offset, attempt=attempt)
            return
        marks = (("redelivered", "true"), ("delivery-attempt", str(attempt)))
        head = group.head(publication, marks if attempt > 1 else ())
        entry = self._outbox.entry(publication, session, head, origin=channel)
        entry.offset = offset
        self._outbox.append_shared(session, entry)

    def handed_over(self, entries: list[Outgoing]) -> None:
        """The transport has them: what a queue had handed out in auto mode is settled."""
        for entry in entries:
            if entry.origin is not None:
                self.settle(entry.origin, entry.offset)

    # Coming back

    def settle(self, channel: Channel, offset: int) -> None:
        """A message was acknowledged, or in auto mode handed to the transport."""
        _state(channel).attempts.pop(offset, None)
        self._store.release(channel)

    def give_back(
        self, channel: Channel, offset: int, publication: Publication, attempt: int, *, lost: bool
    ) -> None:
        """A delivery failed: the message takes its old place, at once or after a pause.

        Call `dispatch_returned` when all that comes back in this step is back.

        Args:
            lost: Its session ended, which is nobody's refusal: no pause.
        """
        if attempt >= channel.policy.max_deliveries:
            self._bury(channel, offset, publication, "attempts")
            return
        pause = 0.0 if lost or attempt < 2 else 2.0 ** (attempt - 2)
        if pause:
            due = self._outbox.now + pause
            state = _state(channel)
            heappush(state.delayed, (due, offset, publication))
            state.delayed_size += publication.size
            self._timers.sooner(channel, due + self._timers.slack)
            return
        channel.log.put_back(offset, publication)
        self._returned[channel] = None

    def dispatch_returned(self) -> None:
        """Everything that came back has its old place: hand it out in order."""
        while self._returned:
            returned, self._returned = self._returned, {}
            for channel in returned:
                self.dispatch(channel)

    def reject(self, channel: Channel, offset: int, publication: Publication) -> None:
        """A consumer will not have it: a dead letter."""
        self._bury(channel, offset, publication, "rejected")

    def unsent(self, entries: list[Outgoing]) -> None:
        """What lay in the mailbox of a session that ended goes back, as if never handed out."""
        touched: dict[Channel, None] = {}
        for entry in entries:
            channel, publication = entry.origin, entry.publication
            if channel is None or publication is None or not self._store.has(channel):
                continue
            state = _state(channel)
            state.attempts[entry.offset] -= 1
            if not state.attempts[entry.offset]:
                del state.attempts[entry.offset]
            channel.log.put_back(entry.offset, publication)
            touched[channel] = None
        for channel in touched:
            self.dispatch(channel)

    def wake(self, channel: Channel) -> None:
        """Pauses and expiries have run out."""
        state, now = _state(channel), self._outbox.now
        while state.delayed and state.delayed[0][0] <= now:
            _, offset, publication = heappop(state.delayed)
            state.delayed_size -= publication.size
            channel.log.put_back(offset, publication)
        for offset, publication in channel.log.take_expired(now):
            self._bury(channel, offset, publication, "expired")
        self.dispatch(channel)
        times = [state.delayed[0][0] if state.delayed else None, channel.log.next_expiry()]
        channel.deadline = min([at for at in times if at is not None], default=None)
        if channel.deadline is not None:
            channel.deadline += self._timers.slack
        self._timers.arm(channel)
        self._store.release(channel)

    def _bury(self, channel: Channel, offset: int, publication: Publication, reason: str) -> None:
        attempts = _state(channel).attempts.pop(offset, 0)
        self.bury(channel.policy, publication, attempts, reason)
        self._store.release(channel)


def _state(channel: Channel) -> QueueState:
    state = channel.queue
    assert state is not None
    return state

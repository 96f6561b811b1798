"""Acknowledgement: ACK, NACK, timeouts, redelivery, dead letters.

Rule: every delivery in an acknowledging mode is settled exactly once: by ACK, by NACK, by its
timeout, or by the end of its session. What was settled before is no error, what was never issued is
one. After NACK or timeout the second delivery follows at once, then after 1, 2 and 4 seconds; after
the last a message is a dead letter.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from stocksync_ws.broker.delivery.queues import Queues
from stocksync_ws.broker.delivery.retention import Retention
from stocksync_ws.broker.delivery.topics import Topics
from stocksync_ws.broker.model.durable import Durable
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.ledger import AckMode, Delivery, Ledger
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.subscription import Subscription
from stocksync_ws.broker.model.transaction import Settlement
from stocksync_ws.errors import ErrorCode, LimitExceeded, RemoteProtocolError
from stocksync_ws.stomp.frame import NACK, Frame, Version, required

__all__ = ["Acknowledgements"]


_V12 = Version.V12


class Acknowledgements:
    """All ledgers of the broker."""

    __slots__ = (
        "_counters",
        "_limits",
        "_queues",
        "_retention",
        "_returns",
        "_step",
        "_topics",
    )

    def __init__(
        self,
        env: Environment,
        retention: Retention,
        topics: Topics,
        queues: Queues,
    ) -> None:
        self._limits = env.limits
        self._counters = env.counters
        self._step = env.step
        self._retention = retention
        self._topics = topics
        self._queues = queues
        self._returns = 0

    # Ledgers

    def open(
        self, session: SessionRecord, frame: Frame, key: str, mode: AckMode, window: int
    ) -> Ledger:
        """The ledger of a subscription id; it outlives its subscriptions.

        Raises:
            LimitExceeded: Too many ids that have ended are still owed acknowledgements.
        """
        if session.subscriptions.ledgers is None:
            session.subscriptions.ledgers = {}
        ledger = session.subscriptions.ledgers.get(key)
        if ledger is not None:
            ledger.reopen(mode, window)
            return ledger
        most = 2 * self._limits.max_subscriptions
        if len(session.subscriptions.ledgers) >= most:
            self._forget_settled(session, session.subscriptions.ledgers)
        if len(session.subscriptions.ledgers) >= most:
            raise LimitExceeded(ErrorCode.LIMIT_COUNT, frame.command, frame.headers)
        by_message_id = session.version is not Version.V12
        ledger = session.subscriptions.ledgers[key] = Ledger(
            mode, window, by_message_id=by_message_id
        )
        return ledger

    def _forget_settled(self, session: SessionRecord, ledgers: dict[str, Ledger]) -> None:
        """Of ids that have ended with everything settled, only what was issued is remembered."""
        for key in [key for key in ledgers if key not in session.subscriptions.active]:
            if not len(ledgers[key]) and not ledgers[key].returning:
                if session.subscriptions.forgotten is None:
                    session.subscriptions.forgotten = Ledger(
                        AckMode.INDIVIDUAL, 0, by_message_id=True
                    )
                session.subscriptions.forgotten.absorb(ledgers.pop(key))

    # Frames

    def take(self, session: SessionRecord, frame: Frame) -> list[Settlement]:
        """Take what an ACK or NACK settles out of the ledgers, to `apply` it, or to `restore` it
        when its transaction is aborted.

        Raises:
            RemoteProtocolError: A header is missing, or the id was never issued to this session.
        """
        named = frame.headers.get("subscription")
        if named is not None and self._is_auto(session, named):
            # What is settled there was settled when it was handed over.
            self._counters.acks_ignored += 1
            return []
        if session.version is _V12:
            found = [self._by_id(session, frame)]
        else:
            found = self._by_message_id(session, frame, named)
        taken: list[Settlement] = []
        for ledger, number in found:
            deliveries = ledger.take(number, session.mailbox.entries)
            if deliveries:
                taken.append(Settlement(ledger, deliveries, frame))
        if not taken:
            self._counters.acks_ignored += 1
        return taken

    def _by_id(self, session: SessionRecord, frame: Frame) -> tuple[Ledger, int]:
        """1.2 names the `ack` of a MESSAGE: `<subscription id>.<publication number>`."""
        text = frame.headers.get("id")
        if text is None:
            raise RemoteProtocolError(ErrorCode.MISSING_HEADER, frame.command, frame.headers)
        key, _, digits = text.rpartition(".")
        ledger = (session.subscriptions.ledgers or {}).get(key, session.subscriptions.forgotten)
        if ledger is not None and digits.isdigit() and digits.isascii() and len(digits) <= 19:
            number = int(digits)
            if number <= ledger.highest and digits[0] != "0":
                return ledger, number
        raise RemoteProtocolError(ErrorCode.UNKNOWN_ACK, frame.command, frame.headers)

    def _is_auto(self, session: SessionRecord, key: str) -> bool:
        subscription = session.subscriptions.active.get(key)
        if subscription is not None:
            return subscription.ledger is None
        return key in (session.subscriptions.reply_queues or ()) or key in (
            session.subscriptions.ended_auto or ()
        )

    def _by_message_id(
        self, session: SessionRecord, frame: Frame, named: str | None
    ) -> list[tuple[Ledger, int]]:
        """1.1 names its subscription; 1.0 may, else all that have the message outstanding."""
        assert session.version is not None
        required(frame, session.version)
        message_id = frame.headers["message-id"]
        ledgers = session.subscriptions.ledgers or {}
        chosen = [*ledgers.values()] if named is None else [ledgers.get(named)]
        chosen = [*chosen, session.subscriptions.forgotten]
        known = False
        found: list[tuple[Ledger, int]] = []
        for ledger in chosen:
            if ledger is None:
                continue
            number = ledger.number_of(message_id)
            if number is not None:
                found.append((ledger, number))
            known = known or number is not None or ledger.was_issued(message_id)
        if not known:
            raise RemoteProtocolError(ErrorCode.UNKNOWN_ACK, frame.command, frame.headers)
        return found

    def apply(self, session: SessionRecord, settlement: Settlement) -> None:
        """Let a settlement take effect: what was taken out is accepted, or goes back."""
        ledger, deliveries, frame = settlement.ledger, settlement.deliveries, settlement.frame
        if frame.command != NACK:
            self._counters.messages_settled += len(deliveries)
            for delivery in deliveries:
                if delivery.channel.queue is not None:
                    self._queues.settle(delivery.channel, delivery.offset, delivery.publication)
        else:
            dead = frame.headers.get("requeue") == "false"
            pause = _pause(deliveries)
            for delivery in deliveries:
                if dead:
                    self._reject(delivery)
                else:
                    self._give_back(session, ledger, ledger.own(delivery), pause)
        self._opened(session, ledger)
        self._queues.dispatch_returned()

    def restore(self, session: SessionRecord, settlement: Settlement) -> None:
        """The transaction was aborted: what it settled is unsettled again, its clock afresh."""
        now = self._step.now
        for delivery in settlement.deliveries:
            delivery.at = session.clocks.listened(now)
            if delivery.timeout is not None:
                self._step.sooner(session, now + delivery.timeout)
        settlement.ledger.restore(settlement.deliveries)
        self._opened(session, settlement.ledger)

    def _opened(self, session: SessionRecord, ledger: Ledger) -> None:
        """A window may have room again: its reader or its queue goes on."""
        if session.subscriptions.behind is not None:
            session.mailbox.mark()
        if (
            session.subscriptions.consumers is not None
            and ledger.subscription in session.subscriptions.consumers
        ):
            assert ledger.subscription is not None
            self._queues.opened(ledger.subscription)

    # What becomes of a delivery

    def _reject(self, delivery: Delivery) -> None:
        channel = delivery.channel
        if channel.queue is not None:
            self._queues.reject(channel, delivery.offset, delivery.publication)
        else:
            self._step.bury(channel.policy, delivery.publication, delivery.attempt, "rejected")

    def _give_back(
        self, session: SessionRecord, ledger: Ledger, delivery: Delivery, pause: float
    ) -> None:
        """NACK or timeout: once more, unless it was the last time."""
        subscription, publication = delivery.subscription, delivery.publication
        channel = delivery.channel
        if channel.queue is not None:
            self._queues.give_back(channel, delivery.offset, publication, delivery.attempt, pause)
            return
        ended = subscription is None or subscription.group is None
        if ended and _name(delivery) is None:
            self._counters.messages_unsettled += 1
        elif delivery.attempt >= channel.policy.max_deliveries:
            self._step.bury(channel.policy, publication, delivery.attempt, "attempts")
        elif ended:
            self._counters.messages_unsettled += self._return_to_name(delivery)
        else:
            self._again_after(pause, session, ledger, delivery)

    def _again_after(
        self, pause: float, session: SessionRecord, ledger: Ledger, delivery: Delivery
    ) -> None:
        if session.subscriptions.retries is None:
            session.subscriptions.retries = []
        ledger.hold(delivery)
        self._returns += 1
        due = self._step.now + pause
        heappush(
            session.subscriptions.retries,
            (due, delivery.publication.number, self._returns, delivery),
        )
        if pause:
            self._step.sooner(session, due)
        else:
            self.retry(session)

    # Time

    def retry(self, session: SessionRecord) -> None:
        """Deliver again what is due."""
        retries, now = session.subscriptions.retries, self._step.now
        while retries and retries[0][0] <= now:
            _, _, _, delivery = heappop(retries)
            subscription = delivery.subscription
            assert subscription is not None
            assert subscription.ledger is not None
            subscription.ledger.unhold(delivery)
            if subscription.group is not None:
                if not self._deliver_again(subscription, delivery):
                    self._opened(session, subscription.ledger)
            else:
                self._counters.messages_unsettled += self._return_to_name(delivery)
                self._opened(session, subscription.ledger)
        if not retries:
            session.subscriptions.retries = None

    def _deliver_again(self, subscription: Subscription, delivery: Delivery) -> bool:
        """Once more, unless meanwhile it has died, or a newer value took its place."""
        channel, publication = delivery.channel, delivery.publication
        if publication.is_dead(self._step.now):
            self._step.bury(channel.policy, publication, delivery.attempt, "expired")
            return False
        if channel.keys is not None and delivery.offset and not channel.log.holds(delivery.offset):
            self._retention.note_loss(subscription.destination, 1, "superseded")
            return False
        self._topics.deliver(
            subscription, publication, delivery.offset, attempt=delivery.attempt + 1
        )
        return True

    def expire(self, session: SessionRecord) -> None:
        """Give back what was out for too long. What lies in the mailbox was not out at all."""
        listened = session.clocks.listened(self._step.now)
        unsent = {
            each.publication for each in session.mailbox.entries if each.publication is not None
        }
        for ledger in list((session.subscriptions.ledgers or {}).values()):
            late = ledger.due(listened)
            pause = _pause(late) if ledger.mode is AckMode.CLIENT else None
            for delivery in late:
                if delivery.publication in unsent:
                    ledger.renew(delivery, listened)
                    continue
                ledger.remove(delivery.publication.number)
                self._counters.ack_timeouts += 1
                own = _pause([delivery]) if pause is None else pause
                self._give_back(session, ledger, ledger.own(delivery), own)
            if late:
                self._opened(session, ledger)
        self._queues.dispatch_returned()

    # The end of a session

    def unsent(self, session: SessionRecord) -> None:
        """What lies in the mailbox of a session is thrown away: it was not delivered."""
        ledgers = session.subscriptions.ledgers or {}
        for entry in session.mailbox.entries:
            group, publication = entry.reader, entry.publication
            if group is None or publication is None or not group.acked:
                continue
            key = group.subscription_id
            ledger = ledgers.get("\0" + publication.destination if key is None else key)
            if ledger is not None:
                ledger.unsend(publication.number)

    def end(self, session: SessionRecord) -> int:
        """Queues get back what was unsettled; elsewhere the obligation ends: the number of
        those. Call `Queues.dispatch_returned` when all that a session leaves is back.
        """
        unsettled = 0
        for ledger in (session.subscriptions.ledgers or {}).values():
            for delivery in ledger.clear():
                unsettled += self._lost(delivery)
        for _, _, _, delivery in session.subscriptions.retries or ():
            unsettled += self._lost(delivery)
        session.subscriptions.ledgers = session.subscriptions.retries = (
            session.subscriptions.forgotten
        ) = None
        self._counters.messages_unsettled += unsettled
        return unsettled

    def _lost(self, delivery: Delivery) -> int:
        channel = delivery.channel
        if channel.queue is not None:
            self._queues.give_back(channel, delivery.offset, delivery.publication, delivery.attempt)
            return 0
        if _name(delivery) is None:
            return 1
        if delivery.attempt >= channel.policy.max_deliveries:
            self._step.bury(channel.policy, delivery.publication, delivery.attempt, "attempts")
            return 0
        return self._return_to_name(delivery)

    def _return_to_name(self, delivery: Delivery) -> int:
        """What a durable name had out comes back to it; 1 when there is no such name any more."""
        durable = _name(delivery)
        if durable is None:
            return 1
        holder = durable.subscription
        if holder is None or holder.blocked:
            durable.returned.append(delivery)
        else:
            self.give_again(holder, [delivery])
        return 0

    def give_again(self, subscription: Subscription, returned: list[Delivery]) -> None:
        """Who holds a durable name now gets what came back to it."""
        for each in sorted(returned, key=_by_number):
            self._deliver_again(subscription, each)

    def take_back(self, subscription: Subscription) -> list[Delivery]:
        """Another session takes a durable name over: what its first holder has not settled."""
        session = subscription.session
        ledger = subscription.ledger
        if ledger is None:
            return []
        taken = [each for each in ledger if each.subscription is subscription]
        for delivery in taken:
            ledger.remove(delivery.publication.number)
        retries = session.subscriptions.retries or []
        for item in list(retries):
            if item[3].subscription is subscription:
                retries.remove(item)
                ledger.unhold(item[3])
                taken.append(item[3])
        heapify(retries)
        session.subscriptions.retries = retries or None
        channel = subscription.channel
        assert channel is not None
        most = channel.policy.max_deliveries
        for each in taken:
            if each.attempt >= most:
                self._step.bury(channel.policy, each.publication, each.attempt, "attempts")
        return [each for each in taken if each.attempt < most and each.offset]


def _name(delivery: Delivery) -> Durable | None:
    """The durable name it was delivered for, if that is still there; None for a snapshot, which is
    for its own subscription only.
    """
    durable = delivery.subscription.durable if delivery.subscription is not None else None
    return None if durable is None or durable.gone or not delivery.offset else durable


def _pause(deliveries: list[Delivery]) -> float:
    """Seconds before what goes back together is delivered again: none for the second delivery,
    then 1, 2 and 4.
    """
    attempt = max((delivery.attempt for delivery in deliveries), default=0)
    return 0.0 if attempt < 2 else 2.0 ** (attempt - 2)


def _by_number(delivery: Delivery) -> int:
    return delivery.publication.number

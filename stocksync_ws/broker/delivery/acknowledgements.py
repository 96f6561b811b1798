"""Acknowledgement: ACK, NACK, timeouts, redelivery, dead letters.

Rule: every delivery in an acknowledging mode is settled exactly once: by ACK, by NACK, by its
timeout, or by the end of its session. What was settled before is no error, what was never issued is
one. After NACK or timeout the second delivery follows at once, then after 1, 2 and 4 seconds; after
the last a message is a dead letter.
"""

from __future__ import annotations

from stocksync_ws.broker.delivery.queues import Queues
from stocksync_ws.broker.delivery.readers import Readers
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.ledger import AckMode, Delivery, Ledger
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.subscription import Subscription
from stocksync_ws.broker.model.transaction import Settlement
from stocksync_ws.codes import ErrorCode
from stocksync_ws.errors import LimitExceeded, RemoteProtocolError
from stocksync_ws.policies import pause
from stocksync_ws.stomp.frame import NACK, Frame, Version, flag, missing, required

__all__ = ["Acknowledgements"]


_V12 = Version.V12


class Acknowledgements:
    """All ledgers of the broker."""

    __slots__ = ("_counters", "_limits", "_queues", "_readers", "_step")

    def __init__(self, env: Environment, readers: Readers, queues: Queues) -> None:
        self._limits = env.limits
        self._counters = env.counters
        self._step = env.step
        self._readers = readers
        self._queues = queues

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
            detail = (
                f"Subscription ids that are or were in use and owe acknowledgements may be {most},"
                f" twice Limits.max_subscriptions={self._limits.max_subscriptions}, got {most + 1}"
            )
            raise LimitExceeded(ErrorCode.LIMIT_COUNT, frame.command, frame.headers, detail)
        by_message_id = session.version is not Version.V12
        ledger = session.subscriptions.ledgers[key] = Ledger(
            mode, window, by_message_id=by_message_id
        )
        return ledger

    def _forget_settled(self, session: SessionRecord, ledgers: dict[str, Ledger]) -> None:
        """Forget ids that ended with everything settled, but for what was issued to them."""
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
            RemoteProtocolError: A header is missing or malformed, or the id was never issued to
                this session.
        """
        named = frame.headers.get("subscription")
        if named is not None and self._is_auto(session, named):
            # What is settled there was settled when it was handed over.
            self._counters.acks_ignored += 1
            return []
        if frame.command == NACK:
            flag(frame, "requeue", True)
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
            raise missing(frame, "id")
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
                delivery.home.accept(delivery)
        elif not flag(frame, "requeue", True):
            for delivery in deliveries:
                delivery.home.reject(delivery)
        else:
            seconds = _pause(deliveries)
            for delivery in deliveries:
                delivery.home.give_back(ledger.own(delivery), ledger, seconds)
        self._readers.opened(session, ledger)
        self._queues.dispatch_returned()

    def restore(self, session: SessionRecord, settlement: Settlement) -> None:
        """The transaction was aborted: what it settled is unsettled again, its clock afresh."""
        now = self._step.now
        for delivery in settlement.deliveries:
            delivery.at = session.clocks.listened(now)
            if delivery.timeout is not None:
                self._step.sooner(session, now + delivery.timeout)
        settlement.ledger.restore(settlement.deliveries)
        self._readers.opened(session, settlement.ledger)

    # Time

    def expire(self, session: SessionRecord) -> None:
        """Give back what was out for too long. What lies in the mailbox was not out at all."""
        listened = session.clocks.listened(self._step.now)
        unsent = {
            each.publication for each in session.mailbox.entries if each.publication is not None
        }
        for ledger in list((session.subscriptions.ledgers or {}).values()):
            late = ledger.due(listened)
            together = _pause(late) if ledger.mode is AckMode.CLIENT else None
            for delivery in late:
                if delivery.publication in unsent:
                    ledger.renew(delivery, listened)
                    continue
                ledger.remove(delivery.publication.number)
                self._counters.ack_timeouts += 1
                own = _pause([delivery]) if together is None else together
                delivery.home.give_back(ledger.own(delivery), ledger, own)
            if late:
                self._readers.opened(session, ledger)
        self._queues.dispatch_returned()

    # The end of a session

    def unsent(self, session: SessionRecord) -> None:
        """Messages in the mailbox of a session are thrown away: they were not delivered."""
        ledgers = session.subscriptions.ledgers or {}
        for entry in session.mailbox.entries:
            group, publication = entry.reader, entry.publication
            if group is None or publication is None or not group.acked:
                continue
            key = group.subscription_id
            ledger = ledgers.get("\0" + publication.destination if key is None else key)
            if ledger is not None:
                ledger.unsend(publication.number)

    def end(self, session: SessionRecord, *, counts: bool) -> None:
        """Queues get back what was unsettled; elsewhere the obligation ends, and is counted. Call
        `Queues.dispatch_returned` when all that a session leaves is back.

        Args:
            counts: The oldest delivery of each subscription that was written and not settled may
                be why the session ended. Of the others nothing counts: the client had not come to
                them.
        """
        subscriptions, unsettled = session.subscriptions, 0
        for ledger in (subscriptions.ledgers or {}).values():
            unsettled += self._lose(session, ledger, counts)
        for _, _, _, delivery in subscriptions.retries or ():
            unsettled += delivery.home.lose(delivery)
        subscriptions.ledgers = subscriptions.retries = subscriptions.forgotten = None
        subscriptions.unacknowledged += unsettled
        self._counters.messages_unsettled += unsettled

    def _lose(self, session: SessionRecord, ledger: Ledger, counts: bool) -> int:
        """Everything in a ledger goes back; how much of it is nobody's."""
        unwritten = {entry.publication for entry in session.mailbox.entries}
        blamed: set[Subscription | None] = set()
        unsettled = 0
        for each in ledger.clear():
            written = each.sent and each.publication not in unwritten
            first = written and each.subscription not in blamed
            if first:
                blamed.add(each.subscription)
            unsettled += each.home.lose(each.lost(counts=counts and first))
        return unsettled


def _pause(deliveries: list[Delivery]) -> float:
    """Seconds before what goes back together is delivered again: as long as the one of them that
    waits longest.
    """
    return max((pause(each.home.policy, each.attempt) for each in deliveries), default=0.0)

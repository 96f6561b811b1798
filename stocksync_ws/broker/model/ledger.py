"""What was delivered to an acknowledging subscription and is not settled: its window.

Rule: settlement looks here and never at the subscription, so that an ACK after UNSUBSCRIBE works.
The order is that of delivery: "cumulative" means delivered earlier, not numbered lower. A ledger
belongs to a session and a subscription id and lives as long as the session.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

from stocksync_ws.broker.model.publication import Publication
from stocksync_ws.broker.model.step import Step

if TYPE_CHECKING:
    from stocksync_ws.broker.model.destination import Destination
    from stocksync_ws.broker.model.mailbox import Mailbox
    from stocksync_ws.broker.model.post_office import Outgoing
    from stocksync_ws.broker.model.subscription import Reader, Subscription

__all__ = ["AckMode", "Delivery", "Ledger"]


EPOCHS = 256
"""Epochs of destinations with history that one subscription id remembers."""


class AckMode(StrEnum):
    """How a subscription acknowledges (STOMP 1.2, "SUBSCRIBE ack Header")."""

    AUTO = "auto"
    CLIENT = "client"
    INDIVIDUAL = "client-individual"


_CLIENT = AckMode.CLIENT


class Delivery:
    """One message on its way to one subscription, until it is settled. The first one of a message
    to a group is one object for all its members, so that nothing is made per recipient.
    """

    __slots__ = (
        "again",
        "at",
        "attempt",
        "home",
        "offset",
        "place",
        "publication",
        "sent",
        "subscription",
    )

    def __init__(
        self,
        home: Destination,
        publication: Publication,
        offset: int,
        attempt: int,
        at: float,
        subscription: Subscription | None = None,
    ) -> None:
        self.home = home
        """The topic or queue it came from."""
        self.publication = publication
        self.offset = offset
        """Its place in the destination's log; 0 for an answer or a snapshot."""
        self.attempt = attempt
        """1 and those before it that counted: what `delivery-attempt` says. Of one that came back,
        how many have counted.
        """
        self.again = False
        """The message was written before: `redelivered:true`, also where nothing has counted."""
        self.sent = True
        """False: its session has ended, and it was still in the mailbox."""
        self.at = at
        """When it was delivered, in the session's own listening time."""
        self.place = 0
        """Its place in the order of all deliveries of the broker."""
        self.subscription = subscription
        """What it was delivered for; it may have ended since. None: for the one that its ledger
        belongs to now.
        """

    @property
    def timeout(self) -> float | None:
        """Seconds it may stay unsettled; None: for ever."""
        return self.home.policy.ack_timeout

    def copy(self, subscription: Subscription | None, at: float) -> Delivery:
        """The same for one receiver."""
        copy = Delivery(self.home, self.publication, self.offset, self.attempt, at, subscription)
        copy.place, copy.again, copy.sent = self.place, self.again, self.sent
        return copy

    @property
    def alone(self) -> bool:
        """Only losses have counted it so often: it goes out by itself, and one more buries it."""
        return self.attempt > self.home.policy.max_deliveries

    def lost(self, *, counts: bool) -> Delivery:
        """The same as it comes back from a session that has ended, or from a name taken over."""
        back = self.copy(self.subscription, self.at)
        back.again = self.again or self.sent
        back.attempt -= not counts
        return back


class Ledger:
    """The unsettled deliveries of one subscription id of one session."""

    __slots__ = (
        "_by_message_id",
        "_issued",
        "_mixed",
        "_unsettled",
        "_wide",
        "highest",
        "mode",
        "narrow",
        "returning",
        "size",
        "subscription",
        "window",
    )

    def __init__(self, mode: AckMode, window: int, *, by_message_id: bool) -> None:
        self.mode = mode
        self.window = self._wide = window
        """Messages it may hold."""
        self.narrow = False
        """The window is 1, until everything is settled: a message that must go by itself is out, or
        waits for that.
        """
        self.subscription: Subscription | None = None
        """The subscription that it serves now; None between two of the same id."""
        self._unsettled: dict[int, Delivery] = {}
        """In the order of delivery."""
        self._mixed = False
        """The first is not the one that is due first: some had their clock set afresh, or their
        destinations differ.
        """
        self._by_message_id: dict[str, list[int]] | None = {} if by_message_id else None
        """STOMP 1.0 and 1.1 acknowledge by message-id, which a snapshot shares with the message it
        stands behind.
        """
        self._issued: dict[str, int] = {}
        """The highest offset delivered of each epoch, the newest epoch last."""
        self.highest = 0
        """The highest publication number ever delivered: what is above was never issued."""
        self.size = 0
        """Bytes unsettled, with those held."""
        self.returning = 0
        """Deliveries that came back and wait to go out again, or are settled in an open
        transaction; they keep their place in the window.
        """

    def __len__(self) -> int:
        return len(self._unsettled)

    def __iter__(self) -> Iterator[Delivery]:
        return iter(self._unsettled.values())

    def has_room(self, size: int, max_bytes: int) -> bool:
        """Whether one more message of this size may go out."""
        held = len(self._unsettled) + self.returning
        return not held or (held < self.window and self.size + size <= max_bytes)

    @property
    def idle(self) -> bool:
        """It holds nothing: room for a message that must go by itself."""
        return not self._unsettled and not self.returning

    def set_narrow(self, narrow: bool) -> None:
        """Narrow the window to 1, or widen it again."""
        self.narrow = narrow
        self.window = 1 if narrow else self._wide

    def add(self, delivery: Delivery) -> None:
        """A message was queued for the client; an earlier delivery of it is replaced."""
        self.remove(delivery.publication.number)
        self._put(delivery)

    @staticmethod
    def hand_out(
        members: Mapping[Mailbox, Reader],
        delivery: Delivery,
        max_bytes: int,
        step: Step,
        by: float | None,
    ) -> list[Reader]:
        """The first deliveries of a new publication: `has_room` and `add` for many at once, without
        a call or an object per receiver.

        Args:
            delivery: The one that all of them share.
            by: When their sessions must be looked at, in the broker's own time.

        Returns:
            The subscriptions whose windows are full: they did not get it.
        """
        full: list[Reader] = []
        publication, now = delivery.publication, delivery.at
        number, more = publication.number, publication.size
        deadline = 0.0 if by is None else step.by(by)
        for subscription in members.values():
            ledger = subscription.ledger
            assert ledger is not None
            unsettled = ledger._unsettled
            held = len(unsettled) + ledger.returning
            size = ledger.size + more
            if held and (held >= ledger.window or size > max_bytes):
                full.append(subscription)
                continue
            mine, session = delivery, subscription.session
            clocks = session.clocks
            if clocks.paused_total or clocks.paused_since is not None:
                mine = delivery.copy(None, clocks.listened(now))
            if by is not None and (session.deadline is None or deadline < session.deadline):
                step.sooner(session, by)
            if ledger._by_message_id is not None:
                ledger._put(mine)
                continue
            unsettled[number] = mine
            ledger.size = size
            ledger.highest = number  # nothing that was published has a higher one
        return full

    def _put(self, delivery: Delivery) -> None:
        publication = delivery.publication
        self._unsettled[publication.number] = delivery
        self.size += publication.size
        if self._by_message_id is not None:
            self._by_message_id.setdefault(publication.message_id, []).append(publication.number)
        if publication.number > self.highest:
            self.highest = publication.number
        if delivery.attempt > 1 and delivery.alone:
            self.set_narrow(True)
        if self._by_message_id is not None:
            epoch, _, offset = publication.message_id.rpartition("-")
            self._note(epoch, int(offset))

    def _note(self, epoch: str, offset: int) -> None:
        self._issued[epoch] = max(self._issued.pop(epoch, 0), offset)
        if len(self._issued) > EPOCHS:
            del self._issued[next(iter(self._issued))]

    def hold(self, delivery: Delivery) -> None:
        """Mark a delivery that was taken out and keeps its place in the window."""
        self.returning += 1
        self.size += delivery.publication.size

    def unhold(self, delivery: Delivery) -> None:
        """Its place in the window is free."""
        self.returning -= 1
        self.size -= delivery.publication.size

    def restore(self, deliveries: list[Delivery]) -> None:
        """What was taken out is unsettled again, at its old place in the order of delivery."""
        for delivery in deliveries:
            if delivery.publication.number not in self._unsettled:
                self._put(delivery)
        self._unsettled = dict(sorted(self._unsettled.items(), key=lambda item: item[1].place))
        self._mixed = True

    def reopen(self, mode: AckMode, window: int) -> None:
        """A new subscription has this id; what the last one left stays."""
        self.mode, self._wide = mode, window
        self.set_narrow(any(each.alone for each in self._unsettled.values()))
        self._mixed = bool(self._unsettled)

    def own(self, delivery: Delivery) -> Delivery:
        """A delivery that was taken out, with the subscription it was for."""
        if delivery.subscription is not None:
            return delivery
        return delivery.copy(self.subscription, delivery.at)

    def leave(self) -> None:
        """The subscription ends; what it left is still known to be its."""
        for number, delivery in self._unsettled.items():
            self._unsettled[number] = self.own(delivery)
        self.subscription = None

    def was_issued(self, message_id: str) -> bool:
        """Whether a message of this id can have been delivered here."""
        epoch, _, offset = message_id.rpartition("-")
        highest = self._issued.get(epoch, 0)
        return offset.isascii() and offset.isdigit() and len(offset) < 20 and int(offset) <= highest

    def number_of(self, message_id: str) -> int | None:
        """The number behind an unsettled message-id; of two the one that went out first."""
        numbers = (self._by_message_id or {}).get(message_id)
        return numbers[0] if numbers else None

    def oldest(self) -> Delivery | None:
        """The one that is due first."""
        if self._mixed:
            self._mixed = bool(self._unsettled)
            return min(self._unsettled.values(), key=_due_at, default=None)
        return next(iter(self._unsettled.values()), None)

    def due(self, listened: float) -> list[Delivery]:
        """Deliveries that were out for too long, the one that was due first before the others."""
        late: list[Delivery] = []
        for delivery in self._unsettled.values():
            if _due_at(delivery) <= listened:
                late.append(delivery)
            elif not self._mixed:
                break
        return sorted(late, key=_due_at) if self._mixed else late

    def absorb(self, other: Ledger) -> None:
        """Remember of a ledger that is forgotten what was issued in it."""
        self.highest = max(self.highest, other.highest)
        for epoch, offset in other._issued.items():
            self._note(epoch, offset)

    def unsend(self, number: int) -> None:
        """A delivery that is out was not sent after all."""
        delivery = self._unsettled.get(number)
        if delivery is not None:
            unsent = self._unsettled[number] = delivery.copy(
                delivery.subscription or self.subscription, delivery.at
            )
            unsent.sent = False

    def renew(self, delivery: Delivery, listened: float) -> None:
        """Set the clock of an unsettled delivery afresh; its place stays."""
        number = delivery.publication.number
        self._unsettled[number] = delivery.copy(delivery.subscription, listened)
        self._mixed = True

    def remove(self, number: int) -> Delivery | None:
        """Take out one delivery."""
        delivery = self._unsettled.pop(number, None)
        if delivery is not None:
            self.size -= delivery.publication.size
            if self._by_message_id is not None:
                numbers = self._by_message_id[delivery.publication.message_id]
                numbers.remove(number)
                if not numbers:
                    del self._by_message_id[delivery.publication.message_id]
        return delivery

    def take(self, number: int, mailbox: Collection[Outgoing] = ()) -> list[Delivery]:
        """Take out what an ACK or NACK of this number settles: that delivery, and in `client` mode
        all that went out before it to the same subscription, in the order in which they did.

        Args:
            mailbox: What has not left yet. Of a redelivery that is still in there the client has
                seen an earlier copy, and nothing of what stands before it in there.
        """
        delivery = self._unsettled.get(number)
        if delivery is None:
            return []
        # The id may have had another subscription before, in another mode.
        owner = delivery.subscription or self.subscription
        mode = self.mode if owner is None else owner.mode
        if mode is not _CLIENT:
            self.remove(number)
            return [delivery]
        unseen = {each.publication for each in mailbox} if delivery.again else ()
        order = list(self._unsettled)
        taken: list[int] = []
        for each in order[: order.index(number) + 1]:
            earlier = self._unsettled[each]
            mine = (earlier.subscription or self.subscription) is owner
            if each == number or (mine and earlier.publication not in unseen):
                taken.append(each)
        return [found for each in taken if (found := self.remove(each)) is not None]

    def clear(self) -> list[Delivery]:
        """Take out everything."""
        return [found for each in list(self._unsettled) if (found := self.remove(each)) is not None]


def _due_at(delivery: Delivery) -> float:
    timeout = delivery.timeout
    return float("inf") if timeout is None else delivery.at + timeout

"""Queues: what one of several consumers gets.

Rule: a plain record. A consumer stands in the turn (`Consumer.in_turn`) or waits until somebody
lines it up again; either way it keeps its place, the number it got when it was served last.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Protocol

from stocksync_ws.broker.model.destination import Address, Destination
from stocksync_ws.broker.model.ledger import Delivery, Ledger
from stocksync_ws.broker.model.log import ByteCounter
from stocksync_ws.broker.model.publication import Publication
from stocksync_ws.broker.model.subscription import Consumer
from stocksync_ws.policies import Policy
from stocksync_ws.position import Position

__all__ = ["HOLES", "Queue", "QueueKeeper"]

HOLES = 64
"""Consumers that have left and stand in a turn, besides twice as many as there are."""


class QueueKeeper(Protocol):
    """Where queues are acted on."""

    def wake(self, queue: Queue, now: float) -> None: ...
    def publish(self, queue: Queue, publication: Publication, *, reserved: bool) -> int: ...
    def leave(self, consumer: Consumer) -> None: ...
    def opened(self, consumer: Consumer) -> None: ...
    def settle(self, queue: Queue, offset: int, publication: Publication) -> None: ...
    def reject(self, queue: Queue, offset: int, publication: Publication) -> None: ...
    def give_back(self, queue: Queue, delivery: Delivery, pause: float) -> None: ...
    def lose(self, queue: Queue, delivery: Delivery) -> None: ...


class Queue(Destination):
    """A queue: its log, who consumes, and what is out."""

    __slots__ = (
        "_counter",
        "_number",
        "attempts",
        "consumers",
        "delayed",
        "idle_since",
        "keeper",
        "out",
        "out_owned",
        "out_size",
        "private",
        "seen",
        "turn",
    )

    def __init__(
        self,
        address: Address,
        policy: Policy,
        counter: ByteCounter,
        keeper: QueueKeeper,
        *,
        private: bool = False,
    ) -> None:
        super().__init__(address, policy, counter)
        self.keeper = keeper
        self.private = private
        """The reply queue of one session."""
        self._counter = counter
        self._number = 0
        self.consumers: dict[Consumer, None] = {}
        self.turn: list[tuple[int, Consumer]] = []
        """A heap of those that may be ready; who has left since stands in it for a while."""
        self.attempts: dict[int, int] = {}
        """Deliveries of messages that were out, by offset: those that counted, and the one that
        runs.
        """
        self.seen: set[int] = set()
        """Offsets of messages that were written before, whatever has counted."""
        self.out = 0
        """Messages that were handed out and not settled, or come back after a pause."""
        self.out_size = 0
        """Bytes of them."""
        self.out_owned = 0
        """Bytes of those that count in a share."""
        self.idle_since: float | None = None
        """Since when nobody consumes, in the broker's own time; None while somebody does."""
        self.delayed: list[tuple[float, int, Publication]] = []
        """A heap of those that come back later: (when, offset, publication)."""

    def wake(self, now: float) -> None:
        """What is kept here has aged, or comes back after its pause."""
        self.keeper.wake(self, now)

    @property
    def idle(self) -> bool:
        """Nobody needs it: no consumer, no message in it, out, or on its way back."""
        return not (self.groups or len(self.log) or self.consumers or self.delayed or self.attempts)

    @property
    def text_only(self) -> bool:
        """None of its consumers can be sent anything but text."""
        return all(group.text_only for group in self.groups.values())

    # The turn

    def join(self, consumer: Consumer) -> None:
        """A consumer came, and is the last in turn."""
        self.consumers[consumer] = None
        self.idle_since = None
        self.served(consumer)

    def leave(self, consumer: Consumer) -> None:
        """A consumer went."""
        del self.consumers[consumer]
        consumer.in_turn = False
        if len(self.turn) > 2 * len(self.consumers) + HOLES:
            self.turn = [each for each in self.turn if _stands(each)]
            heapify(self.turn)
        self.leave_group(consumer)

    def served(self, consumer: Consumer) -> None:
        """A consumer got a message: all others come first."""
        self._number += 1
        consumer.place = self._number
        self.line_up(consumer)

    def line_up(self, consumer: Consumer) -> None:
        """A consumer may be ready."""
        if not consumer.in_turn:
            consumer.in_turn = True
            heappush(self.turn, (consumer.place, consumer))

    def next_in_turn(self) -> Consumer | None:
        """Take the first out of the turn; None when nobody is in it."""
        while self.turn:
            each = heappop(self.turn)
            if _stands(each):
                each[1].in_turn = False
                return each[1]
        return None

    # What is out

    def take_out(self, publication: Publication) -> None:
        """A message was handed out."""
        self.out += 1
        self._weigh(publication, publication.size)

    def bring_back(self, publication: Publication) -> None:
        """A message was settled, or is in the log again."""
        if self.out:
            self.out -= 1
            self._weigh(publication, -publication.size)

    def _weigh(self, publication: Publication, change: int) -> None:
        self.out_size += change
        self._counter.add(change)
        if publication.owner is not None:
            self.out_owned += change
            publication.owner.store(change)

    def forget(self) -> None:
        """The queue is gone with everything in it. What is out then is of a private queue, and in
        that all shares are those of its session.
        """
        self._counter.add(-self.out_size)
        if self.out_owned and self.owner is not None:
            self.owner.store(-self.out_owned)
        self.out = self.out_size = self.out_owned = 0

    # As a destination

    def publish(self, publication: Publication, position: Position | None, reserved: bool) -> int:
        """Keep a message, and hand it out; queues are of one process, so there is no position."""
        return self.keeper.publish(self, publication, reserved=reserved)

    def accept(self, delivery: Delivery) -> None:
        """A message was acknowledged, and leaves the queue."""
        self.keeper.settle(self, delivery.offset, delivery.publication)

    def reject(self, delivery: Delivery) -> None:
        """A consumer refused a message for good: a dead letter."""
        self.keeper.reject(self, delivery.offset, delivery.publication)

    def give_back(self, delivery: Delivery, ledger: Ledger, pause: float) -> None:
        """NACK or timeout: the message takes its old place."""
        self.keeper.give_back(self, delivery, pause)

    def lose(self, delivery: Delivery) -> int:
        """The session of a delivery has ended: another consumer gets it."""
        self.keeper.lose(self, delivery)
        return 0


def _stands(each: tuple[int, Consumer]) -> bool:
    return each[1].in_turn and each[1].place == each[0]

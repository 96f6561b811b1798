"""Publications on their way to the engine, until their answer has come and is applied here.

Rule: they leave in their order. After a new connection everything without an answer is sent again,
in that order and before anything new; the engine knows by the number what it has done already. An
answer counts when this worker has applied what it names, if it follows that channel. What waits
longer than `BackplaneSettings.publish_timeout` is told: never sent is unavailable, sent is
uncertain. Nothing is settled twice, and nothing is left unsettled.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from stocksync_ws.backplane import Append, AppendOutcome, BackplaneSettings, Item
from stocksync_ws.broker.model.flight import Done, Failure, Flight, Settlement
from stocksync_ws.position import Position

__all__ = ["Appends"]

MOST_SEEN = 10_000
"""Channels whose last accepted position is remembered; the least recently used goes first."""


class Appends:
    """All that is in flight of one worker."""

    __slots__ = ("_flights", "_held", "_number", "_seen", "_settings", "_size")

    def __init__(self, settings: BackplaneSettings) -> None:
        self._settings = settings
        self._number = 0
        self._size = 0
        self._flights: OrderedDict[int, Flight] = OrderedDict()
        self._held: dict[str, deque[tuple[int, Flight]]] = {}
        """Answered ones whose messages this worker has not applied yet, by their channels."""
        self._seen: OrderedDict[str, Position] = OrderedDict()

    def __len__(self) -> int:
        return len(self._flights)

    def problem(self, size: int) -> str:
        """Why so many bytes more may not be in flight; empty: they may."""
        count, most = len(self._flights) + 1, self._settings.max_in_flight
        if count > most:
            return f"max_in_flight: {most} publications wait for the backplane already"
        if self._flights and self._size + size > self._settings.max_in_flight_bytes:
            return f"max_in_flight_bytes: {self._size} bytes wait for the backplane already"
        return ""

    def add(self, items: tuple[Item, ...], now: float, done: Done, key: str, digest: str) -> Flight:
        """Take an append; it has the next number."""
        self._number += 1
        by = now + self._settings.publish_timeout
        flight = Flight(self._number, items, by, done, key, digest)
        self._flights[self._number] = flight
        self._size += flight.size
        return flight

    def command(self, flight: Flight, seen: Callable[[str], Position | None]) -> Append:
        """The command of an append, which is sent now; with what is known now of its channels."""
        if flight.sent:
            # The command that was sent before may be on its way.
            flight.items = tuple([replace(item) for item in flight.items])
        flight.again = flight.sent
        flight.sent = True
        items = flight.items
        for item in items:
            item.seen = seen(item.channel)
        return Append(flight.number, items, flight.key, flight.digest, next(iter(self._flights)))

    def stayed(self, number: int) -> None:
        """A command was never given to the connection, which is lost."""
        flight = self._flights.get(number)
        if flight is not None:
            flight.sent = flight.again

    def unanswered(self) -> Iterator[Flight]:
        """Those that a new connection has to send again, in their order."""
        return (each for each in self._flights.values() if each.settlement is None)

    def answered(self, number: int, settlement: Settlement) -> Flight | None:
        """The engine has answered; None when nobody waits for that any more."""
        flight = self._flights.get(number)
        if flight is None or flight.settlement is not None:
            return None
        if flight.again and settlement.outcome is AppendOutcome.REFUSED:
            # A run of the engine that has forgotten it may have done it before.
            settlement = Settlement(Failure.UNCERTAIN, problem=settlement.problem)
        flight.settlement = settlement
        return flight

    def hold(self, flight: Flight, channel: str, offset: int) -> None:
        """An answered one waits until this worker has applied a channel up to an offset."""
        flight.waits += 1
        self._held.setdefault(channel, deque()).append((offset, flight))

    def release(self, channel: str, offset: float) -> Sequence[Flight]:
        """This worker has applied a channel up to an offset: those that wait for nothing more."""
        held = self._held.get(channel)
        if held is None:
            return ()
        freed: list[Flight] = []
        while held and held[0][0] <= offset:
            flight = held.popleft()[1]
            flight.waits -= 1
            if not flight.waits:
                freed.append(flight)
        if not held:
            del self._held[channel]
        return freed

    def take(self, flight: Flight) -> bool:
        """It is settled; whether it was not before."""
        if self._flights.pop(flight.number, None) is None:
            return False
        self._size -= flight.size
        return True

    def overdue(self, now: float) -> list[Flight]:
        """Those that have waited too long, in their order."""
        found: list[Flight] = []
        for flight in self._flights.values():
            if flight.by > now:
                break
            found.append(flight)
        return found

    @property
    def deadline(self) -> float | None:
        """When the first one has waited too long, in the broker's own time."""
        for flight in self._flights.values():
            return flight.by
        return None

    # What is known of channels that are not followed

    def saw(self, channel: str, position: Position) -> None:
        """A message of this worker stands at a position."""
        known = self._seen.get(channel)
        if known is not None and known.epoch == position.epoch and known.offset > position.offset:
            return  # of a duplicate, which was done long ago
        self._seen[channel] = position
        self._seen.move_to_end(channel)
        if len(self._seen) > MOST_SEEN:
            self._seen.popitem(last=False)

    def seen(self, channel: str) -> Position | None:
        """The last position at which a message of this worker stands."""
        return self._seen.get(channel)

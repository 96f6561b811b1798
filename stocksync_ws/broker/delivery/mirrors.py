"""Mirrors: the channels of the engine that this worker follows, each a prefix of the engine's log.

Rule: a channel is subscribed before it is read, always, and asked for anew after each connection.
What is applied here comes in the engine's order, each message once: a push that does not follow the
last one makes the channel read from there, one that came already is dropped, and the answer to a
read counts only while it is the one that was asked for last. Where what was applied is no beginning
of what the engine has, or what is missing is gone, the channel is reset, and that is told.

    OFF --follow--> ASKED --Subscribed--> READING --History, whole--> LIVE
                      ^                     ^  |                        |
                      |                     |  +--History, in part--+   |
                      |                     |                       |   |
                  Connected                 +---- read on <---------+   |
                   (all)                    +---- push with a gap <-----+
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum
from typing import Any, Final, Protocol

from stocksync_ws.backplane import (
    Append,
    Appended,
    AppendOutcome,
    BackplaneCommand,
    BackplaneEvent,
    BackplaneSettings,
    Connected,
    History,
    Item,
    Lost,
    Pushed,
    Read,
    Subscribe,
    Subscribed,
    Unsubscribe,
)
from stocksync_ws.broker.delivery.appends import Appends
from stocksync_ws.broker.model.flight import Done, Failure, Flight, Settlement
from stocksync_ws.counters import Counters
from stocksync_ws.position import Position, generation_end

__all__ = ["Mirror", "Mirrors", "Receiver", "Reset", "State", "Watcher"]

WAITING = 1_000
"""Pushes that are kept of a channel that is being read; what is more comes by another read."""


class State(Enum):
    """How far a channel that is followed has come on this connection."""

    ASKED = "asked"
    """SUBSCRIBE waits for its answer, or for a connection."""
    READING = "reading"
    """What is pushed waits behind what is read."""
    LIVE = "live"
    """What is pushed is applied."""

    # By identity, in C: that of Enum hashes the name in Python, for each message.
    __hash__ = object.__hash__


class Reset(Enum):
    """Why what was applied here is no beginning of what the engine has."""

    NEW_EPOCH = "new-epoch"
    """The channel has begun anew."""
    ROLLED_BACK = "rolled-back"
    """The engine has forgotten messages that were applied here."""
    TRIMMED = "trimmed"
    """Messages that were missed have left the channel."""


class Receiver(Protocol):
    """What the channels are for: the destinations of this worker."""

    def begin(self, channel: str, history: History) -> None:
        """A channel is known: it stands in this epoch and generation, and what is still kept
        follows by `apply`.
        """
        ...

    def continues(self, channel: str, history: History) -> None:
        """A channel has another generation, and what was applied is a beginning of it."""
        ...

    def apply(self, channel: str, position: Position, payload: bytes) -> None:
        """The next message of a channel."""
        ...

    def attached(self, channel: str) -> None:
        """A channel is live: one of the destinations that nothing was known of, one of the workers
        themselves after each connection.
        """
        ...

    def reset(self, channel: str, why: Reset) -> None:
        """What was applied counts no more; `begin` follows."""
        ...


class Watcher(Receiver, Protocol):
    """Who is told of the connection too."""

    def available(self, up: bool, why: str) -> None:
        """The engine is there, or gone."""
        ...


class Mirror:
    """One channel."""

    __slots__ = ("channel", "keeps", "known", "receiver", "state", "top", "turn", "waiting")

    def __init__(self, channel: str, receiver: Receiver, *, keeps: bool) -> None:
        self.channel = channel
        self.receiver = receiver
        """Where what comes is applied."""
        self.keeps = keeps
        """What was appended before it was followed is wanted, too."""
        self.state = State.ASKED
        self.top: Position | None = None
        """Of the last message applied, or passed over; None: nothing is known of it."""
        self.known = False
        """It was live once: what comes is applied, now or later."""
        self.turn = 0
        """The number of the last SUBSCRIBE or read: the answer to an earlier one is dropped."""
        self.waiting: list[Pushed] = []


class Mirrors:
    """All channels of one worker, and what it has in flight.

    Args:
        settings: Times and bounds.
        commands: Where commands for the engine are put.
        receiver: Where what comes is applied, unless a channel has a receiver of its own.
        settle: Told what became of an append, and who is to hear it.
        counters: Gaps, repairs and repeats.
    """

    def __init__(
        self,
        settings: BackplaneSettings,
        commands: list[BackplaneCommand],
        receiver: Watcher,
        settle: Callable[[Done, Settlement], None],
        counters: Counters,
    ) -> None:
        self._counters = counters
        self._appends = Appends(settings)
        self._commands = commands
        self._receiver = receiver
        self._settle = settle
        self._mirrors: dict[str, Mirror] = {}
        self._turn = 0
        self.up = False
        """There is a connection."""
        self._events: Final[dict[type, Callable[[Any], None]]] = {
            Connected: self._connected,
            Lost: self._lost,
            Subscribed: self._step,
            Pushed: self._step,
            Appended: self._appended,
            History: self._step,
        }
        self._table: Final[dict[tuple[State, type], Callable[[Mirror, Any], None]]] = {
            (State.ASKED, Subscribed): self._asked,
            (State.ASKED, Pushed): self._keep_waiting,
            (State.READING, Pushed): self._keep_waiting,
            (State.READING, History): self._read,
            (State.LIVE, Pushed): self._take,
        }
        """What is not in it comes of an earlier turn, and is dropped."""

    # What the broker wants

    def append(
        self,
        items: tuple[Item, ...],
        now: float,
        done: Done,
        *,
        key: str = "",
        digest: str = "",
    ) -> str:
        """Put messages into one order with those of all workers, all of them or none.

        Returns:
            Why that cannot be, and then nothing has happened; empty: `done` will be told.
        """
        size = 0
        for item in items:
            size += len(item.payload)
        problem = self._appends.problem(size)
        if not problem:
            flight = self._appends.add(items, now, done, key, digest)
            if self.up:
                self._commands.append(self._appends.command(flight, self.seen))
        return problem

    def follow(self, channel: str, *, keeps: bool, receiver: Receiver | None = None) -> Mirror:
        """Follow a channel; `attached` is told when it is live, if it is not `known` yet."""
        mirror = self._mirrors.get(channel)
        if mirror is None:
            mirror = Mirror(channel, receiver or self._receiver, keeps=keeps)
            self._mirrors[channel] = mirror
            if self.up:
                self._ask(mirror)
        return mirror

    def leave(self, channel: str) -> None:
        """Follow a channel no more. What waits for it is settled: nobody here is to get it."""
        mirror = self._mirrors.pop(channel)
        if mirror.top is not None:
            self._appends.saw(channel, mirror.top)
        if self.up:
            self._commands.append(Unsubscribe(channel))
        self._freed(channel, math.inf)

    def find(self, channel: str) -> Mirror | None:
        """A channel that is followed."""
        return self._mirrors.get(channel)

    def seen(self, channel: str) -> Position | None:
        """The highest position that is known here of a channel: what was applied, or what the
        engine has answered.
        """
        mirror, accepted = self._mirrors.get(channel), self._appends.seen(channel)
        if mirror is None or mirror.top is None:
            return accepted
        if accepted is None or accepted.epoch != mirror.top.epoch:
            return mirror.top
        return accepted if accepted.offset > mirror.top.offset else mirror.top

    # Time

    @property
    def deadline(self) -> float | None:
        """When something in flight has waited too long, in the broker's own time."""
        return self._appends.deadline

    @property
    def in_flight(self) -> int:
        """Appends without an answer."""
        return len(self._appends)

    def expire(self, now: float) -> None:
        """Settle what has waited too long."""
        for flight in self._appends.overdue(now):
            settlement = flight.settlement
            if settlement is None:
                failure = Failure.UNCERTAIN if flight.sent else Failure.UNAVAILABLE
                settlement = Settlement(failure)
            self._settled(flight, settlement)

    # What the engine tells

    def receive(self, event: BackplaneEvent) -> None:
        """Take an event of the engine."""
        self._events[type(event)](event)

    def _connected(self, event: Connected) -> None:
        """Everything again, what is in flight first, in its order."""
        self.up = True
        self._commands.clear()
        for flight in self._appends.unanswered():
            self._commands.append(self._appends.command(flight, self.seen))
        for mirror in self._mirrors.values():
            self._ask(mirror)
        self._receiver.available(True, "")

    def _lost(self, event: Lost) -> None:
        self.up = False
        for command in self._commands:
            if isinstance(command, Append):
                self._appends.stayed(command.number)
        self._commands.clear()
        self._receiver.available(False, event.reason)

    def _appended(self, event: Appended) -> None:
        outcome, positions = event.outcome, event.positions
        settlement = Settlement(outcome, positions, event.workers, event.problem)
        flight = self._appends.answered(event.number, settlement)
        if flight is None:
            return
        assert flight.settlement is not None
        self._counters.backplane_repeats += outcome is AppendOutcome.REPEATED
        for item, position in zip(flight.items, positions, strict=False):
            channel = item.channel
            self._appends.saw(channel, position)
            mirror = self._mirrors.get(channel)
            if mirror is not None and mirror.top is not None and _is_ahead(position, mirror.top):
                self._appends.hold(flight, channel, position.offset)
        if not flight.waits:
            self._settled(flight, flight.settlement)

    def _step(self, event: Subscribed | Pushed | History) -> None:
        mirror = self._mirrors.get(event.channel)
        if mirror is not None:
            method = self._table.get((mirror.state, type(event)))
            if method is not None:
                method(mirror, event)

    # One channel

    def _ask(self, mirror: Mirror) -> None:
        mirror.state = State.ASKED
        mirror.turn = self._next_turn()
        self._commands.append(Subscribe(mirror.channel, mirror.turn))

    def _next_turn(self) -> int:
        """Of all channels: one that is left and followed again has no turn twice."""
        self._turn += 1
        return self._turn

    def _asked(self, mirror: Mirror, event: Subscribed) -> None:
        if event.turn == mirror.turn:
            self._begin_reading(mirror)

    def _begin_reading(self, mirror: Mirror) -> None:
        """Read what is behind the last message applied. The answer is no older than this, so that
        what was pushed before is in it, or of no account.
        """
        mirror.state = State.READING
        mirror.waiting.clear()
        mirror.turn = self._next_turn()
        start = 1 if mirror.keeps else None
        if mirror.top is not None:
            start = mirror.top.offset + 1
        self._commands.append(Read(mirror.channel, mirror.turn, start, self.seen(mirror.channel)))

    def _keep_waiting(self, mirror: Mirror, push: Pushed) -> None:
        if len(mirror.waiting) >= WAITING:
            mirror.waiting.clear()  # the gap before the next push makes it read again
        mirror.waiting.append(push)

    def _read(self, mirror: Mirror, history: History) -> None:
        """The state of a channel has come, or a part of it."""
        if history.turn != mirror.turn:
            return
        if mirror.top is None:
            start = history.lost if mirror.keeps else history.top.offset
            self._begin(mirror, history, start)
        elif (why := _reset(mirror.top, history)) is not None:
            self._appends.saw(mirror.channel, history.top)
            mirror.receiver.reset(mirror.channel, why)
            self._freed(mirror.channel, math.inf)
            self._begin(mirror, history, history.lost)
            if why is not Reset.TRIMMED:
                self._begin_reading(mirror)  # this read began where another history stood
                return
        elif mirror.top.generation != history.top.generation:
            mirror.top = mirror.top._replace(generation=history.top.generation)
            mirror.receiver.continues(mirror.channel, history)
        for position, payload in history.entries:
            self._counters.backplane_repaired += mirror.known
            self._apply(mirror, position, payload)
        self._pass_over(mirror, history)
        if history.complete_to < history.top.offset:
            self._begin_reading(mirror)
        else:
            self._live(mirror)

    def _begin(self, mirror: Mirror, history: History, start: int) -> None:
        """Nothing up to this offset counts."""
        mirror.top = history.top._replace(offset=start)
        mirror.receiver.begin(mirror.channel, history)

    def _live(self, mirror: Mirror) -> None:
        mirror.state = State.LIVE
        if not mirror.known or mirror.receiver is not self._receiver:
            mirror.known = True
            mirror.receiver.attached(mirror.channel)
        waiting, mirror.waiting = mirror.waiting, []
        for push in waiting:
            self._step(push)

    def _pass_over(self, mirror: Mirror, history: History) -> None:
        """What is not there has been replaced; the next message is of the generation of now."""
        assert mirror.top is not None
        offset = max(mirror.top.offset, history.complete_to)
        mirror.top = history.top._replace(offset=offset)
        self._freed(mirror.channel, offset)

    def _take(self, mirror: Mirror, push: Pushed) -> None:
        """A push of a channel that is live."""
        top, position = mirror.top, push.position
        assert top is not None
        same = (position.epoch, position.generation) == (top.epoch, top.generation)
        if same and push.after == top.offset:
            self._apply(mirror, position, push.payload)
        elif not same or position.offset > top.offset:
            # Also the first push of another generation: whether it follows, the history says.
            self._counters.backplane_gaps += 1
            self._begin_reading(mirror)

    def _apply(self, mirror: Mirror, position: Position, payload: bytes) -> None:
        mirror.top = position
        mirror.receiver.apply(mirror.channel, position, payload)
        self._freed(mirror.channel, position.offset)

    # What is in flight

    def _freed(self, channel: str, offset: float) -> None:
        for flight in self._appends.release(channel, offset):
            assert flight.settlement is not None
            self._settled(flight, flight.settlement)

    def _settled(self, flight: Flight, settlement: Settlement) -> None:
        if self._appends.take(flight):
            self._settle(flight.done, settlement)


def _is_ahead(position: Position, top: Position) -> bool:
    return position.epoch == top.epoch and position.offset > top.offset


def _reset(top: Position, history: History) -> Reset | None:
    """Why what was applied up to `top` is no beginning of this history, or is followed by nothing
    that is still there.
    """
    now = history.top
    if now.epoch != top.epoch:
        return Reset.NEW_EPOCH
    if (top.generation, now.generation) != (0, 0):
        bound = generation_end(history.begins, top.generation, now.offset)
        if bound is None or top.offset > bound:
            return Reset.ROLLED_BACK
    elif now.offset < top.offset:
        return Reset.ROLLED_BACK
    return Reset.TRIMMED if history.lost > top.offset else None

"""An engine gives several workers channels, which put publications into one order.

Rule: words and data. A worker sends commands and is given events; neither side waits for the other,
and nothing here knows a socket. A record that is made for each message is a class with slots, which
is made faster than a named tuple. The contract of an engine stands at `Backplane`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol, TypeAlias

from stocksync_ws.errors import ConfigurationError
from stocksync_ws.position import Position

__all__ = [
    "Append",
    "AppendOutcome",
    "Appended",
    "Backplane",
    "BackplaneCommand",
    "BackplaneEvent",
    "BackplaneLink",
    "BackplaneSettings",
    "Connected",
    "History",
    "Item",
    "Keep",
    "Lost",
    "Pushed",
    "Read",
    "Subscribe",
    "Subscribed",
    "Unsubscribe",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class BackplaneSettings:
    """Times and bounds of a worker that waits for its engine.

    Raises:
        ConfigurationError: A value is out of its range.
    """

    publish_timeout: float = 5.0
    """Seconds until an unanswered publication fails."""
    subscribe_timeout: float = 10.0
    """Seconds that a SUBSCRIBE waits for its channel."""
    max_in_flight: int = 10_000
    """Publications that may wait for the engine's answer."""
    max_in_flight_bytes: int = 16 * 1024 * 1024
    """Bytes of these publications."""
    max_outage: float | None = 30.0
    """Seconds without the engine until clients are closed with 4012; None: never."""
    repair_messages: int = 1_000
    """Messages that the engine keeps at least of each channel, so that a gap can be read again."""
    repair_seconds: float = 60.0
    """Seconds that the engine keeps them at least."""
    linger: float = 30.0
    """Seconds a channel is followed when nobody is subscribed to its destination any more."""
    require_at_start: bool = False
    """A start waits for the engine, at most `subscribe_timeout` seconds, and fails without it."""

    def __post_init__(self) -> None:
        for name in BackplaneSettings.__slots__:
            value = getattr(self, name)
            if name == "max_outage" and value is None:
                continue
            if name == "require_at_start":
                if not isinstance(value, bool):
                    setting = f"{type(self).__name__}.{name}"
                    raise ConfigurationError(f"{setting}: must be True or False, not {value!r}")
                continue
            whole = name in ("max_in_flight", "max_in_flight_bytes", "repair_messages")
            kinds = int if whole else (int, float)
            if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value < math.inf:
                kind = "whole number" if whole else "number of seconds"
                setting = f"{type(self).__name__}.{name}"
                raise ConfigurationError(f"{setting}: must be a {kind} above 0, not {value!r}")


# Commands: what a worker sends


class Keep(NamedTuple):
    """The newest messages of a channel, as many as the engine keeps."""

    messages: int
    """The number of messages kept at most."""
    seconds: float
    """The age in seconds after which a message is dropped."""
    slot: str | None = None
    """The slot in which the message takes the place of the one before; None: there is none."""


@dataclass(slots=True)
class Item:
    """One message of an append."""

    channel: str
    payload: bytes
    keep: Keep
    seen: Position | None = None
    """The highest position that this worker knows of the channel when this is sent."""


@dataclass(slots=True)
class Append:
    """A command to put messages at the end of their channels: all of them in one step, or none."""

    number: int
    """A number that rises with each append of a worker; one that is sent again keeps its number."""
    items: tuple[Item, ...]
    key: str = ""
    """The key of the append: one to the same first channel with the same key and digest is done
    once; empty: there is none.
    """
    digest: str = ""
    oldest: int = 0
    """The lowest number of an append whose answer this worker may still wait for."""


class Subscribe(NamedTuple):
    """A command to push messages that are appended to a channel from now on."""

    channel: str
    turn: int
    """A number that comes back with the answer."""


class Unsubscribe(NamedTuple):
    """A command to push messages of a channel no more."""

    channel: str


class Read(NamedTuple):
    """A command to tell what is kept of a channel."""

    channel: str
    turn: int
    """A number that comes back with the answer."""
    start: int | None
    """The first offset wanted; None: none, only where the channel stands."""
    seen: Position | None


BackplaneCommand: TypeAlias = Append | Subscribe | Unsubscribe | Read


# Events: what the engine tells a worker


class Connected(NamedTuple):
    """A new connection: nothing that was sent before is answered any more."""


class Lost(NamedTuple):
    """The connection is gone, or the first one could not be made."""

    reason: str = ""
    fatal: bool = False
    """The settings are wrong, and waiting does not help."""


class Subscribed(NamedTuple):
    """The subscription holds: messages appended from now on are pushed on this connection."""

    channel: str
    turn: int


@dataclass(slots=True)
class Pushed:
    """A message of a channel."""

    channel: str
    after: int
    """The offset of the message before it in its channel."""
    position: Position
    payload: bytes


class AppendOutcome(Enum):
    """The engine's answer to an append."""

    ACCEPTED = "accepted"
    """The append was done."""
    REPEATED = "repeated"
    """The append had been done; the answer was lost."""
    DUPLICATE = "duplicate"
    """Another append with its key had been done, and nothing was done."""
    MISMATCH = "mismatch"
    """Another append with its key had another digest, and nothing was done."""
    REFUSED = "refused"
    """The engine does not do it, and nothing was done."""


@dataclass(slots=True)
class Appended:
    """The answer to an append."""

    number: int
    outcome: AppendOutcome
    positions: tuple[Position, ...] = ()
    """The positions of its items, in their order; of a duplicate those of the first one."""
    workers: int = 0
    """Workers to which it was pushed."""
    problem: str = ""
    """The reason of a refusal, in the engine's words, for the log."""


class History(NamedTuple):
    """The answer to a read: the state of a channel at one moment after the command."""

    channel: str
    turn: int
    top: Position
    """The position of the newest message ever appended; offset 0 before the first."""
    lost: int = 0
    """The highest offset that was there and has aged; what was replaced in its slot is not lost."""
    begins: tuple[tuple[int, int], ...] = ((0, 0),)
    """The generations that are known, in their order: number, and after which offset it began."""
    entries: tuple[tuple[Position, bytes], ...] = ()
    """The messages kept, from the start that was asked for; an engine may stop early."""
    complete_to: int = 0
    """The offset up to which all that is kept is among them; less than `top`: read on behind it."""


BackplaneEvent: TypeAlias = Connected | Lost | Subscribed | Pushed | Appended | History


class BackplaneLink(Protocol):
    """One worker's way to the engine, and its connections."""

    def send(self, commands: Sequence[BackplaneCommand]) -> None:
        """Carry out commands in their order; never waits. Called only between `Connected` and
        `Lost`.
        """
        ...

    def close(self) -> None:
        """End the link, as the worker ends: nothing is told any more."""
        ...


class Backplane(Protocol):
    """An engine that orders the publications of several workers.

    A worker is one run of an application; a channel is a log under a name, which begins with its
    first append. Whatever an engine does inside, a worker relies on this:

    1. An append is atomic: each of its items gets the offset behind the last one of its channel, is
       kept, and is pushed to every worker that is subscribed to that channel.
    2. An append whose number the engine has done already for this worker, in any of its channels,
       does nothing more, and is answered by what was answered then, while it is not below `oldest`;
       any other one with a number below the last that was done in any of them does nothing.
    3. The pushes of a channel come in the order of their offsets on one connection. Some may be
       missing and some may come again; each names the one before it, so that a gap is seen.
    4. What is appended after `Subscribed` was told is pushed on that connection, while it lasts.
    5. `History` is one state of the channel, no older than its command.
    6. A position never names two messages. An engine that comes back begins a new generation behind
       the last offset it still has, with a number that no other run of it has used: a counter that
       is restored with the rest would come again. Where a worker has `seen` more of an earlier
       generation than that, or a generation that is not known any more, the channel begins anew,
       empty, with a new epoch.
    7. Events come on the thread of the event loop that `open` was called on. After `Lost` nothing
       of that connection is told, not even an answer.
    8. Each append, subscribe and read is answered while its connection lasts; a connection on which
       answers are missing is ended, and told as `Lost`.

    `tests/adapters/backplanes.py` in the source tree checks an engine against each of them.
    """

    @property
    def config(self) -> BackplaneSettings:
        """Times and bounds of a worker that waits for the engine."""
        ...

    def open(
        self, worker: str, agreement: str, receive: Callable[[Sequence[BackplaneEvent]], None]
    ) -> BackplaneLink:
        """Begin to connect, and to tell events. Called on the thread of a running event loop.

        Args:
            worker: A name, which no other run has or had.
            agreement: A text that all workers of the engine should have alike: see
                `stocksync_ws.agreement`. An engine may refuse a worker that has another one.
            receive: A function that is told events.
        """
        ...

    def partition(self, channel: str) -> int:
        """The partition of a channel: channels of one can be appended to in one step."""
        ...

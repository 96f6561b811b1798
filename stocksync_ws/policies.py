"""Destinations as the application configures them: `Topic`, `Stream`, `Latest` and `Queue`.

Rule: a field stands only where it means something, and says its unit. What all of them have is in
`Policy`, which is what the broker reads.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeAlias, cast

from stocksync_ws.errors import ConfigurationError

__all__ = [
    "MOST_FLUSH_DELAY",
    "DestinationPolicy",
    "Latest",
    "Overflow",
    "Policy",
    "PushedPolicy",
    "Queue",
    "Stream",
    "Topic",
    "TopicPolicy",
    "check_path",
    "has_surrogate",
    "pause",
]

Overflow: TypeAlias = Literal["disconnect", "drop_oldest"]
"""The treatment of a subscriber that does not keep up."""

MOST_FLUSH_DELAY = 0.1
"""The longest `flush_delay` in seconds: a person who watches feels a longer one."""

_SURROGATE = re.compile("[\ud800-\udfff]")


def has_surrogate(text: str) -> bool:
    """Tell whether a text holds a lone surrogate, which is no character and fits no frame."""
    return _SURROGATE.search(text) is not None


def check_path(setting: str, text: str) -> None:
    """Check a prefix, or a destination that a setting names.

    Raises:
        ConfigurationError: It is not like `/topic` or `/queue/dead`.
    """
    given = cast("object", text)
    if not isinstance(given, str):
        raise ConfigurationError(f"{setting}: must be a text like '/topic', not {given!r}")
    if has_surrogate(text):
        raise ConfigurationError(
            f"{setting}: {text!r} holds a lone surrogate, which is no character"
        )
    if not text.startswith("/") or text.endswith("/") or "//" in text or "*" in text:
        bare = "/".join(part for part in text.split("/") if part and "*" not in part)
        raise ConfigurationError(
            f"{setting}: {text!r} must be like '/topic', without a trailing slash or a wildcard:"
            f" write {'/' + (bare or 'topic')!r}"
        )


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The settings of every destination: how often a message is delivered to a subscriber that
    acknowledges, and where it goes then.
    """

    ack_timeout: float | None = None
    """Seconds a delivery may stay unsettled before it counts as refused; None: for ever. With a
    backplane deliveries are settled at the worker of the subscriber, and counted there.
    """
    max_deliveries: int = 5
    """Deliveries of one message that count, in all; then it is a dead letter. NACK and a timeout
    count, and of a lost session the oldest delivery of each subscription; where a loss would be
    the last to count, the message is first delivered once more, by itself.
    """
    retry: tuple[float, ...] = (0.0, 1.0, 2.0, 4.0)
    """Seconds before a message that came back by NACK or timeout is delivered for the second, the
    third, … time; the last one holds for all later ones.
    """
    dead_letter: str | None = None
    """The destination of dead letters; None: only the event `DeadLetter` tells of them."""
    local: bool = False
    """Each worker has a destination of its own, even with a backplane. With one, queues and durable
    names are possible only so.
    """

    def __post_init__(self) -> None:
        self._positive("max_deliveries", self.max_deliveries, whole=True)
        if self.ack_timeout is not None:
            self._positive("ack_timeout", self.ack_timeout)
        pauses = cast("object", self.retry)
        if not isinstance(pauses, tuple) or not pauses or not all(map(_is_pause, self.retry)):
            self._fail("retry", f"must be a tuple of seconds, such as (0, 1, 2, 4), not {pauses!r}")
        if self.dead_letter is not None:
            check_path(f"{type(self).__name__}.dead_letter", self.dead_letter)

    def _positive(self, name: str, value: object, *, whole: bool = False) -> None:
        kinds = int if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value < math.inf:
            kind = "whole number" if whole else "number"
            hint = f": write {value.total_seconds()}" if isinstance(value, timedelta) else ""
            self._fail(name, f"must be a {kind} above 0, not {value!r}{hint}")

    def _fail(self, name: str, problem: str) -> None:
        raise ConfigurationError(f"{type(self).__name__}.{name}: {problem}")


def pause(policy: Policy, attempt: int) -> float:
    """Seconds before the next delivery, after the one of this number was refused."""
    return policy.retry[min(max(attempt, 1), len(policy.retry)) - 1]


def _is_pause(seconds: object) -> bool:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        return False
    return 0 <= seconds < math.inf


@dataclass(frozen=True, kw_only=True)
class TopicPolicy(Policy):
    """The settings of every topic: each message goes to all subscribers; one may be too slow."""

    ack_timeout: float | None = 30.0
    """Seconds a delivery may stay unsettled before it counts as refused; None: for ever."""
    overflow: Overflow = "disconnect"
    """A subscriber that does not keep up is disconnected, or loses its oldest messages and is
    told.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.overflow not in ("disconnect", "drop_oldest"):
            self._fail("overflow", f"must be 'disconnect' or 'drop_oldest', not {self.overflow!r}")


@dataclass(frozen=True, kw_only=True)
class PushedPolicy(TopicPolicy):
    """The settings of a topic whose messages are handed on one by one, as they are published."""

    flush_delay: float | None = None
    """Seconds that messages may wait for each other, at most 0.1, so that those to one session
    leave in one write: 0.001 to 0.005 where hundreds are published a second. None: a message
    leaves at once, in the same turn of the loop. A message leaves no later than so many seconds
    after it was published, and a millisecond or two more by which timers of a loop are late; it
    leaves earlier with anything else that its session is sent, such as a RECEIPT, a reply, an
    ERROR, a heart-beat or a message without delay, and when the session has more than
    `Limits.send_queue` to be sent. Order never changes. Messages that wait for a session are
    dropped when `users.disconnect` ends it.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        given = cast("object", self.flush_delay)
        if given is None:
            return
        number = isinstance(given, (int, float)) and not isinstance(given, bool)
        if not number or not 0 < cast("float", given) <= MOST_FLUSH_DELAY:
            self._fail("flush_delay", _mend_flush_delay(given))


def _mend_flush_delay(given: object) -> str:
    """The error about a `flush_delay` that is out of its range, and how to write it."""
    problem = f"must be seconds above 0 and at most {MOST_FLUSH_DELAY}, or None, not {given!r}"
    if isinstance(given, timedelta):
        return f"{problem}: write {given.total_seconds()}"
    if type(given) in (int, float) and 1 <= cast("float", given) <= 1_000 * MOST_FLUSH_DELAY:
        given = cast("float", given)
        return f"{problem}; if that is ms, write flush_delay={given / 1_000:g}"
    return f"{problem}; None turns it off" if given == 0 else problem


@dataclass(frozen=True, kw_only=True)
class Topic(PushedPolicy):
    """A topic that keeps nothing: a subscriber gets a message, a client that comes later does not.
    Every destination under a topic prefix that `destinations` does not name is one.

    Raises:
        ConfigurationError: A value is out of its range.
    """


@dataclass(frozen=True, kw_only=True)
class Stream(PushedPolicy):
    """A topic with a history: a client that reconnects names the last message it saw, and gets
    those it missed.

    Raises:
        ConfigurationError: A value is out of its range.
    """

    history: int = 100
    """Messages that are kept."""
    seconds: float = 60.0
    """Seconds that a message is kept."""
    on_subscribe: Literal["live", "history"] | int = "live"
    """The beginning of a subscription whose SUBSCRIBE has no `history` header: `"live"`, the next
    message; `"history"`, all that are kept; a number, so many of the newest ones. A default and no
    secret: a client that may SUBSCRIBE may ask for all of the history.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self._positive("history", self.history, whole=True)
        self._positive("seconds", self.seconds)
        self._check_on_subscribe()

    def _check_on_subscribe(self) -> None:
        given = cast("object", self.on_subscribe)
        if given in ("live", "history"):
            return
        if isinstance(given, bool) or not isinstance(given, int) or not 0 < given <= self.history:
            numbers = f"a whole number from 1 to history={self.history}"
            self._fail("on_subscribe", f"must be 'live', 'history' or {numbers}, not {given!r}")


@dataclass(frozen=True, kw_only=True)
class Latest(TopicPolicy):
    """A topic that keeps the newest message of each key: a new subscriber gets these first.

    Raises:
        ConfigurationError: A value is out of its range.
    """

    key: str = "key"
    """The header that holds the key of a message; without it, the key is the destination."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(cast("object", self.key), str) or not self.key:
            self._fail("key", f"must be the name of a header, not {self.key!r}")


@dataclass(frozen=True, kw_only=True)
class Queue(Policy):
    """A queue: each message goes to one of its consumers, and stays until it is acknowledged.

    Raises:
        ConfigurationError: A value is out of its range.
    """


DestinationPolicy: TypeAlias = Topic | Stream | Latest | Queue
"""One value of `StompApp(destinations={pattern: …})`."""

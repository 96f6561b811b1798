"""What a destination is, what it means here, and whether it matches a pattern.

Rule: destinations are compared byte for byte and never normalised. There is one grammar of
patterns, for settings, for subscriptions and for authorization: `*` is one whole segment, `**` any
number of segments and only last, everything else is literal. Matching is linear, without regular
expressions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import Enum, auto
from typing import NamedTuple

from stocksync_ws.broker.model.headers import BLANKS
from stocksync_ws.checks import is_foreign_wildcard
from stocksync_ws.config import BrokerConfig, Limits, exceeded
from stocksync_ws.stomp.frame import SEND, SUBSCRIBE

__all__ = [
    "APPLICATION",
    "REPLY_QUEUE",
    "TEMP_QUEUE",
    "Kind",
    "Namespace",
    "Patterns",
    "Place",
    "has_wildcard",
    "is_destination",
    "is_pattern",
    "is_reply_queue",
    "meet",
    "oversize",
    "printable",
    "worker_of",
]


MOST_FOUND = 1_024
"""Destinations of which something is known without a search, in each place that asks."""
REPLY_QUEUE = "/reply-queue/"
"""What the address of a private queue begins with; who knows it may send there."""
TEMP_QUEUE = "/temp-queue/"
"""What a client's own name of a private queue begins with, in `reply-to`."""


def is_reply_queue(destination: str) -> bool:
    """The destination is a reply queue, or was one; who knows its name may send to it."""
    return destination.startswith(REPLY_QUEUE)


def worker_of(reply_queue: str) -> str:
    """The worker whose session has a reply queue; empty: it names none."""
    name, dot, _ = reply_queue[len(REPLY_QUEUE) :].partition(".")
    return name if dot else ""


def printable(text: str) -> bool:
    """No C0 control character and no DEL."""
    if text.isascii():
        return text.isprintable()
    return not any(char < " " or char == "\x7f" for char in text)


def is_destination(text: str, limits: Limits) -> bool:
    """`(/segment)+` within the limits: no empty, `.` or `..` segment, no control character, no
    lone surrogate.
    """
    try:
        octets = len(text.encode())
    except UnicodeEncodeError:
        return False
    if not text.startswith("/") or octets > limits.max_destination:
        return False
    segments = text.split("/")[1:]
    if len(segments) > limits.max_segments or not printable(text):
        return False
    return not any(segment in ("", ".", "..") for segment in segments)


def oversize(text: str, limits: Limits) -> str:
    """Which limit a destination is over; empty for one within them."""
    octets = len(text.encode("utf-8", "surrogatepass"))
    if octets > limits.max_destination:
        return exceeded(limits, "max_destination", octets)
    segments = text.count("/")
    return exceeded(limits, "max_segments", segments) if segments > limits.max_segments else ""


def has_wildcard(destination: str) -> bool:
    """One of its segments is `*` or `**`."""
    return "*" in destination and any(s in ("*", "**") for s in destination.split("/"))


def is_pattern(destination: str) -> bool:
    """The destination holds a wildcard, of ours or of another dialect."""
    if "*" not in destination and "#" not in destination and ">" not in destination:
        return False
    return has_wildcard(destination) or any(map(is_foreign_wildcard, destination.split("/")))


class Patterns:
    """A set of patterns, asked whether one of them covers a literal destination."""

    __slots__ = ("_patterns",)

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = tuple(tuple(pattern.split("/")) for pattern in patterns)

    def match(self, destination: str) -> bool:
        """Whether a pattern matches. Linear in the segments of the destination, per pattern."""
        if not self._patterns:
            return False
        segments = destination.split("/")
        return any(_covers(pattern, segments) for pattern in self._patterns)


def _covers(pattern: tuple[str, ...], segments: list[str]) -> bool:
    if pattern[-1] == "**":
        pattern = pattern[:-1]
        if len(segments) < len(pattern):
            return False
    elif len(segments) != len(pattern):
        return False
    return all(p in ("*", s) for p, s in zip(pattern, segments, strict=False))


def meet(one: str, other: str) -> bool:
    """Two patterns have a destination in common."""
    ours, theirs = one.split("/"), other.split("/")
    we_go_on, they_go_on = ours[-1] == "**", theirs[-1] == "**"
    ours, theirs = ours[: len(ours) - we_go_on], theirs[: len(theirs) - they_go_on]
    if len(ours) < len(theirs) and not we_go_on:
        return False
    if len(theirs) < len(ours) and not they_go_on:
        return False
    return all(a == b or "*" in (a, b) for a, b in zip(ours, theirs, strict=False))


class Kind(Enum):
    """Where a destination leads."""

    APPLICATION = auto()
    """A handler."""
    TOPIC = auto()
    """Fan-out to every subscription."""
    QUEUE = auto()
    """One of the queue prefixes."""
    USER = auto()
    """The receiver's own sessions."""
    PRESENCE = auto()
    """The presence of the destination behind the prefix."""
    NOWHERE = auto()
    """Under no prefix."""


APPLICATION = Kind.APPLICATION
"""A global, for what is asked with every SEND: see `POOL` in `model/pipeline.py`."""


class Place(NamedTuple):
    """A destination that a client has named, and all that is asked of it with every frame."""

    destination: str
    kind: Kind
    path: str
    """The rest behind the prefix with its leading slash."""
    wildcard: bool
    may_send: bool
    """The destination is the broker's, and `client_send` covers it."""
    may_subscribe: bool
    """`client_subscribe` covers it; of a presence, what it is the presence of."""


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


class Namespace:
    """The prefixes of one configuration: which destination means what, and what clients may
    name.
    """

    __slots__ = (
        "_attended",
        "_found",
        "_kinds",
        "_limits",
        "_local",
        "_open",
        "_own_roots",
        "_places",
        "_presence",
        "all_prefixes",
        "attended",
        "error_destination",
        "error_path",
        "may_send",
        "may_subscribe",
        "prefixes",
        "user_prefix",
    )

    def __init__(self, config: BrokerConfig) -> None:
        self._local = None
        if config.backplane is not None:
            self._local = Patterns(at for at, each in config.destinations.items() if each.local)
        self._kinds = [(p + "/", Kind.APPLICATION) for p in config.application_prefixes]
        self._kinds.append((config.user_prefix + "/", Kind.USER))
        for prefix in config.broker_prefixes:
            kind = Kind.QUEUE if prefix in config.queue_prefixes else Kind.TOPIC
            self._kinds.append((prefix + "/", kind))
        self._kinds.append((config.presence_prefix + "/", Kind.PRESENCE))
        self._presence = config.presence_prefix
        self.attended = config.presence
        """Patterns of the destinations whose presence is kept."""
        self._attended = Patterns(config.presence) if config.presence else None
        self._found: dict[str, bool] = {}
        """Answers of `is_attended`, those that were asked for last."""
        self._limits = config.limits
        self.user_prefix = config.user_prefix
        self._own_roots = tuple(
            f"{root}/" for root in {"/queue", "/topic", *config.broker_prefixes}
        )
        self.error_path = config.error_destination
        """Where a session listens for errors of the application, behind the user prefix."""
        self.error_destination = config.user_prefix + config.error_destination
        self.prefixes = _listed(
            [*config.application_prefixes, *config.broker_prefixes, config.user_prefix]
        )
        """Prefixes that clients use, for whoever missed them."""
        self.all_prefixes = tuple(prefix[:-1] for prefix, _ in self._kinds)
        self._places: dict[str, Place] = {}
        self.may_send = Patterns(config.client_send)
        self.may_subscribe = Patterns(config.client_subscribe)
        handled = [f"{prefix}/*/**" for prefix in config.application_prefixes]
        own = [f"{config.user_prefix}{root}*/**" for root in self._own_roots]
        self._open = {
            SEND: (*handled, *config.client_send),
            SUBSCRIBE: (*handled, *own, *config.client_subscribe),
        }

    def classify(self, destination: str) -> tuple[Kind, str]:
        """The kind, and the rest behind the prefix with its leading slash.

        A prefix matches whole segments, and the bare prefix is no destination of its kind.
        """
        for prefix, kind in self._kinds:
            if destination.startswith(prefix):
                return kind, destination[len(prefix) - 1 :]
        return Kind.NOWHERE, destination

    def is_unshared(self, destination: str) -> bool:
        """A queue that several workers would have to share."""
        if self._local is None or self.classify(destination)[0] is not Kind.QUEUE:
            return False
        return not self._local.match(destination)

    def place(self, destination: str) -> Place | None:
        """The place that a client names; None: it is no destination. The last ones are known."""
        known = self._places.get(destination)
        if known is None:
            if not is_destination(destination, self._limits) and not self.is_presence(destination):
                return None
            if len(self._places) >= MOST_FOUND:
                self._places.clear()
            kind, path = self.classify(destination)
            brokered = kind in (Kind.TOPIC, Kind.QUEUE)
            may_send = brokered and self.may_send.match(destination)
            asked = path if kind is Kind.PRESENCE else destination
            may_subscribe = self.may_subscribe.match(asked)
            wildcard = has_wildcard(destination)
            known = Place(destination, kind, path, wildcard, may_send, may_subscribe)
            self._places[destination] = known
        return known

    def is_attended(self, address: str | tuple[str, str]) -> bool:
        """A destination has a roster of its subscribers."""
        if self._attended is None or not isinstance(address, str):
            return False
        known = self._found.get(address)
        if known is None:
            if len(self._found) >= MOST_FOUND:
                self._found.clear()
            known = self._found[address] = self._attended.match(address)
        return known

    def is_presence(self, destination: str) -> bool:
        """The presence of something that is a destination. The bounds of destinations hold for
        that, without the prefix.
        """
        prefix = self._presence
        if not destination.startswith(prefix + "/"):
            return False
        return is_destination(destination[len(prefix) :], self._limits)

    @property
    def widest(self) -> Limits:
        """The bounds that hold for a destination together with the prefix of its presence."""
        prefix, limits = self._presence, self._limits
        return replace(
            limits,
            max_destination=limits.max_destination + len(prefix.encode()),
            max_segments=limits.max_segments + prefix.count("/"),
        )

    def may_be_answered_at(self, reply_to: str) -> bool:
        """Whether a client may name it as the place for an answer: a private queue of its own, or
        where it may SEND itself. Whoever answers does so with rights of its own.
        """
        if reply_to.startswith(TEMP_QUEUE):
            return True
        if reply_to != reply_to.strip(BLANKS):  # Clients may read it without.
            return False
        if not is_destination(reply_to, self._limits) or has_wildcard(reply_to):
            return False
        kind, _ = self.classify(reply_to)
        if kind is Kind.APPLICATION or is_reply_queue(reply_to):
            return True
        return kind in (Kind.TOPIC, Kind.QUEUE) and self.may_send.match(reply_to)

    def lets_through(self, frame: str, pattern: str) -> bool:
        """Whether there is a destination of this pattern that a client may name in a SEND or
        SUBSCRIBE at all.
        """
        return any(meet(pattern, other) for other in self._open[frame])

    def beside(self, destination: str) -> list[str]:
        """The same handler under the other application prefixes."""
        kind, path = self.classify(destination)
        if kind is not APPLICATION:
            return []
        prefixes = [prefix[:-1] for prefix, kind in self._kinds if kind is APPLICATION]
        return [prefix + path for prefix in prefixes if prefix + path != destination]

    def is_topic(self, destination: str) -> bool:
        """The destination fans out."""
        return self.classify(destination)[0] is Kind.TOPIC

    def is_own(self, destination: str) -> bool:
        """A user destination that a client may name: `/user/queue/...` or `/user/topic/...`."""
        prefix = self.user_prefix
        return destination.startswith(prefix) and self.is_own_path(destination[len(prefix) :])

    def is_own_path(self, path: str) -> bool:
        """What may follow the user prefix: `/queue/...`, `/topic/...` or a broker prefix."""
        return path.startswith(self._own_roots)

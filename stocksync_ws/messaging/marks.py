"""What the decorators leave on a function or a class.

Rule: frozen data in one attribute, from the top as it is written; nobody else reads or writes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from stocksync_ws.errors import ConfigurationError

__all__ = [
    "NAMES",
    "WRITES_NOTHING",
    "Access",
    "Advice",
    "Authorization",
    "Controller",
    "Declaration",
    "DeliveryFilter",
    "ExceptionMapping",
    "HandshakeInterceptor",
    "InboundInterceptor",
    "Intercepted",
    "Interceptor",
    "Judged",
    "Listener",
    "Mapped",
    "Mark",
    "MessageMapping",
    "OutboundInterceptor",
    "ReplyTo",
    "SnapshotMapping",
    "SubscribeMapping",
    "add_mark",
    "marks_of",
    "name_of",
]

_MARKS = "__stocksync_marks__"


Judged: TypeAlias = Literal["SEND", "SUBSCRIBE"]
"""The frames that a rule may be for."""

Intercepted: TypeAlias = Literal[
    "CONNECT",
    "SEND",
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "ACK",
    "NACK",
    "BEGIN",
    "COMMIT",
    "ABORT",
    "DISCONNECT",
]
"""The frames that an inbound interceptor may be for."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a session must be, without code."""

    roles: frozenset[str] = frozenset()
    """One of them is enough; empty: none is needed."""
    authenticated: bool = False
    """It has a user. Roles imply it."""


ANYONE = Access()


@dataclass(frozen=True, slots=True)
class MessageMapping:
    """Handles a SEND to this path below an application prefix."""

    path: str
    inline: bool = False
    content_type: str | None = None
    """Of what it returns, made by the application's converter; None: as the value says."""
    access: Access = ANYONE


@dataclass(frozen=True, slots=True)
class SubscribeMapping:
    """Answers a SUBSCRIBE to this path below an application prefix, once."""

    path: str
    inline: bool = False
    content_type: str | None = None
    access: Access = ANYONE


@dataclass(frozen=True, slots=True)
class SnapshotMapping:
    """Gives what a subscriber of this broker destination gets first."""

    path: str
    inline: bool = False
    content_type: str | None = None
    access: Access = ANYONE


@dataclass(frozen=True, slots=True)
class Authorization:
    """Says who may SEND to the destinations of this pattern, or SUBSCRIBE to them."""

    path: str
    """The pattern: a destination with its prefix, with `{variables}`, `*` and a last `**`."""
    frames: tuple[Judged, ...] = ()
    """Which of `SEND` and `SUBSCRIBE`; empty: those that a client may use there at all."""
    access: Access = ANYONE
    """Asked before the function."""
    anyone: bool = False
    """Everybody may: there is no function, and none is missing."""
    inline: bool = False


@dataclass(frozen=True, slots=True)
class ExceptionMapping:
    """Handles these exceptions of handlers."""

    exceptions: tuple[type[Exception], ...]
    """Empty: what the annotation of the parameter names."""
    inline: bool = False
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class Listener:
    """Hears of these events."""

    events: tuple[type, ...]
    """Empty: what the annotation of the parameter names."""
    inline: bool = False
    path: str = ""
    """The pattern of the destinations they are about, as `Authorization` has it; empty: any."""


@dataclass(frozen=True, slots=True)
class Interceptor:
    """Sees what passes: a frame, a publication, a delivery, a handshake."""

    order: int = 0
    """Lower ones are asked first; of equal ones the one that was declared first."""
    inline: bool = False


@dataclass(frozen=True, slots=True)
class InboundInterceptor(Interceptor):
    """Sees frames of clients before anything judges them."""

    frames: tuple[Intercepted, ...] = ()
    """Empty: all but CONNECT."""


@dataclass(frozen=True, slots=True)
class OutboundInterceptor(Interceptor):
    """Sees everything that is published, before it is accepted."""


@dataclass(frozen=True, slots=True)
class DeliveryFilter(Interceptor):
    """Says which subscribers get what is published to the topics of this pattern."""

    path: str = ""


@dataclass(frozen=True, slots=True)
class HandshakeInterceptor(Interceptor):
    """Sees handshakes before they are answered."""


NAMES: Mapping[type, str] = {
    InboundInterceptor: "inbound_interceptor",
    OutboundInterceptor: "outbound_interceptor",
    DeliveryFilter: "delivery_filter",
    HandshakeInterceptor: "handshake_interceptor",
}
"""The decorators of interceptors."""
WRITES_NOTHING = (Authorization, Listener, Interceptor)
"""Marks of functions whose results are sent nowhere."""


@dataclass(frozen=True, slots=True)
class ReplyTo:
    """Where the returned value goes."""

    destinations: tuple[str, ...]
    """May hold variables of the mapping. Empty: the default destination."""
    user: bool = False
    """To the user, or the session, that sent."""
    broadcast: bool = True
    """To all sessions of that user."""


@dataclass(frozen=True, slots=True)
class Controller:
    """A class whose methods are handlers."""

    prefix: str
    """Comes before the paths of its mappings."""


@dataclass(frozen=True, slots=True)
class Advice:
    """A class whose exception handlers serve all controllers."""

    order: int
    """Lower ones are asked first."""


Mapped: TypeAlias = (
    MessageMapping
    | SubscribeMapping
    | SnapshotMapping
    | Authorization
    | ExceptionMapping
    | Listener
    | Interceptor
)
Mark: TypeAlias = Mapped | ReplyTo | Controller | Advice


@dataclass(frozen=True, slots=True)
class Declaration:
    """One mapping of one function, with all that was said about it."""

    function: Callable[..., Any]
    """What is called: of a controller, the bound method."""
    label: str
    """The mapping and the function, for errors and log lines."""
    mapping: Mapped
    """Its path is the whole one, with the controller's prefix."""
    replies: tuple[ReplyTo, ...] = ()
    """To users first; empty: nothing was said."""
    advice_order: int | None = None
    """The order of a `@controller_advice`; None: not from one."""
    owner: object | None = None
    """The controller or advice."""


def name_of(target: object) -> str:
    """How an error calls a function or a class."""
    name = getattr(target, "__qualname__", None)
    return name if isinstance(name, str) else repr(target)


def add_mark(target: Any, mark: Mark) -> None:
    """Record a mark.

    Raises:
        ConfigurationError: The object takes no attributes.
    """
    try:
        # Decorators apply from the bottom; marks stand as they are read, from the top.
        setattr(target, _MARKS, (mark, *_own_marks(target)))
    except (AttributeError, TypeError):
        raise ConfigurationError(
            f"{target!r} cannot be marked; decorate the function where it is defined, "
            f"or wrap it in one"
        ) from None


def _own_marks(target: Any) -> tuple[Mark, ...]:
    """Of a class, not those of its bases."""
    found = vars(target).get(_MARKS, ()) if isinstance(target, type) else marks_of(target)
    return cast("tuple[Mark, ...]", found)


def marks_of(target: Any) -> tuple[Mark, ...]:
    """The marks of a function or a class, from the top; of a class, the nearest of each kind."""
    if not isinstance(target, type):
        return cast("tuple[Mark, ...]", getattr(target, _MARKS, ()))
    found: list[Mark] = []
    for base in target.__mro__:
        known = {type(mark) for mark in found}
        found += [mark for mark in _own_marks(base) if type(mark) not in known]
    return tuple(found)

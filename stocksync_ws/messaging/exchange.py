"""What a declaration can say about a parameter, and what a call reads its arguments from.

Rule: plain data. Markers are read once, by `binding.py`; an `Exchange` lives as long as one call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar, cast

from stocksync_ws.messaging.hints import metadata

if TYPE_CHECKING:
    from stocksync_ws.broker.model.session import Session
    from stocksync_ws.stomp.frame import Frame

__all__ = [
    "CurrentUser",
    "DestinationVariable",
    "Exchange",
    "Header",
    "Payload",
    "Resolver",
    "Role",
    "UserMark",
    "mark_of",
]

T = TypeVar("T")


class UserMark:
    """The mark of a parameter that gets the session's user; see `CurrentUser`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "CurrentUser"


CurrentUser: TypeAlias = Annotated[T, UserMark()]
"""The type of a parameter that gets the session's user, as the authenticator returned it:
`user: CurrentUser[User]`, or `CurrentUser[User] | None` to serve anonymous sessions too.

A session whose user is no `User`, and without `| None` an anonymous one, gets `AccessDenied`: the
handler is not called. Nothing of the message ever fills it.
"""


class Payload:
    """Marks the parameter that takes the body: `user: Annotated[NewUser, Payload()]`.

    Needed where a parameter reads as the session's user, and is meant as what the sender wrote: one
    called `user` or `principal`, or of a class of the session's user. Any other parameter that
    nothing else claims is the payload without it.
    """

    __slots__ = ()


class Header:
    """Marks a parameter that takes a header: `trace: Annotated[str | None, Header("traceparent")]`.

    Without a name it is the parameter's, with `-` for `_`. Missing: the default, None for
    `... | None`, else a `ConversionError`.
    """

    __slots__ = ("name",)

    def __init__(self, name: str | None = None) -> None:
        self.name = name


class DestinationVariable:
    """Marks a parameter that takes a variable of the destination under another name."""

    __slots__ = ("name",)

    def __init__(self, name: str | None = None) -> None:
        self.name = name


_MARKS = (Header, DestinationVariable, Payload)


def mark_of(annotation: Any) -> object:
    """The first mark in an annotation, from the outside; None when there is none."""
    for item in metadata(annotation):
        if isinstance(item, type) and issubclass(item, _MARKS):
            return cast("Any", item)()
        if isinstance(item, (*_MARKS, UserMark)):
            return item
    return None


class Role(Enum):
    """What a function is declared as; decides which parameters it may have."""

    MESSAGE = "message"
    """Handles a SEND."""
    SUBSCRIBE = "subscribe"
    """Answers a SUBSCRIBE, which has no body."""
    RULE = "rule"
    """Judges a SEND or a SUBSCRIBE, whatever its body."""
    FRAME = "frame"
    """Looks at a frame before anything judges it."""
    ERROR = "error"
    """Handles an exception of one of the two above."""
    EVENT = "event"
    """Hears of an event."""
    CONNECT = "connect"
    """Authenticates: exactly one parameter, which is `Exchange.event`."""


_NO_ROLES: frozenset[str] = frozenset()


class Exchange:
    """What resolvers read. The slots that a role does not have are None."""

    __slots__ = ("error", "event", "frame", "roles", "session", "template", "variables")

    def __init__(
        self,
        *,
        session: Session | None = None,
        frame: Frame | None = None,
        variables: Mapping[str, str] | None = None,
        error: BaseException | None = None,
        event: object = None,
        template: Any = None,
    ) -> None:
        self.session = session
        self.frame = frame
        self.variables: Mapping[str, str] = variables if variables is not None else {}
        """The segments that stand for the variables of the mapping."""
        self.error = error
        self.event = event
        """The event, or the `ConnectRequest`."""
        self.template = template
        self.roles: frozenset[str] = _NO_ROLES
        """Those of the session's user."""


Resolver: TypeAlias = Callable[[Exchange], Any]
"""Gives one argument."""

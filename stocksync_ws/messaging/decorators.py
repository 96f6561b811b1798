"""The decorators, and what a function, a controller or a module declares with them.

Rule: a decorator only marks. It checks its own arguments at once, records one frozen mark and
returns the very function it was given, so a handler stays a plain function that tests and other
code call. Marks are read when the function is recorded, so ours may stand in any order; a foreign
decorator stands below ours, because what it returns is what is called.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Set
from typing import Any, TypeVar, cast

from stocksync_ws.broker.calls.events import Event
from stocksync_ws.errors import ConfigurationError, ConversionError
from stocksync_ws.messaging.access import access, authorization
from stocksync_ws.messaging.declarations import declarations
from stocksync_ws.messaging.hints import no_path
from stocksync_ws.messaging.marks import (
    NAMES,
    Advice,
    Authorization,
    Controller,
    Declaration,
    ExceptionMapping,
    Interceptor,
    Judged,
    Listener,
    Mapped,
    Mark,
    MessageMapping,
    ReplyTo,
    SnapshotMapping,
    SubscribeMapping,
    add_mark,
    marks_of,
    name_of,
)
from stocksync_ws.messaging.media import media_of
from stocksync_ws.messaging.modes import mode_of
from stocksync_ws.messaging.routing import Template

__all__ = [
    "Declaration",
    "ExceptionMapping",
    "Listener",
    "Mapped",
    "Mark",
    "MessageMapping",
    "ReplyTo",
    "SubscribeMapping",
    "authorize",
    "controller",
    "controller_advice",
    "declarations",
    "event_listener",
    "marks_of",
    "message_exception_handler",
    "message_mapping",
    "send_to",
    "send_to_user",
    "snapshot",
    "subscribe_mapping",
]

_log = logging.getLogger("stocksync_ws.handler")

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type)


def _marker(decorator: str, mark: Mark, inline: bool = False) -> Callable[[F], F]:
    """A decorator for functions."""

    def decorate(function: F) -> F:
        target: Any = function
        inner: Any = getattr(function, "__func__", function)
        if isinstance(target, type):
            raise ConfigurationError(
                f"@{decorator} is for functions and methods; {name_of(target)} is a class, "
                f"which takes @controller"
            )
        if not callable(target) and not isinstance(target, classmethod):
            raise ConfigurationError(f"@{decorator} is for functions, not for {target!r}")
        mode_of(inner, inline)
        add_mark(target, mark)
        return function

    return decorate


def _path(decorator: str, path: object) -> str:
    if not isinstance(path, str):
        raise ConfigurationError(no_path(decorator, "path", "/path", path))
    if path:
        Template(path)
    return path


def _media(decorator: str, content_type: object) -> str | None:
    if content_type is None:
        return None
    if isinstance(content_type, str) and content_type.isprintable():
        try:
            media_of(content_type)
        except ConversionError:
            pass
        else:
            return content_type
    raise ConfigurationError(
        f"@{decorator}: content_type is a text such as 'application/cbor', not {content_type!r}"
    )


def message_mapping(
    path: str,
    *,
    inline: bool = False,
    content_type: str | None = None,
    roles: Set[str] = frozenset(),
    authenticated: bool = False,
) -> Callable[[F], F]:
    """Handle SENDs to a path below the application prefix.

    Args:
        path: Such as `/inventory/{product_id}/adjust`; in a controller it follows the prefix, and
            may be empty.
        inline: Run a `def` that takes microseconds on the owner thread instead of the pool.
        content_type: Of what it returns, such as `application/cbor`, which the application has a
            `converter` for; None: text for `str`, octets for `bytes`, else JSON.
        roles: A sender needs one of them, else `AccessDenied`; none: no role is asked for.
        authenticated: An anonymous sender gets `AccessDenied`; roles imply it.

    Raises:
        ConfigurationError: The path or the content type is malformed, or an async function is
            declared inline.
    """
    mark = MessageMapping(
        _path("message_mapping", path),
        inline,
        _media("message_mapping", content_type),
        access("message_mapping", roles, authenticated),
    )
    return _marker("message_mapping", mark, inline)


def subscribe_mapping(
    path: str,
    *,
    inline: bool = False,
    content_type: str | None = None,
    roles: Set[str] = frozenset(),
    authenticated: bool = False,
) -> Callable[[F], F]:
    """Answer SUBSCRIBEs to a path below the application prefix, each once, to that subscription.

    Args:
        path: As for `message_mapping`.
        inline: As for `message_mapping`.
        content_type: As for `message_mapping`.
        roles: As for `message_mapping`.
        authenticated: As for `message_mapping`.

    Raises:
        ConfigurationError: As for `message_mapping`.
    """
    mark = SubscribeMapping(
        _path("subscribe_mapping", path),
        inline,
        _media("subscribe_mapping", content_type),
        access("subscribe_mapping", roles, authenticated),
    )
    return _marker("subscribe_mapping", mark, inline)


def snapshot(
    destination: str,
    *,
    inline: bool = False,
    content_type: str | None = None,
    roles: Set[str] = frozenset(),
    authenticated: bool = False,
) -> Callable[[F], F]:
    """Give each new subscriber of a broker destination its first MESSAGE (`snapshot:true`).

    The subscription is attached first; what is published meanwhile waits behind the snapshot.

    Args:
        destination: Such as `/topic/inventory/{region}`, with its broker prefix.
        inline: As for `message_mapping`.
        content_type: As for `message_mapping`.
        roles: As for `message_mapping`.
        authenticated: As for `message_mapping`.

    Raises:
        ConfigurationError: As for `message_mapping`.
    """
    mark = SnapshotMapping(
        _path("snapshot", destination),
        inline,
        _media("snapshot", content_type),
        access("snapshot", roles, authenticated),
    )
    return _marker("snapshot", mark, inline)


def authorize(
    destination: str,
    *,
    frames: tuple[Judged, ...] = (),
    roles: Set[str] = frozenset(),
    authenticated: bool = False,
    inline: bool = False,
) -> Callable[[F], F]:
    """Say who may SEND to destinations, or SUBSCRIBE to them: the function returns True or False,
    or raises `AccessDenied`. Of the rules that fit a destination the most specific one decides.

    Args:
        destination: A destination with its prefix: `/topic/room/{room}`, `/app/admin/**`. It may
            hold `{variables}`, `*` for one segment and a last `**` for any number.
        frames: `("SEND",)` or `("SUBSCRIBE",)`; none: whichever a client may use there at all.
        roles: Asked before the function: the user needs one of them.
        authenticated: Asked before the function: the session is not anonymous.
        inline: As for `message_mapping`.

    Raises:
        ConfigurationError: The pattern or a frame is malformed.
    """
    mark = authorization(destination, frames, roles, authenticated, inline=inline)
    marker = rule(mark)
    written = _Written(destination)

    def decorate(function: F) -> F:
        written.used = True
        return marker(function)

    return decorate


def rule(mark: Authorization) -> Callable[[F], F]:
    """The decorator for the function of a rule."""
    return _marker("authorize", mark, mark.inline)


def interceptor(mark: Interceptor) -> Callable[[F], F]:
    """The decorator for an interceptor."""
    return _marker(NAMES[type(mark)], mark, mark.inline)


class _Written:
    """Notices a rule that decorates nothing: it would be open what its author thinks is closed."""

    def __init__(self, destination: str) -> None:
        self.destination = destination
        self.used = False

    def __del__(self) -> None:
        if not self.used:
            _log.error(
                "authorize(%r) decorates no function, and is no rule: as a statement write"
                " ws.authorize(%r, ...) of the application",
                self.destination,
                self.destination,
            )


def _destinations(decorator: str, destinations: tuple[object, ...]) -> tuple[str, ...]:
    for given in destinations:
        if isinstance(given, (list, tuple)):
            shown = ", ".join(map(repr, cast("list[object]", given)))
            raise ConfigurationError(
                f"@{decorator}: a destination is a text, not {given!r}: write @{decorator}({shown})"
            )
    return tuple(_path(decorator, destination or None) for destination in destinations)


def send_to(*destinations: str) -> Callable[[F], F]:
    """Send the returned value to these destinations instead of the default, `/topic` + the path.

    On a class it is the default of its message mappings (of its exception handlers, for an advice).

    Args:
        destinations: Such as `/topic/inventory/{product_id}`; none: the default.

    Raises:
        ConfigurationError: A destination is malformed.
    """
    return _replier("send_to", ReplyTo(_destinations("send_to", destinations)))


def send_to_user(*destinations: str, broadcast: bool = True) -> Callable[[F], F]:
    """Send the returned value to the sender, below the user prefix.

    On a class it is a default, as `send_to`.

    Args:
        destinations: Such as `/queue/errors`; none: the default, `/queue` + the path.
        broadcast: To all sessions of the user; False: only to the session that sent.

    Raises:
        ConfigurationError: A destination is malformed.
    """
    checked = _destinations("send_to_user", destinations)
    return _replier("send_to_user", ReplyTo(checked, user=True, broadcast=broadcast))


def _replier(decorator: str, mark: ReplyTo) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        target: Any = function
        if not isinstance(target, type):
            return _marker(decorator, mark)(function)
        add_mark(target, mark)
        return function

    return decorate


def _classes(decorator: str, given: tuple[Any, ...], base: type) -> None:
    for item in given:
        if not isinstance(item, type):
            wanted = f"@{decorator}() with parentheses, when it names none"
            several: object = item
            if isinstance(item, base) and base is Exception:
                wanted = f"the class, @{decorator}({type(item).__name__})"
            elif isinstance(several, (list, tuple)):
                names = (name_of(each) for each in cast("list[Any]", several))
                wanted = f"@{decorator}({', '.join(names)})"
            elif isinstance(item, str):
                wanted = f"@{decorator}(SessionConnected) with the class"
            shown = f"{name_of(item)} itself" if callable(item) else repr(item)
            raise ConfigurationError(f"@{decorator} takes classes, not {shown}: write {wanted}")
        if not issubclass(item, base):
            raise ConfigurationError(
                f"@{decorator}: {name_of(item)} is not below {name_of(base)}: derive it from"
                f" {name_of(base)}, or name a class that is, such as ValueError"
            )


def message_exception_handler(
    *exceptions: type[Exception], inline: bool = False, content_type: str | None = None
) -> Callable[[F], F]:
    """Handle exceptions of the handlers of this controller; of all, in the app or an advice.

    Args:
        exceptions: The classes, with all below them; none: those of the parameter's annotation.
        inline: As for `message_mapping`.
        content_type: As for `message_mapping`.

    Raises:
        ConfigurationError: One is not an `Exception`, or an async function is declared inline.
    """
    _classes("message_exception_handler", exceptions, Exception)
    asked = _media("message_exception_handler", content_type)
    mark = ExceptionMapping(exceptions, inline, asked)
    return _marker("message_exception_handler", mark, inline)


def event_listener(*events: type[Event] | str, inline: bool = False) -> Callable[[F], F]:
    """Hear of events, after they happened; those of one session in order.

    Args:
        events: The classes; none: those of the parameter's annotation. Behind them may stand a
            pattern, `"/topic/room/{room}"`: then only events about such destinations are heard, and
            parameters get its variables. It may hold `*` for a segment, and a last `**`.
        inline: As for `message_mapping`.

    Raises:
        ConfigurationError: One is not a class, the pattern is malformed or not last, or an async
            function is declared inline.
    """
    return _marker("event_listener", _listener(events, inline), inline)


def _listener(given: tuple[type[Event] | str, ...], inline: bool) -> Listener:
    events: tuple[Any, ...] = given
    path = ""
    if events and isinstance(events[-1], str) and events[-1].startswith("/"):
        path, events = events[-1], events[:-1]
        Template(path, wildcards=True)
    for each in events:
        if isinstance(each, str) and each.startswith("/"):
            raise ConfigurationError(
                f"@event_listener takes one pattern, behind the classes: {each!r} is not last; for"
                f" two patterns decorate the function twice"
            )
    _classes("event_listener", events, object)
    return Listener(events, inline, path)


def controller(prefix: str = "") -> Callable[[C], C]:
    """Mark a class whose methods are handlers; an instance of it goes to `include`.

    Args:
        prefix: Comes before the paths of its mappings; may hold variables.

    Raises:
        ConfigurationError: The prefix is malformed.
    """
    return _class_marker("controller", Controller(_path("controller", prefix)))


def controller_advice(order: int = 0) -> Callable[[C], C]:
    """Mark a class whose exception handlers serve all controllers.

    Args:
        order: Lower ones are asked first.

    Raises:
        ConfigurationError: The order is no int.
    """
    given: object = order
    if type(given) is not int:
        raise ConfigurationError(
            "@controller_advice takes an int: write @controller_advice() with parentheses"
        )
    return _class_marker("controller_advice", Advice(order))


def _class_marker(decorator: str, mark: Mark) -> Callable[[C], C]:
    def decorate(cls: C) -> C:
        target: Any = cls
        if not isinstance(target, type):
            raise ConfigurationError(f"@{decorator} is for classes, not for {target!r}")
        add_mark(cls, mark)
        return cls

    return decorate

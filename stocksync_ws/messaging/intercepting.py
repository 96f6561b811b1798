"""The decorators of interceptors: free ones for controllers and modules, and an application's.

Rule: a decorator only marks, as in `decorators.py`; what does not fit is refused where it is
written. Outbound interceptors and delivery filters are asked in the middle of a step, which waits
for nobody: an async function is refused.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar, cast, get_args

from stocksync_ws.checks import foreign_wildcard
from stocksync_ws.errors import ConfigurationError
from stocksync_ws.messaging import decorators
from stocksync_ws.messaging.hints import no_path
from stocksync_ws.messaging.marks import (
    NAMES,
    DeliveryFilter,
    HandshakeInterceptor,
    InboundInterceptor,
    Intercepted,
    Interceptor,
    OutboundInterceptor,
    name_of,
)
from stocksync_ws.messaging.routing import Template

__all__ = [
    "Intercepting",
    "delivery_filter",
    "handshake_interceptor",
    "inbound_interceptor",
    "outbound_interceptor",
]

F = TypeVar("F", bound=Callable[..., Any])


def inbound_interceptor(
    order: int = 0, *, frames: tuple[Intercepted, ...] = (), inline: bool = False
) -> Callable[[F], F]:
    """See frames of clients before settings, rules and handlers do.

    Args:
        order: Lower ones are asked first; of equal ones the one that was declared first.
        frames: `("SEND", "SUBSCRIBE")`; none: all but CONNECT.
        inline: Run a `def` that takes microseconds on the owner thread instead of the pool.

    Raises:
        ConfigurationError: The order is no int, or a frame is none.
    """
    checked = _order("inbound_interceptor", order)
    return decorators.interceptor(InboundInterceptor(checked, inline, _frames(frames)))


def outbound_interceptor(order: int = 0) -> Callable[[F], F]:
    """See everything that is published, once, before it is accepted.

    Args:
        order: As for `inbound_interceptor`.

    Raises:
        ConfigurationError: The order is no int, or the function is async.
    """
    return _sync(OutboundInterceptor(_order("outbound_interceptor", order), inline=True))


def delivery_filter(destination: str, *, order: int = 0) -> Callable[[F], F]:
    """Say for each subscriber whether it gets what is published to a topic. With a backplane it is
    asked at the worker of the subscriber.

    Args:
        destination: A topic, or one below the user prefix; it may hold `{variables}`, `*` for one
            segment and a last `**` for any number.
        order: As for `inbound_interceptor`.

    Raises:
        ConfigurationError: The pattern is malformed, the order is no int, or the function is async.
    """
    checked = _order("delivery_filter", order)
    return _sync(DeliveryFilter(checked, inline=True, path=_pattern(destination)))


def handshake_interceptor(order: int = 0, *, inline: bool = False) -> Callable[[F], F]:
    """See handshakes before they are answered.

    Args:
        order: As for `inbound_interceptor`.
        inline: As for `inbound_interceptor`.

    Raises:
        ConfigurationError: The order is no int.
    """
    checked = _order("handshake_interceptor", order)
    return decorators.interceptor(HandshakeInterceptor(checked, inline))


def _order(decorator: str, order: object) -> int:
    if type(order) is int:
        return order
    if callable(order):
        raise ConfigurationError(
            f"@{decorator} is given {name_of(order)} itself: write @{decorator}() with parentheses"
        )
    raise ConfigurationError(f"@{decorator}: order must be an int, not {order!r}: write order=10")


def _frames(frames: object) -> tuple[Intercepted, ...]:
    known = get_args(Intercepted)
    if not isinstance(frames, tuple):
        wanted = (frames,) if frames in known else ("SEND", "SUBSCRIBE")
        raise ConfigurationError(
            f"@inbound_interceptor: frames must be a tuple, not {frames!r}: write frames={wanted!r}"
        )
    given = cast("tuple[Intercepted, ...]", frames)
    for frame in given:
        if frame not in known:
            raise ConfigurationError(
                f"@inbound_interceptor: {frame!r} is no frame of a client: write some of"
                f" {', '.join(known)}"
            )
    return tuple(dict.fromkeys(given))


def _pattern(destination: object) -> str:
    if not isinstance(destination, str):
        raise ConfigurationError(
            no_path("delivery_filter", "destination", "/topic/room/{room}", destination)
        )
    Template(destination, wildcards=True)
    if problem := foreign_wildcard(destination):
        raise ConfigurationError(f"@delivery_filter({destination!r}): {problem}")
    return destination


def _sync(mark: Interceptor) -> Callable[[F], F]:
    marker = decorators.interceptor(mark)

    def decorate(function: F) -> F:
        inner: Any = getattr(function, "__func__", function)
        if inspect.iscoroutinefunction(inner):
            raise ConfigurationError(
                f"{name_of(inner)} is async, and @{NAMES[type(mark)]} is asked in the middle of a"
                f" publication, which waits for nobody: make it a `def` that takes microseconds"
            )
        return marker(function)

    return decorate


class Intercepting(ABC):
    """The interceptors that an application declares."""

    @abstractmethod
    def _record(self, mark: Callable[[F], F]) -> Callable[[F], F]:
        """Record a function of the application's own, with one mark."""

    def inbound_interceptor(
        self, order: int = 0, *, frames: tuple[Intercepted, ...] = (), inline: bool = False
    ) -> Callable[[F], F]:
        """See frames of clients before settings, rules and handlers do.

        The function, sync or async, takes what a handler takes, but no payload: `frame: Frame`,
        `session: Session`, headers, the user. None lets the frame go on as it is,
        `frame.replace(...)` changes it, `AccessDenied` refuses it: a SEND with `send-denied`, a
        SUBSCRIBE with `subscribe-denied`, a CONNECT with `connect-refused`; no other frame can be
        refused. What it returns is judged as what the client sent. In a transaction it is asked
        when the frame comes.

        Args:
            order: Lower ones are asked first; of equal ones the one that was declared first.
            frames: `("SEND", "SUBSCRIBE")`; none: all but CONNECT, which has no session and no user
                yet.
            inline: As for `message_mapping`.

        Raises:
            ConfigurationError: The order is no int, a frame is none, or the function cannot be
                called.
        """
        return self._record(inbound_interceptor(order, frames=frames, inline=inline))

    def outbound_interceptor(self, order: int = 0) -> Callable[[F], F]:
        """See everything that is published, once, before it is accepted.

        The function is a `def` that takes microseconds, and gets an `OutboundMessage`. None lets it
        go on as it is, `message.replace(...)` changes it, `AccessDenied` refuses it: a client's
        SEND gets `send-denied`, `publish` raises it, and `convert_and_send` and dead letters are
        dropped, with `MessageDropped`. Anything else that it raises is an `InterceptorFailed` for
        this message alone. What it publishes itself comes behind.

        Args:
            order: As for `inbound_interceptor`.

        Raises:
            ConfigurationError: The order is no int, or the function is async or does not take one
                argument.
        """
        return self._record(outbound_interceptor(order))

    def delivery_filter(self, destination: str, *, order: int = 0) -> Callable[[F], F]:
        """Say for each subscriber whether it gets what is published to a topic.

        The function is a `def` that takes microseconds: `(session, message)` and, by their names,
        variables of the destination; it returns True or False. Every filter that fits a topic must
        let a message pass. It is asked when a message is published, and again for what is read from
        a history or redelivered; not for snapshots, answers and error replies. One that fails
        withholds the message from that subscriber.

        Args:
            destination: A topic, or one below the user prefix; it may hold `{variables}`, `*` for
                one segment and a last `**` for any number. Queues have no filters: their messages
                go to one consumer.
            order: As for `inbound_interceptor`.

        Raises:
            ConfigurationError: The pattern is malformed or is for no topic, the order is no int, or
                the function is async or does not take these arguments.
        """
        return self._record(delivery_filter(destination, order=order))

    def handshake_interceptor(self, order: int = 0, *, inline: bool = False) -> Callable[[F], F]:
        """See handshakes before they are answered.

        The function, sync or async, gets the `HttpRequest`. None lets it go on, a mapping puts
        what it holds into `session.attributes`, a `Refusal` answers with its status and text, and
        `AccessDenied` with 403.

        Args:
            order: As for `inbound_interceptor`.
            inline: As for `message_mapping`.

        Raises:
            ConfigurationError: The order is no int, or the function does not take one argument.
        """
        return self._record(handshake_interceptor(order, inline=inline))

"""The decorators of an application: what is declared with it, as methods.

Rule: a declaration is recorded here and judged by `application.py`. The free decorators of
`decorators.py` make the same marks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Set
from typing import Any, TypeVar

from stocksync_ws.broker.calls.events import Event
from stocksync_ws.errors import ConfigurationError
from stocksync_ws.messaging import decorators
from stocksync_ws.messaging.access import authorization
from stocksync_ws.messaging.converters import Converters
from stocksync_ws.messaging.intercepting import Intercepting
from stocksync_ws.messaging.marks import Authorization, Declaration, Judged, Mark

__all__ = ["Declaring"]

F = TypeVar("F", bound=Callable[..., Any])


class Declaring(Intercepting, ABC):
    """Declarations of an application, until it freezes."""

    def __init__(self) -> None:
        self._converters = Converters()
        self._targets: list[tuple[object, Mark | None]] = []
        """With the mark that was made here; None: all of them."""
        self._rules: list[Authorization] = []
        """Rules without a function."""

    @abstractmethod
    def _record(self, mark: Callable[[F], F]) -> Callable[[F], F]:
        """Record a function of the application's own, with one mark."""

    @abstractmethod
    def _changeable(self) -> None:
        """Refuse what comes after the start."""

    @abstractmethod
    def _check_early(self, declaration: Declaration) -> None:
        """Errors that can be seen already are raised where the declaration is written."""

    def message_mapping(
        self,
        path: str,
        *,
        inline: bool = False,
        content_type: str | None = None,
        roles: Set[str] = frozenset(),
        authenticated: bool = False,
    ) -> Callable[[F], F]:
        """Handle SENDs to a path below the application prefix: `/inventory/{product_id}/adjust`.

        A returned value goes to `/topic` + the path, or where `@send_to` and `@send_to_user` say;
        None sends nothing.

        Args:
            path: With `{variables}` for whole segments.
            inline: Run a `def` that takes microseconds on the owner thread instead of the pool.
            content_type: Of the returned value, such as `application/cbor`, which there is a
                `converter` for; None: text for `str`, octets for `bytes`, else JSON.
            roles: A sender needs one of them, else `AccessDenied`; none: no role is asked for.
            authenticated: An anonymous sender gets `AccessDenied`; roles imply it.

        Raises:
            ConfigurationError: The declaration cannot work; the text says how to mend it.
        """
        return self._record(
            decorators.message_mapping(
                path,
                inline=inline,
                content_type=content_type,
                roles=roles,
                authenticated=authenticated,
            )
        )

    def subscribe_mapping(
        self,
        path: str,
        *,
        inline: bool = False,
        content_type: str | None = None,
        roles: Set[str] = frozenset(),
        authenticated: bool = False,
    ) -> Callable[[F], F]:
        """Answer SUBSCRIBEs to a path below the application prefix, each with one MESSAGE.

        Args and Raises as for `message_mapping`.
        """
        return self._record(
            decorators.subscribe_mapping(
                path,
                inline=inline,
                content_type=content_type,
                roles=roles,
                authenticated=authenticated,
            )
        )

    def snapshot(
        self,
        destination: str,
        *,
        inline: bool = False,
        content_type: str | None = None,
        roles: Set[str] = frozenset(),
        authenticated: bool = False,
    ) -> Callable[[F], F]:
        """Give each new subscriber of a broker destination its first MESSAGE.

        The subscription is attached first; what is published while the function runs waits behind
        the snapshot. If the function fails, the subscription does not exist. With a backplane it is
        asked at the worker of the subscriber.

        Args:
            destination: With its broker prefix, and `{variables}` for whole segments.
            inline: As for `message_mapping`.
            content_type: As for `message_mapping`.
            roles: As for `message_mapping`.
            authenticated: As for `message_mapping`.

        Raises:
            ConfigurationError: The declaration cannot work.
        """
        return self._record(
            decorators.snapshot(
                destination,
                inline=inline,
                content_type=content_type,
                roles=roles,
                authenticated=authenticated,
            )
        )

    def authorize(
        self,
        destination: str,
        *,
        frames: tuple[Judged, ...] = (),
        roles: Set[str] = frozenset(),
        authenticated: bool = False,
        anyone: bool = False,
        inline: bool = False,
    ) -> Callable[[F], F]:
        """Say who may SEND to destinations, or SUBSCRIBE to them: as a decorator, or without a
        function as a statement, `ws.authorize("/topic/admin/**", roles={"admin"})`.

        The function returns True or False, or raises `AccessDenied`; it takes what a handler takes,
        but no payload. Of the rules that fit a destination the most specific one decides alone:
        from the left a literal segment wins over `{x}` and `*`, these win over `**`. What a rule
        said of a destination holds for the session, unless its function takes a header or the
        frame. `client_send` and `client_subscribe` are asked before.

        Args:
            destination: A destination with its prefix: `/topic/room/{room}`, `/app/admin/**`. It
                may hold `{variables}`, `*` for one segment and a last `**` for any number.
            frames: `("SEND",)` or `("SUBSCRIBE",)`; none: whichever a client may use there at all.
            roles: The user needs one of them; asked before the function.
            authenticated: The session is not anonymous; asked before the function.
            anyone: Everybody may, where `default_access="deny"` or a wider rule would refuse.
            inline: As for `message_mapping`.

        Raises:
            ConfigurationError: The pattern, a frame or a role is malformed.
        """
        rule = authorization(
            destination, frames, roles, authenticated, anyone=anyone, inline=inline
        )
        self._changeable()
        self._rules.append(rule)
        record = self._record(decorators.rule(rule))

        def decorate(function: F) -> F:
            if anyone:
                raise ConfigurationError(
                    f"@authorize({destination!r}): anyone=True asks no function; leave one of the"
                    f" two out"
                )
            self._rules[:] = [each for each in self._rules if each is not rule]
            return record(function)

        return decorate

    def message_exception_handler(
        self, *exceptions: type[Exception], inline: bool = False, content_type: str | None = None
    ) -> Callable[[F], F]:
        """Map exceptions of handlers to a reply: by default to the sender's error destination.

        Args:
            exceptions: The classes; none: those of the parameter's annotation.
            inline: As for `message_mapping`.
            content_type: As for `message_mapping`.

        Raises:
            ConfigurationError: The declaration cannot work.
        """
        return self._record(
            decorators.message_exception_handler(
                *exceptions, inline=inline, content_type=content_type
            )
        )

    def event_listener(self, *events: type[Event] | str, inline: bool = False) -> Callable[[F], F]:
        """Hear of session events, in order per session; with a backplane of this worker's sessions.

        Args:
            events: The classes; none: those of the parameter's annotation. Behind them may stand a
                pattern, `"/topic/room/{room}"`: then only events about such destinations are heard,
                and parameters get its variables. It may hold `*` for a segment, and a last `**`.
            inline: As for `message_mapping`.

        Raises:
            ConfigurationError: The declaration cannot work.
        """
        return self._record(decorators.event_listener(*events, inline=inline))

    def converter(
        self,
        content_type: str,
        *,
        encode: Callable[[Any], bytes],
        decode: Callable[[bytes, Any], Any],
    ) -> None:
        """Read and write bodies of a content type that is not JSON, text or octets.

        It reads the body of a SEND that says so for a payload parameter, unless that is `bytes`. It
        writes what a handler returns whose decorator says `content_type=`, and what is published
        with such a `content-type` header, unless that is `bytes` already. Case and parameters of a
        content type make no difference.

        Args:
            content_type: Such as `application/cbor`, without parameters.
            encode: Gives the `bytes` of a payload; called in any thread.
            decode: Gives the value of a parameter, of a body and the declared type (`Any` where
                none is); called on the owner thread, so it must not block. What either of them
                raises becomes the cause of a `ConversionError`.

        Raises:
            ConfigurationError: The content type has a converter already, or is JSON, text or
                octets, whose rules stay; or the application has started.
        """
        self._changeable()
        self._converters.add(content_type, encode, decode)

    def include(self, *targets: object) -> None:
        """Record controllers, advices (as instances), marked functions, or whole modules.

        Raises:
            ConfigurationError: One declares nothing or cannot work, or the application has started.
        """
        for target in targets:
            self._changeable()
            for declaration in decorators.declarations(target):
                self._check_early(declaration)
            self._targets.append((target, None))

"""The application: settings, what was declared, and the template. Knows no driver and no adapter.

Rule: a declaration is checked when it is recorded, as far as its names resolve, and completely when
the application freezes: by `check()`, or at the first use. After that nothing more can be declared.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Set
from types import FunctionType
from typing import Any, TypeVar

from stocksync_ws.broker.calls.events import Event
from stocksync_ws.broker.model.namespace import Kind, Namespace
from stocksync_ws.broker.model.session import Session
from stocksync_ws.config import BrokerConfig
from stocksync_ws.errors import ConfigurationError
from stocksync_ws.messaging import decorators
from stocksync_ws.messaging.access import authorization
from stocksync_ws.messaging.connect import Authenticate, Authenticator, RoleReader, RolesOf
from stocksync_ws.messaging.converters import Converters
from stocksync_ws.messaging.dispatch import Dispatcher
from stocksync_ws.messaging.marks import (
    Authorization,
    Declaration,
    Judged,
    Listener,
    Mark,
    MessageMapping,
    SnapshotMapping,
    SubscribeMapping,
)
from stocksync_ws.messaging.rights import Default, Rights, Rule, check_roles
from stocksync_ws.messaging.routes import Framework, Routes, check_places, compile_handler
from stocksync_ws.messaging.routing import Template
from stocksync_ws.messaging.scalars import INTEGER_BITS, check_bits
from stocksync_ws.messaging.template import Gate, MessagingTemplate
from stocksync_ws.stomp.frame import Frame

__all__ = ["Application"]

_log = logging.getLogger("stocksync_ws.handler")

F = TypeVar("F", bound=Callable[..., Any])

_FRAMEWORK: Framework = {
    Session: lambda exchange: exchange.session,
    Frame: lambda exchange: exchange.frame,
    MessagingTemplate: lambda exchange: exchange.template,
}
"""What a parameter gets by its annotation alone."""


class Application:
    """What `StompApp` is without its entry points.

    Args:
        config: Prefixes, permissions, beats and limits.
        gate: Where the template's messages enter.
        authenticator: Who a CONNECT is; None: everybody is anonymous.
        json_integers: Bits of an integer that a client may give; None: any.
        roles: Tells the roles of a user; None: nobody has any.
        default_access: What holds where no rule does.
    """

    def __init__(
        self,
        config: BrokerConfig,
        gate: Gate,
        authenticator: Authenticate | None = None,
        json_integers: int | None = INTEGER_BITS,
        roles: RolesOf | None = None,
        default_access: Default = "allow",
    ) -> None:
        self.config = config
        self._converters = Converters()
        self.template = MessagingTemplate(gate, config, self._converters)
        """Sends messages from anywhere, in any thread."""
        self._space = Namespace(config)
        self._bits = check_bits("json_integers", json_integers)
        self._targets: list[tuple[object, Mark | None]] = []
        """With the mark that was made here; None: all of them."""
        self._routes: Routes | None = None
        self._rules: list[Authorization] = []
        """Those without a function."""
        self._authenticator = None if authenticator is None else Authenticator(authenticator)
        self._roles = None if roles is None else RoleReader(roles)
        if roles is not None and authenticator is None:
            raise ConfigurationError(
                "roles: there is no authenticator, so nobody has a name or a role: add"
                " authenticator="
            )
        if default_access not in ("allow", "deny"):
            raise ConfigurationError(
                f"default_access: must be 'allow' or 'deny', not {default_access!r}"
            )
        self._default_access: Default = default_access
        self.dispatch = Dispatcher(
            config, self._frozen, self._authenticator, self.template, self._roles
        )
        """The pipelines, as the broker asks for them."""

    # Declaring

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
        the snapshot. If the function fails, the subscription does not exist.

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

    def event_listener(self, *events: type[Event], inline: bool = False) -> Callable[[F], F]:
        """Hear of session events, in order per session.

        Args:
            events: The classes; none: those of the parameter's annotation.
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

    def _record(self, mark: Callable[[F], F]) -> Callable[[F], F]:
        def decorate(function: F) -> F:
            self._changeable()
            _check_free(function)
            marked = mark(function)
            own = decorators.marks_of(marked)[0]
            for declaration in _only(decorators.declarations(marked), own):
                self._check_early(declaration)
            self._targets.append((marked, own))
            return marked

        return decorate

    def _changeable(self) -> None:
        if self._routes is not None:
            raise ConfigurationError(
                "the application has started: declare its handlers before serve() or check()"
            )

    def _check_early(self, declaration: Declaration) -> None:
        """Errors that can be seen already are raised where the declaration is written."""
        mapping = declaration.mapping
        if isinstance(mapping, (MessageMapping, SubscribeMapping)):
            self._check_path(declaration.label, mapping)
        check_places(declaration, self._space)
        users = self._users(final=False)
        if users is None and self._authenticator is not None:
            return  # Which parameters are the user is not known yet.
        if isinstance(mapping, Authorization):
            names = Template(mapping.path, wildcards=True).names
            compile_handler(declaration, names, _FRAMEWORK, users, self._bits, final=False)
        elif isinstance(mapping, (MessageMapping, SubscribeMapping, SnapshotMapping)):
            names = Template(mapping.path).names
            self._compile_early(declaration, names, users)
        elif isinstance(mapping, Listener):
            self._compile_early(declaration, (), users)

    def _compile_early(
        self, declaration: Declaration, names: tuple[str, ...], users: tuple[type, ...] | None
    ) -> None:
        compile_handler(
            declaration, names, _FRAMEWORK, users, self._bits, self._converters, final=False
        )

    def _users(self, *, final: bool) -> tuple[type, ...] | None:
        """The classes of the application's users; None when there are none, or they are not known
        yet.
        """
        return None if self._authenticator is None else self._authenticator.users(final=final)

    def _check_path(self, label: str, mapping: MessageMapping | SubscribeMapping) -> None:
        path = mapping.path
        for prefix in self.config.application_prefixes:
            if (path + "/").startswith(prefix + "/"):
                raise ConfigurationError(
                    f"{label}: paths begin behind the application prefix {prefix!r}, and clients"
                    f" would have to send to {prefix + path!r}; write"
                    f" {path[len(prefix) :] or '/'!r}"
                )
        kind, rest = self._space.classify(path)
        if kind is not Kind.NOWHERE:
            # No error: `/app/topic/7/rename` may be about the topics of a forum.
            wanted = f"@message_mapping({rest!r})"
            if isinstance(mapping, SubscribeMapping):
                wanted = f"@snapshot({path!r}) to answer a SUBSCRIBE to that"
            prefixes = self.config.application_prefixes
            _log.warning(
                "%s: clients reach it at %s, while %r goes to the broker and to no handler;"
                " write %s",
                label,
                " or ".join(repr(prefix + path) for prefix in prefixes) or "no destination",
                path,
                wanted,
            )

    # Freezing

    def check(self) -> None:
        """Check every declaration completely, and freeze.

        Raises:
            ConfigurationError: One cannot work; the text says how to mend it.
        """
        self._frozen()

    def _frozen(self) -> Routes:
        if self._routes is None:
            found: list[Declaration] = []
            for target, own in self._targets:
                declared = decorators.declarations(target)
                found += declared if own is None else _only(declared, own)
            users = self._users(final=True)
            routes = Routes(found, _FRAMEWORK, self._space, users, self._bits, self._converters)
            rules = [Rule(mark, None) for mark in self._rules]
            rules += [Rule(mark, handler) for mark, handler in routes.authorizers]
            if self._roles is None:
                check_roles(rules, found)
            if rules or self._default_access == "deny":
                routes.rights = Rights(rules, self._space, self._default_access)
            self._routes = routes
        return self._routes


def _check_free(function: object) -> None:
    """Refuse a method: while its class is written, there is no instance to call it on."""
    qualified = str(getattr(function, "__qualname__", ""))
    owner, _, name = qualified.rpartition(".")
    if not isinstance(function, FunctionType) or not owner or owner.endswith("<locals>"):
        return
    if next(iter(inspect.signature(function).parameters), None) not in ("self", "cls"):
        return
    cls = owner.rpartition(".")[2]
    raise ConfigurationError(
        f"{qualified} is a method, and the application's own decorators are for functions: in a"
        f" class write those of stocksync_ws (`from stocksync_ws import controller,"
        f" message_mapping`), put @controller() on the class, and give an instance to the"
        f" application: include({cls}(...)) instead of decorating {name}"
    )


def _only(declared: list[Declaration], own: object) -> list[Declaration]:
    """Of a function that carries marks of several applications, those of this one."""
    return [each for each in declared if each.mapping == own][:1]

"""The application: settings, what was declared, and the template. Knows no driver and no adapter.

Rule: a declaration is checked when it is recorded, as far as its names resolve, and completely when
the application freezes: by `check()`, or at the first use. After that nothing more can be declared.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar

from stocksync_ws.broker.model.namespace import Kind, Namespace
from stocksync_ws.broker.model.pipeline import Mode
from stocksync_ws.broker.model.session import Session
from stocksync_ws.config import BrokerConfig
from stocksync_ws.errors import ConfigurationError
from stocksync_ws.messaging import decorators
from stocksync_ws.messaging.declarations import check_imported_rules
from stocksync_ws.messaging.declaring import Declaring
from stocksync_ws.messaging.dispatch import Dispatcher
from stocksync_ws.messaging.identity import Identity
from stocksync_ws.messaging.interceptors import Interceptors, check_interceptor
from stocksync_ws.messaging.listening import pattern_of
from stocksync_ws.messaging.marks import (
    Authorization,
    Declaration,
    Interceptor,
    Listener,
    MessageMapping,
    SnapshotMapping,
    SubscribeMapping,
)
from stocksync_ws.messaging.modes import mode_of
from stocksync_ws.messaging.rights import Default, Rights, Rule, check_roles
from stocksync_ws.messaging.routes import Framework, Routes, check_places, compile_handler
from stocksync_ws.messaging.routing import Template
from stocksync_ws.messaging.scalars import INTEGER_BITS, check_bits
from stocksync_ws.messaging.template import Gate, MessagingTemplate
from stocksync_ws.stomp.frame import SUBSCRIBE, Frame

__all__ = ["Application"]

_log = logging.getLogger("stocksync_ws.handler")

F = TypeVar("F", bound=Callable[..., Any])

_FRAMEWORK: Framework = {
    Session: lambda exchange: exchange.session,
    Frame: lambda exchange: exchange.frame,
    MessagingTemplate: lambda exchange: exchange.template,
}
"""What a parameter gets by its annotation alone."""


class Application(Declaring):
    """What `StompApp` is without its entry points.

    Args:
        config: Prefixes, permissions, beats and limits.
        gate: Where the template's messages enter.
        identity: Who a client is; None: everybody is anonymous.
        json_integers: Bits of an integer that a client may give; None: any.
        default_access: What holds where no rule does.
    """

    def __init__(
        self,
        config: BrokerConfig,
        gate: Gate,
        identity: Identity | None = None,
        json_integers: int | None = INTEGER_BITS,
        default_access: Default = "allow",
    ) -> None:
        super().__init__()
        self.config = config
        self.template = MessagingTemplate(gate, config, self._converters)
        """Sends messages from anywhere, in any thread."""
        self._space = Namespace(config)
        self._bits = check_bits("json_integers", json_integers)
        self._routes: Routes | None = None
        self._identity = identity or Identity()
        if config.sessions_per_user is not None and not self._identity.known:
            raise ConfigurationError(
                "sessions_per_user: there is no authenticator, so every session is anonymous and"
                " none is counted: add authenticator= or handshake_authenticator="
            )
        if config.user_rate is not None and not self._identity.known:
            raise ConfigurationError(
                "user_rate: there is no authenticator, so every session is anonymous and none is"
                " bounded: add authenticator= or handshake_authenticator=, or write session_rate="
            )
        if default_access not in ("allow", "deny"):
            raise ConfigurationError(
                f"default_access: must be 'allow' or 'deny', not {default_access!r}"
            )
        self._default_access: Default = default_access
        for pattern in config.presence:
            if not self._space.lets_through(SUBSCRIBE, pattern):
                raise ConfigurationError(
                    f"presence: nobody is ever in {pattern!r}, which no client may SUBSCRIBE to:"
                    f" open it with client_subscribe=[{pattern!r}], or leave it out"
                )
        self.dispatch = Dispatcher(config, self._frozen, self._identity, self.template)
        """The pipelines, as the broker asks for them."""

    # Recording

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
        if users is None and self._identity.known:
            return  # Which parameters are the user is not known yet.
        if isinstance(mapping, Interceptor):
            check_interceptor(declaration, _FRAMEWORK, self._space, users, self._bits, final=False)
        elif isinstance(mapping, Authorization):
            names = Template(mapping.path, wildcards=True).names
            compile_handler(declaration, names, _FRAMEWORK, users, self._bits, final=False)
        elif isinstance(mapping, (MessageMapping, SubscribeMapping, SnapshotMapping)):
            names = Template(mapping.path).names
            self._compile_early(declaration, names, users)
        elif isinstance(mapping, Listener):
            template = pattern_of(mapping)
            self._compile_early(declaration, template.names if template else (), users)

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
        return self._identity.users(final=final)

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
            for target, _ in self._targets:
                check_imported_rules(target, found)
            users = self._users(final=True)
            passing = [each for each in found if isinstance(each.mapping, Interceptor)]
            handlers = [each for each in found if not isinstance(each.mapping, Interceptor)]
            routes = Routes(handlers, _FRAMEWORK, self._space, users, self._bits, self._converters)
            modes = [mode_of(each.function, each.mapping.inline) for each in found]
            routes.needs_threads = Mode.POOL in modes
            if passing:
                most = self.config.limits.max_outbound_message
                routes.interceptors = Interceptors(
                    passing, _FRAMEWORK, self._space, users, self._bits, most
                )
            rules = [Rule(mark, None) for mark in self._rules]
            rules += [Rule(mark, handler) for mark, handler in routes.authorizers]
            if not self._identity.has_roles:
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

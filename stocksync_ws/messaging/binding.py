"""From a function and its place to the arguments of each call.

Rule: everything about a parameter is decided when the function is declared: a `Plan` is a row of
resolvers, and a message only runs them. A declaration that cannot work is refused with its file,
its line, its signature, the parameter and what would mend it; an annotation whose name does not
exist yet may come later (`final=False`), but not after the application has started.

What a parameter gets, in this order:

    1. `Annotated[..., Header()]`, `Annotated[..., DestinationVariable()]`
    2. a framework type by its annotation (session, template, frame ...), given by the application
    3. `Principal`, or a class derived from it
    4. ERROR: the exception; EVENT: the event; CONNECT: the request
    5. a variable of the template by its name
    6. `headers: Mapping[str, str]`: all headers
    7. MESSAGE: the one that is left is the payload
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType, NoneType
from typing import Annotated, Any, cast, get_args, get_origin

from stocksync_ws.broker.model.pipeline import Mode
from stocksync_ws.errors import AccessDenied, ConfigurationError, ConversionError
from stocksync_ws.messaging.convert import decoder_for
from stocksync_ws.messaging.exchange import (
    DestinationVariable,
    Exchange,
    Header,
    Resolver,
    Role,
)
from stocksync_ws.messaging.hints import (
    UnresolvedName,
    members,
    plain,
    resolve,
    scope_of,
    signature_of,
    type_name,
    where,
)
from stocksync_ws.messaging.scalars import Mismatch, text_reader
from stocksync_ws.types import Principal

__all__ = ["DestinationVariable", "Exchange", "Header", "Plan", "Role", "mode_of", "plan"]

_ABSENT: Any = inspect.Parameter.empty


class Plan:
    """How one function is called."""

    __slots__ = ("_guards", "_keywords", "_positional", "accepts")

    def __init__(self, built: _Builder) -> None:
        self._positional = built.positional
        self._keywords = built.keywords
        self._guards = built.guards
        self.accepts: tuple[type, ...] = built.accepts
        """ERROR, EVENT: the classes that the annotation of the exception or event names."""

    def bind(self, exchange: Exchange) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of one call. Who the user is, is asked before the body is looked at.

        Raises:
            AccessDenied: A principal is required and the session is anonymous.
            ConversionError: A header is missing, or a header, a variable or the body does not fit.
        """
        for guard in self._guards:
            guard(exchange)
        positional = tuple([resolver(exchange) for resolver in self._positional])
        keywords = {name: resolver(exchange) for name, resolver in self._keywords.items()}
        return positional, keywords


def plan(
    function: Callable[..., Any],
    *,
    role: Role,
    names: Sequence[str],
    framework: Mapping[type, Callable[[Exchange], object]],
    label: str,
    final: bool = True,
) -> Plan | None:
    """Compile how a function is called.

    Args:
        function: A bound one; parameters are those that are left to give.
        role: What it is declared as.
        names: The variables of its template; for ERROR of all templates it may be called for.
        framework: What gives the values of the application's own types.
        label: What an error calls the declaration.
        final: False: None when a name in an annotation does not exist yet.

    Raises:
        ConfigurationError: It cannot be called; the text says what would mend it.
    """
    signature = signature_of(function, label)
    builder = _Builder(function, signature, role, names, framework, label)
    try:
        builder.build()
    except UnresolvedName:
        if final:
            raise
        return None
    return Plan(builder)


class _Builder:
    """One run of `plan`."""

    def __init__(
        self,
        function: Callable[..., Any],
        signature: inspect.Signature,
        role: Role,
        names: Sequence[str],
        framework: Mapping[type, Callable[[Exchange], object]],
        label: str,
    ) -> None:
        self.positional: list[Resolver] = []
        self.keywords: dict[str, Resolver] = {}
        self.guards: list[Resolver] = []
        self.accepts: tuple[type, ...] = ()
        self._function = function
        self._signature = signature
        self._role = role
        self._names = names
        self._framework = framework
        self._label = label
        self._has_subject = False
        self._left: inspect.Parameter | None = None
        """The parameter that nothing else claimed."""

    def build(self) -> None:
        scope = scope_of(self._function)
        for parameter in self._signature.parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise self._refuse(
                    parameter,
                    f"{parameter} has no meaning here: nothing says what goes into it",
                    "name the parameters one by one",
                )
            try:
                annotation = parameter.annotation
                if annotation is not _ABSENT and self._role is not Role.CONNECT:
                    annotation = resolve(annotation, scope)
                resolver = self._resolver(parameter, annotation)
            except UnresolvedName as error:
                error.args = (self._text(parameter, str(error)),)
                raise
            if parameter.kind is parameter.KEYWORD_ONLY:
                self.keywords[parameter.name] = resolver
            else:
                self.positional.append(resolver)
        if self._role is Role.CONNECT and (self._left is None or self.keywords):
            raise self._refuse(None, "an authenticator takes exactly one positional parameter")

    # What a parameter is

    def _resolver(self, parameter: inspect.Parameter, annotation: Any) -> Resolver:
        marker = _marker(annotation)
        bare = plain(annotation)
        kinds = [kind for kind in members(bare) if kind is not NoneType]
        kind = kinds[0] if len(kinds) == 1 else None
        if self._role is Role.CONNECT:
            return self._leftover(parameter, annotation)
        if isinstance(marker, Header):
            return self._header(parameter, annotation, marker)
        if isinstance(marker, DestinationVariable):
            return self._variable(parameter, annotation, marker.name or parameter.name)
        if isinstance(kind, type) and kind in self._framework:
            return self._framework[kind]
        if kinds and all(_is_principal(kind) for kind in kinds):
            return self._principal(parameter, kinds, NoneType in members(bare))
        if self._role is Role.ERROR and kinds and all(_is_error(kind) for kind in kinds):
            return self._subject(parameter, kinds)
        if parameter.name in self._names:
            return self._variable(parameter, annotation, parameter.name)
        if parameter.name == "headers" and (get_origin(kind) or kind) in (dict, Mapping):
            return self._all_headers(parameter, dict if get_origin(kind) is dict else Mapping)
        return self._leftover(parameter, annotation)

    def _leftover(self, parameter: inspect.Parameter, annotation: Any) -> Resolver:
        if self._left is not None:
            raise self._two_left(self._left, parameter)
        self._left = parameter
        if self._role is Role.CONNECT:
            return _event
        if self._role is Role.EVENT or (self._role is Role.ERROR and annotation is _ABSENT):
            return self._subject(parameter, [] if annotation is _ABSENT else members(annotation))
        if self._role is Role.MESSAGE:
            return self._payload(parameter, annotation)
        missing = {
            Role.SUBSCRIBE: "it would be the payload, but a SUBSCRIBE has no body",
            Role.ERROR: "it would be the payload, which exception handlers do not get",
        }
        raise self._refuse(parameter, missing[self._role], *self._fixes(parameter))

    def _subject(self, parameter: inspect.Parameter, kinds: list[Any]) -> Resolver:
        """The exception or the event."""
        if self._has_subject:
            raise self._refuse(parameter, "the exception is asked for twice", "leave one out")
        self._has_subject = True
        for kind in kinds:
            shown = type_name(kind)
            if not isinstance(kind, type) or kind is NoneType:
                raise self._refuse(
                    parameter, f"{shown} is no class of events", "annotate it with one"
                )
            if self._role is Role.ERROR and not issubclass(kind, Exception):
                raise self._refuse(
                    parameter,
                    f"{shown} is beyond Exception: it ends the program or the task, "
                    f"and is never handled",
                    "annotate it with Exception or something below it",
                )
        self.accepts = tuple(kinds)
        return _error if self._role is Role.ERROR else _event

    def _principal(
        self, parameter: inspect.Parameter, kinds: list[Any], optional: bool
    ) -> Resolver:
        self._needs_session(parameter)
        wanted = tuple(kinds)
        anonymous = parameter.default
        if anonymous is _ABSENT and optional:
            anonymous = None

        def user(exchange: Exchange) -> Any:
            session = exchange.session
            assert session is not None
            if session.user is None:
                if anonymous is _ABSENT:
                    raise AccessDenied(f"{parameter.name}: the session is anonymous")
                return anonymous
            if not isinstance(session.user, wanted):
                names = " | ".join(type_name(kind) for kind in wanted)
                raise AccessDenied(f"{parameter.name}: the user is no {names}")
            return session.user

        self.guards.append(user)
        return user

    def _needs_session(self, parameter: inspect.Parameter) -> None:
        if self._role is Role.EVENT:
            raise self._refuse(
                parameter,
                "an event listener has neither a frame nor a session of its own",
                "read it from the event: SessionConnected and the others know session and user",
            )

    def _header(self, parameter: inspect.Parameter, annotation: Any, marker: Header) -> Resolver:
        self._needs_session(parameter)
        name = marker.name or parameter.name.replace("_", "-")
        read = self._text_reader(parameter, annotation)
        absent = _default(parameter, annotation)

        def header(exchange: Exchange) -> Any:
            frame = exchange.frame
            assert frame is not None
            text = frame.headers.get(name)
            if text is None:
                if absent is _ABSENT:
                    raise ConversionError(f"header {name}", "missing")
                return absent
            try:
                return read(text)
            except Mismatch as mismatch:
                raise mismatch.error(f"header {name}") from None

        return header

    def _all_headers(self, parameter: inspect.Parameter, kind: Any) -> Resolver:
        self._needs_session(parameter)

        def headers(exchange: Exchange) -> Mapping[str, str]:
            assert exchange.frame is not None
            given = exchange.frame.headers
            return dict(given) if kind is dict else MappingProxyType(given)

        return headers

    def _variable(self, parameter: inspect.Parameter, annotation: Any, name: str) -> Resolver:
        self._needs_session(parameter)
        if name not in self._names:
            known = ", ".join(f"{{{each}}}" for each in self._names) or "no variables"
            raise self._refuse(
                parameter,
                f"the template has no variable {{{name}}}; it has {known}",
                f"put {{{name}}} into the template",
            )
        read = self._text_reader(parameter, annotation)
        absent = _default(parameter, annotation)

        def variable(exchange: Exchange) -> Any:
            text = exchange.variables.get(name)
            if text is None:  # an exception handler for several templates
                if absent is _ABSENT:
                    raise ConversionError(name, "missing in the destination")
                return absent
            try:
                return read(text)
            except Mismatch as mismatch:
                raise mismatch.error(name) from None

        return variable

    def _text_reader(self, parameter: inspect.Parameter, annotation: Any) -> Callable[[str], Any]:
        try:
            return text_reader(Any if annotation is _ABSENT else annotation)
        except ConfigurationError as error:
            raise self._refuse(parameter, str(error), "take a str and convert it") from error

    def _payload(self, parameter: inspect.Parameter, annotation: Any) -> Resolver:
        try:
            decode = decoder_for(Any if annotation is _ABSENT else annotation)
        except UnresolvedName:
            raise
        except ConfigurationError as error:
            raise self._refuse(
                parameter,
                f"it is the payload, and {error}",
                "annotate it with a type that can be decoded",
                "derive a principal class of your own from stocksync_ws.Principal",
                *self._fixes(parameter),
            ) from error
        default = parameter.default

        def payload(exchange: Exchange) -> Any:
            frame = exchange.frame
            assert frame is not None
            if default is not _ABSENT and not frame.body:
                return default
            return decode(frame.body, frame.headers.get("content-type"))

        return payload

    # Errors

    def _fixes(self, parameter: inspect.Parameter) -> list[str]:
        shown = type_name(parameter.annotation) if parameter.annotation is not _ABSENT else "str"
        known = ["Principal", *(type_name(kind) for kind in self._framework)]
        return [
            f"if it is part of the destination, put {{{parameter.name}}} into the template",
            f"if it is a header, annotate it Annotated[{shown}, Header()]",
            f"if the framework gives it, annotate it with one of {', '.join(known)}",
            "else leave it out",
        ]

    def _two_left(self, one: inspect.Parameter, other: inspect.Parameter) -> ConfigurationError:
        if self._role is Role.CONNECT:
            return self._refuse(other, "an authenticator takes exactly one positional parameter")
        if self._role in (Role.EVENT, Role.ERROR):
            return self._refuse(
                other, f"{one.name!r} is the {self._role.value} already", *self._fixes(other)[2:]
            )
        return self._refuse(
            other,
            f"two parameters are left for the payload, {one.name!r} and {other.name!r}",
            f"make one payload of both: a dataclass with {one.name} and {other.name}",
            *self._fixes(other),
        )

    def _refuse(
        self, parameter: inspect.Parameter | None, problem: str, *fixes: str
    ) -> ConfigurationError:
        return ConfigurationError(self._text(parameter, problem, *fixes))

    def _text(self, parameter: inspect.Parameter | None, problem: str, *fixes: str) -> str:
        subject = f"parameter {parameter.name!r}: " if parameter is not None else ""
        place = where(self._function, self._signature)
        lines = [place, f"  {self._label}", f"  {subject}{problem}"]
        if fixes:
            lines.append("  possible fixes:")
            lines += [f"    - {fix}" for fix in fixes]
        return "\n".join(lines)


def _error(exchange: Exchange) -> Any:
    return exchange.error


def _event(exchange: Exchange) -> Any:
    return exchange.event


def _marker(annotation: Any) -> object:
    """The first of our markers in an `Annotated`."""
    if get_origin(annotation) is Annotated:
        for item in get_args(annotation)[1:]:
            if isinstance(item, (Header, DestinationVariable)):
                return item
            if item is Header or item is DestinationVariable:
                return cast("Any", item)()
    return None


def _default(parameter: inspect.Parameter, annotation: Any) -> Any:
    """What stands for a text that is not there; `_ABSENT` when nothing does."""
    if parameter.default is _ABSENT and NoneType in members(annotation):
        return None
    return parameter.default


def _is_principal(kind: Any) -> bool:
    # Not by `issubclass`, which asks for a `name`: every other payload has one.
    return isinstance(kind, type) and Principal in kind.__mro__


def _is_error(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseException)


def mode_of(function: Any, inline: bool) -> Mode:
    """How a function is run: decided once, when it is declared.

    Args:
        function: A function, a method, a partial, or an object with `__call__`.
        inline: It takes microseconds and is to run on the owner thread.

    Raises:
        ConfigurationError: An `inline` function is async, or it is a generator.
    """
    while isinstance(function, partial):
        function = cast("Any", function).func
    # Of an object with `__call__`, that one; `inspect` looks through methods by itself.
    shapes: list[Any] = [function, function.__class__.__call__]
    name = getattr(function, "__qualname__", repr(function))
    for shape in shapes:
        if inspect.isasyncgenfunction(shape) or inspect.isgeneratorfunction(shape):
            raise ConfigurationError(
                f"{name} is a generator function: it has `yield` in it, and a handler answers "
                f"once; return the values as a list, or send each with the template"
            )
        if inspect.iscoroutinefunction(shape):
            if inline:
                raise ConfigurationError(
                    f"{name} is async and declared inline=True; inline is for `def` functions that "
                    f"take microseconds: make it a `def`, or leave inline out"
                )
            return Mode.ASYNC
    return Mode.INLINE if inline else Mode.POOL

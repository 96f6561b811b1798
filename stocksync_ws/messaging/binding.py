"""From a function and its place to the arguments of each call.

Rule: all is decided when the function is declared: a `Plan` is a row of resolvers. What cannot work
is refused with its place and what mends it; names may come later (`final=False`), until the start.

What a parameter gets, in this order:
    1. what its mark says: `CurrentUser[...]`, or Header, DestinationVariable, Payload in Annotated
    2. a framework type by its annotation (session, template, frame ...), given by the application
    3. the user, by `principals.py`: `Principal`, and classes related to the authenticator's
    4. ERROR: the exception; EVENT: the event; CONNECT: the request
    5. a variable of the template by its name, and `headers: Mapping[str, str]` all headers
    6. MESSAGE: the one that is left is the payload; never when it may be meant as the user
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from types import MappingProxyType, NoneType
from typing import Any, get_origin

from stocksync_ws.errors import ConfigurationError, ConversionError
from stocksync_ws.messaging.convert import decoder_for
from stocksync_ws.messaging.converters import NONE, Converters
from stocksync_ws.messaging.exchange import (
    DestinationVariable,
    Exchange,
    Header,
    Payload,
    Resolver,
    Role,
    UserMark,
    mark_of,
)
from stocksync_ws.messaging.hints import (
    UnresolvedName,
    members,
    plain,
    report,
    resolve,
    scope_of,
    signature_of,
    type_name,
)
from stocksync_ws.messaging.principals import (
    PRINCIPAL_NAMES,
    class_of,
    is_checkable,
    is_principal,
    never_given,
    never_the_user,
    user_resolver,
    user_shown,
)
from stocksync_ws.messaging.scalars import INTEGER_BITS, Mismatch, text_reader
from stocksync_ws.messaging.unfilled import ONE_PARAMETER, fixes_for, foreign
from stocksync_ws.messaging.unused import renames
from stocksync_ws.stomp.frame import Frame

__all__ = ["DestinationVariable", "Exchange", "Header", "Plan", "Role", "plan"]

_ABSENT: Any = inspect.Parameter.empty
_error: Resolver = attrgetter("error")
_event: Resolver = attrgetter("event")


class Plan:
    """How one function is called."""

    __slots__ = ("_guards", "_keywords", "_positional", "accepts", "reads_frame")

    def __init__(self, built: _Builder) -> None:
        self._positional = built.positional
        self._keywords = built.keywords
        self._guards = built.guards
        self.accepts: tuple[type, ...] = built.accepts
        """ERROR, EVENT: the classes that the annotation of the exception or event names."""
        self.reads_frame = built.reads_frame
        """It gets a header or the frame: what it says may differ from frame to frame."""

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
    users: tuple[type, ...] | None = (),
    bits: int | None = INTEGER_BITS,
    converters: Converters = NONE,
    final: bool = True,
) -> Plan | None:
    """Compile how a function is called.

    Args:
        function: A bound one; parameters are those that are left to give.
        role: What it is declared as.
        names: The variables of its template; for ERROR of all templates it may be called for.
        framework: What gives the values of the application's own types.
        label: What an error calls the declaration.
        users: The classes that the authenticator says it returns; None: there is none.
        bits: What an integer in a body, a variable or a header may have; None: any.
        converters: Those of the application.
        final: False: None when a name in an annotation does not exist yet.

    Raises:
        ConfigurationError: It cannot be called; the text says what would mend it.
    """
    builder = _Builder(function, role, names, framework, label, users)
    try:
        builder.build(bits, converters)
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
        role: Role,
        names: Sequence[str],
        framework: Mapping[type, Callable[[Exchange], object]],
        label: str,
        users: tuple[type, ...] | None,
    ) -> None:
        self.positional: list[Resolver] = []
        self.keywords: dict[str, Resolver] = {}
        self.guards: list[Resolver] = []
        self.accepts: tuple[type, ...] = ()
        self.reads_frame = False
        self._function = function
        self._signature = signature_of(function, label)
        self._role = role
        self._names = names
        self._framework = framework
        self._label = label
        self._users = users or ()
        self._anonymous = users is None
        """Nobody has a user."""
        self._bits: int | None = INTEGER_BITS
        self._converters = NONE
        self._has_subject = False
        self._left: inspect.Parameter | None = None
        """The parameter that nothing else claimed."""

    def build(self, bits: int | None, converters: Converters) -> None:
        self._bits = bits
        self._converters = converters
        scope = scope_of(self._function)
        for parameter in self._signature.parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
                raise self._refuse(
                    parameter,
                    f"{stars}{parameter.name} has no meaning: nothing says what goes into it",
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
            raise self._refuse(None, ONE_PARAMETER)

    # What a parameter is

    def _resolver(self, parameter: inspect.Parameter, annotation: Any) -> Resolver:
        marker = mark_of(annotation)
        bare = plain(annotation)
        kinds = [kind for kind in members(bare) if kind is not NoneType]
        kind = kinds[0] if len(kinds) == 1 else None
        if self._role is Role.CONNECT:
            return self._leftover(parameter, annotation)
        if (host := foreign(parameter, annotation)) is not None:
            raise self._refuse(parameter, *host)
        if isinstance(marker, Header):
            return self._header(parameter, annotation, marker)
        if isinstance(marker, DestinationVariable):
            return self._variable(parameter, annotation, marker.name or parameter.name)
        if isinstance(marker, Payload):
            return self._leftover(parameter, annotation, marked=True)
        if isinstance(kind, type) and kind in self._framework:
            self.reads_frame |= kind is Frame
            return self._framework[kind]
        principals = [kind for kind in kinds if is_principal(kind, self._users)]
        if isinstance(marker, UserMark) or (kinds and principals == kinds):
            return self._principal(parameter, kinds, NoneType in members(bare))
        if principals:
            raise self._unclear(parameter, "it may be the session's user or the payload")
        if self._role is Role.ERROR and kinds and all(_is_error(kind) for kind in kinds):
            return self._subject(parameter, kinds)
        if parameter.name in self._names:
            return self._variable(parameter, annotation, parameter.name)
        if parameter.name == "headers" and (get_origin(kind) or kind) in (dict, Mapping):
            return self._all_headers(parameter, dict if get_origin(kind) is dict else Mapping)
        return self._leftover(parameter, annotation)

    def _leftover(
        self, parameter: inspect.Parameter, annotation: Any, *, marked: bool = False
    ) -> Resolver:
        if self._left is not None:
            raise self._two_left(self._left, parameter)
        self._left = parameter
        if self._role is Role.CONNECT:
            return _event
        if not marked and (
            self._role is Role.EVENT or (self._role is Role.ERROR and annotation is _ABSENT)
        ):
            return self._subject(parameter, [] if annotation is _ABSENT else members(annotation))
        if self._role is Role.MESSAGE:
            if not marked and parameter.name in PRINCIPAL_NAMES:
                raise self._unclear(parameter, "it would be filled from the sender's body")
            return self._payload(parameter, annotation, marked)
        missing = {
            Role.SUBSCRIBE: "it would be the payload, but a SUBSCRIBE has no body",
            Role.RULE: "it would be the payload, which rules do not get",
            Role.FRAME: "it would be the payload, which interceptors do not get: see frame.body",
            Role.ERROR: "it would be the payload, which exception handlers do not get",
            Role.EVENT: "it would be the payload, which event listeners do not get",
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
        wanted = [class_of(kind) for kind in kinds]
        classes = tuple(kind for kind in wanted if kind is not None and is_checkable(kind))
        if not classes or len(classes) < len(wanted):
            raise self._refuse(
                parameter,
                "no user can be told to be of this type at run time",
                "name a class: CurrentUser[User], or CurrentUser[Principal] for anybody's",
            )
        anonymous = None if parameter.default is _ABSENT and optional else parameter.default
        required = anonymous is _ABSENT
        if (problem := never_given(classes, self._users, self._anonymous and required)) is not None:
            raise self._refuse(parameter, *problem)
        user = user_resolver(parameter.name, classes, anonymous)
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
        self.reads_frame = True
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
        self.reads_frame = True

        def headers(exchange: Exchange) -> Mapping[str, str]:
            assert exchange.frame is not None
            given = exchange.frame.headers
            return dict(given) if kind is dict else MappingProxyType(given)

        return headers

    def _variable(self, parameter: inspect.Parameter, annotation: Any, name: str) -> Resolver:
        if name not in self._names:
            self._needs_session(parameter)
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
            return text_reader(Any if annotation is _ABSENT else annotation, self._bits)
        except ConfigurationError as error:
            fixes = fixes_for(parameter, self._users, self._framework)[:1]
            raise self._refuse(
                parameter, str(error), *fixes, "else take a str and convert it"
            ) from error

    def _payload(self, parameter: inspect.Parameter, annotation: Any, marked: bool) -> Resolver:
        try:
            taken = Any if annotation is _ABSENT else annotation
            decode = decoder_for(taken, self._bits, self._converters)
        except UnresolvedName:
            raise
        except ConfigurationError as error:
            raise self._refuse(
                parameter,
                f"it is the payload, and {error}",
                *self._fixes(parameter)[:-1],
                "if the sender's body is to fill it, annotate it with a type that can be decoded",
            ) from error
        if not marked:
            kinds = [class_of(kind) for kind in members(annotation)]
            self.guards += never_the_user(self._text(parameter, ""), parameter, kinds)
        default = parameter.default

        def payload(exchange: Exchange) -> Any:
            frame = exchange.frame
            assert frame is not None
            if default is not _ABSENT and not frame.body:
                return default
            return decode(frame.body, frame.headers.get("content-type"))

        return payload

    # Errors

    def _fixes(self, *left: inspect.Parameter) -> list[str]:
        fixes = fixes_for(left[-1], self._users, self._framework)
        if self._role not in (Role.MESSAGE, Role.SUBSCRIBE):
            return fixes
        names = (each.name for each in left)
        return [*renames(self._function, self._label, self._names, *names), *fixes]

    def _unclear(self, parameter: inspect.Parameter, problem: str) -> ConfigurationError:
        """A parameter that reads as the user, and would be what the sender says."""
        shown = "Any" if parameter.annotation is _ABSENT else type_name(parameter.annotation)
        user = user_shown(parameter.annotation, self._users)
        return self._refuse(
            parameter,
            problem,
            f"to get the session's user, annotate it CurrentUser[{user}]",
            f"to take what the sender wrote, annotate it Annotated[{shown}, Payload()]",
        )

    def _two_left(self, one: inspect.Parameter, other: inspect.Parameter) -> ConfigurationError:
        if self._role is Role.CONNECT:
            return self._refuse(other, ONE_PARAMETER)
        if self._role in (Role.EVENT, Role.ERROR):
            return self._refuse(
                other, f"{one.name!r} is the {self._role.value} already", *self._fixes(other)[3:]
            )
        return self._refuse(
            other,
            f"two parameters are left for the payload, {one.name!r} and {other.name!r}",
            *self._fixes(one, other)[:-1],
            f"if the sender's body holds both, make one payload of them: a dataclass with"
            f" {one.name} and {other.name}",
            "else leave one out",
        )

    def _refuse(
        self, parameter: inspect.Parameter | None, problem: str, *fixes: str
    ) -> ConfigurationError:
        return ConfigurationError(self._text(parameter, problem, *fixes))

    def _text(self, parameter: inspect.Parameter | None, problem: str, *fixes: str) -> str:
        subject = f"parameter {parameter.name!r}: " if parameter is not None else ""
        return report(self._function, self._label, subject + problem, *fixes)


def _default(parameter: inspect.Parameter, annotation: Any) -> Any:
    """What stands for a text that is not there; `_ABSENT` when nothing does."""
    if parameter.default is _ABSENT and NoneType in members(annotation):
        return None
    return parameter.default


def _is_error(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseException)

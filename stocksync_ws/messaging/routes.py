"""From declarations to what is run for a message: routes, exception handlers, listeners.

Rule: everything is compiled when the application freezes, before the first connection; a message
only looks things up. Every mistake in a declaration is a `ConfigurationError` here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, cast

from typing_extensions import is_protocol

from stocksync_ws.broker.model.namespace import Kind, Namespace
from stocksync_ws.broker.model.pipeline import Call, Mode, Threads
from stocksync_ws.checks import NOT_SHARED
from stocksync_ws.errors import AccessDenied, ConfigurationError
from stocksync_ws.messaging.access import refusal
from stocksync_ws.messaging.binding import Plan, plan
from stocksync_ws.messaging.convert import OCTET_KINDS, PayloadEncoder
from stocksync_ws.messaging.converters import NONE, Converter, Converters, nothing_converts
from stocksync_ws.messaging.exchange import Exchange, Role
from stocksync_ws.messaging.hints import line_of, report, signature_of, type_name, where
from stocksync_ws.messaging.interceptors import Interceptors
from stocksync_ws.messaging.listening import (
    Listening,
    check_events,
    check_pattern,
    pattern_of,
)
from stocksync_ws.messaging.marks import (
    ANYONE,
    WRITES_NOTHING,
    Access,
    Authorization,
    Declaration,
    ExceptionMapping,
    Listener,
    MessageMapping,
    ReplyTo,
    SnapshotMapping,
    SubscribeMapping,
)
from stocksync_ws.messaging.modes import mode_of
from stocksync_ws.messaging.results import result_writer
from stocksync_ws.messaging.rights import Rights
from stocksync_ws.messaging.routing import Router, Template
from stocksync_ws.messaging.scalars import INTEGER_BITS
from stocksync_ws.messaging.unused import check_variables
from stocksync_ws.messaging.writers import Writer

__all__ = ["Framework", "Handler", "Reply", "Routes", "check_places", "compile_handler"]

Framework = Mapping[type, Callable[[Exchange], object]]


class Reply:
    """One compiled `@send_to` or `@send_to_user`; without templates it is the default."""

    __slots__ = ("broadcast", "templates", "user")

    def __init__(self, mark: ReplyTo) -> None:
        self.templates = tuple(Template(destination) for destination in mark.destinations)
        self.user = mark.user
        self.broadcast = mark.broadcast


class Handler:
    """One declared function, ready to be called."""

    __slots__ = (
        "_content_type",
        "_converter",
        "_function",
        "_mode",
        "_plan",
        "_threads",
        "_writer",
        "accepts",
        "access",
        "declared",
        "label",
        "order",
        "owner",
        "reads_frame",
        "replies",
    )

    def __init__(
        self,
        declaration: Declaration,
        compiled: Plan,
        writer: Writer | None = None,
        converter: Converter | None = None,
    ) -> None:
        self._function = declaration.function
        self._mode = mode_of(declaration.function, declaration.mapping.inline)
        listens = isinstance(declaration.mapping, Listener)
        self._threads = Threads.LISTENERS if listens else Threads.HANDLERS
        self._plan = compiled
        self._writer = writer
        self._converter = converter
        self.declared = "" if writer is None else f" as the declared {writer.name}"
        """The words of an error about its declared result."""
        self._content_type = content_type_of(declaration) or ""
        self.label = declaration.label
        self.reads_frame = compiled.reads_frame
        self.access = _access(declaration)
        """What a session must be, where that is anything; of a rule it is asked before."""
        self.replies = tuple(Reply(mark) for mark in declaration.replies)
        self.owner = declaration.owner
        """Its controller or advice."""
        self.order = declaration.advice_order
        self.accepts: tuple[type, ...] = _accepts(declaration, compiled)
        """The exceptions or events it is for."""

    @property
    def place(self) -> str:
        """File, line and signature of its function, for errors."""
        return where(self._function, signature_of(self._function, self.label))

    def call(self, exchange: Exchange) -> Call:
        """The call, with its arguments bound. Where they cannot be bound (the session is anonymous,
        something of the message does not fit), it fails as the function would, so that the log
        knows whose call it was.
        """
        try:
            if self.access is not None:
                _check_access(self.access, exchange)
            args, kwargs = self._plan.bind(exchange)
        except Exception as error:
            return Call(_raise, (error,), mode=Mode.INLINE, label=self.label)
        return Call(
            self._function, args, kwargs, mode=self._mode, label=self.label, threads=self._threads
        )

    def encode(self, encoder: PayloadEncoder, result: object) -> tuple[bytes, str]:
        """The body and the content-type of what the function returned.

        Raises:
            ConversionError: It has no such form, or is not what it is declared to be.
        """
        if self._content_type:
            if isinstance(result, OCTET_KINDS):
                return bytes(cast("Any", result)), self._content_type
            assert self._converter is not None
            return self._converter.encode(result), self._content_type
        if self._writer is None:
            return encoder.encode(result)
        return encoder.encode_as(self._writer, result)


def content_type_of(declaration: Declaration) -> str | None:
    """The `content_type=` of its decorator."""
    mapping = declaration.mapping
    return None if isinstance(mapping, WRITES_NOTHING) else mapping.content_type


def _raise(error: Exception) -> NoReturn:
    raise error


def _access(declaration: Declaration) -> Access | None:
    mapping = declaration.mapping
    if isinstance(mapping, (MessageMapping, SubscribeMapping, SnapshotMapping)):
        return None if mapping.access == ANYONE else mapping.access
    return None


def _check_access(access: Access, exchange: Exchange) -> None:
    assert exchange.session is not None
    problem = refusal(access, exchange.session.user, exchange.roles)
    if problem:
        raise AccessDenied(problem)


def _accepts(declaration: Declaration, compiled: Plan) -> tuple[type, ...]:
    mapping = declaration.mapping
    if isinstance(mapping, ExceptionMapping):
        accepts = mapping.exceptions or compiled.accepts
    elif isinstance(mapping, Listener):
        accepts = mapping.events or compiled.accepts
    else:
        return ()
    if not accepts:
        problem = "is for nothing: name the classes in the decorator, or annotate the parameter"
        raise ConfigurationError(f"{declaration.label} {problem} with one")
    if isinstance(mapping, Listener):
        check_events(declaration, mapping, accepts)
    _check_annotation(declaration, accepts, compiled.accepts)
    return accepts


def _check_annotation(
    declaration: Declaration, named: tuple[type, ...], annotated: tuple[type, ...]
) -> None:
    """Refuse a parameter that never gets what its annotation says."""
    if not annotated or any(kind in (Any, object) or is_protocol(kind) for kind in annotated):
        return
    for kind in named:
        if not any(issubclass(kind, each) for each in annotated):
            shown, wanted = " | ".join(map(type_name, annotated)), type_name(kind)
            problem = f"it is called with a {wanted}, and its parameter is annotated {shown}"
            fixes = [f"annotate it {wanted}", f"name {shown} in the decorator"]
            raise ConfigurationError(
                report(declaration.function, declaration.label, problem, *fixes)
            )


_ROLES: Mapping[type, Role] = {
    MessageMapping: Role.MESSAGE,
    SubscribeMapping: Role.SUBSCRIBE,
    SnapshotMapping: Role.SUBSCRIBE,
    Authorization: Role.RULE,
    ExceptionMapping: Role.ERROR,
    Listener: Role.EVENT,
}


def compile_handler(
    declaration: Declaration,
    names: tuple[str, ...],
    framework: Framework,
    users: tuple[type, ...] | None,
    bits: int | None = INTEGER_BITS,
    converters: Converters = NONE,
    *,
    final: bool,
) -> Handler | None:
    """Compile a declaration; None when a name in an annotation does not exist yet (`final=False`).

    Raises:
        ConfigurationError: The declaration cannot work.
    """
    role = _ROLES[type(declaration.mapping)]
    compiled = plan(
        declaration.function,
        role=role,
        names=names,
        framework={} if role is Role.EVENT else framework,
        label=declaration.label,
        users=users,
        bits=bits,
        converters=converters,
        final=final,
    )
    if compiled is None:
        return None
    asked = content_type_of(declaration)
    if role in (Role.EVENT, Role.RULE):
        return Handler(declaration, compiled)
    if asked is None:
        return Handler(
            declaration, compiled, result_writer(declaration.function, declaration.label)
        )
    converter = converters.find(asked)
    if converter is None and final:
        raise ConfigurationError(f"{declaration.label}: {nothing_converts(asked)}")
    return Handler(declaration, compiled, converter=converter)


class Routes:
    """All handlers of a frozen application."""

    __slots__ = (
        "_advice",
        "_by_owner",
        "authorizers",
        "guarded",
        "interceptors",
        "listening",
        "messages",
        "needs_threads",
        "rights",
        "snapshots",
        "subscribes",
    )

    def __init__(
        self,
        declarations: Iterable[Declaration],
        framework: Framework,
        space: Namespace,
        users: tuple[type, ...] | None = (),
        bits: int | None = INTEGER_BITS,
        converters: Converters = NONE,
    ) -> None:
        self.messages: Router[Handler] = Router()
        self.subscribes: Router[Handler] = Router()
        self.snapshots: Router[Handler] = Router()
        self.authorizers: list[tuple[Authorization, Handler]] = []
        """The functions of rules."""
        self.guarded = False
        """A handler or a snapshot is not for everybody."""
        self.needs_threads = False
        """A function that was declared runs in threads."""
        self.rights: Rights | None = None
        """What the rules say; None: there are none, and everybody may."""
        self.interceptors: Interceptors | None = None
        """Interceptors and filters; None: there are none."""
        self._by_owner: dict[int, list[Handler]] = {}
        self._advice: list[Handler] = []
        self.listening = Listening(space)
        """Listeners of events."""
        known = list(declarations)
        names = _all_names(known)
        for declaration in known:
            check_places(declaration, space)
            self._add(declaration, names, framework, users, bits, converters)
        check_variables(known)
        # An advice comes by its order, the application's own handlers behind the last advice.
        self._advice.sort(key=lambda handler: (handler.order is None, handler.order or 0))

    def _add(
        self,
        declaration: Declaration,
        names: tuple[str, ...],
        framework: Framework,
        users: tuple[type, ...] | None,
        bits: int | None,
        converters: Converters,
    ) -> None:
        mapping = declaration.mapping
        own = _names(declaration) if hasattr(mapping, "path") else names
        handler = compile_handler(declaration, own, framework, users, bits, converters, final=True)
        assert handler is not None
        self.guarded |= handler.access is not None
        label = f"{handler.label} at {line_of(declaration.function)}"
        if isinstance(mapping, MessageMapping):
            self.messages.add(Template(mapping.path), handler, label=label)
        elif isinstance(mapping, SubscribeMapping):
            self.subscribes.add(Template(mapping.path), handler, label=label)
        elif isinstance(mapping, SnapshotMapping):
            self.snapshots.add(Template(mapping.path), handler, label=label)
        elif isinstance(mapping, Authorization):
            self.authorizers.append((mapping, handler))
        elif isinstance(mapping, Listener):
            self.listening.add(declaration, mapping, handler)
        elif handler.order is None and handler.owner is not None:
            self._by_owner.setdefault(id(handler.owner), []).append(handler)
        else:
            self._advice.append(handler)

    def exception_handler(
        self, route: Handler, error: BaseException
    ) -> tuple[Handler, BaseException] | None:
        """Who maps an exception of this route: its controller, then advice by order, each by the
        closest type; if nobody, the same for its cause.
        """
        seen: set[int] = set()
        current: BaseException | None = error
        while current is not None and id(current) not in seen:
            seen.add(id(current))
            own = self._by_owner.get(id(route.owner), []) if route.owner is not None else []
            found = _closest(own, current) or self._closest_advice(current)
            if found is not None:
                return found, current
            current = current.__cause__
        return None

    def _closest_advice(self, error: BaseException) -> Handler | None:
        """Advice is asked by order: the first order in which one fits, and there the closest."""
        at = 0
        while at < len(self._advice):
            order = self._advice[at].order
            same = [each for each in self._advice[at:] if each.order == order]
            found = _closest(same, error)
            if found is not None:
                return found
            at += len(same)
        return None


def _closest(handlers: list[Handler], error: BaseException) -> Handler | None:
    for kind in type(error).__mro__:
        for handler in handlers:
            if kind in handler.accepts:
                return handler
    return None


def _names(declaration: Declaration) -> tuple[str, ...]:
    mapping = declaration.mapping
    if isinstance(mapping, Authorization):
        return Template(mapping.path, wildcards=True).names
    if isinstance(mapping, Listener):
        template = pattern_of(mapping)
        return () if template is None else template.names
    if isinstance(mapping, (MessageMapping, SubscribeMapping, SnapshotMapping)):
        return Template(mapping.path).names
    return ()


def _all_names(declarations: list[Declaration]) -> tuple[str, ...]:
    """Variables of all mappings: what an exception handler may ask for by name."""
    found: dict[str, Any] = {}
    for declaration in declarations:
        found.update(dict.fromkeys(_names(declaration)))
    return tuple(found)


def check_places(declaration: Declaration, space: Namespace) -> None:
    """Replies must lead somewhere, and snapshots stand where something is published.

    Raises:
        ConfigurationError: One does not; the text says what to write instead.
    """
    function, label, mapping = declaration.function, declaration.label, declaration.mapping
    if isinstance(mapping, Listener):
        check_pattern(declaration, mapping, space)
    if isinstance(mapping, SnapshotMapping) and not space.is_topic(mapping.path):
        raise ConfigurationError(report(function, label, _no_snapshot(mapping.path, space)))
    for reply in declaration.replies:
        for destination in reply.destinations:
            if reply.user:
                served = space.is_own_path(destination)
                wanted = "like '/queue/errors', without the user prefix"
                kind, path = space.classify(destination)
                if kind is Kind.USER and space.is_own_path(path):
                    wanted += f": write @send_to_user({path!r})"
            else:
                kind, path = space.classify(destination)
                served = kind in (Kind.TOPIC, Kind.QUEUE)
                wanted = f"under a broker prefix, such as {'/topic' + path!r}"
                if kind is Kind.USER:
                    wanted = f"under a broker prefix; for the sender write @send_to_user({path!r})"
                if space.is_unshared(destination):
                    problem = f"it replies to {destination!r}, which {NOT_SHARED}"
                    raise ConfigurationError(report(function, label, problem.format(destination)))
            if not served:
                problem = f"the reply to {destination!r} would reach nobody; it must be {wanted}"
                raise ConfigurationError(report(function, label, problem))


def _no_snapshot(destination: str, space: Namespace) -> str:
    kind, path = space.classify(destination)
    problem = "a snapshot belongs to a topic, under a broker prefix"
    if kind is Kind.QUEUE:
        return f"{problem}: what a queue keeps comes to its consumers by itself, so leave it out"
    if kind is Kind.APPLICATION:
        return f"{problem}; to answer a SUBSCRIBE to it, write @subscribe_mapping({path!r})"
    return f"nobody can subscribe there; {problem}: write @snapshot({'/topic' + path!r})"

"""Interceptors of a frozen application: each kind one ordered list, folded into one function.

Rule: a list is folded once, when the application freezes. Inbound and handshake interceptors are
pipelines, since they may wait; outbound interceptors and delivery filters are plain calls in the
middle of a step. What one returns is checked before the next one sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, cast, get_args

from stocksync_ws.broker.calls.dispatch import Failed, Filter
from stocksync_ws.broker.model.namespace import Kind, Namespace
from stocksync_ws.broker.model.outbound import OutboundMessage
from stocksync_ws.broker.model.pipeline import Call, Mode, Pipeline, Threads
from stocksync_ws.broker.model.publication import Draft, Publication, PublicationKind
from stocksync_ws.broker.model.session import Session, SessionRecord
from stocksync_ws.errors import AccessDenied, ConfigurationError, InterceptorFailed, StockSyncError
from stocksync_ws.messaging.binding import Plan, plan
from stocksync_ws.messaging.exchange import Exchange, Role, UserMark, mark_of
from stocksync_ws.messaging.hints import plain, report, resolve, scope_of, signature_of
from stocksync_ws.messaging.marks import (
    Declaration,
    DeliveryFilter,
    HandshakeInterceptor,
    InboundInterceptor,
    Intercepted,
    Interceptor,
)
from stocksync_ws.messaging.modes import mode_of
from stocksync_ws.messaging.routing import Template
from stocksync_ws.policies import has_surrogate
from stocksync_ws.stomp.frame import CONNECT, STOMP, Frame
from stocksync_ws.types import Handshake, Refusal

__all__ = ["Interceptors", "check_interceptor"]

Framework: TypeAlias = Mapping[type, Callable[[Exchange], object]]

_DEFAULT: tuple[Intercepted, ...] = tuple(each for each in get_args(Intercepted) if each != CONNECT)


class _Step:
    """One interceptor that is reached by a call."""

    __slots__ = ("_function", "_mode", "_plan", "_threads", "label")

    def __init__(self, declaration: Declaration, compiled: Plan, threads: Threads) -> None:
        self._function = declaration.function
        self._mode: Mode = mode_of(declaration.function, declaration.mapping.inline)
        self._plan = compiled
        self._threads = threads
        self.label = declaration.label

    def call(self, exchange: Exchange) -> Call:
        """The call, with its arguments bound."""
        args, kwargs = self._plan.bind(exchange)
        return Call(
            self._function, args, kwargs, mode=self._mode, label=self.label, threads=self._threads
        )


class _Asked:
    """One delivery filter."""

    __slots__ = ("function", "label", "names", "template")

    def __init__(self, declaration: Declaration, template: Template) -> None:
        self.function = declaration.function
        self.label = declaration.label
        self.template = template
        self.names = _names(declaration, template)


def check_interceptor(
    declaration: Declaration,
    framework: Framework,
    space: Namespace,
    users: tuple[type, ...] | None,
    bits: int | None,
    *,
    final: bool,
) -> Plan | None:
    """Check a declaration, and compile how its function is called; None when that is by position,
    or a name in an annotation does not exist yet (`final=False`).

    Raises:
        ConfigurationError: It cannot work; the text says how to mend it.
    """
    mapping = declaration.mapping
    if isinstance(mapping, InboundInterceptor):
        if CONNECT in mapping.frames:
            _check_connect(declaration, final=final)
        return _plan(declaration, Role.FRAME, framework, users, bits, final=final)
    if isinstance(mapping, HandshakeInterceptor):
        return _plan(declaration, Role.CONNECT, {}, (), bits, final=final)
    if isinstance(mapping, DeliveryFilter):
        template = Template(mapping.path, wildcards=True)
        if problem := _no_topic(template.pattern, space):
            raise ConfigurationError(report(declaration.function, declaration.label, problem))
        _names(declaration, template)
        return None
    _plan(declaration, Role.CONNECT, {}, (), bits, final=final)
    return None


def _plan(
    declaration: Declaration,
    role: Role,
    framework: Framework,
    users: tuple[type, ...] | None,
    bits: int | None,
    *,
    final: bool,
) -> Plan | None:
    return plan(
        declaration.function,
        role=role,
        names=(),
        framework=framework,
        label=declaration.label,
        users=users,
        bits=bits,
        final=final,
    )


def _check_connect(declaration: Declaration, *, final: bool) -> None:
    """A CONNECT comes before there is a session with a user."""
    function, label = declaration.function, declaration.label
    scope = scope_of(function)
    for parameter in signature_of(function, label).parameters.values():
        if parameter.annotation is parameter.empty:
            continue
        try:
            annotation = resolve(parameter.annotation, scope)
        except ConfigurationError:
            if final:
                raise
            continue
        if plain(annotation) is Session or isinstance(mark_of(annotation), UserMark):
            problem = f"parameter {parameter.name!r}: a CONNECT has neither session nor user yet"
            raise ConfigurationError(
                report(function, label, problem, "write one for CONNECT alone, with `frame: Frame`")
            )


def _no_topic(pattern: str, space: Namespace) -> str:
    """Why no topic is of a pattern; empty: some may be."""
    kind, path = space.classify(pattern)
    if kind is Kind.TOPIC or pattern.startswith("/*"):
        return ""
    if kind is Kind.USER:
        if path.startswith("/*") or space.classify(path)[0] in (Kind.TOPIC, Kind.QUEUE):
            return ""
        return (
            f"it would never be asked: subscribers name no user there; write"
            f" '{space.user_prefix}/queue/**'"
        )
    if kind is Kind.QUEUE:
        return (
            "a queue has no filter: each of its messages goes to one consumer; say with @authorize"
            " who may consume, or publish to queues of their own"
        )
    if kind is Kind.APPLICATION:
        return "what a handler answers is made for one session; refuse it there, or with @authorize"
    return f"no topic is there: they are below {space.prefixes}"


def _names(declaration: Declaration, template: Template) -> tuple[str, ...]:
    """The variables that a filter takes by their names, behind session and message."""
    function, label = declaration.function, declaration.label
    found: list[str] = []
    positional = 0
    for parameter in signature_of(function, label).parameters.values():
        if parameter.name in template.names and parameter.kind is not parameter.POSITIONAL_ONLY:
            found.append(parameter.name)
        elif parameter.default is not parameter.empty or parameter.kind is parameter.VAR_KEYWORD:
            continue
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            positional += 1
        else:
            positional = 3
    if positional != 2:
        known = ", ".join(template.names) or "none here"
        problem = (
            "a filter is called with a session, a message, and variables of its destination by"
            f" their names ({known}): write (session, message)"
        )
        raise ConfigurationError(report(function, label, problem))
    return tuple(found)


class Interceptors:
    """Everything that is asked of what passes, in order.

    Args:
        declarations: Those of interceptors, in the order in which they were written.
        framework: What a parameter gets by its annotation alone.
        space: The prefixes of the application.
        users: The classes that the authenticator says it returns; None: there is none.
        bits: What an integer in a header may have; None: any.
        most: Bytes that a message may have.

    Raises:
        ConfigurationError: One cannot work.
    """

    __slots__ = ("_filters", "_handshakes", "_inbound", "_seen", "outbound")

    def __init__(
        self,
        declarations: Iterable[Declaration],
        framework: Framework,
        space: Namespace,
        users: tuple[type, ...] | None,
        bits: int | None,
        most: int,
    ) -> None:
        self._inbound: dict[str, list[_Step]] = {}
        self._handshakes: list[_Step] = []
        self._filters: list[_Asked] = []
        self._seen: tuple[Publication, OutboundMessage] | None = None
        """The view that filters were shown last: many are asked about one publication."""
        outbound: list[tuple[str, Callable[[OutboundMessage], object]]] = []
        for each in sorted(declarations, key=_order):
            mapping = each.mapping
            compiled = check_interceptor(each, framework, space, users, bits, final=True)
            if isinstance(mapping, InboundInterceptor):
                assert compiled is not None
                step = _Step(each, compiled, Threads.HANDLERS)
                for command in mapping.frames or _DEFAULT:
                    self._inbound.setdefault(command, []).append(step)
            elif isinstance(mapping, HandshakeInterceptor):
                assert compiled is not None
                self._handshakes.append(_Step(each, compiled, Threads.AUTHENTICATORS))
            elif isinstance(mapping, DeliveryFilter):
                self._filters.append(_Asked(each, Template(mapping.path, wildcards=True)))
            else:
                outbound.append((each.label, each.function))
        self.outbound = Outbound(outbound, most) if outbound else None
        """Asked of everything that is published; None: nobody is."""

    @property
    def has_inbound(self) -> bool:
        """Frames are looked at."""
        return bool(self._inbound)

    # Inbound

    def inbound(
        self, session: SessionRecord, frame: Frame, template: Any
    ) -> Pipeline[Frame] | None:
        """A frame as the interceptors leave it; None: there are none for it."""
        steps = self._inbound.get(CONNECT if frame.command == STOMP else frame.command)
        return None if steps is None else _through(steps, session, frame, template)

    # Handshakes

    def handshake(self, handshake: Handshake) -> Pipeline[Refusal | None] | None:
        """The verdict of the interceptors on a handshake; None: there are none."""
        return _judge(self._handshakes, handshake) if self._handshakes else None

    # Filters

    def filter_for(self, destination: str) -> Filter | None:
        """All filters that fit a topic, in order, as one; None: none does."""
        found: list[tuple[_Asked, Mapping[str, str]]] = []
        for each in self._filters:
            variables = each.template.match(destination)
            if variables is not None:
                found.append((each, {name: variables[name] for name in each.names}))
        if not found:
            return None

        def passes(session: SessionRecord, publication: Publication, failed: Failed) -> bool:
            message = self._view(publication)
            return all(
                _asks(each, variables, session, message, failed) for each, variables in found
            )

        return passes

    def _view(self, publication: Publication) -> OutboundMessage:
        if self._seen is None or self._seen[0] is not publication:
            self._seen = publication, OutboundMessage(publication, publication.kind)
        return self._seen[1]


def _order(declaration: Declaration) -> int:
    mapping = declaration.mapping
    assert isinstance(mapping, Interceptor)
    return mapping.order


def _asks(
    each: _Asked,
    variables: Mapping[str, str],
    session: SessionRecord,
    message: OutboundMessage,
    failed: Failed,
) -> bool:
    try:
        verdict = each.function(session.face, message, **variables)
    except Exception as error:
        failed(each.label, error)
        return False
    if not isinstance(verdict, bool):
        failed(each.label, StockSyncError(f"{each.label} returned {verdict!r}, not True or False"))
        return False
    return verdict


class Outbound:
    """All outbound interceptors as one function."""

    __slots__ = ("_most", "_steps")

    def __init__(
        self, steps: Sequence[tuple[str, Callable[[OutboundMessage], object]]], most: int
    ) -> None:
        self._steps = tuple(steps)
        self._most = most

    def __call__(self, draft: Draft, kind: PublicationKind, failed: Failed) -> None:
        """Let each look at a draft, in order, and change it.

        Raises:
            AccessDenied: One refuses it.
            InterceptorFailed: One raised, or returned what cannot be sent.
        """
        seen = message = OutboundMessage(draft, kind)
        for label, function in self._steps:
            try:
                result = function(message)
                if result is not None:
                    message = self._changed(seen, result)
            except AccessDenied as denied:
                raise AccessDenied(f"{label}: {denied}") from denied
            except Exception as error:
                failed(label, error)
                problem = f"{label} raised {type(error).__name__}: {error}"
                raise InterceptorFailed(problem) from error
        if message is not seen:
            draft.change(message.pairs, message.body)

    def _changed(self, seen: OutboundMessage, result: object) -> OutboundMessage:
        if not isinstance(result, OutboundMessage) or not result.is_of(seen):
            raise StockSyncError(
                f"an outbound interceptor returns None or message.replace(…), not {result!r}"
            )
        if result.size > self._most:
            raise StockSyncError(
                f"it made a message of {result.size} bytes, larger than"
                f" Limits.max_outbound_message ({self._most} bytes)"
            )
        return result


def _through(
    steps: Sequence[_Step], session: SessionRecord, frame: Frame, template: Any
) -> Pipeline[Frame]:
    """One interceptor after the other, each with what the one before has left."""
    command = frame.command
    for step in steps:
        exchange = Exchange(session=session.face, frame=frame, template=template)
        exchange.roles = session.roles
        result = yield step.call(exchange)
        frame = _checked(step.label, frame if result is None else result, command)
    return frame


def _checked(label: str, frame: object, command: str) -> Frame:
    """A frame as a decoder could have made it, also where it was changed in its place.

    Raises:
        StockSyncError: It is none.
    """
    problem = f"not {frame!r}"
    if isinstance(frame, Frame):
        problem = _misshapen(frame, command)
        if not problem:
            return frame
    raise StockSyncError(f"{label} returns None or frame.replace(…), {problem}")


def _misshapen(frame: Frame, command: str) -> str:
    if frame.command != command:
        return f"and a {command} stays one"
    for name, text in cast("dict[object, object]", frame.headers).items():
        if not isinstance(name, str) or not isinstance(text, str) or not name:
            return f"and headers are texts: not {name!r}: {text!r}"
        if "\0" in name + text or has_surrogate(name + text):
            return f"and no NUL or lone surrogate can be sent, as in the header {name!r}"
    if not isinstance(cast("object", frame.body), bytes):
        return f"and a body is bytes, not {type(frame.body).__name__}"
    return ""


def _judge(steps: Sequence[_Step], handshake: Handshake) -> Pipeline[Refusal | None]:
    """One interceptor after the other; the first that refuses decides."""
    for step in steps:
        try:
            result = yield step.call(Exchange(event=handshake.request))
        except AccessDenied as denied:
            raise AccessDenied(f"{step.label}: {denied}") from denied
        if isinstance(result, Refusal):
            return _answerable(step.label, result)
        if isinstance(result, Mapping):
            handshake.attributes.update(cast("Mapping[str, Any]", result))
        elif result is not None:
            raise StockSyncError(
                f"{step.label} returned {result!r}: return None, a mapping of attributes, or a"
                f" Refusal(status, text)"
            )
    return None


def _answerable(label: str, refusal: Refusal) -> Refusal:
    status, text = cast("object", refusal.status), cast("object", refusal.text)
    fits = type(status) is int and 400 <= status <= 599 and isinstance(text, str)
    if fits and not has_surrogate(refusal.text):
        return refusal
    raise StockSyncError(f"{label} returned {refusal!r}: its status is 400 to 599, its text a str")

"""Event listeners: which events one is for, and whom an event is told.

Rule: a pattern narrows a listener to the events about the destinations that it fits; its variables
go to parameters of these names, as a handler's do. What could never be told is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any, Protocol, get_args

from stocksync_ws.broker.calls.events import (
    Event,
    PresenceJoined,
    PresenceLeft,
    SessionSubscribed,
)
from stocksync_ws.broker.model.namespace import Namespace, meet
from stocksync_ws.broker.model.pipeline import Call
from stocksync_ws.checks import foreign_wildcard
from stocksync_ws.errors import ConfigurationError
from stocksync_ws.messaging.exchange import Exchange
from stocksync_ws.messaging.hints import nearest, report, type_name
from stocksync_ws.messaging.marks import Declaration, Listener
from stocksync_ws.messaging.routing import Template

__all__ = ["Listening", "check_events", "check_pattern", "pattern_of"]

EVENTS: tuple[type[Any], ...] = get_args(Event)


class Hears(Protocol):
    """A compiled listener."""

    accepts: tuple[type, ...]
    label: str

    def call(self, exchange: Exchange) -> Call:
        """The call, with its arguments bound."""
        ...


class Listening:
    """The listeners of a frozen application, in the order of their declaration."""

    __slots__ = ("_known", "_space")

    def __init__(self, space: Namespace) -> None:
        self._known: list[tuple[Hears, Template | None]] = []
        self._space = space

    def add(self, declaration: Declaration, mapping: Listener, handler: Hears) -> None:
        """Add a compiled listener.

        Raises:
            ConfigurationError: There is no presence that it could hear of.
        """
        template = pattern_of(mapping)
        if handler.accepts and all(_is_presence(kind) for kind in handler.accepts):
            self._check_presence(declaration, template)
        self._known.append((handler, template))

    def _check_presence(self, declaration: Declaration, template: Template | None) -> None:
        attended = self._space.attended
        pattern = "/**" if template is None else template.pattern
        if any(meet(pattern, each) for each in attended):
            return
        wanted = "/topic/room/*" if template is None else pattern
        problem = "no pattern of presence= meets it, so it is never called"
        fixes = [f"write StompApp(…, presence=[{', '.join(map(repr, [*attended, wanted]))}])"]
        raise ConfigurationError(report(declaration.function, declaration.label, problem, *fixes))

    def of(self, kind: type) -> list[Hears]:
        """The listeners for a kind of events, whatever their patterns."""
        return [handler for handler, _ in self._known if issubclass(kind, handler.accepts)]

    def calls(self, event: Event) -> Iterator[Call]:
        """One call for each listener, in order."""
        kind: type = type(event)
        for handler, template in self._known:
            if not issubclass(kind, handler.accepts):
                continue
            variables: dict[str, str] | None = None
            if template is not None:
                variables = template.match(getattr(event, "destination"))  # noqa: B009
                if variables is None:
                    continue
            yield handler.call(Exchange(event=event, variables=variables))


def pattern_of(mapping: Listener) -> Template | None:
    """The pattern of a listener; None: it hears of every destination."""
    return Template(mapping.path, wildcards=True) if mapping.path else None


def check_pattern(declaration: Declaration, mapping: Listener, space: Namespace) -> None:
    """Refuse a pattern that no destination fits.

    Raises:
        ConfigurationError: It is one.
    """
    template = pattern_of(mapping)
    if template is None:
        return
    function, label = declaration.function, declaration.label
    if problem := foreign_wildcard(mapping.path):
        raise ConfigurationError(report(function, label, problem))
    if not any(meet(template.pattern, f"{prefix}/*/**") for prefix in space.all_prefixes):
        problem = (
            f"no destination fits {mapping.path!r}, which is below none of the prefixes"
            f" {space.prefixes}, so it is never called: write {'/topic' + mapping.path!r}"
        )
        raise ConfigurationError(report(function, label, problem))


def check_events(declaration: Declaration, mapping: Listener, accepts: tuple[type, ...]) -> None:
    """Refuse what is no event, and a pattern for events that are about no destination.

    Raises:
        ConfigurationError: There is one among those that a listener is for.
    """
    for kind in accepts:
        found = [event for event in EVENTS if _is_below(event, kind)]
        if not found:
            raise ConfigurationError(_no_event(declaration, kind))
        for event in found:
            if mapping.path and not any(field.name == "destination" for field in fields(event)):
                problem = f"{event.__name__} is about no destination, so no pattern fits it"
                fixes = ["leave the pattern out", f"name {SessionSubscribed.__name__} instead"]
                raise ConfigurationError(
                    report(declaration.function, declaration.label, problem, *fixes)
                )


def _no_event(declaration: Declaration, kind: type) -> str:
    names = [event.__name__ for event in EVENTS]
    near = nearest(type_name(kind), names)
    problem = f"{type_name(kind)} is no event, so it is never called"
    fixes = [f"write {near}"] if near is not None else []
    fixes.append(f"name one of {', '.join(names)}")
    return report(declaration.function, declaration.label, problem, *fixes)


def _is_below(kind: type, base: type) -> bool:
    try:
        return issubclass(kind, base)
    except TypeError:  # A Protocol, or `Any`.
        return False


def _is_presence(kind: type) -> bool:
    return issubclass(kind, (PresenceJoined, PresenceLeft))

"""From a function, a controller, an advice or a module to its declarations.

Rule: read when it is recorded, never while it is decorated: only then all marks are there, and only
then a method is bound. What does not go together is refused here, with the function's name.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from types import ModuleType
from typing import Any

from stocksync_ws.errors import ConfigurationError
from stocksync_ws.messaging.hints import nearest, report, type_name
from stocksync_ws.messaging.marks import (
    NAMES,
    Advice,
    Authorization,
    Controller,
    Declaration,
    DeliveryFilter,
    ExceptionMapping,
    Interceptor,
    Listener,
    Mapped,
    Mark,
    MessageMapping,
    ReplyTo,
    SnapshotMapping,
    SubscribeMapping,
    marks_of,
    name_of,
)
from stocksync_ws.messaging.routing import Template

__all__ = ["check_imported_rules", "declarations"]


def declarations(target: Any) -> list[Declaration]:
    """What a function, a controller, an advice or a module declares, in the order it is written.

    Of a module these are the functions that are defined in it, not those it imports; controllers go
    in as instances.

    Raises:
        ConfigurationError: It declares nothing, a class is given instead of an instance, or marks
            do not go together.
    """
    if isinstance(target, ModuleType):
        found = _of_module(target)
    elif isinstance(target, type):
        raise ConfigurationError(
            f"{name_of(target)} is a class; give an instance of it: include({target.__name__}(...))"
        )
    elif _owner_marks(target):
        found = _of_owner(target)
    else:
        found = _of_function(target, marks_of(target), None, None)
    if not found:
        raise ConfigurationError(_nothing(target))
    return found


def check_imported_rules(target: object, found: list[Declaration]) -> None:
    """Refuse a module that imports a rule which nobody includes: of imported functions nothing is
    recorded, and what the rule closes would be open.

    Args:
        target: What was included.
        found: Everything that was declared.

    Raises:
        ConfigurationError: It does.
    """
    if not isinstance(target, ModuleType):
        return
    for item in list(vars(target).values()):
        if not callable(item) or isinstance(item, type) or _owner_marks(item):
            continue
        rules = [mark for mark in marks_of(item) if isinstance(mark, Authorization)]
        if rules and not any(each.function is item for each in found):
            home = getattr(item, "__module__", None)
            raise ConfigurationError(
                f"{target.__name__} imports {_shown(rules[0])} {home}.{name_of(item)}, and nothing"
                f" includes it: what the rule closes would be open; write include({home}) as well"
            )


def _nothing(target: Any) -> str:
    """The text about an object without declarations."""
    methods = [item for base in type(target).__mro__ for item in vars(base).values()]
    if any(marks_of(getattr(method, "__func__", method)) for method in methods):
        name = type(target).__name__
        return (
            f"{target!r} declares nothing, though its class {name} has handlers: put"
            f" @controller() above `class {name}`, or @controller_advice() where it only has"
            f" exception handlers"
        )
    return (
        f"{target!r} declares nothing: no @message_mapping, @subscribe_mapping, "
        f"@message_exception_handler or @event_listener; a class takes @controller or "
        f"@controller_advice, and goes in as an instance"
    )


def _of_module(module: ModuleType) -> list[Declaration]:
    found: list[Declaration] = []
    seen: set[int] = set()
    for item in vars(module).values():
        own = getattr(item, "__module__", None) == module.__name__
        if not own or isinstance(item, type) or _owner_marks(item):
            continue
        if callable(item) and id(item) not in seen:
            seen.add(id(item))
            found += _of_function(item, marks_of(item), None, None)
    return found


def _owner_marks(target: object) -> tuple[Mark, ...]:
    marks = marks_of(type(target))
    return tuple(mark for mark in marks if isinstance(mark, (Controller, Advice)))


def _of_owner(target: object) -> list[Declaration]:
    owned = _owner_marks(target)
    cls = type(target)
    owning, *more = owned
    if more:
        raise ConfigurationError(
            f"{name_of(cls)} is both @controller and @controller_advice; make two classes of it"
        )
    names = dict.fromkeys(name for base in reversed(cls.__mro__) for name in vars(base))
    found: list[Declaration] = []
    for name in names:
        static = inspect.getattr_static(cls, name)
        marks = marks_of(static) or marks_of(getattr(static, "__func__", None))
        if isinstance(static, type) or not (callable(static) or isinstance(static, classmethod)):
            continue
        _unhidden(static, marks)
        if not marks:
            _no_rule_lost(cls, name)
        if marks:
            found += _of_function(getattr(target, name), marks, owning, target)
    return found


def _no_rule_lost(cls: type, name: str) -> None:
    """Refuse a method that overrides a rule or an interceptor and is none: what that had closed
    would be open.
    """
    for base in cls.__mro__:
        for mark in marks_of(vars(base).get(name)):
            if isinstance(mark, (Authorization, Interceptor)):
                rule = isinstance(mark, Authorization)
                what, wanted = (
                    ("a rule", "@authorize") if rule else ("an interceptor", _shown(mark))
                )
                raise ConfigurationError(
                    f"{name_of(cls)}.{name} overrides {what} of {name_of(base)}, and is none"
                    f" itself: decorate it with {wanted} as well, or give it another name"
                )


def _unhidden(function: Any, marks: tuple[Mark, ...]) -> None:
    inner = function
    while not marks and hasattr(inner, "__wrapped__"):
        inner = inner.__wrapped__
        if marks_of(inner):
            raise ConfigurationError(
                f"{name_of(function)}: a foreign decorator above ours hides it; put ours on top"
            )


def _of_function(
    function: Any,
    marks: tuple[Mark, ...],
    owned: Mark | None,
    owner: object | None,
) -> list[Declaration]:
    _unhidden(function, marks)
    mappings = [mark for mark in marks if not isinstance(mark, (ReplyTo, Controller, Advice))]
    replies = tuple(mark for mark in marks if isinstance(mark, ReplyTo))
    if replies and not mappings:
        raise ConfigurationError(
            f"{name_of(function)} has a reply decorator and no mapping: add @message_mapping, "
            f"@subscribe_mapping or @message_exception_handler"
        )
    order = owned.order if isinstance(owned, Advice) else None
    prefix = owned.prefix if isinstance(owned, Controller) else ""
    found: list[Declaration] = []
    for written in mappings:
        mapping = _under(prefix, written, function)
        label = f"{_shown(mapping)} {getattr(function, '__module__', '')}.{name_of(function)}"
        if isinstance(owned, Advice) and not isinstance(mapping, ExceptionMapping):
            raise ConfigurationError(
                f"{label}: a @controller_advice only holds exception handlers; "
                f"put this into a @controller"
            )
        merged = _merged(mapping, replies, marks_of(type(owner)), order is not None)
        _check_replies(function, mapping, merged, label)
        found.append(Declaration(function, label, mapping, merged, order, owner))
    return found


def _under(prefix: str, mapping: Mapped, function: Any) -> Mapped:
    """The mapping with its whole path."""
    if not isinstance(mapping, (MessageMapping, SubscribeMapping)):
        return mapping
    path = prefix + mapping.path
    if not path:
        raise ConfigurationError(
            f"{name_of(function)}: an empty path needs a @controller with a prefix"
        )
    Template(path)
    return replace(mapping, path=path)


def _shown(mapping: Mapped) -> str:
    if isinstance(mapping, MessageMapping):
        return f"@message_mapping({mapping.path!r})"
    if isinstance(mapping, SubscribeMapping):
        return f"@subscribe_mapping({mapping.path!r})"
    if isinstance(mapping, SnapshotMapping):
        return f"@snapshot({mapping.path!r})"
    if isinstance(mapping, Authorization):
        return f"@authorize({mapping.path!r})"
    if isinstance(mapping, DeliveryFilter):
        return f"@delivery_filter({mapping.path!r})"
    if isinstance(mapping, Interceptor):
        return f"@{NAMES[type(mapping)]}()"
    if isinstance(mapping, ExceptionMapping):
        return f"@message_exception_handler({', '.join(map(type_name, mapping.exceptions))})"
    pattern = [repr(mapping.path)] if mapping.path else []
    return f"@event_listener({', '.join([*map(type_name, mapping.events), *pattern])})"


def _merged(
    mapping: Mapped, own: tuple[ReplyTo, ...], of_class: tuple[Mark, ...], advice: bool
) -> tuple[ReplyTo, ...]:
    """The replies of a method: its own, else its class's; what is empty takes the class's values.

    A class's replies are for its message mappings. Its exception handlers do not inherit them: an
    error is the sender's affair, and must not reach a topic because the class has one. An advice
    has nothing but exception handlers, so there they do.
    """
    inherits = isinstance(mapping, ExceptionMapping if advice else MessageMapping)
    defaults = [mark for mark in of_class if isinstance(mark, ReplyTo)] if inherits else []
    chosen: list[ReplyTo] = []
    for reply in own or defaults:
        same = [each for each in defaults if each.user is reply.user and each.destinations]
        if not reply.destinations and same:
            reply = replace(reply, destinations=same[0].destinations)
        chosen.append(reply)
    return tuple(sorted(chosen, key=lambda reply: not reply.user))


def _check_replies(
    function: Any, mapping: Mapped, replies: tuple[ReplyTo, ...], label: str
) -> None:
    if isinstance(mapping, Authorization) and replies:
        problem = "a rule answers yes or no to us; leave the reply decorator out"
        raise ConfigurationError(report(function, label, problem))
    if isinstance(mapping, Interceptor) and replies:
        problem = "what an interceptor returns goes nowhere; leave the reply decorator out"
        raise ConfigurationError(report(function, label, problem))
    if isinstance(mapping, SnapshotMapping) and replies:
        problem = "a snapshot goes to the new subscriber; leave the reply decorator out"
        raise ConfigurationError(report(function, label, problem))
    if isinstance(mapping, Listener) and replies:
        problem = (
            "what an event listener returns goes nowhere; leave the reply decorator out and send"
            " with the template"
        )
        raise ConfigurationError(report(function, label, problem))
    if not isinstance(mapping, (MessageMapping, SubscribeMapping)):
        return  # which variables an exception handler has, is known when it is called
    names = Template(mapping.path).names
    for reply in replies:
        for destination in reply.destinations:
            for name in Template(destination).names:
                if name not in names:
                    raise _no_variable(function, label, destination, name, names)


def _no_variable(
    function: Any, label: str, destination: str, name: str, names: tuple[str, ...]
) -> ConfigurationError:
    fixes = [f"put {{{name}}} into the path of the mapping"]
    near = nearest(name, names) or (names[0] if len(names) == 1 else None)
    if near is not None:
        wanted = destination.replace(f"{{{name}}}", f"{{{near}}}")
        fixes.insert(0, f"write {wanted!r}")
    known = ", ".join(f"{{{each}}}" for each in names) or "no variables"
    problem = f"{destination!r} needs {{{name}}}, which the mapping does not have; it has {known}"
    return ConfigurationError(report(function, label, problem, *fixes))

"""Annotations, read late and one at a time, and how errors print them.

Rule: only what binding or decoding needs is evaluated, so a return type that exists for the type
checker alone is nobody's business. A name that does not exist (yet) is `UnresolvedName`, and only
the caller knows whether it may still come. Everything here holds for annotations that are strings
(`from __future__ import annotations`), objects, or evaluated on demand (PEP 649).
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import NoneType, SimpleNamespace, UnionType
from typing import Annotated, Any, NewType, Union, cast, get_args, get_origin

from typing_extensions import Format, TypeAliasType, get_annotations, get_type_hints

from stocksync_ws.errors import ConfigurationError

__all__ = [
    "UnresolvedName",
    "class_hints",
    "class_scope",
    "line_of",
    "members",
    "metadata",
    "nearest",
    "no_path",
    "open_hints",
    "plain",
    "report",
    "resolve",
    "scope_of",
    "signature_of",
    "type_name",
    "where",
]

_SIGNATURE: dict[str, Any] = (
    # From 3.14 on, `signature` evaluates annotations and would fail for a name that is not there.
    {"annotation_format": Format.FORWARDREF}
    if "annotation_format" in inspect.signature(inspect.signature).parameters
    else {}
)


_ALIASES = (TypeAliasType, getattr(typing, "TypeAliasType", TypeAliasType))
"""The backport's and, where there is one, Python's own: they are not always the same."""


class UnresolvedName(ConfigurationError):
    """An annotation names something that does not exist where it stands, or not yet."""

    def __init__(self, annotation: object, error: Exception) -> None:
        name = getattr(error, "name", None)
        super().__init__(
            f"annotation {type_name(annotation)!r}: {error}; "
            f"import {name or 'it'} at the top of the module, not under `if TYPE_CHECKING:`, "
            f"and define it outside of functions: handlers need their annotations at run time"
        )


def resolve(
    annotation: object,
    scope: tuple[Mapping[str, Any], Mapping[str, Any]],
    *,
    extras: bool = True,
) -> Any:
    """One annotation as an object.

    Args:
        annotation: A string, a forward reference or an object with such inside.
        scope: Globals and locals of where it stands.
        extras: With what `Annotated` says in it.

    Raises:
        UnresolvedName: A name in it does not exist.
        ConfigurationError: It cannot be evaluated for another reason.
    """
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return annotation
    carrier = SimpleNamespace(__annotations__={"it": annotation})
    try:
        hints = get_type_hints(
            carrier, globalns=dict(scope[0]), localns=dict(scope[1]), include_extras=extras
        )
    except (NameError, AttributeError) as error:
        # AttributeError: `module.Name`, where a circular import has not come as far as Name.
        raise UnresolvedName(annotation, error) from error
    except Exception as error:
        raise ConfigurationError(
            f"annotation {type_name(annotation)!r} cannot be evaluated: {error}"
        ) from error
    return hints["it"]


def class_hints(cls: type) -> dict[str, Any]:
    """The annotations of a class and its bases as objects.

    Raises:
        UnresolvedName: A name in one of them does not exist.
        ConfigurationError: One cannot be evaluated for another reason.
    """
    try:
        try:
            return get_type_hints(cls, include_extras=True)
        except NameError as error:
            # A class made inside a function that refers to itself.
            if error.name != cls.__name__:
                raise
            return get_type_hints(cls, localns={cls.__name__: cls}, include_extras=True)
    except (NameError, AttributeError) as error:
        raise UnresolvedName(cls, error) from error
    except Exception as error:
        raise ConfigurationError(
            f"the annotations of {type_name(cls)} cannot be evaluated: {error}"
        ) from error


def open_hints(cls: type, unknown: Any = Any) -> dict[str, Any]:
    """As `class_hints`, but `unknown` stands for each annotation that does not resolve.

    Raises:
        ConfigurationError: One cannot be evaluated for another reason than a name in it.
    """
    try:
        return class_hints(cls)
    except UnresolvedName:
        pass
    hints: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        behind, before = class_scope(base)
        scope = ({**behind, cls.__name__: cls}, before)
        for name, annotation in get_annotations(base, format=Format.FORWARDREF).items():
            try:
                hints[name] = resolve(annotation, scope)
            except ConfigurationError:
                hints[name] = unknown  # Also ClassVar and InitVar, which are no fields.
    return hints


def class_scope(cls: type) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Globals and locals in which the annotations of a class stand."""
    # As `get_type_hints` does it: what the class itself holds comes behind its module.
    module = dict(vars(inspect.getmodule(cls) or typing))
    module.update((each.__name__, each) for each in getattr(cls, "__type_params__", ()))
    return {**vars(cls), cls.__name__: cls}, module


def plain(annotation: Any) -> Any:
    """An annotation without `Annotated`, `NewType` and alias around it; None as its type."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        elif isinstance(annotation, _ALIASES):
            annotation = annotation.__value__
        else:
            return NoneType if annotation is None else annotation


def metadata(annotation: Any) -> Iterator[object]:
    """What `Annotated` says in an annotation, from the outside, also in aliases and unions."""
    if get_origin(annotation) is Annotated:
        kind, *said = get_args(annotation)
        yield from said
        yield from metadata(kind)
    elif isinstance(annotation, _ALIASES):
        yield from metadata(annotation.__value__)
    elif get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from metadata(member)


def members(annotation: Any) -> list[Any]:
    """The members of a union, flat and plain; of anything else just itself."""
    annotation = plain(annotation)
    if get_origin(annotation) not in (Union, UnionType):
        return [annotation]
    return [inner for member in get_args(annotation) for inner in members(member)]


def type_name(annotation: object) -> str:
    """How an error prints an annotation."""
    if annotation is NoneType:
        return "None"
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return annotation.__qualname__.rpartition("<locals>.")[2]
    forward = getattr(annotation, "__forward_arg__", None)
    if isinstance(forward, str):
        return forward
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return " | ".join(type_name(item) for item in inner)
    if inner and origin is not Annotated and isinstance(origin, type):
        shown = ["..." if item is Ellipsis else type_name(item) for item in inner]
        return f"{type_name(origin)}[{', '.join(shown)}]"
    return inspect.formatannotation(annotation).replace("typing.", "")


def _inner(function: Any) -> Any:
    """The function whose code stands in a file, below partials, methods and wrappers."""
    while True:
        if hasattr(function, "__func__"):  # a method, a staticmethod, a classmethod
            function = function.__func__
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif isinstance(function, functools.partial):
            function = cast("Any", function).func
        elif not inspect.isfunction(function) and inspect.isfunction(type(function).__call__):
            function = type(function).__call__
        else:
            return function


def scope_of(function: Callable[..., Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Globals and locals in which the annotations of a function stand."""
    inner = _inner(function)
    if not inspect.isfunction(inner):
        return {}, {}
    local: dict[str, Any] = {p.__name__: p for p in getattr(inner, "__type_params__", ())}
    for name, cell in zip(inner.__code__.co_freevars, inner.__closure__ or (), strict=True):
        try:
            local[name] = cell.cell_contents
        except ValueError:
            continue  # not assigned yet: unresolved if an annotation needs it
    return inner.__globals__, local


def signature_of(function: Callable[..., Any], label: str) -> inspect.Signature:
    """The parameters of a function, annotations as they were written.

    Raises:
        ConfigurationError: It is not written in Python, or cannot be called.
    """
    try:
        return inspect.signature(function, **_SIGNATURE)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"{label}: {function!r} has no signature to bind; wrap it in a function"
        ) from error


def line_of(function: Callable[..., Any]) -> str:
    """File and line of a function; empty for one that is not written in Python."""
    code = getattr(_inner(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else ""


def where(function: Callable[..., Any], signature: inspect.Signature) -> str:
    """File, line and signature of a function, as the first line of an error prints them."""
    inner = _inner(function)
    line = line_of(function)
    place = f"{line}: " if line else ""
    name = getattr(inner, "__qualname__", repr(inner)).rpartition("<locals>.")[2]
    shown = [_shown(parameter) for parameter in signature.parameters.values()]
    return f"{place}{name}({', '.join(shown)})"


def report(function: Callable[..., Any], label: str, problem: str, *fixes: str) -> str:
    """The text of an error about a declaration.

    Args:
        function: The function, whose file, line and signature are the first line.
        label: What it is declared as, the second.
        problem: The third.
        fixes: What to write instead, a line each.
    """
    lines = [where(function, signature_of(function, label)), f"  {label}", f"  {problem}"]
    if fixes:
        lines.append("  possible fixes:")
        lines += [f"    - {fix}" for fix in fixes]
    return "\n".join(lines)


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name that was probably meant, None when none is near."""
    from difflib import get_close_matches  # Costs a millisecond, and only mistakes need it.

    return next(iter(get_close_matches(name, list(names), n=1)), None)


def no_path(decorator: str, subject: str, example: str, given: object) -> str:
    """The text about a decorator whose path is no text.

    Args:
        decorator: Its name.
        subject: What it calls its path.
        example: One that it takes.
        given: What it was given: several of them, the function itself, or nothing.
    """
    if isinstance(given, (list, tuple)) and given and decorator != "controller":
        each = [f"@{decorator}({one!r})" for one in cast("list[object]", given)]
        above = " above one another" if len(each) > 1 else ""
        return f"@{decorator} takes one text, not {given!r}: write {' and '.join(each)}{above}"
    return (
        f'@{decorator} needs its {subject}: write @{decorator}("{example}") with parentheses,'
        f" not @{decorator} alone"
    )


def _shown(parameter: inspect.Parameter) -> str:
    text = str(parameter.replace(annotation=inspect.Parameter.empty))
    if parameter.annotation is inspect.Parameter.empty:
        return text
    name, separator, default = text.partition("=")
    return f"{name}: {type_name(parameter.annotation)}" + (f" = {default}" if separator else "")

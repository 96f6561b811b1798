"""Declared results: what a function says it returns has to have a JSON form, before a message asks.

Rule: a result type that is not declared, or whose name exists for the type checker alone, is
nobody's business: then the value decides. `object`, `Any`, Protocols and type variables say
nothing.
"""

from __future__ import annotations

import collections.abc as abc
import dataclasses
import inspect
from collections.abc import Callable
from datetime import date, time
from decimal import Decimal
from enum import Enum
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin
from uuid import UUID

from typing_extensions import is_protocol, is_typeddict

from stocksync_ws.errors import ConfigurationError
from stocksync_ws.messaging.hints import (
    class_hints,
    members,
    resolve,
    scope_of,
    signature_of,
    type_name,
    where,
)
from stocksync_ws.messaging.models import is_model

__all__ = ["check_result"]

_OCTETS = (bytes, bytearray, memoryview)
_VALUES = (NoneType, str, bool, int, float, Decimal, UUID, date, time, Enum)
_LISTS = (list, tuple, set, frozenset, abc.Set)
_KEYS = (str, int, UUID, Enum)


def check_result(function: Callable[..., Any], label: str) -> None:
    """Check that what a function is declared to return can be sent.

    Args:
        function: A handler, a snapshot function or an exception handler.
        label: What an error calls the declaration.

    Raises:
        ConfigurationError: Something in its return annotation has no JSON form; the text says what.
    """
    signature = signature_of(function, label)
    annotation = signature.return_annotation
    if annotation is inspect.Signature.empty:
        return
    try:
        annotation = resolve(annotation, scope_of(function))
    except ConfigurationError:
        return
    kinds = [kind for kind in members(annotation) if kind not in _OCTETS]
    try:
        for kind in kinds:
            _check(kind, set())
    except _Unsendable as problem:
        raise ConfigurationError(
            f"{where(function, signature)} -> {type_name(annotation)}\n  {label}\n"
            f"  it cannot be sent: {problem}\n  possible are str, bytes, and as JSON: numbers,"
            f" dates, UUIDs, enums, dataclasses, TypedDicts, models of pydantic and msgspec, lists"
            f" and dicts of these; return one of them, or None and send by the template"
        ) from None


class _Unsendable(Exception):
    """Internal: a type without JSON form."""


def _check(annotation: Any, seen: set[Any]) -> None:
    for kind in members(annotation):
        _check_one(kind, seen)


def _check_one(kind: Any, seen: set[Any]) -> None:
    origin: Any = get_origin(kind) or kind
    inner: tuple[Any, ...] = get_args(kind)
    if origin is Literal or isinstance(kind, TypeVar) or kind in (Any, object):
        return
    if is_typeddict(origin):
        _check_fields(origin, class_hints(origin), seen)
        return
    if not _is_class(origin) or is_protocol(origin) or is_model(origin):
        return
    if issubclass(origin, _VALUES):
        return
    if dataclasses.is_dataclass(origin):
        record: Any = origin
        hints = class_hints(record)
        names = {field.name: hints[field.name] for field in dataclasses.fields(record)}
        _check_fields(record, names, seen)
    elif issubclass(origin, abc.Mapping):
        _check_mapping(kind, inner, seen)
    elif issubclass(origin, _LISTS) or origin in (abc.Sequence, abc.Collection):
        for item in inner:
            if item is not Ellipsis:
                _check(item, seen)
    else:
        raise _Unsendable(_reason(origin, kind))


def _check_fields(owner: Any, fields: dict[str, Any], seen: set[Any]) -> None:
    if owner in seen:
        return
    seen.add(owner)
    for name, annotation in fields.items():
        try:
            _check(_bare(annotation), seen)
        except _Unsendable as problem:
            raise _Unsendable(f"{type_name(owner)}.{name}: {problem}") from None


def _bare(annotation: Any) -> Any:
    """Without `Required`, `NotRequired` and `ReadOnly` of a TypedDict."""
    while getattr(get_origin(annotation), "_name", "") in ("Required", "NotRequired", "ReadOnly"):
        annotation = get_args(annotation)[0]
    return annotation


def _check_mapping(kind: Any, inner: tuple[Any, ...], seen: set[Any]) -> None:
    if len(inner) != 2:
        return
    for key in members(inner[0]):
        if key is bool or (key is not object and _is_class(key) and _is_no_key(key)):
            raise _Unsendable(
                f"{type_name(kind)}: a key is {type_name(key)}; it can be str, int, UUID or an enum"
            )
    _check(inner[1], seen)


def _is_class(kind: Any) -> bool:
    return isinstance(kind, type)


def _is_no_key(key: Any) -> bool:
    return not issubclass(key, _KEYS)


def _reason(origin: Any, kind: Any) -> str:
    if issubclass(origin, _OCTETS):
        return f"{type_name(kind)} has no JSON form; return it alone, or encode it as text"
    if issubclass(origin, abc.Awaitable):
        return f"{type_name(kind)} is not awaited; make the function `async def`"
    if issubclass(origin, (abc.Iterator, abc.AsyncIterator)):
        return f"{type_name(kind)} is made piece by piece; return a list"
    return f"{type_name(kind)} has no JSON form"

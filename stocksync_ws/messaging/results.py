"""Declared results: compiled to what writes them, or refused before a message asks.

Rule: a declared result decides how a value is written: its fields, and no others that a class below
it has. A result type that is not declared, or whose name exists for the type checker alone, is
nobody's business: then the value decides. `object`, `Any`, Protocols and type variables say
nothing.
"""

from __future__ import annotations

import collections.abc as abc
import dataclasses
import inspect
from collections.abc import Callable, Iterator
from datetime import date, time
from decimal import Decimal
from enum import Enum
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin
from uuid import UUID

from typing_extensions import is_protocol, is_typeddict

from stocksync_ws.errors import ConfigurationError
from stocksync_ws.messaging.hints import (
    UnresolvedName,
    class_hints,
    members,
    resolve,
    scope_of,
    signature_of,
    type_name,
    where,
)
from stocksync_ws.messaging.models import is_model, model_writer, struct_maker
from stocksync_ws.messaging.shapes import keys_of
from stocksync_ws.messaging.writers import (
    ANYTHING,
    Member,
    Writer,
    choice_writer,
    dict_writer,
    list_writer,
    record_writer,
    scalar_writer,
    tuple_writer,
    typed_dict_writer,
    union_writer,
)

__all__ = ["result_writer"]

_OCTETS = (bytes, bytearray, memoryview)
_VALUES = (NoneType, str, bool, int, float, Decimal, UUID, date, time, Enum)
_LISTS: tuple[type, ...] = (list, tuple, set, frozenset, abc.Set)
_AS_THEY_ARE: tuple[type, ...] = (list, tuple, set, frozenset)
"""Classes that JSON takes by itself, whatever is inside."""
_KEYS = (str, int, UUID, Enum)
_TAKES: dict[Any, tuple[type, ...]] = {float: (float, int), bytes: _OCTETS}
"""Instances that a type checker takes for a class, beside those of classes below it."""


def result_writer(function: Callable[..., Any], label: str) -> Writer | None:
    """Compile what a function is declared to return; None when the value decides.

    Args:
        function: A handler, a snapshot function or an exception handler.
        label: How an error calls the declaration.

    Raises:
        ConfigurationError: Something in its return annotation has no JSON form; the text says what.
    """
    signature = signature_of(function, label)
    annotation = signature.return_annotation
    if annotation is inspect.Signature.empty:
        return None
    try:
        annotation = resolve(annotation, scope_of(function))
    except ConfigurationError:
        return None
    try:
        writer = _Compiler().compile(annotation, octets=True)
    except RecursionError:
        return None  # An alias that refers to itself.
    except _Unsendable as problem:
        raise ConfigurationError(
            f"{where(function, signature)} -> {type_name(annotation)}\n  {label}\n"
            f"  it cannot be sent: {problem}\n  possible are str, bytes, and as JSON: numbers,"
            f" dates, UUIDs, enums, dataclasses, TypedDicts, models of pydantic and msgspec, lists"
            f" and dicts of these; return one of them, or None and send by the template"
        ) from None
    return None if writer is ANYTHING else writer


class _Unsendable(Exception):
    """Internal: a type without JSON form."""


class _Compiler:
    """One run of `result_writer`."""

    def __init__(self) -> None:
        self._records: dict[Any, Writer] = {}
        self._inside = 0
        """So many models around: what stands in them is written as their package writes it."""

    def compile(self, annotation: Any, *, octets: bool = False) -> Writer:
        """The writer of an annotation.

        Args:
            annotation: Evaluated.
            octets: It is the whole result, which may be octets.

        Raises:
            _Unsendable: It has no JSON form.
        """
        writers = [
            scalar_writer(_TAKES.get(kind, (kind,)), type_name(kind))
            if octets and kind in _OCTETS
            else self._one(kind)
            for kind in members(annotation)
        ]
        if len(writers) == 1:
            return writers[0]
        if ANYTHING in writers:
            return ANYTHING
        return union_writer(writers, " | ".join(writer.name for writer in writers))

    def _one(self, kind: Any) -> Writer:
        origin: Any = get_origin(kind) or kind
        inner: tuple[Any, ...] = get_args(kind)
        name = type_name(kind)
        if origin is Literal:
            return choice_writer(inner, name)
        if isinstance(kind, TypeVar) or kind in (Any, object):
            return ANYTHING
        if is_typeddict(origin):
            return self._typed_dict(kind, origin)
        if not isinstance(origin, type) or is_protocol(origin):
            return ANYTHING
        model = model_writer(kind)
        if model is not None:
            return model
        if dataclasses.is_dataclass(origin) or is_model(origin):
            return self._record(kind, origin)
        if issubclass(origin, _VALUES):
            return scalar_writer(_TAKES.get(origin, (origin,)), name)
        if issubclass(origin, abc.Mapping):
            return self._mapping(origin, inner, name)
        if issubclass(origin, _LISTS) or origin in (abc.Sequence, abc.Collection):
            return self._list(origin, inner, name)
        if self._inside:
            return ANYTHING
        raise _Unsendable(_reason(origin, kind))

    # Containers

    def _list(self, origin: Any, inner: tuple[Any, ...], name: str) -> Writer:
        if hasattr(origin, "_fields") and not inner:
            items = [self.compile(hint) for hint in _hints(origin).values()]
            return tuple_writer(origin, items, name)
        if origin is tuple and inner and inner[-1] is not Ellipsis:
            return tuple_writer(tuple, [self.compile(item) for item in inner], name)
        item = self.compile(inner[0]) if inner else ANYTHING
        if item is ANYTHING and issubclass(origin, _AS_THEY_ARE):
            return scalar_writer((origin,), name)
        return list_writer(origin, item, name)

    def _mapping(self, origin: Any, inner: tuple[Any, ...], name: str) -> Writer:
        if len(inner) != 2:
            return scalar_writer((origin,), name)
        for key in members(inner[0]):
            if key is bool or (key is not object and _is_class(key) and _is_no_key(key)):
                raise _Unsendable(
                    f"{name}: a key is {type_name(key)}; it can be str, int, UUID or an enum"
                )
        item = self.compile(inner[1])
        if item is ANYTHING:
            return scalar_writer((origin,), name)
        return dict_writer(origin, self.compile(inner[0]), item, name)

    # Records

    def _record(self, kind: Any, origin: Any) -> Writer:
        if kind in self._records:
            return self._records[kind]  # it refers to itself, and is being compiled
        fields: list[Member] = []
        hints = _hints(origin)
        if not hints and is_model(origin):
            return scalar_writer((origin,), type_name(kind))
        writer = record_writer(origin, fields, type_name(kind), struct_maker(origin))
        self._records[kind] = writer
        names: tuple[str, ...] = (
            tuple(field.name for field in dataclasses.fields(origin))
            if dataclasses.is_dataclass(origin)
            else origin.__struct_fields__
        )
        listed = [(name, hints.get(name, Any), True) for name in names]
        self._inside += is_model(origin)
        fields += self._members(kind, origin, listed)
        self._inside -= is_model(origin)
        return writer

    def _typed_dict(self, kind: Any, origin: Any) -> Writer:
        if kind in self._records:
            return self._records[kind]
        hints = _hints(origin)
        if not hints:
            return scalar_writer((abc.Mapping,), type_name(kind))
        keys: list[Member] = []
        writer = self._records[kind] = typed_dict_writer(keys, type_name(kind))
        keys += self._members(kind, origin, keys_of(origin, hints))
        return writer

    def _members(
        self, kind: Any, origin: Any, listed: list[tuple[str, Any, bool]]
    ) -> Iterator[Member]:
        given = dict(zip(getattr(origin, "__parameters__", ()), get_args(kind), strict=False))
        for name, hint, required in listed:
            try:
                compiled = self.compile(_given(hint, given))
            except _Unsendable as problem:
                raise _Unsendable(f"{type_name(origin)}.{name}: {problem}") from None
            yield Member(name, *compiled, required)


def _hints(cls: Any) -> dict[str, Any]:
    """The annotations of a class; nothing when one has a name that does not exist at run time."""
    try:
        return class_hints(cls)
    except UnresolvedName:
        return {}


def _given(hint: Any, given: dict[Any, Any]) -> Any:
    """An annotation with what its type variables stand for."""
    if isinstance(hint, TypeVar):
        return given.get(hint, hint)
    open_for: tuple[Any, ...] = getattr(hint, "__parameters__", ())
    if not given or not open_for or isinstance(hint, type):
        return hint
    return hint[tuple(given.get(each, each) for each in open_for)]


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

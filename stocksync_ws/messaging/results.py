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
from types import GenericAlias, NoneType
from typing import (
    Any,
    Generic,
    Literal,
    NotRequired,
    Protocol,
    TypeVar,
    Unpack,
    get_args,
    get_origin,
)
from uuid import UUID

from typing_extensions import Format, get_annotations, is_protocol, is_typeddict

from stocksync_ws.errors import ConfigurationError
from stocksync_ws.messaging.hints import (
    class_scope,
    members,
    open_hints,
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
    KEYS,
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
_AS_THEY_ARE: tuple[type, ...] = (list, tuple, set, frozenset)
"""Classes that JSON takes by itself, whatever is inside."""
_KEYS = (str, int, float, NoneType, UUID, Enum)
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
        self._records: list[tuple[Any, bool, Writer]] = []
        """A class, whether a model is around it, and its writer, also while it is compiled."""
        self._given: dict[Any, Any] = {}
        """What type variables stand for where the annotation stands that is being compiled."""
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

    def _compile_in(self, given: dict[Any, Any], hint: Any) -> Writer:
        """The writer of an annotation in whose class type variables stand for something."""
        around, self._given = self._given, given
        try:
            return self.compile(_filled(hint, given))
        finally:
            self._given = around

    def _one(self, kind: Any) -> Writer:
        if _is_class(kind):
            kind = _filled(kind, self._given)  # `list[Page[T]]` does not tell that it holds one.
        origin: Any = get_origin(kind) or kind
        name = type_name(kind)
        if origin is Literal:
            return choice_writer(get_args(kind), name)
        if isinstance(kind, TypeVar) or kind in (Any, object):
            return ANYTHING
        if is_typeddict(origin):
            return self._typed_dict(kind, origin)
        if not _is_class(origin) or is_protocol(origin):
            return ANYTHING
        model = model_writer(kind)
        if model is not None:
            return model
        if dataclasses.is_dataclass(origin) or is_model(origin):
            return self._record(kind, origin)
        if _below(origin, _VALUES):
            return scalar_writer(_TAKES.get(origin, (origin,)), name)
        if _below(origin, abc.Mapping):
            return self._mapping(kind, origin, name)
        if _below(origin, abc.Collection) and not _below(origin, _OCTETS):
            return self._list(kind, origin, name)
        if self._inside:
            return scalar_writer(_TAKES.get(origin, (origin,)), name)
        raise _Unsendable(_reason(origin, kind))

    # Containers

    def _list(self, kind: Any, origin: Any, name: str) -> Writer:
        if _below(origin, tuple) and hasattr(origin, "_fields"):
            hints, given = open_hints(origin), _given_in(kind)
            fields = [(each, hints.get(each, Any)) for each in origin._fields]
            items = [self._compile_in(given.get(each, {}), hint) for each, hint in fields]
            return tuple_writer(origin, items, name)
        inner = _arguments(kind, abc.Collection)
        if any(_unpacks(item) for item in inner):
            inner = ()
        if _below(origin, tuple) and inner and inner[-1] is not Ellipsis:
            return tuple_writer(origin, [self.compile(item) for item in inner], name)
        if _below(origin, abc.ItemsView) and len(inner) == 2:
            inner = (GenericAlias(tuple, inner),)
        item = self.compile(inner[0]) if inner else ANYTHING
        if item is ANYTHING and _below(origin, _AS_THEY_ARE):
            return scalar_writer((origin,), name)
        return list_writer(origin, item, name)

    def _mapping(self, kind: Any, origin: Any, name: str) -> Writer:
        inner = _arguments(kind, abc.Mapping)
        if len(inner) != 2:
            return scalar_writer((origin,), name)
        for key in members(inner[0]):
            if _is_no_key(key) and not self._inside:
                raise _Unsendable(f"{name}: a key is {type_name(key)}; it can be {KEYS}")
        item = self.compile(inner[1])
        if item is ANYTHING:
            return scalar_writer((origin,), name)
        return dict_writer(origin, self.compile(inner[0]), item, name)

    # Records

    def _known(self, kind: Any) -> Writer | None:
        """That of a class that refers to itself, and is being compiled, or was compiled already."""
        inside = bool(self._inside)
        # By `==`: an argument, such as `Annotated[int, {}]`, need not be hashable.
        found = (writer for known, at, writer in self._records if at is inside and known == kind)
        return next(found, None)

    def _record(self, kind: Any, origin: Any) -> Writer:
        known = self._known(kind)
        if known is not None:
            return known
        fields: list[Member] = []
        names = _field_names(origin)
        if not names and is_model(origin):
            return scalar_writer((origin,), type_name(kind))
        writer = record_writer(origin, fields, type_name(kind), struct_maker(origin))
        self._records.append((kind, bool(self._inside), writer))
        hints = open_hints(origin)
        listed = [(name, hints.get(name, Any), True) for name in names]
        self._inside += is_model(origin)
        fields += self._members(kind, origin, listed)
        self._inside -= is_model(origin)
        return writer

    def _typed_dict(self, kind: Any, origin: Any) -> Writer:
        known = self._known(kind)
        if known is not None:
            return known
        keys: list[Member] = []
        writer = typed_dict_writer(keys, type_name(kind))
        self._records.append((kind, bool(self._inside), writer))
        # Whether a key may be missing is not known either, where its annotation does not resolve.
        keys += self._members(kind, origin, keys_of(origin, open_hints(origin, NotRequired[Any])))
        return writer

    def _members(
        self, kind: Any, origin: Any, listed: list[tuple[str, Any, bool]]
    ) -> Iterator[Member]:
        given = _given_in(kind)
        for name, hint, required in listed:
            try:
                compiled = self._compile_in(given.get(name, {}), hint)
            except _Unsendable as problem:
                raise _Unsendable(f"{type_name(origin)}.{name}: {problem}") from None
            yield Member(name, *compiled, required)


# Type variables


def _made_from(origin: Any) -> tuple[Any, ...]:
    """The bases of a class as they were written, where one of them has arguments."""
    bases: tuple[Any, ...] = origin.__dict__.get("__orig_bases__", ())
    return bases


def _bases(kind: Any) -> Iterator[Any]:
    """The classes that a class is made from, with its own arguments in theirs."""
    origin: Any = get_origin(kind) or kind
    given = _given(kind)
    for base in _made_from(origin) or origin.__bases__:
        made: Any = get_origin(base) or base
        if _is_class(made) and made not in (Generic, Protocol):
            yield _filled(_resolved(base, class_scope(origin)), given)


def _given(kind: Any) -> dict[Any, Any]:
    """What the type variables of a class stand for."""
    origin: Any = get_origin(kind) or kind
    # `class Ranks(dict[str, T])` has no `__parameters__`, since it does not come from `Generic`.
    implied = (each for base in _made_from(origin) for each in getattr(base, "__parameters__", ()))
    parameters: tuple[Any, ...] = getattr(origin, "__parameters__", None) or tuple(
        dict.fromkeys(implied)
    )
    if not all(isinstance(each, TypeVar) for each in parameters):
        return {}  # One of them may stand for several arguments.
    # What `Annotated` says need not be hashable, and a union is not made of that.
    bare = [_resolved(each, ({}, {}), extras=False) for each in get_args(kind)]
    return dict(zip(parameters, bare, strict=False))


def _resolved(annotation: Any, scope: Any, *, extras: bool = True) -> Any:
    try:
        return resolve(annotation, scope, extras=extras)
    except ConfigurationError:
        return annotation


def _given_in(kind: Any) -> dict[str, dict[Any, Any]]:
    """What the type variables in the annotation of each field stand for: a class below
    `Page[Item]` may call another type by the same variable.
    """
    origin: Any = get_origin(kind) or kind
    found: dict[str, dict[Any, Any]] = {}
    for base in reversed(list(_bases(kind))):
        found |= _given_in(base)
    given = _given(kind)
    own = dict.fromkeys(get_annotations(origin, format=Format.FORWARDREF), given)
    # A TypedDict repeats the annotations of those that it is made from.
    return own | found if is_typeddict(origin) else found | own


def _arguments(kind: Any, root: type) -> tuple[Any, ...]:
    """The arguments of the container that a class is, or is made from: `class Team(list[Item])`."""
    inner: tuple[Any, ...] = get_args(kind)
    if inner and not _made_from(get_origin(kind)):
        return inner
    for base in _bases(kind):
        found = _arguments(base, root) if _below(get_origin(base) or base, root) else ()
        if found:
            return found
    return ()


def _filled(hint: Any, given: dict[Any, Any]) -> Any:
    """An annotation with what its type variables stand for."""
    if isinstance(hint, TypeVar):
        return given.get(hint, hint)
    open_for: tuple[Any, ...] = getattr(hint, "__parameters__", ())
    if _is_class(hint):
        # `Page[T]` of a model of pydantic is a class too, even `Page` itself.
        open_for = getattr(hint, "__pydantic_generic_metadata__", {}).get("parameters", ())
    if not given or not open_for or not all(isinstance(each, TypeVar) for each in open_for):
        return hint
    return hint[tuple(given.get(each, each) for each in open_for)]


def _unpacks(item: Any) -> bool:
    """Whether it stands for several: `*Ts`, `*tuple[int, ...]`."""
    return getattr(item, "__unpacked__", False) or get_origin(item) is Unpack


# Questions to a class, which do not narrow what a type checker knows of it


def _is_class(kind: Any) -> bool:
    return isinstance(kind, type)


def _below(kind: Any, base: type | tuple[type, ...]) -> bool:
    return issubclass(kind, base)


def _is_no_key(key: Any) -> bool:
    return _is_class(key) and key is not object and not _below(key, _KEYS)


def _field_names(cls: Any) -> tuple[str, ...]:
    if dataclasses.is_dataclass(cls):
        return tuple(field.name for field in dataclasses.fields(cls))
    names: tuple[str, ...] = cls.__struct_fields__
    return names


def _reason(origin: Any, kind: Any) -> str:
    if issubclass(origin, _OCTETS):
        return f"{type_name(kind)} has no JSON form; return it alone, or encode it as text"
    if issubclass(origin, abc.Awaitable):
        return f"{type_name(kind)} is not awaited; make the function `async def`"
    if origin in (abc.Iterable, abc.Reversible):
        return f"{type_name(kind)} may be made piece by piece; write Sequence or list"
    if issubclass(origin, (abc.Iterator, abc.AsyncIterator)):
        return f"{type_name(kind)} is made piece by piece; return a list"
    return f"{type_name(kind)} has no JSON form"

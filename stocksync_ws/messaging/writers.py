"""Writers of results: a value as its declared type says, on the way to JSON, or a `Mismatch`.

Rule: what a type checker takes for a type is taken here: an int for a float, a class below the
declared one, which is written as the declared one. Scalars stay as they are, since JSON is the
business of `convert.py`.

The factories here make one writer from the writers of what is inside; `results.py` decides which
annotation gets which.
"""

from __future__ import annotations

import collections.abc as abc
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any, NamedTuple, TypeAlias

from stocksync_ws.messaging.readers import step
from stocksync_ws.messaging.scalars import Mismatch

__all__ = [
    "ANYTHING",
    "KEYS",
    "Member",
    "Write",
    "Writer",
    "as_declared",
    "choice_writer",
    "dict_writer",
    "list_writer",
    "record_writer",
    "scalar_writer",
    "tuple_writer",
    "typed_dict_writer",
    "union_writer",
]

Write: TypeAlias = Callable[[Any], Any]

KEYS = "str, a number, bool, None, a UUID or an enum"
"""What a key may be, in errors: `json` writes all but the last two as texts, and so do we."""

_MISSING: Any = object()
_NO_LISTS: tuple[type, ...] = (str, bytes, bytearray, abc.Mapping)
"""Iterables that nobody means as a list of items."""
_MAPPING: tuple[type, ...] = (abc.Mapping,)


class Writer(NamedTuple):
    """A compiled result type."""

    kinds: tuple[type, ...]
    """A value is an instance of one of them."""
    write: Write | None
    """Makes of such a value what is written; None: it stays as it is."""
    name: str
    """The name of the type in errors."""


ANYTHING = Writer((object,), None, "anything")
"""The value decides."""


class Member(NamedTuple):
    """A field of a record, or a key of a TypedDict."""

    name: str
    kinds: tuple[type, ...]
    write: Write | None
    type_name: str
    required: bool


def _expected(name: str, value: object) -> Mismatch:
    shown = "None" if value is None else type(value).__name__
    return Mismatch(f"expected {name}, got {shown}")


def as_declared(writer: Writer, value: Any) -> Any:
    """Write a value.

    Raises:
        Mismatch: It is not of the declared type.
    """
    if not isinstance(value, writer.kinds):
        raise _expected(writer.name, value)
    return value if writer.write is None else writer.write(value)


def scalar_writer(kinds: tuple[type, ...], name: str) -> Writer:
    return Writer(kinds, None, name)


def choice_writer(values: tuple[Any, ...], name: str) -> Writer:
    """A Literal."""
    kinds: tuple[type, ...] = tuple([value.__class__ for value in values])

    def write(value: Any) -> Any:
        for item in values:
            if value == item and isinstance(value, type(item)):
                return value
        raise Mismatch(f"expected {name}, got another value")

    return Writer(kinds, write, name)


# Containers


def list_writer(kind: type, item: Writer, name: str) -> Writer:
    """Lists, sets, tuples of any length, and other collections, but no texts and no mappings."""
    kinds, write_item, item_name = item

    def write(value: Any) -> Any:
        if isinstance(value, _NO_LISTS):
            raise _expected(name, value)
        written: list[Any] = []
        try:
            for each in value:
                if not isinstance(each, kinds):
                    raise _expected(item_name, each)
                written.append(each if write_item is None else write_item(each))
        except Mismatch as error:
            error.path.append(f"[{len(written)}]")
            raise
        return written

    return Writer((kind,), write, name)


def tuple_writer(kind: type, items: list[Writer], name: str) -> Writer:
    """Tuples of this length; a NamedTuple is one."""
    wanted = f"{len(items)} item" + ("" if len(items) == 1 else "s")

    def write(value: Any) -> Any:
        if len(value) != len(items):
            raise Mismatch(f"expected {wanted}, got {len(value)}")
        written: list[Any] = []
        try:
            for item, each in zip(items, value, strict=True):
                written.append(as_declared(item, each))
        except Mismatch as error:
            error.path.append(f"[{len(written)}]")
            raise
        return written

    return Writer((kind,), write, name)


def dict_writer(kind: type, key: Writer, item: Writer, name: str) -> Writer:
    """Mappings; a key stays as it is, as `convert.py` writes it."""
    kinds, write_item, item_name = item

    def write(value: Mapping[Any, Any]) -> Any:
        written: dict[Any, Any] = {}
        at: Any = ""
        try:
            for at, each in value.items():
                if not isinstance(at, key.kinds):
                    raise _expected(f"a key that is {key.name}", at)
                if not isinstance(each, kinds):
                    raise _expected(item_name, each)
                written[at] = each if write_item is None else write_item(each)
        except Mismatch as error:
            error.path.append(step(str(at)))
            raise
        return written

    return Writer((kind,), write, name)


# Records


def record_writer(
    kind: type,
    fields: list[Member],
    name: str,
    make: Callable[[dict[str, Any], Any], Any] | None = None,
) -> Writer:
    """An object by its declared fields.

    Args:
        kind: Its class.
        fields: May be filled later: a class can refer to itself.
        name: How an error calls it.
        make: What makes of the written fields and the object what is written; None: they are it.
    """

    def write(value: Any) -> Any:
        written: dict[str, Any] = {}
        field = ""
        try:
            for field, kinds, write_it, type_name, _ in fields:
                item = getattr(value, field)
                if not isinstance(item, kinds):
                    raise _expected(type_name, item)
                written[field] = item if write_it is None else write_it(item)
        except Mismatch as error:
            error.path.append(step(field))
            raise
        except AttributeError as error:
            raise Mismatch(str(error), step(field)) from error
        return written if make is None else make(written, value)

    return Writer((kind,), write, name)


def typed_dict_writer(keys: list[Member], name: str) -> Writer:
    """A mapping with known keys; others are not written."""

    def write(value: Mapping[str, Any]) -> Any:
        written: dict[str, Any] = {}
        key = ""
        try:
            for key, kinds, write_it, type_name, required in keys:
                item = value.get(key, _MISSING)
                if item is not _MISSING:
                    if not isinstance(item, kinds):
                        raise _expected(type_name, item)
                    written[key] = item if write_it is None else write_it(item)
                elif required:
                    raise Mismatch("missing")
        except Mismatch as error:
            error.path.append(step(key))
            raise
        return written

    return Writer(_MAPPING, write, name)


# Unions


def union_writer(writers: list[Writer], name: str) -> Writer:
    """The member whose class is nearest to the value's, of several the first that it fits; of
    TypedDicts and other Mappings, which are all as near, the one that leaves the fewest keys out.
    """
    kinds = tuple(dict.fromkeys(kind for writer in writers for kind in writer.kinds))
    if all(writer.write is None for writer in writers):
        return Writer(kinds, None, name)

    def nearest_first(kind: type) -> list[Writer]:
        place = {cls: at for at, cls in enumerate(kind.__mro__)}
        far = len(place)
        return sorted(writers, key=lambda writer: min(place.get(it, far) for it in writer.kinds))

    def write(value: Any) -> Any:
        deepest: Mismatch | None = None
        fullest: Any = None
        for writer in nearest_first(value.__class__):
            if fullest is not None and writer.kinds != _MAPPING:
                continue
            try:
                written = as_declared(writer, value)
            except Mismatch as error:
                if deepest is None or len(error.path) > len(deepest.path):
                    deepest = error
                continue
            if writer.kinds != _MAPPING:
                return written
            if fullest is None or len(written) > len(fullest):
                fullest = written
        if fullest is not None:
            return fullest
        assert deepest is not None
        raise deepest if deepest.path else Mismatch(f"fits none of {name}")

    others = [writer for writer in writers if writer.kinds != (NoneType,)]
    if len(others) < len(writers) and len(others) == 1:
        inner = others[0].write
        assert inner is not None

        def write_optional(value: Any) -> Any:
            return None if value is None else inner(value)

        return Writer(kinds, write_optional, name)
    return Writer(kinds, write, name)

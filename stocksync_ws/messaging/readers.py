"""Readers of JSON values: small functions that take a value as it is, or raise `Mismatch`.

Rule: strict. A value has the JSON type its annotation asks for: no number from a string, no int
from a float, no bool from a number. Two exceptions, because JSON has one kind of number: an int is
a float, and both are a Decimal. Unknown keys are ignored, missing ones without a default are not.

The factories here make one reader from the readers of what is inside; `shapes.py` decides which
annotation gets which.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from types import NoneType
from typing import Any, NamedTuple, TypeAlias, cast

from stocksync_ws.messaging.hints import type_name
from stocksync_ws.messaging.scalars import (
    FROM_TEXT,
    Mismatch,
    TextReader,
    expected_one,
    fit_integer,
    text_reader,
    to_decimal,
    to_float,
)

__all__ = [
    "JSON_TYPES",
    "SCALARS",
    "Field",
    "Reader",
    "Shape",
    "choice_shape",
    "dict_shape",
    "expected",
    "first_fitting",
    "int_shape",
    "list_shape",
    "record_shape",
    "step",
    "tuple_shape",
]

Reader: TypeAlias = Callable[[Any], Any]

_MISSING: Any = object()
_KEY_LENGTH = 40
JSON_TYPES = (str, int, float, bool, NoneType, list, dict, Decimal)
"""The types `json` makes; Decimal instead of float where the annotation asks for Decimals."""


class Shape(NamedTuple):
    """A compiled annotation."""

    read: Reader
    kinds: frozenset[type]
    """The JSON types it can take."""
    name: str
    """What an error calls it."""


def step(key: str) -> str:
    """One step of a path into an object; a key that is no identifier is quoted, escaped and cut."""
    return f".{key}" if key.isidentifier() and key.isascii() else f"[{key[:_KEY_LENGTH]!a}]"


def _kind_name(value: object) -> str:
    if isinstance(value, Decimal):
        return "float"
    return "None" if value is None else type(value).__name__


def expected(name: str, value: object) -> Mismatch:
    return Mismatch(f"expected {name}, got {_kind_name(value)}")


# Scalars


def _exactly(kind: type) -> Shape:
    name = type_name(kind)

    def read(value: Any) -> Any:
        if type(value) is kind:
            return value
        raise expected(name, value)

    return Shape(read, frozenset((kind,)), name)


def int_shape(bits: int | None) -> Shape:
    """An integer of at most so many bits; None: of any size."""

    def read(value: Any) -> int:
        if type(value) is int:
            return fit_integer(value, bits)
        raise expected("int", value)

    return Shape(read, frozenset((int,)), "int")


def _read_float(value: Any) -> float:
    if type(value) is float:
        return value
    if type(value) is int or type(value) is Decimal:
        return to_float(value)
    raise expected("float", value)


def _read_decimal(value: Any) -> Decimal:
    if type(value) is Decimal or type(value) is int:
        return to_decimal(value)
    if type(value) is str:
        return cast("Decimal", _DECIMAL_TEXT(value))
    raise expected("decimal number", value)


_DECIMAL_TEXT = text_reader(Decimal)


def _from_string(annotation: Any) -> Shape:
    name = FROM_TEXT[annotation][1]
    parse = text_reader(annotation)

    def read(value: Any) -> Any:
        if type(value) is not str:
            raise expected(name, value)
        return parse(value)

    return Shape(read, frozenset((str,)), name)


SCALARS: dict[type, Shape] = {
    **{kind: _exactly(kind) for kind in (str, bool, NoneType)},
    **{kind: _from_string(kind) for kind in FROM_TEXT if kind not in (int, float, bool, Decimal)},
    float: Shape(_read_float, frozenset((int, float, Decimal)), "float"),
    Decimal: Shape(_read_decimal, frozenset((int, float, Decimal, str)), "decimal number"),
}


def choice_shape(table: dict[tuple[type, object], Any], name: str) -> Shape:
    kinds = {kind for kind, _ in table}
    floats = float in kinds
    if floats:
        kinds |= {int, Decimal}

    def read(value: Any) -> Any:
        try:
            return table[type(value), value]
        except (KeyError, TypeError):  # TypeError: a list or an object cannot be looked up
            pass
        if floats and type(value) in (int, Decimal):
            item = table.get((float, to_float(value)), _MISSING)
            if item is not _MISSING:
                return item
        raise expected_one(value for _, value in table)

    return Shape(read, frozenset(kinds), name)


# Containers


def list_shape(item: Shape, make: Callable[[list[Any]], Any] | None, name: str) -> Shape:
    read_item = item.read

    def read(value: Any) -> Any:
        given: list[Any] = value
        if type(value) is not list:
            raise expected(name, value)
        items: list[Any] = []
        try:
            for each in given:
                items.append(read_item(each))  # noqa: PERF401 - its length is the failing index
        except Mismatch as error:
            error.path.append(f"[{len(items)}]")
            raise
        if make is None:
            return items
        try:
            return make(items)
        except TypeError:
            raise Mismatch(f"an item of the {name} cannot be hashed") from None

    return Shape(read, frozenset((list,)), name)


def tuple_shape(shapes: list[Shape], name: str) -> Shape:
    readers = [shape.read for shape in shapes]
    wanted = f"{len(readers)} item" + ("" if len(readers) == 1 else "s")

    def read(value: Any) -> Any:
        given: list[Any] = value
        if type(value) is not list:
            raise expected(name, value)
        if len(given) != len(readers):
            raise Mismatch(f"expected {wanted}, got {len(given)}")
        items: list[Any] = []
        try:
            for reader, each in zip(readers, given, strict=True):
                items.append(reader(each))
        except Mismatch as error:
            error.path.append(f"[{len(items)}]")
            raise
        return tuple(items)

    return Shape(read, frozenset((list,)), name)


def dict_shape(read_key: TextReader | None, item: Shape, name: str) -> Shape:
    read_item = item.read

    def read(value: Any) -> Any:
        given: dict[str, Any] = value
        if type(value) is not dict:
            raise expected(name, value)
        found: dict[Any, Any] = {}
        key = ""
        try:
            for key, each in given.items():
                found[key if read_key is None else read_key(key)] = read_item(each)
        except Mismatch as error:
            error.path.append(step(key))
            raise
        return found

    return Shape(read, frozenset((dict,)), name)


class Field(NamedTuple):
    name: str
    read: Reader
    required: bool


def _read_fields(fields: list[Field], value: Any, name: str) -> dict[str, Any]:
    given: dict[str, Any] = value
    if type(value) is not dict:
        raise expected(name, value)
    found: dict[str, Any] = {}
    for field, read, required in fields:
        item = given.get(field, _MISSING)
        if item is not _MISSING:
            try:
                found[field] = read(item)
            except Mismatch as error:
                error.path.append("." + field)
                raise
        elif required:
            raise Mismatch("missing", "." + field)
    return found


def record_shape(make: Callable[..., Any] | None, fields: list[Field], name: str) -> Shape:
    """An object with known keys.

    Args:
        make: The dataclass; None for a TypedDict, which stays a dict.
        fields: May be filled later: a class can refer to itself.
        name: What an error calls it.
    """

    def read_dict(value: Any) -> Any:
        return _read_fields(fields, value, name)

    def read_object(value: Any) -> Any:
        assert make is not None
        found = _read_fields(fields, value, name)
        try:
            return make(**found)
        except (ValueError, TypeError) as error:
            # What `__post_init__` has against the values.
            raise Mismatch(str(error) or type(error).__name__) from error

    return Shape(read_dict if make is None else read_object, frozenset((dict,)), name)


def first_fitting(shapes: list[Shape], value: Any) -> Any:
    """The first member that fits; when none does, the error of the one that came deepest."""
    deepest: Mismatch | None = None
    for shape in shapes:
        try:
            return shape.read(value)
        except Mismatch as error:
            if deepest is None or len(error.path) > len(deepest.path):
                deepest = error
    assert deepest is not None
    if not deepest.path:
        raise Mismatch(f"fits none of {' | '.join(shape.name for shape in shapes)}")
    raise deepest

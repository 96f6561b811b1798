"""From an annotation to a reader of JSON values: compiled once, run per message.

Rule: a type that cannot be decoded is found here, when the handler is declared, never when a
message comes.

A `Shape` knows the JSON types it can take, so that of a union mostly one member is tried. Where
several take an object or a list, each is tried in order, and what came out is remembered for this
document: two such unions inside each other would otherwise be tried 2**depth times, and depth is
for the sender to choose.
"""

from __future__ import annotations

import collections.abc as abc
import dataclasses
import re
from decimal import Decimal
from types import NoneType
from typing import Any, NotRequired, Required, get_args, get_origin
from uuid import UUID

from typing_extensions import ReadOnly, is_typeddict

from stocksync_ws.errors import ConfigurationError
from stocksync_ws.messaging.hints import class_hints, members, plain, type_name
from stocksync_ws.messaging.models import model_shape
from stocksync_ws.messaging.readers import (
    JSON_TYPES,
    SCALARS,
    Field,
    Shape,
    choice_shape,
    dict_shape,
    expected,
    first_fitting,
    int_shape,
    list_shape,
    record_shape,
    tuple_shape,
)
from stocksync_ws.messaging.scalars import (
    INTEGER_BITS,
    Mismatch,
    TextReader,
    choices,
    fit_integer,
    text_reader,
    to_float,
)

__all__ = ["Compiled", "UnknownType", "compile_shape", "keys_of"]

_EVERYTHING: frozenset[type] = frozenset(JSON_TYPES)
_LISTS = (list, abc.Sequence, abc.MutableSequence, abc.Collection, abc.Iterable)
_SETS = (set, frozenset, abc.Set, abc.MutableSet)
_MAPPINGS = (dict, abc.Mapping, abc.MutableMapping)


def _fields_of(cls: Any, hints: dict[str, Any]) -> list[tuple[str, Any, bool]]:
    """Name, annotation and whether required of what the `__init__` of a dataclass takes."""
    for name, hint in hints.items():
        if isinstance(hint, dataclasses.InitVar):
            raise ConfigurationError(
                f"{type_name(cls)}.{name} is an InitVar, which JSON cannot fill; make it a field"
            )
    absent = dataclasses.MISSING
    return [
        (item.name, hints[item.name], item.default is absent and item.default_factory is absent)
        for item in dataclasses.fields(cls)
        if item.init
    ]


def keys_of(cls: Any, hints: dict[str, Any]) -> list[tuple[str, Any, bool]]:
    """Name, annotation and whether required of the keys of a TypedDict.

    `__required_keys__` does not know the `NotRequired` in an annotation that is a string, so the
    evaluated annotation has the last word.
    """
    keys: list[tuple[str, Any, bool]] = []
    for name, annotation in hints.items():
        required = name in cls.__required_keys__
        hint = plain(annotation)
        while get_origin(hint) in (Required, NotRequired, ReadOnly):
            if get_origin(hint) is not ReadOnly:
                required = get_origin(hint) is Required
            hint = plain(get_args(hint)[0])
        keys.append((name, hint, required))
    return keys


class UnknownType(ConfigurationError):
    """A class that cannot be decoded from JSON; a converter of the application may know it."""


class Compiled:
    """One compiled annotation, and what its readers share.

    Args:
        bits: What an integer may have; None: any.
    """

    def __init__(self, bits: int | None) -> None:
        self.exact = False
        """A Decimal is asked for somewhere: numbers with a point must arrive as Decimals."""
        self._bits = bits
        self._open = False
        """Anything is taken somewhere."""
        self._looks = False
        """What comes there is looked at, since it may be a number that is not taken."""
        # So many digits the smallest integer that is too large has.
        digits = 0 if bits is None else len(str(1 << (bits - 1)))
        self._long = re.compile(f"[0-9]{{{digits}}}")
        self.memo: dict[tuple[int, int], tuple[Any, Mismatch | None]] = {}
        """What ambiguous unions made of the objects of this document; `forget` ends it."""
        self.shape: Shape = SCALARS[NoneType]
        self._records: dict[Any, Shape] = {}
        self._anything = Shape(self._read_anything, _EVERYTHING, "anything")
        self._any_list = list_shape(self._anything, None, "list")
        self._any_dict = dict_shape(None, self._anything, "dict")

    def read(self, value: Any, text: str) -> Any:
        """A JSON value as the annotation wants it.

        Args:
            value: With Decimals for floats if this is `exact`.
            text: The document that it was parsed from.

        Raises:
            Mismatch: It does not fit.
        """
        if self._open:
            long = self._bits is not None and self._long.search(text) is not None
            self._looks = self.exact or long
        try:
            return self.shape.read(value)
        finally:
            if self.memo:
                self.memo.clear()

    def compile(self, annotation: Any) -> Shape:
        """The shape of an annotation.

        Raises:
            ConfigurationError: There is no reader for it.
        """
        kinds = members(annotation)
        if len(kinds) > 1:
            return self._union([self.compile(kind) for kind in kinds])
        kind = kinds[0]
        if kind is Any or kind is object:
            self._open = True
            return self._anything
        table = choices(kind)
        if table is not None:
            return choice_shape(table, type_name(kind))
        if kind is int:
            return int_shape(self._bits)
        if isinstance(kind, type) and kind in SCALARS:
            self.exact = self.exact or kind is Decimal
            return SCALARS[kind]
        model = model_shape(kind, self._anything.read)
        if model is not None:
            self._open = True
            return model
        shape = self._container(kind) or self._record(kind)
        if shape is None:
            raise _unknown(kind)
        return shape

    def _container(self, kind: Any) -> Shape | None:
        origin = get_origin(kind) or kind
        inner = list[Any](get_args(kind))
        if origin in _LISTS:
            return list_shape(self.compile(inner[0] if inner else Any), None, type_name(kind))
        if origin in _SETS:
            item = plain(inner[0] if inner else Any)
            if getattr(get_origin(item) or item, "__hash__", None) is None:
                raise ConfigurationError(
                    f"{type_name(kind)}: {type_name(item)} cannot be hashed; use a list"
                )
            make = frozenset if origin in (frozenset, abc.Set) else set
            return list_shape(self.compile(item), make, type_name(kind))
        if kind is tuple:
            inner = [Any, ...]
        if origin is tuple:
            if len(inner) == 2 and inner[1] is Ellipsis:
                return list_shape(self.compile(inner[0]), tuple, type_name(kind))
            return tuple_shape([self.compile(item) for item in inner], type_name(kind))
        if origin in _MAPPINGS:
            key, item = inner or (str, Any)
            return dict_shape(_key_reader(key, kind), self.compile(item), type_name(kind))
        return None

    def _record(self, kind: Any) -> Shape | None:
        typed_dict = is_typeddict(kind)
        if not typed_dict and not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
            return None
        if kind in self._records:
            return self._records[kind]  # it refers to itself, and is being compiled
        fields: list[Field] = []
        name = type_name(kind)
        shape = self._records[kind] = record_shape(None if typed_dict else kind, fields, name)
        listed = (keys_of if typed_dict else _fields_of)(kind, class_hints(kind))
        for field, hint, required in listed:
            try:
                fields.append(Field(field, self.compile(hint).read, required))
            except ConfigurationError as error:
                error.args = (f"{name}.{field}: {error}",)
                raise
        return shape

    def _read_anything(self, value: Any) -> Any:
        if not self._looks:
            return value
        if type(value) is Decimal:
            return to_float(value)
        if type(value) is int:
            return fit_integer(value, self._bits)
        if type(value) is list:
            return self._any_list.read(value)
        return self._any_dict.read(value) if type(value) is dict else value

    def _union(self, shapes: list[Shape]) -> Shape:
        name = " | ".join(shape.name for shape in shapes)
        table: dict[type, list[Shape]] = {}
        for each in JSON_TYPES:
            able = [shape for shape in shapes if each in shape.kinds]
            if each is int:  # 1 is an int for `float | int` too
                able.sort(key=lambda shape: float in shape.kinds)
            if able:
                table[each] = able

        def read(value: Any) -> Any:
            kind: type = value.__class__
            fitting = table.get(kind)
            if fitting is None:
                raise expected(name, value)
            if len(fitting) == 1:
                return fitting[0].read(value)
            if kind is dict or kind is list:
                return self._remembered(fitting, value)
            return first_fitting(fitting, value)

        return Shape(read, frozenset(table), name)

    def _remembered(self, shapes: list[Shape], value: Any) -> Any:
        key = (id(value), id(shapes))
        known = self.memo.get(key)
        if known is None:
            try:
                known = (first_fitting(shapes, value), None)
            except Mismatch as error:
                known = (None, error)
            self.memo[key] = known
        found, failure = known
        if failure is not None:
            # A copy: the path of each grows as it climbs.
            raise Mismatch(failure.problem, *failure.path)
        return found


def _key_reader(annotation: Any, where: Any) -> TextReader | None:
    """What reads a key; None for `str`. Keys are strings, so no number is read from them."""
    kinds = members(annotation)
    if kinds == [str] or kinds == [Any]:
        return None
    table = choices(kinds[0])
    named = table is not None and all(kind is str for kind, _ in table)
    if len(kinds) == 1 and (named or kinds[0] is UUID):
        return text_reader(kinds[0])
    raise ConfigurationError(
        f"{type_name(where)}: a key can be str, UUID, or an enum or Literal of str"
    )


def _unknown(kind: Any) -> UnknownType:
    hint = ""
    if kind in (bytes, bytearray, memoryview):
        hint = "; take the whole body as `bytes`, or a str and decode it"
    return UnknownType(
        f"{type_name(kind)} cannot be decoded from JSON{hint}; possible are str, int, float, bool, "
        f"None, datetime, date, time, Decimal, UUID, enums, Literal, dataclasses, TypedDicts, "
        f"models of pydantic and msgspec, "
        f"and list, tuple, set, dict, Mapping, Sequence and unions of these, or Any"
    )


def compile_shape(annotation: Any, bits: int | None = INTEGER_BITS) -> Compiled:
    """Compile an annotation; an integer may have so many bits.

    Raises:
        ConfigurationError: It, or something inside it, is a type that cannot be decoded.
    """
    compiled = Compiled(bits)
    try:
        compiled.shape = compiled.compile(annotation)
    except RecursionError:
        raise ConfigurationError(
            f"{type_name(annotation)} refers to itself; only dataclasses and TypedDicts may"
        ) from None
    return compiled

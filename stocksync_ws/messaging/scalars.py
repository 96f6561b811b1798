"""Types that stand in one JSON string or number, and in one header or segment of a destination.

Rule: strict, and the same in both places. A text that another parser could read differently
(blanks, underscores, braces around a UUID, `NaN`) is refused. No problem text shows the value: it
goes to logs, and the value may be a secret.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from enum import Enum
from types import NoneType
from typing import Any, Literal, TypeAlias, get_args, get_origin
from uuid import UUID

from stocksync_ws.errors import ConfigurationError, ConversionError
from stocksync_ws.messaging.hints import members, type_name

__all__ = [
    "FROM_TEXT",
    "INTEGER_BITS",
    "Mismatch",
    "TextReader",
    "check_bits",
    "choices",
    "exactly",
    "expected_one",
    "fit_integer",
    "text_reader",
    "to_decimal",
    "to_float",
]

TextReader: TypeAlias = Callable[[str], Any]

_INT = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_EXPONENT = 308
"""Decimals beyond 10**308 (the range of a float) are refused: `int()` of `1e999999999`, ten octets
on the wire, would eat all memory, and few programs could read it again.
"""
INTEGER_BITS = 64
"""Of an integer that is read, unless the application says otherwise. A larger one makes a sum that
cannot be written: the interpreter stops at 4,300 digits, one way as the other.
"""
_SHOWN = 8
"""At most so many choices stand in a problem text."""


class Mismatch(Exception):
    """A value does not fit. Internal: becomes a `ConversionError` where the path begins.

    `path` is filled while the error climbs, innermost step first.
    """

    def __init__(self, problem: str, *path: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path = list(path)

    def error(self, root: str = "$") -> ConversionError:
        """The error for the application."""
        return ConversionError(root + "".join(reversed(self.path)), self.problem)


def to_float(value: int | Decimal | str) -> float:
    """A finite float.

    Raises:
        Mismatch: It is too large.
    """
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Mismatch("number out of range")
    return number


def exactly(value: Decimal | int | str) -> Decimal:
    """A number by its grammar as a decimal of any size; NaN where a Decimal cannot hold it."""
    try:
        return Decimal(value)
    except InvalidOperation:
        # With the trap switched off in the current context, the constructor returns this itself.
        return Decimal("NaN")


def to_decimal(value: Decimal | int | str) -> Decimal:
    """An exact decimal of a sane size; `value` is a number by its grammar.

    Raises:
        Mismatch: It is too large or too small.
    """
    number = exactly(value)
    if not number.is_finite() or abs(number.adjusted()) > _EXPONENT:
        raise Mismatch("number out of range")
    return number


def check_bits(setting: str, bits: object) -> int | None:
    """The size of integers as an application may set it.

    Raises:
        ConfigurationError: It is no number of bits from 2 on, and not None.
    """
    if bits is None or (type(bits) is int and bits >= 2):
        return bits
    raise ConfigurationError(f"{setting}: must be a number of bits such as 64, or None: {bits!r}")


def fit_integer(value: int, bits: int | None) -> int:
    """An integer that a sender gave, as it is.

    Args:
        bits: What it may have, its sign included; None: any.

    Raises:
        Mismatch: It has more.
    """
    # A negative one may be -2**(bits - 1), whose bit length is that of its positive twin.
    if bits is not None and (value if value >= 0 else ~value).bit_length() >= bits:
        raise Mismatch(f"integer beyond {bits} bits")
    return value


def _int_reader(bits: int | None) -> TextReader:
    def read(text: str) -> int:
        if _INT.fullmatch(text) is None:
            raise ValueError
        try:
            value = int(text)
        except ValueError:  # the interpreter's own bound
            raise Mismatch("a number has too many digits") from None
        return fit_integer(value, bits)

    return read


def _float(text: str) -> float:
    if _NUMBER.fullmatch(text) is None:
        raise ValueError
    return to_float(text)


def _decimal(text: str) -> Decimal:
    if _NUMBER.fullmatch(text) is None:
        raise ValueError
    return to_decimal(text)


def _bool(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError
    return text == "true"


def _uuid(text: str) -> UUID:
    if _UUID.fullmatch(text) is None:
        raise ValueError
    return UUID(text)


FROM_TEXT: dict[Any, tuple[TextReader, str]] = {
    int: (_int_reader(INTEGER_BITS), "int"),
    float: (_float, "float"),
    bool: (_bool, "'true' or 'false'"),
    Decimal: (_decimal, "decimal number"),
    UUID: (_uuid, "UUID"),
    datetime: (datetime.fromisoformat, "ISO 8601 datetime"),
    date: (date.fromisoformat, "ISO 8601 date"),
    time: (time.fromisoformat, "ISO 8601 time"),
}
"""What reads each scalar from a text (a `ValueError` when it is none), and what an error calls
it.
"""


def choices(annotation: Any) -> dict[tuple[type, object], Any] | None:
    """The values of an enum or a `Literal`: (type of the value, value) to what stands for it.

    The type is part of the key because 1, 1.0 and True are equal. None for any other annotation.

    Raises:
        ConfigurationError: A value is one that JSON does not have.
    """
    found: Iterable[tuple[Any, Any]]
    if get_origin(annotation) is Literal:
        literals = get_args(annotation)
        found = [(item.value if isinstance(item, Enum) else item, item) for item in literals]
    elif isinstance(annotation, type) and issubclass(annotation, Enum):
        found = [(item.value, item) for item in annotation.__members__.values()]
    else:
        return None
    table: dict[tuple[type, object], Any] = {}
    for value, item in found:
        if type(value) not in (str, int, float, bool, NoneType):
            raise ConfigurationError(
                f"{type_name(annotation)}: {value!r} is no value that JSON can hold; "
                f"use str, int, float, bool or None"
            )
        table[type(value), value] = item
    return table


def expected_one(values: Iterable[object]) -> Mismatch:
    """The problem when a value is none of the choices."""
    shown = [repr(value) for value in values]
    more = ", ..." if len(shown) > _SHOWN else ""
    return Mismatch(f"expected one of {', '.join(shown[:_SHOWN])}{more}")


def _choice(table: dict[tuple[type, object], Any]) -> TextReader:
    texts: dict[str, Any] = {}
    for (kind, value), item in table.items():
        if kind is NoneType:
            continue
        texts.setdefault(str(value).lower() if kind is bool else str(value), item)

    def read(text: str) -> Any:
        if text not in texts:
            raise expected_one(texts)
        return texts[text]

    return read


def _scalar(parse: TextReader, name: str) -> TextReader:
    def read(text: str) -> Any:
        try:
            return parse(text)
        except ValueError:
            raise Mismatch(f"expected {name}") from None

    return read


def _first(readers: list[TextReader], name: str) -> TextReader:
    def read(text: str) -> Any:
        for reader in readers:
            try:
                return reader(text)
            except Mismatch:
                continue
        raise Mismatch(f"expected {name}")

    return read


def _as_it_is(text: str) -> str:
    return text


def text_reader(annotation: Any, bits: int | None = INTEGER_BITS) -> TextReader:
    """What reads a variable of a destination, or a header, for a parameter.

    `str` (and no annotation, and `Any`) takes the text as it is; of a union the first member that
    fits; None is never read from a text. An integer has at most so many bits. The reader raises
    `Mismatch` and nothing else.

    Raises:
        ConfigurationError: No text can stand for the type.
    """
    kinds = [member for member in members(annotation) if member is not NoneType]
    readers = [_one_text_reader(member, bits) for member in kinds]
    if len(readers) == 1:
        return readers[0]
    return _first(readers, " | ".join(type_name(kind) for kind in kinds))


def _one_text_reader(annotation: Any, bits: int | None) -> TextReader:
    if annotation is str or annotation is Any or annotation is object:
        return _as_it_is
    table = choices(annotation)
    if table is not None:
        return _choice(table)
    if annotation is int:
        return _scalar(_int_reader(bits), FROM_TEXT[int][1])
    if isinstance(annotation, type) and annotation in FROM_TEXT:
        return _scalar(*FROM_TEXT[annotation])
    known = ", ".join(["str", *(type_name(kind) for kind in FROM_TEXT)])
    raise ConfigurationError(
        f"{type_name(annotation)} cannot be read from a text; possible are {known}, "
        f"enums and Literal"
    )

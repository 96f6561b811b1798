"""Bodies to parameters, returned values to bodies.

Rule: what a sender can send ends in a value or in a `ConversionError`, never in another exception;
what can be known about a type is known when the handler is declared. JSON is the default in both
directions and needs no content-type; `str` and `bytes` are themselves. The content-type is looked
at here and nowhere else.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from types import NoneType
from typing import Any, Literal, TypeAlias
from uuid import UUID

from stocksync_ws.errors import ConversionError
from stocksync_ws.messaging.advice import no_json_form
from stocksync_ws.messaging.hints import members
from stocksync_ws.messaging.models import dumper_for
from stocksync_ws.messaging.readers import step
from stocksync_ws.messaging.scalars import INTEGER_BITS, Mismatch, exactly, to_float
from stocksync_ws.messaging.shapes import compile_shape

__all__ = ["CONTENT_TYPE", "JSON", "OCTETS", "TEXT", "Decode", "PayloadEncoder", "decoder_for"]

TEXT = "text/plain;charset=utf-8"
OCTETS = "application/octet-stream"
JSON = "application/json"
CONTENT_TYPE = "header content-type"
"""The path of a `ConversionError` about the content-type."""

Decode: TypeAlias = Callable[[bytes, str | None], Any]
"""Body and content-type to a value."""

# Out

KNOWN_CLASSES = 1_024
"""Dataclasses whose fields an encoder remembers; classes made in a loop are not kept for ever."""


def _decimal(value: Decimal) -> str:
    if not value.is_finite():
        raise ValueError("NaN and Infinity are not JSON")
    return str(value)


_SIMPLE: dict[type, Callable[[Any], Any]] = {
    datetime: datetime.isoformat,
    date: date.isoformat,
    time: time.isoformat,
    UUID: str,
    Decimal: _decimal,
    set: list,
    frozenset: list,
    Mapping: dict,
}


class PayloadEncoder:
    """Makes the body and the content-type of a message; remembers the fields of dataclasses."""

    __slots__ = ("_json", "_names")

    def __init__(self) -> None:
        self._names: dict[type, tuple[str, ...]] = {}
        self._json = json.JSONEncoder(
            ensure_ascii=False,
            check_circular=False,  # costs time; a circle is found by its depth
            allow_nan=False,
            separators=(",", ":"),
            default=self._simple,
        )

    def encode(self, payload: Any) -> tuple[bytes, str]:
        """The body and the content-type of a message.

        `str` is text and `bytes` are octets; everything else is compact JSON: datetimes in ISO
        8601, Decimals and UUIDs as strings, enums by their value, dataclasses by their fields, sets
        as lists, models of pydantic and msgspec as these write them, by their aliases.

        Raises:
            ConversionError: Something in it has no JSON form (the path says where), is NaN or
                infinite, or cannot be encoded in UTF-8. The sender's own fault.
        """
        if isinstance(payload, str) and not isinstance(payload, Enum):
            try:
                return payload.encode(), TEXT
            except UnicodeEncodeError:
                raise ConversionError("$", "a lone surrogate cannot be encoded") from None
        octets: Any = payload
        if isinstance(payload, (bytes, bytearray, memoryview)):
            return bytes(octets), OCTETS
        try:
            return self._json.encode(payload).encode(), JSON
        except (TypeError, ValueError, AttributeError, RecursionError):
            # The fast way does not know where it was, and takes no keys but strings.
            try:
                return self._json.encode(self._plain(payload, "$")).encode(), JSON
            except RecursionError:
                raise ConversionError("$", "nested too deeply, or contains itself") from None

    def _fields(self, kind: type, value: Any) -> dict[str, Any]:
        names = self._names.get(kind)
        if names is None:
            if len(self._names) >= KNOWN_CLASSES:
                self._names.clear()
            names = self._names[kind] = tuple(field.name for field in dataclasses.fields(value))
        return {name: getattr(value, name) for name in names}

    def _simple(self, value: Any) -> Any:
        """One step towards JSON for what `json` does not know; TypeError when there is none."""
        kind: type = value.__class__
        if kind in self._names:
            return self._fields(kind, value)
        convert = _SIMPLE.get(kind)
        if convert is not None:
            return convert(value)
        if dataclasses.is_dataclass(kind):
            return self._fields(kind, value)
        dump = dumper_for(kind)
        if dump is not None:
            return dump(value)
        if isinstance(value, Enum):
            return value.value
        for base, convert in _SIMPLE.items():
            if isinstance(value, base):
                return convert(value)
        raise TypeError(no_json_form(value))

    def _plain(self, value: Any, path: str) -> Any:
        """The slow way: what `json` knows by itself, or an error that says where it is not."""
        several: Any = value
        if value is None or isinstance(value, (bool, int, float, str)):
            try:
                self._json.encode(value).encode()
            except UnicodeEncodeError:
                raise ConversionError(path, "a lone surrogate cannot be encoded") from None
            except ValueError:
                problem = "too many digits" if isinstance(value, int) else "NaN and Infinity"
                raise ConversionError(
                    path, f"{problem} are not JSON; send None or a text"
                ) from None
            return value
        if isinstance(value, (list, tuple)):
            return [self._plain(item, f"{path}[{at}]") for at, item in enumerate(several)]
        if isinstance(value, dict):
            keys = [_key(key, path) for key in several]
            return {
                key: self._plain(item, path + step(key))
                for key, item in zip(keys, several.values(), strict=True)
            }
        try:
            return self._plain(self._simple(value), path)
        except (TypeError, ValueError, AttributeError) as error:
            raise ConversionError(path, str(error)) from None


def _key(key: object, path: str) -> str:
    if isinstance(key, Enum):
        key = key.value
    if isinstance(key, (UUID, int)) and not isinstance(key, bool):
        try:
            key = str(key)
        except ValueError:
            raise ConversionError(path, "too many digits in a key are not JSON") from None
    if not isinstance(key, str):
        raise ConversionError(path, f"a key is {type(key).__name__}; it can be str, int or UUID")
    try:
        key.encode()
    except UnicodeEncodeError:
        raise ConversionError(path, "a lone surrogate in a key cannot be encoded") from None
    return key


# In

_Kind: TypeAlias = Literal["json", "text", "octets", "other"]

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110 §5.6.2
_MEDIA = re.compile(rf"({_TOKEN})/({_TOKEN})")
_PARAMETER = re.compile(rf'[ \t]*;[ \t]*(?:({_TOKEN})=({_TOKEN}|"(?:[^"\\]|\\.)*"))?', re.DOTALL)
_CHARSETS = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "ascii",
    "ascii": "ascii",
    "iso-8859-1": "latin-1",
    "latin-1": "latin-1",
    "latin1": "latin-1",
}
_KNOWN: dict[str, tuple[_Kind, str]] = {
    JSON: ("json", "utf-8"),
    "application/json;charset=utf-8": ("json", "utf-8"),
    "text/plain": ("text", "utf-8"),
    TEXT: ("text", "utf-8"),
    OCTETS: ("octets", "utf-8"),
}
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def _media(content_type: str) -> tuple[_Kind, str]:
    """What a content-type says about the body, and its charset (RFC 9110 §8.3)."""
    known = _KNOWN.get(content_type)
    if known is not None:
        return known
    text = content_type.strip(" \t")
    match = _MEDIA.match(text)
    if match is None:
        raise ConversionError(CONTENT_TYPE, "not of the form type/subtype")
    main, sub = match[1].lower(), match[2].lower()
    charset, at = "utf-8", match.end()
    while at < len(text):
        parameter = _PARAMETER.match(text, at)
        if parameter is None:
            raise ConversionError(CONTENT_TYPE, "malformed parameters")
        at = parameter.end()
        if parameter[1] is not None and parameter[1].lower() == "charset":
            charset = _CHARSETS.get(parameter[2].strip('"').lower(), "")
    kind: _Kind = "text" if main == "text" else "other"
    if sub == "json" or sub.endswith("+json"):
        kind = "json"
    elif f"{main}/{sub}" == OCTETS:
        kind = "octets"
    return kind, charset


def _text(body: bytes, charset: str) -> str:
    if not charset:
        raise ConversionError(CONTENT_TYPE, "charset can be utf-8, us-ascii or iso-8859-1")
    try:
        return body.decode(charset)
    except UnicodeDecodeError as error:
        raise ConversionError("$", f"octet {error.start} is not {charset}") from None


def _constant(name: str) -> Any:
    raise Mismatch(f"{name} is not JSON")


_PARSER = json.JSONDecoder(parse_constant=_constant, parse_float=to_float)
_EXACT_PARSER = json.JSONDecoder(parse_constant=_constant, parse_float=exactly)


def _parse(parser: json.JSONDecoder, text: str) -> Any:
    """The JSON value of a text; all that can be wrong with it is `Mismatch`."""
    try:
        value = parser.decode(text)
    except json.JSONDecodeError as error:
        if not text.strip():
            raise Mismatch("the body is empty, JSON was expected") from None
        if text[0] == "\ufeff":
            raise Mismatch("not JSON: it begins with a byte order mark") from None
        raise Mismatch(f"not JSON: {error.msg} at character {error.pos}") from None
    except ValueError:  # the interpreter's own bound, 4300 digits
        raise Mismatch("a number has too many digits") from None
    if "\\u" in text and _ESCAPED_SURROGATE.search(text) is not None:
        # Only an escape can bring half a character. Halves that met are one by now.
        try:
            json.dumps(value, ensure_ascii=False, default=str).encode()
        except UnicodeEncodeError:
            raise Mismatch("a lone surrogate is no character") from None
    return value


def decoder_for(annotation: object, bits: int | None = INTEGER_BITS) -> Decode:
    """Compile what makes a parameter from a body and its content-type (None: it has none).

    * `bytes`: the body as it is, whatever the content-type.
    * `str`: the body as text; of a JSON content-type, the JSON string.
    * Everything else: JSON, with a content-type of JSON, `text/*`, octets, or none. The charset
      counts, and an integer has at most `bits` bits (None: as many as the interpreter reads).

    The decoder raises `ConversionError` for any body that does not fit, and what a `__post_init__`
    raises beyond `ValueError` and `TypeError` as it is.

    Raises:
        ConfigurationError: The type cannot be decoded; the text names it and what is possible.
    """
    kinds = [member for member in members(annotation) if member is not NoneType]
    if kinds == [bytes]:
        return _decode_octets
    compiled = compile_shape(annotation, bits)
    parser = _EXACT_PARSER if compiled.exact else _PARSER
    takes_text = kinds == [str]

    def decode(body: bytes, content_type: str | None) -> Any:
        kind: _Kind = "octets"
        charset = "utf-8"
        if content_type is not None:
            kind, charset = _media(content_type)
            if kind == "other":
                raise ConversionError(
                    CONTENT_TYPE, "neither text nor JSON; a `bytes` parameter takes anything"
                )
        text = _text(body, charset)
        if takes_text and kind != "json":
            return text
        try:
            return compiled.read(_parse(parser, text), text)
        except Mismatch as mismatch:
            raise mismatch.error() from mismatch.__cause__
        except RecursionError:
            raise ConversionError("$", "nested too deeply") from None

    return decode


def _decode_octets(body: bytes, content_type: str | None) -> bytes:
    return body

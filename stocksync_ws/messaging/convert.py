"""Bodies to parameters, returned values to bodies.

Rule: what a sender can send ends in a value or in a `ConversionError`, never in another exception;
what can be known about a type is known when the handler is declared. JSON is the default in both
directions and needs no content-type; `str` and `bytes` are themselves. Which body is whose is
decided here and nowhere else: that of a converter of the application goes to it as it is.
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
from typing import Any, TypeAlias
from uuid import UUID

from stocksync_ws.errors import ConversionError
from stocksync_ws.messaging.advice import no_json_form
from stocksync_ws.messaging.converters import NONE, Converters
from stocksync_ws.messaging.hints import members, type_name
from stocksync_ws.messaging.media import CONTENT_TYPE, JSON, OCTETS, TEXT, Kind, media_of
from stocksync_ws.messaging.models import dataclass_dumper, dumper_for
from stocksync_ws.messaging.readers import step
from stocksync_ws.messaging.scalars import INTEGER_BITS, Mismatch, exactly, to_float
from stocksync_ws.messaging.shapes import UnknownType, compile_shape
from stocksync_ws.messaging.writers import KEYS, Writer, as_declared

__all__ = ["OCTET_KINDS", "Decode", "PayloadEncoder", "decoder_for"]

Decode: TypeAlias = Callable[[bytes, str | None], Any]
"""Body and content-type to a value."""

# Out

OCTET_KINDS = (bytes, bytearray, memoryview)
"""Payloads that are the body of a message already."""
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


_C_ENCODER: Any = getattr(json.encoder, "c_make_encoder", None)


def _json_writer(default: Callable[[Any], Any], make: Any = _C_ENCODER) -> Callable[[Any], str]:
    """Make the function that writes a value as compact JSON.

    `JSONEncoder.encode` makes an encoder in C for each value, which costs as much as a small value
    does; here it is made once. Where the interpreter has none, or another, `encode` is what writes.

    Args:
        default: One step towards JSON for what `json` does not know.
        make: Makes an encoder in C; None: there is none.
    """
    encoder = json.JSONEncoder(
        ensure_ascii=False,
        check_circular=False,  # costs time; a circle is found by its depth
        allow_nan=False,
        separators=(",", ":"),
        default=default,
    )
    sample = {"a": [1, 2.5, None, True, "\u00fc\n"]}
    try:
        quote = json.encoder.encode_basestring
        chunks = make(None, default, quote, None, ":", ",", False, False, False)
        if "".join(chunks(sample, 0)) != encoder.encode(sample):
            return encoder.encode
    except TypeError:
        return encoder.encode
    return lambda value: "".join(chunks(value, 0))


class PayloadEncoder:
    """Makes the body and the content-type of a message; remembers the fields of dataclasses."""

    __slots__ = ("_json", "_names")

    def __init__(self) -> None:
        self._names: dict[type, tuple[str, ...]] = {}
        self._json = _json_writer(self._simple)

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
        if isinstance(payload, OCTET_KINDS):
            return bytes(octets), OCTETS
        return self._as_json(payload), JSON

    def encode_as(self, writer: Writer, payload: Any) -> tuple[bytes, str]:
        """As `encode`, by the declared type: of a dataclass or a model its fields and no others.

        Raises:
            ConversionError: As for `encode`, or it is not of the declared type.
        """
        try:
            written = as_declared(writer, payload)
        except Mismatch as mismatch:
            raise mismatch.error() from mismatch.__cause__
        except RecursionError:
            raise ConversionError("$", "nested too deeply, or contains itself") from None
        # What a model makes of itself may be a text, and is JSON all the same.
        return self.encode(payload) if written is payload else (self._as_json(written), JSON)

    def _as_json(self, payload: Any) -> bytes:
        try:
            return self._json(payload).encode()
        except (TypeError, ValueError, AttributeError, RecursionError):
            # The fast way does not know where it was, and takes no UUIDs and enums as keys.
            try:
                return self._json(self._plain(payload, "$")).encode()
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
            dump = dataclass_dumper(kind)
            return self._fields(kind, value) if dump is None else dump(value)
        dump = dumper_for(value.__class__)
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
                self._json(value).encode()
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
    """A key as text: what `json` makes of it, and an enum by its value, a UUID as it is printed."""
    if isinstance(key, Enum):
        key = key.value
    if isinstance(key, UUID):
        key = str(key)
    if not isinstance(key, (str, int, float, NoneType)):
        raise ConversionError(path, f"a key is {type(key).__name__}; it can be {KEYS}")
    try:
        written: str = key if isinstance(key, str) else json.dumps(key, allow_nan=False)
    except ValueError:
        problem = "too many digits" if isinstance(key, int) else "NaN and Infinity"
        raise ConversionError(path, f"{problem} in a key are not JSON") from None
    try:
        written.encode()
    except UnicodeEncodeError:
        raise ConversionError(path, "a lone surrogate in a key cannot be encoded") from None
    return written


# In

_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


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
        value = _value(parser, text)
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


_BLANKS = " \t\n\r"


def _value(parser: json.JSONDecoder, text: str) -> Any:
    """The value of a text, as `parser.decode` finds it, without a regular expression before it and
    one behind it.
    """
    begin = 0 if text[:1] > " " else len(text) - len(text.lstrip(_BLANKS))
    value, end = parser.raw_decode(text, begin)
    if end != len(text):
        behind = text[end:].lstrip(_BLANKS)
        if behind:
            raise json.JSONDecodeError("Extra data", text, len(text) - len(behind))
    return value


def decoder_for(
    annotation: object, bits: int | None = INTEGER_BITS, converters: Converters = NONE
) -> Decode:
    """Compile what makes a parameter from a body and its content-type (None: it has none).

    * `bytes`: the body as it is, whatever the content-type.
    * Of a content-type that has a converter: what that makes of it, for this annotation.
    * `str`: the body as text; of a JSON content-type, the JSON string.
    * Everything else: JSON, with a content-type of JSON, `text/*`, octets, or none. The charset
      counts, and an integer has at most `bits` bits (None: as many as the interpreter reads).

    The decoder raises `ConversionError` for any body that does not fit, and what a `__post_init__`
    raises beyond `ValueError` and `TypeError` as it is.

    Raises:
        ConfigurationError: The type cannot be decoded; the text names it and what is possible. Not
            raised for a class that JSON does not know, where a converter may know it.
    """
    kinds = [member for member in members(annotation) if member is not NoneType]
    if kinds == [bytes]:
        return _decode_octets
    try:
        compiled = compile_shape(annotation, bits)
    except UnknownType:
        if not converters:
            raise
        return _converted_only(annotation, converters)
    parser = _EXACT_PARSER if compiled.exact else _PARSER
    takes_text = kinds == [str]
    find = converters.of

    def decode(body: bytes, content_type: str | None) -> Any:
        kind: Kind = "octets"
        charset = "utf-8"
        if content_type is not None:
            essence, kind, charset = media_of(content_type)
            converter = find(essence)
            if converter is not None:
                return converter.decode(body, annotation)
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


def _converted_only(annotation: object, converters: Converters) -> Decode:
    def decode(body: bytes, content_type: str | None) -> Any:
        converter = None if content_type is None else converters.of(media_of(content_type).essence)
        if converter is None:
            raise ConversionError(
                CONTENT_TYPE, f"{type_name(annotation)} can only be read from {converters}"
            )
        return converter.decode(body, annotation)

    return decode


def _decode_octets(body: bytes, content_type: str | None) -> bytes:
    return body

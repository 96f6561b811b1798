"""The application's own converters: one for each content type that is not ours.

Rule: whatever user code raises here becomes a `ConversionError` with its cause, so that a body that
does not fit is told in one way. Octets are never converted, in neither direction.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias, cast

from stocksync_ws.checks import takes
from stocksync_ws.errors import ConfigurationError, ConversionError
from stocksync_ws.messaging.media import CONTENT_TYPE, JSON, OCTETS, media_of

__all__ = ["NONE", "Converter", "Converters", "Decode", "Encode", "nothing_converts"]

Encode: TypeAlias = Callable[[Any], bytes]
"""A payload to the body of a message."""
Decode: TypeAlias = Callable[[bytes, Any], Any]
"""The body of a message and the declared type of the parameter to its value."""

_OURS = {
    JSON: "what is written of everything but str and bytes",
    "text/plain": "what is written of a str",
    OCTETS: "what is written of bytes",
}

_ENCODE = ("payload",)
_DECODE = ("body", "annotation")
"""What the two functions are called with."""


class Converter:
    """Reads and writes the bodies of one content type."""

    __slots__ = ("_content_type", "_decode", "_encode")

    def __init__(self, content_type: str, encode: Encode, decode: Decode) -> None:
        self._content_type = content_type
        self._encode = encode
        self._decode = decode

    def encode(self, payload: object) -> bytes:
        """The body of a payload.

        Raises:
            ConversionError: It cannot be encoded; what was raised is the cause, if it is not one.
        """
        try:
            body = cast("object", self._encode(payload))
        except ConversionError:
            raise
        except Exception as error:
            raise self._failed("encode", error) from error
        if not isinstance(body, bytes):
            raise ConversionError(
                "$",
                f"encode= of {self._content_type} must return bytes, not {type(body).__name__}",
            )
        return body

    def decode(self, body: bytes, annotation: object) -> Any:
        """The value of a parameter that is declared as `annotation`.

        Raises:
            ConversionError: The body does not fit; what was raised is the cause, if it is not one.
        """
        try:
            return self._decode(body, annotation)
        except ConversionError:
            raise  # It knows the path.
        except Exception as error:
            raise self._failed("decode", error) from error

    def _failed(self, argument: str, error: Exception) -> ConversionError:
        # The text of the exception may show what a client sent, which is for logs only.
        problem = f"{argument}= of {self._content_type} raised {type(error).__name__}"
        return ConversionError("$", problem)


class Converters:
    """The converters of an application, by content type."""

    __slots__ = ("_known", "of")

    def __init__(self) -> None:
        self._known: dict[str, Converter] = {}
        self.of: Callable[[str], Converter | None] = self._known.get
        """The converter of a content type in lower case without parameters."""

    def __bool__(self) -> bool:
        return bool(self._known)

    def __str__(self) -> str:
        return ", ".join(self._known)

    def add(self, content_type: str, encode: Encode, decode: Decode) -> None:
        """Take a converter.

        Raises:
            ConfigurationError: It has one already, is ours, or an argument is no such thing.
        """
        essence = _essence(content_type)
        if essence in self._known:
            raise ConfigurationError(
                f"converter: {essence} has one already, and a content type has one at most"
            )
        for name, function, taken in (("encode", encode, _ENCODE), ("decode", decode, _DECODE)):
            is_async = inspect.iscoroutinefunction
            if (
                not callable(cast("object", function))
                or is_async(function)
                or is_async(type(function).__call__)
            ):
                raise ConfigurationError(
                    f"converter: {name}= of {essence} must be a function that is not async, not"
                    f" {function!r}"
                )
            if not takes(function, len(taken)):
                raise ConfigurationError(
                    f"converter: {name}= of {essence} is called with {len(taken)} argument"
                    f"{'s' * (len(taken) > 1)}: write {name}=lambda {', '.join(taken)}: ..."
                )
        self._known[essence] = Converter(essence, encode, decode)

    def find(self, content_type: str) -> Converter | None:
        """The converter of a content type that is well-formed."""
        return self._known.get(media_of(content_type).essence)

    def asked(self, content_type: str) -> Converter | None:
        """The converter for a payload that is to be sent as a content type; None: ours fits.

        Raises:
            ConversionError: It is malformed, or neither JSON nor `text/*` in UTF-8 and has none.
        """
        media = media_of(content_type)
        converter = self._known.get(media.essence)
        if converter is None and media.kind not in ("json", "text"):
            raise ConversionError(
                CONTENT_TYPE,
                f"{nothing_converts(content_type)}; a body that is encoded already is `bytes`",
            )
        if converter is None and media.charset != "utf-8":
            raise ConversionError(
                CONTENT_TYPE,
                f"JSON and text are written in UTF-8: write {media.essence!r}, or encode the"
                f" payload to `bytes`",
            )
        return converter


def nothing_converts(content_type: str) -> str:
    """The text about a content type that is asked for and has no converter."""
    essence = content_type.partition(";")[0].strip().lower()
    text = f"nothing converts content_type={content_type!r}"
    if essence in _OURS:
        return f"{text}: it is {_OURS[essence]}; JSON, text and octets need no content_type"
    return (
        f"{text}: write ws.converter({essence!r}, encode=..., decode=...);"
        f" JSON, text and octets need no content_type"
    )


NONE = Converters()
"""Those of an application that has none; nothing is ever added to it."""


def _essence(content_type: object) -> str:
    try:
        essence = media_of(cast("str", content_type)).essence
    except (ConversionError, AttributeError, TypeError):
        essence = ""
    if not isinstance(content_type, str) or essence != content_type.lower() or "*" in essence:
        raise ConfigurationError(
            f"converter: a content type is a text such as 'application/cbor', without parameters,"
            f" not {content_type!r}"
        )
    if essence in _OURS:
        raise ConfigurationError(
            f"converter: {essence} is {_OURS[essence]}, and cannot be replaced: the rules of the"
            f" page about handlers hold for it. Use a content type of your own, such as"
            f" 'application/vnd.shop'; a parameter that is `bytes` takes any body as it is"
        )
    return essence

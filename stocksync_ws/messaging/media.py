"""Content types (RFC 9110 §8.3): how one is read, and which are ours.

Rule: pure; what cannot be read is a `ConversionError` whose path names the header.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, TypeAlias

from stocksync_ws.errors import ConversionError

__all__ = ["CONTENT_TYPE", "JSON", "OCTETS", "TEXT", "Kind", "Media", "media_of"]

TEXT = "text/plain;charset=utf-8"
OCTETS = "application/octet-stream"
JSON = "application/json"
CONTENT_TYPE = "header content-type"
"""The path of a `ConversionError` about the content-type."""

Kind: TypeAlias = Literal["json", "text", "octets", "other"]


class Media(NamedTuple):
    """A content type, read."""

    essence: str
    """`type/subtype` in lower case, without parameters."""
    kind: Kind
    charset: str
    """For Python; empty: one that is not known."""


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
_KNOWN: dict[str, Media] = {
    JSON: Media(JSON, "json", "utf-8"),
    "application/json;charset=utf-8": Media(JSON, "json", "utf-8"),
    "text/plain": Media("text/plain", "text", "utf-8"),
    TEXT: Media("text/plain", "text", "utf-8"),
    OCTETS: Media(OCTETS, "octets", "utf-8"),
}


def media_of(content_type: str) -> Media:
    """Read a content-type.

    Raises:
        ConversionError: It is malformed.
    """
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
    kind: Kind = "text" if main == "text" else "other"
    if sub == "json" or sub.endswith("+json"):
        kind = "json"
    elif f"{main}/{sub}" == OCTETS:
        kind = "octets"
    return Media(f"{main}/{sub}", kind, charset)

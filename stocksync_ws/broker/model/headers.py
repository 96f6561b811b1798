"""Which headers are the server's own, and may stand neither in a client's SEND nor in our caller's
call; and the form of those that say how long a message lives.

Rule: a closed list. No header of a client is ever an authority: identity lives in the session. A
name counts as the clients that receive it read it: many take the blanks around it away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

__all__ = ["BLANKS", "RESERVED", "check_own", "misread_life", "strip_reserved"]

RESERVED = frozenset(
    [
        "ack",
        "authorization",
        "cookie",
        "content-length",
        "delivery-attempt",
        "destination",
        "dropped",
        "duplicate",
        "heart-beat",
        "idempotency-key",
        "last-message-id",
        "login",
        "message-id",
        "original-destination",
        "passcode",
        "receipt",
        "receipt-id",
        "recovered",
        "redelivered",
        "replayed",
        "server",
        "session",
        "snapshot",
        "subscription",
        "transaction",
        "user-name",
        "x-death-reason",
    ]
)
_AT_WORK = frozenset(("destination", "content-length", "receipt", "transaction", "idempotency-key"))
"""Headers that do their work in a SEND: not passed on, and not counted as stripped."""
_LIFE = {
    "expiration": "milliseconds, up to 15 digits",
    "expires": "milliseconds since 1970, up to 15 digits; 0 means that it does not expire",
}
"""Headers that end the life of a message, and their forms."""
BLANKS = "".join(
    (
        *map(chr, range(0x21)),
        "\x7f\x85\xa0\u1680\u180e",
        *map(chr, range(0x2000, 0x2010)),
        "\u2028\u2029\u202f\u205f\u2060\u3000\ufeff",
    )
)
"""What clients strip from a name: all that `trim` of JavaScript does, in old browsers too, what
Java's and Python's do, and the neighbours of these that nobody sees.
"""


def _is_reserved(name: str) -> bool:
    if name in RESERVED or name.startswith("simp"):
        return True
    bare = name.strip(BLANKS)
    if bare == name:
        return False
    # A padded reply-to would be read as one, and was not looked at when the SEND came.
    return bare in RESERVED or bare.startswith("simp") or bare == "reply-to"


def strip_reserved(headers: Mapping[str, str]) -> tuple[tuple[tuple[str, str], ...], int]:
    """The headers of a client's SEND that are passed on, and how many were stripped."""
    kept: list[tuple[str, str]] = []
    stripped = 0
    for pair in headers.items():
        name = pair[0]
        if name in _AT_WORK:
            continue
        if _is_reserved(name):
            stripped += 1
        else:
            kept.append(pair)
    return tuple(kept), stripped


def misread_life(headers: Mapping[str, str]) -> str:
    """The header about the life of a message that is malformed, and its form; empty: none is. Such
    a message would live for ever.
    """
    for name, form in _LIFE.items():
        text = headers.get(name)
        if text is not None and not (text.isascii() and text.isdigit() and len(text) <= 15):
            return f"{name}: {form}"
    return ""


def check_own(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The headers of our own API, checked, and of no subclass of `str`: what a frame is made of
    later must not run anybody's `__format__`.

    Raises:
        ValueError: They are no mapping of texts, a name is empty or reserved, also with blanks
            around it, there is a NUL or a lone surrogate in a name or value, or `expiration` or
            `expires` is malformed.
    """
    given = cast("object", headers)
    if not isinstance(given, Mapping):
        raise ValueError(
            f"headers are a mapping of names to texts, not {type(given).__name__}: write"
            f" {{'priority': '1'}}"
        )
    pairs: list[tuple[str, str]] = []
    for name, value in cast("Mapping[object, object]", given).items():
        if not isinstance(name, str) or not isinstance(value, str):
            advice = f"write {{{str(name)!r}: {str(value)!r}}}"
            if value is None:
                advice = "leave it out"
            elif isinstance(value, (bytes, bytearray)):
                advice = "decode it, or send it as the body"
            raise ValueError(
                f"header {name!r}: names and values are texts, not {value!r}: {advice}"
            )
        pairs.append((_checked(name, name), _checked(name, value)))
        if not name:
            raise ValueError("a header with an empty name cannot be sent: give it one")
        if _is_reserved(name):
            raise ValueError(
                f"header {name!r} is set by the server and cannot be given: leave it out, or write"
                f" {'x-' + name.strip(BLANKS)!r}"
            )
    misread = misread_life(headers)
    if misread:
        name, _, form = misread.partition(": ")
        raise ValueError(f"header {name!r}: {headers[name]!r} is not {form}: write '10000'")
    return tuple(pairs)


def _checked(name: str, text: str) -> str:
    """A name or value that every reader can be sent."""
    if "\0" in text:
        raise ValueError(f"header {name!r}: NUL cannot be sent: put it into the payload")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"header {name!r}: a lone surrogate is no character") from None
    return str.__str__(text)

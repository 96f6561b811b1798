"""A value without JSON form: what to send instead of it.

Rule: asked when a message has failed, so it costs nothing before.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any

from stocksync_ws.messaging.hints import type_name
from stocksync_ws.messaging.routing import Router

__all__ = ["no_handler", "no_json_form"]

_SHOWN = 5
"""Mappings that a line of the log names."""

_ADVICE: tuple[tuple[tuple[Any, ...], str], ...] = (
    ((bytes, bytearray, memoryview), "send it alone, or as text, such as base64"),
    ((Awaitable,), "`await` is missing before it"),
    ((Iterator, AsyncIterator), "make a list of it"),
    ((BaseException,), "send str(error)"),
)


def no_json_form(value: Any) -> str:
    """The text about a value in a payload that cannot be sent."""
    kind: type = value.__class__
    fitting = [advice for kinds, advice in _ADVICE if issubclass(kind, kinds)]
    if not fitting:
        missing = "call it: `()` is missing behind it"
        fitting = [missing if callable(value) else "send a dataclass, or a dict of its fields"]
    return f"{type_name(kind)} has no JSON form; {fitting[0]}"


def no_handler(path: str, wanted: str, there: Router[Any], other: str, others: Router[Any]) -> str:
    """The line of the log about a destination that no mapping fits.

    Args:
        path: What follows the application prefix.
        wanted: The decorator that it needs.
        there: The mappings of that decorator.
        other: The decorator for the other frame.
        others: Its mappings.
    """
    if others.match(path) is not None:
        frame = "SEND" if other == "message_mapping" else "SUBSCRIBE"
        return f"no @{wanted} fits the destination, but a @{other} does: {frame} to it"
    texts = there.texts
    if not texts:
        return (
            f"no @{wanted} is declared; functions marked with stocksync_ws.{wanted} need"
            f" ws.include(...)"
        )
    from difflib import get_close_matches  # Costs a millisecond, and only mistakes need it.

    near = get_close_matches(path, texts, n=_SHOWN, cutoff=0.0)
    more = f" and {len(texts) - len(near)} more" if len(texts) > len(near) else ""
    named = ", ".join(map(repr, near))
    return f"no @{wanted} fits the destination; behind the prefix there are {named}{more}"

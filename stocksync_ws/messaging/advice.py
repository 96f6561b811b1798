"""A value without JSON form: what to send instead of it.

Rule: asked when a message has failed, so it costs nothing before.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any

from stocksync_ws.messaging.hints import type_name

__all__ = ["no_json_form"]

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

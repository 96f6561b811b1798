"""What a test gives to the calls of a world and its clients, checked.

Rule: an error says what to write instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from inspect import iscoroutine
from typing import cast

from stocksync_ws.errors import ConversionError
from stocksync_ws.messaging.convert import PayloadEncoder
from stocksync_ws.stomp.frame import Version

__all__ = ["as_fields", "as_json", "as_octets", "as_version", "check_coroutine", "check_seconds"]

_SHOWN = 60


def check_coroutine(given: object) -> None:
    """Check what is to be run.

    Raises:
        TypeError: It is no coroutine.
    """
    if not iscoroutine(given):
        name = getattr(given, "__name__", "work")
        raise TypeError(f"run takes a coroutine, and got {given!r}: write run({name}())")


def check_seconds(call: str, seconds: object, before: str = "") -> None:
    """Check how much time is to pass.

    Args:
        call: The function that was called.
        seconds: What it was given.
        before: What stands before it in the call.

    Raises:
        TypeError: It is no number.
        ValueError: It is negative, infinite or no number at all.
    """
    if not isinstance(seconds, int | float):
        meant = seconds.total_seconds() if isinstance(seconds, timedelta) else _number(seconds)
        raise TypeError(
            f"{call} takes seconds, and got {seconds!r}: write {call}({before}{meant:g})"
        )
    if not 0 <= seconds < math.inf:
        raise ValueError(
            f"{call} takes seconds, and got {seconds!r}: time only goes on, and not for ever:"
            f" write {call}({before}{abs(seconds) if math.isfinite(seconds) else 60:g})"
        )


def _number(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return 60.0


def as_octets(call: str, body: object) -> bytes:
    """A body as octets; text in UTF-8.

    Raises:
        TypeError: It is neither text nor octets.
    """
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(cast("bytes", body))
    shown = repr(body)
    meant = "..." if len(shown) > _SHOWN else shown
    raise TypeError(
        f"the body of {call} is text or octets, and got {type(body).__name__}: write"
        f" send_to(destination, json={meant})"
    )


def as_json(value: object) -> tuple[bytes, str]:
    """The body and the content-type of a value as JSON, a text among them.

    Raises:
        ConversionError: It has no JSON form.
    """
    try:
        # In a list, since alone a text would be sent as text.
        data, kind = PayloadEncoder().encode([value])
    except ConversionError as error:
        raise ConversionError("$" + error.path.removeprefix("$[0]"), error.problem) from None
    return data[1:-1], kind


def as_fields(headers: Mapping[str, object]) -> dict[str, str]:
    """Headers by their own names: `_` stands for `-`.

    Raises:
        TypeError: A value is neither text nor a number.
    """
    for name, value in headers.items():
        if not isinstance(value, str | int):
            write = "leave it out" if value is None else f"write {name}={_as_text(value)!r}"
            raise TypeError(f"the header {name}={value!r} is no text: {write}")
    return {name.replace("_", "-"): str(value) for name, value in headers.items()}


def _as_text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, tuple | list):
        return ",".join(str(each) for each in cast("list[object]", value))
    return "..."


def as_version(version: object) -> Version:
    """A version of STOMP.

    Raises:
        ValueError: There is no such version.
    """
    if version in [*Version]:
        return Version(str(version))
    raise ValueError(
        f"connect({version!r}): what comes first is the version of STOMP, '1.0', '1.1' or '1.2';"
        f" headers have their names: write connect(login={str(version)!r})"
    )

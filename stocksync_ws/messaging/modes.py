"""How a function of the application is run: its mode.

Rule: read from its code once, when it is declared; a call only carries it.
"""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any, cast

from stocksync_ws.broker.model.pipeline import Mode
from stocksync_ws.errors import ConfigurationError

__all__ = ["mode_of"]


def mode_of(function: Any, inline: bool) -> Mode:
    """How a function is run: decided once, when it is declared.

    Args:
        function: A function, a method, a partial, or an object with `__call__`.
        inline: It takes microseconds and is to run on the owner thread.

    Raises:
        ConfigurationError: An `inline` function is async, or it is a generator.
    """
    while isinstance(function, partial):
        function = cast("Any", function).func
    # Of an object with `__call__`, that one; `inspect` looks through methods by itself.
    shapes: list[Any] = [function, function.__class__.__call__]
    name = getattr(function, "__qualname__", repr(function))
    for shape in shapes:
        if inspect.isasyncgenfunction(shape) or inspect.isgeneratorfunction(shape):
            raise ConfigurationError(
                f"{name} is a generator function: it has `yield` in it, and a handler answers "
                f"once; return the values as a list, or send each with the template"
            )
        if inspect.iscoroutinefunction(shape):
            if inline:
                raise ConfigurationError(
                    f"{name} is async and declared inline=True; inline is for `def` functions that "
                    f"take microseconds: make it a `def`, or leave inline out"
                )
            return Mode.ASYNC
    return Mode.INLINE if inline else Mode.POOL

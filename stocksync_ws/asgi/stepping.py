"""The first step of a host's `send`, taken outside of a task, and what is left of it.

Rule: a `websocket.send` that the transport takes at once is done with its first step, as in the
host's own task. One that has to wait is finished in a task. A host that cannot do that shows it by
an exception, and then nothing is begun so any more.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from types import CoroutineType
from typing import Any, TypeAlias

from stocksync_ws.wire.scope_wire import ScopeChunk

__all__ = ["Receive", "Rest", "Send", "Stepping", "begin"]

Receive: TypeAlias = Callable[[], Awaitable[Mapping[str, Any]]]
Send: TypeAlias = Callable[[Mapping[str, Any]], Awaitable[None]]

_log = logging.getLogger("stocksync_ws.transport")


class Stepping:
    """The permission to do it: one for all scopes of an application."""

    def __init__(self) -> None:
        self.allowed = True
        self._failed = False
        self._suspicions = 0

    def suspect(self) -> None:
        """A step has raised: none is taken until it is known why."""
        self._suspicions += 1
        self.allowed = False

    def settle(self, error: Exception | None) -> None:
        """The cause is known."""
        self._suspicions -= 1
        if error is not None and not self._failed:
            self._failed = True
            _log.warning(
                "the host cannot send outside of a task (%s: %s); messages are sent in tasks from"
                " now on, which is slower. Middleware around the WebSocket may be the cause",
                type(error).__name__,
                str(error)[:200],
            )
        self.allowed = not self._failed and not self._suspicions


def begin(send: Send, chunks: Sequence[ScopeChunk]) -> tuple[int, Rest | None]:
    """Take the first step of each send while that is also the last one; how many were begun, and
    what is left of the last of them.
    """
    begun = 0
    for chunk in chunks:
        if not chunk.plain:
            break
        awaitable: Any = send(chunk.message)
        begun += 1
        try:
            if awaitable.__class__ is CoroutineType:
                steps, yielded = awaitable, awaitable.send(None)
            else:
                # Some hosts return an object like a future, which can be iterated and no more.
                steps = awaitable.__await__()
                yielded = next(steps)
        except StopIteration:
            continue
        return begun, Rest(steps, yielded)
    return begun, None


class Rest:
    """The rest of a send that was begun; awaited in a task."""

    __slots__ = ("_steps", "_yielded")

    def __init__(self, steps: Any, yielded: Any) -> None:
        self._steps = steps
        self._yielded = yielded

    def __await__(self) -> Generator[Any, Any, None]:
        steps, yielded = self._steps, self._yielded
        can_send = hasattr(steps, "send")
        try:
            while True:
                try:
                    value = yield yielded
                except BaseException as error:
                    if not hasattr(steps, "throw"):
                        raise
                    yielded = steps.throw(error)
                else:
                    yielded = steps.send(value) if can_send else next(steps)
        except StopIteration:
            return

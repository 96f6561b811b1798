"""The first step of a host's `send`, taken outside of a task, and what is left of it.

Rule: a `websocket.send` that the transport takes at once is done with its first step, as in the
host's own task. One that has to wait is finished in a task. A host that cannot do that shows it by
an exception, and then nothing is begun so any more.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping
from types import CoroutineType, coroutine
from typing import Any, Final, TypeAlias, cast

from stocksync_ws.wire.scope_wire import ScopeChunk

__all__ = ["DONE", "Receive", "Rest", "Send", "Stepping", "new_stepper"]

Receive: TypeAlias = Callable[[], Awaitable[Mapping[str, Any]]]
Send: TypeAlias = Callable[[Mapping[str, Any]], Awaitable[None]]
Stepper: TypeAlias = Generator[Any, tuple[Send, Iterator[ScopeChunk]], None]
"""Sends chunks, when it is sent them and the host's `send`; see `_steps`."""

DONE: Final = object()
"""All of them are sent, and the stepper waits for more."""

_log = logging.getLogger("stocksync_ws.transport")


class Stepping:
    """The permission to do it, and what does it: one for all scopes of an application."""

    __slots__ = ("_failed", "_suspicions", "allowed", "idle")

    def __init__(self) -> None:
        self.allowed = True
        self.idle: Stepper | None = None
        """A stepper that waits for work. Whoever gives it some takes it away from here, and puts it
        back when it has done that.
        """
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


def new_stepper() -> Stepper:
    """A stepper that waits for work."""
    stepper: Any = _steps()
    stepper.send(None)
    return cast("Stepper", stepper)


@coroutine
def _steps() -> Generator[Any, Any, None]:
    """Take the first step of each send while that is also the last one. What comes out is `DONE`,
    the first chunk that needs a task, or what the host yields in a send that it does not finish at
    once.

    It does one work after another, because to make and end a coroutine for each, or to take the
    steps of the host's by hand, costs more than the rest of it: their ends are exceptions.
    """
    found: object = DONE
    while True:
        send, chunks = yield found
        found = DONE
        steps: Any = None
        for chunk in chunks:
            if not chunk.plain:
                found = chunk
                break
            steps = send(chunk.message)
            if steps.__class__ is not CoroutineType:
                # Some hosts return an object like a future, which can be iterated and no more.
                steps = steps.__await__()
            yield from steps
        del send, chunks, steps  # It keeps nothing of a scope that may be over.


class Rest:
    """The rest of a send that was begun; awaited in a task."""

    __slots__ = ("_stepper", "_yielded")

    def __init__(self, stepper: Stepper, yielded: Any) -> None:
        self._stepper = stepper
        self._yielded = yielded

    def __await__(self) -> Generator[Any, Any, None]:
        stepper, yielded = self._stepper, self._yielded
        while yielded is not DONE:
            try:
                value = yield yielded
            except BaseException as error:
                yielded = stepper.throw(error)
            else:
                yielded = stepper.send(value)

"""What the driver asks of an adapter: a stream, a host; and its own record of a connection.

Rule: an adapter moves bytes, runs user code and keeps one timer. Whatever more it would decide
belongs below.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from stocksync_ws.broker.model.pipeline import Task
from stocksync_ws.types import Chunk, Connection, Wire

__all__ = ["Host", "Link", "Stream"]


class Stream(Protocol):
    """A byte stream (or an ASGI scope), as an adapter gives it to the driver."""

    send: Callable[[Chunk], int] | None
    """Write one chunk at once, as far as possible: the number of bytes taken; raises as
    `socket.send`. None where there is no such thing."""

    @property
    def unsent(self) -> int:
        """Bytes that were handed over and are not written yet."""
        ...

    def write(self, chunks: list[Chunk]) -> int:
        """Take all of it; the bytes unsent after a first try. Never raises."""
        ...

    def pause(self) -> None:
        """Stop reading."""
        ...

    def unpause(self) -> None:
        """Read on."""
        ...

    def shut(self) -> None:
        """Write what is unsent, then end our direction; go on reading until the peer ends its
        own.
        """
        ...

    def abort(self) -> None:
        """Close now, whatever is unsent. `ended` is not called any more."""
        ...


class Host(Protocol):
    """What an adapter does for the driver."""

    def now(self) -> float:
        """Seconds, monotonic."""
        ...

    def soon(self, callback: Callable[[], None]) -> None:
        """Call back in the next turn of the loop, on the owner thread."""
        ...

    def wake_at(self, deadline: float) -> None:
        """Call `Driver.wake` at this time; replaces what was asked for before."""
        ...

    def call(self, task: Task) -> None:
        """Run `task.call` in its colour and context, then `Driver.resume`; at once is allowed."""
        ...

    def cancel(self, task: Task) -> None:
        """Ask the running call of a task to end."""
        ...


class Link:
    """One stream with its connection, and the wire it carries now."""

    __slots__ = (
        "armed",
        "armed_at",
        "close_by",
        "connection",
        "deadline",
        "gone",
        "paused",
        "shut",
        "stream",
        "wire",
    )

    def __init__(self, stream: Stream, connection: Connection) -> None:
        self.stream = stream
        self.connection = connection
        self.wire: Wire | None = None
        self.paused = False
        self.gone = False
        self.shut = False
        """Our direction has ended."""
        self.close_by: float | None = None
        """When a shut stream is aborted, whose peer does not end its direction."""
        self.deadline: float | None = None
        self.armed = 0
        self.armed_at = 0.0

"""What the application of the fault tests looks at, and breaks, below its public face."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stocksync_ws import ForkedBrokerError
from stocksync_ws.driver.flush import Flusher

__all__ = ["BrokenStream", "forked", "kept", "status", "watch_writers"]


def kept(heap: Any) -> int:
    """Entries of the heap of timers that stand for something."""
    return sum(1 for entry in heap if entry[2].armed == entry[1])


def status(name: str) -> int:
    """A number of bytes that the kernel knows. (What `getrusage` says of memory is inherited.)"""
    lines = Path("/proc/self/status").read_text().split("\n")
    [line] = [each for each in lines if each.startswith(name)]
    return int(line.split()[1]) * 1024


def forked(ways: Sequence[Callable[[], None]]) -> list[int]:
    """What becomes of a publish in a forked child, in each way of publishing: 0 is as it should."""
    found = []
    for way in ways:
        child = os.fork()
        if child == 0:
            os._exit(told(way))
        found.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    return found


def told(way: Callable[[], None]) -> int:
    """In the child, which must not go on in any case."""
    try:
        way()
    except ForkedBrokerError:
        return 0
    except BaseException:
        return 4
    return 3


class BrokenStream:
    """A stream of ours that cannot write any more."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.send = self.write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, what: object) -> int:
        raise RuntimeError("a broken transport")


def watch_writers(owner: int, found: Callable[[], None]) -> None:
    """Call `found` at every write from any thread but the owner's."""
    flushed = Flusher.flush

    def checked(self: Any, now: float) -> None:
        if threading.get_ident() != owner:
            found()
        flushed(self, now)

    Flusher.flush = checked  # type: ignore[method-assign]

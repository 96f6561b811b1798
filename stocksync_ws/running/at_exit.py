"""The news that the interpreter exits, told while there is still time to end.

Rule: one thread of a process waits for the main thread to end, tells all who have asked for it, and
holds the interpreter back until they are done, `PATIENCE` seconds at most: a loop that user code
blocks must not hang the exit. The hooks of the standard library come too early
(`concurrent.futures` refuses work first) or too late (`atexit` runs when threads have been waited
for). `atexit` is used all the same, for hosts in which the main thread never ends: greenlets in the
place of threads, and servers that embed the interpreter.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from typing import Protocol

from stocksync_ws.running.native import is_patched, new_lock, start_thread

__all__ = ["PATIENCE", "AtExit", "Ending"]

PATIENCE = 1.5
"""Seconds in which all things together have to end."""

_log = logging.getLogger("stocksync_ws.transport")


class Ending(Protocol):
    """A thing that has to end before the interpreter does."""

    def end_at_exit(self) -> None:
        """Begin to end; from any thread, and without waiting."""
        ...

    def wait(self, seconds: float) -> bool:
        """Wait for the end, at most so many seconds; tell whether it has come."""
        ...


class AtExit:
    """The things that are to be told; one object for a process, and after a fork for its child."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._things: set[Ending] = set()
        self._pid: int | None = None
        """The process that watches."""

    def add(self, thing: Ending) -> None:
        """Have a thing told when the main thread ends, and waited for."""
        with self._lock:
            if self._pid != os.getpid():
                self._things.clear()
                self._watch()
                self._pid = os.getpid()
            self._things.add(thing)

    def remove(self, thing: Ending) -> None:
        """Forget a thing that has ended; one that was never added is left alone."""
        with self._lock:
            self._things.discard(thing)

    def _watch(self) -> None:
        if self._pid is None:
            atexit.register(self._tell)  # A forked child has it from its parent.
        if not is_patched():
            start_thread(self._wait, "stocksync-exit", daemon=False)

    def _wait(self) -> None:
        threading.main_thread().join()
        self._tell()

    def _tell(self) -> None:
        if self._pid != os.getpid():
            return
        with self._lock:
            things = list(self._things)
        for thing in things:
            thing.end_at_exit()
        patience = time.monotonic() + PATIENCE
        for thing in things:
            if not thing.wait(max(0.0, patience - time.monotonic())):
                _log.warning("the interpreter exits, but user code holds the server's loop")

"""Being told that the interpreter exits, while there is still time for it.

Rule: one thread of a process waits for the main thread to end and calls who has asked for it. The
hooks of the standard library come too early (`concurrent.futures` refuses work first) or too late
(`atexit` runs when the threads that it would have to end have been waited for).
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable

from stocksync_ws.running.native import is_patched, start_thread

__all__ = ["AtExit"]


class AtExit:
    """Who is to be told; one object for a process, and after a fork for its child.

    Where greenlets stand in the place of threads, the hook is `atexit`: native threads are not
    waited for there.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callbacks: set[Callable[[], None]] = set()
        self._pid: int | None = None
        """The process that watches."""

    def add(self, callback: Callable[[], None]) -> None:
        """Have it called when the main thread ends; from another thread, or from `atexit`."""
        with self._lock:
            if self._pid != os.getpid():
                self._pid = os.getpid()
                self._callbacks.clear()
                self._watch()
            self._callbacks.add(callback)

    def remove(self, callback: Callable[[], None]) -> None:
        """Have it called no longer."""
        with self._lock:
            self._callbacks.discard(callback)

    def _watch(self) -> None:
        if is_patched():
            atexit.register(self._tell)
        else:
            start_thread(self._wait, "stocksync-exit", daemon=True)

    def _wait(self) -> None:
        threading.main_thread().join()
        self._tell()

    def _tell(self) -> None:
        if self._pid != os.getpid():
            return
        with self._lock:
            callbacks = list(self._callbacks)
        for callback in callbacks:
            callback()

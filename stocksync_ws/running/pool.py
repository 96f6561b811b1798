"""A bounded pool of native threads for plain functions.

Rule: a thread is started when there is work and no idle one, up to the bound. The first one starts
with the run of an application that has plain functions, so that there is one at the exit of the
interpreter, when none can be started any more and the pools of the standard library refuse. At the
end work that has not begun is dropped, and nobody waits for work that has.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeAlias

from stocksync_ws.running.native import new_lock, new_queue, start_thread

__all__ = ["Pool"]

Work: TypeAlias = Callable[[], None]


class Pool:
    """Threads that run one function after the other.

    Args:
        threads: The most threads; None: four more than there are processors, at most 32.
        name: The name of each thread, for debuggers.
    """

    def __init__(self, threads: int | None, name: str) -> None:
        self._most = threads or min(32, (os.cpu_count() or 1) + 4)
        self._name = name
        self._queue = new_queue()
        self._lock = new_lock()
        """The lock is held while the numbers are looked at and changed."""
        self._threads = 0
        self._idle = 0
        """Threads that wait, less the work that was put into the queue for them."""
        self._closed = False

    def start(self) -> None:
        """Start the first thread."""
        with self._lock:
            if not self._threads and not self._closed:
                self._grow()

    def submit(self, work: Work) -> None:
        """Run a function in a thread, soon.

        Args:
            work: The function; it must not raise.

        Raises:
            RuntimeError: The pool is closed, or there is no thread and none can be started.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError("the pool is closed")
            if self._idle <= 0 and self._threads < self._most:
                try:
                    self._grow()
                except RuntimeError:
                    if not self._threads:
                        raise
            self._idle -= 1
            self._queue.put(work)

    def _grow(self) -> None:
        start_thread(self._run, self._name, daemon=True)
        self._threads += 1
        self._idle += 1

    def _run(self) -> None:
        while True:
            work = self._queue.get()
            if work is None:
                return
            if not self._closed:
                work()
            with self._lock:
                self._idle += 1

    def forget(self) -> None:
        """End the threads of a pool that nobody will close. Takes no lock: the collector of garbage
        may call this while a thread holds it.
        """
        self._closed = True
        for _ in range(self._threads):
            self._queue.put(None)

    def close(self) -> None:
        """Take nothing more; each thread ends with what it is doing."""
        with self._lock:
            self._closed = True
            for _ in range(self._threads):
                self._queue.put(None)

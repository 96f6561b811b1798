"""The one slot of an application: on which loop it runs, if it does, and how that begins and ends.

Rule: every server of an application has its runtime from here. The slot is free again when the
runtime is closed, not when its end was asked for; a runtime whose loop was closed under it counts
as none and is thrown away by the next. The modules of a run are imported when it begins, so that an
application that is only declared costs none of them.
"""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING

from stocksync_ws.backplane import Backplane
from stocksync_ws.counters import Counters
from stocksync_ws.errors import ForkedBrokerError, WrongLoop

if TYPE_CHECKING:
    from stocksync_ws.running.runtime import Runnable, Runtime

__all__ = ["Run"]


class Run:
    """The runs of an application: one after another, never two at once.

    Args:
        app: The application.
    """

    def __init__(self, app: Runnable) -> None:
        self._app = app
        self._lock = threading.Lock()
        """The lock is held while the slot is looked at and changed, never while anything runs."""
        self._runtime: Runtime | None = None
        self._pid: int | None = None
        """The process of the runtime in the slot."""
        self._counters = Counters()

    @property
    def counters(self) -> Counters:
        """Counters of this run, or of the last one."""
        return self._counters

    @property
    def runtime(self) -> Runtime | None:
        """The runtime in the slot, stopping or not; its loop may have been closed under it."""
        return self._runtime

    @property
    def backplane(self) -> Backplane | None:
        """The engine that the application shares with other workers, if there is one."""
        return self._app.config.backplane

    def make_way(self) -> None:
        """Throw away a run whose loop was closed under it, with all that it held: for a caller who
        needs its port before `begin`.

        Raises:
            WrongLoop: The application runs, on this loop or on another.
            ForkedBrokerError: It runs in the parent of this process.
        """
        last = self._swap(None)
        if last is not None:
            last.close()

    def begin(self, loop: asyncio.AbstractEventLoop, *, alone: bool = False) -> Runtime:
        """Run on a loop, from the thread of that loop; what had been posted is applied first.

        Where the application runs there already, nothing begins: the runtime is the one that is
        there, even when it is stopping.

        Args:
            loop: The loop.
            alone: Refuse to join a run that is there: for a caller who will stop it.

        Raises:
            WrongLoop: It runs on another loop that is not closed; or it runs, and `alone`.
            ForkedBrokerError: It runs in the parent of this process.
            ConfigurationError: A declaration cannot work.
        """
        from stocksync_ws.running.runtime import Runtime

        there = self._runtime
        if there is not None and there.loop is loop and not alone:
            return there
        runtime = Runtime(self._app, loop)
        last = self._swap(runtime)
        self._counters = runtime.broker.counters
        try:
            if last is not None:
                last.close()
            runtime.start()
        except BaseException:
            self._free(runtime)
            raise
        return runtime

    async def until_connected(self) -> None:
        """Wait for the engine behind several workers, where a start requires it.

        Raises:
            BackplaneUnavailable: The engine was not there in time; nothing runs any more.
            ConfigurationError: It does not take this worker; nothing runs any more.
        """
        assert self._runtime is not None
        try:
            await self._runtime.until_connected()
        except BaseException:
            self.abort()
            raise

    async def stop(self) -> None:
        """Close all sessions in good order, within `Limits.shutdown_timeout` seconds; on the loop
        of the run. Called twice, both wait for the one end; where nothing runs there is none.
        """
        runtime = self._runtime
        if runtime is None or runtime.loop.is_closed():
            self.abort()
            return
        try:
            await runtime.stop()
        finally:
            if runtime.closed:
                self._free(runtime)

    def abort(self) -> None:
        """End at once; on the loop of the run, or anywhere after that was closed."""
        runtime = self._runtime
        if runtime is not None:
            runtime.close()
            self._free(runtime)

    def _swap(self, runtime: Runtime | None) -> Runtime | None:
        """Put a runtime into the slot; return the dead one that was there, to be thrown away."""
        with self._lock:
            last = self._runtime
            if last is not None and not last.loop.is_closed():
                if self._pid != os.getpid():
                    raise ForkedBrokerError("the application runs in the parent of this process")
                raise WrongLoop(f"this StompApp runs already{_where(last)}")
            self._runtime, self._pid = runtime, os.getpid()
        return last

    def _free(self, runtime: Runtime) -> None:
        with self._lock:
            if self._runtime is runtime:
                self._runtime = None


_TESTS = "(in tests: `with TestClient(app)`, or `World(app)` of stocksync_ws.testing)"


def _where(runtime: Runtime) -> str:
    """The end of the error: where it runs already, and what to do; the causes look alike."""
    try:
        here = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    if runtime.stopping:
        return "; it is stopping: wait for its end before it is started again"
    if runtime.loop is here:
        return " on this very loop; serve it once, or make a StompApp for each server"
    if not runtime.loop.is_running():
        return (
            " on a loop that stands still and was never closed, so that its sessions are still"
            f" open: end that run, or close that loop {_TESTS}"
        )
    return f" on the loop of another thread; a second loop needs a StompApp of its own {_TESTS}"

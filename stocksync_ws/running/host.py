"""The services of asyncio for the driver: time, turns, one timer, and user code in its colour.

Rule: no decision about sessions or frames stands here. A coroutine function runs in a real
`asyncio.Task` in the pipeline's context, started eagerly where Python can; a plain function runs in
a thread of the bounded pool and its result comes back through the inbox, behind what it had posted;
an inline function runs at once. On a loop that was closed under it nothing is started any more, and
nothing fails.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
import weakref
from collections.abc import Callable, Coroutine, Generator, Iterable, Sequence
from contextvars import Context
from functools import partial
from types import CoroutineType
from typing import Any

from stocksync_ws.backplane import BackplaneCommand, BackplaneLink
from stocksync_ws.broker.model.pipeline import (
    ASYNC,
    AUTHENTICATOR_THREADS,
    POOL,
    Call,
    Outcome,
    Task,
    Threads,
)
from stocksync_ws.counters import Counters
from stocksync_ws.driver.driver import Driver
from stocksync_ws.errors import Cancelled, StockSyncError
from stocksync_ws.inbox import Inbox
from stocksync_ws.running.pool import Pool
from stocksync_ws.running.stragglers import Stragglers

__all__ = ["AioHost", "run_plain"]

LISTENER_THREADS = 2
SLOW = 0.1
"""Seconds a call may hold the loop before it is counted and named."""
SLOW_EVERY = 10.0
"""Seconds between two log lines about slow calls."""

_COROUTINE: Any = CoroutineType
"""The class itself: to ask for the abstract one costs as much as a short handler."""

_log = logging.getLogger("stocksync_ws.handler")


class AioHost:
    """The verbs of `driver.ports.Host` on one event loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        inbox: Inbox,
        counters: Counters,
        threads: int | None,
    ) -> None:
        self.driver: Driver
        """The driver, set by the maker of both."""
        self.link: BackplaneLink | None = None
        """The way to the engine that several workers share."""
        self._loop = loop
        self.now = _clock(loop)
        """The loop's clock: seconds, monotonic."""
        self._inbox = inbox
        self._counters = counters
        sizes = {
            Threads.HANDLERS: threads,
            Threads.AUTHENTICATORS: AUTHENTICATOR_THREADS,
            Threads.LISTENERS: LISTENER_THREADS,
        }
        self._pools = {each: Pool(size, f"stocksync-{each.value}") for each, size in sizes.items()}
        # A loop may be closed under a run, and the application forgotten with it.
        weakref.finalize(self, _forget, tuple(self._pools.values())).atexit = False
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        """The tasks of calls: the loop holds them weakly, and they would be lost."""
        self.stragglers = Stragglers(loop, self._tasks)
        self._inside: set[Call] = set()
        """The calls that threads of the pools are inside of."""
        self._slow_said = float("-inf")
        self._closed = False

    def start(self) -> None:
        """Start the pools of a run that needs them: their first threads cannot be started at the
        exit of the interpreter.
        """
        for pool in self._pools.values():
            pool.start()

    def soon(self, callback: Callable[[], None]) -> None:
        """Call back in the next turn."""
        try:
            self._loop.call_soon(callback)
        except RuntimeError:
            if not self._loop.is_closed():
                raise

    def wake_at(self, deadline: float) -> None:
        """Arm the one timer."""
        if self._timer is not None:
            self._timer.cancel()
        if not self._loop.is_closed():
            self._timer = self._loop.call_at(deadline, self.driver.wake)

    def call(self, task: Task) -> None:
        """Run the call of a task."""
        call = task.call
        assert call is not None
        if self._loop.is_closed() or (self._closed and self.stragglers.left):
            return
        if call.mode is POOL:
            self.in_pool(task, call)
            return
        if call.mode is ASYNC:
            self._in_task(task, call)
            return
        self.driver.resume(task, self._run(call, task.context))

    def inline(self, call: Call, context: Context) -> Outcome | None:
        """Run an inline call at once. After the end `call` decides about it."""
        return None if self._closed else self._run(call, context)

    def _run(self, call: Call, context: Context) -> Outcome:
        started = self._loop.time()
        outcome = run_plain(call, context)
        self.note_slow(call, self._loop.time() - started)
        return outcome

    def carry(self, commands: Sequence[BackplaneCommand]) -> None:
        """Send commands to the engine."""
        if self.link is not None:
            self.link.send(commands)

    def cancel(self, task: Task) -> None:
        """Cancel the coroutine of a task."""
        if task.handle is not None:
            task.handle.cancel()

    def close(self) -> None:
        """Take no more calls and forget the timer; calls that still run in the pool are left to
        themselves, and so are, after a while, coroutines that go on.
        """
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for label in sorted({call.label for call in tuple(self._inside)}):
            self.stragglers.name(label, "in a thread")
        if not self._loop.is_closed():
            for task in self._tasks:
                task.cancel()
            self.stragglers.expect()
        for pool in self._pools.values():
            pool.close()

    async def ended(self, seconds: float) -> None:
        """Wait for coroutines that `close` has cancelled, and for clean-up that their ends bring,
        at most so many seconds; those that go on then are left behind.
        """
        until = self.now() + seconds
        while self._tasks and (left := until - self.now()) > 0:
            await asyncio.wait(tuple(self._tasks), timeout=left)
        if self._tasks:
            await self.stragglers.end(self._tasks)

    def _in_task(self, task: Task, call: Call) -> None:
        try:
            coroutine = task.context.run(self.stragglers.begin, call)
            steps = _Steps(coroutine, self, call)
            running = _spawn(self._loop, steps, task.context)
        except Exception as error:
            self.driver.resume(task, Outcome(call, error=error))
            return
        if running.done():
            self._ended(task, call, running)
            return
        task.handle = running
        self._tasks.add(running)
        running.add_done_callback(partial(self._ended, task, call))

    def _ended(self, task: Task, call: Call, running: asyncio.Task[Any]) -> None:
        self._tasks.discard(running)
        if self._closed and running.cancelled():
            # By us, in `close`: the handler has not failed, and nobody is to be told that it has.
            self.driver.resume(task, Outcome(call, error=Cancelled()))
            return
        self.driver.resume(task, _outcome(call, running))

    def in_pool(self, task: Task, call: Call) -> None:
        """Run a plain function in its pool. At the exit of the interpreter no thread can be
        started, and handlers may hold all that there are.
        """
        work = partial(self._run_in_pool, task, call, task.context)
        self._pools[call.threads].submit(call.offer(work))

    def _run_in_pool(self, task: Task, call: Call, context: Context) -> None:
        self._inside.add(call)
        outcome = run_plain(call, context)
        self._inside.discard(call)
        self.hand_over(task, outcome)

    def hand_over(self, task: Task, outcome: Outcome) -> None:
        """Take the outcome of a plain function that has ended; from any thread."""
        self._inbox.hand_over(partial(self._returned, task, outcome))

    def _returned(self, task: Task, outcome: Outcome) -> None:
        """Send a result back in; one that comes after the end of the run is dropped."""
        if not self._closed:
            self.driver.resume(task, outcome)

    def note_slow(self, call: Call, seconds: float) -> None:
        """Count a call that held the loop, and name it now and then."""
        if seconds < SLOW:
            return
        self._counters.slow_calls += 1
        now = self._loop.time()
        if now - self._slow_said >= SLOW_EVERY:
            self._slow_said = now
            wanted = "await what it waits for" if call.mode is ASYNC else "leave inline=True out"
            _log.warning(
                "slow call mapping=%s held the loop for %.0f ms, and nobody else was served: %s, or"
                " make it a `def`, which runs in a thread",
                call.label,
                seconds * 1e3,
                wanted,
            )


class _Steps(Coroutine[Any, Any, Any]):
    """A coroutine whose every step on the loop is timed, and which cannot end the server."""

    __slots__ = ("_call", "_coroutine", "_host")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], host: AioHost, call: Call) -> None:
        self._coroutine = coroutine
        self._host = host
        self._call = call

    def send(self, value: Any, /) -> Any:
        return self._step(self._coroutine.send, value)

    def throw(self, error: Any, /, *rest: Any) -> Any:
        return self._step(self._coroutine.throw, error)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()

    def _step(self, step: Callable[[Any], Any], value: Any) -> Any:
        started = self._host.now()
        try:
            return step(value)
        except SystemExit as error:
            raise _not_an_error(self._call, error) from error
        finally:
            self._host.note_slow(self._call, self._host.now() - started)


def _spawn(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], context: Context
) -> asyncio.Task[Any]:
    """A task in this context. `loop.create_task` does not take `eager_start` on every version."""
    if sys.version_info >= (3, 12):
        return asyncio.Task(coroutine, loop=loop, context=context, eager_start=True)
    return loop.create_task(coroutine, context=context)


def _forget(pools: Iterable[Pool]) -> None:
    for pool in pools:
        pool.forget()


def run_plain(call: Call, context: Context) -> Outcome:
    """Run a plain function to its end, in a context."""
    try:
        value = context.run(call.function, *call.args, **call.kwargs)
    except Exception as error:
        return Outcome(call, error=error)
    except BaseException as error:
        return Outcome(call, error=_not_an_error(call, error))
    return _not_awaited(call, value) if type(value) is _COROUTINE else Outcome(call, value)


def _outcome(call: Call, running: asyncio.Task[Any]) -> Outcome:
    if running.cancelled():
        return Outcome(call, error=StockSyncError(f"{call.label} was cancelled"))
    error = running.exception()
    if error is None:
        value = running.result()
        return _not_awaited(call, value) if type(value) is _COROUTINE else Outcome(call, value)
    if not isinstance(error, Exception):
        return Outcome(call, error=_not_an_error(call, error))
    return Outcome(call, error=error)


def _not_awaited(call: Call, coroutine: Any) -> Outcome:
    coroutine.close()
    error = StockSyncError(
        f"{call.label} returned a coroutine: `await` is missing before the call that made it; a"
        f" `def` that has to await becomes `async def`"
    )
    return Outcome(call, error=error)


def _not_an_error(call: Call, error: BaseException) -> StockSyncError:
    """The error in place of `SystemExit` and its like, which end a handler, not the server."""
    wrapped = StockSyncError(f"{call.label} raised {type(error).__name__}")
    wrapped.__cause__ = error
    return wrapped


def _clock(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """The clock of a loop; of asyncio's own loops what stands behind their method, since it is
    asked several times a step.
    """
    own = getattr(loop.time, "__func__", None) is asyncio.BaseEventLoop.time
    return time.monotonic if own else loop.time

"""One run of an application on one event loop: a fresh broker, its driver, its host.

Rule: everything that a start makes is made here, and an end leaves nothing of it. A runtime starts
once and ends once, by `stop`, by `close`, or because its loop was closed under it; then it is
thrown away.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from stocksync_ws.agreement import agreement_of
from stocksync_ws.backplane import Backplane, BackplaneEvent, Connected, Lost
from stocksync_ws.broker.broker import Broker
from stocksync_ws.broker.calls.dispatch import Dispatch
from stocksync_ws.config import BrokerConfig
from stocksync_ws.driver.driver import Driver
from stocksync_ws.errors import BackplaneUnavailable, ConfigurationError
from stocksync_ws.inbox import Inbox
from stocksync_ws.posts import Command
from stocksync_ws.running.host import AioHost
from stocksync_ws.running.stragglers import CLEAN_UP
from stocksync_ws.streams import read_buffer
from stocksync_ws.timers import Timers

__all__ = ["Runnable", "Runtime", "token"]

_log = logging.getLogger("stocksync_ws.broker")


def token(bits: int) -> str:
    """An unguessable, URL-safe text of so many random bits."""
    return secrets.token_urlsafe(bits // 8)


class Runnable(Protocol):
    """An application, as far as a runtime needs it."""

    @property
    def config(self) -> BrokerConfig:
        """The settings of the application."""
        ...

    @property
    def dispatch(self) -> Dispatch:
        """The pipelines of the application."""
        ...

    @property
    def inbox(self) -> Inbox:
        """The entrance of the messages of its template."""
        ...


class Runtime:
    """One run, which is made and closed on its loop; `start` and `stop` do the rest."""

    def __init__(
        self,
        app: Runnable,
        loop: asyncio.AbstractEventLoop,
        token: Callable[[int], str] = token,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.loop = loop
        self.config = app.config
        self._inbox = app.inbox
        self._dispatch = app.dispatch
        timers = Timers()
        self.broker = Broker(app.config, self._dispatch, timers, token, wall)
        limits = app.config.limits
        self.host = self._make_host(limits.handler_threads)
        self.driver = self.host.driver = Driver(self.host, self.broker, timers)
        self.at_end: list[Callable[[], None]] = []
        """Callbacks of its close, before anything else: for things that were made beside it."""
        self.lifespans = 0
        """Lifespans of hosts that have begun in it and are not over."""
        self.closed = False
        """The runtime is closed: nothing of it runs any more."""
        self.spread = math.inf
        """Seconds over which a drain may spread its closes."""
        self.clean_up = CLEAN_UP
        """Seconds for coroutines that are cancelled at the end of a stop."""
        self.draining = False
        """No new session is taken."""
        self._drained = asyncio.Event()
        self._hurried = False
        self._stopping = False
        self._engine: Connected | Lost | None = None
        """The last event of the connection to the engine."""
        self._engine_told = asyncio.Event()
        self._over = asyncio.Event()
        """The event of its close, which is not set where its loop was closed before."""
        self._idle_event: asyncio.Event | None = None
        self.buffer = read_buffer(limits.read_budget)
        """The buffer that all streams of this loop read into."""

    def _make_host(self, threads: int | None) -> AioHost:
        return AioHost(self.loop, self._inbox, self.broker.counters, threads)

    def start(self) -> None:
        """Take messages: those that had been posted before the start first.

        Raises:
            ConfigurationError: A declaration cannot work; nothing of the runtime is left.
            WrongLoop: The application runs already.
        """
        try:
            # A process of one thread sends faster: the C library locks nothing there.
            if self._needs_threads():
                self.host.start()
            self._inbox.open(self.driver.publish, self._wake, self.loop.is_closed, self)
        except BaseException:
            self.closed = True
            self.host.close()
            raise
        try:
            self.driver.start()
        except BaseException:
            # Nobody was told of a start, so nobody is told of an end.
            self.closed = True
            self._inbox.close()
            self.host.close()
            raise
        if self.config.backplane is not None:
            self.loop.call_soon(self._connect, self.config.backplane)

    def _needs_threads(self) -> bool:
        try:
            return self._dispatch.needs_threads
        except ConfigurationError:
            return False  # The start of the driver raises it again, and posts are refused then.

    def _connect(self, backplane: Backplane) -> None:
        """Begin to talk to the engine that several workers share."""
        if not self.closed:
            self.host.link = backplane.open(
                self.broker.worker, agreement_of(self.config), self._told
            )
            self.at_end.append(self.host.link.close)

    def _told(self, events: Sequence[BackplaneEvent]) -> None:
        if self.closed:
            return
        for event in events:
            if isinstance(event, (Connected, Lost)):
                self._engine = event
                self._engine_told.set()
        self.driver.act(partial(self.broker.engine, events))

    async def until_connected(self) -> None:
        """Wait for the engine, where a start requires it: see `BackplaneSettings`.

        Raises:
            BackplaneUnavailable: The engine was not there in time.
            ConfigurationError: The engine does not take this worker.
        """
        backplane = self.config.backplane
        if backplane is None or not backplane.config.require_at_start:
            return
        seconds = backplane.config.subscribe_timeout
        why = ""
        try:
            async with asyncio.timeout(seconds):
                while not isinstance(told := self._engine, Connected):
                    if told is not None:
                        why = f": {told.reason}"
                        if told.fatal:
                            raise ConfigurationError(told.reason)
                    self._engine_told.clear()
                    await self._engine_told.wait()
        except TimeoutError:
            raise BackplaneUnavailable(
                f"require_at_start: the engine behind the workers was not there within"
                f" {seconds:g} s{why}"
            ) from None

    def _wake(self) -> None:
        try:
            self.loop.call_soon_threadsafe(self._inbox.drain)
        except RuntimeError:
            pass  # The loop was closed under us; the inbox keeps what is posted.

    def act(self, command: Command) -> None:
        """Do something with the sessions, on this loop's thread."""
        self.driver.act(lambda now: command(self.broker, now))

    async def drain(self) -> None:
        """Take no new session and close those that there are, spread over time; wait until their
        listeners have heard of it, but leave `Limits.close_timeout` of `Limits.shutdown_timeout`.
        Messages are still taken. Two calls wait for the one end.
        """
        if self.closed:
            return
        if self.draining:
            await self._drained.wait()
            return
        self.draining = True
        limits = self.config.limits
        try:
            self._inbox.drain()
            self.driver.stop(self.spread)
            await self._idle(limits.shutdown_timeout - limits.close_timeout)
        finally:
            self._drained.set()

    @property
    def ready(self) -> bool:
        """New sessions are taken; may be asked from any thread."""
        running = not (self.draining or self.closed or self.loop.is_closed())
        return running and self.broker.reachable

    @property
    def stopping(self) -> bool:
        """A stop has begun."""
        return self._stopping

    async def stop(self) -> None:
        """Drain, then end what is left, within `Limits.shutdown_timeout` seconds in all; coroutines
        that have not ended by then are cancelled, and have `clean_up` seconds more. Two calls
        wait for the one end.
        """
        if self.closed:
            return
        if self._stopping:
            await self._over.wait()
            return
        self._stopping = True
        try:
            await self.drain()
            if not self.closed:
                self._inbox.refuse()
                self.driver.halt()
                await self._idle(self.config.limits.close_timeout)
        finally:
            self.close()
        await self.host.ended(self.clean_up)

    def hurry(self) -> None:
        """Wait for nothing any more: a drain or a stop that is under way ends at once."""
        self._hurried = True
        if self._idle_event is not None:
            self._idle_event.set()

    def close(self) -> None:
        """End at once: reset what is left, and wait for nothing.

        When the loop has been closed under it, its sockets and its pool end all the same, but
        nobody is told and no user code is started; the inbox keeps what is posted.
        """
        if self.closed:
            return
        self.closed = True
        for callback in self.at_end:
            try:
                callback()
            except Exception:
                _log.exception("internal error at the end of a run")
        if self.loop.is_closed():
            self.driver.abort()
        else:
            self._over.set()
            if self._idle_event is not None:
                self._idle_event.set()
            self._inbox.refuse()
            self.driver.halt()
            self.driver.abort()
            self._inbox.close()
        self.host.close()

    async def _idle(self, seconds: float) -> None:
        """Wait until nothing is left to do, at most so many seconds."""
        if self.closed or self._hurried:
            return
        idle = self._idle_event = asyncio.Event()
        self.driver.when_idle(idle.set)
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await idle.wait()
        except TimeoutError:
            pass  # What is left is ended by whoever waits.

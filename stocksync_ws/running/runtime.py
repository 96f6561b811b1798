"""One run of an application on one event loop: a fresh broker, its driver, its host.

Rule: everything that a start makes is made here, and a stop leaves nothing of it. An application
may run again afterwards, on another loop too, but never on two at once.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Protocol

from stocksync_ws.broker.broker import Broker
from stocksync_ws.broker.calls.dispatch import Dispatch
from stocksync_ws.config import BrokerConfig
from stocksync_ws.driver.driver import Driver
from stocksync_ws.inbox import Inbox
from stocksync_ws.running.host import AioHost
from stocksync_ws.streams import read_buffer
from stocksync_ws.timers import Timers

__all__ = ["Runnable", "Runtime", "token"]


def token(bits: int) -> str:
    """An unguessable, URL-safe text of so many random bits."""
    return secrets.token_urlsafe(bits // 8)


class Runnable(Protocol):
    """What a runtime needs of an application."""

    @property
    def config(self) -> BrokerConfig:
        """Its settings."""
        ...

    @property
    def dispatch(self) -> Dispatch:
        """Its pipelines."""
        ...

    @property
    def inbox(self) -> Inbox:
        """Where its template's messages enter."""
        ...


class Runtime:
    """Made and closed on its loop; `start` and `stop` do the rest."""

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
        timers = Timers()
        self.broker = Broker(app.config, app.dispatch, timers, token, wall)
        limits = app.config.limits
        self.host = self._make_host(limits.handler_threads)
        self.driver = self.host.driver = Driver(self.host, self.broker, timers)
        self._closed = False
        self._idle_event: asyncio.Event | None = None
        self.buffer = read_buffer(limits.read_budget)
        """What all streams of this loop read into."""

    def _make_host(self, threads: int | None) -> AioHost:
        return AioHost(self.loop, self._inbox, self.broker.counters, threads)

    def start(self) -> None:
        """Take messages: those that had been posted before the start first."""
        self._inbox.open(self.driver.publish, self._wake)
        self.driver.start()

    def _wake(self) -> None:
        try:
            self.loop.call_soon_threadsafe(self._inbox.drain)
        except RuntimeError:
            pass  # The loop was closed under us; the inbox keeps what is posted.

    async def stop(self) -> None:
        """Close all sessions in good order, within `Limits.shutdown_timeout` seconds."""
        limits = self.config.limits
        self._inbox.drain()
        self.driver.stop()
        await self._idle(limits.shutdown_timeout - limits.close_timeout)
        self._inbox.refuse()
        self.driver.halt()
        await self._idle(limits.close_timeout)
        self.close()

    def close(self) -> None:
        """End at once: reset what is left, and wait for nothing."""
        self._closed = True
        if self._idle_event is not None:
            self._idle_event.set()
        self._inbox.refuse()
        self.driver.halt()
        self.driver.abort()
        self._inbox.close()
        self.host.close()

    async def _idle(self, seconds: float) -> None:
        """Wait until nothing is left to do, at most so long."""
        if self._closed:
            return
        idle = self._idle_event = asyncio.Event()
        self.driver.when_idle(idle.set)
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await idle.wait()
        except TimeoutError:
            pass  # What is left is ended by whoever waits.

"""SIGTERM and SIGINT of a process that somebody else serves: sessions are drained before its own
handler hears of them.

Rule: nothing is taken away from the host. A handler written in Python is put behind the drain. One
that an asyncio loop has installed is called by the loop whatever Python calls, so the drain runs
beside it. Where no Python is called at all (SIG_DFL, SIG_IGN, a handler of C) nothing is changed.
The second signal goes straight through, and nothing is waited for any more.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

__all__ = ["SignalChain"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_log = logging.getLogger("stocksync_ws.transport")


class SignalChain:
    """The chain of a drain and the host's handlers behind it; on the main thread only.

    Args:
        loop: The loop of the run.
        drain: A function that closes all sessions; it ends when that is done, in bounded time.
        hurry: A function called on the loop at the second signal: the drain is to end at once.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        drain: Callable[[], Coroutine[Any, Any, None]],
        hurry: Callable[[], object],
    ) -> None:
        self._loop = loop
        self._drain = drain
        self._hurry = hurry
        self._before: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._caught = False
        self._task: asyncio.Task[None] | None = None

    def install(self) -> None:
        """Take the place of the handlers that can be called afterwards."""
        if threading.current_thread() is not threading.main_thread():
            return
        left: list[str] = []
        for number in _SIGNALS:
            before = signal.getsignal(number)
            if callable(before) and before is not signal.default_int_handler:
                self._before[number] = before
                signal.signal(number, self._on_signal)
            else:
                name = getattr(before, "__name__", None) or getattr(before, "name", before)
                left.append(f"{number.name} ({name})")
        if left:
            _log.info(
                "sessions are not drained before a stop by %s: its handler is left as it is",
                ", ".join(left),
            )

    def restore(self) -> None:
        """Put the host's handlers back, where ours still stands. A handler in front of ours goes
        on calling it, so it goes on calling theirs.
        """
        if threading.current_thread() is not threading.main_thread():
            return  # Only there it may be done; on a closed loop our handler passes signals on.
        for number, before in self._before.items():
            if signal.getsignal(number) == self._on_signal:
                signal.signal(number, before)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        before = self._before.get(number)
        if self._caught or self._loop.is_closed():
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._hurry)
            if before is not None:
                before(number, frame)
            return
        self._caught = True
        self._loop.call_soon_threadsafe(self._begin, number)

    def _begin(self, number: int) -> None:
        _log.info("%s: closing all sessions before the host stops", signal.Signals(number).name)
        self._task = self._loop.create_task(self._drain_first(number))

    async def _drain_first(self, number: int) -> None:
        before = self._before.get(number)
        try:
            await self._drain()
        finally:
            if before is not None:
                before(number, None)

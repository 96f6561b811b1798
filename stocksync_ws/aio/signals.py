"""SIGINT and SIGTERM while a server of ours has the main thread.

Rule: signals come to the main thread only: in any other, nothing is caught, and whoever started the
thread stops what runs in it. What was caught is given back.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["caught"]


@contextmanager
def caught(
    loop: asyncio.AbstractEventLoop, on_signal: Callable[[], None]
) -> Generator[None, None, None]:
    """Call `on_signal` on the loop for each SIGINT and SIGTERM that comes inside of the block."""
    added: list[signal.Signals] = []
    before: dict[signal.Signals, Any] = {}

    def from_python(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(on_signal)

    here = threading.current_thread() is threading.main_thread()
    try:
        for number in (signal.SIGINT, signal.SIGTERM) if here else ():
            try:
                loop.add_signal_handler(number, on_signal)
            except NotImplementedError:  # Windows
                before[number] = signal.signal(number, from_python)
            else:
                added.append(number)
        yield
    finally:
        for number in added:
            loop.remove_signal_handler(number)
        for number, handler in before.items():
            signal.signal(number, handler)

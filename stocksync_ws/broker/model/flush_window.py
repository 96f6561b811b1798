"""The time in which messages of one topic wait for each other, before they are sent together.

Rule: a plain record with a timer, one for each topic with a `flush_delay`; what follows when it
ends stands in `delivery/flush_windows.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from stocksync_ws.broker.model.topic import Topic

__all__ = ["FlushWindow", "WindowKeeper"]


class WindowKeeper(Protocol):
    """Where the end of a window is acted on."""

    def begin(self, window: FlushWindow) -> None: ...
    def wake(self, window: FlushWindow, now: float) -> None: ...


class FlushWindow:
    """Open from the first message that waits until its delay has passed."""

    __slots__ = ("armed", "armed_at", "deadline", "delay", "keeper", "topic")

    def __init__(self, topic: Topic, delay: float, keeper: WindowKeeper) -> None:
        self.topic = topic
        self.delay = delay
        """Seconds."""
        self.keeper = keeper
        self.deadline: float | None = None
        """When it ends; None: it is not open."""
        self.armed = 0
        self.armed_at = 0.0

    def begin(self) -> None:
        """A message waits from now on; in an open window it waits for the end of that."""
        if self.deadline is None:
            self.keeper.begin(self)

    def wake(self, now: float) -> None:
        """It ends."""
        self.keeper.wake(self, now)

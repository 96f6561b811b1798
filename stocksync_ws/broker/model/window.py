"""SENDs of one session that the engine has not answered yet.

Rule: plain records of `frames/sharing.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from stocksync_ws.stomp.frame import Frame

if TYPE_CHECKING:
    from stocksync_ws.broker.model.flight import Settlement
    from stocksync_ws.broker.model.pipeline import Task

__all__ = ["MOST_SENDS", "SharedSend", "Window"]

MOST_SENDS = 64
"""SENDs of a session that may wait for the engine at once."""


class SharedSend:
    """One of them."""

    __slots__ = ("frame", "settlement")

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.settlement: Settlement | None = None
        """What became of it, while earlier ones have no answer."""


class Window:
    """All of them, in the order of the frames."""

    __slots__ = ("refusals", "sends", "waiting")

    def __init__(self) -> None:
        self.sends: deque[SharedSend] = deque()
        self.refusals: list[Callable[[], None]] = []
        """Tell the client of frames behind them that were refused."""
        self.waiting: list[Task] = []
        """The script of the next frame, which waits until none is left."""

"""Scripts of SUBSCRIBEs that wait until the channel of their destination is live.

Rule: plain records of `sessions/workers.py`. All wait equally long, so that they are over in their
order; what is asked of them costs no more where thousands wait.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stocksync_ws.broker.model.pipeline import Task

__all__ = ["Attaching"]


class Attaching:
    """All of them, by their channels and by their time."""

    __slots__ = ("_channels", "_times")

    def __init__(self) -> None:
        self._channels: dict[str, deque[list[Task]]] = {}
        self._times: deque[tuple[float, str, list[Task]]] = deque()
        """Until when they wait, the first one first; some of them wait no more."""

    def __contains__(self, channel: str) -> bool:
        return channel in self._channels

    def add(self, channel: str, until: float) -> list[Task]:
        """One more, whose script puts itself into this list."""
        tasks: list[Task] = []
        self._channels.setdefault(channel, deque()).append(tasks)
        self._times.append((until, channel, tasks))
        return tasks

    def take(self, channel: str) -> list[Task]:
        """Those of a channel, which wait no more."""
        return [task for tasks in self._channels.pop(channel, ()) for task in tasks]

    def until(self) -> float | None:
        """When the first one has waited for too long, in the broker's own time."""
        while self._times:
            until, channel, tasks = self._times[0]
            waiting = self._channels.get(channel)
            if waiting is not None and waiting[0] is tasks:
                return until
            self._times.popleft()
        return None

    def take_late(self, now: float) -> list[Task]:
        """Those that have waited for too long, and wait no more."""
        late: list[Task] = []
        while (until := self.until()) is not None and until <= now:
            _, channel, tasks = self._times.popleft()
            waiting = self._channels[channel]
            waiting.popleft()
            if not waiting:
                del self._channels[channel]
            late += tasks
        return late

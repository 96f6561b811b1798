"""Turns of the loop, one at a time."""

from __future__ import annotations

from collections.abc import Callable

from stocksync_ws.testing.world import World

__all__ = ["Turns"]


class Turns:
    """Lets turns of the loop pass one at a time."""

    def __init__(self, world: World) -> None:
        self._waiting: list[Callable[[], None]] = []
        world.runtime.host.soon = self._waiting.append  # type: ignore[method-assign]

    def pass_one(self) -> None:
        waiting, self._waiting[:] = list(self._waiting), []
        for callback in waiting:
            callback()

    @property
    def over(self) -> bool:
        return not self._waiting

"""The in-memory world as a carrier."""

from __future__ import annotations

from carriers.client import Pipe
from stocksync_ws import StompApp
from stocksync_ws.counters import Counters
from stocksync_ws.running.runtime import Runtime
from stocksync_ws.testing.stream import MemoryStream
from stocksync_ws.testing.world import World
from stocksync_ws.wire.endpoint import Page

__all__ = ["WorldCarrier"]


class WorldCarrier:
    """Runs an application in a `World`."""

    secure = False

    def start(self, app: StompApp, pages: dict[str, Page]) -> None:
        self._world = World(app, app.site(pages))

    def connect(self) -> Pipe:
        return _Pipe(self._world)

    @property
    def counters(self) -> Counters:
        return self._world.counters

    @property
    def runtime(self) -> Runtime:
        return self._world.runtime

    def settle(self) -> None:
        if not self._world.loop.is_closed():
            self._world.settle()

    def pass_time(self, seconds: float) -> None:
        self._world.advance(seconds)

    def begin_stop(self) -> None:
        self._world.runtime.driver.stop()
        self._world.advance(0.5)

    def stop(self) -> None:
        if not self._world.loop.is_closed():
            self._world.close()


class _Pipe:
    def __init__(self, world: World) -> None:
        self._world = world
        self._stream: MemoryStream = world.open()
        self._over = False

    def send(self, data: bytes) -> None:
        for start in range(0, len(data), 65_536):
            if not self._stream.aborted:
                piece = data[start : start + 65_536]
                self._world.runtime.driver.feed(self._stream.link, piece)
                self._world.settle()

    def receive(self) -> bytes:
        self._world.settle()
        data = bytes(self._stream.received)
        self._stream.received.clear()
        if not data and not self._stream.ended:
            raise TimeoutError("nothing came")
        return data

    def stop_reading(self) -> None:
        self._stream.window = 0

    def read_on(self) -> None:
        self._stream.open_window(None)

    def half_close(self) -> None:
        if self._world.loop.is_closed():
            return
        self._world.runtime.driver.ended(self._stream.link)
        self._world.settle()

    reset = close = half_close

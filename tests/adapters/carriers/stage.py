"""The application of the suite as it runs somewhere, and the clients of a test."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

from carriers.client import Client, Pipe
from carriers.running import Carrier
from carriers.shop import End, Shop
from carriers.sockjs import Browser, HttpPage, Page, SocketPage

__all__ = ["LocalStage", "Stage", "until"]

PATIENCE = 10.0

_T = TypeVar("_T")


def until(look: Callable[[], _T], what: str, seconds: float = PATIENCE) -> _T:
    """Look until something true is seen; fails when that takes too long."""
    end = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}; seen last: {seen!r}"
        time.sleep(0.005)
    return seen


class Stage(ABC):
    """What a test may ask, whatever serves the application."""

    waits = True
    """Behind its Close the server waits for that of the client; else it drops the connection."""
    hops = True
    """An answer has the headers that are for one hop; of WSGI those are the server's own."""
    drains = True
    """A stop closes all sessions in good order."""
    listens_on = True
    """It takes connections meanwhile."""
    slows_down = True
    """A client that reads nothing is felt."""
    secure = False
    """Clients come by TLS."""
    keeps_alive = True
    """A request may follow another on a connection, whatever answers it."""
    cuts = True
    """A WebSocket can be ended without a Close: an ASGI server has no word for that."""
    says_close = True
    """It says so when it closes a connection behind an answer."""
    slows_streams = True
    """A client that reads nothing of a long answer is felt."""
    reads_chunks = True
    """A body may come in chunks."""

    def __init__(self) -> None:
        self._clients: list[Client] = []
        self._pages: list[Page] = []
        self._read = 0
        """Ends that a test has looked at."""

    # Clients

    def open(self) -> Client:
        """A client with nothing but a stream."""
        client = Client(self.pipe())
        self._clients.append(client)
        return client

    def connect(self) -> Client:
        """A client that is CONNECTED."""
        return self.open().connect()

    def browser(self) -> Browser:
        """A browser without a connection."""
        return Browser(lambda: self.open().pipe, again=self.says_close)

    def page(self, transport: str, **headers: str) -> Page:
        """A session of SockJS, not begun; headers of its requests."""
        page = (
            SocketPage(self.open(), **headers)
            if transport == "websocket"
            else HttpPage(self.browser(), transport, **headers)
        )
        self._pages.append(page)
        return page

    def hang_up(self) -> None:
        """Close all clients."""
        for client in self._clients:
            client.pipe.close()
        self._clients.clear()

    @abstractmethod
    def pipe(self) -> Pipe:
        """A new stream to the server."""

    def pass_time(self, seconds: float) -> None:
        """Let time pass where it stands still; elsewhere it passes while a test looks."""
        return

    # The application

    @abstractmethod
    def publish(self, destination: str, body: bytes, count: int = 1) -> None:
        """Publish from outside of every handler."""

    @abstractmethod
    def ends(self) -> list[End]:
        """How sessions ended since this stage was opened."""

    @abstractmethod
    def counters(self) -> dict[str, int]:
        """The counters, as they were counted since this stage was opened, and what is open."""

    @abstractmethod
    def baseline(self) -> dict[str, int]:
        """What the process of the application holds: descriptors, threads, tasks, timers."""

    def carried(self, code: int) -> int:
        """What a client sees of a close code of ours."""
        return code

    def answered(self, code: int) -> tuple[int, End]:
        """What a client sees after a Close of its own, and what the application is told."""
        return code, End("peer_closed", code)

    def over(self, client: Client) -> None:
        """Nothing more comes, and the stream ends; then our direction does, too."""
        try:
            assert client.rest() == b""
        except ConnectionResetError:
            assert not self.waits
        client.pipe.close()

    def next_end(self) -> End:
        """The next end of a session; waits for it."""
        until(lambda: len(self.ends()) > self._read, "the end of a session", 15.0)
        self._read += 1
        return self.ends()[self._read - 1]

    # The end

    @abstractmethod
    def begin_stop(self) -> None:
        """Begin to close all sessions in good order; may return before they are."""

    @abstractmethod
    def stop(self) -> None:
        """Stop, and wait for it."""

    @abstractmethod
    def close(self) -> None:
        """The test is over."""


class LocalStage(Stage):
    """In this process."""

    def __init__(self, carrier: Carrier, settings: dict[str, Any]) -> None:
        super().__init__()
        self._ends: list[End] = []
        self._shop = Shop(settings, self._ends.append)
        self._carrier = carrier
        self.secure = carrier.secure
        carrier.start(self._shop.app, {})
        self._shop.runtime = lambda: carrier.runtime

    def pipe(self) -> Pipe:
        return self._carrier.connect()

    def pass_time(self, seconds: float) -> None:
        self._carrier.pass_time(seconds)

    def publish(self, destination: str, body: bytes, count: int = 1) -> None:
        self._shop.publish(destination, body, count)

    def ends(self) -> list[End]:
        self._carrier.settle()
        return self._ends

    def counters(self) -> dict[str, int]:
        self._carrier.settle()
        return self._shop.counters()

    def baseline(self) -> dict[str, int]:
        self._carrier.settle()
        return self._shop.baseline()

    def begin_stop(self) -> None:
        self._carrier.begin_stop()

    def stop(self) -> None:
        self._carrier.stop()

    def close(self) -> None:
        self.hang_up()
        runtime = self._carrier.runtime
        if runtime is not None and not runtime.stopping and not runtime.closed:
            # Nobody comes back who was between two polls.
            runtime.loop.call_soon_threadsafe(runtime.hurry)
        self._carrier.stop()

"""The in-memory world: an application, a virtual clock, and as many clients as a test wants.

    with World(app) as world:
        peer = world.connect()
        peer.subscribe("/topic/inventory")
        app.template.convert_and_send("/topic/inventory", {"quantity": 7})
        assert peer.message().body == b'{"quantity":7}'
        world.advance(30)

Rule: nothing waits and nothing is random. Plain `def` handlers run on the one thread there is,
behind what is ready; `hold_pool` keeps them back, as a pool whose threads are busy. The end of a
world fails when the library had to catch an error of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from itertools import count
from types import TracebackType
from typing import Any, Self, TypeVar

from stocksync_ws.broker.model.pipeline import Call, Task
from stocksync_ws.config import EndpointConfig
from stocksync_ws.errors import WrongLoop
from stocksync_ws.running.host import AioHost, run_plain
from stocksync_ws.running.runtime import Runnable, Runtime
from stocksync_ws.stomp.negotiate import choose_subprotocol
from stocksync_ws.testing.clock import VirtualLoop, is_running
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.stream import MemoryStream
from stocksync_ws.wire.connection import HttpConnection
from stocksync_ws.wire.endpoint import Site

__all__ = ["World"]

T = TypeVar("T")


class _Host(AioHost):
    """Runs pool functions on the one thread there is."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.held: list[Callable[[], None]] | None = None
        self.inside = False

    def start(self) -> None:
        """Start no thread."""

    def in_pool(self, task: Task, call: Call) -> None:
        context = task.context

        def run() -> None:
            outcome = run_plain(call, context)
            self.hand_over(task, outcome)

        if self.held is None:
            self.soon(call.offer(run))
        else:
            self.held.append(run if self.inside else call.offer(run))


class _Runtime(Runtime):
    host: _Host

    def _make_host(self, threads: int | None) -> _Host:
        return _Host(self.loop, self._inbox, self.broker.counters, threads)


class World:
    """Runs an application without a network. A context manager; or call `close`.

    Its end fails when the library had to catch an error of its own.

    Args:
        app: The application.
        site: The site of its server; default: one endpoint at `/ws` open to any origin.

    Raises:
        WrongLoop: An event loop runs in this thread.
    """

    def __init__(self, app: Runnable, site: Site | None = None) -> None:
        if is_running():
            raise WrongLoop(
                "a World runs a loop of its own, and inside a running loop no other can run: make"
                " the test a plain `def`, and await with `world.run(coroutine)`"
            )
        self.loop = VirtualLoop()
        numbers = count(1)
        self._site = site or Site(
            EndpointConfig(path="/ws", allowed_origins=("*",)), choose_subprotocol
        )
        self.runtime = _Runtime(app, self.loop, lambda bits: f"id{next(numbers)}-{bits}")
        self.broker = self.runtime.broker
        self.counters = self.runtime.broker.counters
        self.streams: list[MemoryStream] = []
        self._expected = 0, 0
        try:
            self.runtime.start()
        except BaseException:
            self.loop.close()
            raise
        self.settle()

    @property
    def now(self) -> float:
        """The virtual time, in seconds."""
        return self.loop.time()

    def settle(self) -> None:
        """Run everything that is ready; time stands still."""
        self.loop.settle()

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self.loop.advance(seconds)

    def stall(self, seconds: float) -> None:
        """Let the loop stand still for so many seconds, then go on."""
        self.loop.stall(seconds)
        self.settle()

    def run(self, coroutine: Coroutine[Any, Any, T], seconds: float = 60.0) -> T:
        """Run a coroutine on the virtual clock."""
        return self.loop.run(coroutine, seconds)

    def hold_pool(self, *, inside: bool = False) -> None:
        """Keep plain functions back until `release_pool`: every thread is busy.

        Args:
            inside: The functions have begun, each holds its thread, and none returns.
        """
        self.runtime.host.held, self.runtime.host.inside = [], inside

    def release_pool(self) -> None:
        """Run what was kept back, and no longer keep anything back."""
        held, self.runtime.host.held = self.runtime.host.held or [], None
        for run in held:
            run()
        self.settle()

    def open(self, *, secure: bool = False) -> MemoryStream:
        """A connection without a byte on it."""
        stream = MemoryStream(self.runtime.driver, self.runtime.host.soon)
        connection = HttpConnection(
            self._site,
            self.runtime.config.limits,
            self.counters,
            peer="127.0.0.1:50000",
            secure=secure,
        )
        stream.start(connection)
        self.streams.append(stream)
        return stream

    def upgrade(self, **headers: str) -> Peer:
        """A client with an open WebSocket that has sent no frame yet."""
        return Peer(self, self.open(), self._site.endpoint.path, headers)

    def connect(self, version: str = "1.2", **headers: str) -> Peer:
        """A client that is CONNECTED.

        Args:
            version: The accept-version of its CONNECT; `1.0` sends none.
            headers: Further headers of CONNECT; `_` in a name stands for `-`.
        """
        peer = self.upgrade()
        peer.connect(version, **headers)
        return peer

    def expect_faults(self, *, internal_errors: int = 0, stuck_deadlines: int = 0) -> None:
        """Say that the test provokes faults of the library on purpose, and how many: its end fails
        when there were more, or less.

        Args:
            internal_errors: The value of `counters.internal_errors` at the end.
            stuck_deadlines: The value of `counters.stuck_deadlines` at the end.
        """
        self._expected = internal_errors, stuck_deadlines

    def close(self) -> None:
        """End everything: sessions are told that the server stops, listeners hear of it.

        Raises:
            AssertionError: `counters.internal_errors` or `counters.stuck_deadlines` is not 0, or
                not what `expect_faults` said; the log tells what happened.
        """
        self._end()
        self._judge()

    def _end(self) -> None:
        self.runtime.driver.halt()
        self.settle()
        self.runtime.close()
        self.settle()
        self.loop.close()

    def _judge(self) -> None:
        came = self.counters.internal_errors, self.counters.stuck_deadlines
        assert came == self._expected, (
            f"faults of the library: internal_errors={came[0]}, stuck_deadlines={came[1]}, expected"
            f" {self._expected[0]} and {self._expected[1]}; its log tells what happened"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()
        if error is None:  # else that error is the one to be seen
            self._judge()

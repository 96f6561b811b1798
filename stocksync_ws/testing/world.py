"""The in-memory world: an application, a virtual clock, and as many clients as a test wants.

    with World(app) as world:
        peer = world.connect()
        peer.subscribe("/topic/inventory")
        app.template.convert_and_send("/topic/inventory", {"quantity": 7})
        assert peer.message().body == b'{"quantity":7}'
        world.advance(30)

Rule: nothing waits and nothing is random. Plain `def` handlers run on the one thread there is,
behind what is ready; `hold_pool` keeps them back, as a pool whose threads are busy. An error of
user code that nothing maps is raised in the test, by the next call that settles the world. The end
is the stop of a server, in virtual time; it fails when the library had to catch an error of its
own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from itertools import count
from types import TracebackType
from typing import Any, Self, TypeVar

from stocksync_ws.broker.model.pipeline import Call, Task
from stocksync_ws.config import EndpointConfig
from stocksync_ws.errors import WrongLoop
from stocksync_ws.running.host import AioHost, run_plain
from stocksync_ws.running.runtime import Runnable, Runtime
from stocksync_ws.stomp.negotiate import choose_subprotocol
from stocksync_ws.testing.backplane import MemoryBackplane
from stocksync_ws.testing.clock import VirtualLoop, is_running
from stocksync_ws.testing.given import check_coroutine
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.stream import MemoryStream
from stocksync_ws.wire.connection import HttpConnection
from stocksync_ws.wire.endpoint import Site

__all__ = ["World"]

T = TypeVar("T")

SPARE = 60.0
"""Virtual seconds in which a stop ends that has waited for everything it may wait for."""


def _check_loop() -> None:
    if is_running():
        raise WrongLoop(
            "a World runs a loop of its own, and inside a running loop no other can run: make"
            " the test a plain `def`, and await with `world.run(coroutine)`"
        )


def _check_app(app: object) -> None:
    if not all(hasattr(app, name) for name in ("config", "dispatch", "inbox")):
        raise TypeError(
            f"a World runs a StompApp, and got {type(app).__name__}: give it the StompApp itself,"
            " not the application that it is installed in or wraps"
        )


def _raise(errors: list[Exception]) -> None:
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ExceptionGroup(f"{len(errors)} errors in a World", errors)


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

    An error that a handler, a listener or the authenticator raises and nothing maps is raised by
    the next call that settles the world, `close` at the latest, with its own traceback; several at
    once are an `ExceptionGroup`. Which these are stands in `docs/errors.md`: those whose code is
    the application's fault, and every error of a listener. `AccessDenied` and a body that does not
    fit are answers to a client.

    Args:
        app: The application.
        site: The site of its server; default: one endpoint at `/ws` open to any origin.
        raise_errors: Raise these errors. False leaves them to the client and the log, as a server
            does.
        silent: Clients send nothing by themselves, see `Peer.silent`.

    Raises:
        WrongLoop: An event loop runs in this thread, or the application runs already.
        TypeError: `app` is no `StompApp`.
    """

    def __init__(
        self,
        app: Runnable,
        site: Site | None = None,
        *,
        raise_errors: bool = True,
        silent: bool = False,
    ) -> None:
        _check_loop()
        _check_app(app)
        self.raise_errors = raise_errors
        """Errors that nothing maps are raised; may be changed at any time."""
        self.silent = silent
        """Clients are `Peer.silent` from their beginning; may be changed at any time."""
        self.loop = VirtualLoop()
        numbers = count(1)
        self._site = site or Site(
            EndpointConfig(path="/ws", allowed_origins=("*",)), choose_subprotocol
        )
        backplane = app.config.backplane
        name = backplane.name() if isinstance(backplane, MemoryBackplane) else ""
        self.runtime = _Runtime(app, self.loop, lambda bits: f"{name}id{next(numbers)}-{bits}")
        self.broker = self.runtime.broker
        self.counters = self.runtime.broker.counters
        self.streams: list[MemoryStream] = []
        """All connections, in the order of their beginning."""
        self._peers: list[Peer] = []
        self._errors: list[BaseException] = []
        self.broker.calls.log.unmapped = self._errors
        self._expected = 0, 0
        try:
            self.runtime.start()
        except BaseException:
            self.loop.close()
            raise
        self.loop.settle()

    @property
    def now(self) -> float:
        """The virtual time, in seconds."""
        return self.loop.time()

    def settle(self) -> None:
        """Run everything that is ready; time stands still. After the end there is nothing to run.

        Raises:
            WrongLoop: An event loop runs in this thread.
        """
        if not self.loop.is_closed():
            self.advance(0.0)

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass, from timer to timer.

        Raises:
            TypeError: `seconds` is no number.
            ValueError: `seconds` is negative or infinite.
            WrongLoop: An event loop runs in this thread.
        """
        _check_loop()
        self.loop.advance(seconds)
        _raise(self._take_errors())

    def stall(self, seconds: float) -> None:
        """Let the loop stand still for so many seconds, then go on.

        Raises:
            TypeError: `seconds` is no number.
            ValueError: `seconds` is negative or infinite.
        """
        self.loop.stall(seconds)
        self.settle()

    def run(self, coroutine: Coroutine[Any, Any, T], seconds: float = 60.0) -> T:
        """Run a coroutine on the virtual clock, and return its result.

        Args:
            coroutine: Awaits what the application offers, or sleeps.
            seconds: Virtual ones, after which the coroutine is cancelled.

        Raises:
            TimeoutError: The coroutine was cancelled.
            TypeError: `coroutine` is none, or `seconds` is no number.
            ValueError: `seconds` is negative or infinite.
            WrongLoop: An event loop runs in this thread.
        """
        check_coroutine(coroutine)
        try:
            _check_loop()
        except WrongLoop:
            coroutine.close()
            raise
        result = self.loop.run(coroutine, seconds)
        _raise(self._take_errors())
        return result

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
            draining=lambda: self.runtime.draining,
        )
        stream.start(connection)
        self.streams.append(stream)
        return stream

    def upgrade(self, **headers: str) -> Peer:
        """A client with an open WebSocket that has sent no frame yet.

        Args:
            headers: Of the HTTP request; `_` in a name stands for `-`, and an empty value leaves
                out what would be sent.
        """
        peer = Peer(self, self.open(), self._site.endpoint.path, headers)
        self._peers.append(peer)
        return peer

    def connect(
        self, version: str = "1.2", *, expect: str | int | None = None, **headers: str
    ) -> Peer:
        """A client that is CONNECTED, or whose CONNECT was refused as expected.

        Args:
            version: The accept-version of its CONNECT; `1.0` sends none.
            expect: See `Peer.connect`.
            headers: Further headers of CONNECT; `_` in a name stands for `-`.
        """
        peer = self.upgrade()
        peer.connect(version, expect=expect, **headers)
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
        """Stop as a server does, in virtual time: every session is closed with 1012, clients answer
        unless `answers_close` says that they do not, and listeners hear of it while messages are
        still taken; what has not ended after `Limits.shutdown_timeout` is cut off, and tasks that
        user code has made are cancelled, as `asyncio.run` does. Called again, it does nothing.

        Raises:
            AssertionError: `counters.internal_errors` or `counters.stuck_deadlines` is not 0, or
                not what `expect_faults` said; the log tells what happened.
        """
        if not self.loop.is_closed():
            self._end()
            _raise([*self._take_errors(), *self._faults()])

    def _end(self) -> None:
        _check_loop()
        for peer in self._peers:
            peer.silent = False
        most = self.runtime.config.limits.shutdown_timeout + self.runtime.clean_up
        try:
            self.loop.run(self.runtime.stop(), most + SPARE)
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.settle()
        finally:
            self.loop.close()

    def _faults(self) -> Iterator[AssertionError]:
        came = self.counters.internal_errors, self.counters.stuck_deadlines
        if came != self._expected:
            yield AssertionError(
                f"faults of the library: internal_errors={came[0]}, stuck_deadlines={came[1]},"
                f" expected {self._expected[0]} and {self._expected[1]}; its log tells what"
                " happened"
            )

    def _take_errors(self) -> list[Exception]:
        """Errors of user code that nobody was told of yet, each once."""
        came = {id(error): error for error in self._errors}
        self._errors.clear()
        return [each for each in came.values() if isinstance(each, Exception) and self.raise_errors]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        elif not self.loop.is_closed():
            self._end()  # and that error is the one to be seen

"""A server of our own on an asyncio loop: listening sockets, TLS, signals, a stop in good order.

Rule: it accepts and hands over. The run begins when the address is bound, so that a port in use
costs no message; a server ends with the run that it began, and ends no other. At most `ACCEPT`
connections are accepted in one turn; the rest waits in the listen backlog.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext, suppress
from types import TracebackType
from typing import Self

from stocksync_ws.aio.address import BACKLOG, Address, Listener
from stocksync_ws.aio.polling import poller_of
from stocksync_ws.aio.signals import caught
from stocksync_ws.aio.sockets import FULL, descriptors, peer_of, prepare
from stocksync_ws.aio.transports import TransportStream
from stocksync_ws.running.run import Run
from stocksync_ws.running.runtime import Runtime
from stocksync_ws.running.siblings import Claim, claim_of
from stocksync_ws.streams import SocketStream, TlsStream
from stocksync_ws.types import HttpRequest
from stocksync_ws.wire.connection import HttpConnection
from stocksync_ws.wire.endpoint import Site

__all__ = ["Server"]

ACCEPT = 64
"""Connections accepted in one turn."""
RETRY = 1.0
"""Seconds without accepting after the process ran out of descriptors."""
SAY_EVERY = 10.0
"""Seconds between two log lines about that."""

_OUT = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_log = logging.getLogger("stocksync_ws.transport")


class Server:
    """Serves one site on the running loop. `async with Server(...) as server: ...`

    Args:
        run: The one run of the application, which must not have begun.
        site: Endpoint and pages.
        address: The address to listen on; None: none, and connections come by `adopt`.
        tls: For `wss`: a server-side context.
    """

    def __init__(
        self,
        run: Run,
        site: Site,
        address: Address | None,
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._run = run
        self._site = site
        self._address = address
        self._tls = tls
        self._runtime: Runtime
        """The runtime that the run began with; set by `start`."""
        self._listeners: list[Listener] = []
        self._servers: list[asyncio.Server] = []
        """What listens on loops that watch no descriptors."""
        self._swallowing: set[socket.socket] = set()
        """Dead ends that servers of WSGI applications still hold."""
        self._stopping = False
        self._draining = lambda: self._stopping  # one for all connections
        self.port: int | None = None
        """The port that is listened on, the first one where there are several; None for a Unix
        socket, and before the start.
        """
        self._authority = "localhost"
        """Host and port as clients know them; set by `start`."""
        self._asked: asyncio.Future[None] | None = None
        """Somebody waits for the start."""
        self._said = float("-inf")
        """When the log last told that the process was out of descriptors."""

    @property
    def ports(self) -> Sequence[int]:
        """The ports that are listened on; none for Unix sockets."""
        return [
            each.sock.getsockname()[1]
            for each in self._listeners
            if each.sock.family != getattr(socket, "AF_UNIX", None)
        ]

    @property
    def url(self) -> str:
        """The address that clients connect to, after the start: `ws://127.0.0.1:8000/inventory-ws`;
        for a Unix socket the one that they ask for there: `ws://localhost/inventory-ws`.
        """
        return self._at("ws", self._site.endpoint.path)

    def page(self, path: str) -> str:
        """The address of a page: `http://127.0.0.1:8000/`."""
        return self._at("http", path)

    def _at(self, scheme: str, path: str) -> str:
        return f"{scheme}{'s' if self._tls else ''}://{self._authority}{path}"

    @property
    def ready(self) -> Awaitable[None]:
        """Await it to know that the server listens: `await server.ready`, beside a task that starts
        it.

        Raises:
            OSError: As for `start`, when awaited.
            WrongLoop: As for `start`, when awaited.
        """
        if self._asked is None:
            self._asked = asyncio.get_running_loop().create_future()
        return asyncio.shield(self._asked)

    async def start(self) -> None:
        """Listen, and begin the run.

        Raises:
            OSError: The address cannot be bound; its text names host and port.
            WrongLoop, BackplaneUnavailable: The application runs already; the engine is required.
        """
        try:
            await self._start()
        except BaseException as error:
            if self._asked is not None and not self._asked.done():
                self._asked.set_exception(error)
            raise
        if self._asked is None:
            self._asked = self._loop.create_future()
        if not self._asked.done():
            self._asked.set_result(None)

    async def _start(self) -> None:
        self._loop = loop = asyncio.get_running_loop()
        self._run.make_way()
        try:
            if self._address is not None:
                self._listeners = await self._address.listen(loop)
            for each in self._listeners:
                await self._watch(each.sock)
            # In this same turn, before anything can be accepted.
            self._runtime = self._run.begin(loop, alone=True)
            for server in self._servers:
                await server.start_serving()
        except BaseException:
            self._close_listeners()
            raise
        self._poller = poller_of(loop, self._runtime.at_end)
        self._runtime.at_end.append(self._close_listeners)
        if self._address is not None:
            self.port = next(iter(self.ports), None)
            self._authority = self._address.authority(self.port)
        self._limits = self._runtime.config.limits
        self._cap = self._limits.max_connections or descriptors()
        if self._address is not None:
            ports = ", ".join(f"{self._address.host}:{port}" for port in self.ports)
            _log.info("listening on %s", ports or self._address)
        await self._run.until_connected()

    async def _watch(self, listener: socket.socket) -> None:
        loop = self._loop
        try:
            loop.add_reader(listener.fileno(), self._accept, listener)
        except NotImplementedError:
            # A loop that watches no descriptors, as the default one of Windows.
            made = await loop.create_server(
                self._accepted, sock=listener, ssl=self._tls, backlog=BACKLOG, start_serving=False
            )
            self._servers.append(made)

    def _accepted(self) -> TransportStream:
        runtime = self._runtime
        full = runtime.driver.connections >= self._cap

        def connect(address: object) -> HttpConnection:
            return self._connection(peer_of(address), full=full)

        return TransportStream(runtime.driver, runtime.buffer, connect)

    async def stop(self) -> None:
        """Stop listening, close all sessions in good order, and end the run. While there are
        sessions whose clients poll, it listens for them.
        """
        if self._stopping:
            return
        self._stopping = True
        _log.info("stopping: closing %d connections", self._runtime.driver.connections)
        if self._site.health is None:  # else whoever checks it is told, until the end
            self._runtime.driver.when_unpolled(self._close_listeners)
        if self._run.runtime is self._runtime:
            await self._run.stop()

    def abort(self) -> None:
        """End at once."""
        self._stopping = True
        if self._run.runtime is self._runtime:
            self._run.abort()

    def leave_behind(self) -> None:
        """Wait no longer for coroutines that were cancelled and go on; after the end of the run."""
        self._runtime.host.stragglers.leave_behind()

    def hurry(self, seconds: float) -> None:
        """Have a stop, begun or not, end in time: listeners have half of it to hear of the ends of
        all sessions. One that has not begun spreads its closes less, so that all clients hear 1012.
        """
        loop, runtime = self._loop, self._runtime
        runtime.spread = seconds * 0.1
        runtime.clean_up = seconds * 0.2

        def reset() -> None:
            if not runtime.closed:
                runtime.driver.abort()

        def halt() -> None:
            if not runtime.closed:
                runtime.driver.halt()

        loop.call_later(seconds * 0.3, halt)
        loop.call_later(seconds * 0.5, reset)
        loop.call_later(seconds, self.abort)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def serve_forever(
        self, *, signals: bool, started: Callable[[], None] | None = None
    ) -> None:
        """Start, unless that was done; serve until it is cancelled or, with `signals`, until SIGINT
        or SIGTERM; then stop. A second signal ends at once.

        Args:
            signals: Catch signals, if this is the main thread; also one that comes during the
                start.
            started: Called when it listens.

        Raises:
            OSError: As for `start`.
            WrongLoop: As for `start`.
        """
        done = asyncio.Event()

        def on_signal() -> None:
            if done.is_set():
                self.abort()
            done.set()

        loop = asyncio.get_running_loop()
        with caught(loop, on_signal) if signals else nullcontext():
            if self._asked is None or not self._asked.done():
                await self.start()
            if started is not None:
                started()
            try:
                await done.wait()
            finally:
                if loop.is_closed():
                    self.abort()  # Thrown away with its loop: nothing can be waited for.
                else:
                    await asyncio.shield(self.stop())

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPT):
            try:
                sock, address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _OUT:
                    raise
                self._pause(listener, error)
                return
            if self._runtime.driver.connections >= self._cap:
                self._refuse(sock)
            else:
                self._begin(sock, address)

    def _begin(self, sock: socket.socket, address: object) -> None:
        prepare(sock)
        self._stream(sock, self._tls).start(self._connection(peer_of(address)))

    def _stream(self, sock: socket.socket, tls: ssl.SSLContext | None) -> SocketStream:
        given = sock, self._poller, self._runtime.driver, self._runtime.buffer
        return SocketStream(*given) if tls is None else TlsStream(*given, tls)

    def _connection(self, peer: str | None, *, full: bool = False) -> HttpConnection:
        return HttpConnection(
            self._site,
            self._limits,
            self._runtime.broker.counters,
            peer=peer,
            secure=self._tls is not None,
            draining=(lambda: True) if full else self._draining,
        )

    @property
    def refuses(self) -> bool:
        """True while the server takes no connection; may be asked from any thread."""
        driver = self._runtime.driver
        return driver.connections >= self._cap or (self._stopping and not driver.polled)

    def adopt(self, sock: socket.socket, request: HttpRequest, body: bytes = b"") -> None:
        """Go on with a connection whose first request somebody else has read; on our loop. It ends
        with that request, or with its WebSocket.

        Args:
            sock: A connected socket, which is ours from now on.
            request: The head of its first request.
            body: The whole body of that request; nothing behind that was read.
        """
        if self.refuses:
            self._refuse(sock)
            return
        prepare(sock)
        connection = self._connection(request.peer)
        connection.hand_over(request, body)
        self._stream(sock, None).start(connection)

    def claim(self, host: str, port: int) -> Claim | None:
        """Claim the address that somebody else listens on for us, for as long as we run; on our
        loop. Other workers of his are noticed by it.
        """
        claim = claim_of(self._loop, (host, port), self._site.endpoint.path)
        if claim is not None:
            claim.make()
            self._runtime.at_end.append(claim.end)
        return claim

    def swallow(self, sock: socket.socket) -> None:
        """Read and drop what comes from a socket until it ends, then close it; on our loop."""
        sock.setblocking(False)
        loop = self._loop

        def readable() -> None:
            try:
                while sock.recv(65_536):
                    pass
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                pass  # It has ended all the same.
            loop.remove_reader(sock.fileno())
            self._swallowing.discard(sock)
            sock.close()

        self._swallowing.add(sock)
        loop.add_reader(sock.fileno(), readable)

    def _refuse(self, sock: socket.socket) -> None:
        """At the cap: a cheap answer without state."""
        self._runtime.broker.counters.connections_refused += 1
        sock.setblocking(False)
        with suppress(OSError):  # it is closed anyway
            sock.send(FULL)
        sock.close()

    def _pause(self, listener: socket.socket, error: OSError) -> None:
        """Out of descriptors: a reader that stays ready would only burn the loop."""
        loop = self._loop
        if loop.time() - self._said >= SAY_EVERY:
            self._said = loop.time()
            _log.warning("cannot accept connections: %s; trying again every second", error.strerror)
        loop.remove_reader(listener.fileno())

        def resume() -> None:
            if listener.fileno() >= 0:
                loop.add_reader(listener.fileno(), self._accept, listener)

        loop.call_later(RETRY, resume)

    def _close_listeners(self) -> None:
        for server in self._servers:
            server.close()
        for each in self._listeners:
            if each.sock.fileno() >= 0 and not self._servers:
                self._loop.remove_reader(each.sock.fileno())
            each.close()
        for sock in self._swallowing:
            self._loop.remove_reader(sock.fileno())
            sock.close()
        self._swallowing.clear()
        self._listeners.clear()

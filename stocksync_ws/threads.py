"""The asyncio server on a thread of its own, for applications without an event loop.

Rule: the thread is native whatever the application has patched, and its loop is its own. A start
waits until the server listens, and raises its errors; a stop waits until the sessions have been
told. When the main thread ends, so does the server, within `AT_EXIT` seconds: then no thread can be
started any more, so nothing here needs one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from stocksync_ws.aio.address import Address
from stocksync_ws.aio.server import Server
from stocksync_ws.errors import ForkedBrokerError
from stocksync_ws.running.at_exit import AtExit
from stocksync_ws.running.native import new_lock, start_thread
from stocksync_ws.running.run import Run
from stocksync_ws.running.siblings import Claim
from stocksync_ws.types import HttpRequest
from stocksync_ws.wire.endpoint import Site

__all__ = ["ThreadServer"]

AT_EXIT = 1.0
"""Seconds for closing sessions in good order while the interpreter exits."""
HURRY = 0.2
"""Seconds for cancelled coroutines to end in while it exits, and for those left behind."""

_log = logging.getLogger("stocksync_ws.transport")

_at_exit = AtExit()


class ThreadServer:
    """A server of one site on a thread of its own; `StompApp.serve_in_thread` makes and starts it.

    Args:
        run: The one run of the application, which must not have begun.
        site: Endpoint and pages.
        address: The address to listen on; None: none, and connections come by `adopt`.
        tls: A server-side context, for `wss`.
    """

    def __init__(
        self, run: Run, site: Site, address: Address | None, *, tls: ssl.SSLContext | None = None
    ) -> None:
        self._run = run
        self._site = site
        self._address = address
        self._tls = tls
        self._pid = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: Server | None = None
        self._problem: BaseException | None = None
        self._claim: Claim | None = None
        self._thread: int | None = None
        self._unwanted = False
        """The caller of `start` waits no longer."""
        self._exits = False
        """The interpreter exits."""
        self._ask_to_end: Callable[[float | None], None] = _nothing
        # Released by the thread: blocks natively, so that nothing has to be patched for it.
        self._ready = new_lock()
        self._ended = new_lock()
        self.port: int | None = None
        """The port that the server listens on; None for a Unix socket."""

    @property
    def url(self) -> str:
        """The address that clients connect to: `ws://127.0.0.1:8000/inventory-ws`; for a Unix
        socket the one they ask for there: `ws://localhost/inventory-ws`.
        """
        assert self._server is not None  # it has been started
        return self._server.url

    def start(self) -> None:
        """Start the thread, and wait until it listens.

        Raises:
            OSError: The address cannot be bound; its text names it.
            WrongLoop: The application runs already.
        """
        self._ready.acquire()
        self._ended.acquire()
        start_thread(self._main, "stocksync-server", daemon=True)
        try:
            self._ready.acquire()
        except BaseException:  # Ctrl-C, say.
            self._unwanted = True
            self._ask_to_end(None)
            raise
        if self._problem is not None:
            self._ended.acquire()
            raise self._problem
        _at_exit.add(self)

    @property
    def running(self) -> bool:
        """The server serves: it has started, and has not ended."""
        return self._ask_to_end is not _nothing

    @property
    def refuses(self) -> bool:
        """The server takes no connection now: it is full, or it ends."""
        return self._server is None or self._server.refuses

    @property
    def sibling(self) -> bool:
        """Another process serves the claimed address, and has done so for a while."""
        return self._claim is not None and self._claim.sibling

    def claim(self, host: str, port: int) -> None:
        """Claim the address that another server listens on for us: its other workers are noticed
        by that, and warned of.
        """

        def claim(server: Server) -> None:
            self._claim = server.claim(host, port)

        self._call(claim)

    def adopt(self, sock: socket.socket, request: HttpRequest, body: bytes = b"") -> None:
        """Go on with a connection whose first request another server has read; from any thread.

        Args:
            sock: A connected socket, which is the server's from now on.
            request: The head of its first request.
            body: The whole body of that request; nothing behind that was read.
        """
        self._call(lambda server: server.adopt(sock, request, body), sock)

    def swallow(self, sock: socket.socket) -> None:
        """Read and drop what comes from a socket until it ends, then close it; from any thread."""
        self._call(lambda server: server.swallow(sock), sock)

    def _call(self, work: Callable[[Server], None], sock: socket.socket | None = None) -> None:
        loop, server = self._loop, self._server
        try:
            assert loop is not None
            assert server is not None
            loop.call_soon_threadsafe(work, server)
        except RuntimeError:
            if sock is not None:
                sock.close()  # It has ended meanwhile.

    def stop(self) -> None:
        """Close all sessions in good order, within `Limits.shutdown_timeout` seconds, and wait for
        that. Called again, or where the server has ended by itself, it does nothing.

        Raises:
            ForkedBrokerError: In a forked child: the server runs in the parent.
            RuntimeError: On the server's own thread, as in a coroutine handler: it would wait for
                itself.
        """
        if self._pid != os.getpid():
            raise ForkedBrokerError("the server runs in the parent of this process")
        if self._thread == threading.get_ident():
            raise RuntimeError("stop would block the event loop that it waits for")
        self._ask_to_end(None)
        with self._ended:
            pass

    def end_at_exit(self) -> None:
        """Begin to end, within `AT_EXIT` seconds; a stop that has begun hurries up."""
        self._exits = True
        self._ask_to_end(AT_EXIT)

    def wait(self, seconds: float) -> bool:
        """Wait for the end, at most so many seconds; tell whether it has come."""
        ended = self._ended.acquire(timeout=seconds)
        if ended:
            self._ended.release()
        return ended

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    # On the thread

    def _main(self) -> None:
        self._thread = threading.get_ident()
        try:
            loop = asyncio.new_event_loop()
            try:
                self._run_on(loop)
            finally:
                loop.close()
        except BaseException as error:
            self._problem = error
        finally:
            self._ask_to_end = _nothing
            self._thread = None
            _at_exit.remove(self)
            if self._ready.locked():
                self._ready.release()
            self._ended.release()

    def _run_on(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.run_until_complete(self._serve(loop))
        except BaseException as error:
            if self._server is None:
                raise
            _log.error("the server on its thread has ended by itself", exc_info=error)
            self._server.abort()
        assert self._server is not None
        seconds = HURRY if self._exits else AT_EXIT
        loop.run_until_complete(_end_tasks(loop, self._server, seconds))

    async def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        server = Server(self._run, self._site, self._address, tls=self._tls)
        await server.start()
        self._server, self._loop = server, loop
        self.port = server.port
        asked = asyncio.Event()

        def end(seconds: float | None) -> None:
            if seconds is not None:
                server.hurry(seconds)
            asked.set()

        def ask(seconds: float | None) -> None:
            try:
                loop.call_soon_threadsafe(end, seconds)
            except RuntimeError:
                pass  # It has ended by itself.

        self._ask_to_end = ask
        if self._unwanted:
            asked.set()
        self._ready.release()
        await asked.wait()
        await server.stop()


def _nothing(seconds: float | None) -> None:
    """Do nothing: the server does not run."""


async def _end_tasks(loop: asyncio.AbstractEventLoop, server: Server, seconds: float) -> None:
    """Cancel the tasks that user code left on the loop, which have `seconds` for their clean-up."""
    until = loop.time() + seconds
    while left := asyncio.all_tasks(loop) - {asyncio.current_task(loop)}:
        for task in left:
            if not task.cancelling():
                task.cancel()
        _, late = await asyncio.wait(left, timeout=max(0.0, until - loop.time()))
        if late:
            server.leave_behind()
            await asyncio.wait(late, timeout=HURRY)
            break
    await loop.shutdown_asyncgens()

"""Our own server on asyncio as a carrier: a loop in a thread, real sockets, plain or TLS; also on a
loop that watches no descriptors, as the default one of Windows.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from typing import Any, NoReturn

from carriers.client import Pipe
from stocksync_ws import StompApp
from stocksync_ws.aio.address import Address
from stocksync_ws.aio.server import Server
from stocksync_ws.counters import Counters
from stocksync_ws.running.run import Run
from stocksync_ws.running.runtime import Runtime
from stocksync_ws.wire.endpoint import Page

__all__ = ["AioCarrier", "Connector", "NoReaders", "SocketPipe", "TlsPipe"]

PATIENCE = 10.0
"""Seconds any single wait may take before the test fails."""


class NoReaders(asyncio.SelectorEventLoop):
    """A loop that watches no descriptors and no signals."""

    def add_reader(self, *args: Any) -> NoReturn:
        raise NotImplementedError

    add_writer = remove_reader = remove_writer = add_signal_handler = add_reader


class Connector:
    """Connects to a port of this machine, plain or by TLS."""

    _port: int

    def __init__(self, certificate: str | None) -> None:
        self.secure = certificate is not None
        self._certificate = certificate

    def _context(self) -> ssl.SSLContext | None:
        if self._certificate is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._certificate)
        return context

    def connect(self) -> Pipe:
        if self._certificate is None:
            return SocketPipe(self._port)
        return TlsPipe(self._port, self._certificate)


class AioCarrier(Connector):
    """Runs an application on a server of its own; with a certificate, under TLS."""

    def __init__(
        self,
        certificate: str | None = None,
        new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None,
    ) -> None:
        super().__init__(certificate)
        self._new_loop = new_loop
        self.half_closes = new_loop is None or not self.secure
        self._started = threading.Event()
        self._problem: BaseException | None = None
        self._told_to_stop = False

    def start(self, app: StompApp, pages: dict[str, Page]) -> None:
        self._thread = threading.Thread(target=self._run, args=(app, pages), daemon=True)
        self._thread.start()
        assert self._started.wait(PATIENCE)
        assert self._problem is None, self._problem

    def _run(self, app: StompApp, pages: dict[str, Page]) -> None:
        try:
            with asyncio.Runner(loop_factory=self._new_loop) as runner:
                runner.run(self._serve(app, pages))
        except BaseException as problem:
            self._problem = problem
        finally:
            self._started.set()

    async def _serve(self, app: StompApp, pages: dict[str, Page]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        run = self._slot = Run(app)
        address = Address("127.0.0.1", 0)
        async with Server(run, app.site(pages), address, tls=self._context()) as server:
            self.counters: Counters = run.counters
            self._port = server.ports[0]
            self._started.set()
            await self._stop.wait()

    @property
    def runtime(self) -> Runtime | None:
        return self._slot.runtime

    def settle(self) -> None:
        """The loop runs by itself."""

    def pass_time(self, seconds: float) -> None:
        """So does time."""

    def begin_stop(self) -> None:
        # Once: a loop that was told to stop may be closed before its thread has ended.
        if not self._told_to_stop and self._thread.is_alive():
            self._told_to_stop = True
            self._loop.call_soon_threadsafe(self._stop.set)

    def stop(self) -> None:
        self.begin_stop()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the server did not stop"
        assert self._problem is None, self._problem


class SocketPipe:
    """A plain socket."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket()
        # A small window, so that a reader who stops is soon felt.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def receive(self) -> bytes:
        return self._socket.recv(65_536)

    def wait_at_most(self, seconds: float) -> None:
        """For what comes."""
        self._socket.settimeout(seconds)

    def stop_reading(self) -> None:
        """Reading is what `receive` does."""

    def read_on(self) -> None:
        """It reads in `receive`."""

    def half_close(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        linger = struct.pack("ii", 1, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._socket.close()

    def close(self) -> None:
        self._socket.close()


class TlsPipe(SocketPipe):
    """TLS by hand, so that our direction can end alone."""

    def __init__(self, port: int, certificate: str) -> None:
        super().__init__(port)
        context = ssl.create_default_context(cafile=certificate)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname="localhost", server_side=False
        )
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                self._incoming.write(self._socket.recv(65_536))
            else:
                self._flush()
                return

    def _flush(self) -> None:
        super().send(self._outgoing.read())

    def send(self, data: bytes) -> None:
        self._tls.write(data)
        self._flush()

    def receive(self) -> bytes:
        while True:
            try:
                return self._tls.read(65_536)
            except ssl.SSLWantReadError:
                data = self._socket.recv(65_536)
                if not data:
                    raise AssertionError("the stream ended without close_notify") from None
                self._incoming.write(data)
            except ssl.SSLZeroReturnError:
                return b""

    def half_close(self) -> None:
        try:
            self._tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        self._flush()
        super().half_close()

"""Byte streams of our own: a non-blocking socket, and the same under TLS, over any poller.

Rule: a stream moves bytes and decides nothing. It tells the driver `feed`, `drained`, `ended`, and
never from inside one of the driver's own calls: an error of a write is told in the next turn. A
poller is anything with `add_reader remove_reader add_writer remove_writer call_soon` (asyncio's and
uvloop's loops, and `aio/polling.py`).
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any, Protocol

from stocksync_ws.driver.driver import Driver
from stocksync_ws.driver.ports import Link
from stocksync_ws.types import Chunk, Connection

__all__ = ["Poller", "SocketStream", "TlsStream", "read_buffer"]


class Poller(Protocol):
    """A watcher of descriptors, which calls back when one is ready."""

    def add_reader(self, fd: int, callback: Callable[[], Any], /) -> Any:
        """Call back whenever the descriptor is readable."""
        ...

    def remove_reader(self, fd: int, /) -> Any:
        """Stop the calls of `add_reader`."""
        ...

    def add_writer(self, fd: int, callback: Callable[[], Any], /) -> Any:
        """Call back whenever the descriptor is writable."""
        ...

    def remove_writer(self, fd: int, /) -> Any:
        """Stop the calls of `add_writer`."""
        ...

    def call_soon(self, callback: Callable[[], Any], /) -> Any:
        """Call back in the next turn."""
        ...


def read_buffer(size: int) -> memoryview:
    """The one buffer that all streams of a poller read into, of `size` bytes: the read budget."""
    return memoryview(bytearray(size))


class SocketStream:
    """A connected, non-blocking socket."""

    __slots__ = ("_buffer", "_driver", "_poller", "_rest", "_shutting", "_socket", "link", "send")

    def __init__(
        self, sock: socket.socket, poller: Poller, driver: Driver, buffer: memoryview
    ) -> None:
        self._socket = sock
        self._poller = poller
        self._driver = driver
        self._buffer = buffer
        self._rest: bytes | memoryview = b""
        """Bytes the kernel has not taken: a view of the chunk, which many streams may share."""
        self._shutting = False
        self.send: Callable[[Chunk], int] | None = sock.send
        """The direct way out: the bare `send` of the socket."""
        self.link: Link

    def start(self, connection: Connection) -> None:
        """Tell the driver of the connection, and begin to read."""
        self.link = self._driver.connected(self, connection)
        self._poller.add_reader(self._socket.fileno(), self._readable)

    @property
    def unsent(self) -> int:
        """Bytes that the kernel has not taken."""
        return len(self._rest)

    def write(self, chunks: list[Chunk]) -> int:
        """Write as much as the kernel takes, keep the rest; return the number of unsent bytes."""
        return self._write(chunks[0] if len(chunks) == 1 else b"".join(chunks))

    def _write(self, data: bytes | memoryview) -> int:
        if self._rest:
            self._rest = b"".join((self._rest, data))
            return len(self._rest)
        if self._socket.fileno() < 0:
            return 0
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._rest = data  # It counts as unsent until the end is told: it was not written.
            self._fail()
            return len(self._rest)
        if sent < len(data):
            self._rest = memoryview(data)[sent:]
            self._poller.add_writer(self._socket.fileno(), self._writable)
        return len(self._rest)

    def keep(self, chunk: Chunk, sent: int) -> int:
        """Write the rest of a chunk that `send` took in part; return the number of unsent bytes."""
        return self._write(memoryview(chunk)[sent:])

    def pause(self) -> None:
        """Stop reading."""
        if self._socket.fileno() >= 0:
            self._poller.remove_reader(self._socket.fileno())

    def unpause(self) -> None:
        """Read on."""
        if self._socket.fileno() >= 0:
            self._poller.add_reader(self._socket.fileno(), self._readable)

    def shut(self) -> None:
        """Write what is unsent, then send FIN; reading goes on."""
        self._shutting = True
        if not self._rest and self._socket.fileno() >= 0:
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError:
                self._fail()

    def abort(self) -> None:
        """Close now."""
        fd = self._socket.fileno()
        if fd >= 0:
            self._poller.remove_reader(fd)
            if self._rest:
                self._poller.remove_writer(fd)
            self._socket.close()
        self._rest = b""
        self.send = None

    def _fail(self) -> None:
        """Tell the driver in the next turn that the peer is gone: now the driver is at work."""
        self._poller.call_soon(self._ended)

    def _ended(self) -> None:
        self._rest = b""
        self._driver.ended(self.link)

    def _readable(self) -> None:
        if not self._driver.may_read:
            return  # The poller asks again in the next turn.
        try:
            count = self._socket.recv_into(self._buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._driver.ended(self.link)
            return
        if count:
            self._received(bytes(self._buffer[:count]))
        else:
            self._driver.ended(self.link)

    def _received(self, data: bytes) -> None:
        self._driver.feed(self.link, data)

    def _writable(self) -> None:
        try:
            sent = self._socket.send(self._rest)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            # An answer on its way would put the end off, and the poller would ask in every turn.
            self._poller.remove_writer(self._socket.fileno())
            self._ended()
            return
        self._rest = self._rest[sent:]
        if not self._rest:
            self._poller.remove_writer(self._socket.fileno())
        self._progressed()
        if self._shutting and not self._rest:
            self.shut()

    def _progressed(self) -> None:
        self._driver.drained(self.link)


class TlsStream(SocketStream):
    """A socket stream under TLS (RFC 8446): an `SSLObject` over two memory buffers."""

    __slots__ = ("_incoming", "_outgoing", "_ready", "_tls", "_waiting")

    def __init__(
        self,
        sock: socket.socket,
        poller: Poller,
        driver: Driver,
        buffer: memoryview,
        context: ssl.SSLContext,
    ) -> None:
        super().__init__(sock, poller, driver, buffer)
        self.send = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._ready = False
        """The TLS handshake is done."""
        self._waiting = b""
        """Bytes that were written before the handshake was done."""

    def write(self, chunks: list[Chunk]) -> int:
        """Encrypt, then write as `SocketStream`; the unsent bytes are encrypted ones. Before the
        handshake keep the plain ones.
        """
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        if not self._ready:
            self._waiting += data
            return len(self._waiting)
        self._tls.write(data)
        return self._flush()

    @property
    def unsent(self) -> int:
        """Bytes that the kernel has not taken, or that wait for the handshake."""
        return len(self._rest) + len(self._waiting)

    def shut(self) -> None:
        """Write what is unsent, then close_notify and FIN."""
        if self._ready and not self._shutting:
            try:
                self._tls.unwrap()
            except ssl.SSLError:
                pass  # Our close_notify is in the buffer; the peer's is not waited for.
            self._flush()
        super().shut()

    def _flush(self) -> int:
        encrypted = self._outgoing.read()
        return self._write(encrypted) if encrypted else len(self._rest)

    def _received(self, data: bytes) -> None:
        self._incoming.write(data)
        try:
            if not self._ready:
                self._handshake()
            decrypted, ended = self._decrypt()
        except ssl.SSLError:
            # The alert that says why goes out with the buffer.
            self._flush()
            self._driver.ended(self.link)
            return
        self._flush()
        if decrypted:
            self._driver.feed(self.link, decrypted)
        if ended:
            self._driver.ended(self.link)

    def _handshake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return
        self._ready = True
        if self._waiting:
            self._tls.write(self._waiting)
            self._waiting = b""

    def _decrypt(self) -> tuple[bytes, bool]:
        """The bytes that can be read now, and whether the peer ended its direction."""
        parts: list[bytes] = []
        while self._ready:
            try:
                part = self._tls.read(len(self._buffer))
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                return b"".join(parts), True
            if not part:
                return b"".join(parts), True
            parts.append(part)
        return b"".join(parts), False

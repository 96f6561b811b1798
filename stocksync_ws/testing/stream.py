"""A stream in memory: what the server writes waits until the other end takes it, as much as it
takes.

Rule: it obeys `driver.ports.Stream` to the letter, so that whatever goes wrong here goes wrong on a
socket.
"""

from __future__ import annotations

from collections.abc import Callable

from stocksync_ws.driver.driver import Driver
from stocksync_ws.driver.ports import Link
from stocksync_ws.types import Chunk, Connection

__all__ = ["MemoryStream"]


class MemoryStream:
    """The server's end of a connection to a `Peer`."""

    def __init__(self, driver: Driver, soon: Callable[[Callable[[], None]], object]) -> None:
        self._driver = driver
        self._soon = soon
        self._rest = b""
        self._shutting = False
        self.link: Link
        self.send: Callable[[Chunk], int] | None = self._send
        self.received = bytearray()
        """What the other end has taken, and not read yet."""
        self.window: int | None = None
        """Bytes the other end will still take; None: any number."""
        self.paused = False
        self.ended = False
        """The server ended its direction, or everything."""
        self.aborted = False
        self.writes = 0
        """Calls that wrote something, by either way."""
        self.reader: Callable[[], None] | None = None
        """Called in the next turn behind a write or the end of it; None: nobody is."""

    def start(self, connection: Connection) -> None:
        """Begin."""
        self.link = self._driver.connected(self, connection)

    @property
    def unsent(self) -> int:
        """Bytes the other end has not taken."""
        return len(self._rest)

    def _send(self, chunk: Chunk) -> int:
        if self.aborted:
            raise ConnectionResetError
        taken = self._take(chunk)
        if not taken:
            raise BlockingIOError
        return taken

    def _take(self, data: bytes) -> int:
        count = len(data) if self.window is None else min(len(data), self.window)
        if self.window is not None:
            self.window -= count
        self.received += data[:count]
        self.writes += 1
        self._call_reader()
        return count

    def _call_reader(self) -> None:
        if self.reader is not None:
            self._soon(self.reader)

    def write(self, chunks: list[Chunk]) -> int:
        """Hand over as much as the other end takes, keep the rest."""
        data = b"".join(chunks)
        if not self.aborted:
            taken = 0 if self._rest else self._take(data)
            self._rest += data[taken:]
        return len(self._rest)

    def keep(self, chunk: Chunk, sent: int) -> int:
        """Keep the rest of a chunk that the other end took in part."""
        return self.write([chunk[sent:]])

    def open_window(self, count: int | None) -> None:
        """The other end takes so many more bytes, or any number."""
        self.window = count
        if self._rest and not self.aborted:
            self._rest = self._rest[self._take(self._rest) :]
            self._soon(lambda: self._driver.drained(self.link))
            if self._shutting and not self._rest:
                self.ended = True

    def pause(self) -> None:
        """The server reads no more."""
        self.paused = True

    def unpause(self) -> None:
        """The server reads on."""
        self.paused = False

    def shut(self) -> None:
        """The server ends its direction behind what is unsent."""
        self._shutting = True
        self.ended = not self._rest
        self._call_reader()

    def abort(self) -> None:
        """The server closes."""
        self._rest = b""
        self.aborted = self.ended = True
        self.send = None

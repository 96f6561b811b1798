"""A stream over a transport of asyncio, for loops that watch no descriptors (Windows' default).

Rule: as `streams.py`, it moves bytes and decides nothing, and tells the driver nothing from inside
one of its calls. What the transport keeps counts as unsent, so there is no bare `send`: whether it
could be written at once is not known before the next turn. TLS is asyncio's there: it cannot end
one direction alone, so who ends his gets no more. Untried on Windows itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from stocksync_ws.driver.driver import Driver
from stocksync_ws.driver.ports import Link
from stocksync_ws.types import Chunk, Connection

__all__ = ["TransportStream"]


class TransportStream(asyncio.BufferedProtocol):
    """One connection that the loop has accepted; TLS is the loop's.

    Args:
        driver: Whom it tells.
        buffer: What all streams of the loop read into.
        connect: Makes the connection, from the address of the peer.
    """

    def __init__(
        self,
        driver: Driver,
        buffer: memoryview,
        connect: Callable[[object], Connection],
    ) -> None:
        self._driver = driver
        self._buffer = buffer
        self._connect = connect
        self._transport: asyncio.Transport
        self._writing = False
        self._shutting = False
        self._gone = False
        """It is over: the transport is not asked any more."""
        self.send: Callable[[Chunk], int] | None = None
        self.link: Link

    # The loop's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._soon = asyncio.get_running_loop().call_soon
        self._transport = cast("asyncio.Transport", transport)
        # `resume_writing` comes when everything is written.
        self._transport.set_write_buffer_limits(high=0)
        connection = self._connect(transport.get_extra_info("peername"))
        self.link = self._driver.connected(self, connection)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the loop is to read into."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have come."""
        self._driver.feed(self.link, bytes(self._buffer[:nbytes]))

    def eof_received(self) -> bool:
        """The peer has ended its direction; ours goes on, where it can alone."""
        self._driver.ended(self.link)
        return not self._gone and self._transport.can_write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        if not self._gone:
            self._gone = True
            self._driver.ended(self.link)

    def resume_writing(self) -> None:
        """Everything was written. TLS says so of the last time, from inside a write."""
        if self._writing:
            self._soon(self.resume_writing)
            return
        if self._gone:
            return
        self._driver.drained(self.link)
        if self._shutting and not self.unsent:
            self.shut()

    # The driver's verbs

    @property
    def unsent(self) -> int:
        """Bytes that the transport keeps; at least one where it has given up by itself, until that
        is told: what it has thrown away was not written.
        """
        if self._gone:
            return 0
        given_up = self._transport.is_closing() and not self._shutting
        return self._transport.get_write_buffer_size() or int(given_up)

    def write(self, chunks: list[Chunk]) -> int:
        """Hand over all of it; the bytes that the transport keeps."""
        if not self._gone:
            self._writing = True
            # Not `writelines`, which forgets to say `pause_writing` on some 3.12 and 3.13.
            self._transport.write(chunks[0] if len(chunks) == 1 else b"".join(chunks))
            self._writing = False
        return self.unsent

    def keep(self, chunk: Chunk, sent: int) -> int:
        """Write the rest of a chunk; nobody asks for it, since there is no bare `send`."""
        return self.write([chunk[sent:]])

    def pause(self) -> None:
        """Stop reading."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def unpause(self) -> None:
        """Read on."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def shut(self) -> None:
        """Write what is unsent, then end our direction, or everything where that cannot be done
        alone; reading goes on.
        """
        self._shutting = True
        if self._gone or self.unsent or self._transport.is_closing():
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def abort(self) -> None:
        """Close now."""
        self._gone = True
        self._transport.abort()

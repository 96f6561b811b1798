"""The network between client and server, which a test can cut: a TCP proxy in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

from peers.examples import PATIENCE, free_port


class Proxy:
    """`with Proxy(server.address) as proxy: ...`; connect to its `port`.

    Attributes:
        swallowed: What the server has sent into the void since `swallow`.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.port = free_port()
        self.swallowed = b""
        self._target = target
        self._deaf = False
        self._last = b""
        self._news = threading.Condition()
        self._listener: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    # ---- what the tests do

    def cut(self) -> None:
        """End all connections, and take no new ones."""
        self._run(self._cut())

    def restore(self) -> None:
        """Connections can be made again."""
        self._run(self._restore())

    def swallow(self) -> None:
        """From now on nothing of the server arrives, and it does not notice."""
        self.swallowed = b""
        self._deaf = True

    def cut_after(self, words: bytes) -> None:
        """As soon as the server has sent these words, which still arrive, the way they came
        ends, and so do all others; no new connections are taken.
        """
        self._last = words

    def wait_for_swallowed(self, words: bytes) -> None:
        """Wait until the server has sent these words into the void."""
        with self._news:
            assert self._news.wait_for(lambda: words in self.swallowed, PATIENCE), words

    # ---- in the thread

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(2 * PATIENCE)

    def _refuse(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def _cut(self) -> None:
        self._refuse()
        for end in self._ends:
            end.transport.abort()

    async def _restore(self) -> None:
        self._deaf = False
        self._listener = await asyncio.start_server(self._join, "127.0.0.1", self.port)

    async def _join(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        """Carry bytes both ways until one side ends; a server that is not there is an end too."""
        self._ends.add(client)
        server = None
        with contextlib.suppress(OSError):
            answers, server = await asyncio.open_connection(*self._target)
            self._ends.add(server)
            ways = asyncio.gather(self._up(reader, server), self._down(answers, client))
            await ways
        for end in (client, server):
            if end is not None:
                self._ends.discard(end)
                end.close()

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
        writer.close()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tail = b""
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                if self._deaf:
                    with self._news:
                        self.swallowed += data
                        self._news.notify_all()
                    continue
                if self._last and self._last in tail + data:
                    end = (tail + data).index(self._last) + len(self._last) - len(tail)
                    self._last = b""
                    writer.write(data[:end])
                    writer.write_eof()  # not `close`, which may take back what was written
                    self._refuse()
                    for other in self._ends - {writer}:
                        other.transport.abort()
                    return
                writer.write(data)
                tail = (tail + data)[-len(self._last) :] if self._last else b""
        writer.close()

    def __enter__(self) -> Self:
        self._thread.start()
        self.restore()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        await self._cut()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*tasks, return_exceptions=True)


class NoUpgrades(Proxy):
    """One that knows no WebSocket: an upgrade gets 400."""

    async def _join(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (OSError, asyncio.IncompleteReadError):
            client.close()
            return
        if b"\r\nupgrade: websocket\r\n" in head.lower():
            client.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            client.close()
            return
        # Nobody has read the head: the stream begins anew with it.
        again = asyncio.StreamReader()
        again.feed_data(head)
        pump = asyncio.ensure_future(_pump(reader, again))
        await super()._join(again, client)
        pump.cancel()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65_536):
            sink.feed_data(data)
    sink.feed_eof()


class Buffering(NoUpgrades):
    """One that passes an answer on when it has all of it."""

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.decode("latin-1").lower().split("\r\n")[1:]
                fields = dict(line.partition(": ")[::2] for line in lines)
                answer = head
                if "transfer-encoding" in fields:
                    size = b""
                    while size != b"0\r\n":
                        size = await reader.readuntil(b"\r\n")
                        answer += size + await reader.readexactly(int(size, 16) + 2)
                else:
                    answer += await reader.readexactly(int(fields.get("content-length", "0")))
                writer.write(answer)
        writer.close()

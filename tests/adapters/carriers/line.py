"""A server and raw connections of a test on one and the same loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from carriers.client import connect_frame, upgrade
from stocksync_ws import StompApp
from stocksync_ws.aio.address import Address
from stocksync_ws.aio.server import Server
from stocksync_ws.running.run import Run

__all__ = ["Line", "run", "serving"]

PATIENCE = 10.0


def run(coroutine: Any) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(PATIENCE):
            return await coroutine

    return asyncio.run(bounded())


@asynccontextmanager
async def serving(app: StompApp) -> AsyncIterator[Server]:
    async with Server(Run(app), app.site(), Address("127.0.0.1", 0)) as server:
        yield server


class Line:
    """One connection of a test on the same loop."""

    @classmethod
    async def open(cls, server: Server, data: bytes = b"") -> Line:
        line = cls()
        line.reader, line.writer = await asyncio.open_connection("127.0.0.1", server.ports[0])
        line.writer.write(data)
        return line

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def connected(cls, server: Server) -> Line:
        line = await cls.open(server, upgrade() + connect_frame())
        await line.reader.readuntil(b"\r\n\r\n")
        await line.reader.readuntil(b"\0")
        return line

    async def ended(self) -> bytes:
        """All that comes until the server ends its direction; then ours ends too."""
        data = await self.reader.read()
        self.writer.close()
        return data

"""An HTTP scope as a stream of the driver: the parts of a long answer to the host, and a body in.

Rule: as for a WebSocket scope, but nothing is begun outside of a task, since middleware of HTTP has
queues of its own. An answer whose last part was handed over has ended in good order, whatever the
host says afterwards: it tells of a disconnect behind every answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from stocksync_ws.asgi.stepping import Receive, Send, Stepping
from stocksync_ws.asgi.stream import ScopeStream
from stocksync_ws.driver.driver import Driver
from stocksync_ws.types import Connection
from stocksync_ws.wire.scope_wire import ScopeChunk

__all__ = ["HttpScopeStream"]


class HttpScopeStream(ScopeStream):
    """One HTTP scope that carries or feeds a wire."""

    __slots__ = ("_answered",)

    def __init__(self, driver: Driver, send: Send, stepping: Stepping) -> None:
        super().__init__(driver, send, stepping)
        self.send = None
        self._answered = False
        """The last part of the answer was handed to the host."""

    async def _send_whole(self, chunk: ScopeChunk) -> None:
        message = chunk.message
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self._answered = True
        await self._host_send(message)

    async def _give_up(self, error: Exception) -> bool:
        """The host cannot send: nothing can be said to the client any more."""
        return False

    async def _next(self, receive: Receive) -> Mapping[str, Any] | None:
        message = await super()._next(receive)
        if message is None or message["type"] != "http.disconnect" or not self._answered:
            return message
        if self._writer is not None:
            await asyncio.wait([self._writer])
        await asyncio.sleep(0)  # The driver is told that all is sent, and ends the scope.
        return None if self._over else message

    def _hear(self, connection: Connection, message: Mapping[str, Any]) -> None:
        if message["type"] == "http.request":
            if message.get("body"):
                self._driver.feed(self.link, message["body"])
            if not message.get("more_body"):
                self._driver.feed(self.link, b"")
        elif message["type"] == "http.disconnect":
            self._over = True

"""Connections to Redis on an event loop, without waiting.

Rule: the client library makes a connection, with TLS and password. What goes over it is packed by
us and read in whole batches, so its streams are taken from it as soon as it has said who we are.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, cast

from stocksync_ws.redis.addresses import redis_url
from stocksync_ws.redis.client import (
    AsyncRedis,
    ProtocolError,
    Reader,
    RedisError,
    ReplyError,
    once,
)
from stocksync_ws.redis.directory import Directory, Place, Source
from stocksync_ws.redis.packing import command

__all__ = ["Replies", "Talk", "client_of", "find_places", "unguessable"]

Replies: TypeAlias = Callable[[Sequence[Any]], None]

READ_TIMEOUT = 2.0
"""Seconds for an answer while a connection begins."""
MAP_TIMEOUT = 1.0
"""Seconds for a node of a cluster that is asked where all others are."""


def unguessable(bits: int) -> str:
    """A text of so many random bits."""
    return secrets.token_urlsafe(bits // 8)


def client_of(url: str) -> Source:
    """A client that knows how to connect to a URL."""
    kind: Any = AsyncRedis
    made: Source = kind.from_url(redis_url(url))
    return made


async def find_places(directory: Directory) -> list[Place]:
    """The processes that hold the keys of the partitions, as they are now."""
    if not directory.is_cluster:
        return [directory.whole()]
    problem: Exception = ConnectionError("no node of the cluster is known")
    for node, make in directory.nodes():
        talk = Talk(lambda replies: None, lambda why: None)
        try:
            async with asyncio.timeout(MAP_TIMEOUT):
                await talk.open(make())
                return directory.placed(await talk.ask("CLUSTER", "SLOTS"), node)
        except (RedisError, ReplyError, OSError, TimeoutError) as error:
            problem = error
        finally:
            talk.close()
    raise problem


class Talk(asyncio.Protocol):
    """One connection: bytes out, batches of replies in.

    Args:
        replies: Told what has come, each time something has.
        ended: Told why, when it is over and not because of `close`.
    """

    def __init__(self, replies: Replies, ended: Callable[[str], None]) -> None:
        self._replies = replies
        self._ended = ended
        self._reader = Reader()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._connection: Any = None
        self._answers: list[asyncio.Future[Any]] = []
        """Of `ask`, in their order."""
        self._closed = False
        self.heard = 0.0
        """The time at which something came last, by the clock of the loop."""

    async def open(self, connection: Any) -> None:
        """Connect, and take the streams."""
        connection.retry = once()  # whoever waits knows better when to try again
        await connection.connect()
        # The client library has no other way to be rid of its reading.
        writer: asyncio.StreamWriter = connection._writer
        self._connection = writer
        connection._writer = connection._reader = None
        self._transport = cast("asyncio.Transport", writer.transport)
        self._transport.set_protocol(self)

    def write(self, data: bytes) -> None:
        """Send bytes."""
        if self._transport is not None:
            self._transport.write(data)

    async def ask(self, *words: str | bytes | int) -> Any:
        """One command, and its answer. Raises as `exchange` does."""
        return await self.exchange(command(*words))

    async def exchange(self, packed: bytes) -> Any:
        """One packed command, and its answer; nothing else goes over this connection meanwhile.

        Raises:
            ReplyError: It was refused.
            TimeoutError: It was not answered in time.
            ConnectionError: The connection has ended.
        """
        if self._closed:
            raise ConnectionError("Redis has closed the connection")
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._answers.append(answer)
        self.write(packed)
        async with asyncio.timeout(READ_TIMEOUT):
            return await answer

    def close(self) -> None:
        """End; nothing is told any more. What was written leaves first."""
        self._closed = True
        if self._transport is not None:
            self._transport.close()

    # What the transport tells

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._closed:
            return
        self.heard = self._loop.time()
        reader, found = self._reader, list[Any]()
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not False:
                found.append(reply)
        except ProtocolError as error:
            self._end(f"Redis has sent what is no reply: {error}")
            return
        while found and self._answers:
            self._answer(found.pop(0))
        if found:
            self._replies(found)

    def connection_lost(self, exc: Exception | None) -> None:
        """The stream has ended."""
        self._end(str(exc) if exc else "Redis has closed the connection")

    def _answer(self, reply: Any) -> None:
        waiting = self._answers.pop(0)
        if waiting.done():
            return
        if isinstance(reply, ReplyError):
            waiting.set_exception(reply)
        else:
            waiting.set_result(reply)

    def _end(self, why: str) -> None:
        if self._closed:
            return
        self.close()
        for waiting in self._answers:
            if not waiting.done():
                waiting.set_exception(ConnectionError(why))
        self._ended(why)

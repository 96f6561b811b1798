"""Connections to Redis: where its processes are, and a way to talk to each without waiting.

Rule: the client library knows URLs, TLS, passwords, Sentinel and the map of a cluster, and makes
the connections. What goes over them is packed by us and read in whole batches, so its streams are
taken from it as soon as it has said who we are.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias, cast

from stocksync_ws.redis.addresses import redis_url
from stocksync_ws.redis.client import (
    AsyncCluster,
    AsyncRedis,
    ProtocolError,
    Reader,
    RedisError,
    ReplyError,
    key_slot,
)
from stocksync_ws.redis.packing import PARTITIONS, Names, command

__all__ = ["Directory", "Place", "Replies", "Source", "Talk", "client_of", "unguessable"]

Source: TypeAlias = "AsyncRedis | AsyncCluster"
"""A client that knows how to connect; what it is given is used, and no connection of its own."""
Address: TypeAlias = tuple[str, int]
"""Host and port."""
Replies: TypeAlias = Callable[[Sequence[Any]], None]

READ_TIMEOUT = 2.0
"""Seconds for an answer while a connection begins."""


class Place(NamedTuple):
    """One process of Redis."""

    connect: Callable[[], Any]
    """Makes a connection object of the client library, which is not connected yet."""
    partitions: frozenset[int]
    """The partitions whose keys it holds."""


def unguessable(bits: int) -> str:
    """A text of so many random bits."""
    return secrets.token_urlsafe(bits // 8)


def client_of(url: str) -> Source:
    """A client that knows how to connect to a URL."""
    kind: Any = AsyncRedis
    made: Source = kind.from_url(redis_url(url))
    return made


class Directory:
    """Where the processes of Redis are, by way of what the application has given.

    Args:
        client: A client; what it was given is used.
        names: The names in Redis.
    """

    def __init__(self, client: Source, names: Names) -> None:
        self._names = names
        owners: list[Any] = [getattr(client, "connection_pool", None)]
        self.is_cluster = isinstance(client, AsyncCluster)
        if isinstance(client, AsyncCluster):
            owners = list(client.nodes_manager.startup_nodes.values())
        self._class = owners[0].connection_class
        # Always of the protocol whose pushes are plain answers.
        self._settings = {**owners[0].connection_kwargs, "protocol": 2}
        self._nodes: list[Address] = []
        """Nodes of the cluster that were known last, any of which knows all others."""
        if "host" in self._settings:
            given = [each.connection_kwargs for each in owners]
            self._nodes = [(each["host"], int(each["port"])) for each in given]

    async def find(self) -> list[Place]:
        """The processes that hold the keys of the partitions, as they are now."""
        if not self.is_cluster:
            return [Place(self._maker(None), frozenset(range(PARTITIONS)))]
        problem: Exception = ConnectionError("no node of the cluster is known")
        for node in self._nodes:
            try:
                return self._placed(await self._map(node), node)
            except (RedisError, ReplyError, OSError, TimeoutError) as error:
                problem = error
        raise problem

    def _maker(self, node: Address | None) -> Callable[[], Any]:
        settings = dict(self._settings)
        if node is not None:
            settings["host"], settings["port"] = node
        return lambda: self._class(**settings)

    async def _map(self, node: Address) -> list[Any]:
        """Which slots are where, as a node knows it."""
        talk = Talk(lambda replies: None, lambda why: None)
        try:
            await talk.open(self._maker(node)())
            found: list[Any] = await talk.ask("CLUSTER", "SLOTS")
            return found
        finally:
            talk.close()

    def _placed(self, ranges: Sequence[Any], asked: Address) -> list[Place]:
        held: dict[Address, set[int]] = {}
        for partition in range(PARTITIONS):
            slot = key_slot(self._names.tag(partition).encode())
            where = next((each for each in ranges if each[0] <= slot <= each[1]), None)
            if where is None:
                raise ConnectionError(f"no node of the cluster has slot {slot}")
            host, port = where[2][:2]
            node = (host.decode() if host else asked[0], int(port))
            held.setdefault(node, set()).add(partition)
        self._nodes = [*held, *(each for each in self._nodes if each not in held)]
        return [Place(self._maker(node), frozenset(each)) for node, each in held.items()]


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
        self._transport: asyncio.Transport | None = None
        self._connection: Any = None
        self._answers: list[asyncio.Future[Any]] = []
        """Of `ask`, in their order."""
        self._closed = False

    async def open(self, connection: Any) -> None:
        """Connect, and take the streams."""
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
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
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

"""A connection to Redis without an event loop: one command, and its answer.

Rule: the client library makes the connection, with TLS and password, and its socket is taken from
it: one that is lost is never made again behind our back, by which the commands of an earlier run of
Redis would reach a later one. Every wait ends at a time that the caller says.
"""

from __future__ import annotations

import select
import time
from typing import Any

from stocksync_ws.redis.client import Reader, RedisError, ReplyError, once
from stocksync_ws.redis.directory import Directory, Place
from stocksync_ws.redis.packing import command

__all__ = ["Line", "find_places"]

READ = 65_536
ANSWER = 2.0
"""Seconds until a connection that does not answer is given up, and another one is tried."""


class Line:
    """One connection.

    Args:
        connection: Of the client library, and not connected yet.
        until: When it is too late to connect, in the time of `time.monotonic`.

    Raises:
        RedisError, OSError: It cannot be made.
    """

    def __init__(self, connection: Any, until: float) -> None:
        seconds = _left(until)
        connection.socket_connect_timeout = connection.socket_timeout = seconds
        connection.retry = once()
        connection.connect()
        self._socket: Any = connection._sock
        connection._sock = None
        self._reader = Reader()

    def ask(self, *words: str | int, until: float) -> Any:
        """One command, and its answer. Raises as `exchange` does."""
        return self.exchange(command(*words), until)

    def exchange(self, packed: bytes, until: float) -> Any:
        """One packed command, and its answer.

        Raises:
            ReplyError: It was refused.
            OSError: The connection has ended, or there is no answer in time.
        """
        self._socket.settimeout(_left(until))
        self._socket.sendall(packed)
        while (answer := self._reader.gets()) is False:
            self._socket.settimeout(_left(until))
            data = self._socket.recv(READ)
            if not data:
                raise ConnectionError("Redis has closed the connection")
            self._reader.feed(data)
        if isinstance(answer, ReplyError):
            raise answer
        return answer

    def look(self) -> None:
        """Look whether Redis has ended it while nobody asked anything.

        Raises:
            ConnectionError: It has.
        """
        poll = select.poll() if hasattr(select, "poll") else None
        if poll is not None:
            poll.register(self._socket, select.POLLIN)
            spoken = bool(poll.poll(0))
        else:
            spoken = bool(select.select([self._socket], [], [], 0)[0])
        if spoken:
            raise ConnectionError("Redis has closed the connection")

    def close(self) -> None:
        """End it."""
        self._socket.close()


def _left(until: float) -> float:
    """Seconds that a wait may take."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("it does not answer in time")
    return min(ANSWER, left)


def find_places(directory: Directory, until: float) -> list[Place]:
    """The processes that hold the keys of the partitions, as they are now."""
    if not directory.is_cluster:
        return [directory.whole()]
    problem: Exception = ConnectionError("no node of the cluster is known")
    for node, make in directory.nodes():
        line: Line | None = None
        try:
            line = Line(make(), until)
            return directory.placed(line.ask("CLUSTER", "SLOTS", until=until), node)
        except (RedisError, ReplyError, OSError) as error:
            problem = error
        finally:
            if line is not None:
                line.close()
    raise problem

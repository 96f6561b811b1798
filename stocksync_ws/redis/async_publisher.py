"""A publisher on an event loop: for tasks and scripts that await.

Rule: as `publisher.py`, with `await` in front: one message at a time, so that they are in the order
of the calls; a loop has connections of its own.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

from stocksync_ws.backplane import Append, Appended, AppendOutcome
from stocksync_ws.broker.model.publication import Draft, Published
from stocksync_ws.redis.addresses import check_client, check_prefix, check_seconds
from stocksync_ws.redis.client import AsyncCluster, AsyncRedis, RedisError, ReplyError
from stocksync_ws.redis.connections import Talk, client_of, find_places, unguessable
from stocksync_ws.redis.directory import Directory, Place, Source
from stocksync_ws.redis.facts import Facts, check_version, facts_of
from stocksync_ws.redis.node import is_gone
from stocksync_ws.redis.packing import Names, Packer, appended, reign
from stocksync_ws.redis.publisher import FIRST, LAST
from stocksync_ws.redis.publishing import Publishing
from stocksync_ws.redis.scripts import APPEND

__all__ = ["AsyncPublisher"]


class AsyncPublisher:
    """Publishes to the workers of an application, from a process that serves nothing, and awaits.

        async with AsyncPublisher("redis://cache:6379/0", prefix="shop") as publisher:
            await publisher.convert_and_send("/topic/inventory", {"quantity": 7})

    Its methods are those of `Publisher`, and raise the same.

    Args:
        url: As of `RedisBackplane`.
        redis: A client of `redis.asyncio` in place of the URL.
        prefix: The prefix of the workers.
        timeout: Seconds until a message that is not answered fails.

    Raises:
        ConfigurationError: An argument is wrong.
    """

    def __init__(
        self,
        url: str = "",
        *,
        redis: Source | None = None,
        prefix: str = "stocksync",
        timeout: float = 5.0,
    ) -> None:
        check_client("AsyncPublisher", url, redis, AsyncRedis, AsyncCluster)
        check_seconds("AsyncPublisher.timeout", timeout)
        self._source = redis or client_of(url)
        check_prefix("AsyncPublisher.prefix", prefix)
        self._prefix = prefix
        self._names = Names(prefix)
        self._timeout = timeout
        self._pid = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._links: dict[int, _Link] = {}

    async def convert_and_send(
        self,
        destination: str,
        payload: object,
        headers: Mapping[str, str] | None = None,
        *,
        idempotency_key: str = "",
    ) -> Published:
        """Convert a payload and send it to all subscribers of a broker destination, at all workers;
        see `Publisher.convert_and_send`.
        """
        return await self._publish(
            lambda: self._publishing.to(destination, payload, headers), idempotency_key
        )

    async def convert_and_send_to_user(
        self,
        user: str,
        destination: str,
        payload: object,
        headers: Mapping[str, str] | None = None,
        *,
        idempotency_key: str = "",
    ) -> Published:
        """Convert a payload and send it to all sessions of a user, at all workers; see
        `Publisher.convert_and_send_to_user`.
        """
        return await self._publish(
            lambda: self._publishing.to_user(user, destination, payload, headers), idempotency_key
        )

    async def send(
        self,
        destination: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        idempotency_key: str = "",
    ) -> Published:
        """Send octets as they are; see `Publisher.send`."""
        return await self._publish(
            lambda: self._publishing.octets(destination, body, headers), idempotency_key
        )

    async def aclose(self) -> None:
        """End the connections. The next message makes new ones."""
        if self._loop is asyncio.get_running_loop() and self._pid == os.getpid():
            async with self._lock:
                self._drop()
            await asyncio.sleep(0)  # what is closed ends in the next turn

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self.aclose()

    # How

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Be a publisher of this loop, with nothing that another one has connected."""
        self._pid = os.getpid()
        self._loop = loop
        self._lock = asyncio.Lock()
        self._publishing = Publishing(self._prefix, time.time)
        self._directory = Directory(self._source, self._names)
        self._links = {}
        self._read_at = float("-inf")

    async def _publish(self, make: Callable[[], Draft], key: str) -> Published:
        loop = asyncio.get_running_loop()
        if self._loop is not loop or self._pid != os.getpid():
            self._begin(loop)
        until = loop.time() + self._timeout
        try:
            async with asyncio.timeout_at(until):
                await self._lock.acquire()
        except TimeoutError:
            problem, seconds = "others wait for it", self._timeout
            raise self._publishing.failed(problem, sent=False, seconds=seconds) from None
        try:
            await self._learn(until)
            return await self._carry(self._publishing.append(make(), key), until)
        finally:
            self._lock.release()

    async def _learn(self, until: float) -> None:
        """Read what the workers have left, now and then."""
        assert self._loop is not None
        if not self._publishing.is_due(self._loop.time(), self._read_at):
            return

        async def ask() -> Any:
            return await (await self._link(0)).talk.ask("GET", self._names.shared("policies"))

        self._publishing.learn(await self._try(ask, until))
        self._read_at = self._loop.time()

    async def _carry(self, append: Append, until: float) -> Published:
        """Send an append until it is answered, or it is too late."""
        sent = 0

        async def send() -> Appended:
            nonlocal sent
            link = await self._link(self._names.partition(append.items[0].channel))
            packed = link.packer.append(append)
            sent += 1
            try:
                answer = await link.talk.exchange(packed)
            except ReplyError as error:
                if is_gone(str(error)):
                    raise
                return Appended(append.number, AppendOutcome.REFUSED, problem=str(error))
            return appended(append.number, answer, ours=0)[0]

        answer = await self._try(send, until, lambda: sent > 0)
        return self._publishing.settled(append, answer, again=sent > 1)

    async def _try(
        self,
        act: Callable[[], Awaitable[Any]],
        until: float,
        sent: Callable[[], bool] = lambda: False,
    ) -> Any:
        assert self._loop is not None
        delay = FIRST
        while True:
            try:
                async with asyncio.timeout_at(until):
                    return await act()
            except (RedisError, ReplyError, OSError, TimeoutError) as error:
                self._drop()
                if self._loop.time() + delay > until:
                    problem = str(error) or "it does not answer"
                    seconds = self._timeout
                    failed = self._publishing.failed(problem, sent=sent(), seconds=seconds)
                    raise failed from error
            except BaseException:
                self._drop()  # cancelled: an answer that comes now is nobody's
                raise
            await asyncio.sleep(delay)
            delay = min(2 * delay, LAST)

    async def _link(self, partition: int) -> _Link:
        """A connection to the process of Redis that has a partition."""
        while partition not in self._links:
            places = await find_places(self._directory)
            place = next(each for each in places if partition in each.partitions)
            talk = Talk(lambda replies: None, lambda why: None)
            try:
                await talk.open(place.connect())
                facts = facts_of(await talk.ask("INFO"))
                check_version(facts)
                if facts.is_cluster and not self._directory.is_cluster:
                    self._directory.is_cluster = True
                    talk.close()
                    continue
                packer = await self._packer(talk, place, facts)
            except BaseException:
                talk.close()
                raise
            self._links |= dict.fromkeys(place.partitions, _Link(talk, packer))
        return self._links[partition]

    async def _packer(self, talk: Talk, place: Place, facts: Facts) -> Packer:
        """Make a connection ready for commands."""
        names, worker, process = self._names, self._publishing.name, facts.process
        append = (await talk.ask("SCRIPT", "LOAD", APPEND)).decode()
        asks = reign(names, place.partitions, worker, process, unguessable(72))
        run = f"{process}:{(await talk.exchange(asks)).decode()}"
        publishes = "SPUBLISH" if facts.is_cluster else "PUBLISH"
        # Who may not publish would find out behind what a script has written already.
        await talk.ask(publishes, names.probe(worker, min(place.partitions)), "")
        return Packer(names, worker, run, (append, ""), publishes, unguessable)

    def _drop(self) -> None:
        for link in set(self._links.values()):
            link.talk.close()
        self._links = {}


class _Link(NamedTuple):
    """One connection to one process of Redis, ready for commands."""

    talk: Talk
    packer: Packer

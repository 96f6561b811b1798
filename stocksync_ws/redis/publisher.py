"""A publisher without an event loop: for Celery, cron and management commands.

Rule: one message at a time, over one connection, so that they are in the order of the calls. It
connects when it is first used, in each process anew: what a parent has connected is never touched
by its child.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, TypeAlias

from stocksync_ws.backplane import Append, Appended, AppendOutcome
from stocksync_ws.broker.model.publication import Draft, Published
from stocksync_ws.errors import ConfigurationError
from stocksync_ws.redis.addresses import check_client, check_seconds, redis_url
from stocksync_ws.redis.backplane import RedisBackplane
from stocksync_ws.redis.client import (
    ELSEWHERE,
    Redis,
    RedisCluster,
    RedisError,
    ResponseError,
)
from stocksync_ws.redis.connections import unguessable
from stocksync_ws.redis.facts import Facts, check_version, facts_of
from stocksync_ws.redis.packing import Names, Packer, appended
from stocksync_ws.redis.publishing import REREAD, Publishing
from stocksync_ws.redis.scripts import APPEND, READ

__all__ = ["Publisher"]

Client: TypeAlias = "Redis | RedisCluster"

ANSWER = 2.0
"""Seconds until a connection that does not answer is given up, and another one is tried."""
FIRST, LAST = 0.05, 1.0
"""Seconds between two tries."""


class Publisher:
    """Publishes to the workers of an application, from a process that serves nothing.

        with Publisher("redis://cache:6379/0", prefix="shop") as publisher:
            publisher.convert_and_send("/topic/inventory", {"product_id": "kettle", "quantity": 7})

    Thread-safe, and safe after a fork: a child has connections of its own. It needs no application;
    what the workers keep of each destination they have left in Redis. Each call waits until Redis
    has the message, and tries again while there is no connection.

    Args:
        url: As of `RedisBackplane`.
        redis: A client of `redis` in place of the URL.
        prefix: The prefix of the workers.
        timeout: Seconds until a message that is not answered fails.

    Raises:
        ConfigurationError: An argument is wrong.
    """

    def __init__(
        self,
        url: str = "",
        *,
        redis: Client | None = None,
        prefix: str = "stocksync",
        timeout: float = 5.0,
    ) -> None:
        check_client("Publisher", url, redis, Redis, RedisCluster)
        check_seconds("Publisher.timeout", timeout)
        self._url = url
        self._given = redis
        self._backplane = RedisBackplane(url or "redis://of-a-client", prefix=prefix)
        self._names = Names(prefix)
        self._timeout = timeout
        self._begin()

    def _begin(self) -> None:
        """Be a publisher of this process, with nothing that another one has connected."""
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._publishing = Publishing(self._backplane)
        self._client: Client | None = None
        self._links: dict[int, _Link] = {}
        self._read_at = float("-inf")

    def convert_and_send(
        self,
        destination: str,
        payload: object,
        headers: Mapping[str, str] | None = None,
        *,
        idempotency_key: str = "",
    ) -> Published:
        """Convert a payload and send it to all subscribers of a broker destination, at all workers.

        Args:
            destination: As of the template: under a broker prefix, for example `/topic/inventory`.
            payload: As of the template.
            headers: As of the template.
            idempotency_key: Names this message: where one with the same key was sent to this
                destination within 300 seconds, nothing is sent.

        Returns:
            The `message-id`, the number of workers that it was pushed to, and whether the key was
            known.

        Raises:
            ValueError: A destination or header is malformed. The caller's fault.
            ConversionError: The payload cannot be converted. The caller's fault.
            IdempotencyMismatch: The key was used for another message.
            BackplaneUnavailable: Redis was not there in time, or refuses the message: not sent.
            PublishUncertain: The message was sent, and not answered in time; with a key a repeat is
                safe.
        """
        return self._publish(
            lambda: self._publishing.to(destination, payload, headers), idempotency_key
        )

    def convert_and_send_to_user(
        self,
        user: str,
        destination: str,
        payload: object,
        headers: Mapping[str, str] | None = None,
        *,
        idempotency_key: str = "",
    ) -> Published:
        """Convert a payload and send it to all sessions of a user, at all workers.

        Args:
            user: The name of the user.
            destination: As of the template: without the user prefix, for example `/queue/errors`.
            payload: As of the template.
            headers: As of the template.
            idempotency_key: As of `convert_and_send`, which raises the same.
        """
        return self._publish(
            lambda: self._publishing.to_user(user, destination, payload, headers), idempotency_key
        )

    def send(
        self,
        destination: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        idempotency_key: str = "",
    ) -> Published:
        """Send octets as they are, as `convert_and_send` does; give their `content-type` in
        `headers`.
        """
        return self._publish(
            lambda: self._publishing.octets(destination, body, headers), idempotency_key
        )

    def close(self) -> None:
        """End the connections. The next message makes new ones."""
        if self._pid == os.getpid():
            with self._lock:
                self._drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    # How

    def _publish(self, make: Callable[[], Draft], key: str) -> Published:
        if self._pid != os.getpid():
            self._begin()
        with self._lock:
            until = time.monotonic() + self._timeout
            self._learn(until)
            append = self._publishing.append(make(), key)
            return self._carry(append, until)

    def _learn(self, until: float) -> None:
        """Read what the workers have left, now and then."""
        if time.monotonic() - self._read_at < REREAD:
            return
        told = self._try(lambda: self._link(0).ask("GET", self._names.shared("policies")), until)
        self._publishing.learn(told)
        self._read_at = time.monotonic()

    def _carry(self, append: Append, until: float) -> Published:
        """Send an append until it is answered, or it is too late."""
        sent = 0

        def send() -> Appended:
            nonlocal sent
            link = self._link(self._names.partition(append.items[0].channel))
            packed = link.packer.append(append)
            sent += 1
            try:
                answer = link.exchange(packed)
            except ResponseError as error:
                if isinstance(error, ELSEWHERE):
                    raise
                return Appended(append.number, AppendOutcome.REFUSED, problem=str(error))
            return appended(append.number, answer, subscribed=False)[0]

        answer = self._try(send, until, lambda: sent > 0)
        return self._publishing.settled(append, answer, again=sent > 1)

    def _try(
        self, act: Callable[[], Any], until: float, sent: Callable[[], bool] = lambda: False
    ) -> Any:
        delay = FIRST
        while True:
            try:
                return act()
            except (RedisError, OSError) as error:
                self._drop()
                if time.monotonic() + delay > until:
                    problem, seconds = str(error), self._timeout
                    failed = self._publishing.failed(problem, sent=sent(), seconds=seconds)
                    raise failed from error
            time.sleep(delay)
            delay = min(2 * delay, LAST)

    def _link(self, partition: int) -> _Link:
        """A connection to the process of Redis that has a partition."""
        found = self._links.get(partition)
        if found is None:
            if self._client is None:
                self._client = self._given or self._make(Redis)
            pool, publishes = _place(self._client, self._names.tag(partition))
            found = next((each for each in self._links.values() if each.pool is pool), None)
            if found is None:
                found = _Link(pool, self._names, self._publishing.name, publishes)
                if found.facts.is_cluster and publishes == "PUBLISH":
                    self._go_to_cluster(found)
                    return self._link(partition)
            self._links[partition] = found
        return found

    def _make(self, kind: type[Redis] | type[RedisCluster]) -> Client:
        return _client_of(kind, self._url, min(ANSWER, self._timeout))

    def _go_to_cluster(self, link: _Link) -> None:
        """The server is one of a cluster: any node of which knows all others."""
        link.close()
        if self._client is self._given:
            raise ConfigurationError(
                "Publisher: redis= is a client of one node of a cluster: give"
                " it a redis.RedisCluster"
            )
        self._drop()
        self._client = self._make(RedisCluster)

    def _drop(self) -> None:
        for link in set(self._links.values()):
            link.close()
        self._links = {}
        if self._client is not None and self._client is not self._given:
            self._client.close()
        self._client = None


def _client_of(kind: Any, url: str, seconds: float) -> Client:
    made: Client = kind.from_url(
        redis_url(url), socket_timeout=seconds, socket_connect_timeout=seconds
    )
    return made


def _place(client: Client, tag: str) -> tuple[Any, str]:
    """The pool of the process that has a key, and how it publishes."""
    if isinstance(client, RedisCluster):
        nodes: Any = client
        return nodes.get_redis_connection(nodes.get_node_from_key(tag)).connection_pool, "SPUBLISH"
    return client.connection_pool, "PUBLISH"


class _Link:
    """One connection to one process of Redis."""

    def __init__(self, pool: Any, names: Names, worker: str, publishes: str) -> None:
        self.pool = pool
        self._connection: Any = pool.get_connection()
        self.facts: Facts = facts_of(self.ask("INFO"))
        check_version(self.facts)
        digests = [self.ask("SCRIPT", "LOAD", text) for text in (APPEND, READ)]
        append, read = (each if isinstance(each, str) else each.decode() for each in digests)
        self.packer = Packer(names, worker, self.facts.run, (append, read), publishes, unguessable)

    def ask(self, *words: str) -> Any:
        """One command, and its answer."""
        self._connection.send_command(*words)
        return self._connection.read_response()

    def exchange(self, packed: bytes) -> Any:
        """One packed command, and its answer."""
        self._connection.send_packed_command([packed])
        return self._connection.read_response(disable_decoding=True)

    def close(self) -> None:
        """End it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()
            self.pool.release(connection)

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
from typing import Any, NamedTuple, Self
from weakref import WeakSet

from stocksync_ws.backplane import Append, Appended, AppendOutcome
from stocksync_ws.broker.model.publication import Draft, Published
from stocksync_ws.redis.addresses import check_client, check_prefix, check_seconds, redis_url
from stocksync_ws.redis.client import Redis, RedisCluster, RedisError, ReplyError
from stocksync_ws.redis.connections import unguessable
from stocksync_ws.redis.directory import Client, Directory, Place
from stocksync_ws.redis.facts import Facts, check_version, facts_of
from stocksync_ws.redis.line import Line, find_places
from stocksync_ws.redis.node import is_gone
from stocksync_ws.redis.packing import Names, Packer, appended, reign
from stocksync_ws.redis.publishing import Publishing
from stocksync_ws.redis.scripts import APPEND

__all__ = ["Publisher"]

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
        self._client = redis or _client_of(url)
        check_prefix("Publisher.prefix", prefix)
        self._prefix = prefix
        self._names = Names(prefix)
        self._timeout = timeout
        self._begin()
        _PUBLISHERS.add(self)

    def _begin(self) -> None:
        """Be a publisher of this process, with nothing that another one has connected."""
        self._lock = threading.Lock()
        self._publishing = Publishing(self._prefix, time.time)
        self._directory = Directory(self._client, self._names)
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
        until = time.monotonic() + self._timeout
        if not self._lock.acquire(timeout=self._timeout):
            problem, seconds = "others wait for it", self._timeout
            raise self._publishing.failed(problem, sent=False, seconds=seconds)
        try:
            self._learn(until)
            return self._carry(self._publishing.append(make(), key), until)
        finally:
            self._lock.release()

    def _learn(self, until: float) -> None:
        """Read what the workers have left, now and then."""
        if not self._publishing.is_due(time.monotonic(), self._read_at):
            return
        key = self._names.shared("policies")
        told = self._try(lambda: self._link(0, until).line.ask("GET", key, until=until), until)
        self._publishing.learn(told)
        self._read_at = time.monotonic()

    def _carry(self, append: Append, until: float) -> Published:
        """Send an append until it is answered, or it is too late."""
        sent = 0

        def send() -> Appended:
            nonlocal sent
            link = self._link(self._names.partition(append.items[0].channel), until)
            packed = link.packer.append(append)
            link.line.look()
            sent += 1
            try:
                answer = link.line.exchange(packed, until)
            except ReplyError as error:
                if is_gone(str(error)):
                    raise
                return Appended(append.number, AppendOutcome.REFUSED, problem=str(error))
            return appended(append.number, answer, ours=0)[0]

        answer = self._try(send, until, lambda: sent > 0)
        return self._publishing.settled(append, answer, again=sent > 1)

    def _try(
        self, act: Callable[[], Any], until: float, sent: Callable[[], bool] = lambda: False
    ) -> Any:
        delay = FIRST
        while True:
            try:
                return act()
            except (RedisError, ReplyError, OSError) as error:
                self._drop()
                if time.monotonic() + delay > until:
                    problem, seconds = str(error), self._timeout
                    failed = self._publishing.failed(problem, sent=sent(), seconds=seconds)
                    raise failed from error
            except BaseException:
                self._drop()  # interrupted: an answer that comes now is nobody's
                raise
            time.sleep(delay)
            delay = min(2 * delay, LAST)

    def _link(self, partition: int, until: float) -> _Link:
        """A connection to the process of Redis that has a partition."""
        while partition not in self._links:
            places = find_places(self._directory, until)
            place = next(each for each in places if partition in each.partitions)
            line = Line(place.connect(), until)
            try:
                facts = facts_of(line.ask("INFO", until=until))
                check_version(facts)
                if facts.is_cluster and not self._directory.is_cluster:
                    self._directory.is_cluster = True
                    line.close()
                    continue
                packer = self._packer(line, place, facts, until)
            except BaseException:
                line.close()
                raise
            self._links |= dict.fromkeys(place.partitions, _Link(line, packer))
        return self._links[partition]

    def _packer(self, line: Line, place: Place, facts: Facts, until: float) -> Packer:
        """Make a connection ready for commands."""
        names, worker, process = self._names, self._publishing.name, facts.process
        append = line.ask("SCRIPT", "LOAD", APPEND, until=until).decode()
        asks = reign(names, place.partitions, worker, process, unguessable(72))
        run = f"{process}:{line.exchange(asks, until).decode()}"
        publishes = "SPUBLISH" if facts.is_cluster else "PUBLISH"
        # Who may not publish would find out behind what a script has written already.
        probe = names.probe(worker, min(place.partitions))
        line.ask(publishes, probe, "", until=until)
        return Packer(names, worker, run, (append, ""), publishes, unguessable)

    def _drop(self) -> None:
        for link in set(self._links.values()):
            link.line.close()
        self._links = {}


_PUBLISHERS: WeakSet[Publisher] = WeakSet()


def _after_fork() -> None:
    """A child begins anew: what its parent has connected, and holds, is none of its business."""
    for publisher in _PUBLISHERS:
        publisher._begin()  # pyright: ignore[reportPrivateUsage]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _client_of(url: str) -> Client:
    kind: Any = Redis
    made: Client = kind.from_url(redis_url(url))
    return made


class _Link(NamedTuple):
    """One connection to one process of Redis, ready for commands."""

    line: Line
    packer: Packer

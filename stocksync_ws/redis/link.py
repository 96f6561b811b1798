"""The way of one worker to Redis: it connects, finds out what it talks to, and begins again when a
connection is lost.

Rule: all connections are one: when one is lost, all are, and the worker asks for everything anew.
Nothing is told of a connection that is over. What the workers of a prefix must agree about is
compared each time.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
from collections.abc import Callable, Sequence

from stocksync_ws.backplane import (
    Append,
    BackplaneCommand,
    BackplaneEvent,
    Connected,
    Lost,
)
from stocksync_ws.errors import ConfigurationError
from stocksync_ws.redis.agreement import Agreement
from stocksync_ws.redis.client import RedisError, ReplyError
from stocksync_ws.redis.connections import find_places, unguessable
from stocksync_ws.redis.directory import Directory, Source
from stocksync_ws.redis.facts import Facts, check_version
from stocksync_ws.redis.node import Node, Worker
from stocksync_ws.redis.packing import EMPTY, LIFE, Names

__all__ = ["Link"]

_log = logging.getLogger("stocksync_ws.redis")

CONNECT = 5.0
"""Seconds until a connection that begins has failed."""
FIRST, LAST = 0.05, 2.0
"""Seconds between two tries: doubled each time, and less by chance."""
UNSTEADY = 60.0
"""Seconds in which Redis may be unsteady once."""
RENEW = 20.0
"""Seconds between two signs that this worker is one of the prefix."""


class Link:
    """One worker's way to Redis. See `BackplaneLink`.

    Args:
        client: Knows how to connect.
        worker: The name of the worker.
        names: The names in Redis.
        agreement: What all workers of the prefix must agree about.
        silence: Seconds without an answer after which Redis is dead.
        receive: Told what has come.
    """

    def __init__(
        self,
        client: Source,
        worker: str,
        names: Names,
        agreement: Agreement,
        silence: float,
        receive: Callable[[Sequence[BackplaneEvent]], None],
    ) -> None:
        self._directory = Directory(client, names)
        self._names = names
        self._agreement = agreement
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._worker = Worker(
            worker,
            names,
            silence,
            unguessable,
            self._tell,
            self._end,
            self._unsteady,
            self._refused,
        )
        self._unsteady_at = -math.inf
        self._nodes: list[Node] = []
        self._places: dict[int, Node] = {}
        """The node of each partition."""
        self._connected = False
        self._closed = False
        self._early = ""
        """Why a connection was lost before all of them were there."""
        self._told = ""
        """Why the last try failed, which is told once."""
        self._trusted = True
        """Runs of Redis are told apart by what they say of themselves."""
        self._before = False
        """There was a connection before."""
        self._delay = FIRST
        self._timers: list[asyncio.TimerHandle] = []
        self._waiting: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = self._loop.create_task(self._connect())

    # What the worker says

    def send(self, commands: Sequence[BackplaneCommand]) -> None:
        """Send commands: those of one turn of the loop, as the driver gives them."""
        if not self._connected:
            return
        if len(self._nodes) == 1:
            self._nodes[0].send(commands)
            return
        parts: dict[Node, list[BackplaneCommand]] = {}
        for each in commands:
            channel = each.items[0].channel if isinstance(each, Append) else each.channel
            node = self._places[self._names.partition(channel)]
            parts.setdefault(node, []).append(each)
        for node, part in parts.items():
            node.send(part)

    def close(self) -> None:
        """The worker ends. What it has said leaves."""
        if self._loop.is_closed():
            return
        self._closed = True
        if self._connected and (farewell := self._agreement.farewell()) is not None:
            self._places[0].say(farewell)
        self._drop()
        if self._task is not None:
            self._task.cancel()
        if self._waiting is not None:
            self._waiting.cancel()

    # Connections

    async def _connect(self) -> None:
        """Try to connect; another try follows where it fails."""
        nodes: list[Node] = []
        self._early = ""
        try:
            async with asyncio.timeout(CONNECT):
                await self._begin(nodes)
        except ConfigurationError as error:
            self._failed(nodes, str(error), fatal=True)
        except (RedisError, ReplyError, OSError, EOFError, TimeoutError) as error:
            self._failed(nodes, str(error) or f"it does not answer within {CONNECT:g} s")
        except BaseException as error:
            for node in nodes:
                node.close()
            if isinstance(error, Exception):
                _log.exception("internal error in a connection to Redis")
                self._failed([], repr(error))
            else:
                raise
        else:
            self._task = None

    async def _begin(self, nodes: list[Node]) -> None:
        """Connect to every process of Redis, and be ready for commands."""
        nodes.extend(Node(place, self._worker) for place in await find_places(self._directory))
        found: list[Facts] = []
        for node in nodes:
            one, other = await node.connect()
            self._check(one, other)
            found.append(one)
        is_cluster = found[0].is_cluster
        if is_cluster and not self._directory.is_cluster:
            self._directory.is_cluster = True
            for node in nodes:
                node.close()
            nodes.clear()
            await self._begin(nodes)
            return
        first = next(node for node in nodes if 0 in node.partitions)
        await self._agreement.compare(first.ask)
        for node, facts in zip(nodes, found, strict=True):
            process = facts.process if self._trusted else ""
            anew = self._before and not self._trusted
            await node.begin(process, cluster=is_cluster, anew=anew)
        if self._early:
            raise ConnectionError(self._early)
        self._nodes = list(nodes)
        self._places = {each: node for node in nodes for each in node.partitions}
        self._ready()

    def _ready(self) -> None:
        again = " again" if self._before else ""
        _log.info("connected to Redis%s, prefix %r", again, self._names.prefix)
        self._before = self._connected = True
        self._delay = FIRST
        self._told = ""
        self._timers = [
            self._loop.call_later(RENEW, self._renew),
            self._loop.call_later(LIFE / 4, self._keep_alive),
            self._loop.call_later(EMPTY / 4, self._keep_empty),
        ]
        self._tell([Connected()])

    def _check(self, one: Facts, other: Facts) -> None:
        """Look at what the two connections to one place have found."""
        check_version(one)
        if one.process != other.process:
            self._distrust()
        if one.evicts:
            self._agreement.warn_once(
                f"Redis makes room by maxmemory-policy {one.evicts}, which may drop histories"
                f" (subscribers are told by a reset) and the numbers and keys that make a repeat"
                f" safe (nobody is told): set noeviction, or give stocksync-ws a Redis of its own"
            )

    def _unsteady(self) -> None:
        """Generations follow each other in no time: another worker may know of a run that this one
        has missed. So it asks anew; when that does not help, nothing does.
        """
        if not self._connected:
            return
        now = self._loop.time()
        if now - self._unsteady_at < UNSTEADY:
            self._distrust()
            return
        self._unsteady_at = now
        self._loop.call_soon(self._end, "it may be another run by now")

    def _distrust(self) -> None:
        """Nothing tells the runs of Redis apart: each new connection may meet another history."""
        if not self._trusted:
            return
        self._trusted = False
        _log.error(
            "Redis says that it is another process each time it is asked, as behind a proxy, or it"
            " restarts all the time: what it has forgotten cannot be noticed, so that from now on"
            " subscribers are told of a reset whenever a connection to it is lost; connect to Redis"
            " itself"
        )
        if self._connected:
            self._loop.call_soon(self._end, "it is not to be trusted")

    def _refused(self, problem: str) -> None:
        """A read was refused, and is asked again."""
        self._agreement.warn_once(f"Redis refuses a read, which is asked again: {problem}")

    def _tell(self, events: Sequence[BackplaneEvent]) -> None:
        if self._connected and not self._closed:
            self._receive(events)

    def _end(self, why: str) -> None:
        """A connection is lost, and with it all of them."""
        if not self._connected:
            self._early = why
            return
        self._drop()
        _log.warning("the connection to Redis is lost, prefix %r: %s", self._names.prefix, why)
        self._told = why
        self._receive([Lost(why)])
        self._try_again()

    def _failed(self, nodes: Sequence[Node], why: str, *, fatal: bool = False) -> None:
        """A try has failed."""
        self._task = None
        for node in nodes:
            node.close()
        if self._closed:
            return
        news = why != self._told
        if news:
            if fatal:
                _log.error("this worker stays away from Redis: %s", why)
            else:
                _log.warning("no connection to Redis, prefix %r: %s", self._names.prefix, why)
            self._told = why
        if news:
            self._receive([Lost(why, fatal)])
        self._try_again()

    def _try_again(self) -> None:
        if self._closed:
            return
        delay = self._delay * (1.0 - secrets.randbelow(500) / 1_000)
        self._waiting = self._loop.call_later(delay, self._start)
        self._delay = min(self._delay * 2, LAST)

    def _start(self) -> None:
        self._task = self._loop.create_task(self._connect())

    def _drop(self) -> None:
        """Nothing that is on its way counts any more."""
        self._connected = False
        for timer in self._timers:
            timer.cancel()
        for node in self._nodes:
            node.close()
        self._nodes = []

    # Time

    def _renew(self) -> None:
        """Say that this worker is one of the prefix."""
        if (renewal := self._agreement.renewal()) is not None:
            self._places[0].say(renewal)
        self._timers[0] = self._loop.call_later(RENEW, self._renew)

    def _keep_alive(self) -> None:
        for node in self._nodes:
            node.keep_alive(empty=False)
        self._timers[1] = self._loop.call_later(LIFE / 4, self._keep_alive)

    def _keep_empty(self) -> None:
        for node in self._nodes:
            node.keep_alive(empty=True)
        self._timers[2] = self._loop.call_later(EMPTY / 4, self._keep_empty)

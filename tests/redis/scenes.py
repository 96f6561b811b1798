"""The table of faults: what is done to Redis, to the way there, to workers and to browsers.

Rule: each scene says what is to be told, to whom; everything else may be late, and nothing else.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from stocksync_ws.redis.packing import Names
from tests.redis.proxy import Proxy
from tests.redis.servers import Server, until_synced
from tests.redis.stage import Stage, play
from tests.redis.verdict import Verdict
from tests.redis.worker import room

__all__ = ["SCENES", "Scene"]

Act = Callable[[Stage], Awaitable[None]]
AOF = ("--appendonly", "yes", "--appendfsync", "always")


@dataclass(frozen=True)
class Scene:
    """One row of the table."""

    name: str
    play: Callable[[Path, float], Awaitable[Verdict]]
    """In a folder, with times that are multiplied by a factor."""
    told: bool = False
    """Browsers must be told that something is missing; else none may be."""
    refused: bool = False
    """Publishers may be refused, or left uncertain; else none may be."""
    cut: bool = True
    """Connections to Redis are lost by it."""

    def __str__(self) -> str:
        return self.name


SCENES: list[Scene] = []


def scene(*, told: bool = False, refused: bool = False, cut: bool = True) -> Callable[..., object]:
    """A row of the table, by the function that plays it."""

    def add(run: Callable[[Path, float], Awaitable[Verdict]]) -> object:
        SCENES.append(Scene(run.__name__, run, told, refused, cut))
        return run

    return add


def act_on(folder: Path, act: Act, *settings: str) -> Callable[[], Awaitable[Verdict]]:
    """A scene on one server, which two workers reach straight."""

    async def run() -> Verdict:
        server = Server(folder / "redis", *settings)
        with ExitStack() as ends:
            ends.callback(lambda: server.kill())
            return await play(Stage(folder, server), act)

    return run


@scene()
async def connections_are_killed_in_turn(folder: Path, factor: float) -> Verdict:
    async def act(stage: Stage) -> None:
        for number in range(int(6 * factor)):
            kind = "pubsub" if number % 2 else "normal"
            await stage.redis(stage.server.tell, "CLIENT", "KILL", "TYPE", kind)
            await stage.pass_time(0.4)

    return await act_on(folder, act)()


@scene()
async def all_connections_are_killed(folder: Path, factor: float) -> Verdict:
    async def act(stage: Stage) -> None:
        for _ in range(int(4 * factor)):
            await stage.redis(stage.server.cut)
            await stage.pass_time(0.5)

    return await act_on(folder, act)()


@scene()
async def redis_is_killed_and_comes_back_with_its_log(folder: Path, factor: float) -> Verdict:
    async def act(stage: Stage) -> None:
        await stage.redis(stage.server.kill)
        await stage.pass_time(0.5 * factor)
        await stage.redis(stage.server.start)

    return await act_on(folder, act, *AOF)()


@scene(told=True)
async def redis_is_killed_and_comes_back_with_nothing(folder: Path, factor: float) -> Verdict:
    async def act(stage: Stage) -> None:
        await stage.redis(stage.server.kill)
        await stage.pass_time(0.3 * factor)
        await stage.redis(stage.server.start)

    return await act_on(folder, act)()


@scene(told=True)
async def redis_comes_back_with_an_older_state(folder: Path, factor: float) -> Verdict:
    async def act(stage: Stage) -> None:
        await stage.redis(stage.server.tell, "SAVE")
        await stage.pass_time(0.3)
        await stage.redis(stage.server.kill)
        await stage.redis(stage.server.start)

    return await act_on(folder, act)()


@scene(told=True, cut=False)
async def everything_is_flushed(folder: Path, factor: float) -> Verdict:
    async def act(stage: Stage) -> None:
        await stage.redis(stage.server.tell, "FLUSHALL")

    return await act_on(folder, act)()


@scene()
async def redis_stands_still(folder: Path, factor: float) -> Verdict:
    async def act(stage: Stage) -> None:
        stage.server.signal(signal.SIGSTOP)
        await stage.pass_time(3.0)
        stage.server.signal(signal.SIGCONT)

    return await act_on(folder, act)()


@scene(refused=True, cut=False)
async def memory_is_full(folder: Path, factor: float) -> Verdict:
    async def act(stage: Stage) -> None:
        await stage.redis(stage.server.tell, "CONFIG", "SET", "maxmemory", "1")
        await stage.pass_time(0.5 * factor)
        await stage.redis(stage.server.tell, "CONFIG", "SET", "maxmemory", "0")

    return await act_on(folder, act)()


@scene()
async def one_worker_is_cut_off(folder: Path, factor: float) -> Verdict:
    return await _cut_off(folder, 3.0, history=1_000)


@scene(told=True)
async def one_worker_is_cut_off_and_redis_keeps_little(folder: Path, factor: float) -> Verdict:
    return await _cut_off(folder, 3.5, history=10)


async def _cut_off(folder: Path, seconds: float, history: int) -> Verdict:
    server = Server(folder / "redis", "--stream-node-max-entries", "10")
    with ExitStack() as ends:
        ends.callback(lambda: server.kill())
        async with Proxy(server.port) as proxy:

            async def act(stage: Stage) -> None:
                proxy.swallow()
                await stage.pass_time(seconds)
                proxy.carry()

            stage = Stage(
                folder,
                server,
                via=(server.url, proxy.url),
                history=history,
                settings={"repair_messages": history},
            )
            return await play(stage, act)


@scene()
async def a_replica_takes_over(folder: Path, factor: float) -> Verdict:
    return await _fail_over(folder, lags=False)


@scene(told=True)
async def a_replica_that_lags_takes_over(folder: Path, factor: float) -> Verdict:
    return await _fail_over(folder, lags=True)


async def _fail_over(folder: Path, *, lags: bool) -> Verdict:
    with ExitStack() as ends:
        server = Server(folder / "redis", "--repl-diskless-sync-delay", "0")
        ends.callback(lambda: server.kill())
        replica = Server(folder / "replica", "--replicaof", "127.0.0.1", str(server.port))
        ends.callback(lambda: replica.kill())
        until_synced(replica)
        async with Proxy(server.port) as proxy:

            async def act(stage: Stage) -> None:
                if lags:
                    await stage.redis(replica.tell, "REPLICAOF", "NO", "ONE")
                else:
                    stage.rate(0)
                await stage.pass_time(0.3)
                await stage.redis(server.kill)
                if not lags:
                    await stage.redis(replica.tell, "REPLICAOF", "NO", "ONE")
                proxy.lead_to(replica.port)
                stage.rate(100)

            return await play(Stage(folder, server, via=(proxy.url, proxy.url)), act)


@scene()
async def browsers_move_between_workers(folder: Path, factor: float) -> Verdict:
    async def act(stage: Stage) -> None:
        for number in range(int(60 * factor)):
            await random.choice(stage.browsers).leave()
            await stage.pass_time(0.03)
            if number % 20 == 10:
                await stage.redis(stage.server.cut)

    return await act_on(folder, act)()


@scene(cut=False)
async def a_worker_is_killed(folder: Path, factor: float) -> Verdict:
    async def act(stage: Stage) -> None:
        stage.workers[0].kill()
        await stage.pass_time(0.5)

    return await act_on(folder, act)()


@scene()
async def a_replica_comes_while_workers_come_and_go(folder: Path, factor: float) -> Verdict:
    """The first replica of a master changes what it calls its history, and nothing else."""
    with ExitStack() as ends:
        server = Server(folder / "redis", "--repl-diskless-sync-delay", "0")
        ends.callback(lambda: server.kill())
        async with Proxy(server.port) as proxy:

            async def act(stage: Stage) -> None:
                made = await asyncio.to_thread(
                    Server, folder / "replica", "--replicaof", "127.0.0.1", str(server.port)
                )
                ends.callback(lambda: made.kill())
                await stage.redis(until_synced, made)
                proxy.cut()  # one worker connects anew, the other one does not
                await stage.pass_time(1.0)

            return await play(Stage(folder, server, via=(server.url, proxy.url)), act)


@scene(told=True, cut=False)
async def keys_are_deleted(folder: Path, factor: float) -> Verdict:
    """As a Redis does that makes room by whatever it has."""

    async def act(stage: Stage) -> None:
        names = Names("scene")
        await stage.redis(stage.server.tell, "DEL", names.facts(room(0)), names.stream(room(1)))

    return await act_on(folder, act)()

"""Sentinel says who the master is: after a failover the worker goes on with the new one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.asyncio.sentinel import Sentinel

from stocksync_ws.backplane import Append, Appended, Connected, Item, Keep, Lost, Read
from stocksync_ws.position import Position
from stocksync_ws.redis import RedisBackplane
from stocksync_ws.redis.packing import Names
from tests.redis.servers import Server, until_said, until_synced
from tests.redis.test_link import Told

KEEP = Keep(100, 60.0)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[tuple[Server, Server, Server]]:
    """A master, its replica, and who watches them."""
    master = Server(tmp_path / "master", "--repl-diskless-sync-delay", "0")
    replica = Server(tmp_path / "replica", "--replicaof", "127.0.0.1", str(master.port))
    config = tmp_path / "sentinel.conf"
    config.write_text(
        f"sentinel monitor shop 127.0.0.1 {master.port} 1\n"
        "sentinel down-after-milliseconds shop 500\n"
        "sentinel failover-timeout shop 2000\n"
    )
    sentinel: Server | None = None
    try:
        until_synced(replica)
        sentinel = Server(tmp_path / "sentinel", config=config)
        yield master, replica, sentinel
    finally:
        for server in (master, replica, sentinel):
            if server is not None:
                server.kill()


async def append(link: object, told: Told, number: int, seen: Position | None) -> Position:
    since = len(told.events)
    item = Item("/topic/a", b"%d" % number, KEEP, seen)
    link.send([Append(number, (item,))])  # type: ignore[attr-defined]
    answer = await told.until(Appended, since)
    position: Position = answer.positions[0]
    return position


def test_a_worker_follows_the_master(watched: tuple[Server, Server, Server]) -> None:
    master, replica, sentinel = watched

    stream = Names("stocksync").stream("/topic/a")

    async def main() -> None:
        asked = Sentinel([("127.0.0.1", sentinel.port)])
        client = asked.master_for("shop")
        told = Told()
        link = RedisBackplane(redis=client, silence=0.5).open("w1", "", told)
        try:
            await told.until(Connected)
            seen = await append(link, told, 1, None)
            await asyncio.to_thread(until_said, sentinel, "SENTINEL REPLICAS shop", b"flags")
            await asyncio.to_thread(until_said, replica, f"XLEN {stream}", b":1")
            await asyncio.to_thread(master.kill)
            await told.until(Lost)
            await told.until(Connected, since=2)
            link.send([Read("/topic/a", 1, 1, seen)])
            after = await append(link, told, 2, seen)
            assert (after.epoch, after.offset) == (seen.epoch, 2), "it has all that was there"
            assert after.generation != seen.generation
            assert await asyncio.to_thread(replica.tell, "XLEN", stream) == 2
        finally:
            link.close()
            for each in (client, *asked.sentinels):
                await each.aclose()
            await asyncio.sleep(0)  # what is closed ends in the next turn

    asyncio.run(main())

"""Redis keeps the contract of an engine, and so does a cluster of it."""

from __future__ import annotations

import asyncio

import pytest

from stocksync_ws.redis import RedisBackplane
from tests.adapters.backplanes import CHECKS, RESTARTS, Check, Engine
from tests.redis.servers import Server


def engine_of(server: Server) -> Engine:
    """A server, and what can be done to it."""

    async def cut() -> None:
        await asyncio.to_thread(server.cut)

    async def save() -> None:
        await asyncio.to_thread(server.tell, "SAVE")

    async def restart(keeps: bool) -> None:
        def again() -> None:
            if keeps:
                server.tell("SAVE")
            server.kill()
            server.start()

        await asyncio.to_thread(again)

    return Engine(RedisBackplane(server.url), cut, save, restart)


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_redis_keeps_the_contract(check: Check, shared: Server) -> None:
    asyncio.run(check(engine_of(shared)))


@pytest.mark.parametrize("check", RESTARTS, ids=str)
def test_redis_keeps_the_contract_when_it_comes_back(check: Check, server: Server) -> None:
    asyncio.run(check(engine_of(server)))


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_a_node_of_a_cluster_keeps_the_contract(check: Check, one_node_cluster: Server) -> None:
    asyncio.run(check(engine_of(one_node_cluster)))


def cut_all(nodes: list[Server]) -> Engine:
    """A cluster, of which the first node is known."""

    async def cut() -> None:
        for node in nodes:
            await asyncio.to_thread(node.cut)

    return Engine(RedisBackplane(nodes[0].url), cut)


def test_three_nodes_of_a_cluster_keep_the_contract(cluster: list[Server]) -> None:
    async def main() -> None:
        for check in CHECKS:
            await check(cut_all(cluster))

    asyncio.run(main())
    used = [node.tell("DBSIZE") for node in cluster]
    assert all(isinstance(each, int) and each > 20 for each in used), used

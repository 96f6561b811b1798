from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.redis.servers import Server, in_cluster, until_formed


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of this test alone."""
    made = Server(tmp_path_factory.mktemp("redis"))
    yield made
    made.kill()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that nobody harms."""
    made = Server(tmp_path_factory.mktemp("redis"))
    yield made
    made.kill()


@pytest.fixture(scope="session")
def one_node_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One node that has all slots."""
    made = Server(tmp_path_factory.mktemp("cluster"), *in_cluster())
    try:
        made.tell("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        until_formed([made])
        yield made
    finally:
        made.kill()


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Three nodes that have a third of the slots each."""
    nodes = [Server(tmp_path_factory.mktemp("cluster"), *in_cluster()) for _ in range(3)]
    try:
        for number, node in enumerate(nodes):
            node.tell("CONFIG", "SET", "cluster-require-full-coverage", "no")
            begin, end = 16_384 * number // 3, 16_384 * (number + 1) // 3 - 1
            node.tell("CLUSTER", "ADDSLOTSRANGE", begin, end)
            node.tell("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in nodes[1:]:
            node.tell("CLUSTER", "MEET", "127.0.0.1", nodes[0].port, nodes[0].bus_port)
        until_formed(nodes)
        yield nodes
    finally:
        for node in nodes:
            node.kill()

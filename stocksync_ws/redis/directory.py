"""The addresses of the processes of Redis, found by way of what the application has given.

Rule: no I/O. The client library knows URLs, TLS, passwords, Sentinel and the nodes of a cluster;
what it was given is used to make connections, and connections of its own are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from stocksync_ws.redis.client import AsyncCluster, AsyncRedis, Redis, RedisCluster, key_slot
from stocksync_ws.redis.packing import PARTITIONS, Names

__all__ = ["Address", "Client", "Directory", "Place", "Source"]

Source: TypeAlias = "AsyncRedis | AsyncCluster"
"""A client that knows how to connect on an event loop."""
Client: TypeAlias = "Redis | RedisCluster"
"""A client that knows how to connect without one."""
Address: TypeAlias = tuple[str, int]
"""Host and port."""

HOST, PORT = "localhost", 6379


class Place(NamedTuple):
    """One process of Redis."""

    connect: Callable[[], Any]
    """Makes a connection object of the client library, which is not connected yet."""
    partitions: frozenset[int]
    """The partitions whose keys it holds."""


class Directory:
    """The processes of Redis that are known.

    Args:
        client: A client; what it was given is used.
        names: The names in Redis.
    """

    def __init__(self, client: Source | Client, names: Names) -> None:
        self._names = names
        self.is_cluster = isinstance(client, (AsyncCluster, RedisCluster))
        self._class, settings, nodes = _given(client)
        # Always of the protocol whose pushes are plain answers.
        self._settings = {**settings, "protocol": 2}
        self._nodes = nodes
        """Nodes of the cluster that were known last, any of which knows all others."""

    def whole(self) -> Place:
        """The one process that holds everything, where there is no cluster."""
        return Place(self._maker(None), frozenset(range(PARTITIONS)))

    def nodes(self) -> Iterator[tuple[Address, Callable[[], Any]]]:
        """The nodes to ask for the map of the cluster; one that does not answer is asked last the
        next time.
        """
        for node in list(self._nodes):
            self._nodes.remove(node)
            self._nodes.append(node)
            yield node, self._maker(node)

    def placed(self, ranges: Sequence[Any], asked: Address) -> list[Place]:
        """The processes that hold the keys of the partitions.

        Args:
            ranges: The answer to CLUSTER SLOTS.
            asked: The node that has answered.

        Raises:
            ConnectionError: There is none for one of them.
        """
        held: dict[Address, set[int]] = {}
        for partition in range(PARTITIONS):
            slot = key_slot(self._names.tag(partition).encode())
            where = next((each for each in ranges if each[0] <= slot <= each[1]), None)
            if where is None:
                raise ConnectionError(f"no node of the cluster has slot {slot}")
            host, port = where[2][:2]
            node = (host.decode() if host else asked[0], int(port))
            held.setdefault(node, set()).add(partition)
        others = (each for each in self._nodes if each not in held and each != asked)
        self._nodes = list(dict.fromkeys([asked, *held, *others]))
        return [Place(self._maker(node), frozenset(each)) for node, each in held.items()]

    def _maker(self, node: Address | None) -> Callable[[], Any]:
        settings = dict(self._settings)
        if node is not None:
            settings["host"], settings["port"] = node
        return lambda: self._class(**settings)


def _given(client: Any) -> tuple[Callable[..., Any], dict[str, Any], list[Address]]:
    """The recipe of a client for a connection: the class, its settings, and the nodes it knows."""
    if isinstance(client, AsyncCluster):
        nodes = list(client.nodes_manager.startup_nodes.values())
        return nodes[0].connection_class, nodes[0].connection_kwargs, _addresses(nodes)
    if isinstance(client, RedisCluster):
        manager: Any = client.nodes_manager
        nodes = list(manager.startup_nodes.values())
        first = manager.create_redis_node(nodes[0].host, nodes[0].port, **manager.connection_kwargs)
        pool = first.connection_pool
        return pool.connection_class, pool.connection_kwargs, _addresses(nodes)
    pool, settings = client.connection_pool, client.connection_pool.connection_kwargs
    node = settings.get("host", HOST), int(settings.get("port", PORT))
    return pool.connection_class, settings, [] if "path" in settings else [node]


def _addresses(nodes: Sequence[Any]) -> list[Address]:
    return [(each.host, int(each.port)) for each in nodes]

"""The facts that a process of Redis tells of itself.

Rule: pure. Which run of Redis it is, is told by the process, and by its reign: a text that it keeps
among its data, and that is another one whenever another process has kept it before. So a process
that was a replica and takes over again is another run, too.
"""

from __future__ import annotations

from typing import NamedTuple

from stocksync_ws.errors import ConfigurationError

__all__ = ["Facts", "check_version", "facts_of"]

OLDEST, OLDEST_CLUSTER = (6, 2), (7, 0)
"""The versions that are needed."""


class Facts(NamedTuple):
    """The answer to INFO."""

    process: str
    """The name of the process, another one after each start."""
    version: tuple[int, ...]
    is_cluster: bool
    evicts: str
    """The way in which it makes room when its memory is full; empty: it does not."""


def facts_of(answer: bytes | str) -> Facts:
    """Read the answer to INFO."""
    text = answer if isinstance(answer, str) else answer.decode()
    lines = (line.partition(":") for line in text.splitlines())
    info = {name: value.strip() for name, colon, value in lines if colon}
    version = tuple(int(part) for part in info.get("redis_version", "0").split(".")[:2])
    evicts = info.get("maxmemory_policy", "noeviction")
    bounded = info.get("maxmemory", "0") != "0"
    return Facts(
        info.get("run_id", ""),
        version,
        (info.get("redis_mode") or info.get("server_mode")) == "cluster",
        evicts if bounded and evicts != "noeviction" else "",
    )


def check_version(facts: Facts) -> None:
    """Check that it can do what is needed.

    Raises:
        ConfigurationError: It is too old.
    """
    oldest = OLDEST_CLUSTER if facts.is_cluster else OLDEST
    if facts.version < oldest:
        found, needed = (".".join(map(str, each)) for each in (facts.version, oldest))
        what = "a cluster of Redis" if facts.is_cluster else "Redis"
        raise ConfigurationError(f"{what} {found} is too old: {needed} or later is needed")

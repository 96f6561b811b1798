"""Redis or Valkey as the engine behind several workers.

Rule: settings, and nothing that is connected: an application is made before a server forks, and may
run on several loops one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from stocksync_ws.backplane import BackplaneEvent, BackplaneSettings
from stocksync_ws.errors import ConfigurationError
from stocksync_ws.redis.addresses import check_client, check_prefix, check_seconds
from stocksync_ws.redis.agreement import Agreement, Mismatch
from stocksync_ws.redis.client import AsyncCluster, AsyncRedis
from stocksync_ws.redis.connections import client_of
from stocksync_ws.redis.directory import Source
from stocksync_ws.redis.link import Link
from stocksync_ws.redis.packing import KNOWN_FOR, Names

__all__ = ["RedisBackplane"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RedisBackplane(BackplaneSettings):
    """Redis 6.2 or later, or Valkey, behind several workers; a cluster of 7.0 or later.

        ws = StompApp("/ws", backplane=RedisBackplane("redis://cache:6379/0", prefix="shop"))

    It connects when the application starts, and for ever again. While there is no connection the
    application serves, says so at its health check, and refuses what needs the engine.

    Raises:
        ConfigurationError: A value is out of its range, or the URL is none of Redis.
    """

    url: str = field(default="", repr=False, kw_only=False)
    """Such as `redis://cache:6379/0`, `rediss://` with TLS, `unix:///run/redis.sock`; of a cluster
    that of any of its nodes."""
    redis: Source | None = field(default=None, repr=False)
    """A client of `redis.asyncio` in place of the URL, for what no URL says: Sentinel, certificates
    of one's own, credentials that change. Its settings are used, and not its connections."""
    prefix: str = "stocksync"
    """The beginning of the names of all keys: workers with the same one are one application."""
    silence: float = 2.0
    """Seconds without an answer after which a connection is dead."""
    on_policy_mismatch: Mismatch = "error"
    """A worker whose policies differ from those of the others: `error` keeps it away from the
    engine with a ConfigurationError in the log, or at the start with `require_at_start`; `warn`
    lets it in with one WARNING, for a deploy that replaces workers one by one."""

    def __post_init__(self) -> None:
        BackplaneSettings.__post_init__(self)
        check_prefix("RedisBackplane.prefix", self.prefix)
        check_client("RedisBackplane", self.url, self.redis, AsyncRedis, AsyncCluster)
        check_seconds("RedisBackplane.silence", self.silence)
        if self.publish_timeout > KNOWN_FOR / 2:
            raise ConfigurationError(
                f"RedisBackplane.publish_timeout: at most {KNOWN_FOR / 2:g} seconds, since Redis"
                f" knows for {KNOWN_FOR} what a worker has sent, not {self.publish_timeout!r}"
            )
        if self.on_policy_mismatch not in ("error", "warn"):
            raise ConfigurationError(
                f"RedisBackplane.on_policy_mismatch: must be 'error' or 'warn', not"
                f" {self.on_policy_mismatch!r}"
            )

    @property
    def config(self) -> BackplaneSettings:
        """Times and bounds of a worker that waits for the engine."""
        return self

    def open(
        self, worker: str, agreement: str, receive: Callable[[Sequence[BackplaneEvent]], None]
    ) -> Link:
        """Begin to connect. See `Backplane`."""
        names = Names(self.prefix)
        agreed = Agreement(names, worker, agreement, self.on_policy_mismatch)
        client = self.redis or client_of(self.url)
        return Link(client, worker, names, agreed, self.silence, receive)

    def partition(self, channel: str) -> int:
        """One of 64: what is in one slot of a cluster."""
        return Names(self.prefix).partition(channel)

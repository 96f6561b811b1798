"""The packages of others that this one is built on.

Rule: nothing else here imports them, so that whoever has not installed them is told what to do.
"""

from __future__ import annotations

try:
    from hiredis import ProtocolError, Reader, ReplyError
    from redis import Redis, RedisCluster
    from redis.asyncio import Redis as AsyncRedis
    from redis.asyncio.cluster import RedisCluster as AsyncCluster
    from redis.backoff import NoBackoff
    from redis.crc import key_slot
    from redis.exceptions import RedisError
    from redis.retry import Retry
except ImportError as error:
    raise ImportError(
        f"stocksync_ws.redis needs the packages redis and hiredis ({error}):"
        f" pip install 'stocksync-ws[redis]'"
    ) from error


def once() -> Retry:
    """Connect, and never again by itself."""
    return Retry(NoBackoff(), 0)


__all__ = [
    "AsyncCluster",
    "AsyncRedis",
    "ProtocolError",
    "Reader",
    "Redis",
    "RedisCluster",
    "RedisError",
    "ReplyError",
    "key_slot",
    "once",
]

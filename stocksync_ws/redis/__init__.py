"""Redis or Valkey behind several workers, with the extra `redis`."""

from stocksync_ws.redis.async_publisher import AsyncPublisher
from stocksync_ws.redis.backplane import RedisBackplane
from stocksync_ws.redis.publisher import Publisher

__all__ = ["AsyncPublisher", "Publisher", "RedisBackplane"]

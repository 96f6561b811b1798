"""The stock of `examples/workers` in Redis: one for all of them, changed in one step by whoever
changes it.
"""

import os
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from redis import Redis

from shop import ITEMS, LOW, MOST, Adjustment, InventoryUpdate, InventoryUpdateError, StockItem

URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
PREFIX = "stocksync"
JOBS = "stocksync-jobs"
NAMES = {item.product_id: item.name for item in ITEMS}
FIRST = {item.product_id: item.quantity for item in ITEMS}

# The time is that of Redis, so that a page takes changes of two workers in their order. A Redis
# that has lost what it had has the first stock again.
ADJUST = """
local left = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or ARGV[4])
local quantity = left + tonumber(ARGV[2])
local time = redis.call('TIME')
local at = time[1] .. '.' .. string.format('%06d', time[2])
if quantity < 0 or quantity > tonumber(ARGV[3]) then return {left, -1, at} end
redis.call('HSET', KEYS[1], ARGV[1], quantity, ARGV[1] .. ':at', at)
return {left, quantity, at}
"""


class Stock:
    """Every worker and every task has one; they all show the same."""

    def __init__(self) -> None:
        kind: Any = Redis
        self._redis: Any = kind.from_url(URL, decode_responses=True)
        self._adjust = self._redis.register_script(ADJUST)

    def open(self) -> None:
        """Put the first stock there, unless there is one."""
        for item in ITEMS:
            if self._redis.hsetnx("stocksync-stock", item.product_id, item.quantity):
                at = item.updated_at.timestamp()
                self._redis.hset("stocksync-stock", f"{item.product_id}:at", at)

    def items(self) -> list[StockItem]:
        found: dict[str, str] = self._redis.hgetall("stocksync-stock")
        return [
            replace(
                item,
                quantity=int(found.get(item.product_id, item.quantity)),
                updated_at=time_of(found.get(f"{item.product_id}:at", "0")),
            )
            for item in ITEMS
        ]

    def adjust(self, product_id: str, adjustment: Adjustment, by: str) -> InventoryUpdate:
        """Change the quantity of a product; everybody will see that `by` made the change."""
        name = NAMES.get(product_id)
        if name is None:
            raise InventoryUpdateError(f"There is no product {product_id}.")
        given = product_id, adjustment.delta, MOST, FIRST[product_id]
        left, quantity, at = self._adjust(keys=["stocksync-stock"], args=given)
        if quantity < 0 < -adjustment.delta:
            raise InventoryUpdateError(f"Only {left} left of {name}.")
        if quantity < 0:
            raise InventoryUpdateError(f"There is room for {MOST:,} of {name}.")
        return InventoryUpdate(product_id, quantity, adjustment.urgent, by, time_of(at))

    def low(self) -> list[str]:
        return [item.product_id for item in self.items() if item.quantity <= LOW]

    def ask_for_delivery(self, by: str) -> None:
        """Leave a job for the process of `tasks.py`."""
        self._redis.rpush(JOBS, by)

    def next_job(self) -> str:
        """Wait for a job, two seconds at a time: after five the client library gives up."""
        while (found := self._redis.blpop([JOBS], timeout=2)) is None:
            pass
        return str(found[1])


def time_of(text: str) -> datetime:
    return datetime.fromtimestamp(float(text), UTC)

"""The stock of the example with several workers, where it waits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from redis import Connection, Redis

from tests.redis.servers import Server

SHARED = Path(__file__).parents[2] / "examples" / "shared"


def test_a_redis_that_has_lost_the_stock_has_the_first_one_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(SHARED)
    from shop import ITEMS, Adjustment  # type: ignore[import-not-found]
    from warehouse import Stock

    stock = Stock()
    stock._redis = Redis(port=server.port, decode_responses=True)
    stock._adjust.registered_client = stock._redis
    stock.open()
    server.tell("FLUSHALL")
    assert stock.adjust(ITEMS[0].product_id, Adjustment(1), "ann").quantity == ITEMS[0].quantity + 1


def test_a_task_that_has_nothing_to_do_waits_without_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A client of Redis gives up an answer that is late, and a job with it."""
    monkeypatch.syspath_prepend(SHARED)
    from warehouse import Stock  # type: ignore[import-not-found]

    patience = Connection().socket_timeout
    waits: list[float] = []

    class Slow(Redis):
        def blpop(self, keys: Sequence[str], timeout: float = 0) -> Any:
            waits.append(timeout)
            return ("jobs", "ann") if len(waits) == 3 else None

    stock = Stock()
    stock._redis = Slow()
    assert stock.next_job() == "ann"
    assert len(waits) == 3
    assert all(0 < each < (patience or 5) for each in waits)

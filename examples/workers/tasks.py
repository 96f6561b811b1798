"""A process that serves nothing, and publishes: `app.py` starts it.

Its jobs lie in a list of Redis, as those of Celery do. There it reads

    publisher = Publisher(URL, prefix=PREFIX)

    @shared_task
    def deliver(by): ...

and the publisher may be made in the module: each process of a pool connects for itself.
"""

import logging
import sys
import time
from pathlib import Path

from redis.exceptions import RedisError

from stocksync_ws.redis import Publisher

sys.path.append(str(Path(__file__).parents[1] / "shared"))

from shop import Adjustment
from warehouse import PREFIX, URL, Stock

log = logging.getLogger("tasks")
stock = Stock()
publisher = Publisher(URL, prefix=PREFIX)


def deliver(by: str) -> None:
    """20 more of everything that is low."""
    for product_id in stock.low():
        update = stock.adjust(product_id, Adjustment(20), by)
        told = publisher.convert_and_send("/topic/inventory", update)
        log.info("%s: +20 %s, pushed to workers: %d", by, product_id, told.workers)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    while True:
        try:
            deliver(stock.next_job())
        except RedisError as error:
            log.warning("Redis is away: %s", error)
            time.sleep(1)
        except Exception:
            log.exception("a delivery has failed")

"""The shop that the examples of frameworks share: products, who may log in, and how to start.

Nothing here knows a framework or a socket; a team has such a module already.
"""

import argparse
import hmac
import logging
import secrets
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

PAGE = Path(__file__).parent / "page"
LOW = 5
MOST = 1_000_000  # of one product
PASSWORDS = {"ann": "espresso", "bob": "espresso"}


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class StockItem:
    product_id: str
    name: str
    quantity: int
    updated_at: datetime = field(default_factory=now)


@dataclass(frozen=True)
class Adjustment:
    delta: int
    urgent: bool = False

    def __post_init__(self) -> None:
        # Whoever may send anything sends anything; a ValueError here is a ConversionError there.
        if abs(self.delta) > MOST:
            raise ValueError(f"At most {MOST:,} at a time.")


@dataclass(frozen=True)
class InventoryUpdate:
    product_id: str
    quantity: int
    urgent: bool
    by: str
    updated_at: datetime


@dataclass(frozen=True)
class InventoryErrorResponse:
    product_id: str
    message: str
    timestamp: datetime = field(default_factory=now)


@dataclass(frozen=True)
class Visitor:
    """Whoever connects without a login: the name is the server's and never the client's."""

    name: str = field(default_factory=lambda: f"visitor {secrets.token_hex(2)}")


class InventoryUpdateError(Exception):
    """The stock cannot be changed like this; the text is for the client."""


ITEMS = (
    StockItem("espresso-machine", "Espresso machine", 12),
    StockItem("grinder", "Coffee grinder", 30),
    StockItem("kettle", "Gooseneck kettle", 8),
    StockItem("scale", "Brewing scale", 4),
    StockItem("filter-papers", "Filter papers", 240),
    StockItem("travel-mug", "Travel mug", 57),
)


class Shop:
    """The stock in memory. Handlers change it on the event loop, HTTP routes from threads."""

    def __init__(self) -> None:
        self._items = {item.product_id: item for item in ITEMS}
        self._lock = Lock()

    def items(self) -> list[StockItem]:
        with self._lock:
            return list(self._items.values())

    def adjust(self, product_id: str, adjustment: Adjustment, by: str) -> InventoryUpdate:
        """Change the quantity of a product; everybody will see that `by` made the change."""
        with self._lock:
            item = self._items.get(product_id)
            if item is None:
                raise InventoryUpdateError(f"There is no product {product_id}.")
            quantity = item.quantity + adjustment.delta
            if quantity < 0:
                raise InventoryUpdateError(f"Only {item.quantity} left of {item.name}.")
            if quantity > MOST:
                raise InventoryUpdateError(f"There is room for {MOST:,} of {item.name}.")
            item = replace(item, quantity=quantity, updated_at=now())
            self._items[product_id] = item
        return InventoryUpdate(product_id, quantity, adjustment.urgent, by, item.updated_at)

    def restock(self, by: str) -> list[InventoryUpdate]:
        """A delivery: 20 more of everything that is low."""
        low = [item.product_id for item in self.items() if item.quantity <= LOW]
        return [self.adjust(product_id, Adjustment(20), by) for product_id in low]


def is_password(name: str, password: str) -> bool:
    """Of the two users of the examples; an application asks its database."""
    expected = PASSWORDS.get(name, "")
    return hmac.compare_digest(password.encode(), expected.encode()) and expected != ""


def arguments() -> argparse.Namespace:
    """`--host` and `--port`; it logs from here on, and SIGTERM ends it as Ctrl-C does."""
    parser = argparse.ArgumentParser(description="StockSync, a live stock table.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.info("StockSync: http://%s:%d/ (Ctrl-C stops it)", args.host, args.port)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    return args


def serve(app: Callable[[Any, Any, Any], Awaitable[None]]) -> None:
    """Serve an ASGI application with uvicorn, as `uvicorn app:app --port 8000` does."""
    import uvicorn

    args = arguments()
    # When uvicorn has stopped, it hands SIGTERM on to us.
    uvicorn.run(app, host=args.host, port=args.port, log_config=None)


def serve_wsgi(app: Callable[[Any, Any], Iterable[bytes]]) -> None:
    """Serve a WSGI application with Werkzeug, as `flask run --port 8000` does."""
    from werkzeug.serving import run_simple

    args = arguments()
    run_simple(args.host, args.port, app, threaded=True)

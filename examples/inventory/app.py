"""StockSync: every browser sees a stock change the moment it happens.

Run it with `python examples/inventory/app.py` and open http://127.0.0.1:8000/ in two windows.
"""

import argparse
import logging
import secrets
import sys
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from stocksync_ws import (
    ConnectRequest,
    ConversionError,
    CurrentUser,
    MessagingTemplate,
    SessionConnected,
    SessionDisconnected,
    StompApp,
    Stream,
    send_to,
    send_to_user,
)

log = logging.getLogger("inventory")
here = Path(__file__).parent
page = here.parent / "shared" / "page"  # the same for all examples


@dataclass(frozen=True)
class Visitor:
    """Whoever connects. Nobody logs in here, so the name is the server's and never the client's."""

    name: str


async def authenticate(request: ConnectRequest) -> Visitor:
    return Visitor(f"visitor {secrets.token_hex(2)}")


ws = StompApp(
    "/inventory-ws",
    sockjs=True,  # for browsers behind proxies that let no WebSocket through
    authenticator=authenticate,
    allowed_origins=["*"],
    # A page whose connection was cut for less than ten minutes misses nothing.
    destinations={"/topic/inventory/**": Stream(history=1_000, seconds=600)},
)
MOST = 1_000_000  # of one product


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
    timestamp: datetime


class InventoryUpdateError(Exception):
    """The stock cannot be changed like this; the text is for the client."""


ITEMS = [
    StockItem("espresso-machine", "Espresso machine", 12),
    StockItem("grinder", "Coffee grinder", 30),
    StockItem("kettle", "Gooseneck kettle", 8),
    StockItem("scale", "Brewing scale", 4),
    StockItem("filter-papers", "Filter papers", 240),
    StockItem("travel-mug", "Travel mug", 57),
]
stock = {item.product_id: item for item in ITEMS}


@ws.message_mapping("/inventory/{product_id}/adjust")
@send_to("/topic/inventory")
async def adjust(
    adjustment: Adjustment,
    product_id: str,
    visitor: CurrentUser[Visitor],
    template: MessagingTemplate,
) -> InventoryUpdate:
    item = stock.get(product_id)
    if item is None:
        raise InventoryUpdateError(f"There is no product {product_id}.")
    quantity = item.quantity + adjustment.delta
    if quantity < 0:
        raise InventoryUpdateError(f"Only {item.quantity} left of {item.name}.")
    if quantity > MOST:
        raise InventoryUpdateError(f"There is room for {MOST:,} of {item.name}.")
    item = stock[product_id] = replace(item, quantity=quantity, updated_at=now())
    update = InventoryUpdate(product_id, quantity, adjustment.urgent, visitor.name, item.updated_at)
    if adjustment.urgent:
        template.convert_and_send("/topic/inventory/urgent", update)
    return update


@ws.subscribe_mapping("/inventory")
async def current_stock() -> list[StockItem]:
    return list(stock.values())


@ws.message_exception_handler(InventoryUpdateError, ConversionError)
@send_to_user("/queue/errors", broadcast=False)
async def on_error(error: Exception, product_id: str) -> InventoryErrorResponse:
    return InventoryErrorResponse(product_id, str(error), now())


@ws.event_listener(SessionConnected)
def log_connect(event: SessionConnected) -> None:
    log.info("client connected: session %s", event.session_id)


@ws.event_listener(SessionDisconnected)
def log_disconnect(event: SessionDisconnected) -> None:
    log.info("client disconnected: session %s (%s)", event.session_id, event.reason)


def main() -> None:
    parser = argparse.ArgumentParser(description="StockSync, a live stock table.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    pages = {f"/{file.name}": file for file in (*page.iterdir(), here / "page.json")}
    log.info("StockSync: http://%s:%d/ (Ctrl-C stops it)", args.host, args.port)
    try:
        ws.run(args.host, args.port, pages={"/": page / "index.html", **pages})
    except OSError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

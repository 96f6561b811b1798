"""StockSync in a plain script: tills sell, a delivery comes, each in a thread of its own, and the
server is one more thread.

    python -m pip install . && python examples/threads/script.py

Then open http://127.0.0.1:8000/ in two windows.
"""

import logging
import sys
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

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

sys.path.append(str(Path(__file__).parents[1] / "shared"))

from shop import (
    PAGE,
    Adjustment,
    InventoryErrorResponse,
    InventoryUpdate,
    InventoryUpdateError,
    Shop,
    StockItem,
    Visitor,
    arguments,
)

log = logging.getLogger("inventory")
shop = Shop()


def authenticate(request: ConnectRequest) -> Visitor:
    return Visitor()  # nobody logs in here


ws = StompApp(
    "/inventory-ws",
    sockjs=True,  # for browsers behind proxies that let no WebSocket through
    authenticator=authenticate,
    # A page whose connection was cut for less than ten minutes misses nothing.
    destinations={"/topic/inventory/**": Stream(history=1_000, seconds=600)},
)

# ---- over the WebSocket: a `def` runs in a thread of a pool


@ws.message_mapping("/inventory/{product_id}/adjust")
@send_to("/topic/inventory")
def adjust(
    adjustment: Adjustment,
    product_id: str,
    visitor: CurrentUser[Visitor],
    template: MessagingTemplate,
) -> InventoryUpdate:
    update = shop.adjust(product_id, adjustment, visitor.name)
    log.info("a page: %+d %s", adjustment.delta, product_id)
    if update.urgent:
        template.convert_and_send("/topic/inventory/urgent", update)
    return update


@ws.subscribe_mapping("/inventory")
def current_stock() -> list[StockItem]:
    return shop.items()


@ws.message_exception_handler(InventoryUpdateError, ConversionError)
@send_to_user("/queue/errors", broadcast=False)
def on_error(error: Exception, product_id: str) -> InventoryErrorResponse:
    return InventoryErrorResponse(product_id, str(error))


@ws.event_listener(SessionConnected)
def log_connect(event: SessionConnected) -> None:
    log.info("client connected: session %s", event.session_id)


@ws.event_listener(SessionDisconnected)
def log_disconnect(event: SessionDisconnected) -> None:
    log.info("client disconnected: session %s (%s)", event.session_id, event.reason)


# ---- the threads of the script

TILLS = {"filter-papers": 2.0, "travel-mug": 3.0, "grinder": 5.0}
"""How often each sells one, in seconds."""


def sell(product_id: str, seconds: float, closed: Event) -> None:
    """Publishing never waits."""
    while not closed.wait(seconds):
        with suppress(InventoryUpdateError):  # sold out
            update = shop.adjust(product_id, Adjustment(-1), "a till")
            ws.template.convert_and_send("/topic/inventory", update)


def deliver(seconds: float, closed: Event) -> None:
    """Who wants to know how many were told waits for that."""
    while not closed.wait(seconds):
        for update in shop.restock("a delivery"):
            published = ws.template.publish_wait("/topic/inventory", update)
            log.info("delivered %s, told to %d", update.product_id, published.receivers)


def main() -> None:
    args = arguments()
    pages = {f"/{file.name}": file for file in PAGE.iterdir()}
    pages |= {"/": PAGE / "index.html", "/page.json": Path(__file__).with_name("page.json")}
    closed = Event()
    threads = [Thread(target=sell, args=(*till, closed)) for till in TILLS.items()]
    threads.append(Thread(target=deliver, args=(4.0, closed)))
    with (
        suppress(KeyboardInterrupt),
        ws.serve_in_thread(args.host, args.port, pages=pages),
    ):
        for thread in threads:
            thread.start()
        try:
            closed.wait()  # The main thread has nothing to do; yours may.
        finally:
            closed.set()
            for thread in threads:
                thread.join()


if __name__ == "__main__":
    main()

# %% [markdown]
# # StockSync in a notebook
#
# Run it cell by cell: VS Code, Spyder and PyCharm take this file as it is, `jupytext --to ipynb`
# makes a notebook of it. It needs nothing but this library (`python -m pip install .`).

# %% The stock, and what a page may do with it
import os
import sys
from pathlib import Path

from stocksync_ws import (
    ConnectRequest,
    CurrentUser,
    SessionConnected,
    SessionDisconnected,
    StompApp,
    send_to,
    send_to_user,
)

HERE = Path(__file__).parent if "__file__" in globals() else Path.cwd()
sys.path.append(str(HERE.parent / "shared"))

from shop import (
    PAGE,
    Adjustment,
    InventoryErrorResponse,
    InventoryUpdate,
    InventoryUpdateError,
    Shop,
    StockItem,
    Visitor,
)

PORT = int(os.environ.get("PORT", "8000"))
pages = {f"/{file.name}": file for file in PAGE.iterdir()} | {"/": PAGE / "index.html"}
pages["/page.json"] = HERE / "page.json"
shop = Shop()
online: set[str] = set()


def authenticate(request: ConnectRequest) -> Visitor:
    return Visitor()  # nobody logs in here


ws = StompApp("/inventory-ws", sockjs=True, authenticator=authenticate)


@ws.message_mapping("/inventory/{product_id}/adjust")
@send_to("/topic/inventory")
def adjust(
    adjustment: Adjustment, product_id: str, visitor: CurrentUser[Visitor]
) -> InventoryUpdate:
    update = shop.adjust(product_id, adjustment, visitor.name)
    if update.urgent:
        ws.template.convert_and_send("/topic/inventory/urgent", update)
    return update


@ws.subscribe_mapping("/inventory")
def current_stock() -> list[StockItem]:
    return shop.items()


@ws.message_exception_handler(InventoryUpdateError)
@send_to_user("/queue/errors", broadcast=False)
def on_error(error: Exception, product_id: str) -> InventoryErrorResponse:
    return InventoryErrorResponse(product_id, str(error))


@ws.event_listener(SessionConnected)
def joined(event: SessionConnected) -> None:
    online.add(event.session_id)


@ws.event_listener(SessionDisconnected)
def left(event: SessionDisconnected) -> None:
    online.discard(event.session_id)


# %% Start: it listens when the cell has run; open the page in two windows
server = ws.serve_in_thread(port=PORT, pages=pages)
print(f"http://127.0.0.1:{server.port}/")

# %% Look: who is there, and what the pages have changed
print(f"{len(online)} online")
for item in shop.items():
    print(f"{item.quantity:4} {item.name}")

# %% Publish: every window shows it
ws.template.convert_and_send(
    "/topic/inventory", shop.adjust("kettle", Adjustment(+10), "the notebook")
)

# %% Stop: the pages are told, and try to come back
server.stop()
print(f"{len(online)} online")

# %% Start again, on the same port: they are back, and the stock is what it was
server = ws.serve_in_thread(port=PORT, pages=pages)

# %% The end. A kernel that is shut down or restarted does this by itself
server.stop()

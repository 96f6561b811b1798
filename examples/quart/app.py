"""StockSync in a Quart application: its session, and a background task that publishes.

    python -m pip install . quart uvicorn && python examples/quart/app.py

Then open http://127.0.0.1:8000/ in two windows.
"""

import logging
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path

from quart import Quart, Response, abort, request, session

from stocksync_ws import (
    ConversionError,
    CurrentUser,
    HttpRequest,
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
    is_password,
    serve,
)

log = logging.getLogger("inventory")
shop = Shop()


@dataclass(frozen=True)
class User:
    name: str


# ---- who is it: the session of Quart is there at CONNECT


async def authenticate(request: HttpRequest) -> User | None:
    name = request.session.get("user")
    return User(name) if name else None  # to look is free


# ---- over the WebSocket

ws = StompApp(
    "/inventory-ws",
    sockjs=True,  # for browsers behind proxies that let no WebSocket through
    handshake_authenticator=authenticate,
    # A page whose connection was cut for less than ten minutes misses nothing.
    destinations={"/topic/inventory/**": Stream(history=1_000, seconds=600)},
)


@ws.message_mapping("/inventory/{product_id}/adjust")
@send_to("/topic/inventory")
async def adjust(
    adjustment: Adjustment, product_id: str, user: CurrentUser[User], template: MessagingTemplate
) -> InventoryUpdate:
    update = shop.adjust(product_id, adjustment, user.name)
    log.info("%s: %+d %s", user.name, adjustment.delta, product_id)
    if update.urgent:
        template.convert_and_send("/topic/inventory/urgent", update)
    return update


@ws.subscribe_mapping("/inventory")
async def current_stock() -> list[StockItem]:
    return shop.items()


@ws.message_exception_handler(InventoryUpdateError, ConversionError)
@send_to_user("/queue/errors", broadcast=False)
async def on_error(error: Exception, product_id: str) -> InventoryErrorResponse:
    return InventoryErrorResponse(product_id, str(error))


@ws.event_listener(SessionConnected)
async def log_connect(event: SessionConnected) -> None:
    log.info("client connected: session %s", event.session_id)


@ws.event_listener(SessionDisconnected)
async def log_disconnect(event: SessionDisconnected) -> None:
    log.info("client disconnected: session %s (%s)", event.session_id, event.reason)


# ---- over HTTP

app = Quart(__name__, static_folder=str(PAGE), static_url_path="")
# A key made here lets nobody stay logged in over a restart; keep yours in a secret place.
app.secret_key = secrets.token_hex()
app.config["SESSION_COOKIE_SAMESITE"] = "Lax"


@app.get("/")
async def index() -> Response:
    return await app.send_static_file("index.html")


@app.get("/page.json")
async def page() -> dict[str, str]:
    paths = {"login": "/login", "logout": "/logout", "restock": "/restock"}
    return {"server": "Quart", "stock": "memory", **paths}


@app.post("/login")
async def login() -> dict[str, str]:
    form = await request.form
    name = form.get("username", "")
    if not is_password(name, form.get("password", "")):
        abort(400)
    session["user"] = name
    return {"user": name}


@app.post("/logout")
async def logout() -> dict[str, str]:
    session.clear()
    return {}


@app.post("/restock")
async def restock() -> tuple[dict[str, str], int]:
    if "user" not in session:
        abort(401)
    app.add_background_task(take_delivery, session["user"])
    return {}, 202


def take_delivery(name: str) -> None:
    """Runs in a thread, beside the answer; the template may be used in any thread."""
    for update in shop.restock(name):
        log.info("%s: restocked %s", name, update.product_id)
        ws.template.convert_and_send("/topic/inventory", update)


ws.install(app)

if __name__ == "__main__":
    serve(app)

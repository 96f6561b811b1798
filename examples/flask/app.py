"""StockSync in a Flask application: the login in its session cookie, and a route that publishes.

    python -m pip install . flask && python examples/flask/app.py

Then open http://127.0.0.1:8000/ in two windows. `../README.md` has the command for gunicorn.
"""

import logging
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path

from flask import Flask, abort, request, session
from flask.typing import ResponseReturnValue

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
    serve_wsgi,
)

log = logging.getLogger("inventory")
shop = Shop()

app = Flask(__name__, static_folder=PAGE, static_url_path="")
# A key made here lets nobody stay logged in over a restart; keep yours in a secret place.
app.secret_key = secrets.token_hex()
app.config["SESSION_COOKIE_SAMESITE"] = "Lax"


@dataclass(frozen=True)
class User:
    name: str


# ---- who is it: Flask's session of the request that opens the WebSocket


def authenticate(upgrade: HttpRequest) -> User | None:
    """Runs in a thread, as every `def` does, within the request as Flask sees it."""
    with app.request_context(dict(upgrade.scope or {})):
        name = session.get("user")
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
def adjust(
    adjustment: Adjustment, product_id: str, user: CurrentUser[User], template: MessagingTemplate
) -> InventoryUpdate:
    update = shop.adjust(product_id, adjustment, user.name)
    log.info("%s: %+d %s", user.name, adjustment.delta, product_id)
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


# ---- over HTTP


@app.get("/")
def index() -> ResponseReturnValue:
    return app.send_static_file("index.html")


@app.get("/page.json")
def page() -> ResponseReturnValue:
    paths = {"login": "/login", "logout": "/logout", "restock": "/restock"}
    return {"server": "Flask", "stock": "memory", **paths}


@app.post("/login")
def login() -> ResponseReturnValue:
    name = request.form.get("username", "")
    if not is_password(name, request.form.get("password", "")):
        return {"detail": "unknown name or wrong password"}, 400
    session["user"] = name
    return {"user": name}


@app.post("/logout")
def logout() -> ResponseReturnValue:
    session.clear()
    return {}


@app.post("/restock")
def restock() -> ResponseReturnValue:
    if "user" not in session:
        abort(401)
    updates = shop.restock(session["user"])
    for update in updates:
        log.info("%s: restocked %s", session["user"], update.product_id)
        ws.template.convert_and_send("/topic/inventory", update)
    return {"restocked": len(updates)}


app.wsgi_app = ws.wrap_wsgi(app.wsgi_app)  # type: ignore[assignment, method-assign]

if __name__ == "__main__":
    serve_wsgi(app)

"""StockSync in a Starlette application: sessions and an authentication backend of its own, and a
background task that publishes.

    python -m pip install . starlette itsdangerous uvicorn && python examples/starlette/app.py

Then open http://127.0.0.1:8000/ in two windows.
"""

import logging
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    BaseUser,
    SimpleUser,
    requires,
)
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

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


# ---- who is it: what the middleware has found out is there at CONNECT


class SessionBackend(AuthenticationBackend):
    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        name = conn.session.get("user")
        return (AuthCredentials(["authenticated"]), SimpleUser(name)) if name else None


async def authenticate(request: HttpRequest) -> User | None:
    user: BaseUser = request.user
    return User(user.display_name) if user.is_authenticated else None  # to look is free


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


async def page(request: Request) -> Response:
    paths = {"login": "/login", "logout": "/logout", "restock": "/restock"}
    return JSONResponse({"server": "Starlette", "stock": "memory", **paths})


async def login(request: Request) -> Response:
    form = dict(parse_qsl((await request.body()).decode()))  # form() needs python-multipart
    name = form.get("username", "")
    if not is_password(name, form.get("password", "")):
        return JSONResponse({"detail": "unknown name or wrong password"}, 400)
    request.session["user"] = name
    return JSONResponse({"user": name})


async def logout(request: Request) -> Response:
    request.session.clear()
    return JSONResponse({})


@requires("authenticated")
async def restock(request: Request) -> Response:
    task = BackgroundTask(take_delivery, request.user.display_name)
    return JSONResponse({}, 202, background=task)


def take_delivery(name: str) -> None:
    """Runs in a thread, after the answer; the template may be used in any thread."""
    for update in shop.restock(name):
        log.info("%s: restocked %s", name, update.product_id)
        ws.template.convert_and_send("/topic/inventory", update)


app = Starlette(
    routes=[
        Route("/page.json", page),
        Route("/login", login, methods=["POST"]),
        Route("/logout", logout, methods=["POST"]),
        Route("/restock", restock, methods=["POST"]),
        Mount("/", StaticFiles(directory=PAGE, html=True)),
    ],
    middleware=[
        # A key made here lets nobody stay logged in over a restart; keep yours in a secret place.
        Middleware(SessionMiddleware, secret_key=secrets.token_hex()),
        Middleware(AuthenticationMiddleware, backend=SessionBackend()),
    ],
)
ws.install(app)

if __name__ == "__main__":
    serve(app)

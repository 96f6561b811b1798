"""StockSync in a Litestar application: its sessions, an authentication middleware, and a sync
handler that publishes.

    python -m pip install . litestar uvicorn && python examples/litestar/app.py

Then open http://127.0.0.1:8000/ in two windows; the routes are documented at /schema.
"""

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from litestar import Litestar, Request, get, post
from litestar.connection import ASGIConnection
from litestar.enums import RequestEncodingType
from litestar.exceptions import ClientException, NotAuthorizedException
from litestar.handlers import BaseRouteHandler
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.middleware.session.server_side import ServerSideSessionConfig
from litestar.params import Body
from litestar.static_files import create_static_files_router

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


class SessionUser(AbstractAuthenticationMiddleware):
    async def authenticate_request(
        self, connection: ASGIConnection[Any, Any, Any, Any]
    ) -> AuthenticationResult:
        name = connection.session.get("user")
        return AuthenticationResult(user=User(name) if name else None, auth=None)


async def authenticate(request: HttpRequest) -> User | None:
    user: User | None = request.user
    return user  # None: to look is free


def needs_login(
    connection: ASGIConnection[Any, User | None, Any, Any], handler: BaseRouteHandler
) -> None:
    if connection.user is None:
        raise NotAuthorizedException("log in to change the stock")


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


@dataclass
class Login:
    username: str
    password: str


@get("/page.json")
async def page() -> dict[str, str]:
    paths = {"login": "/login", "logout": "/logout", "restock": "/restock"}
    return {"server": "Litestar", "stock": "memory", **paths}


@post("/login", status_code=200)
async def login(
    data: Annotated[Login, Body(media_type=RequestEncodingType.URL_ENCODED)],
    request: Request[User | None, None, Any],
) -> dict[str, str]:
    if not is_password(data.username, data.password):
        raise ClientException("unknown name or wrong password")
    request.set_session({"user": data.username})
    return {"user": data.username}


@post("/logout", status_code=200)
async def logout(request: Request[User | None, None, Any]) -> dict[str, str]:
    request.clear_session()
    return {}


@post("/restock", guards=[needs_login], sync_to_thread=True)
def restock(request: Request[User, None, Any]) -> dict[str, int]:
    """Runs in a thread; the template may be used in any thread."""
    updates = shop.restock(request.user.name)
    for update in updates:
        log.info("%s: restocked %s", request.user.name, update.product_id)
        ws.template.convert_and_send("/topic/inventory", update)
    return {"restocked": len(updates)}


app = Litestar(
    [
        page,
        login,
        logout,
        restock,
        create_static_files_router("/", [PAGE], html_mode=True),
    ],
    middleware=[ServerSideSessionConfig().middleware, SessionUser],
)
ws.install(app)

if __name__ == "__main__":
    serve(app)

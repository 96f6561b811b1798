"""StockSync in a FastAPI application: a bearer token, and a background task that publishes.

    python -m pip install . fastapi uvicorn && python examples/fastapi/app.py

Then open http://127.0.0.1:8000/ in two windows; the routes are documented at /docs.
"""

import hmac
import logging
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request
from fastapi.security import OAuth2PasswordBearer
from fastapi.staticfiles import StaticFiles

from stocksync_ws import (
    BadCredentials,
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
    is_password,
    serve,
)

log = logging.getLogger("inventory")
shop = Shop()


@dataclass(frozen=True)
class User:
    name: str


# ---- who is it: the token of the HTTP routes is the passcode of CONNECT

tokens: dict[str, User] = {}


def user_of(token: str) -> User | None:
    """Compared with every token, so that a guess learns nothing from the time it takes."""
    found = None
    for known, user in tokens.items():
        if hmac.compare_digest(known.encode(), token.encode()):
            found = user
    return found


async def authenticate(request: ConnectRequest) -> User | None:
    if not request.passcode:
        return None  # to look is free
    user = user_of(request.passcode)
    if user is None:
        raise BadCredentials("unknown token")
    return user


async def current_user(token: Annotated[str, Depends(OAuth2PasswordBearer("/login"))]) -> User:
    user = user_of(token)
    if user is None:
        raise HTTPException(401, "unknown token", {"WWW-Authenticate": "Bearer"})
    return user


# ---- over the WebSocket

ws = StompApp(
    "/inventory-ws",
    sockjs=True,  # for browsers behind proxies that let no WebSocket through
    authenticator=authenticate,
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

app = FastAPI(title="StockSync")


@app.get("/page.json")
async def page() -> dict[str, str]:
    return {"server": "FastAPI", "stock": "memory", "login": "/login", "restock": "/restock"}


@app.post("/login")
async def login(request: Request) -> dict[str, str]:
    # Depends(OAuth2PasswordRequestForm) reads the same form, but needs python-multipart.
    form = dict(parse_qsl((await request.body()).decode()))
    name = form.get("username", "")
    if not is_password(name, form.get("password", "")):
        raise HTTPException(400, "unknown name or wrong password")
    token = secrets.token_urlsafe()
    tokens[token] = User(name)
    return {"access_token": token, "token_type": "bearer"}


@app.post("/restock", status_code=202)
async def restock(user: Annotated[User, Depends(current_user)], tasks: BackgroundTasks) -> None:
    tasks.add_task(take_delivery, user)


def take_delivery(user: User) -> None:
    """Runs in a thread, after the answer; the template may be used in any thread."""
    for update in shop.restock(user.name):
        log.info("%s: restocked %s", user.name, update.product_id)
        ws.template.convert_and_send("/topic/inventory", update)


app.mount("/", StaticFiles(directory=PAGE, html=True))
ws.install(app)

if __name__ == "__main__":
    serve(app)

"""What goes over the WebSocket, and how the stock is changed, from there and from the views."""

import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.contrib.sessions.backends.db import SessionStore
from django.db import close_old_connections, transaction
from django.http import HttpRequest as DjangoRequest

from shop import (
    MOST,
    Adjustment,
    InventoryErrorResponse,
    InventoryUpdate,
    InventoryUpdateError,
    StockItem,
)
from stock.models import Product
from stocksync_ws import (
    ConversionError,
    CurrentUser,
    HttpRequest,
    SessionConnected,
    SessionDisconnected,
    StompApp,
    Stream,
    send_to_user,
)

log = logging.getLogger("inventory")


@dataclass(frozen=True)
class Clerk:
    """A user of Django has no `name`; this is what the handlers see."""

    name: str


def authenticate(request: HttpRequest) -> Clerk | None:
    user = request.user  # under ASGI that of the cookie that came along, loaded already
    if user is None:
        user = user_of(request.cookies)
    return Clerk(user.get_username()) if user.is_authenticated else None  # to look is free


def user_of(cookies: Mapping[str, str]) -> AbstractBaseUser | AnonymousUser:
    """Under WSGI nobody has looked at the cookie; this is what Django's middleware does with it."""
    request = DjangoRequest()
    with database():
        request.session = SessionStore(cookies.get(settings.SESSION_COOKIE_NAME))
        return get_user(request)


ws = StompApp(
    "/inventory-ws",
    sockjs=True,  # for browsers behind proxies that let no WebSocket through
    handshake_authenticator=authenticate,
    # A page whose connection was cut for less than ten minutes misses nothing.
    destinations={"/topic/inventory/**": Stream(history=1_000, seconds=600)},
)


@contextmanager
def database() -> Generator[None]:
    """For code outside of a request: nobody else closes the connections of its thread."""
    close_old_connections()
    try:
        yield
    finally:
        close_old_connections()


@transaction.atomic
def change(product_id: str, adjustment: Adjustment, by: str) -> None:
    """Change the stock; everybody is told when that is committed, and nobody if it is not."""
    product = Product.objects.select_for_update().filter(pk=product_id).first()
    if product is None:
        raise InventoryUpdateError(f"There is no product {product_id}.")
    if product.quantity + adjustment.delta < 0:
        raise InventoryUpdateError(f"Only {product.quantity} left of {product.name}.")
    if product.quantity + adjustment.delta > MOST:
        raise InventoryUpdateError(f"There is room for {MOST:,} of {product.name}.")
    product.quantity += adjustment.delta
    product.save()
    update = InventoryUpdate(
        product_id, product.quantity, adjustment.urgent, by, product.updated_at
    )
    transaction.on_commit(partial(publish, update))


def publish(update: InventoryUpdate) -> None:
    ws.template.convert_and_send("/topic/inventory", update)
    if update.urgent:
        ws.template.convert_and_send("/topic/inventory/urgent", update)


# A handler that is no `async def` runs in a thread and may use the database.
@ws.message_mapping("/inventory/{product_id}/adjust")
def adjust(adjustment: Adjustment, product_id: str, user: CurrentUser[Clerk]) -> None:
    with database():
        change(product_id, adjustment, user.name)
    log.info("%s: %+d %s", user.name, adjustment.delta, product_id)


@ws.subscribe_mapping("/inventory")
def current_stock() -> list[StockItem]:
    with database():
        return [
            StockItem(each.product_id, each.name, each.quantity, each.updated_at)
            for each in Product.objects.all()
        ]


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

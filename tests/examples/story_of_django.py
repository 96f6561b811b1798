"""The story of the Django example with Django's test client, for a process of its own."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "django"))

from asgiref.testing import ApplicationCommunicator
from django.db import transaction
from django.test import Client

import app as example  # It sets Django up.
from shop import Adjustment
from stock.messaging import change
from stock.models import Product
from tests.examples.stomp import ADJUST, async_until, opening

ANN = {"username": "ann", "password": "espresso"}
HOST = {"SERVER_NAME": "localhost"}
PATIENCE = 10


class Socket:
    """A WebSocket of the example, without a server."""

    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        scope = {
            "type": "websocket",
            "scheme": "ws",
            "path": "/inventory-ws",
            "query_string": b"",
            "headers": headers,
            "subprotocols": [],
        }
        self._host = ApplicationCommunicator(example.app, scope)

    async def connect(self) -> bool:
        await self._host.send_input({"type": "websocket.connect"})
        answer = await self._host.receive_output(PATIENCE)
        return bool(answer["type"] == "websocket.accept")

    async def send(self, text: str) -> None:
        await self._host.send_input({"type": "websocket.receive", "text": text})

    async def receive(self) -> str:
        return str((await self._host.receive_output(PATIENCE))["text"])

    async def disconnect(self) -> None:
        await self._host.send_input({"type": "websocket.disconnect", "code": 1000})
        await self._host.wait(PATIENCE)


def client() -> Client:
    """One that has got its CSRF token, as the page does."""
    made = Client(enforce_csrf_checks=True, **HOST)
    made.get("/page.json")
    return made


def post(client: Client, path: str, data: dict[str, str] | None = None) -> int:
    token = client.cookies["csrftoken"].value
    return int(client.post(path, data, headers={"x-csrftoken": token}).status_code)


def fail_after_a_change() -> None:
    with suppress(ZeroDivisionError), transaction.atomic():
        change("kettle", Adjustment(100), "ann")
        raise ZeroDivisionError


async def connect(client: Client) -> tuple[Socket, str]:
    cookies = "; ".join(f"{name}={each.value}" for name, each in client.cookies.items())
    headers = [(b"host", b"localhost"), (b"cookie", cookies.encode())]
    socket = Socket(headers)
    assert await socket.connect()
    await socket.send(opening())
    connected = await async_until(socket.receive, "CONNECTED")
    await async_until(socket.receive, "RECEIPT")
    return socket, connected


def logged_in() -> Client:
    ann = client()
    assert ann.post("/login", ANN).status_code == 403, "without the CSRF token"
    assert post(ann, "/login", ANN | {"password": "tea"}) == 400
    assert post(ann, "/login", ANN) == 200
    return ann


async def story(stranger: Client, ann: Client) -> None:
    there, connected = await connect(stranger)
    assert "user-name" not in connected
    here, connected = await connect(ann)
    assert "\nuser-name:ann\n" in connected

    await there.send(ADJUST)
    assert '"code":"send-denied"' in await async_until(there.receive, "MESSAGE")
    await here.send(ADJUST)
    for socket in (there, here):
        assert '"product_id":"kettle","quantity":9' in await async_until(socket.receive, "MESSAGE")

    await asyncio.to_thread(fail_after_a_change)
    assert await asyncio.to_thread(post, ann, "/restock") == 200
    for socket in (there, here):  # What was rolled back was told to nobody.
        assert '"product_id":"scale","quantity":24' in await async_until(socket.receive, "MESSAGE")
    assert await asyncio.to_thread(lambda: Product.objects.get(pk="kettle").quantity) == 9
    for socket in (there, here):
        await socket.disconnect()


if __name__ == "__main__":
    example.prepare()
    stranger, ann = client(), logged_in()
    assert post(stranger, "/restock") == 401
    asyncio.run(story(stranger, ann))
    print("told")

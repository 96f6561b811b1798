"""Who an upgrade is, over real sockets of the server."""

from __future__ import annotations

import asyncio
import base64
import time
from dataclasses import dataclass

import pytest
from carriers.client import connect_frame

from stocksync_ws import Authenticated, BadCredentials, HttpRequest, StompApp
from stocksync_ws.aio.address import Address
from stocksync_ws.aio.server import Server
from stocksync_ws.running.run import Run

PATIENCE = 10.0


@dataclass(frozen=True)
class User:
    name: str


def in_a_thread(request: HttpRequest) -> Authenticated[User] | None:
    time.sleep(0.01)
    return judge(request)


async def on_the_loop(request: HttpRequest) -> Authenticated[User] | None:
    await asyncio.sleep(0.01)
    return judge(request)


def judge(request: HttpRequest) -> Authenticated[User] | None:
    name = request.cookies.get("name")
    if name == "eve":
        raise BadCredentials("not eve")
    return None if name is None else Authenticated(User(name), expires_in=0.5)


def upgrade(cookie: str) -> bytes:
    key = base64.b64encode(bytes(16)).decode()
    return (
        f"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{cookie}\r\n"
    ).encode()


async def payload(reader: asyncio.StreamReader) -> bytes:
    """Of the next WebSocket frame of a server."""
    _, length = await reader.readexactly(2)
    if length == 126:
        length = int.from_bytes(await reader.readexactly(2))
    return await reader.readexactly(length)


@pytest.mark.parametrize("authenticator", [in_a_thread, on_the_loop])
def test_the_cookie_says_who_it_is_and_for_how_long(authenticator: object) -> None:
    app = StompApp("/ws", handshake_authenticator=authenticator)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    async def main() -> None:
        async with Server(Run(app), app.site(), Address("127.0.0.1", 0)) as server:
            port = server.ports[0]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            # CONNECT comes behind the head, long before the verdict.
            writer.write(upgrade("Cookie: name=ann\r\n") + connect_frame())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 ")
            answer = await payload(reader)
            assert b"\nuser-name:ann\n" in answer
            assert b"\ncredentials-expire:0\n" in answer
            assert b"code:credentials-expired\n" in await payload(reader)
            assert int.from_bytes((await payload(reader))[:2]) == 4001
            writer.close()
            await writer.wait_closed()

            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(upgrade("Cookie: name=eve\r\n"))
            assert (await reader.read()).startswith(b"HTTP/1.1 401 ")
            writer.close()
            await writer.wait_closed()

            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(upgrade("") + connect_frame())
            await reader.readuntil(b"\r\n\r\n")
            assert b"user-name" not in await payload(reader)
            writer.close()
            await writer.wait_closed()

    asyncio.run(asyncio.wait_for(main(), PATIENCE))

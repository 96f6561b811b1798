"""The servers that ours is compared with: what a user would write with each library.

Rule: each sends the same JSON to everybody on `/ws` when it is asked to publish, and answers each
message of JSON with that JSON; neither compression nor pings, for the load client has none. What a
library frames its messages with is its own affair.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from tests.bench.harness import BODY
from tests.bench.hosts import serve_in_uvicorn
from tests.bench.servers import Control

__all__ = ["PEERS", "channels_over_redis", "socketio_over_redis"]

PAYLOAD = json.loads(BODY)
ROOM = "bench"


class Later:
    """Starts coroutines, and keeps them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self.done = 0
        """How many have ended."""

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """In a task of its own."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.done += 1


async def socketio_over_redis(control_fd: int, url: str) -> None:
    """python-socketio, which publishes by its manager to all workers, this one too; no client."""
    import socketio

    manager = socketio.AsyncRedisManager(url, channel="alone")
    handled = 0
    handle = manager._handle_emit

    async def count(message: Any) -> None:
        nonlocal handled
        handled += 1
        await handle(message)

    manager._handle_emit = count
    server = socketio.AsyncServer(async_mode="asgi", client_manager=manager)
    manager.initialize()
    later = Later()

    def publish() -> None:
        later.start(server.emit("update", PAYLOAD, room=ROOM))

    control = Control(control_fd, publish, lambda: 0, lambda: min(handled, later.done))
    control.tell({"port": 0})
    await control.run()


async def channels_over_redis(control_fd: int, url: str, kind: str) -> None:
    """A layer of channels_redis, `pubsub` or `core`, and one channel of a group that reads."""
    if kind == "pubsub":
        from channels_redis.pubsub import RedisPubSubChannelLayer as Layer
    else:
        from channels_redis.core import RedisChannelLayer as Layer
    from redis import TimeoutError as NothingCame

    layer = Layer(hosts=[url], capacity=100_000)
    channel = await layer.new_channel()
    await layer.group_add(ROOM, channel)
    handled = 0

    async def read() -> None:
        nonlocal handled
        while True:
            with contextlib.suppress(NothingCame):
                await layer.receive(channel)
                handled += 1

    later = Later()
    later.start(read())

    def publish() -> None:
        later.start(layer.group_send(ROOM, {"type": "update", "payload": PAYLOAD}))

    control = Control(control_fd, publish, lambda: 0, lambda: min(handled, later.done))
    control.tell({"port": 0})
    await control.run()


async def websockets(control_fd: int) -> None:
    """`websockets`, with `broadcast`."""
    from websockets.asyncio.server import ServerConnection, broadcast, serve
    from websockets.exceptions import ConnectionClosed

    connections: set[ServerConnection] = set()

    async def handler(connection: ServerConnection) -> None:
        connections.add(connection)
        try:
            async for message in connection:
                await connection.send(json.dumps(json.loads(message)))
        except ConnectionClosed:
            pass  # The load client resets.
        finally:
            connections.discard(connection)

    def publish() -> None:
        broadcast(connections, json.dumps(PAYLOAD))

    server = await serve(handler, "127.0.0.1", 0, compression=None, ping_interval=None)
    control = Control(control_fd, publish, lambda: len(connections))
    control.tell({"port": server.sockets[0].getsockname()[1]})
    await control.run()
    server.close()


async def starlette(control_fd: int) -> None:
    """A WebSocket route of Starlette, and a loop over all that are open."""
    from starlette.applications import Starlette
    from starlette.routing import WebSocketRoute
    from starlette.websockets import WebSocket, WebSocketDisconnect

    opened: set[WebSocket] = set()
    later = Later()

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        opened.add(websocket)
        try:
            while True:
                await websocket.send_json(await websocket.receive_json())
        except WebSocketDisconnect:
            pass
        finally:
            opened.discard(websocket)

    async def everybody() -> None:
        text = json.dumps(PAYLOAD, separators=(",", ":"))
        for websocket in list(opened):
            await websocket.send_text(text)

    app = Starlette(routes=[WebSocketRoute("/ws", endpoint)])
    await serve_in_uvicorn(
        control_fd, app, lambda: later.start(everybody()), lambda: len(opened), "off"
    )


async def socketio(control_fd: int, redis: str = "") -> None:
    """python-socketio: a room, and events that are acknowledged with their answer.

    Args:
        redis: The URL by which its manager publishes to all workers; empty: it serves alone.
    """
    import socketio as library

    server = library.AsyncServer(
        async_mode="asgi",
        cors_allowed_origins="*",
        ping_interval=3_600,
        http_compression=False,
        client_manager=library.AsyncRedisManager(redis) if redis else None,
    )
    opened: set[str] = set()
    later = Later()

    @server.event
    async def connect(sid: str, environ: dict[str, Any]) -> None:
        await server.enter_room(sid, ROOM)
        opened.add(sid)

    @server.event
    async def disconnect(sid: str, reason: str) -> None:
        opened.discard(sid)

    @server.event
    async def ask(sid: str, data: dict[str, Any]) -> dict[str, Any]:
        return data

    async def everybody() -> None:
        await server.emit("update", PAYLOAD, room=ROOM)

    app = library.ASGIApp(server, socketio_path="/ws")
    await serve_in_uvicorn(
        control_fd,
        app,
        lambda: later.start(everybody()),
        lambda: len(opened),
        "off",
        lambda: later.done,
    )


async def channels(control_fd: int) -> None:
    """Django Channels with its layer in memory: a group, and a consumer of JSON."""
    from django.conf import settings

    layers = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    settings.configure(CHANNEL_LAYERS=layers)
    from channels.generic.websocket import AsyncJsonWebsocketConsumer
    from channels.layers import get_channel_layer

    opened: set[Any] = set()
    later = Later()

    class Consumer(AsyncJsonWebsocketConsumer):  # type: ignore[misc]
        groups = [ROOM]

        async def connect(self) -> None:
            await self.accept()
            opened.add(self)

        async def disconnect(self, code: int) -> None:
            opened.discard(self)

        async def receive_json(self, content: Any, **more: Any) -> None:
            await self.send_json(content)

        async def update(self, event: dict[str, Any]) -> None:
            await self.send_json(event["payload"])

    async def everybody() -> None:
        await get_channel_layer().group_send(ROOM, {"type": "update", "payload": PAYLOAD})

    await serve_in_uvicorn(
        control_fd, Consumer.as_asgi(), lambda: later.start(everybody()), lambda: len(opened), "off"
    )


async def picows(control_fd: int) -> None:
    """picows, an extension in C, with a loop of its own around it."""
    from picows import (
        WSFrame,
        WSListener,
        WSMsgType,
        WSTransport,
        WSUpgradeRequest,
        ws_create_server,
    )

    opened: set[WSTransport] = set()

    class Listener(WSListener):
        def on_ws_connected(self, transport: WSTransport) -> None:
            opened.add(transport)

        def on_ws_disconnected(self, transport: WSTransport) -> None:
            opened.discard(transport)

        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            if frame.msg_type is WSMsgType.TEXT:
                answer = json.dumps(json.loads(frame.get_payload_as_bytes()))
                transport.send(WSMsgType.TEXT, answer.encode())

    def publish() -> None:
        octets = json.dumps(PAYLOAD).encode()
        for transport in list(opened):
            transport.send(WSMsgType.TEXT, octets)

    def made(request: WSUpgradeRequest) -> WSListener:
        return Listener()

    server = await ws_create_server(made, "127.0.0.1", 0)
    control = Control(control_fd, publish, lambda: len(opened))
    control.tell({"port": server.sockets[0].getsockname()[1]})
    await control.run()
    server.close()


PEERS: dict[str, Callable[[int], Awaitable[None]]] = {
    "websockets": websockets,
    "starlette": starlette,
    "python-socketio": socketio,
    "channels": channels,
    "picows": picows,
}
"""By the name of the library."""

"""Servers of a host: `StompApp` inside an ASGI application, and an ASGI application that sends
canned messages in a loop; both on uvicorn with `websockets-sansio`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable
from typing import Any, Literal

from tests.bench.harness import BODY
from tests.bench.servers import TOPIC, Control

__all__ = ["inside", "plain", "serve_in_uvicorn"]


async def serve_in_uvicorn(
    control_fd: int,
    app: Any,
    publish: Callable[[], None],
    count: Callable[[], int],
    lifespan: Literal["auto", "off"] = "auto",
    settled: Callable[[], int] = int,
) -> None:
    """Serve an application until the control socket ends."""
    import uvicorn

    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    config = uvicorn.Config(
        app,
        ws="websockets-sansio",
        ws_ping_interval=None,  # The load client answers no PING.
        ws_per_message_deflate=False,
        log_config=None,
        access_log=False,
        lifespan=lifespan,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0)
    control = Control(control_fd, publish, count, settled)
    control.tell({"port": listener.getsockname()[1]})
    await control.run()
    server.force_exit = server.should_exit = True
    with contextlib.suppress(asyncio.CancelledError):
        await serving


async def inside(control_fd: int, batch: str) -> None:
    """A `StompApp` in an application that has nothing else."""
    from starlette.applications import Starlette

    from stocksync_ws import Limits, StompApp

    limits = Limits(ping_after=3600, shutdown_timeout=0.1, close_timeout=0.1)
    ws = StompApp("/ws", allowed_origins=["*"], limits=limits, asgi_batch=batch == "batch")
    app = Starlette()
    ws.install(app)
    payload = json.loads(BODY)

    def publish() -> None:
        ws.template.convert_and_send(TOPIC, payload)

    await serve_in_uvicorn(control_fd, app, publish, lambda: ws.counters.connections)


async def plain(control_fd: int, frame: str) -> None:
    """`await send(message)` for every client, one after the other; the octets of a frame."""
    octets = bytes.fromhex(frame)
    text = octets[4 if octets[1] == 126 else 2 :].decode()
    message = {"type": "websocket.send", "text": text}
    sends: list[Callable[[Any], Any]] = []
    tasks: set[asyncio.Task[None]] = set()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            raise NotImplementedError
        await receive()
        await send({"type": "websocket.accept"})
        sends.append(send)
        while (await receive())["type"] != "websocket.disconnect":
            pass
        sends.remove(send)

    async def broadcast() -> None:
        for send in sends:
            await send(message)

    def publish() -> None:
        task = asyncio.get_running_loop().create_task(broadcast())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    await serve_in_uvicorn(control_fd, app, publish, lambda: len(sends))

"""What is lost when connections to Redis end: ours, python-socketio, channels_redis.

`python -m tests.bench.losses`: one publishes 100 messages a second for 8.5 seconds, another one
receives them, and once a second connections to Redis are ended, those that are pushed to and all
others in turn. Counted are messages that never came, came twice or came in another order, and
errors that the publisher was raised.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.bench.harness import Row, show
from tests.redis.browsers import Browser
from tests.redis.servers import Server

MESSAGES, RATE = 850, 100
SETTLES = 3.0
"""Seconds until whatever may still come has come."""

Publish = Callable[[int], Awaitable[None]]


async def play(server: Server, publish: Publish) -> int:
    """Publish all messages while connections are ended; how many were raised to the publisher."""
    raised = 0

    async def one(number: int) -> None:
        nonlocal raised
        try:
            await publish(number)
        except Exception:
            raised += 1

    loop = asyncio.get_running_loop()
    began = loop.time()
    running: list[asyncio.Task[None]] = []
    cuts = 0
    for number in range(MESSAGES):
        await asyncio.sleep(max(0.0, began + number / RATE - loop.time()))
        running.append(asyncio.create_task(one(number)))
        if loop.time() - began > cuts + 1:
            cuts += 1
            kind = "pubsub" if cuts % 2 else "normal"
            await asyncio.to_thread(server.tell, "CLIENT", "KILL", "TYPE", kind)
    await asyncio.wait(running, timeout=20)
    await asyncio.sleep(SETTLES)
    return raised


def row(name: str, came: list[int], raised: int) -> Row:
    missing = MESSAGES - len(set(came))
    twice = len(came) - len(set(came))
    disorder = sum(later < earlier for earlier, later in pairwise(came))
    text = f"{missing} lost, {raised} errors raised; {twice} twice, {disorder} out of order"
    return Row(name, text)


async def ours(server: Server) -> Row:
    from stocksync_ws import StompApp, Stream
    from stocksync_ws.redis import RedisBackplane

    def app() -> StompApp:
        return StompApp(
            "/ws",
            allowed_origins=["*"],
            destinations={"/topic/a": Stream()},
            backplane=RedisBackplane(server.url, prefix="losses"),
        )

    here, there = app(), app()
    async with here.listen("127.0.0.1", 0), there.listen("127.0.0.1", 0) as listening:
        assert listening.port is not None
        browser = Browser([listening.port], ["/topic/a"], survives=False)
        task = asyncio.create_task(browser.run())
        await browser.until(lambda: bool(browser.live))

        async def publish(number: int) -> None:
            await here.template.publish("/topic/a", number)

        raised = await play(server, publish)
        came = [int(body) for each in browser.stretches["/topic/a"] for _, body in each.messages]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return row("ours", came, raised)


async def socketio(server: Server) -> Row:
    import socketio as library

    came: list[int] = []

    async def handle(message: Any) -> None:
        data = message["data"]
        came.append(data[0] if isinstance(data, list) else data)

    receiving = library.AsyncRedisManager(server.url)
    receiving._handle_emit = handle
    library.AsyncServer(async_mode="asgi", client_manager=receiving)
    receiving.initialize()
    sending = library.AsyncRedisManager(server.url, write_only=True)
    await asyncio.sleep(0.5)  # it says nowhere that it listens

    async def publish(number: int) -> None:
        await sending.emit("update", number, room="all")

    raised = await play(server, publish)
    return row("python-socketio", came, raised)


async def channels(server: Server, kind: str) -> Row:
    if kind == "pubsub":
        from channels_redis.pubsub import RedisPubSubChannelLayer as Layer
    else:
        from channels_redis.core import RedisChannelLayer as Layer
    receiving, sending = Layer(hosts=[server.url]), Layer(hosts=[server.url])
    channel = await receiving.new_channel()
    await receiving.group_add("all", channel)
    came: list[int] = []

    async def receive() -> None:
        while True:
            try:
                came.append((await receiving.receive(channel))["number"])
            except Exception:
                await asyncio.sleep(0)  # an application would go on

    task = asyncio.create_task(receive())

    async def publish(number: int) -> None:
        await sending.group_send("all", {"type": "update", "number": number})

    raised = await play(server, publish)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return row(f"channels_redis, {kind}", came, raised)


def main() -> None:
    logging.disable()
    rows: list[Row] = []
    runs: list[Callable[[Server], Awaitable[Row]]] = [
        ours,
        socketio,
        lambda server: channels(server, "pubsub"),
        lambda server: channels(server, "core"),
    ]
    for run in runs:
        with tempfile.TemporaryDirectory() as folder:
            server = Server(Path(folder))
            try:
                rows.append(asyncio.run(run(server)))  # type: ignore[arg-type]
            finally:
                server.kill()
    show(rows)


if __name__ == "__main__":
    main()

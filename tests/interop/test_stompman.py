"""stompman over WebSocket: asyncio, and a client that reconnects and subscribes again by itself."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from peers.examples import PATIENCE, Example
from peers.tools import module

stompman: Any = module("stompman", "stompman")
stompman_ws: Any = module("stompman.connection_ws", "stompman[ws]")

# stompman awaits `websockets.connect(...)`, which newer releases of websockets advise against.
pytestmark = pytest.mark.filterwarnings("ignore:connect.. must be used:DeprecationWarning")

UPDATES = "/topic/inventory"
URGENT = "/topic/inventory/urgent"
ERRORS = "/user/queue/errors"
STOCK = "/app/inventory"


class Peer:
    """A client with its subscriptions and what they brought."""

    def __init__(self, server: Example) -> None:
        self.messages: list[Any] = []
        self.frames: list[Any] = []
        """Every frame from the server, over all connections."""
        self.sockets: list[Any] = []
        self.error_frames: list[Any] = []
        self._news = asyncio.Condition()
        peer = self

        class Recording(stompman_ws.WebSocketConnection):  # type: ignore[misc]
            async def read_frames(self) -> AsyncGenerator[Any, None]:
                if self.websocket not in peer.sockets:
                    peer.sockets.append(self.websocket)
                async for frame in super().read_frames():
                    peer.frames.append(frame)
                    yield frame

        self.client = stompman.Client(
            [stompman.ConnectionParameters(*server.address, "", "", "/inventory-ws")],
            connection_class=Recording,
            connect_retry_attempts=20,
            connect_retry_interval=0.1,
            on_error_frame=self.error_frames.append,
        )
        self.subscriptions: list[Any] = []

    async def subscribe(self) -> None:
        for destination in (UPDATES, URGENT, ERRORS, STOCK):
            self.subscriptions.append(
                await self.client.subscribe(
                    destination,
                    self._note,
                    ack="auto",
                    on_suppressed_exception=lambda error, frame: None,
                    receipt_timeout=PATIENCE,
                )
            )

    async def _note(self, frame: Any) -> None:
        async with self._news:
            self.messages.append(frame)
            self._news.notify_all()

    async def bodies(self, destination: str, count: int) -> list[Any]:
        def found() -> list[Any]:
            return [f for f in self.messages if f.headers["destination"] == destination]

        async with asyncio.timeout(PATIENCE), self._news:
            await self._news.wait_for(lambda: len(found()) >= count)
        assert len(found()) == count
        return [json.loads(frame.body) for frame in found()]

    async def adjust(self, product: str, delta: int, *, urgent: bool = False) -> None:
        await self.client.send(
            json.dumps({"delta": delta, "urgent": urgent}).encode(),
            f"/app/inventory/{product}/adjust",
            content_type="application/json",
            receipt_timeout=PATIENCE,
        )


@asynccontextmanager
async def connected(server: Example) -> AsyncIterator[Peer]:
    peer = Peer(server)
    async with peer.client:
        await peer.subscribe()
        yield peer
        for subscription in peer.subscriptions:
            await subscription.unsubscribe()


def test_the_story_of_two_clients(inventory: Example) -> None:
    async def story() -> None:
        async with AsyncExitStack() as peers:
            ann = await peers.enter_async_context(connected(inventory))
            bob = await peers.enter_async_context(connected(inventory))
            for peer in (ann, bob):
                (stock,) = await peer.bodies(STOCK, 1)
                assert {item["product_id"]: item["quantity"] for item in stock}["kettle"] == 8

            await ann.adjust("kettle", -3)
            for peer in (ann, bob):
                (update,) = await peer.bodies(UPDATES, 1)
                assert (update["product_id"], update["quantity"]) == ("kettle", 5)
                assert update["urgent"] is False

            await bob.adjust("kettle", -1, urgent=True)
            for peer in (ann, bob):
                assert (await peer.bodies(UPDATES, 2))[1]["quantity"] == 4
                assert (await peer.bodies(URGENT, 1))[0]["urgent"] is True

            await ann.adjust("kettle", -100)
            (error,) = await ann.bodies(ERRORS, 1)
            assert error["message"] == "Only 4 left of Gooseneck kettle."
            await ann.adjust("kettle", 1)
            assert (await bob.bodies(UPDATES, 3))[2]["quantity"] == 5
            # What Bob was sent came before that update.
            assert await bob.bodies(ERRORS, 0) == []
        for peer in (ann, bob):
            assert isinstance(peer.frames[-1], stompman.ReceiptFrame)  # of DISCONNECT
            (socket,) = peer.sockets
            assert socket.close_code == 1000
            assert peer.error_frames == []

    asyncio.run(story())
    inventory.interrupt()
    assert len(re.findall(r"client disconnected: .*client_disconnect", inventory.log)) == 2


@pytest.mark.parametrize("end", ["kill", "interrupt"])
def test_subscriptions_come_back_after_a_restart(inventory: Example, end: str) -> None:
    async def story() -> None:
        async with connected(inventory) as ann:
            await ann.adjust("kettle", 1)
            assert (await ann.bodies(UPDATES, 1))[0]["quantity"] == 9
            await asyncio.to_thread(getattr(inventory, end))
            await asyncio.to_thread(inventory.start)
            assert (await ann.bodies(STOCK, 2))[1][2]["quantity"] == 8  # it subscribed again
            await ann.adjust("kettle", 2)
            assert [u["quantity"] for u in await ann.bodies(UPDATES, 2)] == [9, 10]
            await ann.adjust("scale", -5)
            assert (await ann.bodies(ERRORS, 1))[0]["product_id"] == "scale"
        assert len(ann.sockets) == 2
        assert ann.sockets[0].close_code == {"kill": 1006, "interrupt": 1012}[end]
        assert ann.sockets[1].close_code == 1000

    asyncio.run(story())

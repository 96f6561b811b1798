"""RECEIPT: what it means, and that every frame but CONNECT may ask for one."""

from __future__ import annotations

from collections.abc import Callable

from stocksync_ws import StompApp
from stocksync_ws.testing.world import World

Start = Callable[..., World]


class TestReceipts:
    """Every client frame but CONNECT may ask."""

    def test_every_frame_is_answered_in_order(self, start: Start) -> None:
        app = StompApp("/ws", allowed_origins=["*"], client_send=["/topic/**"])

        @app.message_mapping("/later")
        async def later() -> None:
            world.loop.call_soon(lambda: None)

        @app.subscribe_mapping("/now")
        def now() -> int:
            return 1

        world = start(app)
        peer = world.connect()
        peer.send(
            b"SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:r1\n\n\0"
            b"SUBSCRIBE\nid:2\ndestination:/app/now\nreceipt:r2\n\n\0"
            b"SEND\ndestination:/app/later\nreceipt:r3\n\n\0"
            b"SEND\ndestination:/topic/b\nreceipt:r4\n\n\0"
            b"UNSUBSCRIBE\nid:1\nreceipt:r5\n\n\0"
            b"UNSUBSCRIBE\nid:2\nreceipt:r5\n\n\0"
            b"DISCONNECT\nreceipt:\n\n\0"
        )
        told = [frame.headers.get("receipt-id") for frame in peer.frames()]
        assert told == ["r1", "r2", None, "r3", "r4", "r5", "r5", ""]
        assert peer.closed == 1000

    def test_a_failed_frame_gets_no_receipt(self, start: Start) -> None:
        peer = start().connect()
        peer.command("SUBSCRIBE", {"id": "1", "destination": "/queue/a", "receipt": "r"})
        assert [frame.command for frame in peer.frames()] == ["ERROR"]

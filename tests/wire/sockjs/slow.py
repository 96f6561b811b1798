"""Sessions that are not read: an application whose handler waits, and posts that come in parts."""

from __future__ import annotations

import asyncio
from typing import Any

from stocksync_ws import StompApp
from stocksync_ws.config import SockJSOptions
from tests.wire.sockjs.client import Answer, Client, Line, Web

__all__ = ["Slow", "half", "text"]


def text(body: str, destination: str = "/topic/a") -> str:
    return f"SEND\ndestination:{destination}\n\n{body}\0"


def half(web: Web, body: str, cut: int, path: str = "/ws/0/s1/xhr_send") -> tuple[Line, Answer]:
    """A post of which so many bytes have come."""
    line = web.line()
    answer = line.head("POST", path, {"Content-Length": str(len(body))})
    line.feed(body[:cut].encode())
    return line, answer


class Slow:
    """An application whose handler lets nobody through until it is told to."""

    def __init__(self, transport: str = "xhr", **settings: Any) -> None:
        app = StompApp(
            "/ws",
            allowed_origins=["*"],
            sockjs=SockJSOptions.conformance(),
            heart_beat=(0, 0),
            client_send=["/topic/**"],
            **settings,
        )
        self.heard: list[str] = []
        self.gate: asyncio.Event | None = None

        @app.message_mapping("/slow")
        async def slow(body: str) -> None:
            self.heard.append(body)
            if self.gate is None:
                self.gate = asyncio.Event()
            await self.gate.wait()
            self.gate = None

        self.web = Web(app)
        self.client = Client(self.web, transport=transport).connect("/topic/a")

    def release(self) -> None:
        assert self.gate is not None
        self.gate.set()
        self.web.world.advance(0.1)

    @property
    def session(self) -> Any:
        return next(iter(self.web.broker.sessions.values()))

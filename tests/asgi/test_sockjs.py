"""SockJS without a WebSocket on a host: what middleware sees of its requests, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from stocksync_ws import StompApp
from tests.asgi.host import Asgi, websocket_scope


class Poll:
    """One request of a session, and what was sent of its answer."""

    def __init__(self, host: Asgi, path: str = "/ws/a/session/xhr", body: bytes = b"") -> None:
        scope = websocket_scope(path, type="http", method="POST", scheme="http")
        self.sent: list[dict[str, Any]] = []
        self._body = body
        self._asked = False
        self.task = host.loop.create_task(self._run(host, scope))
        host.settle()

    async def _run(self, host: Asgi, scope: dict[str, Any]) -> None:
        await host.app(scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        if self._asked:
            await asyncio.Event().wait()
        self._asked = True
        return {"type": "http.request", "body": self._body, "more_body": False}

    async def _send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    @property
    def kinds(self) -> list[str]:
        return [message["type"].removeprefix("http.response.") for message in self.sent]

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


def test_the_head_of_a_poll_leaves_when_it_begins(serve: Callable[..., Asgi]) -> None:
    # Session middleware writes what it has loaded when it sees the head: at the end of a poll that
    # undid the login or logout of another request.
    host = serve(StompApp("/ws", sockjs=True, heart_beat=(0, 0), allowed_origins=["*"]))
    first = Poll(host)
    assert first.body == b"o\n"
    assert first.task.done()
    second = Poll(host)
    assert second.kinds == ["start"]
    assert second.sent[0]["status"] == 200
    assert not second.task.done()
    host.advance(25.0)
    assert second.kinds == ["start", "body", "body"]
    assert second.body.startswith(b"a[")  # Nobody has sent CONNECT.
    assert second.task.done()


def test_the_csrf_protection_of_litestar_asks_for_no_token_here() -> None:
    # docs/sockjs.md says so.
    litestar = pytest.importorskip("litestar")
    config = pytest.importorskip("litestar.config.csrf")
    csrf = config.CSRFConfig(secret="of-nobody")
    app = litestar.Litestar([], csrf_config=csrf, logging_config=None)
    StompApp("/ws", sockjs=True, heart_beat=(0, 0)).install(app, signals=False)
    host = Asgi(app)
    lifespan = host.lifespan()
    assert lifespan.tell("startup") == ["startup.complete"]
    try:
        assert Poll(host).body == b"o\n"
        sent = Poll(host, "/ws/a/session/xhr_send", b'["\\n"]')
        assert sent.sent[0]["status"] == 204
    finally:
        lifespan.tell("shutdown")
        host.advance(60.0)
        host.close()

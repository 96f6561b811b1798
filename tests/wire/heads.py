"""Request heads and sites of the tests of policy and mechanics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stocksync_ws.config import EndpointConfig
from stocksync_ws.types import HttpRequest
from stocksync_ws.wire.answer import Answer
from stocksync_ws.wire.endpoint import Check, Endpoint, Page, Site, decide
from stocksync_ws.wire.upgrade import check_handshake

__all__ = ["GOOD", "KEY", "PAGE", "Changes", "choose", "request", "site", "status", "websocket"]

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
PAGE = Page("text/html; charset=utf-8", b"<p>")
GOOD = {
    "host": "shop.example:8000",
    "connection": "keep-alive, Upgrade",
    "upgrade": "WebSocket",
    "sec-websocket-key": KEY,
    "sec-websocket-version": "13",
}
MECHANICS = ("connection", "upgrade", "sec-websocket-key", "sec-websocket-version")

Changes = Mapping[str, str | Sequence[str] | None]
"""Headers to change: None leaves one out, a list repeats it."""


def choose(offered: Sequence[str]) -> str | None:
    return next((name for name in ("v12.stomp", "v11.stomp") if name in offered), None)


def site(
    origins: tuple[str, ...] = (), hosts: tuple[str, ...] | None = None, path: str = "/ws"
) -> Site:
    endpoint = EndpointConfig(path=path, allowed_origins=origins, allowed_hosts=hosts)
    return Site(endpoint, choose, {"/": PAGE, "/app.js": Page("text/javascript", b"1")})


def request(
    changes: Changes | None = None,
    *,
    target: str = "/ws",
    method: str = "GET",
    version: str = "1.1",
    secure: bool = False,
) -> HttpRequest:
    """A good handshake with some headers changed."""
    merged = {**GOOD, **(changes or {})}
    headers: list[tuple[str, str]] = []
    for name, value in merged.items():
        values = [value] if isinstance(value, str) else value or ()
        headers += [(name, item) for item in values]
    return HttpRequest(method, target, tuple(headers), version, "1.2.3.4:5", secure)


def websocket(
    changes: Changes | None = None,
    *,
    target: str = "/ws",
    method: str = "CONNECT",
    version: str = "2",
    secure: bool = False,
) -> HttpRequest:
    """The same client, and the WebSocket asked for by Extended CONNECT: no Upgrade, no key."""
    without = {**dict.fromkeys(MECHANICS), **(changes or {})}
    return request(without, target=target, method=method, version=version, secure=secure)


def status(
    changed: HttpRequest, where: Site | None = None, check: Check | None = check_handshake
) -> int:
    """The status of the answer over plain HTTP; 101 stands for the endpoint."""
    decision = decide(changed, where or site(), check)
    if isinstance(decision, Endpoint):
        return 101
    assert isinstance(decision, Answer)
    assert dict(decision.headers)["X-Content-Type-Options"] == "nosniff"
    if changed.method != "HEAD":
        assert dict(decision.headers)["Content-Length"] == str(len(decision.body))
    return decision.status

"""The opening handshake of RFC 6455: how HTTP/1.1 asks for a WebSocket, and how that is answered.

Rule: mechanics only, and only for a request that `HttpConnection` has read. Whether the client may
have the WebSocket is policy, which is `endpoint.py`'s: an ASGI server has done these mechanics
itself, and HTTP/2 has none of them (RFC 8441 §5).
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from hashlib import sha1
from typing import Final

from stocksync_ws.types import HttpRequest
from stocksync_ws.wire.answer import Answer, plain, refusal
from stocksync_ws.wire.http import has_body, tokens, wants_websocket

__all__ = ["KEY", "accept_key", "check_handshake", "is_key"]

KEY: Final = "sec-websocket-key"
"""The header whose value differs from one handshake to the next."""

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY: Final = re.compile(r"[A-Za-z0-9+/]{22}==")

_ASCII: Final = ("connection", "sec-websocket-version", KEY, "origin")
"""Headers of a handshake that must be ASCII. Origin is one of them: a head that is not clean is
refused before anybody is judged.
"""

_HELP: Final = (
    "This is a WebSocket endpoint for STOMP: open it with a WebSocket client. "
    "A proxy in front of it has to pass on the headers Upgrade and Connection."
)


def check_handshake(request: HttpRequest) -> Answer | None:
    """Judge how the WebSocket is asked for (RFC 6455 §4.2.1). Pure; looks at the head only.

    Args:
        request: A request of HTTP/1.0 or 1.1 for the path of an endpoint.

    Returns:
        None for a valid opening handshake, else the answer: 400, 405, 426 or 505.
    """
    if request.method != "GET" or not wants_websocket(request):
        return _other_request(request)
    if request.http_version == "1.0":
        # What a proxy speaks when nobody told it otherwise.
        log = "upgrade refused: HTTP/1.0; nginx needs 'proxy_http_version 1.1'"
        return refusal(505, "A WebSocket needs HTTP/1.1.", log=log)
    if not all(value.isascii() for name in _ASCII for value in request.all(name)):
        return refusal(400, "A header is not ASCII.")
    if "upgrade" not in tokens(request.all("connection")):
        return refusal(400, "The header Connection must hold 'Upgrade'.")
    if has_body(request):
        return refusal(400, "An upgrade must not have a body.")
    if request.all("sec-websocket-version") != ["13"]:
        version = ("Sec-WebSocket-Version", "13")
        upgrade = ("Upgrade", "websocket")
        return refusal(426, "Only WebSocket version 13 is spoken here.", version, upgrade)
    keys = request.all(KEY)
    if len(keys) != 1 or not is_key(keys[0]):
        return refusal(400, "Sec-WebSocket-Key must be 16 bytes in base64, once.")
    return None


def _other_request(request: HttpRequest) -> Answer:
    """The answer to a request that is no handshake: help for GET and HEAD (RFC 9110 §15.5.22)."""
    if request.method in ("GET", "HEAD"):
        return plain(426, _HELP, ("Upgrade", "websocket"))
    allow = ("Allow", "GET, HEAD")
    answer = refusal if wants_websocket(request) else plain
    return answer(405, "Only GET is possible here.", allow)


def is_key(value: str) -> bool:
    """Whether a value is 16 bytes in base64 (RFC 6455 §4.2.1, item 5)."""
    return _KEY.fullmatch(value) is not None


def accept_key(request: HttpRequest) -> str:
    """The value of Sec-WebSocket-Accept for a checked handshake (RFC 6455 §4.2.2, item 5.4)."""
    # Not `request.get`: nobody else may want all headers by their names.
    key = next(value for name, value in request.headers if name == KEY)
    digest = sha1(key.encode("ascii") + _GUID, usedforsecurity=False).digest()
    return b2a_base64(digest, newline=False).decode("ascii")

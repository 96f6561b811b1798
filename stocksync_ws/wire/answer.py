"""An ordinary HTTP answer: what is said, before anybody makes bytes or messages of it.

Rule: an answer holds no text of a peer but in `log`, escaped and cut. What it refuses is counted
and logged by `tell`, once, by whoever sends it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from logging import getLogger
from typing import Literal
from zlib import crc32

from stocksync_ws.counters import Counters
from stocksync_ws.types import HttpRequest

__all__ = ["Answer", "plain", "refusal", "show", "tell", "unavailable"]

_log = getLogger("stocksync_ws.transport")


@dataclass(frozen=True)
class Answer:
    """An ordinary HTTP answer."""

    status: int
    headers: tuple[tuple[str, str], ...]
    """All but the header Connection, which belongs to whoever writes them."""
    body: bytes
    close: bool = False
    """Close the connection: what follows is no request (a body, WebSocket frames)."""
    refused: Literal["handshake", "origin"] | None = None
    """The thing that was refused, for the counters; None when no WebSocket was asked for."""
    log: str | None = None
    """A line to log: peer text escaped, at most 200 characters."""


def plain(status: int, text: str, *headers: tuple[str, str]) -> Answer:
    """An answer of one line of text, never cached.

    Args:
        status: The HTTP status.
        text: The line; not peer text.
        headers: More headers.
    """
    body = text.encode() + b"\n"
    return Answer(
        status,
        (
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            *headers,
        ),
        body,
    )


def tell(answer: Answer, counters: Counters, peer: str | None) -> None:
    """Count and log what an answer refuses.

    Args:
        answer: Any answer; an ordinary one is neither counted nor logged.
        counters: Where.
        peer: The address of the peer, for the log line.
    """
    if answer.refused is not None:
        counters.handshakes_refused += 1
    if answer.refused == "origin":
        counters.origins_refused += 1
    if answer.log is not None:
        _log.warning("%s (peer %s)", answer.log, peer)


def unavailable(request: HttpRequest) -> Answer:
    """The answer to any request while the server is full or stopping (RFC 9110 §15.6.4)."""
    # The client's own random key spreads the second attempts of a crowd over ten seconds.
    key = request.get("sec-websocket-key") or request.peer or ""
    seconds = 5 + crc32(key.encode()) % 10
    return plain(503, "The server is not available.", ("Retry-After", str(seconds)))


def refusal(status: int, text: str, *headers: tuple[str, str], log: str | None = None) -> Answer:
    """An answer as `plain` makes it, to a handshake that is refused."""
    return replace(plain(status, text, *headers), refused="handshake", log=log)


def show(text: str, peer_text: str | None) -> str:
    """A line for the log with text of a peer in it: escaped, at most 200 characters."""
    return f"{text} {peer_text!a}"[:200]

"""An ordinary HTTP answer: what is said, before anybody makes bytes or messages of it.

Rule: an answer holds no text of a peer but in `log`, escaped and cut. What it refuses is counted
and logged by `Refusals`, once, by whoever sends it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from logging import getLogger
from typing import Literal
from zlib import crc32

from stocksync_ws.counters import Counters
from stocksync_ws.types import HttpRequest

__all__ = ["Answer", "Refusals", "plain", "refusal", "show", "unavailable"]

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


class Refusals:
    """Counts and logs what the answers of one site refuse. A client can ask as often as it likes,
    so there is one line a second of each kind, and the next one says how many there were.
    """

    __slots__ = ("_kinds",)

    def __init__(self) -> None:
        self._kinds: dict[tuple[int, str | None], tuple[float, int]] = {}
        """By status and what was refused: when it was logged, and how many more there were since.
        """

    def tell(self, answer: Answer, counters: Counters, peer: str | None, now: float) -> None:
        """Count and log what an answer refuses.

        Args:
            answer: Any answer; an ordinary one is neither counted nor logged.
            counters: Where.
            peer: The address of the peer, for the log line.
            now: Seconds, monotonic.
        """
        if answer.refused is not None:
            counters.handshakes_refused += 1
        if answer.refused == "origin":
            counters.origins_refused += 1
        if answer.log is None:
            return
        kind = answer.status, answer.refused
        since, more = self._kinds.get(kind, (now - 1.0, 0))
        if now - since < 1.0:
            self._kinds[kind] = since, more + 1
            return
        self._kinds[kind] = now, 0
        said = f"; {more} more like it were not logged" if more else ""
        _log.warning("%s (peer %s)%s", answer.log, peer, said)


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

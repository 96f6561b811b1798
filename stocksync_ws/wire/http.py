"""Bytes to `HttpRequest` and answers to bytes, for a server that reads heads and nothing else.

Rule: one head is cut out of the stream and counted here while it comes in; h11 then parses exactly
these bytes, in an object that lives for one call. (h11's own cap looks only between two reads.) A
body is never read: a request that announces one is answered, and the connection closed. Whatever
follows a head stays here, byte for byte: the next request, or the first WebSocket frames.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

import h11

from stocksync_ws.config import Limits, exceeded
from stocksync_ws.types import HttpRequest

__all__ = [
    "HttpError",
    "HttpReader",
    "has_body",
    "keeps_alive",
    "response",
    "switching_protocols",
    "tokens",
    "wants_websocket",
]

_BLANK_LINE: Final = re.compile(rb"\n\r?\n")
_PLAIN: Final = re.compile(
    rb"GET (/[!-~]*) HTTP/1\.1\r\n"
    rb"((?:[-!#$%&'*+.^_`|~0-9A-Za-z]++:[\t -~\x80-\xff]*+\r\n)++)\r\n"
)
"""The head that every browser sends: a GET with nothing in its head that two parsers could read
differently.
"""
_ABSOLUTE: Final = re.compile(r"https?://([^/?#]*)(.*)", re.IGNORECASE)

_FRAMING: Final = frozenset(("content-length", "transfer-encoding", "expect"))
"""Headers whose values h11 judges."""

_PHRASES: Final = {
    200: "OK",
    204: "No Content",
    304: "Not Modified",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    426: "Upgrade Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}


class HttpError(Exception):
    """The request cannot be read any further.

    Attributes:
        status: The HTTP status of the answer.
        text: A sentence of ours for its body.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class HttpReader:
    """Cuts one request head after the other out of a stream (RFC 9112 §2.2).

    Holds at most `Limits.max_handshake_bytes` of an unfinished head beside the last read.

    Attributes:
        rest: What came behind the last head that was taken.
    """

    __slots__ = ("_limits", "_lines", "_searched", "rest")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.rest = bytearray()
        self._searched = 0
        self._lines = 0

    def feed(self, data: bytes) -> None:
        """Bytes came from the stream."""
        self.rest += data

    def take(self, peer: str | None, secure: bool) -> HttpRequest | None:
        """The next request, or None while its head is not complete.

        Args:
            peer: The address of the peer, for the request.
            secure: Our side of the connection is TLS.

        Raises:
            HttpError: 400, 431, 501 or 505, at the octet that made it so; by the peer.
        """
        if not self._searched and (plain := self._take_plain(peer, secure)) is not None:
            return plain
        buffer = self.rest
        if buffer and buffer[0] in b"\r\n":
            # Empty lines before a request are nothing (RFC 9112 §2.2).
            del buffer[: len(buffer) - len(buffer.lstrip(b"\r\n"))]
        if buffer and buffer[0] <= 0x20:
            # A TLS hello on the plain port.
            raise HttpError(400, "This is not an HTTP request.")
        # The blank line may have begun in the octets that were searched before.
        found = _BLANK_LINE.search(buffer, max(self._searched - 2, 0))
        end = found.end() if found else len(buffer)
        self._lines += buffer.count(b"\n", self._searched, end)
        self._searched = end
        # Beside the headers there are the request line and, at the end, the blank line.
        headers = self._lines - (2 if found else 1)
        limits = self._limits
        if end > limits.max_handshake_bytes or headers > limits.max_handshake_headers:
            large = end > limits.max_handshake_bytes
            limit = "max_handshake_bytes" if large else "max_handshake_headers"
            detail = exceeded(limits, limit, end if large else headers, whole=found is not None)
            raise HttpError(431, f"The head of the request is too large: {detail}")
        if found is None:
            return None
        head = bytes(buffer[:end])
        del buffer[:end]
        self._searched = self._lines = 0
        return _parse(head, peer, secure)

    def _take_plain(self, peer: str | None, secure: bool) -> HttpRequest | None:
        """A plain head within the limits that has come at once, as nearly all do. None: nothing was
        done.
        """
        plain = _PLAIN.match(self.rest)
        if plain is None or plain.end() > self._limits.max_handshake_bytes:
            return None
        request = _quick(plain, peer, secure)
        if request is None or len(request.headers) > self._limits.max_handshake_headers:
            return None
        del self.rest[: plain.end()]
        return request


def _quick(plain: re.Match[bytes], peer: str | None, secure: bool) -> HttpRequest | None:
    """A plain head, read at once; None: it is h11's to judge."""
    headers: list[tuple[str, str]] = []
    hosts = 0
    for line in plain[2].decode("latin-1").split("\r\n")[:-1]:
        name, _, value = line.partition(":")
        name = name.lower()
        if name == "host":
            hosts += 1
        elif name in _FRAMING:
            return None
        headers.append((name, value.strip(" \t")))
    if hosts != 1:
        return None
    return HttpRequest("GET", plain[1].decode("ascii"), tuple(headers), "1.1", peer, secure)


def _parse(head: bytes, peer: str | None, secure: bool) -> HttpRequest:
    """One whole head, blank line included (RFC 9112 §3, §5).

    Raises:
        HttpError: 400, 501 or 505.
    """
    plain = _PLAIN.fullmatch(head)
    quick = None if plain is None else _quick(plain, peer, secure)
    if quick is not None:
        return quick
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=len(head))
    parser.receive_data(head)
    try:
        event = parser.next_event()
    except h11.RemoteProtocolError as error:
        raise HttpError(error.error_status_hint, "The request is malformed.") from None
    assert isinstance(event, h11.Request)
    version = event.http_version.decode("ascii")
    if not version.startswith("1."):
        raise HttpError(505, "Only HTTP/1.1 is spoken here.")
    headers = tuple(
        (name.decode("ascii"), value.decode("latin-1")) for name, value in event.headers
    )
    target = _origin_form(event.target.decode("ascii"), headers)
    return HttpRequest(event.method.decode("ascii"), target, headers, version, peer, secure)


def _origin_form(target: str, headers: Iterable[tuple[str, str]]) -> str:
    """The target as path and query; what a proxy is sent is understood too (RFC 9112 §3.2.2)."""
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is not None:
        authority, target = absolute.groups()
        if authority.lower() not in [value.lower() for name, value in headers if name == "host"]:
            # Two parsers could read two hosts out of this.
            raise HttpError(400, "Target and Host name different hosts.")
        target = target if target.startswith("/") else "/" + target
    if not target.startswith("/") and target != "*":
        raise HttpError(400, "The request target is malformed.")
    return target


def tokens(values: Iterable[str]) -> list[str]:
    """The items of a comma-separated header, lower case, of all its lines (RFC 9110 §5.6.1)."""
    return [item.strip(" \t").lower() for value in values for item in value.split(",")]


def keeps_alive(request: HttpRequest) -> bool:
    """Say whether the client expects the connection to go on (RFC 9112 §9.3); never with 1.0."""
    return request.http_version != "1.0" and "close" not in tokens(request.all("connection"))


def has_body(request: HttpRequest) -> bool:
    """Say whether a body is announced (RFC 9112 §6); an announced one of no bytes is none."""
    lengths = request.all("content-length")
    return bool(request.all("transfer-encoding")) or any(length != "0" for length in lengths)


def wants_websocket(request: HttpRequest) -> bool:
    """Say whether Upgrade names `websocket` (RFC 9110 §7.8); HTTP/2 has no such header."""
    return "websocket" in tokens(request.all("upgrade"))


def response(status: int, headers: Sequence[tuple[str, str]], body: bytes, *, close: bool) -> bytes:
    """One whole answer.

    Args:
        status: The HTTP status.
        headers: All headers but Connection, Content-Length among them; constants of ours.
        body: The body, empty for HEAD.
        close: The connection ends with it.
    """
    options = ["Upgrade"] if any(name == "Upgrade" for name, _ in headers) else []
    if close:
        options.append("close")
    lines = [f"HTTP/1.1 {status} {_PHRASES.get(status, 'Refused')}"]
    lines += [f"{name}: {value}" for name, value in headers]
    if options:
        lines.append("Connection: " + ", ".join(options))
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def switching_protocols(accept: str, subprotocol: str | None) -> bytes:
    """The 101 of a WebSocket handshake, never with an extension (RFC 6455 §4.2.2).

    Args:
        accept: The value of Sec-WebSocket-Accept.
        subprotocol: One of our own names, or None for no header.
    """
    protocol = f"Sec-WebSocket-Protocol: {subprotocol}\r\n" if subprotocol else ""
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n{protocol}\r\n"
    ).encode("ascii")

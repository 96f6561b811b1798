"""The body of one request, out of the bytes behind its head (RFC 9112 §6).

Rule: h11 takes the coding apart, in an object that lives as long as the body and is fed a head of
ours with nothing in it but the framing. It looks at one read at a time and keeps at most the
beginning of a chunk's header; how much a body may hold is the receiver's matter.
"""

from __future__ import annotations

from typing import Final

import h11

from stocksync_ws.types import HttpRequest
from stocksync_ws.wire.http import HttpError

__all__ = ["CONTINUE", "BodyReader"]

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_KEPT: Final = 8_192
"""Bytes of a chunk's header, or of trailers, that h11 may keep."""


class BodyReader:
    """Reads one body.

    Args:
        request: Its head, which h11 has found to be sound.

    Attributes:
        ended: The body is whole.
        rest: What came behind it, once it is whole.
    """

    __slots__ = ("_parser", "ended", "rest", "wants_continue")

    def __init__(self, request: HttpRequest) -> None:
        self._parser = h11.Connection(h11.SERVER, max_incomplete_event_size=_KEPT)
        self.ended = False
        self.rest = b""
        framing = [
            (name, value)
            for name, value in request.headers
            if name in ("content-length", "transfer-encoding", "expect")
        ]
        lines = [f"{name}: {value}\r\n" for name, value in framing]
        head = f"POST / HTTP/1.1\r\nHost: h\r\n{''.join(lines)}\r\n"
        self._parser.receive_data(head.encode("latin-1"))
        self._parser.next_event()
        expects = self._parser.they_are_waiting_for_100_continue
        self.wants_continue = expects and request.http_version != "1.0"
        """The client waits for a word before it sends the body (RFC 9110 §10.1.1)."""

    def receive(self, data: bytes) -> bytes:
        """Bytes came from the stream, or none; those of the body among them.

        Raises:
            HttpError: 400, the coding is broken; by the peer.
        """
        if data:  # Nothing would be the end of the stream.
            self._parser.receive_data(data)
        parts: list[bytes] = []
        try:
            while True:
                event = self._parser.next_event()
                if isinstance(event, h11.Data):
                    parts.append(bytes(event.data))
                elif isinstance(event, h11.EndOfMessage):
                    self.ended = True
                    self.rest = bytes(self._parser.trailing_data[0])
                    break
                else:
                    break
        except h11.RemoteProtocolError:
            raise HttpError(400, "The body is malformed.") from None
        return b"".join(parts)

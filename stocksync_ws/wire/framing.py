"""How one answer goes out that is not whole when it begins: in chunks, or to the end of the stream.

Rule: a framing is stateless and shared, so that equal parts are equal chunks for every receiver.
Whoever carries the answer chooses it: a socket by the HTTP version of the request, an ASGI server
frames by itself (`scope.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from stocksync_ws.types import Chunk, HttpRequest
from stocksync_ws.wire.answer import Answer
from stocksync_ws.wire.http import keeps_alive, response

__all__ = ["Framing", "HttpFraming", "framing_for"]


class Framing(Protocol):
    """Makes the chunks of an answer."""

    last: bool
    """The stream ends with the answer."""
    early: bool
    """The head of a poll leaves when the poll begins."""

    def head(self, headers: Sequence[tuple[str, str]]) -> Chunk:
        """The head of a 200 whose body is not known yet.

        Args:
            headers: All but those of the framing itself; constants of ours.
        """
        ...

    def part(self, data: bytes) -> Chunk:
        """A part of that body, not empty."""
        ...

    def end(self) -> list[Chunk]:
        """What ends that body."""
        ...

    def answer(self, answer: Answer) -> list[Chunk]:
        """An answer that is whole."""
        ...


class HttpFraming:
    """HTTP/1.1 on a stream of bytes (RFC 9112 §6.3, §7.1).

    Args:
        chunked: The client knows chunked coding; else the body ends with the stream.
        last: The stream ends with the answer.
    """

    __slots__ = ("_chunked", "last")

    early: bool = False

    def __init__(self, *, chunked: bool, last: bool) -> None:
        self._chunked = chunked
        self.last = last

    def head(self, headers: Sequence[tuple[str, str]]) -> Chunk:
        """Status line and headers."""
        coding = [("Transfer-Encoding", "chunked")] if self._chunked else []
        return response(200, [*headers, *coding], b"", close=self.last)

    def part(self, data: bytes) -> Chunk:
        """One chunk of the coding, or the bytes as they are."""
        return b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data

    def end(self) -> list[Chunk]:
        """The last chunk; nothing where the stream ends."""
        return [b"0\r\n\r\n"] if self._chunked else []

    def answer(self, answer: Answer) -> list[Chunk]:
        """All of it in one piece."""
        close = self.last or answer.close
        return [response(answer.status, answer.headers, answer.body, close=close)]


_CHUNKED: Final = HttpFraming(chunked=True, last=False)
_CHUNKED_LAST: Final = HttpFraming(chunked=True, last=True)
_TO_THE_END: Final = HttpFraming(chunked=False, last=True)


def framing_for(request: HttpRequest, *, last: bool) -> HttpFraming:
    """The framing of the answer to a request that was read from a socket.

    Args:
        request: Any request.
        last: No request follows on this socket, whatever the client expects.
    """
    if request.http_version == "1.0":
        return _TO_THE_END
    return _CHUNKED_LAST if last or not keeps_alive(request) else _CHUNKED

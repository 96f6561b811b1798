"""The wire of a WebSocket scope of ASGI: STOMP frames as messages to the host; implements
`types.Wire`.

Rule: a chunk is one message to the host, and equal payloads are one shared message for every
receiver of a group. What the host does is not done again: framing, PING and PONG are its own.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from operator import is_
from typing import Any

from stocksync_ws.types import Chunk

__all__ = ["Batcher", "ScopeChunk", "ScopeWire"]


class ScopeChunk:
    """One message to the host, shared by its receivers and never changed."""

    __slots__ = ("last", "message", "plain", "size")

    def __init__(
        self, message: Mapping[str, Any], size: int, *, plain: bool = False, last: bool = False
    ) -> None:
        self.message = message
        self.size = size
        """Bytes of its payload."""
        self.plain = plain
        """The message is a `websocket.send`."""
        self.last = last
        """Nothing may be sent behind it."""


class Batcher:
    """Joins the messages of one flush into one; all wires of an application share it.

    The receivers of a busy topic have equal messages, so the last result is remembered, and a group
    joins once.
    """

    __slots__ = ("_joined", "_last")

    def __init__(self) -> None:
        self._last: list[ScopeChunk] = []
        self._joined: list[ScopeChunk] = []

    def join(self, chunks: list[ScopeChunk]) -> list[ScopeChunk]:
        """The same frames in as few messages as their kinds (text, binary) allow."""
        last = self._last
        if len(last) != len(chunks) or not all(map(is_, last, chunks)):
            self._joined = _join(chunks)
            self._last = chunks
        return self._joined


def _join(chunks: list[ScopeChunk]) -> list[ScopeChunk]:
    joined: list[ScopeChunk] = []
    run: list[ScopeChunk] = []
    for chunk in chunks:
        if run and (_kind(chunk) is None or _kind(run[0]) != _kind(chunk)):
            joined.append(_one(run))
            run = []
        run.append(chunk)
    return [*joined, _one(run)]


def _kind(chunk: ScopeChunk) -> str | None:
    if not chunk.plain:
        return None
    return "text" if "text" in chunk.message else "bytes"


def _one(run: list[ScopeChunk]) -> ScopeChunk:
    kind = _kind(run[0])
    if len(run) == 1 or kind is None:
        return run[0]
    parts = [chunk.message[kind] for chunk in run]
    payload = "".join(parts) if kind == "text" else b"".join(parts)
    size = sum(chunk.size for chunk in run)
    return ScopeChunk({"type": "websocket.send", kind: payload}, size, plain=True)


class ScopeWire:
    """STOMP frames as WebSocket messages of a host, one each; implements `types.Wire`.

    Args:
        batcher: Join the frames of one flush into one message; None: one message a frame.
    """

    __slots__ = ("_batcher", "began", "closing", "key", "link", "session")

    transport: str = "websocket"
    parking: None = None
    joins: bool = False
    kept: int = 0
    """The host keeps what is not whole."""

    def __init__(self, batcher: Batcher | None = None) -> None:
        self._batcher = batcher
        self.began = b""
        self.key: Hashable = "asgi"
        self.session: Any = None
        self.link: Any = None
        self.closing = False
        """Our close was made: nothing may be sent behind it."""

    def dress(self, head: bytes, tail: bytes, text: bool) -> Chunk:
        """One `websocket.send` with the whole of `head` and `tail`.

        Args:
            head: The part that differs per group.
            tail: The part all groups share.
            text: True for valid UTF-8: a text message, else a binary one.
        """
        payload = head + tail
        size = len(payload)
        if text:
            message = {"type": "websocket.send", "text": payload.decode()}
            return ScopeChunk(message, size, plain=True)
        return ScopeChunk({"type": "websocket.send", "bytes": payload}, size, plain=True)

    def size(self, chunk: Chunk) -> int:
        """Bytes of its payload."""
        size: int = chunk.size
        return size

    def ping(self) -> None:
        """None: ASGI has no PING; the host's own find dead peers."""
        return

    def pack(self, chunks: list[Chunk]) -> tuple[list[Chunk], bool]:
        """The chunks as they are, or joined."""
        if self._batcher is None or len(chunks) < 2:
            return chunks, False
        return self._batcher.join(chunks), False

    def close(self, code: int, reason: str) -> list[Chunk]:
        """`websocket.close`, made once.

        Args:
            code: A close code; whether the host can send it is the host's matter.
            reason: A constant of ours, at most 123 bytes; never peer text.
        """
        if self.closing:
            return []
        self.closing = True
        # Some hosts look at the exact type of the code.
        message = {"type": "websocket.close", "code": int(code), "reason": reason}
        return [ScopeChunk(message, len(reason) + 4, last=True)]

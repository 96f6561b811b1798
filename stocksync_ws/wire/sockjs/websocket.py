"""SockJS frames in the messages of a WebSocket: a wire that ends with its connection.

Rule: framing of SockJS goes around each STOMP frame when it is dressed, so that the direct way out
stays open; what the client sends is an array of messages, or one. Everything else is the plain
WebSocket's.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Final

from stocksync_ws.codes import CloseCode
from stocksync_ws.config import Limits
from stocksync_ws.types import Alive, Chunk, Closed, Event, Message
from stocksync_ws.wire import frames
from stocksync_ws.wire.scope_wire import ScopeChunk, ScopeWire
from stocksync_ws.wire.sockjs.frames import (
    OPEN,
    PostError,
    close_frame,
    message_frame,
    quote,
    read_messages,
)
from stocksync_ws.wire.websocket import WebSocketReader, WebSocketWire

__all__ = ["FramedReader", "FramedScopeWire", "FramedWire", "unframe"]


class FramedWire(WebSocketWire):
    """The wire of a socket of ours."""

    __slots__ = ()

    key: Hashable = "sockjs-websocket"
    first: Final = frames.frame(frames.TEXT, OPEN)
    """What the client gets behind the handshake."""

    def dress(self, head: bytes, tail: bytes, text: bool) -> Chunk:
        """One message in a frame of SockJS in a frame of WebSocket; None for what is no text."""
        return frames.frame(frames.TEXT, b"a[%b" % quote(head + tail), b"]") if text else None

    def close(self, code: int, reason: str) -> list[Chunk]:
        """The frame `c`, which alone the client looks at, then the Close frame."""
        closing = super().close(code, reason)
        if not closing:
            return []
        return [frames.frame(frames.TEXT, close_frame(code, reason)), *closing]


class FramedScopeWire(ScopeWire):
    """The wire of a WebSocket scope."""

    __slots__ = ()

    first: Final = ScopeChunk({"type": "websocket.send", "text": OPEN.decode()}, 1, plain=True)
    """What the client gets behind the handshake."""

    def __init__(self) -> None:
        super().__init__()
        self.key = "sockjs-asgi"

    def dress(self, head: bytes, tail: bytes, text: bool) -> Chunk:
        """One message in a frame of SockJS; None for what is no text."""
        return _say(message_frame([quote(head + tail)])) if text else None

    def close(self, code: int, reason: str) -> list[Chunk]:
        """The frame `c`, which alone the client looks at, then `websocket.close`."""
        closing = super().close(code, reason)
        return [_say(close_frame(code, reason)), *closing] if closing else []


def _say(frame: bytes) -> ScopeChunk:
    return ScopeChunk({"type": "websocket.send", "text": frame.decode()}, len(frame), plain=True)


class FramedReader(WebSocketReader):
    """Bytes of a peer after the handshake, as events of one wire.

    A message of the WebSocket may have `Limits.sockjs_body` bytes, each text in it
    `Limits.max_message_size`. One that cannot be read ends the stream abruptly, as the protocol
    wants it: behind the frame `c`, without a Close frame.
    """

    __slots__ = ()

    def __init__(self, wire: FramedWire, limits: Limits) -> None:
        super().__init__(wire, limits, bound="sockjs_body")
        self._first = False  # How SockJS frames begin says nothing about what is in them.

    def receive(self, data: bytes) -> list[Event]:
        """Bytes came from the stream; the messages in the messages."""
        heard = super().receive(data)
        events = unframe(heard, self._limits)
        broken = next((each for each in events if isinstance(each, Closed) and each.ours), None)
        if broken is None or broken in heard or broken.code != CloseCode.INVALID_DATA:
            return events
        self.pong = None
        if not self._wire.closing:
            self._wire.closing = True
            self.reply = frames.frame(frames.TEXT, close_frame(broken.code, broken.reason))
        if not self.ended:
            self._end(1006, "", events)
        return events


def unframe(events: Sequence[Event], limits: Limits) -> list[Event]:
    """The messages that stand in the messages of a client; `Closed` for what cannot be read, and
    nothing behind it but the client's own.
    """
    found: list[Event] = []
    broken = False
    for event in events:
        if not isinstance(event, Message):
            if not broken or (isinstance(event, Closed) and not event.ours):
                found.append(event)
            continue
        if broken:
            continue
        try:
            texts = read_messages(
                event.payload, limits.sockjs_messages, limits.max_message_size, single=True
            )
        except PostError as error:
            code = CloseCode.TOO_BIG if error.status == 413 else CloseCode.INVALID_DATA
            found.append(Closed(event.wire, code, error.text, ours=True))
            broken = True
            continue
        found += [Message(event.wire, text) for text in texts] or [Alive(event.wire)]
    return found

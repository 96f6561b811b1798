"""One session's WebSocket: the wire it speaks through, and the reader of what the peer sends.

Rule: wsproto unmasks and validates payloads, and gets to see nothing but whole frames whose header
was judged here before: it has no limit of its own, and after an error it buffers for ever. No
extension is negotiated, so equal payloads are equal bytes for every receiver.

    READING ---- the peer's Close ----------------> ENDED     we answer it; the stream may close
    READING ---- wire.close(), 1007, 1008, 1009 --> FOLLOWING payloads are thrown away, unread
    READING ---- 1002, 1007 in a Close -----------> DEAF      the stream is shut behind our Close
    FOLLOWING -- the peer's Close ----------------> ENDED
    FOLLOWING -- broken framing ------------------> DEAF

A frame that breaks a limit or the protocol becomes `Closed(ours=True)`. The Close frame itself is
then the broker's to send, with `wire.close`, behind an ERROR and whatever else waits. `Closed`
without `ours` is the peer's own Close: nothing of this wire comes after it.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Final

from wsproto.connection import Connection as Parser
from wsproto.connection import ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

from stocksync_ws.codes import CloseCode
from stocksync_ws.config import Limits, exceeded
from stocksync_ws.types import Alive, Chunk, Closed, Event, Message
from stocksync_ws.wire import frames
from stocksync_ws.wire.frames import FrameError

__all__ = ["BEGINNING", "WebSocketReader", "WebSocketWire"]

_QUICK: Final = 1_024
"""Bytes of a whole message up to which we unmask faster than wsproto does."""
_PING: Final = frames.frame(frames.PING)
BEGINNING: Final = 32
"""Bytes of a first message that are waited for before it is refused: they tell whether its sender
speaks STOMP at all.
"""


class WebSocketWire:
    """STOMP frames as WebSocket messages, one each; implements `types.Wire`.

    All wires of this class share one key: their bytes differ in nothing.
    """

    __slots__ = ("began", "closing", "kept", "link", "session")

    transport: str = "websocket"
    parking: None = None
    key: Hashable = "websocket"
    joins: bool = True

    def __init__(self) -> None:
        self.session: Any = None
        self.link: Any = None
        self.closing = False
        """Our Close frame was made: nothing may be sent behind it."""
        self.kept = 0
        self.began = b""

    def dress(self, head: bytes, tail: bytes, text: bool) -> Chunk:
        """One unmasked frame with the whole of `head` and `tail` (RFC 6455 §5.2).

        Args:
            head: The part that differs per group.
            tail: The part all groups share.
            text: True for valid UTF-8: a text frame, else a binary one.
        """
        return frames.frame(frames.TEXT if text else frames.BINARY, head, tail)

    def size(self, chunk: Chunk) -> int:
        """Bytes on the wire, the frame header included."""
        return len(chunk)

    def ping(self) -> Chunk:
        """An empty PING, the same object for everyone (RFC 6455 §5.5.2)."""
        return _PING

    def pack(self, chunks: list[Chunk]) -> tuple[list[Chunk], bool]:
        """The chunks as they are; a WebSocket carries any number of them."""
        return chunks, False

    def close(self, code: int, reason: str) -> list[Chunk]:
        """Our Close frame (RFC 6455 §7.1.2); none when the peer's Close was answered already.

        Args:
            code: A close code that may stand on the wire.
            reason: A constant of ours, at most 123 bytes; never peer text.
        """
        if self.closing:
            return []
        self.closing = True
        return [frames.close_frame(code, reason)]


_READING: Final = 0
_FOLLOWING: Final = 1
_DEAF: Final = 2
_ENDED: Final = 3


class WebSocketReader:
    """Bytes of a peer after the handshake, as events of one wire.

    Never raises for anything a peer can send, and holds at most one frame and the fragments of one
    message: `max_message_size` of payload, whatever the number of fragments. `wire.kept` says how
    much of it there is.

    Attributes:
        reply: Our answer to the peer's Close, for the connection to send.
        pong: Our answer to the newest PING, for the connection to send; a newer one replaces it.
        ended: The peer's Close has come: the stream may be closed when all is written.
        deaf: No Close of the peer can come any more, or be read: the stream may be closed when our
            own is written.
    """

    __slots__ = (
        "_bound",
        "_buffer",
        "_count",
        "_first",
        "_head",
        "_largest",
        "_limits",
        "_need",
        "_parser",
        "_parts",
        "_size",
        "_skip",
        "_state",
        "_wire",
        "deaf",
        "ended",
        "pong",
        "reply",
    )

    def __init__(
        self, wire: WebSocketWire, limits: Limits, *, bound: str = "max_message_size"
    ) -> None:
        self._wire = wire
        self._limits = limits
        self._bound = bound
        self._largest: int = getattr(limits, bound)
        self._state = _READING
        self._buffer: bytearray | None = None  # the beginning of a frame
        self._need = 0  # bytes of `_buffer` before it is worth a look
        self._head = 0  # bytes of `_buffer` that are no payload of a message, once that is known
        self._skip = 0  # payload still to be thrown away
        self._parser: Parser | None = None
        self._parts = bytearray()  # payloads of the message that is not finished
        self._count = 0  # frames of it, empty ones too
        self._first = True  # no message has come yet, and how it begins is told
        self.reply: bytes | None = None
        self.pong: bytes | None = None
        self.ended = False
        self.deaf = False

    def receive(self, data: bytes) -> list[Event]:
        """Bytes came from the stream.

        Returns:
            `Message` for each complete message, one `Alive` when there was none, one more when the
            beginning of something is kept, `Closed` at the end. Nothing but the last `Closed` once
            our side is closing.
        """
        if self._wire.closing and self._state == _READING:
            self._leave(_FOLLOWING)
        return _RECEIVE[self._state](self, data)

    def forget(self) -> list[Event]:
        """Our side may be closing: what is kept of a message that nobody will read is thrown away,
        though the peer sends nothing more.
        """
        if not self._wire.closing or self._state != _READING:
            return []
        self._leave(_FOLLOWING)
        return self._follow(b"")

    def _read(self, data: bytes) -> list[Event]:
        buffer = self._buffer
        if buffer is not None:
            buffer += data
            if len(buffer) < self._need:
                self._weigh()
                return [Alive(self._wire, unfinished=True)]
            data = bytes(buffer)
            self._buffer = None
        events: list[Event] = []
        fragmented = self._count > 0
        at = self._take_frames(data, events)
        if self._state == _FOLLOWING:
            events += self._follow(data[at:])
        elif self._state == _READING:
            self._first = self._first and not events
            if at < len(data):
                self._buffer = bytearray(data[at:])
            if self._buffer is not None or self._count:
                self._weigh()
                if at and not events and not (fragmented and self._count):
                    events.append(Alive(self._wire))  # what is unfinished now began just now
                events.append(Alive(self._wire, unfinished=True))
            elif self._wire.kept:
                self._wire.kept = 0
        return events or [Alive(self._wire)]

    def _weigh(self) -> None:
        """Say how much is kept. Control frames, and headers, are nothing that can grow."""
        kept, buffer = len(self._parts), self._buffer or b""
        if self._need:
            kept += max(0, len(buffer) - self._head)
        if self._first:
            came = bytes(buffer[: self._head + BEGINNING]) if self._need else b""
            self._wire.began = self._beginning(came, self._head, len(came))
        self._wire.kept = kept

    def _beginning(self, data: bytes, start: int, end: int) -> bytes:
        """How the message begins whose next frame has its payload there, as far as it has come."""
        end = min(end, len(data), start + BEGINNING)
        rest = frames.unmask(data, start, end) if start < end else b""
        return (bytes(self._parts[:BEGINNING]) + rest)[:BEGINNING]

    def _take_frames(self, data: bytes, events: list[Event]) -> int:
        """Take whole frames off `data`; where the first one that was not taken begins."""
        at = self._need = first = 0
        ping: bytes | None = None
        try:
            while self._state == _READING and at < len(data):
                header = frames.frame_header(data, at)
                if header is None:
                    break
                first, start, end = header
                if first < frames.CLOSE:
                    if not self._first:
                        self._check(first, end - start)
                    elif not self._admits(data, header, events):
                        self._need = start - at + BEGINNING
                        self._head = start - at
                        break
                if end > len(data):
                    self._need = end - at
                    self._head = (start if first < frames.CLOSE else end) - at
                    break
                begin, at = at, end
                if 0 < end - start <= _QUICK and (first == frames.TEXT or first == frames.BINARY):
                    payload = frames.unmask(data, start, end)
                    if first == frames.TEXT and not (payload.isascii() or _is_utf8(payload)):
                        raise FrameError(CloseCode.INVALID_DATA, "text is not UTF-8")
                    events.append(Message(self._wire, payload))
                elif first < frames.CLOSE:
                    self._data(first, end - start, data[begin:end], events)
                elif first == frames.CLOSE:
                    self._peer_closes(data[begin:end], events)
                elif first == frames.PING:
                    ping = data[begin:end]
            # A flood of PINGs costs a look at each header, and one PONG (RFC 6455 §5.5.3).
            if ping is not None and self._state == _READING:
                self._answer(ping)
        except FrameError as error:
            deaf = error.code == CloseCode.PROTOCOL_ERROR or first == frames.CLOSE
            self._leave(_DEAF if deaf else _FOLLOWING)
            events.append(Closed(self._wire, error.code, error.reason, ours=True))
        return at

    def _admits(self, data: bytes, header: tuple[int, int, int], events: list[Event]) -> bool:
        """Judge a data frame of the first message; False: it is going to be refused, when a little
        more of it has come.
        """
        first, start, end = header
        try:
            self._check(first, end - start)
        except FrameError as error:
            if not events and error.code != CloseCode.PROTOCOL_ERROR:
                self._wire.began = began = self._beginning(data, start, end)
                if len(began) < min(BEGINNING, len(self._parts) + end - start):
                    return False
            raise
        return True

    def _check(self, first: int, length: int) -> None:
        """Judge a data frame by its header and the message it is part of (RFC 6455 §5.4)."""
        if (first & 0x0F == 0) != (self._count > 0):
            raise FrameError(CloseCode.PROTOCOL_ERROR, "fragments out of order")
        size = len(self._parts) + length
        if size > self._largest:
            raise FrameError(CloseCode.TOO_BIG, exceeded(self._limits, self._bound, size))
        if self._count >= self._limits.max_fragments:
            got = self._count + 1
            raise FrameError(CloseCode.POLICY, exceeded(self._limits, "max_fragments", got))

    def _data(self, first: int, length: int, whole: bytes, events: list[Event]) -> None:
        final = first & frames.FIN
        if final and not length and not self._count:
            return
        event = self._parse(whole)
        if isinstance(event, TextMessage):
            payload = event.data.encode()
        elif isinstance(event, BytesMessage):
            payload = bytes(event.data)
        else:
            raise FrameError(CloseCode.INVALID_DATA, "text is not UTF-8")
        if not final or self._count:
            self._count += 1
            self._parts += payload
            if not final:
                return
            payload = bytes(self._parts)
            self._parts, self._count = bytearray(), 0
        if payload:
            events.append(Message(self._wire, payload))

    def _parse(self, whole: bytes) -> object:
        """Events that wsproto makes of one whole frame. After an error it is never fed again."""
        parser = self._parser
        if parser is None:
            parser = self._parser = Parser(ConnectionType.SERVER, extensions=[])
        parser.receive_data(whole)
        return next(parser.events())

    def _answer(self, ping: bytes) -> None:
        event = self._parse(ping)
        assert isinstance(event, Ping)
        self.pong = frames.frame(frames.PONG, bytes(event.payload))

    def _peer_closes(self, whole: bytes, events: list[Event]) -> None:
        """The peer's Close came first: answer with its code (RFC 6455 §5.5.1)."""
        code, reason = _read_close(whole)
        self._wire.closing = True
        self.reply = frames.close_frame(code)
        self._end(code, reason, events)

    def _follow(self, data: bytes) -> list[Event]:
        """Throw payloads away, without a limit, until the peer's Close."""
        if self._skip and self._skip >= len(data):
            self._skip -= len(data)
            return []
        data = data[self._skip :]
        if self._buffer is not None:
            data = bytes(self._buffer) + data
        self._buffer, self._skip = None, 0
        at = 0
        events: list[Event] = []
        try:
            while (header := frames.frame_header(data, at)) is not None:
                first, _, end = header
                if first == frames.CLOSE and end <= len(data):
                    self._end(*_read_close(data[at:end]), events)
                    return events
                if first == frames.CLOSE:
                    break
                at = end
        except FrameError:
            self._leave(_DEAF)
            return events
        if at > len(data):
            self._skip = at - len(data)
        else:
            self._buffer = bytearray(data[at:]) or None
        return events

    def _ignore(self, data: bytes) -> list[Event]:
        return []

    def _end(self, code: int, reason: str, events: list[Event]) -> None:
        self._leave(_ENDED)
        self.ended = True
        events.append(Closed(self._wire, code, reason))

    def _leave(self, state: int) -> None:
        """Messages are over. FOLLOWING goes on with the frame that has begun to come."""
        if state != _FOLLOWING:
            self._buffer = None
        self.deaf = state == _DEAF
        self._parser = None
        self._parts = bytearray()
        self._wire.kept = 0
        self._state = state


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def _read_close(whole: bytes) -> tuple[int, str]:
    """Code and reason of a whole Close frame; 1005 when it has none.

    Raises:
        FrameError: 1002 for a code that may not be sent, 1007 for a reason that is not UTF-8.
    """
    # A parser of its own: that of the messages may have ended with an error.
    parser = Parser(ConnectionType.SERVER, extensions=[])
    parser.receive_data(whole)
    event = next(parser.events())
    assert isinstance(event, CloseConnection)
    if parser.state is not ConnectionState.REMOTE_CLOSING:
        raise FrameError(CloseCode(event.code), "invalid Close frame")
    return int(event.code), event.reason or ""


# pyright: reportPrivateUsage=false
_RECEIVE: Final = {  # below the class: mypyc compiles no table of methods in its body
    _READING: WebSocketReader._read,
    _FOLLOWING: WebSocketReader._follow,
    _DEAF: WebSocketReader._ignore,
    _ENDED: WebSocketReader._ignore,
}

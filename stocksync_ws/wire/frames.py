"""The WebSocket frame, without a connection: headers out, headers in (RFC 6455 §5.2).

Rule: every function is pure. What goes out is one `bytes` object per frame, unmasked. What comes in
is judged on its header alone, so that a length is refused before any of its payload was read;
nothing here looks at a payload.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from stocksync_ws.codes import CloseCode

__all__ = ["CLOSE", "FIN", "PING", "FrameError", "close_frame", "frame", "frame_header", "unmask"]

FIN: Final = 0x80
TEXT: Final = 0x81
BINARY: Final = 0x82
CLOSE: Final = 0x88
PING: Final = 0x89
PONG: Final = 0x8A

NO_STATUS: Final = 1005
"""The code of a Close frame without one; never on the wire (RFC 6455 §7.1.5)."""

# First octets a client may send: FIN and opcode. No reserved bit (no extension is ever negotiated),
# no reserved opcode, no fragmented control frame.
_FIRST: Final = frozenset((0x00, 0x01, 0x02, 0x80, TEXT, BINARY, CLOSE, PING, PONG))

_SHORT: Final = Struct(">BB")
_MEDIUM: Final = Struct(">BBH")
_LONG: Final = Struct(">BBQ")
_UINT16: Final = Struct(">H")
_UINT64: Final = Struct(">Q")


class FrameError(Exception):
    """The peer broke the framing or a limit; its own text never stands here.

    Attributes:
        code: The code to close with: 1002, 1007, 1008 or 1009.
        reason: A text of ours; for a limit `config.exceeded`.
    """

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def frame(first: int, head: bytes = b"", tail: bytes = b"") -> bytes:
    """One whole unmasked frame.

    Args:
        first: The first octet: FIN and opcode.
        head: The payload, or its beginning: the two are joined once together with the header.
        tail: The rest of it.
    """
    size = len(head) + len(tail)
    if size < 126:
        header = _SHORT.pack(first, size)
    elif size < 65_536:
        header = _MEDIUM.pack(first, 126, size)
    else:
        header = _LONG.pack(first, 127, size)
    return b"".join((header, head, tail))


def unmask(data: bytes, start: int, end: int) -> bytes:
    """The payload between `start` and `end`, whose masking key stands before it (RFC 6455 §5.3).

    Linear, as one number of that many octets.
    """
    size = end - start
    mask = (data[start - 4 : start] * (size // 4 + 1))[:size]
    masked = int.from_bytes(data[start:end], "little")
    return (masked ^ int.from_bytes(mask, "little")).to_bytes(size, "little")


def close_frame(code: int, reason: str = "") -> bytes:
    """A Close frame; 1005 makes an empty one (RFC 6455 §5.5.1).

    Args:
        code: A code that may stand on the wire, or 1005.
        reason: A constant of ours, at most 123 bytes of UTF-8.
    """
    if code == NO_STATUS:
        return frame(CLOSE)
    return frame(CLOSE, _UINT16.pack(code), reason.encode())


def frame_header(data: bytes, at: int) -> tuple[int, int, int] | None:
    """The header of a client's frame that begins at `at`; O(1), whatever its length.

    Returns:
        The first octet, where the payload begins and where the frame ends (both may lie beyond
        `data`'s end: only the header has to be there), or None while the header is not complete.

    Raises:
        FrameError: 1002, as soon as the octets that break RFC 6455 §5.2 are there.
    """
    left = len(data) - at
    if left < 2:
        return None
    first, length = data[at], data[at + 1]
    if first not in _FIRST:
        raise FrameError(CloseCode.PROTOCOL_ERROR, "invalid frame header")
    if length < 0x80:
        raise FrameError(CloseCode.PROTOCOL_ERROR, "frame is not masked")
    length -= 0x80
    start = 6
    if length > 125:
        if first >= CLOSE:
            raise FrameError(CloseCode.PROTOCOL_ERROR, "control frame too long")
        wide, start = (_UINT16, 8) if length == 126 else (_UINT64, 14)
        if left < start - 4:
            return None
        shortest = 126 if length == 126 else 65_536
        length = wide.unpack_from(data, at + 2)[0]
        if not shortest <= length < 1 << 63:
            raise FrameError(CloseCode.PROTOCOL_ERROR, "invalid frame length")
    if left < start:
        return None
    return first, at + start, at + start + length

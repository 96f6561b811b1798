"""What a client of a world has sent: whether it stands between two frames.

Rule: what a living client sends by itself never falls into the middle of what a test sends. A PONG
may follow a whole WebSocket frame, a heart-beat a whole STOMP frame.
"""

from __future__ import annotations

from typing import Final

from stocksync_ws.config import Limits
from stocksync_ws.errors import RemoteProtocolError
from stocksync_ws.stomp.decoder import Decoder
from stocksync_ws.stomp.frame import CONNECT, STOMP
from stocksync_ws.stomp.negotiate import choose_version, parse_heart_beat

__all__ = ["WIDE", "Sent", "take_frame"]

WIDE: Final = Limits(max_message_size=2**31, max_header_block=2**20, max_header_line=2**20)
"""For readers that judge nothing."""
_CLOSE: Final = 8


def take_frame(octets: bytearray) -> tuple[int, bytes] | None:
    """Take one whole WebSocket frame (RFC 6455 §5.2) from the front.

    Returns:
        Its first octet and its payload, unmasked; None: it is not whole.
    """
    if len(octets) < 2:
        return None
    length, start = octets[1] & 0x7F, 2
    if length > 125:
        start = 4 if length == 126 else 10
        length = int.from_bytes(octets[2:start])
    mask = octets[start : start + 4] if octets[1] & 0x80 else b""
    start += 4 if octets[1] & 0x80 else 0
    if len(octets) < start + length:
        return None
    first, payload = octets[0], bytes(octets[start : start + length])
    del octets[: start + length]
    if any(mask):
        payload = bytes(octet ^ mask[index % 4] for index, octet in enumerate(payload))
    return first, payload


class Sent:
    """Reads what a client sends behind its upgrade, as a server would."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._fragments: bytes | None = None
        self._decoder = Decoder(WIDE)
        self._unreadable = False
        self.closed = False
        """A Close was sent: nothing may follow."""
        self.heart_beat = 0, 0
        """Milliseconds of its CONNECT: can send, wants to receive."""

    @property
    def between_frames(self) -> bool:
        """A control frame may follow."""
        return not self._rest and not self.closed

    @property
    def between_messages(self) -> bool:
        """A heart-beat may follow; behind what is no STOMP none may."""
        unfinished = self._fragments is not None or self._decoder.mid_frame
        return self.between_frames and not unfinished and not self._unreadable

    def note(self, data: bytes) -> None:
        """So many bytes were sent."""
        self._rest += data
        while (frame := take_frame(self._rest)) is not None:
            first, payload = frame
            if first & 0x0F == _CLOSE:
                self.closed = True
            elif not first & 0x08:
                payload = (self._fragments or b"") + payload
                whole = bool(first & 0x80)
                self._fragments = None if whole else payload
                if whole and not self._unreadable:
                    self._decode(payload)

    def _decode(self, message: bytes) -> None:
        try:
            self._decoder.feed(message)
            while (frame := self._decoder.next()) is not None:
                if frame.command in (CONNECT, STOMP):
                    self._decoder.version = choose_version(frame.headers.get("accept-version"))
                    self.heart_beat = parse_heart_beat(frame.headers.get("heart-beat"))
        except RemoteProtocolError:
            self._unreadable = True

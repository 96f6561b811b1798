"""A client on both sides: its stream to the real broker, its session in the naive one.

Rule: it keeps every octet that it got, and reads them with a parser of its own. It writes what
STOMP says and nothing else; what it must not write is given as octets.
"""

from __future__ import annotations

import struct
from typing import Any

from stocksync_ws.testing.world import World
from tests.model.parser import Malformed, Read, Reader
from tests.model.records import Frame, Session

__all__ = ["Client", "websocket"]

TEXT, BINARY, CLOSE = 1, 2, 8
REQUEST = (
    "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
Got = tuple[str, str, dict[str, str]]


class Client:
    """One connection, from its upgrade on."""

    def __init__(self, world: World, version: str) -> None:
        self.world = world
        self.version = version
        self.stream = world.open()
        self.reader = Reader(version)
        self.wire = bytearray()
        """Everything the server wrote, as far as it was taken."""
        self.malformed = ""
        """Why it could not be read."""
        self.looked = 0
        """So much of it was searched for secrets."""
        self.raw: list[Read] = []
        """The frames in it."""
        self.got: list[Got] = []
        """What of them the naive broker knows: kind, text, marks."""
        self.twin: Session
        self.real: Any = None
        """The session of the real broker; looked at, never touched."""
        self.cut = False
        """It is gone; nothing can be seen of it any more."""
        self.deaf = False
        """It broke the framing: nothing that it sends is read any more."""
        self.beats = False
        """It owes a heart-beat, and is owed one."""
        self.spoke_at = world.now
        self.silence = 0.0
        """How long it had been silent when it was closed."""
        self.begun: tuple[Frame, bytes] | None = None
        """A frame of which only the beginning was sent, and the rest of it."""
        self.feed(REQUEST.encode())

    # Towards the server

    def feed(self, data: bytes) -> None:
        """Octets of the stream."""
        self.spoke_at = self.world.now
        self.world.runtime.driver.feed(self.stream.link, data)
        self.world.settle()

    def send(self, payload: bytes) -> None:
        """One WebSocket message; all that is no garbage is ASCII."""
        self.feed(websocket(TEXT if payload.isascii() else BINARY, payload))

    def eof(self) -> None:
        """The stream ends."""
        self.cut = True
        self.world.runtime.driver.ended(self.stream.link)
        self.world.settle()

    def encode(self, command: str, headers: dict[str, str], body: str = "") -> bytes:
        """A frame; nothing in it has to be escaped."""
        lines = [command, *(f"{name}:{value}" for name, value in headers.items())]
        return ("\n".join(lines) + "\n\n" + body + "\0").encode()

    # From the server

    @property
    def stuck(self) -> bool:
        return bool(self.stream.unsent)

    def read(self) -> list[Read]:
        """What has come since the last look."""
        data = bytes(self.stream.received)
        if not data:
            return []
        self.stream.received.clear()
        self.wire += data
        try:
            new = self.reader.feed(data)
        except Malformed as problem:
            self.malformed, new = str(problem), []
        if new and new[-1][0] == "CLOSE":
            self.silence = self.world.now - self.spoke_at
        if self.cut:
            new = [each for each in new if each[0] != "CLOSE"]  # the answer to its own
        self.raw += new
        return new


def websocket(opcode: int, payload: bytes) -> bytes:
    """A client's WebSocket frame (RFC 6455 §5.2); its mask is zero."""
    if len(payload) < 126:
        return struct.pack("!BB", 0x80 | opcode, 0x80 | len(payload)) + bytes(4) + payload
    return struct.pack("!BBH", 0x80 | opcode, 0xFE, len(payload)) + bytes(4) + payload

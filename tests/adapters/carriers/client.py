"""A STOMP client of raw bytes, and what a carrier has to give it.

Rule: nothing of the library's codecs is used here, so that both ends cannot be wrong together.
Every wait is bounded by the pipe.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Client", "Gone", "Pipe", "Stomp", "http_request", "ws_frame"]

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Gone(Exception):
    """The server ended its direction before what was waited for had come."""


class Pipe(Protocol):
    """One end of a byte stream to the server."""

    def send(self, data: bytes) -> None:
        """Send all of it."""
        ...

    def receive(self) -> bytes:
        """Some bytes; none when the server ended its direction; `TimeoutError` when none come."""
        ...

    def stop_reading(self) -> None:
        """From now on the server cannot send more than what buffers between the two take."""
        ...

    def read_on(self) -> None:
        """The opposite."""
        ...

    def half_close(self) -> None:
        """End our direction only."""
        ...

    def reset(self) -> None:
        """Break the stream."""
        ...

    def close(self) -> None:
        """End it, whatever its state."""
        ...


def ws_frame(opcode: int, payload: bytes) -> bytes:
    """A masked WebSocket frame."""
    length = len(payload)
    if length < 126:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | length)
    elif length < 65_536:
        head = struct.pack("!BBH", 0x80 | opcode, 0xFE, length)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0xFF, length)
    return head + bytes(4) + payload


def http_request(method: str = "GET", target: str = "/", **headers: str) -> bytes:
    """A request head."""
    lines = {"Host": "localhost"} | {name.replace("_", "-"): text for name, text in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode()


def upgrade(target: str = "/ws", **headers: str) -> bytes:
    """The request that opens a WebSocket."""
    fields = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec_WebSocket_Version": "13",
        "Sec_WebSocket_Protocol": "v12.stomp",
    }
    return http_request("GET", target, **(fields | headers))


@dataclass
class Stomp:
    """One frame that came."""

    command: str
    headers: dict[str, str]
    body: bytes

    @classmethod
    def read(cls, payload: bytes) -> Stomp:
        assert payload.endswith(b"\0"), payload[-20:]
        head, _, body = payload[:-1].partition(b"\n\n")
        command, *lines = head.decode().split("\n")
        pairs = [line.partition(":") for line in lines]
        return cls(command, {name: value for name, _, value in reversed(pairs)}, body)


class Client:
    """Reads HTTP answers, WebSocket frames and STOMP frames off a pipe."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self._buffer = bytearray()
        self._frames: deque[Stomp] = deque()
        self._receipts = 0
        self.close_code: int | None = None
        """The code of the server's Close frame."""
        self.close_reason = ""
        """Its reason."""
        self.pongs: list[bytes] = []
        self._closes = False
        """We have sent a Close."""

    # Bytes

    def _need(self, ready: Callable[[bytearray], bool]) -> None:
        while not ready(self._buffer):
            data = self.pipe.receive()
            if not data:
                raise Gone(f"after {bytes(self._buffer[-80:])!r}, close code {self.close_code}")
            self._buffer += data

    def _take(self, count: int) -> bytes:
        self._need(lambda buffer: len(buffer) >= count)
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    def rest(self) -> bytes:
        """Everything until the server ends its direction."""
        while data := self.pipe.receive():
            self._buffer += data
        return self._take(len(self._buffer))

    # HTTP

    def response(self, *, body: bool = True) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers in lower case, body."""
        self._need(lambda buffer: b"\r\n\r\n" in buffer)
        head = self._take(self._buffer.index(b"\r\n\r\n") + 4).decode("iso-8859-1")
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        length = int(headers.get("content-length", "0")) if body else 0
        return int(first.split()[1]), headers, self._take(length)

    def ask_upgrade(self, early: bytes = b"", **headers: str) -> None:
        """Ask for a WebSocket; `response` has the answer."""
        self.pipe.send(upgrade(**headers) + early)

    def upgrade(self, early: bytes = b"", **headers: str) -> dict[str, str]:
        """Open the WebSocket; the headers of the answer.

        Args:
            early: Bytes sent along with the request.
            headers: Of the request; `target` is its path.
        """
        self.ask_upgrade(early, **headers)
        status, fields, _ = self.response()
        assert status == 101, status
        assert fields["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        return fields

    # WebSocket and STOMP

    def send(self, command: str, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        """Send one STOMP frame."""
        self.pipe.send(stomp(command, headers or {}, body))

    def next_message(self) -> tuple[int, bytes]:
        """The next WebSocket frame: opcode and payload."""
        head = self._take(2)
        length = head[1] & 0x7F
        if length == 126:
            length = int.from_bytes(self._take(2))
        elif length == 127:
            length = int.from_bytes(self._take(8))
        return head[0] & 0x0F, self._take(length)

    def frame(self, command: str) -> Stomp:
        """The next STOMP frame, which must be of this command."""
        while True:
            opcode, payload = self.next_message()
            if opcode == PONG:
                self.pongs.append(payload)
            elif opcode == CLOSE:
                self.close_code = int.from_bytes(payload[:2])
                raise Gone(f"expected {command}, got Close {self.close_code}")
            elif payload.strip(b"\r\n"):
                frame = Stomp.read(payload)
                assert frame.command == command, frame
                return frame

    def close(self, code: int) -> None:
        """Begin the closing handshake."""
        self._closes = True
        self.pipe.send(ws_frame(CLOSE, struct.pack("!H", code)))

    def closed(self) -> int:
        """The code of the server's Close, which must come next; it is answered, if it is no answer
        itself.
        """
        while self.close_code is None:
            opcode, payload = self.next_message()
            assert opcode in (CLOSE, PONG) or not payload.strip(), payload[:200]
            if opcode == CLOSE:
                self.close_code = int.from_bytes(payload[:2])
                self.close_reason = payload[2:].decode()
        if not self._closes:
            try:
                self.close(self.close_code)
            except (ConnectionResetError, BrokenPipeError):
                pass  # It did not wait for that.
        return self.close_code

    def connect(self) -> Client:
        """Upgrade and CONNECT."""
        self.upgrade()
        self.pipe.send(connect_frame())
        self.frame("CONNECTED")
        return self

    def subscribe(self, destination: str) -> None:
        """SUBSCRIBE, and wait for the RECEIPT."""
        self._receipts += 1
        receipt = f"r{self._receipts}"
        fields = {"id": f"s{self._receipts}", "destination": destination, "receipt": receipt}
        self.send("SUBSCRIBE", fields)
        assert self.frame("RECEIPT").headers["receipt-id"] == receipt


def stomp(command: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """One STOMP frame in one WebSocket message."""
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    if body:
        lines += f"content-length:{len(body)}\n"
    return ws_frame(BINARY, f"{command}\n{lines}\n".encode() + body + b"\0")


def connect_frame() -> bytes:
    """CONNECT without heart-beats."""
    return stomp("CONNECT", {"accept-version": "1.2", "host": "localhost"})

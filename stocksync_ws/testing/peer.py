"""A STOMP client that reads well in tests: every call settles the world, nothing is waited for.

Rule: it shows what really arrived. `frame()` takes the next frame or fails with the transcript;
`raw()` is the bytes of WebSocket messages, for tests of exact bytes.
"""

from __future__ import annotations

import json
import struct
from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from stocksync_ws.config import Limits
from stocksync_ws.messaging.convert import PayloadEncoder
from stocksync_ws.stomp.decoder import Decoder
from stocksync_ws.stomp.encoder import HEART_BEAT, encode
from stocksync_ws.stomp.frame import Frame, Version

if TYPE_CHECKING:
    from stocksync_ws.testing.stream import MemoryStream
    from stocksync_ws.testing.world import World

__all__ = ["Peer", "ReceivedFrame", "client_frame"]

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
_WIDE = Limits(max_message_size=2**31, max_header_block=2**20, max_header_line=2**20)


def client_frame(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """A masked WebSocket frame (RFC 6455 §5.2); the mask is zero, so the payload stays readable."""
    length = len(payload)
    first = opcode | (0x80 if fin else 0)
    if length < 126:
        head = struct.pack("!BB", first, 0x80 | length)
    elif length < 65_536:
        head = struct.pack("!BBH", first, 0xFE, length)
    else:
        head = struct.pack("!BBQ", first, 0xFF, length)
    return head + bytes(4) + payload


class _Absent(Enum):
    VALUE = "absent"

    def __repr__(self) -> str:
        return "..."


_ABSENT: Final = _Absent.VALUE
"""Stands for no JSON: None is `null`."""


class ReceivedFrame(Frame):
    """A frame that the server has sent."""

    __slots__ = ()

    def json(self) -> Any:
        """The JSON value of the body.

        Raises:
            AssertionError: The body is no JSON.
        """
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise AssertionError(f"the body is no JSON ({error}): {self!r}") from error


class Peer:
    """One client of a `World`."""

    def __init__(
        self, world: World, stream: MemoryStream, path: str, headers: dict[str, str]
    ) -> None:
        self.world = world
        self.stream = stream
        """The server's end of its connection."""
        self.version = Version.V12
        """The version of STOMP that the client speaks."""
        self._pings: list[bytes] = []
        self._pongs: list[bytes] = []
        self._beats = 0
        self._close_code: int | None = None
        self.texts: list[bool] = []
        """For each data message that came: was it text?"""
        self.answers_close = True
        """The client answers the server's Close, and ends the stream when the server has."""
        self._messages: deque[bytes] = deque()
        self._frames: deque[ReceivedFrame] = deque()
        self._log: list[str] = []
        self._decoder = Decoder(_WIDE, server_frames=True)
        self._counter = 0
        self._upgrade(path, headers)

    def _upgrade(self, path: str, headers: dict[str, str]) -> None:
        lines = {
            "Host": "localhost",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Protocol": "v12.stomp, v11.stomp, v10.stomp",
        }
        lines.update({name.replace("_", "-"): value for name, value in headers.items()})
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
        self.feed(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
        self.response = b""
        """The answer to the upgrade, its head."""
        self._read_response()

    def _read_response(self) -> None:
        received = self.stream.received
        end = received.find(b"\r\n\r\n")
        if not self.response and end >= 0:
            self.response = bytes(received[: end + 4])
            del received[: end + 4]

    # Towards the server

    def feed(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.world.runtime.driver.feed(self.stream.link, data)
        self.world.settle()

    def send(self, payload: bytes | str, *, binary: bool = False) -> None:
        """Send one WebSocket message."""
        data = payload.encode() if isinstance(payload, str) else payload
        self.feed(client_frame(BINARY if binary else TEXT, data))

    def command(self, command: str, headers: dict[str, str], body: bytes = b"") -> None:
        """Send one STOMP frame; a text cannot hold one that is not UTF-8, so that is binary."""
        frame = encode(command, headers, body, self.version)
        try:
            frame.decode()
        except UnicodeDecodeError:
            self.send(frame, binary=True)
        else:
            self.send(frame)

    def connect(
        self, version: str = "1.2", *, expect: str | int | None = None, **headers: str
    ) -> ReceivedFrame:
        """CONNECT; the CONNECTED frame, or the ERROR that is expected in its place.

        Args:
            version: The accept-version of the frame; `1.0` sends none.
            expect: The `code` of the ERROR that refuses the CONNECT, or the number of the close
                code behind it; None: the CONNECT is accepted.
            headers: Further headers; `_` in a name stands for `-`.

        Raises:
            AssertionError: Another answer came, or none.
        """
        self.version = Version(version)
        fields = {} if version == "1.0" else {"accept-version": version, "host": "localhost"}
        fields.update({name.replace("_", "-"): value for name, value in headers.items()})
        self.command("CONNECT", fields)
        self._decoder.version = self.version
        return self.frame("CONNECTED") if expect is None else self._refused(expect)

    def _refused(self, expect: str | int) -> ReceivedFrame:
        frame = self.error()
        closed = self.closed
        came = frame.headers.get("code") if isinstance(expect, str) else closed
        assert came == expect, self._story(f"expected {expect!r}, got {came!r}")
        assert closed is not None, self._story("an ERROR came, and no Close behind it")
        return frame

    def subscribe(self, destination: str, id: str | None = None, **headers: str) -> str:  # noqa: A002
        """SUBSCRIBE, and wait for its RECEIPT; the subscription id."""
        self._counter += 1
        subscription = id if id is not None else f"sub-{self._counter}"
        receipt = f"receipt-{self._counter}"
        fields = {"destination": destination, "id": subscription, "receipt": receipt}
        fields.update({name.replace("_", "-"): value for name, value in headers.items()})
        self.command("SUBSCRIBE", fields)
        assert self.frame("RECEIPT").headers["receipt-id"] == receipt
        return subscription

    def send_to(
        self,
        destination: str,
        body: bytes | str = b"",
        *,
        json: object = _ABSENT,
        **headers: str,
    ) -> None:
        """SEND.

        Args:
            destination: Of a handler, or of the broker.
            body: Sent as it is.
            json: Sent as JSON instead, with its content-type; anything that a handler may return,
                dataclasses and models among it.
            headers: Further headers; `_` in a name stands for `-`.

        Raises:
            TypeError: Both `body` and `json` were given.
            ConversionError: The value has no JSON form.
        """
        data = body.encode() if isinstance(body, str) else body
        fields = {"destination": destination}
        if json is not _ABSENT:
            if data:
                raise TypeError("send_to takes a body or json, not both")
            # In a list, since alone a text would be sent as text.
            data, fields["content-type"] = PayloadEncoder().encode([json])
            data = data[1:-1]
        fields.update({name.replace("_", "-"): value for name, value in headers.items()})
        self.command("SEND", fields, data)

    def beat(self) -> None:
        """A heart-beat."""
        self.send(b"\n")

    def pong(self, payload: bytes = b"") -> None:
        """A WebSocket PONG."""
        self.feed(client_frame(PONG, payload))

    def close(self, code: int = 1000) -> None:
        """A WebSocket Close."""
        self.feed(client_frame(CLOSE, struct.pack("!H", code)))

    def eof(self) -> None:
        """The stream ends."""
        self.world.runtime.driver.ended(self.stream.link)
        self.world.settle()

    def follow(self) -> None:
        """From now on answer a Close as it comes, and not only when the test looks at what came;
        while the world ends every client does.
        """
        self.stream.reader = self._hear
        self.world.loop.call_soon(self._hear)

    def _hear(self) -> None:
        self._read()
        if self.stream.ended and self.answers_close:
            self.world.runtime.driver.ended(self.stream.link)

    # From the server

    def raw(self) -> list[bytes]:
        """All data messages that have come and not been taken, exactly."""
        self.world.settle()
        self._read()
        messages = list(self._messages)
        self._messages.clear()
        return messages

    def frames(self) -> list[ReceivedFrame]:
        """All STOMP frames that have come and not been taken."""
        for message in self.raw():
            self._decode(message)
        frames = list(self._frames)
        self._frames.clear()
        return frames

    def frame(self, command: str | None = None) -> ReceivedFrame:
        """The next frame, which must be of this command."""
        frames = self.frames()
        assert frames, self._story(f"no frame came; expected {command or 'one'}")
        self._frames.extend(frames[1:])
        assert command in (None, frames[0].command), self._story(
            f"expected {command}, got {frames[0]!r}"
        )
        return frames[0]

    def message(self, destination: str | None = None) -> ReceivedFrame:
        """The next frame, which must be a MESSAGE.

        Args:
            destination: Take the next MESSAGE with this destination instead, and leave what came
                before it for later calls.

        Raises:
            AssertionError: No such frame has come; the text says which came.
        """
        if destination is None:
            return self.frame("MESSAGE")
        self._frames.extend(self.frames())
        for frame in self._frames:
            if frame.command == "MESSAGE" and frame.headers["destination"] == destination:
                self._frames.remove(frame)
                return frame
        raise AssertionError(self._story(f"no MESSAGE of {destination} came"))

    def error(self) -> ReceivedFrame:
        """The next frame, which must be an ERROR and the last one."""
        frame = self.frame("ERROR")
        self.nothing()
        return frame

    def nothing(self) -> None:
        """Nothing has come."""
        frames = self.frames()
        assert not frames, self._story(f"expected nothing, got {frames!r}")

    def _story(self, problem: str) -> str:
        transcript = "\n".join(self._log[-20:])
        return f"{problem}; closed={self._close_code}; what came before:\n{transcript}"

    def _decode(self, message: bytes) -> None:
        if not message.strip(b"\r\n"):
            return
        self._decoder.feed(message)
        while (frame := self._decoder.next()) is not None:
            self._log.append(repr(frame))
            self._frames.append(ReceivedFrame(frame.command, frame.headers, frame.body))

    def _read(self) -> None:
        """Take apart what the server has written."""
        self._read_response()
        if not self.response.startswith(b"HTTP/1.1 101 "):
            return
        received = self.stream.received
        while len(received) >= 2:
            length, start = received[1] & 0x7F, 2
            if length == 126:
                length, start = int.from_bytes(received[2:4]), 4
            elif length == 127:
                length, start = int.from_bytes(received[2:10]), 10
            if len(received) < start + length:
                return
            opcode, payload = received[0] & 0x0F, bytes(received[start : start + length])
            del received[: start + length]
            self._take(opcode, payload)

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode in (TEXT, BINARY):
            self.texts.append(opcode == TEXT)
            self._messages.append(payload)
            self._beats += payload == HEART_BEAT
        elif opcode == PING:
            self._pings.append(payload)
        elif opcode == PONG:
            self._pongs.append(payload)
        elif opcode == CLOSE:
            self._close_code = int.from_bytes(payload[:2])
            self._log.append(f"Close {self._close_code} {payload[2:]!r}")
            if self.answers_close and not self.stream.aborted:
                self._answer(client_frame(CLOSE, payload[:2]))

    def _answer(self, data: bytes) -> None:
        self.world.runtime.driver.feed(self.stream.link, data)
        if not self.world.loop.is_running():
            self.world.settle()

    @property
    def closed(self) -> int | None:
        """The code of the server's Close frame, None while there was none."""
        self.world.settle()
        self._read()
        return self._close_code

    @property
    def pings(self) -> list[bytes]:
        """Payloads of the PINGs that have come."""
        self._read()
        return self._pings

    @property
    def pongs(self) -> list[bytes]:
        """Payloads of the PONGs that have come."""
        self._read()
        return self._pongs

    @property
    def beats(self) -> int:
        """Heart-beats that have come."""
        self._read()
        return self._beats

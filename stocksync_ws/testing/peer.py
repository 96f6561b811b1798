"""A STOMP client that reads well in tests: every call settles the world, nothing is waited for.

Rule: it shows what really arrived. `frame()` takes the next frame or fails with the transcript;
`raw()` is the bytes of WebSocket messages, for tests of exact bytes. What it sends by itself, as
long as it is not `silent`, is what the client of a browser sends, and never falls into what the
test sends.
"""

from __future__ import annotations

import json
import struct
from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from stocksync_ws.stomp.decoder import Decoder
from stocksync_ws.stomp.encoder import HEART_BEAT, encode
from stocksync_ws.stomp.frame import CONNECTED, Frame, Version
from stocksync_ws.stomp.negotiate import agree_heart_beats, parse_heart_beat
from stocksync_ws.testing.given import as_fields, as_json, as_octets, as_version
from stocksync_ws.testing.sent import WIDE, Sent, take_frame

if TYPE_CHECKING:
    from stocksync_ws.testing.stream import MemoryStream
    from stocksync_ws.testing.world import World

__all__ = ["Peer", "ReceivedFrame", "client_frame"]

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
EARLY = 0.9
"""A heart-beat leaves after this part of the interval that was agreed."""
STORY = 20
"""Frames of a transcript."""
SHOWN = 2_000
"""Octets of a body that are shown."""


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

    def __repr__(self) -> str:
        rest = f" and {len(self.body) - SHOWN} octets" if len(self.body) > SHOWN else ""
        return f"Frame({self.command!r}, {self.headers!r}, {self.body[:SHOWN]!r}{rest})"

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
    """One client of a `World`. It lives as that of a browser does: while time passes it answers
    PINGs, sends the heart-beats that it agreed to, and answers a Close, unless it is `silent`.
    """

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
        """The client answers the server's Close, and ends the stream when the server has. False:
        never.
        """
        self._messages: deque[bytes] = deque()
        self._frames: deque[ReceivedFrame] = deque()
        self._log: deque[object] = deque(maxlen=STORY)
        self._decoder = Decoder(WIDE, server_frames=True)
        self._counter = 0
        self._sent = Sent()
        self._ping: bytes | None = None
        self._gone = False
        self._upgrade(path, headers)
        self.silent = world.silent

    def _upgrade(self, path: str, headers: dict[str, str]) -> None:
        lines = {
            "Host": "localhost",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Protocol": "v12.stomp, v11.stomp, v10.stomp",
        }
        lines.update(as_fields(headers))
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
        request = f"GET {path} HTTP/1.1\r\n{head}\r\n".encode()
        self.world.runtime.driver.feed(self.stream.link, request)
        self.world.settle()
        self.response = b""
        """The answer to the upgrade, its head."""
        self._read_response()

    def _read_response(self) -> None:
        received = self.stream.received
        end = received.find(b"\r\n\r\n")
        if not self.response and end >= 0:
            self.response = bytes(received[: end + 4])
            del received[: end + 4]
            line = self.response.partition(b"\r\n")[0].decode("latin-1")
            if " 101 " not in line:
                self._log.append(f"the upgrade was refused: {line}")

    # Towards the server

    def feed(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._put(data)
        self.world.settle()
        self._answer_ping()

    def _put(self, data: bytes) -> None:
        self._sent.note(data)
        self.world.runtime.driver.feed(self.stream.link, data)

    def send(self, payload: bytes | str, *, binary: bool = False) -> None:
        """Send one WebSocket message."""
        self.feed(client_frame(BINARY if binary else TEXT, as_octets("send", payload)))

    def command(self, command: str, headers: dict[str, str], body: bytes | str = b"") -> None:
        """Send one STOMP frame; a text cannot hold one that is not UTF-8, so that is binary."""
        frame = encode(command, headers, as_octets("command", body), self.version)
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
            ValueError: `version` is none of them.
        """
        self.version = as_version(version)
        fields = {} if version == "1.0" else {"accept-version": version, "host": "localhost"}
        fields.update(as_fields(headers))
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
        fields.update(as_fields(headers))
        self.command("SUBSCRIBE", fields)
        came = self.frame("RECEIPT").headers["receipt-id"]
        wanted = fields["receipt"]
        assert came == wanted, self._story(f"expected the RECEIPT {wanted!r}, got {came!r}")
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
            TypeError: Both `body` and `json` were given, or a body that is neither text nor octets.
            ConversionError: The value has no JSON form.
        """
        data = as_octets("send_to", body)
        fields = {"destination": destination}
        if json is not _ABSENT:
            if data:
                raise TypeError("send_to takes a body or json, not both")
            data, fields["content-type"] = as_json(json)
        fields.update(as_fields(headers))
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
        self._gone = True
        self.world.runtime.driver.ended(self.stream.link)
        self.world.settle()

    # By itself

    @property
    def silent(self) -> bool:
        """Nothing is sent by itself: no PONG, no heart-beat, and the answer to a Close only when
        the test looks at what came. May be changed at any time; while the world ends, no client is
        silent.
        """
        return self._silent

    @silent.setter
    def silent(self, silent: bool) -> None:
        self._silent = silent
        self.stream.reader = None if silent else self._hear
        if not silent and not self.world.loop.is_closed():
            self.world.loop.call_soon(self._hear)

    def _hear(self) -> None:
        self._read()
        self._answer_ping()
        if self.stream.ended and self.answers_close:
            self.world.runtime.driver.ended(self.stream.link)

    def _answer_ping(self) -> None:
        """The latest PING is answered (RFC 6455 §5.5.3), behind a frame that the test has begun."""
        if self._ping is not None and self._may_send(self._sent.between_frames):
            payload, self._ping = self._ping, None
            self._answer(client_frame(PONG, payload))

    def _answer(self, data: bytes) -> None:
        self._put(data)
        if not self.world.loop.is_running():
            self.world.settle()

    def _may_send(self, between: bool) -> bool:
        return between and not self._silent and not self._gone and not self.stream.ended

    def _agree(self, message: bytes) -> None:
        """Heart-beats are agreed by what CONNECT and CONNECTED said."""
        decoder = Decoder(WIDE, server_frames=True)
        decoder.feed(message)
        frame = decoder.next()
        assert frame is not None
        beats = parse_heart_beat(frame.headers.get("heart-beat"))
        every, _ = agree_heart_beats(self._sent.heart_beat, beats)
        if every:
            self.world.loop.call_later(every / 1000 * EARLY, self._beat, every / 1000 * EARLY)

    def _beat(self, every: float) -> None:
        if self._may_send(self._sent.between_messages):
            self._put(client_frame(TEXT, HEART_BEAT))
        if not self._gone and not self.stream.ended:
            self.world.loop.call_later(every, self._beat, every)

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
        transcript = "\n".join(str(each) for each in self._log)
        topics = self.world.broker.delivery.registry.topics.values()
        windows = [each.window for each in topics if each.window is not None]
        waits = max((each.delay for each in windows if each.deadline is not None), default=None)
        if waits is not None:
            problem += f" (messages wait for their flush_delay: world.advance({waits}))"
        return f"{problem}; closed={self._close_code}; what came before:\n{transcript}"

    def _decode(self, message: bytes) -> None:
        if not message.strip(b"\r\n"):
            return
        self._decoder.feed(message)
        while (each := self._decoder.next()) is not None:
            frame = ReceivedFrame(each.command, each.headers, each.body)
            self._log.append(frame)
            self._frames.append(frame)

    def _read(self) -> None:
        """Take apart what the server has written."""
        self._read_response()
        if not self.response.startswith(b"HTTP/1.1 101 "):
            return
        while (frame := take_frame(self.stream.received)) is not None:
            first, payload = frame
            self._take(first & 0x0F, payload)

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode in (TEXT, BINARY):
            self.texts.append(opcode == TEXT)
            self._messages.append(payload)
            self._beats += payload == HEART_BEAT
            if payload.startswith(CONNECTED.encode()):
                self._agree(payload)
        elif opcode == PING:
            self._pings.append(payload)
            self._ping = payload
        elif opcode == PONG:
            self._pongs.append(payload)
        elif opcode == CLOSE:
            self._close_code = int.from_bytes(payload[:2])
            self._log.append(f"Close {self._close_code} {payload[2:]!r}")
            if self.answers_close and not self.stream.aborted:
                self._answer(client_frame(CLOSE, payload[:2]))

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

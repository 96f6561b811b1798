"""A browser for the tests of SockJS: lines that speak HTTP/1.1 to a `World`, and a client that does
what the protocol asks of one.

Rule: `Line` shows an answer as it came, chunk by chunk, and judges nothing; `Client` keeps to the
protocol, so that whatever goes wrong in it is the server's fault.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

import h11

from stocksync_ws import DisconnectReason, SessionDisconnected, StompApp
from stocksync_ws.config import Limits, SockJSOptions
from stocksync_ws.stomp.decoder import Decoder
from stocksync_ws.stomp.encoder import encode
from stocksync_ws.stomp.frame import Frame, Version
from stocksync_ws.testing.stream import MemoryStream
from stocksync_ws.testing.world import World
from stocksync_ws.wire.connection import HttpConnection

__all__ = [
    "CONNECT",
    "NEVER_CACHED",
    "OF_A_SESSION",
    "UPGRADE",
    "Answer",
    "Client",
    "Line",
    "Web",
    "deframe",
]

CONNECT = encode("CONNECT", {"accept-version": "1.2", "host": "a"}, b"", Version.V12).decode()
PEER = "127.0.0.1:50000"
NEVER_CACHED = "no-store, no-cache, no-transform, must-revalidate, max-age=0"
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}
OF_A_SESSION = [
    ("POST", "xhr"),
    ("POST", "xhr_streaming"),
    ("GET", "eventsource"),
    ("GET", "htmlfile?c=cb"),
    ("GET", "jsonp?c=cb"),
    ("POST", "xhr_send"),
    ("POST", "jsonp_send"),
]
"""Every request of a session over plain HTTP."""
_WIDE = Limits(max_message_size=2**31, max_header_block=2**20, max_header_line=2**20)


class Answer:
    """One answer, as far as it has come."""

    def __init__(self, method: str, *, upgrade: bool = False) -> None:
        self.parser = h11.Connection(h11.CLIENT)
        wish = [("Upgrade", "websocket"), ("Connection", "Upgrade")] if upgrade else []
        self.parser.send(h11.Request(method=method, target="/", headers=[("Host", "a"), *wish]))
        self.parser.send(h11.EndOfMessage())
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.chunks: list[bytes] = []
        """Those of the chunked coding, or the parts in which it came."""
        self.whole = False
        self.continues = 0
        """How often it said 100 Continue."""
        self.http_version = ""

    def get(self, name: str) -> str | None:
        """The only header of this name, or None."""
        values = [value for key, value in self.headers if key == name.lower()]
        assert len(values) < 2, f"{name} came twice"
        return values[0] if values else None

    @property
    def body(self) -> bytes:
        """All of it that has come."""
        return b"".join(self.chunks)

    def feed(self, data: bytes) -> bytes:
        """Bytes came; what of them stands behind this answer."""
        self.parser.receive_data(data)
        opened = False
        while True:
            event = self.parser.next_event()
            if isinstance(event, h11.InformationalResponse) and event.status_code == 101:
                self.status, self.whole = 101, True
                return b""  # What follows is no HTTP.
            if isinstance(event, h11.InformationalResponse):
                self.continues += 1
            elif isinstance(event, h11.Response):
                self.status = event.status_code
                self.http_version = event.http_version.decode()
                self.headers = [(k.decode(), v.decode("latin-1")) for k, v in event.headers]
            elif isinstance(event, h11.Data):
                if opened and not event.chunk_start:
                    self.chunks[-1] += bytes(event.data)
                else:
                    self.chunks.append(bytes(event.data))
                opened = not event.chunk_end
            elif isinstance(event, h11.EndOfMessage):
                self.whole = True
                return bytes(self.parser.trailing_data[0])
            else:
                return b""


class Line:
    """One connection to the server."""

    def __init__(self, web: Web, peer: str | None = PEER) -> None:
        self._web = web
        world = web.world
        self.stream = MemoryStream(world.runtime.driver, world.runtime.host.soon)
        connection = HttpConnection(
            web.site,
            world.runtime.config.limits,
            world.counters,
            peer=peer,
            secure=False,
            draining=lambda: web.draining,
        )
        self.connection = connection
        self.stream.start(connection)
        self._asked: deque[Answer] = deque()

    def head(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, version: str = "1.1"
    ) -> Answer:
        """Send the head of a request, as it is given; its answer, which fills as it comes."""
        lines = {"Host": "a", **(headers or {})}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        answer = Answer(method, upgrade="Upgrade" in lines)
        self._asked.append(answer)
        self.feed(f"{method} {path} HTTP/{version}\r\n{head}\r\n".encode("latin-1"))
        return answer

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        version: str = "1.1",
    ) -> Answer:
        """Send a whole request; a POST has a length."""
        if body is None and method != "POST":
            return self.head(method, path, headers, version)
        data = body.encode() if isinstance(body, str) else body or b""
        answer = self.head(method, path, {"Content-Length": str(len(data)), **(headers or {})})
        for at in range(0, len(data), 65_536):
            self.feed(data[at : at + 65_536])
        return answer

    def feed(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._web.world.runtime.driver.feed(self.stream.link, data)
        self.read()

    def read(self) -> None:
        """Take what has come."""
        self._web.world.settle()
        stream = self.stream
        data = bytes(stream.received)
        stream.received.clear()
        while self._asked and data:
            answer = self._asked[0]
            data = answer.feed(data)
            if answer.whole:
                self._asked.popleft()
        assert not data, f"bytes behind the last answer: {data!r}"
        if self._asked and stream.ended and self._asked[0].status:
            self._asked.popleft().feed(b"")

    def eof(self) -> None:
        """The client goes away."""
        self._web.world.runtime.driver.ended(self.stream.link)
        self._web.world.settle()

    @property
    def open(self) -> bool:
        """The server has not ended it."""
        return not self.stream.ended


class Web:
    """An application with SockJS in a world. A context manager."""

    def __init__(self, app: StompApp | None = None, **settings: Any) -> None:
        defaults: dict[str, Any] = {
            "allowed_origins": ["*"],
            "sockjs": SockJSOptions.conformance(),
            "heart_beat": (0, 0),
            "client_send": ["/topic/**"],
        }
        self.app = app = app or StompApp("/ws", **{**defaults, **settings})
        self.ends: list[DisconnectReason] = []
        """How sessions that were CONNECTED have ended."""

        @app.event_listener(SessionDisconnected)
        async def listen(event: SessionDisconnected) -> None:
            self.ends.append(event.reason)

        self.site = self.app.site()
        self.routes: Any = self.site.routes.get("/ws")
        self.world = World(self.app, self.site, silent=True)
        self.draining = False

    @property
    def sessions(self) -> Any:
        """The table of SockJS sessions."""
        return self.routes.sessions

    @property
    def broker(self) -> Any:
        """The machine."""
        return self.world.broker

    def line(self, peer: str | None = PEER) -> Line:
        """A new connection."""
        return Line(self, peer)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        peer: str | None = PEER,
    ) -> Answer:
        """One request on a connection of its own; the path is below the endpoint."""
        return self.line(peer).ask(method, "/ws" + path, body, headers)

    def post(self, path: str, *messages: str) -> Answer:
        """Post an array of messages."""
        return self.ask("POST", path, json.dumps(messages))

    def publish(self, body: str, destination: str = "/topic/a") -> None:
        """Publish from the application."""
        self.app.template.send(destination, body.encode())
        self.world.settle()

    def told(self, transport: str = "xhr", name: str = "s1") -> list[Any]:
        """What a new receiving request of a session is told at its end."""
        client = Client(self, name, transport)
        client.pump_once()
        assert client.answers[-1].whole
        assert client.closed is not None, client.frames
        return client.closed

    def close(self) -> None:
        """End it, and look that nothing is left."""
        self.world.close()
        assert not self.broker.sessions
        assert not self.broker.office.total

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.world.close()


_SCRIPT = re.compile(rb"<script>\np\((.*?)\);\n</script>\r\n", re.DOTALL)
_CALL = re.compile(rb"/\*\*/cb\((.*?)\);\r\n", re.DOTALL)


def deframe(transport: str, body: bytes) -> tuple[list[str], bytes]:
    """The frames of a body without its prelude, and what is no whole frame yet."""
    if transport in ("htmlfile", "jsonp"):
        pattern, frames, at = _SCRIPT if transport == "htmlfile" else _CALL, [], 0
        while found := pattern.match(body, at):
            frames.append(json.loads(found[1]))
            at = found.end()
        return frames, body[at:]
    mark = b"\r\n\r\n" if transport == "eventsource" else b"\n"
    *parts, rest = body.split(mark)
    if transport == "eventsource":
        assert all(part.startswith(b"data: ") for part in parts)
        return [unquote(part[6:].decode()) for part in parts], rest
    return [part.decode() for part in parts], rest


PRELUDES = {"xhr_streaming": 2_049, "eventsource": 2}
"""Bytes before the first frame."""


class Client:
    """A client of one session: asks again when an answer has ended, and posts.

    Attributes:
        frames: Those that have come.
        messages: Their messages.
        closed: What the frame `c` said, or `lost`.
        answers: Those to its receiving requests.
    """

    def __init__(self, web: Web, name: str = "s1", transport: str = "xhr") -> None:
        self.web = web
        self.path = f"/ws/000/{name}"
        self.transport = transport
        self.frames: list[str] = []
        self.messages: list[str] = []
        self.stomp: list[Frame] = []
        self.closed: list[Any] | None = None
        self.answers: list[Answer] = []
        self.line: Line | None = None
        self.window: int | None = None
        """Bytes that its next receiver takes before `open_window`."""
        self._seen = 0
        self._decoder = Decoder(_WIDE, server_frames=True)
        self._decoder.version = Version.V12

    # Receiving

    def attach(self) -> Answer:
        """Send a receiving request, on a connection of its own."""
        line = self.line = self.web.line()
        line.stream.window = self.window
        method = "POST" if self.transport.startswith("xhr") else "GET"
        query = "?c=cb" if self.transport in ("htmlfile", "jsonp") else ""
        self._seen = 0
        answer = line.ask(method, f"{self.path}/{self.transport}{query}")
        self.answers.append(answer)
        return answer

    def pump(self) -> None:
        """Read, and ask again as long as answers end, until one waits."""
        while self.closed is None:
            if self.line is None:
                self.attach()
            assert self.line is not None
            self.line.read()
            answer = self.answers[-1]
            self._read(answer)
            if not answer.whole:
                return
            assert answer.status == 200
            assert answer.body, "an answer without a frame: the client would ask for ever"
            self.line = None

    def _read(self, answer: Answer) -> None:
        prelude = PRELUDES.get(self.transport, 0)
        if self.transport == "htmlfile":
            prelude = max(answer.body.find(b"\r\n\r\n") + 4, 4)
        body = answer.body[prelude:]
        frames, _ = deframe(self.transport, body)
        for frame in frames[self._seen :]:
            self._take(frame)
        self._seen = len(frames)

    def _take(self, frame: str) -> None:
        assert self.closed is None, f"behind the end: {frame}"
        self.frames.append(frame)
        if frame[0] == "o":
            assert self.frames == ["o"], "the session was opened twice"
        elif frame[0] == "a":
            for message in json.loads(frame[1:]):
                self.messages.append(message)
                if message.strip():
                    self._decoder.feed(message.encode())
                    while (each := self._decoder.next()) is not None:
                        self.stomp.append(each)
        elif frame[0] == "c":
            self.closed = json.loads(frame[1:])
        else:
            assert frame == "h"

    def cut(self) -> None:
        """The connection of the receiver breaks."""
        assert self.line is not None
        self.line.eof()
        self.line = None

    # Sending

    def post(self, *messages: str) -> Answer:
        """Post messages on a connection of its own."""
        name = "jsonp_send" if self.transport == "jsonp" else "xhr_send"
        headers = {"Content-Type": "text/plain"}
        body = json.dumps(messages)
        return self.web.line().ask("POST", f"{self.path}/{name}", body, headers)

    def send(self, command: str, headers: Mapping[str, str], body: str = "") -> Answer:
        """Post one STOMP frame."""
        return self.post(encode(command, dict(headers), body.encode(), Version.V12).decode())

    def connect(self, *destinations: str) -> Self:
        """Open the session, CONNECT, and subscribe."""
        self.pump_once()
        assert self.post(CONNECT).status in (200, 204)
        for number, destination in enumerate(destinations):
            self.send("SUBSCRIBE", {"id": str(number), "destination": destination})
        self.pump()
        assert [frame.command for frame in self.stomp] == ["CONNECTED"], self.frames
        self.stomp.clear()
        return self

    def read(self) -> None:
        """Read, and do not ask again yet when the answer has ended."""
        if self.line is not None:
            self.line.read()
            self._read(self.answers[-1])
            if self.answers[-1].whole:
                self.line = None

    def take_answer(self) -> None:
        """The same, and it has ended."""
        self.read()
        assert self.line is None

    def pump_once(self) -> None:
        """One receiving request."""
        self.attach()
        self._read(self.answers[-1])
        if self.answers[-1].whole:
            self.line = None

    def bodies(self) -> list[str]:
        """The bodies of the messages that have come; what else came is an error."""
        self.pump()
        assert {frame.command for frame in self.stomp} <= {"MESSAGE"}, self.stomp
        return [bytes(frame.body).decode() for frame in self.stomp]

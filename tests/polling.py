"""A client of SockJS over plain HTTP as the driver sees one: its streams, what came, its wire.
One that keeps to the protocol by itself is in `wire/sockjs/client.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from stocksync_ws.testing.stream import MemoryStream
from stocksync_ws.testing.world import World
from stocksync_ws.types import Chunk, Connection, Event, Handshake
from tests.wire.sockjs.client import Answer

__all__ = ["CONNECT", "Polling", "Says", "connected"]

CONNECT = "CONNECT\naccept-version:1.2\nheart-beat:0,0\n\n\0"
HEAD = "{method} {target} HTTP/{version}\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"


class Polling:
    """One client, with any number of streams; the last one that receives is looked at.

    Args:
        world: Of an application with `sockjs`, at `/ws`.
        name: The id of its session.
    """

    def __init__(self, world: World, name: str = "abc") -> None:
        self.world = world
        self.name = name
        self.stream: MemoryStream = world.open()
        self.poster: MemoryStream = world.open()

    # What it asks

    def ask(
        self,
        stream: MemoryStream,
        transport: str,
        body: bytes = b"",
        *,
        method: str = "POST",
        version: str = "1.1",
    ) -> None:
        """One request for its session on a stream."""
        target = f"/ws/000/{self.name}/{transport}"
        head = HEAD.format(method=method, target=target, version=version, length=len(body))
        self.feed(stream, head.encode() + body)

    def feed(self, stream: MemoryStream, data: bytes) -> None:
        """Send as a peer does: nothing of it is read while the stream is paused."""
        assert not stream.paused
        self.world.runtime.driver.feed(stream.link, data)
        self.world.settle()

    def receive(self, transport: str = "xhr", **how: Any) -> Polling:
        """Ask for messages, where the last answer came, or on a new stream."""
        if self.stream.ended or self.stream.link.wire is not None:
            self.stream = self.world.open()
        self.ask(self.stream, transport, **how)
        return self

    def send(self, *frames: str | bytes, stream: MemoryStream | None = None) -> Polling:
        """Post frames of STOMP."""
        self.ask(stream or self.poster, "xhr_send", array(frames))
        return self

    def leave(self) -> None:
        """End the stream that receives."""
        self.world.runtime.driver.ended(self.stream.link)
        self.world.settle()

    # What came

    def took(self) -> list[str]:
        """The frames of SockJS that came where it receives, since the last look."""
        return [frame for frame in bodies(self.stream).decode().split("\n") if frame.strip("h")]

    def messages(self) -> list[str]:
        """The messages in them."""
        return [text for frame in self.took() if frame[0] == "a" for text in json.loads(frame[1:])]

    def statuses(self, stream: MemoryStream | None = None) -> list[int]:
        """The statuses of the answers that came to its posts, since the last look."""
        received = (stream or self.poster).received
        statuses = [answer.status for answer in answers(bytes(received))]
        received.clear()
        return statuses

    # What it is for the server

    @property
    def wire(self) -> Any:
        """The wire of its session, open or remembered."""
        sessions: Any = self.world._site.routes["/ws"]
        return sessions.sessions.find(self.name)

    @property
    def session(self) -> Any:
        """Its session."""
        return self.wire.session


def connected(world: World, name: str = "abc", *, transport: str = "xhr") -> Polling:
    """A client that a request carries, and whose session is connected."""
    client = Polling(world, name)
    client.receive(transport).send(CONNECT)
    if transport == "xhr":
        client.receive()
    frames = client.took()
    assert frames[0] == "o"
    assert frames[1].startswith('a["CONNECTED')
    if transport == "xhr":
        client.receive()
    assert client.statuses() == [204]
    return client


def array(frames: Iterable[str | bytes]) -> bytes:
    """The body of a post."""
    texts = [frame if isinstance(frame, str) else frame.decode() for frame in frames]
    return json.dumps(texts).encode()


def answers(received: bytes) -> list[Answer]:
    """Every answer on a stream, the last one as far as it has come."""
    found: list[Answer] = []
    while received:
        found.append(Answer("POST"))
        received = found[-1].feed(received)
    return found


def bodies(stream: MemoryStream) -> bytes:
    """What came on a stream since the last look, without the framing of HTTP."""
    received = bytes(stream.received)
    if received.startswith(b"HTTP/"):
        stream.received.clear()
        return b"".join(answer.body for answer in answers(received))
    # More of an answer in chunks.
    parts: list[bytes] = []
    while received and not received.startswith(b"HTTP/"):
        size, _, rest = received.partition(b"\r\n")
        parts.append(rest[: int(size, 16)])
        received = rest[int(size, 16) + 2 :]
    stream.received[:] = received
    return b"".join(parts) + (bodies(stream) if received else b"")


class Says:
    """A connection that says what a test has it say, and answers nothing."""

    def __init__(self, *first: Event) -> None:
        self.deadline: float | None = None
        self.held = self.shut = False
        self.says: list[Event] = []
        self._first = list(first)

    def start(self, now: float) -> list[Event]:
        return self._first

    def receive(self, data: bytes, now: float) -> list[Event]:
        says, self.says = self.says, []
        return says

    def accept(self, handshake: Handshake, now: float) -> list[Event]:
        return []

    def refuse(self, handshake: Handshake, status: int, text: str, now: float) -> list[Event]:
        return []

    def resume(self, now: float) -> list[Event]:
        return []

    def lost(self, now: float) -> list[Event]:
        return []

    def wake(self, now: float) -> list[Event]:
        return []

    def detach(self, now: float) -> list[Event]:
        return []

    def take(self) -> list[Chunk]:
        return []

    def on(self, world: World) -> MemoryStream:
        """A stream of its own in a world."""
        connection: Connection = self
        stream = MemoryStream(world.runtime.driver, world.runtime.host.soon)
        stream.start(connection)
        world.settle()
        return stream

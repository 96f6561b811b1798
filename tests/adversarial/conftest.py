"""How a row of bytes is thrown at a whole server, and what came of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from stocksync_ws import AccessDenied, ConnectRequest, StompApp
from stocksync_ws.testing.peer import Peer, client_frame
from stocksync_ws.testing.world import World

BINARY = 2
LONG = 300
"""Bytes from which on a row is no longer cut at every one of them."""

Outcome = tuple[list[str], int | None]


def make_app() -> StompApp:
    """An application with something to attack."""

    def authenticate(request: ConnectRequest) -> None:
        if request.login == "eve":
            raise AccessDenied("s3cret: eve is not welcome")

    app = StompApp(
        "/ws",
        allowed_origins=["*"],
        authenticator=authenticate,
        client_send=["/topic/open/**"],
    )
    app.message_mapping("/echo", inline=True)(lambda: None)
    app.subscribe_mapping("/now", inline=True)(lambda: "now")
    return app


class Server:
    """A world in which each attempt has a client of its own."""

    def __init__(self, world: World) -> None:
        self.world = world

    def client(self, setup: str) -> Peer:
        """`upgraded`, or the version it is connected with; `1.2+` listens to /topic/open/a."""
        if setup == "upgraded":
            return self.world.upgrade()
        peer = self.world.connect(setup.rstrip("+"))
        if setup.endswith("+"):
            peer.subscribe("/topic/open/a", "s1")
        return peer

    def attempt(self, setup: str, pieces: Sequence[bytes]) -> Outcome:
        """Feed the pieces to a fresh client; what it was told, and how it was closed."""
        peer = self.client(setup)
        for piece in pieces:
            self.world.runtime.driver.feed(peer.stream.link, piece)
        self.world.settle()
        told = [_short(frame.command, frame.headers, frame.body) for frame in peer.frames()]
        outcome = told, peer.closed
        assert not peer.stream.aborted
        peer.eof()
        return outcome


def _short(command: str, headers: dict[str, str], body: bytes) -> str:
    if command == "ERROR":
        return f"ERROR {headers['code']}"
    if command == "RECEIPT":
        return f"RECEIPT {headers['receipt-id']}"
    if command == "MESSAGE":
        return f"MESSAGE {body.decode('latin-1')}"
    return command


def cuts(data: bytes) -> Iterator[int]:
    """Where to cut in two: everywhere, or in a long row around its ends and here and there."""
    size = len(data)
    if size <= LONG:
        yield from range(1, size)
        return
    yield from range(1, 16)
    yield from range(16, size - 16, size // 16)
    yield from range(size - 16, size)


def grains(data: bytes) -> list[bytes]:
    """Byte by byte, or a long row in many pieces."""
    step = 1 if len(data) <= LONG else len(data) // 300
    return [data[at : at + step] for at in range(0, len(data), step)]


@pytest.fixture
def attack(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[..., Outcome]]:
    """Throws a row at a server whole, in two pieces and byte by byte; all must end alike."""
    world = World(make_app(), silent=True)
    server = Server(world)

    def throw(
        data: bytes, setup: str = "1.2", *, stomp: bool = True, inspect: Any = None
    ) -> Outcome:
        whole = client_frame(BINARY, data) if stomp else data
        outcome = server.attempt(setup, [whole])
        ways: list[list[bytes]] = [[whole[:at], whole[at:]] for at in cuts(whole)]
        ways.append(grains(whole))
        if stomp:
            # The same octets in two WebSocket messages, here and there, and in very many.
            ways += [
                [client_frame(BINARY, data[:at]), client_frame(BINARY, data[at:])]
                for at in [*cuts(data)][::4]
            ]
            small = grains(data)
            if len(small) <= 128:
                ways.append([client_frame(BINARY, piece) for piece in small])
        for way in ways:
            assert server.attempt(setup, way) == outcome, way[:2]
        return outcome

    yield throw
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    world.advance(10)
    assert not world.broker.sessions
    assert not world.broker.office.total
    world.close()

"""Browsers of the fault scenes: each follows every room, comes back by its last message, and writes
down all that it is given and all that it is told.

Rule: a browser believes what it is told and nothing else. A stretch is what it was given without a
word in between: it begins behind a position that the server has named.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

__all__ = ["Browser", "Stretch", "frame_of", "parsed"]

BACK = 0.1
"""Seconds until a browser that was closed comes back, about."""


@dataclass
class Stretch:
    """Messages of one room that were given without a word in between."""

    begins: str
    """The last message-id before it, as the server has said; empty: not known."""
    messages: list[tuple[str, str]] = field(default_factory=list)
    """Message-id and body."""
    told: str = ""
    """Why it does not go on from the one before."""


class Browser:
    """One browser.

    Args:
        ports: Where workers are; it goes to the first, and to another one when that is gone.
        rooms: The destinations that it follows.
        survives: It asks to be told of a reset by a message.
    """

    def __init__(self, ports: Sequence[int], rooms: Sequence[str], *, survives: bool) -> None:
        self._ports = list(ports)
        self._rooms = rooms
        self._survives = survives
        self.stretches: dict[str, list[Stretch]] = {room: [] for room in rooms}
        self.closes: list[int] = []
        self.problems: list[str] = []
        self.connection: ClientConnection | None = None
        self._changed = asyncio.Event()
        self.live: set[str] = set()
        """Rooms whose SUBSCRIBE was answered on this connection."""

    async def run(self) -> None:
        """Connect, and come back, until this is cancelled."""
        while True:
            try:
                await self._visit(self._ports[0])
            except ConnectionClosed as closed:
                self.closes.append(closed.rcvd.code if closed.rcvd else 1006)
            except (OSError, InvalidHandshake, TimeoutError):
                pass
            self.connection = None
            self.live.clear()
            self._ports.append(self._ports.pop(0))
            await asyncio.sleep(BACK * random.uniform(0.5, 1.5))

    async def until(self, look: Callable[[], bool]) -> None:
        """Wait until something is so."""
        while not look():
            self._changed.clear()
            await self._changed.wait()

    async def leave(self) -> None:
        """Close, and come back at another worker."""
        if self.connection is not None:
            await self.connection.close()

    def last(self, room: str) -> str:
        """The message-id from which it goes on."""
        stretches = self.stretches[room]
        if not stretches:
            return ""
        stretch = stretches[-1]
        return stretch.messages[-1][0] if stretch.messages else stretch.begins

    async def _visit(self, port: int) -> None:
        uri = f"ws://127.0.0.1:{port}/ws"
        async with connect(uri, subprotocols=["v12.stomp"], compression=None) as connection:  # type: ignore[list-item]
            reset = {"on-reset": "message"} if self._survives else {}
            await connection.send(frame_of("CONNECT", {"accept-version": "1.2", **reset}))
            assert parsed(await connection.recv())[0] == "CONNECTED"
            self.connection = connection
            for number, room in enumerate(self._rooms):
                headers = {"id": str(number), "destination": room, "receipt": room}
                if last := self.last(room):
                    headers["last-message-id"] = last
                await connection.send(frame_of("SUBSCRIBE", headers))
            async for data in connection:
                for text in data.split("\0") if isinstance(data, str) else []:
                    if text.strip("\n"):
                        self._take(*parsed(text))
                        self._changed.set()

    def _take(self, command: str, headers: dict[str, str], body: str) -> None:
        if command == "RECEIPT":
            self._subscribed(headers["receipt-id"], headers)
        elif command == "MESSAGE":
            self._given(headers["destination"], headers, body)
        else:
            self.problems.append(f"{command} {headers.get('code')} {headers.get('message')}")

    def _subscribed(self, room: str, headers: dict[str, str]) -> None:
        self.live.add(room)
        stretches, last = self.stretches[room], headers["last-message-id"]
        if not stretches:
            stretches.append(Stretch(last))
        elif headers.get("recovered") == "false":
            stretches.append(Stretch(last, told="recovered:false"))
        elif headers.get("recovered") != "true":
            self.problems.append(f"{room}: asked to recover, and not answered: {headers}")

    def _given(self, room: str, headers: dict[str, str], body: str) -> None:
        if headers.get("recovered") == "false":
            self.stretches[room].append(Stretch("", told="message"))
        self.stretches[room][-1].messages.append((headers["message-id"], body))


def frame_of(command: str, headers: dict[str, str]) -> str:
    """A frame as a text."""
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    return f"{command}\n{lines}\n\0"


def parsed(data: str | bytes) -> tuple[str, dict[str, str], str]:
    """The command, the headers and the body of a frame."""
    text = data if isinstance(data, str) else data.decode()
    head, _, body = text.lstrip("\n").rstrip("\0").partition("\n\n")
    command, *lines = head.split("\n")
    pairs = (line.partition(":") for line in lines)
    return command, {name: value for name, _, value in pairs}, body

"""One connection of a client: STOMP over the WebSocket client of others.

Rule: nothing of the library's codecs is used here. One task writes. RECEIPTs come in the order of
their frames, each once; one confirms every frame before it, since the frames of a session take
effect one after the other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from itertools import count
from typing import NamedTuple

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.typing import Subprotocol

__all__ = ["Link", "Lost", "Message"]

PATIENCE = 30.0
"""Seconds that an answer may take on a machine in use."""
ESCAPES = {"\\\\": "\\", "\\c": ":", "\\n": "\n", "\\r": "\r"}


class Lost(Exception):
    """The connection is over, and it was not we who ended it."""


class Message(NamedTuple):
    """A frame that came."""

    command: str
    headers: dict[str, str]
    body: str


class _Owed(NamedTuple):
    """A frame whose effect nobody has confirmed."""

    receipt: str | None
    done: Callable[[dict[str, str]], None]


def _read(text: str) -> Message:
    head, _, body = text[:-1].partition("\n\n")
    command, *lines = head.split("\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if "\\" in value:
            value = "".join(_unescaped(value))
        headers.setdefault(name, value)
    return Message(command, headers, body)


def _unescaped(value: str) -> Iterable[str]:
    letters = iter(value)
    for letter in letters:
        yield ESCAPES[letter + next(letters)] if letter == "\\" else letter


def _nothing(headers: dict[str, str]) -> None:
    pass


class Link:
    """A connection that is CONNECTED.

    Args:
        hear: Called with each MESSAGE.
        complain: Called with what is wrong.
    """

    def __init__(
        self,
        websocket: ClientConnection,
        hear: Callable[[Message], None],
        complain: Callable[[str], None],
    ) -> None:
        self._websocket = websocket
        self._hear = hear
        self._complain = complain
        self._owed: deque[_Owed] = deque()
        self._numbers = count(1)
        self._connected = asyncio.get_running_loop().create_future()
        self._changed = asyncio.Event()
        self._ours = False
        """We have ended it."""
        self._deaf = False
        """What still comes does not count."""
        self.over = False
        self._reader = asyncio.create_task(self._listen())

    @classmethod
    async def open(
        cls,
        port: int,
        login: str,
        version: str,
        hear: Callable[[Message], None],
        complain: Callable[[str], None],
    ) -> Link:
        """Connect, and wait for CONNECTED."""
        try:
            websocket = await connect(
                f"ws://127.0.0.1:{port}/ws",
                subprotocols=[Subprotocol(f"v{version.replace('.', '')}.stomp")],
                compression=None,
                ping_interval=None,
                open_timeout=PATIENCE,
                close_timeout=PATIENCE,
                proxy=None,
            )
        except (OSError, WebSocketException) as problem:
            complain(f"no connection: {problem!r}")
            raise Lost from None
        link = cls(websocket, hear, complain)
        headers = {"accept-version": version, "host": "soak", "login": login}
        try:
            async with asyncio.timeout(PATIENCE):
                await link._write("CONNECT", headers)
                await link._connected
        except BaseException:
            await link.cut()
            raise
        return link

    # Out

    async def send(
        self,
        command: str,
        headers: dict[str, str],
        body: str = "",
        *,
        receipt: bool = False,
        done: Callable[[dict[str, str]], None] = _nothing,
    ) -> str | None:
        """Write a frame.

        Args:
            receipt: Ask for a RECEIPT.
            done: Called when it has taken effect, with the headers of its RECEIPT, if it is that.

        Returns:
            The receipt that is owed.
        """
        name = f"r{next(self._numbers)}" if receipt else None
        if name is not None:
            headers = headers | {"receipt": name}
        self._owed.append(_Owed(name, done))
        await self._write(command, headers, body)
        return name

    async def ask(
        self,
        command: str,
        headers: dict[str, str],
        body: str = "",
        *,
        done: Callable[[dict[str, str]], None] = _nothing,
    ) -> None:
        """Write a frame, and wait for its RECEIPT."""
        name = await self.send(command, headers, body, receipt=True, done=done)
        async with asyncio.timeout(PATIENCE):
            while any(owed.receipt == name for owed in self._owed):
                if self.over:
                    raise Lost
                self._changed.clear()
                await self._changed.wait()

    async def _write(self, command: str, headers: dict[str, str], body: str = "") -> None:
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        try:
            await self._websocket.send(f"{command}\n{lines}\n{body}\0")
        except ConnectionClosed:
            raise Lost from None

    # In

    async def _listen(self) -> None:
        try:
            async for text in self._websocket:
                assert isinstance(text, str)
                if text.strip("\n") and not self._deaf:
                    self._dispatch(_read(text))
        except ConnectionClosed:
            pass
        finally:
            self.over = True
            self._changed.set()
            if not self._ours:
                socket = self._websocket
                self._complain(f"the server closed with {socket.close_code} {socket.close_reason}")
            if not self._connected.done():
                self._connected.set_exception(Lost())

    def _dispatch(self, message: Message) -> None:
        if message.command == "MESSAGE":
            self._hear(message)
        elif message.command == "RECEIPT":
            self._confirm(message.headers)
            self._changed.set()
        elif message.command == "CONNECTED":
            self._connected.set_result(None)
        else:
            self._complain(f"{message.command} {message.headers} came")

    def _confirm(self, headers: dict[str, str]) -> None:
        name = headers["receipt-id"]
        if not any(owed.receipt == name for owed in self._owed):
            self._complain(f"RECEIPT {name} came, and nobody waited for it")
            return
        while True:
            owed = self._owed.popleft()
            owed.done(headers if owed.receipt == name else {})
            if owed.receipt == name:
                return
            if owed.receipt is not None:
                self._complain(f"RECEIPT {name} came before {owed.receipt}")

    # Ends

    async def cut(self) -> None:
        """Break the connection: what is under way is lost. Nothing, if it is over."""
        self._ours = self._deaf = True
        self._websocket.transport.abort()
        await self._reader

    async def close(self) -> None:
        """End the WebSocket without a word of STOMP."""
        self._ours = self._deaf = True
        await self._websocket.close()
        await self._reader

    async def disconnect(self) -> None:
        """End in good order; everything that waited has come."""
        self._ours = True
        try:
            await self.ask("DISCONNECT", {})
        except Lost:
            self._complain("the server ended the connection before DISCONNECT was confirmed")
        await self._reader
        if self._owed:
            self._complain(f"{len(self._owed)} frames before DISCONNECT were not confirmed")

"""Hundreds of clients on a loop in a thread of its own, driven from the test's thread.

Rule: a member reads what comes, answers PING and Close, and beats where it was told to; what it has
seen is in plain attributes, which the test looks at until they are as they should be.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, cast

from tests.servers.faults_kit import LONG, until

from carriers.client import CLOSE, PING, PONG, TEXT, stomp, upgrade, ws_frame  # isort: skip

__all__ = ["Herd", "Member"]

PATIENCE = 150.0 if LONG else 30.0


class Member(asyncio.Protocol):
    """One client.

    Args:
        beat: Seconds between two bytes of life; None: it owes none.
    """

    transport: asyncio.Transport

    def __init__(self, beat: float | None = None) -> None:
        self._beat = beat
        self._buffer = b""
        self._upgraded = False
        self._timer: asyncio.TimerHandle | None = None
        self._receipts: dict[str, asyncio.Future[None]] = {}
        self._sent = 0
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when it is CONNECTED."""
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the stream has ended."""
        self.heard: list[tuple[str, str]] = []
        """Subscription and body of each MESSAGE; id and "" of each RECEIPT."""
        self.beats = 0
        """Bytes of life that came."""
        self.errors: list[str] = []
        self.code: int | None = None
        """Of the server's Close."""
        self.lost = False
        """The stream has ended."""

    @property
    def numbers(self) -> list[int]:
        """The numbers that it was sent."""
        return [int(body.split()[0]) for subscription, body in self.heard if body]

    # The stream

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(upgrade())

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        if not self.over.done():
            self.over.set_result(None)
        if self._timer is not None:
            self._timer.cancel()
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(f"lost before CONNECTED: {error}"))
        for future in self._receipts.values():
            future.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._upgraded:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            assert b" 101 " in head.split(b"\r\n")[0], head
            self._upgraded, self._buffer = True, rest
            interval = 0 if self._beat is None else int(self._beat * 1_000)
            fields = {"accept-version": "1.2", "host": "h", "heart-beat": f"{interval},{interval}"}
            self.transport.write(stomp("CONNECT", fields))
        at = 0
        buffer = self._buffer
        while len(buffer) >= at + 2:
            length, begin = buffer[at + 1], at + 2
            if length == 126:
                if len(buffer) < at + 4:
                    break
                length, begin = int.from_bytes(buffer[at + 2 : at + 4]), at + 4
            elif length == 127:
                if len(buffer) < at + 10:
                    break
                length, begin = int.from_bytes(buffer[at + 2 : at + 10]), at + 10
            if len(buffer) < begin + length:
                break
            opcode = buffer[at] & 15
            at = begin + length
            self._frame(opcode, buffer[begin:at])
        self._buffer = buffer[at:]

    def _frame(self, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            self.transport.write(ws_frame(PONG, payload))
        elif opcode == CLOSE:
            self.code = int.from_bytes(payload[:2])
            self.transport.write(ws_frame(CLOSE, payload[:2]))
        elif not payload.strip():
            self.beats += 1
        else:
            self._stomp(payload)

    def _stomp(self, payload: bytes) -> None:
        head, _, body = payload[:-1].partition(b"\n\n")
        command, *lines = head.decode().split("\n")
        headers = dict(line.split(":", 1) for line in lines)
        if command == "MESSAGE":
            self.heard.append((headers["subscription"], body.decode()))
        elif command == "RECEIPT":
            self.heard.append((headers["receipt-id"], ""))
            if (future := self._receipts.pop(headers["receipt-id"], None)) is not None:
                future.set_result(None)
        elif command == "CONNECTED":
            self.ready.set_result(None)
            if self._beat is not None:
                self._live()
        else:
            self.errors.append(headers["message"])

    def _live(self) -> None:
        self.transport.write(ws_frame(TEXT, b"\n"))
        assert self._beat is not None
        self._timer = asyncio.get_running_loop().call_later(self._beat * 0.5, self._live)

    # What it does, on its loop

    async def command(self, name: str, **headers: str) -> str:
        """Send a frame and wait for its RECEIPT, whose id is returned.

        Raises:
            asyncio.CancelledError: The stream ended before it came.
        """
        self._sent += 1
        body = headers.pop("body", "").encode()
        receipt = f"{name} {self._sent}"
        future = self._receipts[receipt] = asyncio.get_running_loop().create_future()
        self.transport.write(stomp(name, {**headers, "receipt": receipt}, body))
        await future
        return receipt

    def reset(self) -> None:
        """End with RST."""
        sock: Any = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


class Herd:
    """Clients of one server.

    Args:
        port: On 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.members: list[Member] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.run(self._end())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(PATIENCE)
            self._loop.close()

    async def _end(self) -> None:
        for member in self.members:
            member.transport.abort()
        await asyncio.gather(*(member.over for member in self.members))

    def begin(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Run something on the loop of the clients."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """The same, to its end."""
        return self.begin(work).result(PATIENCE)

    def each(
        self, what: Callable[[Member], Awaitable[Any]], members: list[Member] | None = None
    ) -> None:
        """Do something with each member, all at a time, and wait for it."""

        async def all_of_them() -> None:
            chosen = self.members if members is None else members
            await asyncio.gather(*(what(member) for member in chosen))

        self.run(all_of_them())

    def join(
        self, count: int, destination: str | None = None, *, beat: float | None = None
    ) -> list[Member]:
        """So many more clients that are CONNECTED, and subscribed where a destination is given."""
        return cast(list[Member], self.run(self._join(count, destination, beat)))

    async def _join(self, count: int, destination: str | None, beat: float | None) -> list[Member]:
        async def one() -> Member:
            _, member = await self._loop.create_connection(
                lambda: Member(beat), "127.0.0.1", self._port
            )
            self.members.append(member)
            await member.ready
            if destination is not None:
                await member.command("SUBSCRIBE", id="s", destination=destination)
            return member

        return await asyncio.gather(*(one() for _ in range(count)))

    def reset(self, members: list[Member]) -> None:
        """RST for all of them at once."""

        async def all_of_them() -> None:
            for member in members:
                member.reset()

        self.run(all_of_them())

    def wait_for_numbers(self, count: int, members: list[Member]) -> None:
        """Until each has been sent so many."""
        until(
            lambda: all(len(member.heard) > count for member in members),
            f"{count} messages for each of {len(members)}",
            PATIENCE,
        )

"""An echo on the wire of the library: what a server without STOMP would be.

Rule: sockets, HTTP, WebSocket framing and flow are those of the product; only the machine is
another one, which sends back what comes. It keeps of a session its mailbox, and has no time.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from typing import Any

from stocksync_ws.broker.model.mailbox import Mailbox
from stocksync_ws.broker.model.post_office import Outgoing, PostOffice
from stocksync_ws.broker.model.step import Step
from stocksync_ws.broker.model.turn import Turn
from stocksync_ws.codes import DisconnectReason
from stocksync_ws.config import EndpointConfig, Limits
from stocksync_ws.counters import Counters
from stocksync_ws.driver.driver import Driver
from stocksync_ws.inbox import Inbox
from stocksync_ws.running.host import AioHost
from stocksync_ws.streams import SocketStream, read_buffer
from stocksync_ws.timers import Timers
from stocksync_ws.types import Handshake, Wire
from stocksync_ws.wire.connection import HttpConnection
from stocksync_ws.wire.endpoint import Site

__all__ = ["LIMITS", "EchoServer"]

MiB = 1024 * 1024
LIMITS = Limits(
    max_message_size=17 * MiB,
    max_fragments=300_000,
    pre_auth_bytes=17 * MiB,
    max_outbound_message=17 * MiB,
    send_queue=128 * MiB,
    max_total_queued=512 * MiB,
)
"""Bounds above the largest messages of the suite, which has 16 MiB in one, and 262,144 frames."""
PATIENCE = 10.0

_log = logging.getLogger("tests.autobahn")


class _Session:
    """A client. It is never asked not to send."""

    paused = False

    def __init__(self, office: PostOffice, wire: Wire) -> None:
        self.wire = wire
        self.mailbox = Mailbox(office, wire, self)  # type: ignore[arg-type]
        self.closing = False


class _Echo:
    """Stands where the broker stands: implements `driver.ports.Machine`."""

    busy = False

    def __init__(self, timers: Timers) -> None:
        self.limits = LIMITS
        self.counters = Counters()
        self.turn = Turn()
        step = Step(timers, lambda: None)
        self.outputs = step.outputs
        self._office = PostOffice(self.limits, step)

    def run_inline(self, run: object) -> None:
        """Nobody is called."""

    def open(self, wire: Wire, handshake: Handshake, now: float) -> _Session:
        self.outputs.answers.append((handshake, None))
        return _Session(self._office, wire)

    def receive(self, session: _Session, payload: bytes, now: float) -> None:
        """A message of text and one of octets differ in nothing here but whether they are UTF-8."""
        if session.closing:
            return
        try:
            payload.decode()
            text = True
        except UnicodeDecodeError:
            text = False
        chunk = session.wire.dress(payload, b"", text)
        assert chunk is not None
        session.mailbox.chunk(chunk)

    def violate(self, session: _Session, code: int, detail: str, now: float) -> None:
        if not session.closing:
            session.closing = True
            session.mailbox.block()  # the direct way does not look at what follows a Close
            for chunk in session.wire.close(code, ""):
                session.mailbox.chunk(chunk)

    def alive(self, session: _Session, now: float, *, unfinished: bool = False) -> None:
        if session.mailbox.entries:
            session.mailbox.mark()

    def lost(
        self, session: _Session, reason: DisconnectReason, now: float, code: int = 1006
    ) -> None:
        session.mailbox.end()

    def writable(self, session: _Session, unsent: int, now: float) -> bool:
        if not unsent and session.mailbox.empty:
            session.mailbox.written()
        return True

    def take_output(self, session: _Session, room: int, now: float) -> list[Outgoing]:
        return session.mailbox.take(room, now)

    def fail(self, culprit: object, problem: BaseException, now: float) -> None:
        _log.error("internal error with %r", culprit, exc_info=problem)
        self.counters.internal_errors += 1

    def proceed(self, session: Any, now: float) -> None:
        """No session has anything left over."""

    def resume(self, *args: Any) -> None:
        """There is no user code."""

    def publish(self, *args: Any) -> Any:
        raise NotImplementedError("an echo has no template")

    def start(self, now: float) -> None:
        """There is nothing to begin."""

    def stop(self, now: float, within: float) -> None:
        """Its clients end first."""

    halt = start


class EchoServer:
    """Listens at a free port of this machine, in a thread; a context manager."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self.counters = Counters()
        self._loop = asyncio.SelectorEventLoop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))

    def __enter__(self) -> EchoServer:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(PATIENCE)
        self._loop.close()
        self._listener.close()

    async def _serve(self) -> None:
        self._task = asyncio.ensure_future(self._accept())
        try:
            await self._task
        except asyncio.CancelledError:
            pass

    async def _accept(self) -> None:
        timers = Timers()
        machine = _Echo(timers)
        self.counters = machine.counters
        host = AioHost(self._loop, Inbox(), machine.counters, 1)
        driver = host.driver = Driver(host, machine, timers)
        host.start()
        endpoint = EndpointConfig(path="/ws", allowed_origins=("*",))
        site = Site(endpoint, lambda offered: None)
        buffer = read_buffer(LIMITS.read_budget)
        try:
            while True:
                accepted, address = await self._loop.sock_accept(self._listener)
                accepted.setblocking(False)
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                peer = f"{address[0]}:{address[1]}"
                connection = HttpConnection(site, LIMITS, machine.counters, peer=peer, secure=False)
                SocketStream(accepted, self._loop, driver, buffer).start(connection)
        finally:
            driver.abort()
            host.close()

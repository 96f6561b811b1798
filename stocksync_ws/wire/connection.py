"""One socket: HTTP until the upgrade, then WebSocket; implements `types.Connection`.

Rule: it turns bytes into events and answers, and keeps nothing that the next state does not need:
h11 is gone when a head is parsed, the request when the handshake is decided.

    READING -- a valid upgrade: Handshake -----> WAITING   frames that come early are kept
    READING -- error, timeout, last answer ----> SHUT
    WAITING -- accept: 101 --------------------> OPEN
    WAITING -- refuse: an HTTP error ----------> SHUT
    OPEN ----- the peer's Close ---------------> SHUT      what waits is still written

From every state `lost` leads to SHUT. A wire that was in a `Handshake` gets one `Closed` without
`ours` (a refused one none), and before it at most one with `ours`.
"""

from __future__ import annotations

from collections.abc import Callable
from logging import getLogger
from typing import ClassVar, Final
from zlib import crc32

from stocksync_ws.config import Limits
from stocksync_ws.counters import Counters
from stocksync_ws.timers import LATE
from stocksync_ws.types import Chunk, Closed, Event, Handshake, HttpRequest
from stocksync_ws.wire.endpoint import Answer, Site, decide, plain
from stocksync_ws.wire.http import (
    HttpError,
    HttpReader,
    keeps_alive,
    response,
    switching_protocols,
)
from stocksync_ws.wire.upgrade import accept_key, check_handshake
from stocksync_ws.wire.websocket import WebSocketReader, WebSocketWire

__all__ = ["HttpConnection"]

HELD: Final = 65_536
"""Bytes kept for later, or of own output that nobody took, over which reading pauses."""

IDLE: Final = 15.0
"""Seconds a connection may wait for its next request."""

_READING: Final = 0
_WAITING: Final = 1
_OPEN: Final = 2
_SHUT: Final = 3

_log = getLogger("stocksync_ws.transport")


class HttpConnection:
    """One accepted socket, from its first byte to its last.

    Args:
        site: What is served.
        limits: `handshake_timeout`, the bounds of a request head and of WebSocket messages.
        counters: Where refusals are counted.
        peer: The peer's address as `host:port`, for requests and log lines.
        secure: Our side of the connection is TLS.
        now: Seconds, monotonic.
        draining: Asked once per request; true answers 503.
    """

    __slots__ = (
        "_accept",
        "_counters",
        "_draining",
        "_handshake",
        "_http",
        "_idle",
        "_kept",
        "_limits",
        "_out",
        "_peer",
        "_reader",
        "_secure",
        "_site",
        "_state",
        "_unsent",
        "_wire",
        "deadline",
        "held",
        "shut",
    )

    def __init__(
        self,
        site: Site,
        limits: Limits,
        counters: Counters,
        *,
        peer: str | None,
        secure: bool,
        now: float,
        draining: Callable[[], bool] | None = None,
    ) -> None:
        self._site = site
        self._limits = limits
        self._counters = counters
        self._peer = peer
        self._secure = secure
        self._draining = draining
        self._state = _READING
        self._http: HttpReader | None = HttpReader(limits)
        self._idle = False  # between two requests
        self._handshake: Handshake | None = None
        self._accept = ""
        self._kept: bytearray | None = None
        self._wire: WebSocketWire | None = None
        self._reader: WebSocketReader | None = None
        self._out: list[Chunk] = []
        self._unsent = 0
        self.deadline: float | None = now + limits.handshake_timeout
        """Seconds, monotonic: the request must be complete. None from the upgrade on."""
        self.held = False
        """Stop reading: kept bytes or own output are over 64 KiB."""
        self.shut = False
        """Close the stream when everything is written."""

    def start(self, now: float) -> list[Event]:
        """Nothing: all that a socket has to say comes as bytes."""
        return []

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Bytes came from the stream. Never raises for anything a peer can send."""
        return self._RECEIVE[self._state](self, data, now)

    def _read_requests(self, data: bytes, now: float) -> list[Event]:
        http = self._http
        assert http is not None
        if self._idle:
            # The first byte of a later request: its time begins.
            self._idle = False
            self.deadline = now + self._limits.handshake_timeout
        http.feed(data)
        while self._state == _READING:
            try:
                request = http.take(self._peer, self._secure)
            except HttpError as error:
                self._counters.handshakes_refused += 1
                self._respond(plain(error.status, error.text), now, close=True)
                break
            if request is None:
                break
            handshake = self._decide(request, http, now)
            if handshake is not None:
                return [handshake]
        return []

    def _decide(self, request: HttpRequest, http: HttpReader, now: float) -> Handshake | None:
        if self._draining is not None and self._draining():
            self._counters.connections_refused += 1
            self._respond(_unavailable(request), now, close=True)
            return None
        decision = decide(request, self._site, check_handshake)
        if isinstance(decision, Answer):
            if decision.refused is not None:
                self._counters.handshakes_refused += 1
            if decision.refused == "origin":
                self._counters.origins_refused += 1
            if decision.log is not None:
                _log.warning("%s (peer %s)", decision.log, self._peer)
            # A client that asks for much and takes nothing gets one answer more.
            close = decision.close or not keeps_alive(request) or self._unsent > HELD
            self._respond(decision, now, close=close)
            return None
        self._state = _WAITING
        self.deadline = None
        self._accept = accept_key(request)
        self._wire = WebSocketWire()
        self._kept, self._http = http.rest, None
        self._handshake = Handshake(request, self._wire, decision.subprotocol)
        self._weigh()
        return self._handshake

    def _respond(self, answer: Answer, now: float, *, close: bool) -> None:
        self._emit(response(answer.status, answer.headers, answer.body, close=close))
        if close:
            self._finish()
            return
        http = self._http
        assert http is not None
        self._idle = not http.rest
        self.deadline = now + (IDLE if self._idle else self._limits.handshake_timeout)

    def _keep(self, data: bytes, now: float) -> list[Event]:
        assert self._kept is not None
        self._kept += data
        self._weigh()
        return []

    def _read_frames(self, data: bytes, now: float) -> list[Event]:
        reader = self._reader
        assert reader is not None
        events = reader.receive(data)
        if reader.ended:
            self._wire = None
            self._finish()
        return events

    def _ignore(self, data: bytes, now: float) -> list[Event]:
        return []

    def accept(self, handshake: Handshake, now: float) -> list[Event]:
        """Answer 101 and go on with the bytes that came since; they become events here.

        Nothing happens when the stream has ended meanwhile.
        """
        if self._handshake is not handshake or self._wire is None or self._kept is None:
            return []
        self._emit(switching_protocols(self._accept, handshake.subprotocol))
        self._state = _OPEN
        self._reader = WebSocketReader(self._wire, self._limits)
        self._handshake = None
        self._accept = ""
        kept, self._kept = self._kept, None
        self._weigh()
        return self._read_frames(bytes(kept), now) if kept else []

    def refuse(self, handshake: Handshake, status: int, text: str, now: float) -> list[Event]:
        """Answer with an HTTP error and close. The wire of the handshake is never heard of again.

        Args:
            handshake: The one that waits; nothing happens for any other.
            status: The HTTP status, 400 or more.
            text: One line for the body.
            now: Seconds, monotonic.
        """
        if self._handshake is not handshake:
            return []
        self._counters.handshakes_refused += 1
        self._wire = None
        self._respond(plain(status, text), now, close=True)
        return []

    def lost(self, now: float) -> list[Event]:
        """The stream ended: EOF or reset. The wire, if it had not ended, has with 1006."""
        wire, self._wire = self._wire, None
        self._finish()
        return [] if wire is None else [Closed(wire, 1006, "")]

    def wake(self, now: float) -> list[Event]:
        """The deadline came: 408 for half a request, and no word for none (RFC 9110 §15.5.9)."""
        if self.deadline is None or now < self.deadline:
            return []
        if now - self.deadline > LATE:
            # We stood still; what the peer sent meanwhile may wait in the socket.
            self.deadline = now + LATE
            return []
        http = self._http
        if http is not None and http.rest:
            self._counters.handshakes_refused += 1
            self._respond(plain(408, "The request took too long."), now, close=True)
        else:
            self._finish()
        return []

    def detach(self, now: float) -> list[Event]:
        """No answer of this connection ends with `pack`."""
        return []

    def take(self) -> list[Chunk]:
        """Answers, the 101, the newest PONG, the reply to the peer's Close, in this order."""
        out, reader = self._out, self._reader
        if out:
            self._out = []
            self._unsent = 0
            self._weigh()
        if reader is not None and (reader.pong is not None or reader.reply is not None):
            if reader.pong is not None:
                out = [*out, reader.pong]
            if reader.reply is not None:
                out = [*out, reader.reply]
            reader.pong = reader.reply = None
        return out

    _RECEIVE: ClassVar[dict[int, Callable[[HttpConnection, bytes, float], list[Event]]]] = {
        _READING: _read_requests,
        _WAITING: _keep,
        _OPEN: _read_frames,
        _SHUT: _ignore,
    }

    def _emit(self, chunk: bytes) -> None:
        self._out.append(chunk)
        self._unsent += len(chunk)
        self._weigh()

    def _weigh(self) -> None:
        kept = self._kept
        self.held = self._unsent > HELD or (kept is not None and len(kept) > HELD)

    def _finish(self) -> None:
        self._state = _SHUT
        self.shut = True
        self.deadline = None
        self._http = self._handshake = self._kept = None
        self._weigh()


def _unavailable(request: HttpRequest) -> Answer:
    # The client's own random key spreads the second attempts of a crowd over ten seconds.
    seconds = 5 + crc32((request.get("sec-websocket-key") or "").encode()) % 10
    return plain(503, "The server is not available.", ("Retry-After", str(seconds)))

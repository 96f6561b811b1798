"""One socket: HTTP until the upgrade, then WebSocket; implements `types.Connection`.

Rule: it turns bytes into events and answers, and keeps nothing that the next state does not need:
h11 is gone when a head is parsed, the request when the handshake is decided.

    READING -- a valid upgrade: Handshake -----> WAITING   frames that come early are kept
    READING -- a carrier ----------------------> CARRIED   it gets its body; what follows is kept
    READING -- error, timeout, last answer ----> SHUT
    CARRIED -- Detached, detach ---------------> READING   the next request
    WAITING -- accept: 101 --------------------> OPEN
    WAITING -- refuse: an HTTP error ----------> SHUT
    OPEN ----- the peer's Close ---------------> SHUT      what waits is still written

From every state `lost` leads to SHUT. A carrier that is shut stays until then, and ends behind what
waits. A wire that was in a `Handshake` gets one `Closed` without `ours` (a refused one none), and
before it at most one with `ours`; the wire of a carrier may outlive it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from stocksync_ws.config import Limits
from stocksync_ws.counters import Counters
from stocksync_ws.timers import HURRIED, LATE
from stocksync_ws.types import Chunk, Closed, Event, Handshake, HttpRequest
from stocksync_ws.wire.answer import Answer, plain, unavailable
from stocksync_ws.wire.body import CONTINUE
from stocksync_ws.wire.carried import CarriedRequest, open_request
from stocksync_ws.wire.endpoint import Carrier, Site
from stocksync_ws.wire.http import (
    HttpError,
    HttpReader,
    keeps_alive,
    response,
    switching_protocols,
)
from stocksync_ws.wire.repeated import decide_handshake
from stocksync_ws.wire.sockjs.websocket import FramedReader, FramedWire
from stocksync_ws.wire.upgrade import accept_key
from stocksync_ws.wire.websocket import WebSocketReader, WebSocketWire

__all__ = ["HttpConnection"]

HELD: Final = 65_536
"""Bytes kept for later, or of own output that nobody took, over which reading pauses."""
IDLE: Final = 15.0
"""Seconds a connection may wait for its next request."""

_READING: Final = 0
_WAITING: Final = 1
_OPEN: Final = 2
_CARRIED: Final = 3
_SHUT: Final = 4


class HttpConnection:
    """One accepted socket, from its first byte to its last.

    Args:
        site: The endpoint, pages and routes.
        limits: `handshake_timeout`, the bounds of a request head and of WebSocket messages.
        counters: The counters of refusals.
        peer: The peer's address as `host:port`, for requests and log lines.
        secure: Our side of the connection is TLS.
        draining: Asked once per request; true answers 503.
    """

    __slots__ = (
        "_accept",
        "_carrier",
        "_counters",
        "_draining",
        "_first",
        "_handshake",
        "_http",
        "_idle",
        "_kept",
        "_limits",
        "_out",
        "_peer",
        "_reader",
        "_secure",
        "_single",
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
        draining: Callable[[], bool] | None = None,
    ) -> None:
        self._site = site
        self._limits = limits
        self._counters = counters
        self._peer = peer
        self._secure = secure
        self._draining: Callable[[], bool] = draining or bool  # which says no
        self._first: tuple[HttpRequest, bytes] | None = None
        self._single = False
        """No request is read behind the first one."""
        self._state = _READING
        self._http: HttpReader | None = HttpReader(limits)
        self._idle = False  # between two requests
        self._handshake: Handshake | None = None
        self._accept = ""
        self._carrier: CarriedRequest | None = None
        self._kept: bytearray | None = None
        self._wire: WebSocketWire | None = None
        self._reader: WebSocketReader | None = None
        self._out: list[Chunk] | None = None  # nearly never anything
        self._unsent = 0
        self.deadline: float | None = None
        """Seconds, monotonic: the request must be complete. None from the upgrade on."""
        self.held = False
        """Stop reading: kept bytes or own output are over 64 KiB, or `pre_auth_bytes`."""
        self.shut = False
        """Close the stream when everything is written."""

    def hand_over(self, request: HttpRequest, body: bytes = b"") -> None:
        """The first request was read by somebody else, its body included; before `start`. Nothing
        is read behind its answer.
        """
        self._first = request, body
        self._single = True

    def start(self, now: float) -> list[Event]:
        """No events: a socket needs bytes first, and has `handshake_timeout` for them. Where the
        first request was handed over, it is decided now.
        """
        self.deadline = now + self._limits.handshake_timeout
        first, self._first = self._first, None
        if first is None:
            return []
        assert self._http is not None
        return self._decide(first[0], self._http, now, body=first[1])

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Bytes came from the stream. Never raises for anything a peer can send."""
        return _RECEIVE[self._state](self, data, now)

    def _read_requests(self, data: bytes, now: float) -> list[Event]:
        http = self._http
        assert http is not None
        if self._idle:
            # The first byte of a later request: its time begins.
            self._idle = False
            self.deadline = now + self._limits.handshake_timeout
        http.feed(data)
        events: list[Event] = []
        while self._state == _READING:
            try:
                request = http.take(self._peer, self._secure)
            except HttpError as error:
                self._counters.handshakes_refused += 1
                self._respond(plain(error.status, error.text), now, close=True)
                break
            if request is None:
                break
            events += self._decide(request, http, now)
        return events

    def _decide(
        self, request: HttpRequest, http: HttpReader, now: float, body: bytes | None = None
    ) -> list[Event]:
        request = self._site.seen(request)
        full = self._draining()
        decision = decide_handshake(request, self._site)
        if isinstance(decision, Carrier):
            return self._carry(request, decision, now, full=full, body=body)
        if full:
            self._counters.connections_refused += 1
            self._respond(unavailable(request), now, close=True)
            return []
        if isinstance(decision, Answer):
            self._answer(request, decision, now)
            return []
        self._state = _WAITING
        self.deadline = None
        self._accept = accept_key(request)
        self._wire = FramedWire() if decision.framed else WebSocketWire()
        self._kept, self._http = http.rest, None
        self._handshake = Handshake(request, self._wire, decision.subprotocol)
        self._weigh()
        return [self._handshake]

    def _answer(self, request: HttpRequest, answer: Answer, now: float) -> None:
        self._site.refusals.tell(answer, self._counters, request.peer, now)
        # A client that asks for much and takes nothing gets one answer more.
        last = self._single or not keeps_alive(request) or self._unsent > HELD
        self._respond(answer, now, close=answer.close or last)

    # Carriers

    def _carry(
        self, request: HttpRequest, decision: Carrier, now: float, *, full: bool, body: bytes | None
    ) -> list[Event]:
        http = self._http
        assert http is not None
        if self._unsent > HELD:
            # Nothing is opened for a client that takes no answers.
            self._finish()
            return []
        carrier = open_request(request, decision, http, last=self._single, full=full)
        if isinstance(carrier, Answer):
            self._counters.connections_refused += carrier.status == 503
            self._answer(request, carrier, now)
            return []
        self._state = _CARRIED
        self._carrier = carrier
        events = self._follow(carrier.start(now), now)
        if not decision.body or carrier.over:
            return events
        if body is not None:
            return events + self._follow(carrier.give_whole(body, now), now)
        if carrier.expect(request):
            self._emit(CONTINUE)
        return events + self._read_body(now)

    def _read_body(self, now: float) -> list[Event]:
        carrier = self._carrier
        assert carrier is not None
        try:
            events = carrier.read(now)
        except HttpError as error:
            self._carrier = None
            events = carrier.connection.lost(now)
            self._respond(plain(error.status, error.text), now, close=True)
            return events
        return self._follow(events, now)

    def _follow(self, events: list[Event], now: float, *, over: bool = False) -> list[Event]:
        """Do as the carrier does: its output, deadline and end are those of this connection."""
        carrier = self._carrier
        assert carrier is not None
        connection = carrier.connection
        for chunk in connection.take():
            self._emit(chunk)
        self.deadline, self.shut = connection.deadline, connection.shut
        if over or carrier.over:
            self._carrier = None
            if self.shut or carrier.unread:
                self._finish()
            else:
                self._state = _READING
                self._expect_request(now)
        self._weigh()
        return events

    def _ask(
        self, carrier: CarriedRequest, events: list[Event], now: float, *, over: bool = False
    ) -> list[Event]:
        """The carrier was asked something by the driver; go on behind it if it is over."""
        return self._go_on(self._follow(carrier.heard(events), now, over=over), now)

    def _go_on(self, events: list[Event], now: float) -> list[Event]:
        """Read the request that came behind one whose carrier is over."""
        http = self._http
        if self._state == _READING and http is not None and http.rest:
            return events + self._read_requests(b"", now)
        return events

    def _respond(self, answer: Answer, now: float, *, close: bool) -> None:
        self._emit(response(answer.status, answer.headers, answer.body, close=close))
        if close:
            self._finish()
            return
        self._expect_request(now)

    def _expect_request(self, now: float) -> None:
        http = self._http
        assert http is not None
        self._idle = not http.rest
        idle = HURRIED if self._draining() else IDLE
        self.deadline = now + (idle if self._idle else self._limits.handshake_timeout)

    def _keep(self, data: bytes, now: float) -> list[Event]:
        assert self._kept is not None
        self._kept += data
        self._weigh()
        return []

    def _keep_request(self, data: bytes, now: float) -> list[Event]:
        http = self._http
        assert http is not None
        if self.shut:
            return []
        http.feed(data)
        if self._carrier is not None and self._carrier.reads:
            return self._go_on(self._read_body(now), now)
        self._weigh()
        return []

    def _read_frames(self, data: bytes, now: float) -> list[Event]:
        reader = self._reader
        assert reader is not None
        events = reader.receive(data)
        if reader.ended:
            self._wire = None
            self._finish()
        self.shut |= reader.deaf  # behind our Close: no Close of the peer would be understood
        return events

    def _ignore(self, data: bytes, now: float) -> list[Event]:
        return []

    def accept(self, handshake: Handshake, now: float) -> list[Event]:
        """Answer 101 and go on with the bytes that came since; nothing when the stream is over."""
        carrier = self._carrier
        if carrier is not None:
            return self._ask(carrier, carrier.connection.accept(handshake, now), now)
        if self._handshake is not handshake or self._wire is None or self._kept is None:
            return []
        self._emit(switching_protocols(self._accept, handshake.subprotocol))
        self._state = _OPEN
        if isinstance(self._wire, FramedWire):
            self._reader = FramedReader(self._wire, self._limits)
            self._emit(self._wire.first)
        else:
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
        carrier = self._carrier
        if carrier is not None:
            refused = carrier.connection.refuse(handshake, status, text, now)
            return self._ask(carrier, refused, now)
        if self._handshake is not handshake:
            return []
        self._counters.handshakes_refused += 1
        self._wire = None
        self._respond(plain(status, text), now, close=True)
        return []

    def resume(self, now: float) -> list[Event]:
        """Posts were taken, or are not taken now: the carrier's matter. Or our side is closing."""
        carrier, reader = self._carrier, self._reader
        if carrier is None:
            return [] if reader is None else reader.forget()
        return self._ask(carrier, carrier.connection.resume(now), now)

    def lost(self, now: float) -> list[Event]:
        """The stream ended: EOF or reset. The wire, if it had not ended, has with 1006."""
        wire, self._wire = self._wire, None
        carrier, self._carrier = self._carrier, None
        self._finish()
        if carrier is not None:
            return carrier.connection.lost(now)
        return [] if wire is None else [Closed(wire, 1006, "")]

    def wake(self, now: float) -> list[Event]:
        """The deadline came: 408 for half a request, and no word for none (RFC 9110 §15.5.9)."""
        carrier = self._carrier
        if carrier is not None:
            return self._ask(carrier, carrier.connection.wake(now), now)
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
        """The answer of a carrier ended with `pack`; nothing without one: no WebSocket ends so."""
        carrier = self._carrier
        if carrier is None:
            return []
        return self._ask(carrier, carrier.connection.detach(now), now, over=True)

    def take(self) -> list[Chunk]:
        """Answers and what carriers said, the 101, the newest PONG, the reply to a Close."""
        out, reader = self._out or [], self._reader
        if out:
            self._out = None
            self._unsent = 0
            self._weigh()
        if reader is not None and (reader.pong is not None or reader.reply is not None):
            if reader.pong is not None:
                out = [*out, reader.pong]
            if reader.reply is not None:
                out = [*out, reader.reply]
            reader.pong = reader.reply = None
        return out

    def _emit(self, chunk: bytes) -> None:
        if self._out is None:
            self._out = []
        self._out.append(chunk)
        self._unsent += len(chunk)
        self._weigh()

    def _weigh(self) -> None:
        kept, most, carrier = self._kept, HELD, self._carrier
        if carrier is not None and self._http is not None:
            kept = self._http.rest
        elif kept is not None:
            most = min(HELD, self._limits.pre_auth_bytes)  # nobody has looked at the client yet
        self.held = (
            self._unsent > HELD
            or (kept is not None and len(kept) > most)
            or (carrier is not None and carrier.held)
        )

    def _finish(self) -> None:
        self._state = _SHUT
        self.shut = True
        self.deadline = None
        self._http = self._handshake = self._kept = None
        self._weigh()


# pyright: reportPrivateUsage=false
_RECEIVE: Final = {  # below the class: mypyc compiles no table of methods in its body
    _READING: HttpConnection._read_requests,
    _WAITING: HttpConnection._keep,
    _OPEN: HttpConnection._read_frames,
    _CARRIED: HttpConnection._keep_request,
    _SHUT: HttpConnection._ignore,
}

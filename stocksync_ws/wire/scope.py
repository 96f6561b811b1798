"""One WebSocket scope of ASGI: a request that the host has parsed, and the messages behind it;
implements `types.Connection`.

Rule: what the host does is not done again: the mechanics of the handshake are its own. Who may come
in is judged by the same `decide` as on a socket.

    NEW ------ start: a refusal --------> SHUT
    NEW ------ start: Handshake --------> WAITING
    WAITING -- accept ------------------> OPEN
    WAITING -- refuse ------------------> SHUT

From every state `lost` leads to SHUT. A wire that was in a `Handshake` gets one `Closed` without
`ours` (a refused one none), and before it at most one with `ours`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from stocksync_ws.checks import PATH_SAFE
from stocksync_ws.codes import CloseCode, DisconnectReason
from stocksync_ws.config import Limits, exceeded
from stocksync_ws.counters import Counters
from stocksync_ws.types import (
    Alive,
    Chunk,
    Closed,
    Event,
    Handshake,
    HttpRequest,
    Message,
)
from stocksync_ws.wire.answer import Answer, plain, unavailable
from stocksync_ws.wire.endpoint import Endpoint, Site, decide
from stocksync_ws.wire.scope_wire import Batcher, ScopeChunk, ScopeWire
from stocksync_ws.wire.sockjs.websocket import FramedScopeWire, unframe
from stocksync_ws.wire.websocket import BEGINNING

__all__ = [
    "ScopeConnection",
    "answer_messages",
    "refusal_messages",
    "request_of",
]

_RESTART: Final = 1012
"""The code of a host that stops (the registry of RFC 6455 §11.7)."""


_NEW: Final = 0
_WAITING: Final = 1
_OPEN: Final = 2
_SHUT: Final = 3


class ScopeConnection:
    """One WebSocket scope, from its request to its end.

    Args:
        site: The endpoint, pages and routes.
        request: The request, as `request_of` makes it.
        limits: `max_message_size`.
        counters: The counters of refusals.
        batcher: See `ScopeWire`.
        refused: The application takes no new session: the answer is 503.
    """

    __slots__ = (
        "_batcher",
        "_counters",
        "_early",
        "_gone",
        "_handshake",
        "_limits",
        "_out",
        "_refused",
        "_request",
        "_scope",
        "_site",
        "_state",
        "_wire",
        "deadline",
        "held",
        "shut",
    )

    def __init__(
        self,
        site: Site,
        request: HttpRequest,
        limits: Limits,
        counters: Counters,
        *,
        batcher: Batcher | None = None,
        refused: bool = False,
    ) -> None:
        self._site = site
        self._request: HttpRequest | None = request
        self._limits = limits
        self._counters = counters
        self._batcher = batcher
        self._refused = refused
        self._scope = request.scope
        self._state = _NEW
        self._handshake: Handshake | None = None
        self._wire: ScopeWire | None = None
        self._gone: tuple[int, str, DisconnectReason] | None = None
        self._out: list[Chunk] = []
        self.deadline: float | None = None
        """Always None: the host times its handshakes itself."""
        self._early: list[bytes] = []
        self.held = False
        """A message came before the verdict about the handshake: the host keeps what follows."""
        self.shut = False
        """The scope is over when everything is written."""

    def start(self, now: float) -> list[Event]:
        """Judge the request: a Handshake, or a refusal that is to be written."""
        request, self._request = self._request, None
        assert request is not None
        if self._refused:
            self._counters.connections_refused += 1
            self._refuse(unavailable(request))
            return []
        decision = decide(request, self._site)
        if not isinstance(decision, Endpoint):
            answer = decision if isinstance(decision, Answer) else plain(404, "Nothing is here.")
            self._site.refusals.tell(answer, self._counters, request.peer, now)
            self._refuse(answer)
            return []
        self._state = _WAITING
        self._wire = FramedScopeWire() if decision.framed else ScopeWire(self._batcher)
        self._handshake = Handshake(request, self._wire, decision.subprotocol)
        return [self._handshake]

    def receive(self, data: bytes, now: float) -> list[Event]:
        """One whole message came; a text message as its UTF-8 bytes."""
        wire = self._wire
        if self._state == _WAITING:
            # A server lets nobody speak so early; the test client of Quart does.
            self._early.append(data)
            self.held = True
            return []
        if wire is None or self._state != _OPEN or wire.closing:
            return []
        framed = isinstance(wire, FramedScopeWire)
        bound = "sockjs_body" if framed else "max_message_size"
        if len(data) > getattr(self._limits, bound):
            self._state = _SHUT
            if not framed:
                wire.began = data[:BEGINNING]
            text = exceeded(self._limits, bound, len(data))
            return [Closed(wire, CloseCode.TOO_BIG, text, ours=True)]
        events: list[Event] = [Message(wire, data)] if data else [Alive(wire)]
        return unframe(events, self._limits) if framed else events

    def accept(self, handshake: Handshake, now: float) -> list[Event]:
        """Answer `websocket.accept`. Nothing happens when the client has gone meanwhile."""
        if self._handshake is not handshake:
            return []
        self._handshake = self._scope = None
        self._state = _OPEN
        message = {"type": "websocket.accept", "subprotocol": handshake.subprotocol}
        self._out.append(ScopeChunk(message, 0))
        if isinstance(self._wire, FramedScopeWire):
            self._out.append(self._wire.first)
        early, self._early, self.held = self._early, [], False
        return [event for data in early for event in self.receive(data, now)]

    def resume(self, now: float) -> list[Event]:
        """Nothing: it brings no posts."""
        return []

    def refuse(self, handshake: Handshake, status: int, text: str, now: float) -> list[Event]:
        """Answer with an HTTP error, or what the host makes of a close (403)."""
        if self._handshake is not handshake:
            return []
        self._counters.handshakes_refused += 1
        self._wire = self._handshake = None
        self._refuse(plain(status, text))
        return []

    def _refuse(self, answer: Answer) -> None:
        self._state = _SHUT
        self.shut = True
        for message in refusal_messages(answer, self._scope):
            self._out.append(ScopeChunk(message, 0))
        self._out[-1].last = True

    def gone(self, message: Mapping[str, Any]) -> None:
        """`websocket.disconnect` came: `lost` is going to say this.

        Args:
            message: With the client's code and reason, or with what the host says in its place: it
                gives no reason. 1006, and 1005 of the host, are a lost connection; 1012 of the host
                is a host that stops.
        """
        code = message.get("code") or 1005
        reason = DisconnectReason.PEER_CLOSED
        if code == 1006 or (code == 1005 and "reason" not in message):
            reason = DisconnectReason.CONNECTION_LOST
        elif code == _RESTART and "reason" not in message:
            reason = DisconnectReason.SERVER_SHUTDOWN
        self._gone = code, message.get("reason") or "", reason

    def lost(self, now: float) -> list[Event]:
        """The scope is over. The wire, if it had not ended, has; with 1006 when nobody said how."""
        wire, self._wire = self._wire, None
        self._handshake = None
        self._state = _SHUT
        self.shut = True
        self._out.clear()
        if wire is None:
            return []
        code, reason, cause = self._gone or (1006, "", DisconnectReason.CONNECTION_LOST)
        return [Closed(wire, code, reason, cause=cause)]

    def wake(self, now: float) -> list[Event]:
        """Nothing: there is no deadline."""
        return []

    def detach(self, now: float) -> list[Event]:
        """Nothing: a WebSocket never ends with `pack`."""
        return []

    def take(self) -> list[Chunk]:
        """`websocket.accept`, or a refusal."""
        out, self._out = self._out, []
        return out


def answer_messages(answer: Answer, kind: str) -> list[dict[str, Any]]:
    """An answer as the two messages of ASGI.

    Args:
        answer: Status, headers, body.
        kind: `http.response`, or `websocket.http.response` for a refused handshake.
    """
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers
    ]
    return [
        {"type": f"{kind}.start", "status": answer.status, "headers": headers},
        {"type": f"{kind}.body", "body": answer.body},
    ]


def refusal_messages(answer: Answer, scope: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """A refused handshake: the answer, or where the host knows none, a close (it says 403).

    Args:
        answer: The answer.
        scope: The scope of the handshake.
    """
    if "websocket.http.response" in ((scope or {}).get("extensions") or {}):
        return answer_messages(answer, "websocket.http.response")
    return [{"type": "websocket.close", "code": 1008}]


def request_of(scope: Mapping[str, Any], path: str) -> HttpRequest:
    """The request of an ASGI scope of type `http` or `websocket`.

    Args:
        scope: As the host made it. Sub-protocols are read from `subprotocols`: some hosts take the
            headers of the handshake away.
        path: Its path without the root path, percent-decoded.
    """
    query = scope.get("query_string", b"").decode("latin-1")
    target = quote(path, safe=PATH_SAFE)
    headers = [
        (name.decode("latin-1").lower(), value.decode("latin-1").strip(" \t"))
        for name, value in scope["headers"]
    ]
    if scope["type"] == "websocket":
        headers = [each for each in headers if each[0] != "sec-websocket-protocol"]
        if scope.get("subprotocols"):
            headers.append(("sec-websocket-protocol", ", ".join(scope["subprotocols"])))
    client = scope.get("client")
    return HttpRequest(
        method=scope.get("method", "GET"),
        target=f"{target}?{query}" if query else target,
        headers=tuple(headers),
        http_version=scope.get("http_version", "1.1"),
        peer=f"{client[0]}:{client[1]}" if client else None,
        secure=scope.get("scheme") in ("https", "wss"),
        scope=scope,
    )

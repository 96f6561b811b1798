"""The border at which layers meet without importing each other: requests, events, chunks, and the
two Protocols of a wire.

Rule: nothing is decided here; both sides of a border read the same words.

Connection, wire and session are three. A *connection* is one carrier (a socket, an ASGI scope): it
knows HTTP, WebSocket and SockJS framing, never a session. A *wire* is what one session speaks
through; it may outlive its connections, and at most one connection carries its output at a time. A
*session* belongs to the broker.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, runtime_checkable
from urllib.parse import parse_qsl

from stocksync_ws.codes import DisconnectReason

__all__ = [
    "Alive",
    "Attached",
    "Chunk",
    "Closed",
    "Connection",
    "Detached",
    "Ending",
    "Event",
    "Handshake",
    "HttpRequest",
    "Keep",
    "Message",
    "Principal",
    "Refusal",
    "Send",
    "Target",
    "ToDestination",
    "ToSession",
    "ToUser",
    "Wire",
]

Chunk: TypeAlias = Any
"""A unit of output: `bytes` on a byte stream, a shared ASGI message on an ASGI scope. Never changed
once made.
"""

Send: TypeAlias = Callable[[Chunk], int]
"""The function that writes a chunk as far as it can: how much it took; raises as `socket.send`."""

Keep: TypeAlias = Callable[[Chunk, int], int]
"""The function that keeps the rest of a chunk of which so much was taken: what is unsent."""


@runtime_checkable
class Principal(Protocol):
    """The user that a session belongs to: any object with a `name`, of whatever class."""

    if TYPE_CHECKING:

        @property
        def name(self) -> str:
            """The name that `/user` destinations are addressed by; an opaque key."""
            ...

    else:
        # No attribute: a dataclass below this class would take a property for the default value.
        name: str


@dataclass(frozen=True)
class HttpRequest:
    """One HTTP request, its head only. Header names are lower case, in the order of arrival."""

    method: str
    target: str
    """The request target as it came: path and query, not decoded."""
    headers: tuple[tuple[str, str], ...] = ()
    """Names in lower case; values as ISO 8859-1 text, blanks around them stripped."""
    http_version: str = "1.1"
    peer: str | None = None
    """The address of the peer, as `host:port`."""
    secure: bool = False
    """Our side of the connection is TLS."""
    scope: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)
    """The ASGI scope or the WSGI environ of a host that it came in; None on a server of ours."""

    @property
    def session(self) -> Any:
        """The session that middleware of the host application has put into the scope, or None."""
        return None if self.scope is None else self.scope.get("session")

    @property
    def user(self) -> Any:
        """The user that middleware of the host application has put into the scope, or None;
        anonymous is whatever that middleware says it is.
        """
        return None if self.scope is None else self.scope.get("user")

    @cached_property
    def path(self) -> str:
        """The target without its query, not percent-decoded."""
        return self.target.partition("?")[0]

    @cached_property
    def query(self) -> Mapping[str, str]:
        """The query's parameters, percent-decoded; of a repeated one the first."""
        pairs = parse_qsl(self.target.partition("?")[2], keep_blank_values=True)
        return dict(reversed(pairs))

    @cached_property
    def cookies(self) -> Mapping[str, str]:
        """The cookies, names and values as they came; of a repeated one the first."""
        found: dict[str, str] = {}
        for value in self.all("cookie"):
            for item in value.split(";"):
                name, separator, content = item.strip().partition("=")
                if separator:
                    found.setdefault(name, content)
        return found

    @cached_property
    def _by_name(self) -> Mapping[str, Sequence[str]]:
        found: dict[str, list[str]] = {}
        for name, value in self.headers:
            found.setdefault(name, []).append(value)
        return found

    def get(self, name: str) -> str | None:
        """The first header of this lower-case name, or None."""
        values = self._by_name.get(name)
        return values[0] if values else None

    def all(self, name: str) -> Sequence[str]:
        """All headers of this lower-case name, in order."""
        return self._by_name.get(name, [])


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer to a handshake that is not accepted."""

    status: int
    text: str


class Wire(Protocol):
    """The thing one session speaks through; `session` and `link` are slots for the driver."""

    session: Any
    """The broker's session, set by the driver; opaque here."""
    link: Any
    """The driver's record of the connection that carries it now; None while it is parked."""
    transport: str
    """The transport, for log lines and events: `websocket`, `xhr_streaming` ..."""
    kept: int
    """Bytes that its connections keep for it: messages and posts that are not whole, and posts that
    wait. A change is told by a `Message` or an `Alive`.
    """
    joins: bool
    """Chunks are octets, of which `pack` makes nothing else: several, joined, leave as one."""
    began: bytes
    """The beginning of the first message, while that is not whole or is refused; else empty."""

    @property
    def parking(self) -> Parking | None:
        """The parking that keeps this wire alive between two connections; None for a wire that
        ends with its connection, which then carries its output and brings its input as well.
        """
        ...

    @property
    def key(self) -> Hashable:
        """The key of the wire: wires of equal keys dress a frame into equal bytes."""
        ...

    def dress(self, head: bytes, tail: bytes, text: bool) -> Chunk | None:
        """The chunk of one STOMP frame, given in two parts. Pure: called once per group of
        receivers.

        None: the wire carries text only, and this is none. Whether that is so is a property of the
        wire, the same for all wires of a key: it is asked with an empty frame, once for each group
        of receivers, and what such a wire cannot carry is not dressed for it at all.

        Args:
            head: The part that differs per group.
            tail: The part all groups of a version share.
            text: The whole frame is valid UTF-8 and goes out as text.
        """
        ...

    def size(self, chunk: Chunk) -> int:
        """Bytes of a chunk on the wire, at least 1, for all limits."""
        ...

    def ping(self) -> Chunk | None:
        """A chunk that makes a live peer answer: a WebSocket PING, a SockJS heart-beat. Pure,
        shared.

        None: this wire has no such thing (an ASGI scope, where the host server pings). Nothing is
        written then, and no answer is waited for: `pong_timeout` never runs.
        """
        ...

    def pack(self, chunks: list[Chunk]) -> tuple[list[Chunk], bool]:
        """The chunks to write for these, and whether this carrier ends with it (a SockJS poll
        does). No chunks are given where the direct way of a `Parking` has told to look.
        """
        ...

    def close(self, code: int, reason: str) -> list[Chunk]:
        """The close handshake, to be written behind everything that waits. Called at most once.

        Args:
            code: A WebSocket close code.
            reason: A constant of ours, at most 123 bytes; never peer text.
        """
        ...


@runtime_checkable
class Parking(Protocol):
    """A wire that outlives its connections, as the driver looks at it. Any number of them bring its
    input, in posts that are whole before any of it counts; at most one carries its output.
    """

    deadline: float | None
    """The time at which to wake it, in monotonic seconds; None while a connection carries it."""
    armed: int
    """The number of its entry in the heap; only `Timers` writes it."""
    armed_at: float
    """The deadline of that entry; only `Timers` writes it."""
    paused: bool
    """The session is not to be read now; set by the driver."""

    def wake(self, now: float) -> list[Event]:
        """Act on the deadline, which came: `Closed` when nothing carried the wire for too long."""
        ...

    def batch(self) -> list[bytes]:
        """The messages of the posts that have come, oldest first, at most 64 KiB at a time, but at
        least one when there is one. Each call takes them out.
        """
        ...

    def sender(self, send: Send, keep: Keep) -> Send | None:
        """A direct way out through the connection that carries the wire, for one chunk at a time;
        None: there is none. It returns the size of a chunk that was sent, and 0 when the general
        way is to look: then it has kept what is unsent.

        Args:
            send: The `send` of the stream.
            keep: The `keep` of the stream.
        """
        ...

    def refuse(self, status: int) -> None:
        """Refuse the handshake after its client had been told that the session is open.

        Args:
            status: The HTTP status of the refusal.
        """
        ...

    def ended(self, now: float) -> None:
        """Note that the session has ended, whoever ended it. Only the first call counts."""
        ...


class ToDestination(NamedTuple):
    """The target of a publication to a topic or a queue."""

    destination: str


class ToUser(NamedTuple):
    """The target of a publication to every session of a user."""

    user: str
    """The name of the user."""
    path: str
    """The part behind the user prefix, for example `/queue/errors`."""


class ToSession(NamedTuple):
    """The target of a publication to one session, in one order with those to all of its user."""

    session_id: str
    path: str
    """The part behind the user prefix."""


Target: TypeAlias = ToDestination | ToUser | ToSession
"""The receivers of a publication."""


class Handshake:
    """A request that would open a session; `accept` or `refuse` it now or any time later."""

    __slots__ = ("attributes", "connection", "request", "subprotocol", "wire")

    def __init__(self, request: HttpRequest, wire: Wire, subprotocol: str | None) -> None:
        self.request = request
        self.wire = wire
        self.subprotocol = subprotocol
        self.connection: Any = None
        """A slot for the driver: the link that brought it."""
        self.attributes: dict[str, Any] = {}
        """The attributes with which its session begins."""


class Message:
    """One WebSocket or SockJS message, whole; a text message as its UTF-8 bytes."""

    __slots__ = ("payload", "wire")

    def __init__(self, wire: Wire, payload: bytes) -> None:
        self.wire = wire
        self.payload = payload


class Alive:
    """PONG, PING, an empty frame, or part of a message or a post came from the peer."""

    __slots__ = ("unfinished", "wire")

    def __init__(self, wire: Wire, *, unfinished: bool = False) -> None:
        self.wire = wire
        self.unfinished = unfinished
        """A WebSocket frame or a fragmented message has begun and is not whole. It is the same one
        as before unless a `Message` or another `Alive` came in between.
        """


@dataclass(slots=True, eq=False)
class Attached:
    """A connection began to carry this wire's output: its mailbox may be flushed."""

    wire: Wire


@dataclass(slots=True, eq=False)
class Ending:
    """The answer that carries this wire ends with the connection's own output: nothing of the
    mailbox goes behind that. When all of it is written, `Connection.detach` is called.
    """

    wire: Wire


@dataclass(slots=True, eq=False)
class Detached:
    """The connection has nothing to do with this wire any more. If it carried the wire, that is
    parked, and its session lives.
    """

    wire: Wire


class Closed:
    """The end of a wire: a Close frame came, the stream ended, or the peer broke the framing.

    A wire has at most one with `ours`, and behind it exactly one without.

    `code` is the peer's close code, 1005 for a Close without one, 1006 for a stream that just
    ended; when `ours` is set, it is the code with which we close because the peer broke the framing
    or a limit.
    """

    __slots__ = ("cause", "code", "ours", "reason", "wire")

    def __init__(
        self,
        wire: Wire,
        code: int,
        reason: str,
        *,
        ours: bool = False,
        cause: DisconnectReason | None = None,
    ) -> None:
        self.wire = wire
        self.code = code
        self.reason = reason
        self.ours = ours
        self.cause = cause
        """The reason of its end, where the code alone does not tell; None: 1006 is a lost
        connection, any other code the peer's own.
        """


Event: TypeAlias = Handshake | Message | Alive | Attached | Ending | Detached | Closed


class Connection(Protocol):
    """One carrier. Implemented in `wire/`."""

    deadline: float | None
    """The time at which to wake it, in monotonic seconds, or None; its link keeps it in timers."""
    held: bool
    """The stream is not to be read: kept bytes or untaken output are over 64 KiB."""
    shut: bool
    """The stream is to be closed when everything is written."""

    def start(self, now: float) -> list[Event]:
        """Events of a connection that needs no bytes: the Handshake of an ASGI scope, whose
        request has been parsed already. Called once, before anything else; empty for a socket.

        Args:
            now: Seconds, monotonic.
        """
        ...

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Take bytes of the stream. Never raises for anything a peer can send."""
        ...

    def accept(self, handshake: Handshake, now: float) -> list[Event]:
        """Answer 101 and go on with the bytes that came since; they become events here."""
        ...

    def refuse(self, handshake: Handshake, status: int, text: str, now: float) -> list[Event]:
        """Answer with an HTTP error and close."""
        ...

    def resume(self, now: float) -> list[Event]:
        """Go on: posts of the wire it brings input for were taken, or are not taken now; or its
        session is read again or no more, or has ended, and what is kept for it may go.
        """
        ...

    def lost(self, now: float) -> list[Event]:
        """Take the end of the stream: EOF or reset."""
        ...

    def wake(self, now: float) -> list[Event]:
        """Act on the deadline, which came."""
        ...

    def detach(self, now: float) -> list[Event]:
        """Go on: an answer that has ended, with `pack` or as `Ending` said, is all written."""
        ...

    def take(self) -> list[Chunk]:
        """The connection's own output: answers, 101, PONG, the close reply. Written before the
        mailbox.
        """
        ...

"""The sessions of SockJS over plain HTTP: wires that outlive their requests, and the table of them.

Rule: a session is known by the id that its client chose, and lives while a request carries it, and
`disconnect_delay` longer. A request that we end parks it; one that ends by itself ends it, because
nobody can know what of its answer has arrived (SockJS has no acknowledgement). Sessions that have
ended are remembered, so that a late request is told so and opens no second session behind the
first one's back.

    open -------- a receiver -----------------> CARRIED
    CARRIED ----- its answer is written ------> PARKED     for `disconnect_delay`
    CARRIED ----- it is cut, or said `c` -----> ENDED
    PARKED ------ a receiver -----------------> CARRIED
    PARKED ------ nobody came ----------------> ENDED      remembered, then forgotten
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from operator import is_
from typing import Any, Final, Protocol

from stocksync_ws.config import Limits, SockJSOptions
from stocksync_ws.types import Chunk, Closed, Event, Keep, Send
from stocksync_ws.wire.framing import Framing
from stocksync_ws.wire.sockjs.frames import (
    INTERRUPTED,
    CloseFrame,
    Format,
    close_frame,
    message_frame,
    quote,
)

__all__ = ["Carrying", "Post", "SockJSSessions", "SockJSWire", "Track"]

BATCH: Final = 65_536
"""Bytes of messages that are taken from posts at a time."""
EACH: Final = 64
"""Bytes that a message counts for beside its own: very many small ones are much, too."""


class Carrying(Protocol):
    """The request that carries a wire."""

    def pack(self, chunks: list[Chunk]) -> tuple[list[Chunk], bool]:
        """What to write for these; see `types.Wire.pack`."""
        ...

    def sender(self, send: Send, keep: Keep) -> Send | None:
        """The direct way; see `types.Parking.sender`."""
        ...


class Post:
    """The messages of one request body, in the queue of its session."""

    __slots__ = ("left", "size")

    def __init__(self, messages: list[bytes]) -> None:
        self.left = deque(messages)
        """Those that were not taken yet."""
        self.size = sum(map(len, messages)) + EACH * len(messages)
        """The bytes they count for when they are queued."""


class SockJSWire:
    """One session over plain HTTP; implements `types.Wire` and `types.Parking`.

    A chunk is a quoted message, or a `CloseFrame`; the request that carries the wire makes frames
    of them. All wires of this class share one key.

    Args:
        sessions: The table.
        id: As the client chose it.
        peer: The address of the client.
    """

    __slots__ = (
        "_sessions",
        "armed",
        "armed_at",
        "carrier",
        "closing",
        "deadline",
        "id",
        "kept",
        "link",
        "over",
        "paused",
        "peer",
        "posters",
        "posts",
        "said_all",
        "session",
        "transport",
    )

    key: Hashable = "sockjs"
    joins: bool = False
    began: bytes = b""
    """What is not whole is a body, and says nothing about the messages in it."""

    def __init__(self, sessions: SockJSSessions, id: str, peer: str | None) -> None:  # noqa: A002
        self._sessions = sessions
        self.id = id
        self.peer = peer
        self.session: Any = None
        self.link: Any = None
        self.transport = ""
        self.carrier: Carrying | None = None
        self.closing: CloseFrame | None = None
        """How the session ends, or has ended; every later request is told."""
        self.said_all = False
        """The last frame of the session was taken out of its mailbox."""
        self.over = False
        """The session has ended."""
        self.paused = False
        self.kept = 0
        """Bytes of bodies that are not whole, and of the messages that wait."""
        self.posts: deque[Post] | None = None
        """Whole bodies whose messages wait, in the order in which they became whole."""
        self.posters = 0
        """Bodies that come in, or wait to be taken."""
        self.deadline: float | None = None
        self.armed = 0
        self.armed_at = 0.0

    @property
    def parking(self) -> SockJSWire:
        """The wire itself."""
        return self

    def dress(self, head: bytes, tail: bytes, text: bool) -> Chunk:
        """One STOMP frame as a quoted message.

        Args:
            head: The part that differs per group.
            tail: The part all groups share.
            text: True, valid UTF-8; SockJS carries nothing else.
        """
        return quote(head + tail) if text else None

    def size(self, chunk: Chunk) -> int:
        """Bytes of the quoted text, without the frame around it."""
        return len(chunk)

    def ping(self) -> None:
        """None: nothing makes a client of a poll answer."""
        return

    def pack(self, chunks: list[Chunk]) -> tuple[list[Chunk], bool]:
        """The frames of the request that carries the wire."""
        assert self.carrier is not None
        return self.carrier.pack(chunks)

    def close(self, code: int, reason: str) -> list[Chunk]:
        """The frame `c`, made once.

        Args:
            code: A close code.
            reason: A constant of ours; never peer text.
        """
        if self.closing is not None:
            return []
        self.closing = close_frame(code, reason)
        return [self.closing]

    # Parking

    def sender(self, send: Send, keep: Keep) -> Send | None:
        """The direct way through the request that carries the wire; None: there is none."""
        return None if self.carrier is None else self.carrier.sender(send, keep)

    def park(self, now: float) -> None:
        """Its request has ended in good order; the client has a while to send the next one."""
        self.carrier = None
        if not self.over:
            self.deadline = now + self._sessions.options.disconnect_delay

    def carry(self, carrier: Carrying, transport: str) -> None:
        """A request carries it now."""
        self.carrier = carrier
        self.transport = transport
        self.deadline = None

    def wake(self, now: float) -> list[Event]:
        """Nobody came in time: the session ends; or it has been remembered for long enough."""
        if self.deadline is None or now < self.deadline:
            return []
        self.deadline = None
        if self.over:
            self._sessions.forget(self)
            return []
        return [Closed(self, 1006, "")]

    def batch(self) -> list[bytes]:
        """Messages of the posts that wait, up to `BATCH` bytes."""
        taken: list[bytes] = []
        posts, size = self.posts, 0
        while posts:
            left = posts[0].left
            while left and (not taken or size + len(left[0]) + EACH <= BATCH):
                taken.append(left.popleft())
                size += len(taken[-1]) + EACH
            if left:
                break
            posts.popleft()
            self.posters -= 1
        self.kept -= size
        return taken

    def keep(self, size: int) -> None:
        """So many bytes of bodies more, or less, are kept."""
        if not self.over:
            self.kept += size

    def queue(self, post: Post) -> None:
        """A body is whole: its messages are taken behind those that wait."""
        if self.posts is None:
            self.posts = deque()
        self.posts.append(post)
        self.kept += post.size

    def refuse(self, status: int) -> None:
        """The handshake was refused behind an `o`: the client is told by a close code."""
        if status in (401, 403):
            self.closing = close_frame(4501, "bad credentials")
        else:
            self.closing = close_frame(1013, "try again later")

    def ended(self, now: float) -> None:
        """The session has ended: it is remembered for a while."""
        if self.over:
            return
        self.over = True
        self.posts = None
        self.kept = 0
        self.closing = self.closing or INTERRUPTED
        self.deadline = now + self._sessions.options.remember
        self._sessions.remember(self)


class Track:
    """Makes the parts of streams of one transport and one framing. The receivers of a busy topic
    have equal messages, so the last result is remembered, and a group is packed once.

    Attributes:
        chunk: The last message that was packed alone, None at first.
        part: The part with it.
        size: The bytes of its frame.
    """

    __slots__ = ("_form", "_framing", "_last", "_packed", "_size", "chunk", "part", "size")

    def __init__(self, form: Format, framing: Framing) -> None:
        self._form = form
        self._framing = framing
        self._last: list[Chunk] = []
        self._packed: Chunk = None
        self._size = 0
        self.chunk: Chunk = None
        self.part: Chunk = None
        self.size = 0

    def pack(self, messages: list[Chunk]) -> tuple[Chunk, int]:
        """The part with these messages in one frame, and the bytes of that frame."""
        last = self._last
        if len(last) != len(messages) or not all(map(is_, last, messages)):
            data = self._form.wrap(message_frame(messages), "")
            self._last, self._size = messages, len(data)
            self._packed = self._framing.part(data)
        return self._packed, self._size

    def pack_one(self, chunk: Chunk) -> None:
        """Set `part` and `size` for a message alone."""
        data = self._form.wrap(message_frame((chunk,)), "")
        self.part, self.size = self._framing.part(data), len(data)
        self.chunk = chunk


class SockJSSessions:
    """All sessions of one endpoint over plain HTTP, those that have ended lately among them.

    Args:
        options: Of the endpoint.
        limits: How many there may be.
    """

    def __init__(self, options: SockJSOptions, limits: Limits) -> None:
        self.options = options
        self.limits = limits
        self._tracks: dict[tuple[str, Framing], Track] = {}
        self._open: dict[str, SockJSWire] = {}
        self._ended: dict[str, SockJSWire] = {}
        """In the order of their ends."""

    def track(self, form: Format, framing: Framing) -> Track:
        """What all streams of a transport and a framing share."""
        key = form.transport, framing
        found = self._tracks.get(key)
        if found is None:
            found = self._tracks[key] = Track(form, framing)
        return found

    def find(self, id: str) -> SockJSWire | None:  # noqa: A002
        """The session of this id, open or remembered."""
        return self._open.get(id) or self._ended.get(id)

    @property
    def full(self) -> bool:
        """No session may be opened now."""
        return len(self._open) >= self.limits.sockjs_sessions

    def open(self, id: str, peer: str | None) -> SockJSWire:  # noqa: A002
        """A new session."""
        wire = self._open[id] = SockJSWire(self, id, peer)
        return wire

    def remember(self, wire: SockJSWire) -> None:
        """A session has ended."""
        self._open.pop(wire.id, None)
        self._ended[wire.id] = wire
        if len(self._ended) > self.limits.sockjs_remembered:
            self.forget(next(iter(self._ended.values())))

    def forget(self, wire: SockJSWire) -> None:
        """Remember an ended session no longer."""
        self._ended.pop(wire.id, None)
        wire.deadline = None

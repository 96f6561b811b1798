"""What the broker keeps per session and per subscription, and the entries of a mailbox.

Rule: plain records; every decision about them stands in the modules that read them. All clocks in
here are in the broker's own time (`now` less the slack of our stalls), in seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextvars import Context
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from stocksync_ws.errors import CloseCode, DisconnectReason
from stocksync_ws.stomp.frame import Version
from stocksync_ws.types import Chunk, Handshake, Principal, Wire

if TYPE_CHECKING:
    from stocksync_ws.broker.events import Event
    from stocksync_ws.broker.index import Group
    from stocksync_ws.broker.pipeline import Call, Task
    from stocksync_ws.broker.publication import Publication
    from stocksync_ws.stomp.decoder import Decoder

__all__ = ["Outgoing", "Session", "State", "Subscription"]


class State(Enum):
    """Where a session is in its life; the frame tables have one row per (state, command)."""

    OPENING = auto()
    """The handshake is not answered yet."""
    AWAITING = auto()
    """Upgraded; the first frame must be CONNECT or STOMP."""
    CONNECTED = auto()
    ENDING = auto()
    """The stream has ended; frames that had arrived are still processed, for 5 seconds at most."""
    CLOSING = auto()
    """We closed; nothing is decoded, what waits is written, then the peer's Close is awaited."""
    CLOSED = auto()

    # By identity, in C: that of Enum hashes the name in Python, several times a frame.
    __hash__ = object.__hash__


class Subscription:
    """One SUBSCRIBE of one session."""

    __slots__ = ("destination", "group", "id", "session")

    def __init__(self, session: Session, subscription_id: str | None, destination: str) -> None:
        self.session = session
        self.id = subscription_id
        """The client's id; None for STOMP 1.0 without one."""
        self.destination = destination
        self.group: Group | None = None
        """Its group in the index; None for subscriptions to the application."""


class Outgoing:
    """An entry of mailboxes: one per publication and kind of receiver, shared by all its
    receivers.
    """

    __slots__ = ("at", "chunk", "destination", "droppable", "key", "publication", "size", "waiting")

    def __init__(
        self,
        chunk: Chunk,
        size: int,
        at: float,
        waiting: int,
        *,
        publication: Publication | None = None,
        destination: str | None = None,
        droppable: bool = False,
    ) -> None:
        self.chunk = chunk
        self.size = size
        """Bytes on the wire."""
        self.at = at
        """When it was queued."""
        self.waiting = waiting
        """Mailboxes it still lies in; at 0 its bytes leave the total."""
        self.publication = publication
        """None for receipts, ERROR, replies, beats and the close handshake."""
        self.destination = destination
        self.key: str | None = None
        """The conflation key, on destinations that keep only the newest value."""
        self.droppable = droppable


class Session:
    """One client's conversation, from its handshake to its end. Made by `Broker.open` only.

    A handler may ask for it by annotation (`session: Session`) and use `id`, `user`, `version`,
    `transport`, `peer` and `attributes`; everything else belongs to the broker.
    """

    __slots__ = (
        "_attributes",
        "armed",
        "armed_at",
        "backlogged",
        "close_by",
        "close_code",
        "closing",
        "connect_by",
        "connected_at",
        "context",
        "deadline",
        "decoder",
        "dirty",
        "drain_at",
        "end_by",
        "ending",
        "event_task",
        "events",
        "frame_since",
        "frames_left",
        "handed",
        "handshake",
        "held",
        "hungry",
        "hurried",
        "id",
        "inbox",
        "inbox_bytes",
        "lane",
        "last_seen",
        "last_write",
        "mailbox",
        "over_since",
        "peer",
        "pinged_at",
        "pre_auth",
        "progress_at",
        "queued",
        "read_every",
        "refused_ids",
        "state",
        "still_since",
        "stuck",
        "subscriptions",
        "taken",
        "task",
        "transport",
        "turn",
        "unsent",
        "user",
        "version",
        "wire",
        "write_every",
    )

    def __init__(
        self,
        session_id: str,
        wire: Wire,
        handshake: Handshake,
        decoder: Decoder,
        context: Context,
        at: float,
    ) -> None:
        self.id = session_id
        """128 random bits; opaque."""
        self.wire = wire
        self.handshake: Handshake | None = handshake
        """Kept until CONNECT was decided."""
        self.decoder = decoder
        self.context = context
        self.state = State.OPENING
        self.user: Principal | None = None
        """Who it belongs to; None when anonymous."""
        self.version: Version | None = None
        """The STOMP version, once negotiated."""
        self.transport = wire.transport
        self.peer = handshake.request.peer
        self._attributes: dict[str, Any] | None = None
        self.subscriptions: dict[str, Subscription] = {}
        self.refused_ids: dict[str, None] | None = None
        """Ids whose SUBSCRIBE was refused while the session lived on; the newest last."""
        self._init_in()
        self._init_out()
        self._init_clocks(at)

    def _init_in(self) -> None:
        self.inbox: deque[bytes] | None = None
        """Messages that wait for their turn, with their borders; None when there are none."""
        self.inbox_bytes = 0
        self.pre_auth = 0
        self.hungry = True
        """The decoder has nothing whole left in it."""
        self.turn = -1
        """The turn that `frames_left` belongs to."""
        self.frames_left = 0
        self.backlogged = False
        """It is in the list of those that go on in the next turn."""
        self.held = False
        """Reading must pause."""
        self.task: Task | None = None
        """The pipeline of the frame in work; the next frame waits for it."""
        self.stuck: Call | None = None
        """A pool function that was left behind and has not returned; no frame is read until it
        has.
        """
        self.events: deque[Event] | None = None
        self.event_task: Task | None = None

    def _init_out(self) -> None:
        self.mailbox: deque[Outgoing] = deque()
        self.queued = 0
        """Bytes in the mailbox."""
        self.unsent = 0
        """Bytes the transport was handed and has not written."""
        self.dirty = False
        """It is in the list of mailboxes to flush."""
        self.lane: Callable[[Chunk], int] | None = None
        """The stream's bare `send` while the plain case holds; only the driver's general way
        sets it.
        """
        self.handed = 0
        """Bytes handed to the transport so far, and `taken`: those it had written at the last
        look.
        """
        self.taken = 0

    def _init_clocks(self, at: float) -> None:
        self.deadline: float | None = None
        self.armed = 0
        self.armed_at = 0.0
        self.connect_by: float | None = None
        self.connected_at = at
        self.last_seen = at
        self.last_write = at
        self.read_every = 0.0
        """Seconds the client agreed to send something in; 0: it owes nothing. `write_every`: we
        owe.
        """
        self.write_every = 0.0
        self.pinged_at: float | None = None
        self.still_since: float | None = None
        """Since when we do not read from it, so that its silence does not count."""
        self.frame_since: float | None = None
        """When the unfinished frame in the decoder began."""
        self.progress_at: float | None = None
        """When the transport last took bytes, while something waits; None when nothing waits."""
        self.over_since: float | None = None
        """Since when more than `Limits.send_queue` waits although the transport takes bytes."""
        self.drain_at: float | None = None
        """When a stop closes it."""
        self.ending: DisconnectReason | None = None
        self.end_by: float | None = None
        self.hurried = False
        """Its handler was asked to end, and has a moment for that."""
        self.closing: CloseCode | None = None
        """The code we closed with."""
        self.close_code = 1006
        """The code its end is told with."""
        self.close_by: float | None = None
        """When an unfinished close is aborted."""

    @property
    def attributes(self) -> dict[str, Any]:
        """Whatever the application wants to keep with the session; lives as long as it."""
        if self._attributes is None:
            self._attributes = {}
        return self._attributes

    @property
    def user_name(self) -> str | None:
        """The name of its user, or None when anonymous."""
        return None if self.user is None else self.user.name

    def __repr__(self) -> str:
        return f"<Session {self.id} {self.state.name.lower()} user={self.user_name!r}>"

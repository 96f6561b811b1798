"""What the broker keeps per session and per subscription, and the entries of a mailbox.

Rule: plain records; every decision about them stands in the modules that read them. All clocks in
here are in the broker's own time (`now` less the slack of our stalls), in seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from stocksync_ws.broker.model.ledger import AckMode, Delivery, Ledger
from stocksync_ws.errors import CloseCode, DisconnectReason
from stocksync_ws.stomp.frame import Version
from stocksync_ws.types import Chunk, Handshake, Principal, Wire

if TYPE_CHECKING:
    from stocksync_ws.broker.model.channel import Channel, Group
    from stocksync_ws.broker.model.durable import Durable
    from stocksync_ws.broker.model.pipeline import Call, Task
    from stocksync_ws.broker.model.publication import Publication
    from stocksync_ws.broker.model.transaction import Transaction
    from stocksync_ws.stomp.decoder import Decoder

__all__ = ["AWAITING", "CONNECTED", "ENDING", "Outgoing", "Session", "State", "Subscription"]


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


AWAITING, CONNECTED, ENDING = State.AWAITING, State.CONNECTED, State.ENDING
"""Globals, for what is asked with every frame: to look up a member of an Enum is a call in Python
before 3.12.
"""


class Subscription:
    """One SUBSCRIBE of one session."""

    __slots__ = (
        "blocked",
        "channel",
        "destination",
        "dropped",
        "durable",
        "ghosts",
        "group",
        "held_to",
        "id",
        "in_turn",
        "ledger",
        "mode",
        "next",
        "place",
        "replay_left",
        "replay_to",
        "session",
        "unrecovered",
    )

    def __init__(
        self,
        session: Session,
        subscription_id: str | None,
        destination: str,
        mode: AckMode = AckMode.AUTO,
        ledger: Ledger | None = None,
    ) -> None:
        self.session = session
        self.id = subscription_id
        """The client's id; None for STOMP 1.0 without one."""
        self.destination = destination
        self.mode = mode
        self.ledger = ledger
        """Where its deliveries wait for their acknowledgement; None in auto mode."""
        self.channel: Channel | None = None
        """What it reads; of one to the application, nothing but the answer is in there."""
        self.group: Group | None = None
        """Its kind of receiver; None when it has ended."""
        self.next = 0
        """Behind: the offset it reads next."""
        self.replay_to = 0
        """Up to this offset what it reads was published before it subscribed."""
        self.replay_left = 0
        """Of a `latest` destination: so many of what it reads next are marked as replayed."""
        self.held_to = 0
        """Up to this offset what it reads was published while its snapshot ran."""
        self.blocked = False
        """A snapshot runs: what is published waits in the log."""
        self.dropped = 0
        """Messages it lost since its last MESSAGE, which the next one tells."""
        self.unrecovered = False
        """Its next MESSAGE says that the recovery it asked for failed."""
        self.durable: Durable | None = None
        self.ghosts: list[Outgoing] = []
        """Of a durable name: what an earlier subscription of its id had left in the mailbox."""
        self.place = 0
        """Of a consumer: where it stands in the turn of its queue."""
        self.in_turn = False
        """It stands there; else it was not ready when it was asked."""


class Outgoing:
    """An entry of mailboxes: one per publication and kind of receiver, shared by all its
    receivers.
    """

    __slots__ = (
        "at",
        "attempt",
        "chunk",
        "droppable",
        "group",
        "offset",
        "origin",
        "publication",
        "reader",
        "size",
        "tells",
        "waiting",
    )

    def __init__(
        self,
        chunk: Chunk,
        size: int,
        at: float,
        waiting: int,
        *,
        publication: Publication | None = None,
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
        self.origin: Channel | None = None
        """The queue it goes back to when its session ends before it was written."""
        self.offset = 0
        """Its place there."""
        self.group: Group | None = None
        """The group it was made for, where it may be taken away from a slow consumer."""
        self.reader: Group | None = None
        """The group of the one reader it was made for, where it was not published to all."""
        self.attempt = 1
        """Which delivery of its message it is."""
        self.tells = 0
        """Messages whose loss it tells."""
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
        "behind",
        "close_by",
        "close_code",
        "closing",
        "connect_by",
        "connected_at",
        "consumers",
        "context",
        "deadline",
        "decoder",
        "dirty",
        "drain_at",
        "end_by",
        "ended_auto",
        "ending",
        "event_task",
        "events",
        "frame_since",
        "frames_left",
        "handed",
        "handshake",
        "has_consumed",
        "held",
        "hungry",
        "hurried",
        "id",
        "in_transport",
        "inbox",
        "inbox_bytes",
        "joined",
        "lane",
        "last_seen",
        "last_write",
        "ledgers",
        "mailbox",
        "over_since",
        "past",
        "peer",
        "pinged_at",
        "pre_auth",
        "progress_at",
        "queued",
        "read_every",
        "receipts",
        "refused_ids",
        "reply_queues",
        "retries",
        "state",
        "still_since",
        "still_total",
        "stuck",
        "subscriptions",
        "taken",
        "task",
        "transactions",
        "transport",
        "turn",
        "unacknowledged",
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
        self.behind: dict[Subscription, None] | None = None
        """Its subscriptions that read their log themselves."""
        self.consumers: dict[Subscription, None] | None = None
        """Its subscriptions to queues."""
        self.has_consumed = False
        """It had one, ever."""
        self.ledgers: dict[str, Ledger] | None = None
        """Of its acknowledging subscriptions, ended ones too, by their key."""
        self.past: Ledger | None = None
        """What was issued in ledgers that are forgotten."""
        self.ended_auto: dict[str, None] | None = None
        """Keys of ended subscriptions in auto mode, the newest last: to acknowledge there what has
        no acknowledgement is no error afterwards either.
        """
        self.retries: list[tuple[float, int, int, Delivery]] | None = None
        """A heap of deliveries that go out again: (when, number, turn, delivery)."""
        self.transactions: dict[str, Transaction] | None = None
        self.reply_queues: dict[str, str] | None = None
        """Addresses of its private queues, by the name it gave them."""
        self.unacknowledged = 0
        """Deliveries on topics it left unsettled at its end."""
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
        self.joined = False
        """A frame waits for the same one of another session; the next frame waits for it."""
        self.events: deque[Sequence[Call]] | None = None
        """Calls of listeners that wait for those before them."""
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
        self.in_transport: list[tuple[int, str]] | None = None
        """What queues handed to the transport and is not written: where it ends among the bytes
        handed over, and its destination.
        """
        self.receipts: deque[Outgoing] | None = None
        """Those that may still be in the mailbox, oldest first."""

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
        self.still_total = 0.0
        """Seconds in which we did not read from it, in all."""
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

    def listened(self, now: float) -> float:
        """`now` on a clock that stands still while we do not read from the session."""
        return (now if self.still_since is None else self.still_since) - self.still_total

    @property
    def plain(self) -> bool:
        """Its output is what lies in its mailbox and nothing else: it may have a lane."""
        return self.state is CONNECTED and self.behind is None and self.consumers is None

    @property
    def user_name(self) -> str | None:
        """The name of its user, or None when anonymous."""
        return None if self.user is None else self.user.name

    def remember_refused(self, key: str, most: int) -> None:
        """So that the UNSUBSCRIBE of a client that did not see the refusal is no error."""
        self.refused_ids = _remember(self.refused_ids, key, most)

    def remember_auto(self, key: str, most: int) -> None:
        """So that an ACK behind UNSUBSCRIBE is no error where none was needed."""
        self.ended_auto = _remember(self.ended_auto, key, most)

    @property
    def owner(self) -> str:
        """Whose user destinations it reads: its user's, or its own when anonymous."""
        return "\0" + self.id if self.user is None else self.user.name

    def __repr__(self) -> str:
        return f"<Session {self.id} {self.state.name.lower()} user={self.user_name!r}>"


def _remember(keys: dict[str, None] | None, key: str, most: int) -> dict[str, None]:
    """The newest last, and a bounded number of them."""
    keys = {} if keys is None else keys
    keys.pop(key, None)
    keys[key] = None
    if len(keys) > most:
        del keys[next(iter(keys))]
    return keys

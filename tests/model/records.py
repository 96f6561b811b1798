"""The records of the naive broker.

Rule: plain lists and dicts; nothing is shared, nothing is an index. What a client must see is
appended to `Session.mailbox`, and from there to `Session.out`, as (kind, text, marks).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.model.rules import WITH_HISTORY

__all__ = [
    "Delivery",
    "Job",
    "Key",
    "Message",
    "Name",
    "Place",
    "Refused",
    "Session",
    "Subscription",
    "Transaction",
]

Frame = dict[str, Any]
"""`command`, and what the frame says."""


class Refused(Exception):
    """ERROR with this code, then close."""


@dataclass(eq=False)
class Message:
    body: str
    address: str
    at: float
    key: str = ""
    marks: dict[str, str] = field(default_factory=dict)
    offset: int = 0
    number: int = 0
    expires: float | None = None
    only: Session | None = None
    """It is for this session; the others skip it."""

    @property
    def id(self) -> str:
        """Its message-id; a snapshot has that of its place in the history."""
        place = self.offset or self.marks.get("offset")
        history = place and self.address in WITH_HISTORY
        return f"{self.address}-{place}" if history else f"#{self.number}"

    def dead(self, now: float) -> bool:
        """At its very last moment it can still be delivered."""
        return self.expires is not None and self.expires < now


@dataclass(eq=False)
class Delivery:
    sub: Subscription
    message: Message
    attempt: int
    at: float
    """On the clock that stands still while nobody reads from the session."""
    place: int
    again: bool = False
    """The message was written before."""
    sent: bool = True
    """False: its session has ended, and it was still in the mailbox."""


@dataclass(eq=False)
class Subscription:
    session: Session
    id: str
    said: str
    """The destination as the client names it."""
    address: str
    """Where it reads; empty for the application."""
    mode: str = "auto"
    next: int = 0
    replay_to: int = 0
    replays: int = 0
    """Of newest values: so many are still from before it came."""
    held_to: int = 0
    """Up to here was published while its snapshot was made."""
    blocked: bool = False
    """Its snapshot is being made."""
    snapshot: Message | None = None
    """Its snapshot, which has still to wait for the history before it."""
    snapshot_at: int = 0
    """What is below this offset comes before its snapshot."""
    dropped: int = 0
    unrecovered: bool = False
    ended: bool = False
    name: Name | None = None

    @property
    def ledger(self) -> list[Delivery]:
        return self.session.ledgers[self.id]

    def room(self) -> bool:
        if self.mode == "auto":
            return True
        narrow = self.id in self.session.narrowed
        return self.session.holds(self.id) < (1 if narrow else self.session.windows[self.id])

    @property
    def idle(self) -> bool:
        """Nothing is unsettled: it may get what must go by itself."""
        return self.mode == "auto" or not self.session.holds(self.id)


@dataclass(eq=False)
class Session:
    number: int
    version: str
    user: str | None
    beats: bool = False
    """Both sides owe a heart-beat every 10 s."""
    polite: bool = True
    """It answers our Close; else the connection is reset in the end."""
    state: str = "open"
    """Then `ending` (the stream ended, frames are left) or `closing` (we closed), then `gone`."""
    subs: dict[str, Subscription] = field(default_factory=dict)
    consumers: list[Subscription] = field(default_factory=list)
    ledgers: dict[str, list[Delivery]] = field(default_factory=dict)
    modes: dict[str, str] = field(default_factory=dict)
    windows: dict[str, int] = field(default_factory=dict)
    narrowed: set[str] = field(default_factory=set)
    """Ids whose window is 1 until everything is settled."""
    refused: set[str] = field(default_factory=set)
    ended_auto: set[str] = field(default_factory=set)
    """Ids whose last subscription did not acknowledge."""
    txs: dict[str, Transaction] = field(default_factory=dict)
    retries: list[tuple[float, Delivery]] = field(default_factory=list)
    behind: list[Subscription] = field(default_factory=list)
    replies: dict[str, str] = field(default_factory=dict)
    """Addresses of its private queues."""
    mailbox: list[tuple[Any, ...]] = field(default_factory=list)
    out: list[tuple[Any, ...]] = field(default_factory=list)
    unacknowledged: int = 0
    blames: bool = False
    """It has ended so that what it had not settled may be to blame."""
    # What it sent and we have not done yet.
    inbox: list[tuple[list[Frame], bool]] = field(default_factory=list)
    """Messages that wait for a handler: their frames, and whether one more has begun in them."""
    frames: list[Frame] = field(default_factory=list)
    """Of the message in work."""
    half: bool = False
    mid: bool = False
    """An unfinished frame was read."""
    job: Job | None = None
    joined: bool = False
    """It waits for the same SEND of another session."""
    # Its transport.
    narrow: bool = False
    """Its transport takes one octet and no more."""
    stuck: bool = False
    """... and has got something to write."""
    progress_at: float | None = None
    """When a stuck transport last took an octet."""
    # Its clocks.
    last_seen: float = 0.0
    last_write: float = 0.0
    still_since: float | None = None
    still_total: float = 0.0
    frame_since: float | None = None
    drain_at: float | None = None
    end_by: float | None = None
    hurried: bool = False
    close_by: float | None = None

    @property
    def alive(self) -> bool:
        return self.state == "open"

    @property
    def held(self) -> list[Delivery]:
        """What open transactions settle."""
        return [d for tx in self.txs.values() for taken in tx.taken for d in taken]

    def holds(self, sub_id: str) -> int:
        """Deliveries in the window of an id."""
        held = len(self.ledgers[sub_id]) + sum(d.sub.id == sub_id for d in self.held)
        return held + sum(d.sub.id == sub_id for _, d in self.retries)

    @property
    def owner(self) -> str:
        """Whose user destinations it reads."""
        return self.user or f"#{self.number}"

    @property
    def busy(self) -> bool:
        """Something it sent is not done yet."""
        return bool(self.job or self.joined or self.frames or self.inbox)

    def listened(self, now: float) -> float:
        """`now` on the clock that stands still while nobody reads from it."""
        return (now if self.still_since is None else self.still_since) - self.still_total

    def say(self, kind: str, text: str, **marks: str | None) -> None:
        told = {k.replace("_", "-"): v for k, v in marks.items() if v is not None}
        self.mailbox.append((kind, text, told))


@dataclass(eq=False)
class Transaction:
    began: float
    frames: list[Frame] = field(default_factory=list)
    taken: list[list[Delivery]] = field(default_factory=list)


@dataclass(eq=False)
class Name:
    """A durable subscription."""

    user: str
    id: str
    address: str
    next: int
    holder: Subscription | None = None
    returned: list[Delivery] = field(default_factory=list)
    dropped: int = 0
    until: float = 0.0
    fresh: bool = True
    """The SUBSCRIBE that made it has not succeeded yet."""


@dataclass(eq=False)
class Place:
    """A destination: a topic's log, or a queue."""

    log: list[Message] = field(default_factory=list)
    top: int = 0
    lost: int = 0
    kinds: list[tuple[str, str, str]] = field(default_factory=list)
    turn: list[Subscription] = field(default_factory=list)
    delayed: list[tuple[float, Message]] = field(default_factory=list)
    due: float | None = None
    """When it is looked at again."""
    attempts: dict[int, int] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)
    """Offsets of what was written before."""
    idle_since: float | None = None
    """Of a queue: since when nobody consumes."""

    def sooner(self, at: float | None) -> None:
        """Look at it no later than that."""
        if at is not None and (self.due is None or at < self.due):
            self.due = at


@dataclass(eq=False)
class Key:
    """What is known of an idempotency key."""

    body: str
    until: float | None = None
    """None while the first SEND still runs."""
    waiting: list[tuple[Session, Any]] = field(default_factory=list)
    """Sessions that joined it, and the frame or the job that goes on then."""


@dataclass(eq=False)
class Job:
    """User code that runs for a frame; the next frame of its session waits."""

    session: Session
    kind: str
    """`send`, `subscribe`, `snapshot`, `commit`."""
    frame: Frame
    sub: Subscription | None = None
    more: dict[str, str] = field(default_factory=dict)
    """What the RECEIPT says besides."""
    todo: list[Frame] = field(default_factory=list)
    """`commit`: frames whose handlers have not run."""
    kept: list[Frame] = field(default_factory=list)
    """`commit`: all frames."""
    failed: list[Frame] = field(default_factory=list)
    extras: dict[int, dict[str, str]] = field(default_factory=dict)
    call: Frame | None = None
    """The frame whose handler runs now."""
    how: str = ""
    """How it ends."""
    due: float | None = None
    end_by: float | None = None
    stopping: str = ""
    """`timeout` or `cancelled`: it was asked to end."""

    @property
    def colour(self) -> str:
        """`inline` runs at once, `pool` soon, `hold` until the test ends it."""
        assert self.call is not None
        _, prefix, colour, *_ = self.call["destination"].split("/")
        return str(colour) if prefix == "app" else "hold"

    @property
    def stubborn(self) -> bool:
        """It does not end when it is asked to."""
        assert self.call is not None
        return bool(self.call["destination"].endswith("/stubborn"))

"""A session: what the application sees of it, and what the broker keeps.

Rule: `Session` is the public face, six read-only names; everything else belongs to the broker and
stands in a `SessionRecord`, in parts of which each is written by one room: `Mailbox` by
`delivery/`, `Inbound` by `frames/`, `Clocks` by `sessions/`, `Subscriptions` by `delivery/` and
`frames/`. All times are the broker's own (`now` less the slack of our stalls), in seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextvars import Context
from typing import TYPE_CHECKING, Any, Protocol

from stocksync_ws.broker.model.clocks import Clocks
from stocksync_ws.broker.model.credentials import NO_ROLES, Credentials
from stocksync_ws.broker.model.inbound import Inbound
from stocksync_ws.broker.model.mailbox import Mailbox
from stocksync_ws.broker.model.post_office import PostOffice
from stocksync_ws.broker.model.state import State
from stocksync_ws.broker.model.subscription import Subscriptions
from stocksync_ws.codes import DisconnectReason
from stocksync_ws.stomp.decoder import Decoder
from stocksync_ws.stomp.frame import Version
from stocksync_ws.types import Handshake, Principal, Wire

if TYPE_CHECKING:
    from stocksync_ws.broker.model.owner import Owner
    from stocksync_ws.broker.model.pipeline import Call
    from stocksync_ws.broker.model.rate import Bucket

__all__ = ["Keeper", "Session", "SessionRecord"]


class Session:
    """One client's conversation, as handlers see it; one object per session.

    A handler asks for it by annotation: `session: Session`.
    """

    __slots__ = ("_record",)

    def __init__(self, record: SessionRecord) -> None:
        self._record = record

    @property
    def id(self) -> str:
        """128 random bits; opaque."""
        return self._record.id

    @property
    def user(self) -> Principal | None:
        """The user that the session belongs to; None when anonymous."""
        return self._record.user

    @property
    def version(self) -> Version:
        """The STOMP version that is spoken."""
        version = self._record.version
        assert version is not None
        return version

    @property
    def transport(self) -> str:
        """`websocket`, or the SockJS transport that carries the session now."""
        return self._record.transport

    @property
    def peer(self) -> str | None:
        """The address of the peer at the handshake, `host:port`."""
        return self._record.peer

    @property
    def attributes(self) -> dict[str, Any]:
        """A dict for the application to keep things in with the session; lives as long as it."""
        if self._record.attributes is None:
            self._record.attributes = {}
        return self._record.attributes

    def __repr__(self) -> str:
        return f"<Session {self.id} user={self._record.user_name!r}>"


class Keeper(Protocol):
    """Where the deadline of a session is acted on."""

    def wake(self, session: SessionRecord, now: float) -> None:
        """The deadline of a session came."""
        ...


class SessionRecord:
    """What the broker keeps of one session. Made by `Opening.open` only."""

    __slots__ = (
        "account",
        "armed",
        "armed_at",
        "attributes",
        "buckets",
        "clocks",
        "close_code",
        "connected_at",
        "context",
        "credentials",
        "deadline",
        "ending",
        "events",
        "face",
        "handshake",
        "id",
        "inbound",
        "info",
        "keeper",
        "mailbox",
        "peer",
        "reads_roles",
        "reviews",
        "roles",
        "state",
        "subscriptions",
        "survives_resets",
        "user",
        "verdicts",
        "version",
        "wire",
    )

    def __init__(
        self,
        session_id: str,
        handshake: Handshake,
        decoder: Decoder,
        office: PostOffice,
        keeper: Keeper,
        context: Context,
    ) -> None:
        self.id = session_id
        self.wire: Wire = handshake.wire
        self.handshake: Handshake | None = handshake
        """Kept until CONNECT was decided."""
        self.context = context
        self.keeper = keeper
        self.state = State.OPENING
        self.user: Principal | None = None
        self.roles: frozenset[str] = NO_ROLES
        """Roles of its user, once CONNECT was decided."""
        self.credentials: Credentials | None = None
        """Until CONNECTED, what the handshake said; then kept where they end, else None."""
        self.verdicts: dict[str, Any] | None = None
        """Verdicts of functions of rules, by frame and destination: see `messaging/rights.py`.
        None: nothing yet.
        """
        self.reads_roles = False
        """`roles=` told its roles, and may be asked again."""
        self.survives_resets = False
        """It is told of a reset history by its next message, and is not closed for it: CONNECT
        said `on-reset:message`.
        """
        self.reviews = 0
        """How often its rights were judged anew: what was asked before does not count after."""
        self.account: Owner | None = None
        """Who owns what it sends, once it has sent something: see `Owners.of`."""
        self.buckets: tuple[Bucket, ...] | None = None
        """Buckets that its frames are taken out of, once it has sent one: see `Buckets.take`."""
        self.version: Version | None = None
        """The STOMP version, once negotiated."""
        self.peer = handshake.request.peer
        self.attributes: dict[str, Any] | None = None
        self.info: str | None = None
        """The application's own, for those who ask who is there, as JSON; None: nothing."""
        self.face: Session | None = None
        """The public face, made at CONNECTED."""
        self.events: deque[Sequence[Call]] | None = None
        """Calls of listeners behind those that are told now; None when none are."""
        self.connected_at = office.step.now
        self.ending: DisconnectReason | None = None
        """Why it ends, once that is decided."""
        self.close_code = 1006
        """Close code reported in `SessionDisconnected`."""
        self.mailbox = Mailbox(office, self.wire, self)
        self.inbound = Inbound(decoder)
        self.clocks = Clocks(office.step.now, pings=self.wire.ping() is not None)
        self.subscriptions = Subscriptions()
        self.deadline: float | None = None
        self.armed = 0
        self.armed_at = 0.0

    def wake(self, now: float) -> None:
        """Its deadline came."""
        self.keeper.wake(self, now)

    @property
    def transport(self) -> str:
        """The name of the transport that carries the session, for example `websocket`."""
        return self.wire.transport

    @property
    def paused(self) -> bool:
        """Reading from it is paused: see `Outputs.reads`."""
        return self.inbound.paused

    @property
    def user_name(self) -> str | None:
        """The name of its user, or None when anonymous."""
        return None if self.user is None else self.user.name

    @property
    def owner(self) -> str:
        """The owner of the user destinations it reads: its user, or itself when anonymous."""
        return "\0" + self.id if self.user is None else self.user.name

    def __repr__(self) -> str:
        return f"<SessionRecord {self.id} {self.state.name.lower()} user={self.user_name!r}>"

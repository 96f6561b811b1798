"""What happens to sessions, told to listeners after it has happened.

Rule: past tense, frozen, complete when made. Each session that had `SessionConnected` has exactly
one `SessionDisconnected`, and no other session has one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from stocksync_ws.broker.model.subscription import Subscription
from stocksync_ws.codes import DisconnectReason, ErrorCode
from stocksync_ws.types import Principal

__all__ = [
    "BackplaneAvailability",
    "BackplaneReset",
    "BrokerAvailability",
    "ConnectRejected",
    "DeadLetter",
    "Event",
    "FrameDenied",
    "HandshakeRejected",
    "HeartBeatLost",
    "MessageDropped",
    "PresenceJoined",
    "PresenceLeft",
    "SessionConnected",
    "SessionDisconnected",
    "SessionSubscribed",
    "SessionUnsubscribed",
    "SlowConsumer",
    "TransactionAborted",
    "subscribed",
    "unsubscribed",
]


@dataclass(frozen=True, kw_only=True)
class _SessionEvent:
    session_id: str
    user: Principal | None
    """The user that the session belongs to; None when anonymous."""


@dataclass(frozen=True, kw_only=True)
class SessionConnected(_SessionEvent):
    """CONNECTED is queued. The session may subscribe and send from now on."""

    version: str
    """The STOMP version: `1.0`, `1.1` or `1.2`."""
    transport: str
    """`websocket`, or the SockJS transport."""
    peer: str | None
    """The address of the peer, `host:port`."""


@dataclass(frozen=True, kw_only=True)
class SessionSubscribed(_SessionEvent):
    """The subscription is active: what is published from now on reaches it."""

    subscription_id: str | None
    """The client's id; None for a STOMP 1.0 subscription without one."""
    destination: str


@dataclass(frozen=True, kw_only=True)
class SessionUnsubscribed(_SessionEvent):
    """A subscription has ended: by its client, by `users.reauthorize`, or with its session, whose
    end is told behind it.
    """

    subscription_id: str | None
    destination: str


@dataclass(frozen=True, kw_only=True)
class SessionDisconnected(_SessionEvent):
    """The session has ended, for whatever reason; its subscriptions are gone."""

    reason: DisconnectReason
    close_code: int
    """The WebSocket close code: ours when we closed, else the peer's; 1006 when there was none."""
    duration: float
    """Seconds since CONNECTED."""
    unacknowledged: int = 0
    """Deliveries on topics that were not settled and will not be delivered again."""


@dataclass(frozen=True, kw_only=True)
class PresenceJoined(_SessionEvent):
    """Somebody is there who was not: the first session of a user, or an anonymous one, has
    subscribed to a destination of `presence=`. With a backplane: the first at all workers, told by
    the one that it has subscribed at, as soon as the engine has it.
    """

    destination: str
    key: str
    """The key of the member, as `Member` has it."""


@dataclass(frozen=True, kw_only=True)
class PresenceLeft(_SessionEvent):
    """Somebody is there no more: the last session has unsubscribed, or has ended, and its user did
    not come back within `Limits.presence_grace`. Not told while the server stops. With a backplane:
    the last at all workers, told by the one that it was at; where that has died, by another one.
    """

    destination: str
    key: str


@dataclass(frozen=True, kw_only=True)
class FrameDenied(_SessionEvent):
    """A SEND, a SUBSCRIBE or a COMMIT was refused, by a setting, a rule, an interceptor or
    `AccessDenied` of its handler; or a subscription was revoked by `users.reauthorize`.
    """

    command: str
    """Of a revoked subscription `SUBSCRIBE`."""
    destination: str | None
    """As the client named it; None for a COMMIT."""
    code: ErrorCode
    """The code that the client was sent."""
    rule: str
    """The rule, interceptor or setting that said so, and why; the client was not told."""


@dataclass(frozen=True, kw_only=True)
class SlowConsumer(_SessionEvent):
    """A session did not take what it was sent: it was closed, or lost messages and lives on."""

    queued: int
    """Bytes that waited for it."""
    closed: bool
    """The session was closed (4008); else `MessageDropped` tells what it lost."""


@dataclass(frozen=True, kw_only=True)
class HeartBeatLost(_SessionEvent):
    """Nothing came from the peer for too long, and the session was closed (4000)."""

    silence: float
    """Seconds since its last sign of life."""


@dataclass(frozen=True, kw_only=True)
class HandshakeRejected:
    """An interceptor or the authenticator of the handshake refused it or failed, or the broker
    stops; there was no session. What HTTP, Host, Origin or a limit of connections refuses before is
    only counted.
    """

    status: int
    """The HTTP status of the answer: 401 is `BadCredentials`, 403 `AccessDenied`."""
    reason: str
    """The text of the answer."""
    peer: str | None
    """The address of the peer, `host:port`."""


@dataclass(frozen=True, kw_only=True)
class ConnectRejected:
    """A CONNECT was refused, or its authenticator failed; its session never was."""

    session_id: str
    code: ErrorCode
    """The code of the ERROR that the client was sent."""
    login: str | None
    """The login of the CONNECT."""
    peer: str | None


@dataclass(frozen=True, kw_only=True)
class BrokerAvailability:
    """The broker takes messages (`available`) or does so no more."""

    available: bool


@dataclass(frozen=True, kw_only=True)
class BackplaneAvailability:
    """The engine behind the workers is there (`available`), or gone."""

    available: bool
    duration: float
    """Seconds since the last change, or since the start."""


@dataclass(frozen=True, kw_only=True)
class BackplaneReset:
    """The history of a destination that the workers share is not the one it was: its subscribers
    have missed messages, and were told.
    """

    destination: str
    reason: str
    """`new-epoch`, `rolled-back` or `trimmed`."""


@dataclass(frozen=True, kw_only=True)
class TransactionAborted(_SessionEvent):
    """A transaction was open for too long; the next frame that names it is an error."""

    transaction: str


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """A message could not be delivered and will not be tried again."""

    destination: str
    message_id: str
    reason: str
    """`attempts`, `rejected` or `expired`; `binary`: the message is no text, and the transports of
    all consumers of its queue carry text only.
    """
    deliveries: int
    """Deliveries that were tried."""
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, kw_only=True)
class MessageDropped:
    """Messages were not taken, or were taken away from subscribers that did not keep up."""

    destination: str
    reason: str
    """`queue-full`, and `vetoed` or `interceptor-failed` by an outbound interceptor where no client
    is told of it: not taken. What subscribers lost: `slow-consumer`; `superseded`, by a newer
    value of its key; `away`, kept no longer for a durable name; `away-too-long`, with that name;
    `connection-lost`: a queue had handed it to the transport of a consumer in auto mode; `binary`:
    it is no text, and the transport of the subscriber carries text only; `revoked`: it had not
    left when the subscription was revoked. `expired`: dead letters, all that lay in a queue which
    nobody consumed for `Limits.queue_idle_seconds`. With a backplane: `backplane-busy` and
    `backplane-unavailable`, not taken; `publish-uncertain`, maybe taken; `expired`, on its way to
    this worker; `unreadable`, put into the engine by something else than this version.
    """
    count: int = 1
    """Messages; with several subscribers each counts its own."""


Event: TypeAlias = (
    SessionConnected
    | SessionSubscribed
    | SessionUnsubscribed
    | SessionDisconnected
    | PresenceJoined
    | PresenceLeft
    | ConnectRejected
    | BrokerAvailability
    | BackplaneAvailability
    | BackplaneReset
    | TransactionAborted
    | DeadLetter
    | MessageDropped
    | FrameDenied
    | SlowConsumer
    | HeartBeatLost
    | HandshakeRejected
)


def subscribed(subscription: Subscription) -> SessionSubscribed:
    """The event of a subscription that is active."""
    session = subscription.session
    return SessionSubscribed(
        session_id=session.id,
        user=session.user,
        subscription_id=subscription.id,
        destination=subscription.destination,
    )


def unsubscribed(subscription: Subscription) -> SessionUnsubscribed:
    """The event of a subscription that has ended."""
    session = subscription.session
    return SessionUnsubscribed(
        session_id=session.id,
        user=session.user,
        subscription_id=subscription.id,
        destination=subscription.destination,
    )

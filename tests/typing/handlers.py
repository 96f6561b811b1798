"""Handlers and their decorators keep their types. Read by the type checkers, never run."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, assert_type

from stocksync_ws import (
    AccessDenied,
    BrokerAvailability,
    CloseCode,
    ConnectRejected,
    ConversionError,
    CurrentUser,
    DeadLetter,
    DestinationVariable,
    DisconnectReason,
    ErrorCode,
    Frame,
    FrameDenied,
    HandlerTimeout,
    HandshakeRejected,
    Header,
    HeartBeatLost,
    HttpRequest,
    InterceptorFailed,
    Member,
    MemberSession,
    MessageDropped,
    MessagingTemplate,
    OutboundMessage,
    Payload,
    Presence,
    PresenceJoined,
    PresenceLeft,
    Principal,
    PublicationKind,
    Refusal,
    Session,
    SessionConnected,
    SessionDisconnected,
    SessionSubscribed,
    SessionUnsubscribed,
    SlowConsumer,
    StompApp,
    TransactionAborted,
    authorize,
    controller,
    controller_advice,
    delivery_filter,
    event_listener,
    handshake_interceptor,
    inbound_interceptor,
    message_exception_handler,
    message_mapping,
    outbound_interceptor,
    send_to,
    send_to_user,
    snapshot,
    subscribe_mapping,
)


@dataclass(frozen=True)
class User:
    name: str
    roles: frozenset[str] = frozenset()


@dataclass
class Mutable:
    name: str


def principals(one: User, other: Mutable) -> list[Principal]:
    return [one, other]


ws = StompApp("/ws")
ws.converter("application/cbor", encode=str.encode, decode=lambda body, kind: kind(body))


# Parameters


@ws.message_mapping("/who/{room}")
def who(
    user: CurrentUser[User],
    maybe: CurrentUser[User] | None,
    anybody: CurrentUser[Principal],
    new: Annotated[User, Payload()],
    number: Annotated[int, DestinationVariable("room")],
    trace: Annotated[str | None, Header("trace-id")],
    headers: Mapping[str, str],
    session: Session,
    frame: Frame,
    template: MessagingTemplate,
) -> str:
    assert_type(user, User)
    assert_type(user.roles, frozenset[str])
    assert_type(maybe, User | None)
    assert_type(anybody, Principal)
    assert_type(anybody.name, str)
    assert_type(new, User)
    assert_type(number, int)
    assert_type(trace, str | None)
    assert_type(headers["a"], str)
    assert_type(session.user, Principal | None)
    assert_type(session.id, str)
    assert_type(session.attributes, dict[str, Any])
    assert_type(frame.body, bytes)
    assert_type(frame.command, str)
    return user.name


# Decorators of the package and of the application


@authorize("/topic/a/{x}", frames=("SEND",), roles={"admin"})
async def rule(x: str, user: CurrentUser[User]) -> bool:
    return user.name == x


@ws.authorize("/topic/b", authenticated=True, inline=True)
def plain_rule() -> bool:
    return True


async def asked() -> None:
    assert_type(await rule("a", User("ann")), bool)
    assert_type(plain_rule(), bool)


@inbound_interceptor(frames=("SEND", "CONNECT"), inline=True)
def inbound(frame: Frame) -> Frame | None:
    return frame.replace(headers={**frame.headers, "a": "1"}, body=b"")


@ws.outbound_interceptor(order=1)
def outbound(message: OutboundMessage) -> OutboundMessage | None:
    assert_type(message.kind, PublicationKind)
    assert_type(message.sender, Session | None)
    assert_type(message.headers, Mapping[str, str])
    assert_type(message.destination, str)
    assert_type(message.user, str | None)
    assert_type(message.session_id, str | None)
    return message.replace(headers={}, body=message.body)


@delivery_filter("/topic/{room}", order=1)
def passes(session: Session, message: OutboundMessage, room: str) -> bool:
    return room == message.body.decode()


@ws.handshake_interceptor(inline=True)
def handshake(request: HttpRequest) -> dict[str, str] | Refusal | None:
    return Refusal(429, "Later.") if request.peer is None else {"peer": request.peer}


handshake_interceptor(order=1)(handshake)
outbound_interceptor(order=1)(outbound)


def refused(error: InterceptorFailed) -> BaseException | None:
    return error.__cause__


def intercepted(frame: Frame, message: OutboundMessage, session: Session) -> None:
    assert_type(inbound(frame), Frame | None)
    assert_type(outbound(message), OutboundMessage | None)
    assert_type(passes(session, message, "a"), bool)


ws.authorize("/topic/**", frames=("SEND", "SUBSCRIBE"), anyone=True)


@message_mapping("/a/{x}", content_type="application/cbor")
@send_to("/topic/a", "/topic/b/{x}")
async def handle(payload: int, *, x: str) -> float:
    return payload / len(x)


@subscribe_mapping("/a", inline=True)
@send_to_user()
def answer(x: str) -> list[int]:
    return [len(x)]


@snapshot("/topic/a", content_type=None)
def first() -> dict[str, int]:
    return {}


@message_exception_handler(ValueError, KeyError)
def failed(error: ValueError | KeyError) -> str:
    return str(error)


@event_listener(SessionConnected, SessionDisconnected)
def joined(event: SessionConnected | SessionDisconnected) -> None: ...


@ws.message_mapping("/b", inline=True, content_type="application/cbor")
@send_to_user("/queue/b", broadcast=False)
def handle_b(payload: list[User]) -> User:
    return payload[0]


@ws.subscribe_mapping("/b")
async def answer_b() -> User | None:
    return None


@ws.snapshot("/topic/b/{x}")
async def first_b(x: str) -> int:
    return len(x)


@ws.message_exception_handler()
async def failed_b(error: ConversionError | AccessDenied | HandlerTimeout) -> None: ...


@ws.event_listener()
async def changed(event: BrokerAvailability) -> None:
    assert_type(event.available, bool)


@controller("/shop")
@send_to("/topic/shop")
class Shop:
    def __init__(self, size: int) -> None:
        self.size = size

    @message_mapping("/{sku}")
    def adjust(self, sku: str) -> int:
        return len(sku) + self.size


@controller_advice(order=1)
class Errors:
    @message_exception_handler(ConversionError)
    async def wrong(self, error: ConversionError) -> str:
        assert_type(error.path, str)
        assert_type(error.problem, str)
        return error.problem


async def check_what_is_decorated() -> None:
    still_async: Callable[..., Coroutine[Any, Any, float]] = handle
    assert still_async is handle
    assert_type(await handle(1, x="a"), float)
    assert_type(answer("a"), list[int])
    assert_type(first(), dict[str, int])
    assert_type(failed(ValueError()), str)
    assert_type(handle_b([]), User)
    assert_type(await answer_b(), User | None)
    assert_type(await first_b("a"), int)
    assert_type(Shop(1).adjust("a"), int)
    assert_type(Shop(1).size, int)
    assert_type(Errors(), Errors)
    assert_type(await Errors().wrong(ConversionError("$", "wrong")), str)
    kept: Callable[[SessionConnected], None] = joined
    assert kept is joined
    ws.include(Shop(1), Errors(), handle)


# Events


@ws.event_listener(
    BrokerAvailability,
    ConnectRejected,
    DeadLetter,
    FrameDenied,
    HandshakeRejected,
    HeartBeatLost,
    MessageDropped,
    PresenceJoined,
    PresenceLeft,
    SessionConnected,
    SessionDisconnected,
    SessionSubscribed,
    SessionUnsubscribed,
    SlowConsumer,
    TransactionAborted,
)
def everything(event: object) -> None:
    if isinstance(event, ConnectRejected):
        assert_type(event.code, ErrorCode)
        assert_type(event.code.close, CloseCode)
        assert_type(event.login, str | None)
    if isinstance(event, DeadLetter):
        assert_type(event.body, bytes)
        assert_type(event.headers, Mapping[str, str])
    if isinstance(event, MessageDropped):
        assert_type(event.count, int)
    if isinstance(event, FrameDenied):
        assert_type(event.destination, str | None)
        assert_type(event.code, ErrorCode)
    if isinstance(event, HandshakeRejected):
        assert_type(event.status, int)
    if isinstance(event, HeartBeatLost):
        assert_type(event.silence, float)
    if isinstance(event, SlowConsumer):
        assert_type(event.queued, int)
        assert_type(event.closed, bool)
    if isinstance(event, SessionConnected):
        assert_type(event.user, Principal | None)
        assert_type(event.peer, str | None)
    if isinstance(event, SessionDisconnected):
        assert_type(event.reason, DisconnectReason)
        assert_type(event.close_code, int)
        assert_type(event.duration, float)
    if isinstance(event, (SessionSubscribed, SessionUnsubscribed)):
        assert_type(event.subscription_id, str | None)
        assert_type(event.destination, str)
    if isinstance(event, TransactionAborted):
        assert_type(event.transaction, str)
    if isinstance(event, (PresenceJoined, PresenceLeft)):
        assert_type(event.user, Principal | None)
        assert_type(event.key, str)


@ws.event_listener(SessionSubscribed, "/topic/room/{room}")
def in_a_room(event: SessionSubscribed, room: int) -> None: ...


@event_listener(PresenceJoined, PresenceLeft, "/topic/room/{room}", inline=True)
def in_or_out(event: PresenceJoined | PresenceLeft, room: str) -> None: ...


# Presence


def attend(session: Session) -> None:
    members = ws.presence("/topic/room/7")
    assert_type(ws.presence, Presence)
    assert_type(members, tuple[Member, ...])
    assert_type(members[0].user, Principal | None)
    assert_type(members[0].name, str | None)
    assert_type(members[0].since, float)
    assert_type(members[0].sessions, tuple[MemberSession, ...])
    assert_type(members[0].sessions[0].info, Any)
    ws.presence.attach(session, {"status": "away"})
    ws.presence.attach(members[0].sessions[0].session_id, None)

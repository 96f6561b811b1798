"""Mistakes that a type checker finds. Read by the type checkers, never run: each line names the
errors of mypy and of pyright that it has, and is itself an error as soon as it has none.
"""

from __future__ import annotations

from dataclasses import dataclass

from stocksync_ws import (
    Authenticated,
    BadCredentials,
    BrokerAvailability,
    ConnectRequest,
    ConversionError,
    CurrentUser,
    HttpRequest,
    Latest,
    Limits,
    Principal,
    Published,
    Queue,
    Rate,
    Session,
    SessionConnected,
    SockJSOptions,
    StompApp,
    Stream,
    Topic,
    controller,
    controller_advice,
    event_listener,
    message_exception_handler,
    message_mapping,
    send_to,
    send_to_user,
    snapshot,
    subscribe_mapping,
)
from stocksync_ws.testing import World


@dataclass(frozen=True)
class User:
    name: str


@dataclass(frozen=True)
class Member:
    name: str
    roles: frozenset[str]


ws = StompApp("/ws")


# Handlers are called as they are written


@ws.message_mapping("/a/{x}")
@send_to("/topic/a")
async def handle(payload: int, x: str) -> float:
    return payload / len(x)


@ws.message_mapping("/who")
def who(user: CurrentUser[User], maybe: CurrentUser[User] | None) -> str:
    print(user.nam)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType, reportUnknownMemberType]
    print(maybe.name)  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
    return user.name


@ws.message_mapping("/roles")
def roles_of(user: CurrentUser[Member], somebody: CurrentUser[Principal], who: Principal) -> None:
    print(user.roles)
    print(somebody.roles)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType, reportUnknownMemberType]
    print(who.roles)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType, reportUnknownMemberType]


async def calls() -> None:
    await handle("1", "x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await handle(1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    later: str = await handle(1, "x")  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    now: float = handle(1, "x")  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    who(None, None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    print(later, now)


# Decorators

ws.message_mapping()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
ws.message_mapping(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ws.message_mapping("/a", True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
ws.message_mapping("/a", content_type=b"application/cbor")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ws.message_mapping("/a")(7)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
ws.subscribe_mapping("/a", inline="yes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ws.authorize("/topic/a", roles="admin")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ws.authorize("/topic/a", frames="SEND")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ws.authorize("/topic/a", frames=("ACK",))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ws.snapshot("/topic/a", roles=["admin"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ws.snapshot(destination=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ws.message_exception_handler("ValueError")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ws.message_exception_handler(KeyboardInterrupt)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ws.message_exception_handler(ValueError())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ws.event_listener(b"/topic/a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ws.event_listener(User)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ws.event_listener(SessionConnected, ConnectRequest)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ws.inbound_interceptor("first")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ws.inbound_interceptor(frames=("MESSAGE",))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ws.outbound_interceptor(inline=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
ws.delivery_filter()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
ws.delivery_filter("/topic/a", 1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
ws.handshake_interceptor("/ws")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
message_mapping(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
subscribe_mapping("/a", content="text/csv")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
snapshot("/topic/a", reply="/topic/b")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
message_exception_handler(int)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
event_listener(int)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
send_to(["/topic/a", "/topic/b"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
send_to_user("/queue/a", broadcast="no")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
controller(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
controller("/a")(User("ann"))  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
controller_advice("first")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# Events and requests are read only, and have the fields that they have


@ws.event_listener()
def changed(event: BrokerAvailability) -> None:
    event.available = False  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    print(event.session_id)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType, reportUnknownMemberType]


async def login(request: ConnectRequest) -> User:
    request.login.upper()  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
    request.login = "ann"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    request.request.cookies["a"].nothing()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    raise BadCredentials


def reads(session: Session, published: Published, request: HttpRequest) -> None:
    print(session.user.name)  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
    session.user = User("ann")  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    published.receivers = 1  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    print(request.headers["cookie"])  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue, reportUnknownArgumentType]
    print(ConversionError("$", "wrong").reason)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType, reportUnknownMemberType]


# Settings


def number(request: ConnectRequest) -> int:
    return 7


def number_with_an_end(request: ConnectRequest) -> Authenticated[int]:  # type: ignore[type-var]  # pyright: ignore[reportInvalidTypeArguments]
    raise BadCredentials


def upgrading(request: HttpRequest) -> User:
    return User("ann")


def made() -> None:
    Authenticated()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Authenticated(None)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
    Authenticated({"name": "ann"})  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
    Authenticated(User("ann"), "300")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Authenticated(User("ann"), roles={7})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    print(Authenticated(User("ann")).name)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType, reportUnknownMemberType]


def two(request: ConnectRequest, more: str) -> User:
    return User(more)


StompApp()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
StompApp(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
StompApp("/ws", "*")  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportCallIssue]
StompApp("/ws", allowed_origins="*")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
StompApp("/ws", allowed_hosts="shop.example")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
StompApp("/ws", client_subscribe="/topic/**")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
StompApp("/ws", application_prefixes=["/app", 7])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
StompApp("/ws", authenticator=number)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
StompApp("/ws", authenticator=two)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
StompApp("/ws", authenticator=upgrading)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
StompApp("/ws", handshake_authenticator=login)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
StompApp("/ws", handshake_authenticator=User("ann"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
StompApp("/ws", roles={"admin"})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
StompApp("/ws", default_access="maybe")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
StompApp("/ws", heart_beat=10)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
StompApp("/ws", destinations={"/topic/a": "history"})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
StompApp("/ws", destinations=[Topic()])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
StompApp("/ws", limits={"handler_timeout": 5})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
StompApp("/ws", sockjs="yes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
StompApp("/ws", workers="ignore")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
StompApp("/ws", grace=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Topic(history=10)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Topic(overflow="drop_newest")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Stream(history="all")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Stream(on_subscribe="all")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Topic(flush_delay="5ms")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Latest(flush_delay=0.005)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Latest(key=7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Latest(history=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Rate("20", burst=40)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Rate(20, burst=1.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Rate(20)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
StompApp("/ws", user_rate=20)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Queue(overflow="drop_oldest")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Queue(retry=[0, 1])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Limits(handler_timeout="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Limits(handler_timeouts=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
SockJSOptions(xhr="no")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# Converters


def text_of(payload: object) -> str:
    return repr(payload)


def shouted(payload: str) -> bytes:
    return payload.upper().encode()


def without_kind(body: bytes) -> object:
    return body


def with_kind(body: bytes, kind: type) -> object:
    return kind(body)


def of_text(body: str, kind: type) -> object:
    return kind(body)


async def later(payload: object) -> bytes:
    return b""


ws.converter("application/cbor", shouted, with_kind)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
ws.converter("application/cbor", encode=shouted)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
ws.converter("application/cbor", encode=text_of, decode=with_kind)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ws.converter("application/cbor", encode=shouted, decode=without_kind)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ws.converter("application/cbor", encode=shouted, decode=of_text)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ws.converter("application/cbor", encode=later, decode=with_kind)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ws.converter(["application/cbor"], encode=shouted, decode=with_kind)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# Publishing


async def publish() -> None:
    template = ws.template
    template.convert_and_send({"a": 1}, "/topic/a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    template.convert_and_send("/topic/a")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    template.convert_and_send("/topic/a", 1, {"x": 1})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    template.convert_and_send("/topic/a", 1, content_type="application/cbor")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    template.convert_and_send_to_user(User("ann"), "/queue/a", 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    template.convert_and_send_to_session(None, "/queue/a", 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    template.send("/topic/a", "text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    template.publish_wait("/topic/a", 1, None, 5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    receivers: int = await template.publish("/topic/a", 1)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    print(template.publish("/topic/a", 1).receivers)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType, reportUnknownMemberType]
    print((await template.publish_to_user("ann", "/queue/a", 1)).messages, receivers)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType, reportUnknownMemberType]
    template.publish("/topic/a", 1)  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]


# Presence


def attend(session: Session) -> None:
    ws.presence(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ws.presence.attach(User("ann"), {})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ws.presence.attach(session)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    ws.presence("/topic/a")[0].since = 1.0  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    StompApp("/ws", presence="/topic/a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# Starting


async def start() -> None:
    ws.run(port="8000")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ws.run(signals=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await ws.run()  # type: ignore[func-returns-value, misc]  # pyright: ignore[reportGeneralTypeIssues]
    await ws.listen()  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    with ws.listen():  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass
    async with ws.serve_in_thread():  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass
    async with ws.listen(port=0, health=True, pages=["index.html"]) as server:  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        print(server.port + 1)  # type: ignore[operator]  # pyright: ignore[reportOptionalOperand, reportUnknownArgumentType]
    ws.install()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    ws.wrap_wsgi(ws.install(object()))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# Users


def users() -> None:
    ws.users.disconnect()  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    ws.users.disconnect(7)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    ws.users.disconnect("ann", session_id="s")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    ws.users.disconnect("ann", "locked")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    ws.users.reauthorize("ann", session_id="s")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    ws.users.subscriptions("s")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    StompApp("/ws", session_wins="first")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# Testing


def test() -> None:
    World("/ws")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with World(ws) as world:
        world.run(handle)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        world.advance("1 s")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        peer = world.connect(login=7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        peer.message(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        peer.send_to("/app/a", jsn=[1])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        peer.subscribe(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        peer.send_to("/app/a", 7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

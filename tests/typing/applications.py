"""Applications, their settings, templates and servers. Read by the type checkers, never run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_type

from stocksync_ws import (
    Authenticated,
    BadCredentials,
    BrokerBusy,
    BrokerClosed,
    ConfigurationError,
    ConnectedUser,
    ConnectRequest,
    Counters,
    ForkedBrokerError,
    HttpRequest,
    Latest,
    Limits,
    Principal,
    Published,
    Queue,
    Rate,
    Session,
    SockJSOptions,
    StockSyncError,
    StompApp,
    Stream,
    SubscriptionInfo,
    Topic,
    Users,
    WrongLoop,
    compiled,
)
from stocksync_ws.aio import Server
from stocksync_ws.asgi.lifespan import AsgiApp
from stocksync_ws.stomp import Frame, Version
from stocksync_ws.testing import MemoryStream, Peer, World
from stocksync_ws.threads import ThreadServer
from stocksync_ws.wire import Site
from stocksync_ws.wsgi import WsgiApp


@dataclass(frozen=True)
class User:
    name: str


async def login(request: ConnectRequest) -> User | None:
    assert_type(request.login, str | None)
    assert_type(request.headers, Mapping[str, str])
    assert_type(request.request, HttpRequest)
    assert_type(request.request.get("cookie"), str | None)
    assert_type(request.request.cookies, Mapping[str, str])
    assert_type(request.request.scope, Mapping[str, Any] | None)
    if request.login is None:
        raise BadCredentials("no login")
    return User(request.login)


async def with_an_end(request: ConnectRequest) -> Authenticated[User] | None:
    if request.passcode is None:
        return None
    found = Authenticated(User("ann"), expires_in=300, roles={"admin"})
    assert_type(found, Authenticated[User])
    assert_type(found.user, User)
    assert_type(found.expires_in, float | None)
    assert_type(found.roles, Collection[str])
    return found


def either(request: ConnectRequest) -> User | Authenticated[User]:
    return User("ann")


async def by_cookie(request: HttpRequest) -> User | None:
    return None


def by_host(request: HttpRequest) -> Authenticated[User] | None:
    return None


def plain_login(request: ConnectRequest) -> User:
    return User(request.login or "anybody")


def somebody(request: ConnectRequest) -> Principal | None:
    return None


# Settings

ORIGINS: Sequence[str] = ["https://shop.example"]

ws = StompApp(
    "/ws",
    allowed_origins=ORIGINS,
    allowed_hosts=("shop.example",),
    authenticator=login,
    application_prefixes=["/app"],
    client_subscribe={"/topic/**"},
    heart_beat=(10, 10.0),
    destinations={
        "/topic/a": Topic(overflow="drop_oldest", max_deliveries=3, flush_delay=0.005),
        "/topic/b": Stream(history=10, seconds=60, on_subscribe="history", flush_delay=None),
        "/topic/c": Latest(key="product"),
        "/queue/d": Queue(dead_letter="/queue/failed", retry=(0, 1.5), ack_timeout=None),
    },
    limits=Limits(handler_timeout=5, max_connections=None, max_message_size=1_024),
    sockjs=SockJSOptions(xhr=False),
    json_integers=None,
    workers="refuse",
    session_rate=Rate(20, burst=40),
    user_rate=Rate(1 / 60, 5),
)
StompApp("/ws", authenticator=plain_login, sockjs=True, destinations={"/topic/**": Topic()})
StompApp("/ws", authenticator=somebody)
StompApp("/ws", authenticator=with_an_end, handshake_authenticator=by_cookie)
StompApp("/ws", authenticator=either, handshake_authenticator=by_host)
StompApp("/ws", handshake_authenticator=by_host)


def encode(payload: object) -> bytes:
    return repr(payload).encode()


def decode(body: bytes, kind: type) -> object:
    return kind(body)


assert_type(ws.counters, Counters)
assert_type(ws.counters.sessions, int)
assert_type(ws.ready, bool)
assert_type(ws.site(), Site)
ws.converter("application/cbor", encode=encode, decode=decode)
ws.converter("application/x", encode=bytes, decode=lambda body, kind: body)


# Publishing


async def publish() -> None:
    template = ws.template
    published = await template.publish("/topic/a", User("ann"), {"x": "y"})
    assert_type(published, Published)
    assert_type(published.message_id, str)
    assert_type(published.receivers, int)
    assert_type(await template.publish_to_user("ann", "/queue/a", None), Published)
    assert_type(template.publish_wait("/topic/a", [1], timeout=1), Published)
    template.convert_and_send("/topic/a", {"a": 1})
    template.convert_and_send_to_user("ann", "/queue/a", "text", headers={"x": "y"})
    template.send("/topic/a", b"octets", {"content-type": "image/png"})


ERRORS: tuple[type[StockSyncError], ...] = (
    BrokerBusy,
    BrokerClosed,
    ConfigurationError,
    ForkedBrokerError,
    WrongLoop,
)


# Starting


async def serve(asgi: AsgiApp, wsgi: WsgiApp) -> None:
    async with ws.listen(port=0, health="/health") as server:
        assert_type(server, Server)
        assert_type(server.url, str)
        assert_type(server.port, int | None)  # None: a Unix socket
        assert_type(server.ports, Sequence[int])
        await server.ready
    with ws.serve_in_thread(port=0, unix=Path("socket")) as threaded:
        assert_type(threaded, ThreadServer)
        assert_type(threaded.url, str)
    await ws.serve("0.0.0.0", 80, pages={"/": Path("index.html"), "/a": "a.html"}, signals=False)
    assert_type(ws.install(object()), AsgiApp)
    assert_type(ws.wrap(asgi), AsgiApp)
    assert_type(ws.wrap_wsgi(wsgi), WsgiApp)


def script() -> None:
    ws.run("127.0.0.1", 8000, pages={"/": "index.html"})
    ws.check()


# Users


def users(user: User, session: Session) -> None:
    limited = StompApp("/ws", authenticator=login, sessions_per_user=3, session_wins="oldest")
    assert_type(limited.users, Users)
    found = ws.users.get("ann")
    assert_type(found, ConnectedUser | None)
    if found is not None:
        assert_type(found.principal, Principal)
        assert_type(found.sessions, tuple[Session, ...])
        ws.users.disconnect(found)
    assert_type([each.name for each in ws.users], list[str])
    assert_type(len(ws.users), int)
    assert_type("ann" in ws.users, bool)
    assert_type(ws.users.sessions(), list[Session])
    assert_type(ws.users.subscriptions(session), list[SubscriptionInfo])
    assert_type(ws.users.find("/topic/*")[0].user, Principal | None)
    assert_type(ws.users.disconnect("ann", reason="locked"), int)
    assert_type(ws.users.disconnect(user), int)
    assert_type(ws.users.disconnect(session_id=session.id), int)
    assert_type(ws.users.reauthorize(session), int)
    assert_type(ws.users.reauthorize(session_id=session.id), int)
    ws.template.convert_and_send_to_session(session.id, "/queue/a", {"a": 1}, {"x": "y"})


# Testing


def test() -> None:
    with World(ws, raise_errors=False) as world:
        assert_type(world, World)
        assert_type(world.now, float)
        assert_type(world.run(ws.template.publish("/topic/a", 1)), Published)
        assert_type(world.open(), MemoryStream)
        world.advance(1.5)
        world.settle()
        world.stall(0.5)
        world.expect_faults(internal_errors=1)
        peer = world.connect("1.2", login="ann")
        assert_type(peer, Peer)
        assert_type(peer.subscribe("/topic/a", "sub", ack="client"), str)
        peer.send_to("/app/a", "text", receipt="r1")
        peer.send_to("/app/a", b"octets")
        peer.send_to("/app/a", json=User("ann"))
        frame: Frame = peer.message()
        assert_type(peer.message("/topic/a").json(), Any)
        world.connect(expect="bad-credentials")
        assert_type(frame.body, bytes)
        assert_type(peer.closed, int | None)
        assert_type(peer.version, Version)
        assert_type(world.upgrade(), Peer)
        assert_type(peer.error().headers, dict[str, str])
        assert_type(peer.frame("RECEIPT").command, str)
        peer.command("SEND", {"destination": "/app/a"}, b"octets")
        peer.nothing()
        peer.close(1000)
        peer.eof()


assert_type(compiled, bool)

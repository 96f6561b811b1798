"""Who a client is: by the upgrade, by CONNECT, and what both of them say."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from stocksync_ws import (
    AccessDenied,
    Authenticated,
    BadCredentials,
    ConfigurationError,
    ConnectRejected,
    ConnectRequest,
    CurrentUser,
    HandshakeRejected,
    HttpRequest,
    Limits,
    SessionDisconnected,
    StompApp,
)
from stocksync_ws.testing import World

Start = Callable[..., World]


@dataclass(frozen=True)
class User:
    name: str
    roles: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Guest:
    name: str


def by_cookie(request: HttpRequest) -> User | None:
    name = request.cookies.get("user")
    return None if name is None else User(name)


def by_login(request: ConnectRequest) -> User | None:
    return None if request.login is None else User(request.login)


@pytest.fixture
def start() -> Iterator[Start]:
    worlds: list[World] = []

    def begin(app: StompApp | None = None, **settings: Any) -> World:
        worlds.append(World(app or StompApp("/ws", **settings), raise_errors=False))
        return worlds[-1]

    yield begin
    for world in worlds:
        world.close()


class TestHandshake:
    def test_who_the_upgrade_is_the_session_is(self, start: Start) -> None:
        world = start(handshake_authenticator=by_cookie)
        peer = world.upgrade(cookie="user=ann")
        assert peer.response.startswith(b"HTTP/1.1 101 ")
        assert peer.connect().headers["user-name"] == "ann"

    def test_nobody_is_left_to_connect(self, start: Start) -> None:
        world = start(handshake_authenticator=by_cookie, authenticator=by_login)
        assert world.connect(login="bob").world is world
        [session] = world.broker.sessions.values()
        assert session.user_name == "bob"

    def test_nobody_without_an_authenticator_of_connect_is_anonymous(self, start: Start) -> None:
        world = start(handshake_authenticator=by_cookie)
        assert "user-name" not in world.upgrade().connect().headers

    def test_connect_may_leave_it_to_the_handshake(self, start: Start) -> None:
        world = start(handshake_authenticator=by_cookie, authenticator=by_login)
        assert world.upgrade(cookie="user=ann").connect().headers["user-name"] == "ann"

    def test_of_two_that_agree_connect_has_the_user(self, start: Start) -> None:
        def closer(request: ConnectRequest) -> User:
            return User("ann", frozenset({"admin"}))

        world = start(handshake_authenticator=by_cookie, authenticator=closer)
        world.upgrade(cookie="user=ann").connect()
        [session] = world.broker.sessions.values()
        assert session.user == User("ann", frozenset({"admin"}))

    def test_two_that_differ_are_refused(
        self, start: Start, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO", "stocksync_ws.session")
        world = start(handshake_authenticator=by_cookie, authenticator=by_login)
        peer = world.upgrade(cookie="user=ann")
        peer.connect(login="bob", expect="connect-refused")
        assert peer.closed == 4500
        assert "the handshake was of 'ann', and the CONNECT is of 'bob'" in caplog.text
        assert world.counters.connects_refused == 1

    @pytest.mark.parametrize(
        ("raised", "status", "code"),
        [
            (BadCredentials("no such cookie"), b"401", "bad-credentials"),
            (AccessDenied("not you"), b"403", "connect-refused"),
            (ZeroDivisionError("oh"), b"500", "handler-failed"),
        ],
    )
    @pytest.mark.parametrize("is_async", [False, True])
    def test_a_refusal_is_an_http_error_an_event_and_a_line(
        self,
        start: Start,
        caplog: pytest.LogCaptureFixture,
        raised: Exception,
        status: bytes,
        code: str,
        is_async: bool,
    ) -> None:
        def plain(request: HttpRequest) -> User:
            raise raised

        async def later(request: HttpRequest) -> User:
            await asyncio.sleep(0)
            raise raised

        caplog.set_level("INFO")
        app = StompApp("/ws", handshake_authenticator=later if is_async else plain)
        told: list[ConnectRejected | HandshakeRejected | SessionDisconnected] = []

        @app.event_listener()
        def hear(event: ConnectRejected | HandshakeRejected | SessionDisconnected) -> None:
            told.append(event)

        world = start(app)
        peer = world.upgrade()
        assert peer.response.startswith(b"HTTP/1.1 %b " % status)
        assert str(raised).encode() not in peer.response + peer.stream.received
        [event] = told
        assert isinstance(event, HandshakeRejected)
        assert (event.status, event.peer) == (int(status), "127.0.0.1:50000")
        assert world.counters.handshakes_refused == 1
        assert f"code={code}" in caplog.text
        assert str(raised) in caplog.text
        assert not world.broker.sessions

    def test_one_that_takes_too_long_is_a_503(self, start: Start) -> None:
        async def never(request: HttpRequest) -> User:
            await asyncio.sleep(1_000)
            raise AssertionError

        world = start(handshake_authenticator=never, limits=Limits(handler_timeout=3))
        peer = world.upgrade()
        assert peer.response == b""
        world.advance(3.1)
        peer._read_response()
        assert peer.response.startswith(b"HTTP/1.1 503 ")
        assert world.counters.handlers_timed_out == 1

    def test_too_many_at_once_are_a_503(self, start: Start) -> None:
        world = start(handshake_authenticator=by_cookie)
        world.hold_pool()
        waiting = [world.upgrade(cookie="user=ann") for _ in range(258)]
        assert world.upgrade().response.startswith(b"HTTP/1.1 503 ")
        world.release_pool()
        waiting[0]._read_response()
        assert waiting[0].response.startswith(b"HTTP/1.1 101 ")

    def test_what_follows_the_upgrade_waits_for_it(self, start: Start) -> None:
        async def slow(request: HttpRequest) -> User:
            await asyncio.sleep(3)
            return User("ann")

        world = start(handshake_authenticator=slow)
        peer = world.upgrade()
        peer.send(b"CONNECT\naccept-version:1.2\nhost:x\n\n\0")
        world.advance(3.1)
        peer._read_response()
        assert peer.frame("CONNECTED").headers["user-name"] == "ann"

    def test_a_user_without_a_name_is_a_500(
        self, start: Start, caplog: pytest.LogCaptureFixture
    ) -> None:
        def nameless(request: HttpRequest) -> User:
            return User("")

        peer = start(handshake_authenticator=nameless).upgrade()
        assert peer.response.startswith(b"HTTP/1.1 500 ")
        assert "the handshake_authenticator returned User; it must return None" in caplog.text


class TestUsersOfHandlers:
    def test_both_annotations_name_the_classes(self, start: Start) -> None:
        def at_handshake(request: HttpRequest) -> Guest | None:
            return Guest("guest") if "guest" in request.cookies else None

        app = StompApp("/ws", authenticator=by_login, handshake_authenticator=at_handshake)
        seen: list[str] = []

        @app.message_mapping("/one")
        async def one(user: User) -> None:
            seen.append(f"user {user.name}")

        @app.message_mapping("/two")
        async def two(guest: Guest) -> None:
            seen.append(f"guest {guest.name}")

        world = start(app)
        world.connect(login="ann").send(b"SEND\ndestination:/app/one\n\n\0")
        peer = world.upgrade(cookie="guest=1")
        peer.connect()
        peer.send(b"SEND\ndestination:/app/two\n\n\0")
        assert seen == ["user ann", "guest guest"]

    @pytest.mark.parametrize("shape", ["plain", "awaitable", "union"])
    def test_the_argument_of_authenticated_is_the_class(self, start: Start, shape: str) -> None:
        def plain(request: ConnectRequest) -> Authenticated[User]:
            return Authenticated(User("ann"))

        def awaitable(request: ConnectRequest) -> Awaitable[Authenticated[User] | None]:
            async def later() -> Authenticated[User]:
                return Authenticated(User("ann"))

            return later()

        async def union(request: ConnectRequest) -> User | Authenticated[User] | None:
            return Authenticated(User("ann"))

        given: Any = {"plain": plain, "awaitable": awaitable, "union": union}[shape]
        app = StompApp("/ws", authenticator=given)
        seen: list[User] = []

        @app.message_mapping("/who")
        async def who(user: User) -> None:  # by the class, without CurrentUser
            seen.append(user)

        app.check()
        if shape != "awaitable":  # what a plain function returns is not awaited
            start(app).connect().send(b"SEND\ndestination:/app/who\n\n\0")
            assert seen == [User("ann")]

    def test_authenticated_of_nobody_knows_whom(self) -> None:
        def bare(request: ConnectRequest) -> Authenticated:  # type: ignore[type-arg]  # pyright: ignore[reportMissingTypeArgument, reportUnknownParameterType]
            raise AssertionError

        with pytest.raises(ConfigurationError, match=r"name the class of its user: -> Authentic"):
            StompApp("/ws", authenticator=bare)


class TestRoles:
    def test_those_of_authenticated_win(self, start: Start) -> None:
        def say(request: ConnectRequest) -> Authenticated[User]:
            roles = {"admin"} if request.login == "ann" else set[str]()
            return Authenticated(User(request.login or "?"), roles=roles)

        def of(user: User) -> set[str]:
            return {"member"}

        app = StompApp("/ws", authenticator=say, roles=of)
        world = start(app)
        world.connect(login="ann")
        world.connect(login="bob")
        found = {each.user_name: each.roles for each in world.broker.sessions.values()}
        assert found == {"ann": {"admin"}, "bob": {"member"}}

    def test_they_need_no_function(self, start: Start) -> None:
        def say(request: HttpRequest) -> Authenticated[User]:
            return Authenticated(User("ann"), roles={"admin"})

        app = StompApp("/ws", handshake_authenticator=say)
        seen: list[str] = []

        @app.message_mapping("/close", roles={"admin"})
        async def close(user: CurrentUser[User]) -> None:
            seen.append(user.name)

        start(app).connect().send(b"SEND\ndestination:/app/close\n\n\0")
        assert seen == ["ann"]

    def test_without_any_source_a_rule_that_asks_for_them_is_refused(self) -> None:
        app = StompApp("/ws", handshake_authenticator=by_cookie)
        app.authorize("/topic/a", roles={"admin"})
        with pytest.raises(ConfigurationError, match="nothing says which roles a user has"):
            app.check()

    def test_the_handshake_is_asked_for_them_too(self, start: Start) -> None:
        def of(user: User) -> set[str]:
            return {"of " + user.name}

        world = start(handshake_authenticator=by_cookie, roles=of)
        world.upgrade(cookie="user=ann").connect()
        [session] = world.broker.sessions.values()
        assert session.roles == {"of ann"}

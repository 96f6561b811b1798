"""Sessions of users that the server ends: kicked, or over the number that a user may have."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from stocksync_ws import (
    ConnectRejected,
    ConnectRequest,
    DisconnectReason,
    ErrorCode,
    HttpRequest,
    SessionConnected,
    SessionDisconnected,
    SockJSOptions,
    StompApp,
)
from stocksync_ws.testing.world import World
from tests.polling import connected

KICKED, LIMIT = DisconnectReason.KICKED, DisconnectReason.LIMIT_EXCEEDED


@dataclass(frozen=True)
class User:
    name: str


async def log_in(request: ConnectRequest) -> User | None:
    if request.login is None:
        return None
    if request.passcode is not None:
        await asyncio.sleep(float(request.passcode))
    return User(request.login)


def application(**settings: Any) -> StompApp:
    given: dict[str, Any] = {"authenticator": log_in, "client_send": ["/topic/**"]}
    return StompApp("/ws", **(given | settings))


def listen(app: StompApp) -> list[Any]:
    heard: list[Any] = []

    @app.event_listener(inline=True)
    def hear(event: SessionConnected | SessionDisconnected | ConnectRejected) -> None:
        heard.append(event)

    return heard


def ends(heard: list[Any]) -> list[tuple[DisconnectReason, int]]:
    return [(e.reason, e.close_code) for e in heard if isinstance(e, SessionDisconnected)]


@pytest.fixture
def app() -> StompApp:
    return application()


@pytest.fixture
def heard(app: StompApp) -> list[Any]:
    return listen(app)


@pytest.fixture
def world(app: StompApp, heard: list[Any]) -> Iterator[World]:
    with World(app) as world:
        yield world


# Kicked


def test_all_sessions_of_a_user_are_told_why_and_closed(
    app: StompApp, world: World, heard: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "stocksync_ws.session")
    ann = [world.connect(login="ann") for _ in range(3)]
    others = [world.connect(login="bob"), world.connect()]
    assert app.users.disconnect("ann", reason="locked\nout") == 3
    world.settle()
    for peer in ann:
        error = peer.error()
        assert error.headers["code"] == "kicked"
        assert error.body == (b"The application ended this session. The reason is 'locked\\nout'.")
        assert peer.closed == 4503
    for peer in others:
        peer.nothing()
        assert peer.closed is None
    assert ends(heard) == [(KICKED, 4503)] * 3
    assert world.counters.sessions_kicked == 3
    told = [each for each in caplog.messages if each.startswith("ended ")]
    assert len(told) == 3
    assert "code=kicked detail='locked\\nout'" in told[0]
    assert app.users.disconnect("ann") == 0


def test_a_reason_is_cut_and_may_be_left_out(app: StompApp, world: World) -> None:
    peer, other = world.connect(login="ann"), world.connect(login="ann")
    [first, second] = app.users.sessions()
    assert app.users.disconnect(first, reason="é" * 201 + "\0\ud800") == 1
    assert app.users.disconnect(second) == 1
    said = peer.error().body.decode()
    assert said == f"The application ended this session. The reason is '{'é' * 200}'…."
    assert other.error().body == b"The application ended this session."


def test_a_user_called_like_a_session_is_not_mistaken_for_it(app: StompApp, world: World) -> None:
    ann = world.connect(login="ann")
    [session] = app.users.sessions()
    namesake = world.connect(login=session.id)
    assert app.users.disconnect(session.id) == 1
    world.settle()
    assert (ann.closed, namesake.closed) == (None, 4503)
    again = world.connect(login=session.id)
    assert app.users.disconnect(session_id=session.id) == 1
    world.settle()
    assert (ann.closed, again.closed) == (4503, None)
    assert app.users.disconnect(session_id=session.id) == 0


def test_what_waits_for_a_slow_client_is_dropped(
    app: StompApp, world: World, heard: list[Any]
) -> None:
    peer = world.connect(login="ann")
    peer.subscribe("/topic/a")
    peer.stream.open_window(0)
    for number in range(5):
        app.template.convert_and_send("/topic/a", number)
        world.settle()
    assert app.users.disconnect("ann") == 1
    world.settle()
    peer.stream.open_window(None)
    world.settle()
    frames = [each.command for each in peer.frames()]
    assert frames[-1] == "ERROR"
    assert frames.count("MESSAGE") <= 1
    assert ends(heard) == [(KICKED, 4503)]


def test_a_client_that_takes_nothing_is_reset_in_time(
    app: StompApp, world: World, heard: list[Any]
) -> None:
    peer = world.connect(login="ann")
    peer.stream.open_window(0)
    peer.silent = True
    app.users.disconnect("ann")
    world.settle()
    assert ends(heard) == [(KICKED, 4503)]
    world.advance(app.config.limits.close_timeout + 1)
    assert not world.broker.sessions
    assert world.counters.aborts == 1
    assert len(ends(heard)) == 1


def test_a_session_that_is_being_closed_is_not_ended_again(
    app: StompApp, world: World, heard: list[Any]
) -> None:
    peer = world.connect(login="ann")
    peer.silent = True
    [session] = app.users.sessions()
    assert app.users.disconnect(session) == 1
    world.settle()
    assert app.users.disconnect(session) == 0
    assert app.users.disconnect("ann") == 0
    assert app.users.reauthorize(session) == 0
    assert ends(heard) == [(KICKED, 4503)]
    assert world.counters.sessions_kicked == 1


def test_a_session_at_work_ends_with_five_seconds_for_its_handler(
    app: StompApp, heard: list[Any]
) -> None:
    done: list[str] = []

    @app.message_mapping("/work")
    async def work(seconds: int) -> None:
        try:
            await asyncio.sleep(seconds)
            done.append("done")
        except asyncio.CancelledError:
            done.append("cancelled")
            raise

    with World(app) as world:
        quick, slow = world.connect(login="ann"), world.connect(login="ann")
        quick.command("SEND", {"destination": "/app/work", "receipt": "r"}, b"3")
        slow.command("SEND", {"destination": "/app/work", "receipt": "r"}, b"10")
        slow.command("SEND", {"destination": "/app/work"}, b"0")
        assert app.users.disconnect("ann") == 2
        world.settle()
        for peer in (quick, slow):
            assert [each.command for each in peer.frames()][-1] == "ERROR"
        world.advance(20)
        assert done == ["done", "cancelled"]
        assert ends(heard) == [(KICKED, 4503)] * 2


def test_a_session_whose_stream_has_ended_works_off_no_more_frames(
    app: StompApp, heard: list[Any]
) -> None:
    done: list[int] = []

    @app.message_mapping("/work")
    async def work(number: int) -> None:
        await asyncio.sleep(1)
        done.append(number)

    with World(app) as world:
        peer = world.connect(login="ann")
        for number in range(3):
            peer.command("SEND", {"destination": "/app/work"}, str(number))
        peer.eof()
        world.settle()
        assert "ann" not in app.users
        assert app.users.disconnect("ann") == 1
        world.advance(10)
        assert done == []
        assert ends(heard) == [(KICKED, 1006)]


@pytest.mark.parametrize("parked", [True, False])
def test_a_session_of_a_client_that_polls_ends(parked: bool) -> None:
    app = application(sockjs=SockJSOptions(disconnect_delay=60), allowed_origins=["*"])
    heard = listen(app)
    with World(app, app.site()) as world:
        client = connected(world)
        if parked:
            client.send("SUBSCRIBE\nid:1\ndestination:/topic/a\n\n\0")
            app.template.convert_and_send("/topic/a", 1)
            world.settle()
        client.took()
        assert (client.wire.session.mailbox.unsent, client.stream.link.wire is None) == (0, parked)
        [session] = app.users.sessions()
        assert app.users.disconnect(session) == 1
        world.settle()
        assert ends(heard) == [(KICKED, 4503)]
        assert app.users.sessions() == []
        if parked:
            client.receive()
        told = client.took()
        assert "code:kicked" in "".join(told), told
        world.advance(app.config.limits.close_timeout + 1)
        assert not world.broker.sessions


def test_one_whose_connect_is_being_decided_is_refused(
    app: StompApp, world: World, heard: list[Any]
) -> None:
    waiting, other = world.upgrade(), world.upgrade()
    for peer, login in ((waiting, "ann"), (other, "bob")):
        peer.command("CONNECT", {"accept-version": "1.2", "login": login, "passcode": "1"})
    assert app.users.disconnect("ann", reason="locked out") == 0
    world.advance(2)
    error = waiting.error()
    assert error.headers["code"] == "kicked"
    assert b"'locked out'" in error.body
    assert waiting.closed == 4503
    assert other.frame().command == "CONNECTED"
    [refused] = [each for each in heard if isinstance(each, ConnectRejected)]
    assert refused.code is ErrorCode.KICKED
    assert refused.login == "ann"
    assert ends(heard) == []
    assert world.connect(login="ann").closed is None, "nobody is kept out afterwards"
    assert world.broker.users.asked == {}


def test_one_whom_the_handshake_knows_is_refused_at_connect() -> None:
    async def by_cookie(request: HttpRequest) -> User | None:
        name = request.cookies.get("user")
        return None if name is None else User(name)

    app = application(authenticator=None, handshake_authenticator=by_cookie)
    with World(app) as world:
        waiting, other, gone = (
            world.upgrade(cookie=f"user={name}") for name in ("ann", "bob", "ann")
        )
        assert app.users.disconnect("ann", reason="locked out") == 0
        gone.eof()
        for peer in (waiting, other):
            peer.command("CONNECT", {"accept-version": "1.2"})
        assert waiting.error().headers["code"] == "kicked"
        assert waiting.closed == 4503
        assert other.frame().command == "CONNECTED"
        world.settle()
        assert world.broker.users.asked == {}
        again = world.upgrade(cookie="user=ann")
        again.command("CONNECT", {"accept-version": "1.2"})
        assert again.frame().command == "CONNECTED"


def test_sessions_that_the_handshake_knows_are_counted() -> None:
    async def by_cookie(request: HttpRequest) -> User | None:
        return User("ann")

    app = application(authenticator=None, handshake_authenticator=by_cookie, sessions_per_user=1)
    with World(app) as world:
        first, second = (world.upgrade(), world.upgrade())
        for peer in (first, second):
            peer.command("CONNECT", {"accept-version": "1.2"})
        assert (first.closed, second.closed) == (4505, None)


def test_a_session_that_is_not_connected_yet_ends_by_its_id(
    app: StompApp, world: World, heard: list[Any]
) -> None:
    peer = world.upgrade()
    [session_id] = world.broker.sessions
    assert app.users.disconnect(session_id=session_id) == 1
    world.settle()
    assert peer.error().headers["code"] == "kicked"
    assert peer.closed == 4503
    assert heard == []
    assert app.users.disconnect(session_id=session_id) == 0


def test_a_handler_ends_its_own_session(heard: list[Any], app: StompApp) -> None:
    counts: list[int] = []

    @app.message_mapping("/leave")
    async def leave() -> None:
        counts.append(app.users.disconnect("ann", reason="as you wish"))

    with World(app) as world:
        peer = world.connect(login="ann")
        peer.command("SEND", {"destination": "/app/leave", "receipt": "r"})
        assert peer.error().headers["code"] == "kicked"
        assert peer.closed == 4503
        assert counts == [1]
        assert ends(heard) == [(KICKED, 4503)]


# As many as a user may have


def test_the_newest_session_ends_the_oldest() -> None:
    app = application(sessions_per_user=2)
    heard = listen(app)
    with World(app) as world:
        first, second = world.connect(login="ann"), world.connect(login="ann")
        strangers = [world.connect() for _ in range(3)]
        bob = world.connect(login="bob")
        third = world.connect(login="ann")
        error = first.error()
        assert error.headers["code"] == "user-limit"
        assert first.closed == 4505
        assert error.body.endswith(b" sessions_per_user: 2; session_wins: 'newest'.")
        fourth = world.connect(login="ann")
        assert second.closed == 4505
        assert {each.closed for each in (third, fourth, bob, *strangers)} == {None}
        assert ends(heard) == [(LIMIT, 4505)] * 2
        assert world.counters.sessions_replaced == 2
        assert world.counters.connects_refused == 0


def test_the_oldest_sessions_keep_the_newest_out() -> None:
    app = application(sessions_per_user=1, session_wins="oldest")
    heard = listen(app)
    with World(app) as world:
        first = world.connect(login="ann")
        second = world.connect(login="ann", expect=4505)
        assert second.closed == 4505
        assert first.closed is None
        [refused] = [each for each in heard if isinstance(each, ConnectRejected)]
        assert refused.code is ErrorCode.USER_LIMIT
        assert world.counters.connects_refused == 1
        first.close()
        assert world.connect(login="ann").closed is None
        assert [each.code for each in heard if isinstance(each, ConnectRejected)] == [
            ErrorCode.USER_LIMIT
        ]


def test_a_session_that_only_ends_its_work_is_not_counted() -> None:
    app = application(sessions_per_user=1, session_wins="oldest")

    @app.message_mapping("/work")
    async def work() -> None:
        await asyncio.sleep(2)

    with World(app) as world:
        lost = world.connect(login="ann")
        lost.command("SEND", {"destination": "/app/work"})
        lost.eof()
        assert world.connect(login="ann").closed is None


def test_many_connects_at_once_leave_as_many_as_may_be() -> None:
    app = application(sessions_per_user=3)
    with World(app) as world:
        peers = [world.upgrade() for _ in range(10)]
        for peer in peers:
            headers = {"accept-version": "1.2", "login": "ann", "passcode": "1"}
            peer.command("CONNECT", headers)
        world.advance(2)
        closed = [each.closed for each in peers]
        assert closed.count(4505) == 7
        assert closed.count(None) == 3
        user = app.users.get("ann")
        assert user is not None
        assert len(user.sessions) == 3

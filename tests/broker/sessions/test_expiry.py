"""Credentials that end while a session is connected: told before, closed at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from stocksync_ws import (
    AccessDenied,
    Authenticated,
    ConnectRequest,
    DisconnectReason,
    HttpRequest,
    MessageDropped,
    OutboundMessage,
    SessionDisconnected,
    StompApp,
)
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.world import World

Start = Callable[..., World]


class User:
    def __init__(self, name: str) -> None:
        self.name = name


def say(request: ConnectRequest) -> Authenticated[User] | User | None:
    """The passcode is how long it holds."""
    if request.passcode is None:
        return None
    if request.passcode == "for ever":
        return User("ann")
    return Authenticated(User("ann"), float(request.passcode))


def world_of(start: Start, **settings: Any) -> World:
    world = start(authenticator=say, heart_beat=(0, 0), **settings)
    world.silent = False  # Who is silent is lost before an end is near.
    return world


def codes(peer: Peer) -> list[str]:
    return [frame.headers.get("code", frame.command) for frame in peer.frames()]


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_connected_says_when_and_the_end_is_an_error_and_a_close(
    start: Start, version: str
) -> None:
    app = StompApp("/ws", authenticator=say, heart_beat=(0, 0))
    ends: list[SessionDisconnected] = []

    @app.event_listener(SessionDisconnected)
    def ended(event: SessionDisconnected) -> None:
        ends.append(event)

    world = start(app)
    peer = world.upgrade()
    assert peer.connect(version, passcode="10.9").headers["credentials-expire"] == "10"
    world.advance(10.8)
    assert peer.frames() == []
    world.advance(0.2)
    error = peer.frame("ERROR")
    assert error.headers["code"] == "credentials-expired"
    assert error.body == b"The credentials of the session have ended; connect again with new ones."
    assert peer.closed == 4001
    world.advance(100)
    assert [(each.reason, each.close_code) for each in ends] == [
        (DisconnectReason.CREDENTIALS_EXPIRED, 4001)
    ]
    assert world.counters.credentials_expired == 1
    assert world.counters.protocol_errors == 0


@pytest.mark.parametrize("passcode", ["for ever", "inf", None])
def test_what_does_not_end_is_not_mentioned_and_keeps_nothing(
    start: Start, passcode: str | None
) -> None:
    world = world_of(start)
    headers = {} if passcode is None else {"passcode": passcode}
    frame = world.upgrade().connect(**headers)
    assert "credentials-expire" not in frame.headers
    [session] = world.broker.sessions.values()
    assert session.credentials is None
    world.advance(100_000)
    assert len(world.broker.sessions) == 1


@pytest.mark.parametrize("passcode", ["0", "-5"])
def test_what_has_ended_already_is_refused(start: Start, passcode: str) -> None:
    world = world_of(start)
    world.upgrade().connect(passcode=passcode, expect="bad-credentials")


@pytest.mark.parametrize(("life", "told_at", "says"), [(600, 540, "59"), (10, 5, "4")])
def test_who_listens_is_told_before(start: Start, life: int, told_at: int, says: str) -> None:
    world = world_of(start)
    peer, other = world.connect(passcode=str(life)), world.connect(passcode="for ever")
    for each in (peer, other):
        each.subscribe("/user/queue/credentials")
    world.advance(told_at - 0.1)
    assert peer.frames() == []
    world.advance(0.2)
    [message] = peer.frames()
    assert message.headers["credentials-expire"] == says
    assert message.headers["destination"] == "/user/queue/credentials"
    assert message.body == b""
    world.advance(life - told_at)
    assert codes(peer) == ["credentials-expired"]
    assert other.frames() == []


def test_who_does_not_listen_is_told_nothing_and_nothing_is_lost(start: Start) -> None:
    world = world_of(start)
    peer = world.connect(passcode="10")
    peer.subscribe("/user/queue/errors")
    world.advance(6)
    assert peer.frames() == []
    assert world.counters.messages_unrouted == world.counters.messages_published == 0


@pytest.mark.parametrize("refusal", [AccessDenied("not that"), ZeroDivisionError("oh")])
def test_a_warning_that_an_interceptor_refuses_is_dropped_and_the_session_goes_on(
    start: Start, refusal: Exception
) -> None:
    app = StompApp("/ws", authenticator=say, heart_beat=(0, 0))
    dropped: list[MessageDropped] = []

    @app.outbound_interceptor()
    def refuse(message: OutboundMessage) -> None:
        raise refusal

    @app.event_listener(inline=True)
    def hear(event: MessageDropped) -> None:
        dropped.append(event)

    world = start(app)
    world.silent = False
    peer = world.connect(login="ann", passcode="100")
    peer.command("SUBSCRIBE", {"id": "s", "destination": "/user/queue/credentials"})
    world.advance(51)
    assert (peer.frames(), peer.closed) == ([], None)
    assert [event.destination for event in dropped] == ["/user/queue/credentials"]
    world.advance(50)
    assert (codes(peer), peer.closed) == (["credentials-expired"], 4001)


def test_another_user_prefix(start: Start) -> None:
    world = world_of(start, user_prefix="/me")
    peer = world.connect(passcode="10")
    peer.subscribe("/me/queue/credentials")
    world.advance(6)
    assert peer.frame("MESSAGE").headers["destination"] == "/me/queue/credentials"


def test_what_was_published_before_the_end_arrives_before_it(start: Start) -> None:
    app = StompApp("/ws", authenticator=say, heart_beat=(0, 0))
    world = start(app)
    peer = world.connect(passcode="10")
    peer.subscribe("/topic/a")
    world.advance(9.9)
    app.template.convert_and_send("/topic/a", "last")
    world.advance(0.2)
    assert codes(peer) == ["MESSAGE", "credentials-expired"]
    app.template.convert_and_send("/topic/a", "too late")
    assert peer.frames() == []


def test_a_handler_that_runs_at_the_end_is_cancelled(start: Start) -> None:
    app = StompApp("/ws", authenticator=say, heart_beat=(0, 0))
    log: list[str] = []

    @app.message_mapping("/slow")
    async def slow() -> None:
        try:
            await asyncio.sleep(1_000)
        finally:
            log.append("cleaned up")

    world = start(app)
    peer = world.connect(passcode="10")
    peer.send(b"SEND\ndestination:/app/slow\n\n\0")
    world.advance(11)
    assert codes(peer) == ["credentials-expired"]
    world.advance(6)
    assert log == ["cleaned up"]


def test_the_time_of_the_handshake_counts_from_the_handshake(start: Start) -> None:
    def at_handshake(request: HttpRequest) -> Authenticated[User]:
        return Authenticated(User("ann"), 8)

    world = start(handshake_authenticator=at_handshake, heart_beat=(0, 0))
    peer = world.upgrade()
    world.advance(3)
    assert peer.connect().headers["credentials-expire"] == "5"
    world.advance(5.1)
    assert codes(peer) == ["credentials-expired"]
    late = world.upgrade()
    world.advance(8.5)
    late.connect(expect="bad-credentials")
    assert late.closed == 4501


def test_what_connect_says_takes_the_place_of_what_the_handshake_said(start: Start) -> None:
    def at_handshake(request: HttpRequest) -> Authenticated[User]:
        return Authenticated(User("ann"), 3)

    world = start(handshake_authenticator=at_handshake, authenticator=say, heart_beat=(0, 0))
    world.silent = False
    peer = world.upgrade()
    assert peer.connect(passcode="100").headers["credentials-expire"] == "100"
    world.advance(50)
    assert peer.closed is None

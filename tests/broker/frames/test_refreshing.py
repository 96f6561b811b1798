"""The SEND that keeps a session whose credentials end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from stocksync_ws import (
    AccessDenied,
    Authenticated,
    BadCredentials,
    ConnectRequest,
    CurrentUser,
    DisconnectReason,
    HttpRequest,
    Rate,
    SessionDisconnected,
    StompApp,
)
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.world import World

Start = Callable[..., World]
HERE = "/user/session/credentials"


class User:
    def __init__(self, name: str) -> None:
        self.name = name


class Door:
    """An authenticator that says what it is told to, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[ConnectRequest] = []
        self.says: Any = Authenticated(User("ann"), 10, {"member"})
        self.takes = 0.0

    async def __call__(self, request: ConnectRequest) -> Authenticated[User] | User | None:
        self.asked.append(request)
        said = self.says
        if self.takes:
            await asyncio.sleep(self.takes)
        if isinstance(said, Exception):
            raise said
        return said  # type: ignore[no-any-return]


@pytest.fixture
def door() -> Door:
    return Door()


def enter(start: Start, door: Door, version: str = "1.2", **settings: Any) -> Peer:
    world = start(authenticator=door, heart_beat=(0, 0), **settings)
    world.silent = False  # Who is silent is lost before an end is near.
    return world.connect(version, login="ann", passcode="old")


def refresh(peer: Peer, body: bytes | str = "new", **headers: str) -> None:
    peer.command("SEND", {"destination": HERE, **headers}, body)


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_the_receipt_says_the_new_end(start: Start, door: Door, version: str) -> None:
    peer = enter(start, door, version)
    peer.world.advance(4)
    door.says = Authenticated(User("ann"), 20.7, {"admin"})
    refresh(peer, receipt="r1")
    receipt = peer.frame("RECEIPT")
    assert receipt.headers["receipt-id"] == "r1"
    assert receipt.headers["credentials-expire"] == "20"
    peer.world.advance(20.6)
    assert peer.closed is None
    peer.world.advance(0.2)
    assert peer.frame("ERROR").headers["code"] == "credentials-expired"


def test_it_works_without_a_receipt_too(start: Start, door: Door) -> None:
    peer = enter(start, door)
    peer.world.advance(9)
    refresh(peer)
    peer.world.advance(9)
    assert peer.frames() == []
    assert peer.closed is None


def test_the_authenticator_gets_the_body_as_passcode_and_the_upgrade(
    start: Start, door: Door
) -> None:
    world = start(authenticator=door)
    peer = world.upgrade(cookie="a=b")
    peer.connect(login="ann", passcode="old")
    refresh(peer, "néw", authorization="Bearer x")
    first, second = door.asked
    assert (second.passcode, second.login) == ("néw", "ann")
    assert second.headers["authorization"] == "Bearer x"
    assert second.request is first.request
    assert second.request.cookies == {"a": "b"}
    refresh(peer, b"", passcode="in a header", login="other")
    assert (door.asked[2].passcode, door.asked[2].login) == (None, "other")
    refresh(peer)
    assert door.asked[3].login == "other"


def test_user_and_roles_are_taken_anew_and_verdicts_forgotten(start: Start, door: Door) -> None:
    app = StompApp("/ws", authenticator=door, client_send=["/topic/*"])
    asked: list[str] = []

    @app.authorize("/topic/{x}")
    def rule(user: CurrentUser[User], x: str) -> bool:
        asked.append(x)
        return True

    world = start(app)
    peer = world.connect(passcode="old")
    peer.command("SEND", {"destination": "/topic/a"})
    door.says = Authenticated(newer := User("ann"), 10, {"admin"})
    refresh(peer)
    [session] = world.broker.sessions.values()
    assert session.user is newer
    assert session.roles == {"admin"}
    peer.command("SEND", {"destination": "/topic/a"})
    assert asked == ["a", "a"]


def test_new_ones_may_end_sooner(start: Start, door: Door) -> None:
    door.says = Authenticated(User("ann"), 1_000)
    peer = enter(start, door)
    door.says = Authenticated(User("ann"), 5)
    refresh(peer)
    peer.world.advance(5.1)
    assert peer.frame("ERROR").headers["code"] == "credentials-expired"


def test_new_ones_may_be_without_an_end(start: Start, door: Door) -> None:
    peer = enter(start, door)
    door.says = User("ann")
    refresh(peer, receipt="1")
    assert "credentials-expire" not in peer.frame("RECEIPT").headers
    peer.world.advance(1_000)
    assert peer.closed is None


def test_a_refreshed_session_is_told_again(start: Start, door: Door) -> None:
    peer = enter(start, door)
    peer.subscribe("/user/queue/credentials")
    for _ in range(3):
        peer.world.advance(5.5)
        assert peer.frame("MESSAGE").headers["credentials-expire"] == "4"
        refresh(peer)


@pytest.mark.parametrize(
    ("says", "why"),
    [
        (Authenticated(User("eve"), 10), "the session is of 'ann', not of 'eve'"),
        (None, "the session is of 'ann', not of nobody"),
        (BadCredentials("no such token"), "no such token"),
        (AccessDenied("locked out"), "locked out"),
        (Authenticated(User("ann"), 0), "the new credentials have ended"),
    ],
)
@pytest.mark.parametrize("listens", [False, True])
def test_another_user_or_a_refusal_ends_the_session(
    start: Start,
    door: Door,
    caplog: pytest.LogCaptureFixture,
    says: Any,
    why: str,
    listens: bool,
) -> None:
    caplog.set_level("INFO", "stocksync_ws.session")
    peer = enter(start, door)
    if listens:
        peer.subscribe("/user/queue/errors")
    door.says = says
    refresh(peer, "secret", receipt="r1")
    error = peer.frame("ERROR")
    assert (error.headers["code"], error.headers["receipt-id"]) == ("bad-credentials", "r1")
    assert peer.closed == 4501
    assert why.encode() not in error.body
    assert why in caplog.text
    assert "secret" not in caplog.text
    assert peer.world.counters.credentials_refused == 1


@pytest.mark.parametrize(
    ("says", "code"), [(ZeroDivisionError(), "handler-failed"), (User(""), "handler-failed")]
)
def test_a_failure_of_the_application_leaves_the_old_ones(
    start: Start, door: Door, says: Any, code: str
) -> None:
    peer = enter(start, door)
    peer.subscribe("/user/queue/errors")
    door.says = says
    refresh(peer, receipt="r1")
    told = peer.frame("MESSAGE").json()
    assert (told["code"], told["receipt_id"], told["destination"]) == (code, "r1", HERE)
    assert peer.closed is None
    peer.world.advance(11)
    assert peer.frame("ERROR").headers["code"] == "credentials-expired"


@pytest.mark.parametrize("body", [b"a\0b", b"\xff", b"\xed\xa0\x80"])
def test_a_body_that_is_no_passcode_asks_nobody(start: Start, door: Door, body: bytes) -> None:
    peer = enter(start, door)
    peer.subscribe("/user/queue/errors")
    refresh(peer, body, **{"content-length": str(len(body))})
    assert peer.frame("MESSAGE").json()["code"] == "bad-payload"
    assert len(door.asked) == 1
    assert peer.closed is None


def test_in_a_transaction_it_is_refused(start: Start, door: Door) -> None:
    peer = enter(start, door)
    peer.command("BEGIN", {"transaction": "t"})
    refresh(peer, transaction="t")
    error = peer.frame("ERROR")
    assert error.headers["code"] == "unsupported"
    assert error.body.endswith(b" Credentials are refreshed outside of transactions.")


def test_credentials_without_an_end_are_not_refreshed(
    start: Start, door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    door.says = User("ann")
    peer = enter(start, door)
    peer.subscribe("/user/queue/errors")
    refresh(peer)
    assert peer.frame("MESSAGE").json()["code"] == "send-denied"
    assert "the credentials of this session do not end" in caplog.text
    assert len(door.asked) == 1


def test_without_an_authenticator_nobody_refreshes(start: Start) -> None:
    peer = start().connect()
    refresh(peer)
    assert peer.frame("ERROR").headers["code"] == "send-denied"


@pytest.mark.parametrize("destination", ["/user/session/credential", "/user/session/credentials/x"])
def test_nothing_else_is_sent_below_the_user_prefix(
    start: Start, door: Door, destination: str
) -> None:
    peer = enter(start, door)
    peer.command("SEND", {"destination": destination}, "new")
    assert peer.frame("ERROR").headers["code"] == "send-denied"


def test_no_setting_and_no_rule_is_in_its_way(start: Start, door: Door) -> None:
    peer = enter(start, door, client_send=[], default_access="deny", user_prefix="/me")
    peer.command("SEND", {"destination": "/me/session/credentials", "receipt": "r"}, "new")
    assert peer.frame("RECEIPT").headers["credentials-expire"] == "10"


def test_it_counts_as_a_send_where_there_are_rates(start: Start, door: Door) -> None:
    peer = enter(start, door, session_rate=Rate(1, burst=2))
    peer.subscribe("/user/queue/errors")
    refresh(peer, receipt="1")
    assert peer.frame("RECEIPT")
    refresh(peer, receipt="2")
    assert peer.frame("MESSAGE").json()["code"] == "rate-limited"
    assert len(door.asked) == 2


def test_the_frames_behind_it_wait(start: Start, door: Door) -> None:
    peer = enter(start, door, client_send=["/topic/*"])
    door.takes = 3.0
    door.says = Authenticated(User("ann"), 100)
    refresh(peer, receipt="1")
    peer.command("SEND", {"destination": "/topic/a", "receipt": "2"}, "x")
    peer.world.advance(2)
    assert peer.frames() == []
    peer.world.advance(2)
    assert [frame.headers["receipt-id"] for frame in peer.frames()] == ["1", "2"]


@pytest.mark.parametrize("good", [False, True])
def test_the_end_comes_while_a_refresh_is_in_work(start: Start, door: Door, good: bool) -> None:
    app = StompApp("/ws", authenticator=door, heart_beat=(0, 0))
    ends: list[DisconnectReason] = []

    @app.event_listener(SessionDisconnected)
    def ended(event: SessionDisconnected) -> None:
        ends.append(event.reason)

    world = start(app)
    peer = world.connect(passcode="old")
    world.advance(8)
    door.takes = 3.0
    door.says = Authenticated(User("ann"), 100) if good else BadCredentials("no")
    refresh(peer, receipt="1")
    world.advance(2.1)
    assert [frame.headers["code"] for frame in peer.frames()] == ["credentials-expired"]
    world.advance(10)
    assert peer.frames() == []
    assert peer.closed == 4001
    assert ends == [DisconnectReason.CREDENTIALS_EXPIRED]
    assert world.counters.credentials_refused == 0


def test_a_client_that_has_gone_is_not_asked_for(start: Start, door: Door) -> None:
    peer = enter(start, door)
    door.takes = 1.0
    refresh(peer)
    refresh(peer)
    peer.eof()
    peer.world.advance(1.5)
    assert len(door.asked) == 2
    assert peer.world.counters.internal_errors == 0


def test_too_many_that_wait_for_a_thread_are_told_the_limit(start: Start) -> None:
    def plain(request: ConnectRequest) -> Authenticated[User]:
        return Authenticated(User("ann"), 100)

    world = start(authenticator=plain)
    peer = world.connect()
    peer.subscribe("/user/queue/errors")
    world.hold_pool()
    for _ in range(258):
        world.upgrade().send(b"CONNECT\naccept-version:1.2\nhost:x\n\n\0")
    refresh(peer)
    assert peer.frame("MESSAGE").json()["code"] == "limit"
    world.release_pool()


class TestOfTheHandshake:
    """Its authenticator is asked again, by the same request."""

    def test_the_upgrade_is_judged_again(self, start: Start) -> None:
        lives: list[float] = [10, 20]
        asked: list[HttpRequest] = []

        def renewed(request: HttpRequest) -> Authenticated[User]:
            asked.append(request)
            return Authenticated(User("ann"), lives.pop(0))

        world = start(handshake_authenticator=renewed, heart_beat=(0, 0))
        peer = world.upgrade()
        peer.connect()
        refresh(peer, b"", receipt="1")
        assert peer.frame("RECEIPT").headers["credentials-expire"] == "20"
        assert asked[0] is asked[1]

    def test_a_passcode_has_no_place_there(
        self, start: Start, caplog: pytest.LogCaptureFixture
    ) -> None:
        def once(request: HttpRequest) -> Authenticated[User]:
            return Authenticated(User("ann"), 10)

        peer = start(handshake_authenticator=once).upgrade()
        peer.connect()
        refresh(peer, b"new")
        assert peer.frame("ERROR").headers["code"] == "bad-payload"
        assert "takes no passcode: leave the body empty" in caplog.text

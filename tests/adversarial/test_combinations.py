"""Rights, users, credentials and interceptors that meet in one step: what one of them does while
another is at work ends nothing that it is not about.
"""

from __future__ import annotations

import asyncio

import pytest

from stocksync_ws import (
    AccessDenied,
    Authenticated,
    ConnectRequest,
    MessageDropped,
    OutboundMessage,
    PresenceJoined,
    PresenceLeft,
    Session,
    StompApp,
)
from stocksync_ws.testing.world import World
from tests.broker.kit import User

TOLD = "/user/queue/credentials"


def log_in(request: ConnectRequest) -> User | None:
    return None if request.login is None else User(request.login)


@pytest.mark.parametrize(
    ("problem", "reason"), [(AccessDenied("no"), "vetoed"), (ValueError(), "interceptor-failed")]
)
def test_who_is_not_told_that_its_credentials_end_lives_on_to_their_end(
    problem: Exception, reason: str
) -> None:
    def log_in(request: ConnectRequest) -> Authenticated[User]:
        return Authenticated(User("ann"), expires_in=100)

    app = StompApp("/ws", authenticator=log_in)
    dropped: list[MessageDropped] = []

    @app.outbound_interceptor()
    def refuse(message: OutboundMessage) -> None:
        raise problem

    @app.event_listener(inline=True)
    def hear(event: MessageDropped) -> None:
        dropped.append(event)

    with World(app, raise_errors=False) as world:
        peer = world.connect()
        peer.subscribe(TOLD)
        world.advance(50)
        assert [(each.destination, each.reason) for each in dropped] == [(TOLD, reason)]
        assert peer.frames() == []
        assert peer.closed is None
        world.advance(50)
        assert peer.error().headers["code"] == "credentials-expired"
        assert peer.closed == 4001


class Reauthorizing:
    """A rule that calls `reauthorize` whenever it is asked, once it has begun to."""

    def __init__(self, *, inline: bool) -> None:
        self.app = StompApp("/ws", authenticator=log_in)
        self.asked = 0
        self.begun = True

        @self.app.authorize("/topic/x", inline=inline)
        def rule(session: Session) -> bool:
            self.asked += 1
            assert self.asked < 100, "it does not end"
            if self.begun:
                self.app.users.reauthorize(session)
            return True


@pytest.mark.parametrize("inline", [True, False])
def test_a_rule_that_calls_reauthorize_for_a_frame_is_asked_a_few_times(
    inline: bool, caplog: pytest.LogCaptureFixture
) -> None:
    rule = Reauthorizing(inline=inline)
    with World(rule.app, raise_errors=False) as world:
        peer = world.connect(login="ann")
        peer.subscribe("/user/queue/errors")
        peer.command("SUBSCRIBE", {"destination": "/topic/x", "id": "1"})
        assert peer.message().json()["code"] == "handler-failed"
        assert rule.asked == 16
        assert "judged anew 16 times" in caplog.text
        assert "let no rule call users.reauthorize" in caplog.text
        assert not rule.app.users.find("/topic/x")
        rule.begun = False
        peer.command("UNSUBSCRIBE", {"id": "1", "receipt": "u"})
        assert peer.frame().headers["receipt-id"] == "u"
        peer.subscribe("/topic/x")


def test_a_rule_that_calls_reauthorize_in_a_review_ends_its_session_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rule = Reauthorizing(inline=True)
    rule.begun = False
    with World(rule.app, raise_errors=False) as world:
        peer, other = world.connect(login="ann"), world.connect(login="bob")
        peer.subscribe("/topic/x")
        other.subscribe("/topic/x")
        rule.begun = True
        rule.app.users.reauthorize("ann")
        rule.begun = False
        assert rule.asked == 2 + 4
        assert "call it where roles or memberships change, and in no rule" in caplog.text
        assert peer.error().headers["code"] == "handler-failed"
        assert peer.closed == 1011
        assert rule.app.users.reauthorize("bob") == 1
        [left] = rule.app.users.find("/topic/x")
        assert left.user == User("bob")


def test_reviews_one_behind_the_other_are_as_many_as_an_application_wants() -> None:
    rule = Reauthorizing(inline=True)
    rule.begun = False
    with World(rule.app) as world:
        peer = world.connect(login="ann")
        peer.subscribe("/topic/x")
        for _ in range(20):
            rule.app.users.reauthorize("ann")
        assert rule.asked == 21
        assert len(rule.app.users.find("/topic/x")) == 1


def test_who_is_revoked_before_its_snapshot_is_there_for_nobody() -> None:
    allowed = {"ann", "bob"}
    app = StompApp("/ws", authenticator=log_in, presence=["/topic/x"])
    told: list[object] = []

    @app.authorize("/topic/x", inline=True)
    def rule(session: Session) -> bool:
        return session.user is not None and session.user.name in allowed

    @app.snapshot("/topic/x")
    async def snapshot() -> None:
        await asyncio.sleep(1)

    @app.event_listener(inline=True)
    def hear(event: PresenceJoined | PresenceLeft) -> None:
        told.append(event)

    with World(app) as world:
        ann, bob = world.connect(login="ann"), world.connect(login="bob")
        bob.subscribe("/presence/topic/x")
        ann.subscribe("/user/queue/errors")
        assert bob.message().headers["presence"] == "state"
        ann.command("SUBSCRIBE", {"destination": "/topic/x", "id": "1", "receipt": "r"})
        allowed.remove("ann")
        app.users.reauthorize("ann")
        assert ann.message().json()["code"] == "subscription-revoked"
        world.advance(1)
        assert ann.frame().headers["receipt-id"] == "r"
        assert app.presence("/topic/x") == ()
        world.advance(10)
        assert told == []
        assert bob.frames() == []

"""Who may read the presence of a destination, and what a SUBSCRIBE or a SEND there may say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stocksync_ws import AccessDenied, Limits, SessionSubscribed, StompApp
from stocksync_ws.testing import Peer, World
from tests.broker.kit import authenticate, refused

Start = Callable[..., World]
ROOM = "/topic/room/7"
PRESENCE = "/presence" + ROOM


def app(**settings: Any) -> StompApp:
    given: dict[str, Any] = {"presence": ["/topic/room/*"], "authenticator": authenticate}
    return StompApp("/ws", **(given | settings))


def subscribe(peer: Peer, destination: str = PRESENCE, **headers: str) -> None:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    peer.command("SUBSCRIBE", {"destination": destination, "id": "p", **fields})


def is_told(peer: Peer) -> bool:
    """It gets the state; else it was refused, with the one code for that."""
    frame = peer.frame()
    if frame.command == "ERROR":
        assert frame.headers["code"] == "subscribe-denied"
        assert peer.closed is not None
        return False
    assert frame.headers["presence"] == "state"
    return True


class TestWhoMay:
    def test_whom_the_rule_of_the_destination_lets_in(self, start: Start) -> None:
        ws = app(default_access="deny", roles=lambda user: {user.name})
        asked: list[tuple[int, str]] = []

        @ws.authorize("/topic/room/{room}", frames=("SUBSCRIBE",))
        async def member(room: int, headers: dict[str, str]) -> bool:
            asked.append((room, headers["destination"]))
            return room == 7

        ws.authorize("/topic/room/8", roles={"ann"})
        world = start(ws)

        def may(room: int, login: str) -> bool:
            peer = world.connect(login=login)
            subscribe(peer, f"/presence/topic/room/{room}")
            return is_told(peer)

        assert [may(6, "ann"), may(7, "ann"), may(8, "ann"), may(8, "bob")] == [
            False,
            True,
            True,
            False,
        ]
        assert asked == [(6, "/presence/topic/room/6"), (7, PRESENCE)]

    def test_a_rule_that_raises_refuses(self, start: Start) -> None:
        ws = app()

        @ws.authorize("/topic/room/{room}")
        def nobody(room: str) -> bool:
            raise AccessDenied(room)

        peer = start(ws).connect()
        subscribe(peer)
        assert not is_told(peer)

    def test_default_deny_closes_it_where_no_rule_opens_the_destination(self, start: Start) -> None:
        peer = start(app(default_access="deny")).connect()
        subscribe(peer)
        assert not is_told(peer)

    def test_roles_of_a_snapshot_hold_for_it(self, start: Start) -> None:
        ws = app()

        @ws.snapshot("/topic/room/{room}", authenticated=True)
        def first(room: str) -> str:
            return room

        world = start(ws)
        for headers, told in (({}, False), ({"login": "ann"}, True)):
            peer = world.connect(**headers)
            subscribe(peer)
            assert is_told(peer) is told

    @pytest.mark.parametrize(
        "destination",
        [
            "/presence/topic/news",
            "/presence/topic/room/7/x",
            "/presence/topic/room/*",
            "/presence/topic/**",
            "/presence/user/queue/errors",
            "/presence/app/room/7",
            "/presence/presence/topic/room/7",
        ],
    )
    def test_nobody_reads_what_no_pattern_opens(self, start: Start, destination: str) -> None:
        peer = start(app()).connect()
        subscribe(peer, destination)
        assert not is_told(peer)

    def test_nobody_reads_what_client_subscribe_closes(self, start: Start) -> None:
        ws = app(client_subscribe=["/topic/room/1", "/topic/room/2"])
        world = start(ws)
        for room, told in (("1", True), ("7", False)):
            peer = world.connect()
            subscribe(peer, f"/presence/topic/room/{room}")
            assert is_told(peer) is told

    def test_the_bare_prefix_is_no_presence(self, start: Start) -> None:
        peer = start(app()).connect()
        subscribe(peer, "/presence")
        refused(peer, "no-destination", 1008)

    def test_another_prefix_may_be_chosen(self, start: Start) -> None:
        peer = start(app(presence_prefix="/who/is")).connect()
        subscribe(peer, "/who/is/topic/room/7")
        assert is_told(peer)

    def test_a_session_that_listens_for_errors_is_told_and_lives_on(self, start: Start) -> None:
        world = start(app())
        peer = world.connect()
        peer.subscribe("/user/queue/errors")
        subscribe(peer, "/presence/topic/news")
        told = peer.message().json()
        assert (told["code"], told["destination"]) == ("subscribe-denied", "/presence/topic/news")
        subscribe(peer)
        assert is_told(peer)


class TestTheFrame:
    def test_the_longest_destination_has_a_presence(self, start: Start) -> None:
        longest = "/topic/room/" + "x" * (255 - len("/topic/room/"))
        deepest = "/topic/deep" + "/x" * 14
        ws = app(presence=["/topic/room/*", "/topic/deep/**"])
        world = start(ws)
        for room in (longest, deepest):
            peer = world.connect()
            peer.subscribe(room, "r")
            subscribe(peer, "/presence" + room)
            assert is_told(peer)
            assert len(ws.presence(room)) == 1
        peer = world.connect()
        subscribe(peer, "/presence" + longest + "x")
        refused(peer, "bad-destination", 1002)

    def test_an_error_names_the_longest_one(self, start: Start) -> None:
        world = start(app())
        peer = world.connect()
        place = "/presence/topic/news/" + "x" * (255 - len("/topic/news/"))
        subscribe(peer, place)
        assert peer.error().headers["destination"] == place

    @pytest.mark.parametrize("mode", ["client", "client-individual"])
    def test_it_is_not_acknowledged(self, start: Start, mode: str) -> None:
        peer = start(app()).connect()
        subscribe(peer, ack=mode)
        refused(peer, "unsupported", 1008)

    def test_it_is_not_kept_for_a_name(self, start: Start) -> None:
        peer = start(app()).connect(login="ann")
        subscribe(peer, durable="true")
        refused(peer, "unsupported", 1008)

    def test_who_comes_back_or_wants_a_history_gets_the_state(self, start: Start) -> None:
        world = start(app())
        for headers in ({"last_message_id": "x-1"}, {"history": "all"}):
            peer = world.connect()
            subscribe(peer, receipt="r", **headers)
            assert peer.frame("RECEIPT").headers == {"receipt-id": "r"}
            world.advance(1)
            assert is_told(peer)

    def test_it_is_told_as_any_subscription(self, start: Start) -> None:
        ws, heard = app(), []

        @ws.event_listener(SessionSubscribed, "/presence/topic/room/{room}", inline=True)
        def hear(room: str) -> None:
            heard.append(room)

        subscribe(start(ws).connect())
        assert heard == ["7"]

    @pytest.mark.parametrize("destination", [PRESENCE, "/presence/topic/news", PRESENCE + "/x"])
    @pytest.mark.parametrize("transaction", [False, True])
    def test_no_client_sends_there(self, start: Start, destination: str, transaction: bool) -> None:
        world = start(app(client_send=["/topic/**"]))
        follower = world.connect()
        subscribe(follower)
        assert is_told(follower)
        peer = world.connect()
        fields = {"destination": destination}
        if transaction:
            peer.command("BEGIN", {"transaction": "t"})
            fields["transaction"] = "t"
        peer.command("SEND", fields, "{}")
        refused(peer, "send-denied", 1008)
        follower.nothing()

    def test_nobody_is_answered_there(self, start: Start) -> None:
        ws = app()

        @ws.message_mapping("/ask")
        def ask() -> str:
            return "answer"

        peer = start(ws).connect()
        peer.command("SEND", {"destination": "/app/ask", "reply-to": PRESENCE}, "{}")
        refused(peer, "send-denied", 1008)

    def test_a_destination_of_the_largest_limits_is_within_them(self, start: Start) -> None:
        ws = app(limits=Limits(max_destination=20, max_segments=3))
        peer = start(ws).connect()
        subscribe(peer)
        assert is_told(peer)

"""Presence: who is there by its subscriptions, and what followers are told of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from stocksync_ws import (
    DisconnectReason,
    Latest,
    Limits,
    PresenceJoined,
    PresenceLeft,
    Session,
    SessionDisconnected,
    SessionSubscribed,
    SessionUnsubscribed,
    StompApp,
    Stream,
)
from stocksync_ws.broker.model.subscription import Reader
from stocksync_ws.stomp.frame import Version
from stocksync_ws.testing import Peer, World
from stocksync_ws.testing.peer import client_frame
from tests.broker.kit import User, authenticate, record, text_only

Start = Callable[..., World]
ROOM = "/topic/room/7"


def app(**settings: Any) -> StompApp:
    given: dict[str, Any] = {
        "presence": ["/topic/room/*"],
        "authenticator": authenticate,
        "heart_beat": (0, 0),
    }
    return StompApp("/ws", **(given | settings))


class Told:
    """What one follower knows: by the state, and by the differences behind it."""

    def __init__(self, peer: Peer, room: str = ROOM) -> None:
        self.peer = peer
        self.members: dict[str, Any] = {}
        self.diffs: list[dict[str, list[Any]]] = []
        self.states = 0
        self.complete = False
        peer.subscribe("/presence" + room, "p")
        self.read()

    def read(self) -> Told:
        for frame in self.peer.frames():
            if frame.command != "MESSAGE" or "presence" not in frame.headers:
                continue
            assert frame.headers["content-type"] == "application/json"
            body = frame.json()
            if frame.headers["presence"] == "state":
                self.states += 1
                self.members, self.complete = {}, body["complete"]
                body = {"joins": body["members"], "changes": [], "leaves": []}
            else:
                assert self.states, "a difference came before the state"
                self.diffs.append(body)
            for member in body["joins"] + body["changes"]:
                self.members[member["key"]] = member
            for key in body["leaves"]:
                self.members.pop(key, None)
        return self

    @property
    def names(self) -> list[Any]:
        return [member["user"] for member in self.members.values()]


def names(ws: StompApp, room: str = ROOM) -> list[str | None]:
    return [member.name for member in ws.presence(room)]


@pytest.fixture
def heard() -> list[Any]:
    return []


@pytest.fixture
def ws(heard: list[Any]) -> StompApp:
    made = app()

    @made.event_listener(
        PresenceJoined,
        PresenceLeft,
        SessionSubscribed,
        SessionUnsubscribed,
        SessionDisconnected,
        inline=True,
    )
    def hear(event: object) -> None:
        heard.append(event)

    return made


@pytest.fixture
def world(start: Start, ws: StompApp) -> World:
    return start(ws)


def kinds(heard: list[Any]) -> list[str]:
    return [type(event).__name__ for event in heard]


class TestMembers:
    def test_a_user_is_one_with_all_its_sessions_and_an_anonymous_session_one_by_itself(
        self, world: World, ws: StompApp
    ) -> None:
        for login in ("ann", "ann", "", "", "bob"):
            peer = world.connect(**({"login": login} if login else {}))
            peer.subscribe(ROOM, "r")
        members = ws.presence(ROOM)
        assert [each.name for each in members] == ["ann", None, None, "bob"]
        assert [len(each.sessions) for each in members] == [2, 1, 1, 1]
        assert len({each.key for each in members}) == 4
        assert members[0].user == User("ann")

    def test_a_session_with_two_subscriptions_counts_once_and_leaves_with_the_last(
        self, world: World, ws: StompApp, heard: list[Any]
    ) -> None:
        ann = world.connect(login="ann")
        ann.subscribe(ROOM, "a")
        ann.subscribe(ROOM, "b")
        assert [len(each.sessions) for each in ws.presence(ROOM)] == [1]
        ann.command("UNSUBSCRIBE", {"id": "a"})
        assert names(ws) == ["ann"]
        ann.command("UNSUBSCRIBE", {"id": "b"})
        assert names(ws) == []
        assert kinds(heard).count("PresenceJoined") == kinds(heard).count("PresenceLeft") == 1

    def test_a_destination_beyond_the_patterns_has_no_roster(
        self, world: World, ws: StompApp
    ) -> None:
        peer = world.connect()
        for place in ("/topic/news", "/topic/room/7/more", "/user/queue/errors"):
            peer.subscribe(place)
        assert world.broker.roster("/topic/news") is None
        assert not world.broker._sessions.presence.rosters
        assert names(ws) == []

    def test_one_whose_snapshot_fails_was_never_there(self, start: Start) -> None:
        ws = app()

        @ws.snapshot("/topic/room/{room}")
        async def first(room: int) -> str:
            return str(room)

        world = start(ws)
        ann = world.connect(login="ann")
        ann.subscribe("/user/queue/errors", "e")
        ann.command("SUBSCRIBE", {"destination": "/topic/room/x", "id": "x"})
        assert ann.message().json()["code"] == "bad-payload"
        ann.subscribe("/topic/room/1", "y")
        assert names(ws, "/topic/room/x") == []
        assert names(ws, "/topic/room/1") == ["ann"]

    def test_one_that_is_lost_while_its_snapshot_runs_was_never_there(self, start: Start) -> None:
        heard: list[Any] = []
        ws = app()

        @ws.event_listener(SessionSubscribed, SessionUnsubscribed, inline=True)
        def hear(event: object) -> None:
            heard.append(event)

        @ws.snapshot("/topic/room/{room}")
        def first(room: int) -> str:
            return str(room)

        world = start(ws)
        ann = world.connect(login="ann")
        world.hold_pool(inside=True)
        ann.command("SUBSCRIBE", {"destination": ROOM, "id": "r"})
        ann.eof()
        world.release_pool()
        world.advance(60)
        assert (names(ws), heard) == ([], [])

    @pytest.mark.parametrize("kept", [Latest(), Stream()])
    def test_what_a_topic_keeps_makes_no_difference(self, start: Start, kept: Any) -> None:
        ws = app(destinations={"/topic/room/*": kept})
        world = start(ws)
        ws.template.convert_and_send(ROOM, "before anybody is there")
        ann = world.connect(login="ann")
        ann.subscribe(ROOM, "r")
        assert names(ws) == ["ann"]
        ann.command("UNSUBSCRIBE", {"id": "r"})
        assert names(ws) == []

    def test_the_time_since_which_is_of_the_wall(self, world: World, ws: StompApp) -> None:
        before = world.broker._sessions.presence._wall()
        world.connect(login="ann").subscribe(ROOM, "r")
        (ann,) = ws.presence(ROOM)
        assert before <= ann.since <= world.broker._sessions.presence._wall()


class TestFlaps:
    def test_who_is_back_within_the_grace_has_not_left(
        self, world: World, ws: StompApp, heard: list[Any]
    ) -> None:
        told = Told(world.connect())
        ann = world.connect(login="ann")
        ann.subscribe(ROOM, "r")
        world.advance(1)
        (before,) = told.read().members.values()
        ann.eof()
        world.advance(4.9)
        assert [len(each.sessions) for each in ws.presence(ROOM)] == [0]
        world.connect(login="ann").subscribe(ROOM, "other")
        world.advance(8)
        assert len(told.read().diffs) == 1  # the join, and nothing about the flap
        assert list(told.members.values()) == [before]
        assert [len(each.sessions) for each in ws.presence(ROOM)] == [1]
        assert "PresenceLeft" not in kinds(heard)
        assert kinds(heard).count("PresenceJoined") == 1

    def test_who_is_not_back_has_left_after_it_and_comes_as_a_new_member(
        self, world: World, ws: StompApp, heard: list[Any]
    ) -> None:
        told = Told(world.connect())
        ann = world.connect(login="ann")
        ann.subscribe(ROOM, "r")
        world.advance(1)
        (key,) = told.read().members
        ann.eof()
        world.advance(4.99)
        assert told.read().names == names(ws) == ["ann"]
        world.advance(0.2)
        assert told.read().names == names(ws) == []
        assert told.diffs[-1] == {"joins": [], "changes": [], "leaves": [key]}
        world.connect(login="ann").subscribe(ROOM, "r")
        world.advance(1)
        assert key not in told.read().members
        assert told.names == ["ann"]
        told_of = [each for each in heard if isinstance(each, (PresenceJoined, PresenceLeft))]
        assert kinds(told_of) == ["PresenceJoined", "PresenceLeft", "PresenceJoined"]
        assert told_of[1].key == key
        assert told_of[1].destination == ROOM

    def test_an_anonymous_session_leaves_at_once(self, world: World, ws: StompApp) -> None:
        peer = world.connect()
        peer.subscribe(ROOM, "r")
        peer.eof()
        assert names(ws) == []

    def test_an_unsubscribe_leaves_at_once(self, world: World, ws: StompApp) -> None:
        peer = world.connect(login="ann")
        peer.subscribe(ROOM, "r")
        peer.command("UNSUBSCRIBE", {"id": "r"})
        assert names(ws) == []

    def test_who_takes_a_durable_name_over_has_not_left(
        self, ws: StompApp, heard: list[Any]
    ) -> None:
        with World(ws) as world:
            world.connect(login="ann").subscribe(ROOM, "r", durable="true")
            world.connect(login="ann").subscribe(ROOM, "r", durable="true")
            world.advance(8)
            assert [len(each.sessions) for each in ws.presence(ROOM)] == [1]
            assert kinds(heard).count("PresenceLeft") == 0
            assert kinds(heard).count("SessionUnsubscribed") == 1

    def test_each_room_has_a_grace_of_its_own(self, world: World, ws: StompApp) -> None:
        ann = world.connect(login="ann")
        ann.subscribe(ROOM, "a")
        ann.subscribe("/topic/room/8", "b")
        ann.eof()
        world.advance(3)
        world.connect(login="ann").subscribe(ROOM, "a")
        world.advance(3)
        assert (names(ws), names(ws, "/topic/room/8")) == (["ann"], [])

    def test_the_grace_is_a_setting(self, start: Start) -> None:
        ws = app(limits=Limits(presence_grace=1))
        world = start(ws)
        ann = world.connect(login="ann")
        ann.subscribe(ROOM, "a")
        ann.eof()
        world.advance(1.1)
        assert names(ws) == []


class TestEnds:
    def test_subscriptions_that_end_with_their_session_are_told_before_its_end(
        self, world: World, heard: list[Any]
    ) -> None:
        ann = world.connect(login="ann")
        ann.subscribe(ROOM, "a")
        ann.subscribe("/topic/news", "b")
        ann.eof()
        world.advance(6)
        ended = heard[-4:]
        assert kinds(ended) == [
            "SessionUnsubscribed",
            "SessionUnsubscribed",
            "SessionDisconnected",
            "PresenceLeft",
        ]
        assert [each.destination for each in ended[:2]] == [ROOM, "/topic/news"]
        assert {each.session_id for each in ended} == {ended[2].session_id}

    def test_a_stop_tells_of_no_leave(self, heard: list[Any], ws: StompApp) -> None:
        with World(ws) as world:
            told = Told(world.connect())
            gone = world.connect(login="gone")
            gone.subscribe(ROOM, "r")
            gone.eof()
            for login in ("ann", "bob"):
                world.connect(login=login).subscribe(ROOM, "r")
            world.advance(1)
            known = told.read().names
            world.runtime.driver.stop()
            world.advance(30)
            assert told.read().names == known
            assert not world.broker._sessions.presence.rosters
        assert kinds(heard).count("PresenceLeft") == 0
        assert kinds(heard).count("SessionUnsubscribed") == 4

    def test_a_session_that_is_closed_with_its_messages_leaves_once(
        self, world: World, ws: StompApp, heard: list[Any]
    ) -> None:
        ann = world.connect()
        ann.subscribe(ROOM, "r")
        ann.send(b"NONSENSE\n\n\0")
        ann.eof()
        world.advance(10)
        assert names(ws) == []
        assert kinds(heard).count("PresenceLeft") == 1
        (end,) = [each for each in heard if isinstance(each, SessionDisconnected)]
        assert end.reason is DisconnectReason.PROTOCOL_ERROR


class TestFollowers:
    def test_the_state_comes_first_and_then_one_difference_for_all_that_came_in_a_turn(
        self, world: World
    ) -> None:
        peers = [world.connect(login=f"u{n}") for n in range(20)]
        for peer in peers[:5]:
            peer.subscribe(ROOM, "r")
        told = Told(world.connect())
        assert (told.states, told.names) == (1, [f"u{n}" for n in range(5)])
        world.advance(1)
        frame = client_frame(1, b"SUBSCRIBE\nid:r\ndestination:/topic/room/7\n\n\0")
        for peer in peers[5:]:
            world.runtime.driver.feed(peer.stream.link, frame)
        world.advance(1)
        assert len(told.read().diffs) == 1
        assert told.names == [f"u{n}" for n in range(20)]

    def test_two_messages_are_an_interval_apart(self, world: World) -> None:
        told = Told(world.connect())
        world.advance(1)
        for n in range(100):
            world.connect(login=f"u{n}").subscribe(ROOM, "r")
            world.advance(0.01)
        world.advance(1)
        assert 10 <= len(told.read().diffs) <= 12
        assert len(told.names) == 100

    def test_who_comes_and_goes_between_two_is_never_told_of(self, world: World) -> None:
        told = Told(world.connect())
        for _ in range(3):
            peer = world.connect()
            peer.subscribe(ROOM, "r")
            peer.eof()
        world.advance(1)
        assert (told.read().diffs, told.names) == ([], [])

    def test_members_of_a_kind_of_wire_that_carries_text_only_are_told_as_well(
        self, world: World
    ) -> None:
        peer = world.connect()
        text_only(world)
        told = Told(peer)
        world.connect(login="ännchen").subscribe(ROOM, "r")
        world.advance(1)
        assert told.read().names == ["ännchen"]

    def test_a_follower_is_no_member_and_leaves_nothing_behind(
        self, world: World, ws: StompApp
    ) -> None:
        peer = world.connect(login="ann")
        told = Told(peer)
        assert (names(ws), told.names) == ([], [])
        peer.command("UNSUBSCRIBE", {"id": "p"})
        assert not world.broker._sessions.presence.rosters
        assert "/presence" + ROOM not in world.broker.delivery.registry.topics

    def test_who_follows_anew_is_told_what_happened_while_nobody_followed(
        self, world: World
    ) -> None:
        ann, bob = world.connect(login="ann"), world.connect(login="bob")
        ann.subscribe(ROOM, "r")
        peer = world.connect()
        told = Told(peer)
        bob.subscribe(ROOM, "r")
        peer.command("UNSUBSCRIBE", {"id": "p"})
        ann.command("UNSUBSCRIBE", {"id": "r"})
        world.connect(login="bob").subscribe(ROOM, "r")
        world.connect(login="eve").subscribe(ROOM, "r")
        world.advance(1)
        again = Told(peer)
        assert again.names == ["bob", "eve"]
        assert [each["sessions"] for each in again.members.values()] == [2, 1]
        assert told.read().diffs == []

    def test_a_user_with_a_second_session_is_a_change(self, world: World) -> None:
        world.connect(login="ann").subscribe(ROOM, "r")
        told = Told(world.connect())
        second = world.connect(login="ann")
        second.subscribe(ROOM, "r")
        world.advance(1)
        second.eof()
        world.advance(1)
        changes = [each["changes"] for each in told.read().diffs]
        assert [[each["sessions"] for each in change] for change in changes] == [[2], [1]]
        assert not any(each["joins"] or each["leaves"] for each in told.diffs)

    def test_nothing_is_written_while_nothing_happens(self, world: World) -> None:
        world.connect(login="ann").subscribe(ROOM, "r")
        told = Told(world.connect())
        assert world.broker.roster(ROOM).deadline is None  # type: ignore[union-attr]
        before = world.counters.messages_published
        world.advance(600)
        assert (told.read().diffs, world.counters.messages_published) == ([], before)


class TestInfo:
    def test_it_is_what_the_application_attached_last(self, world: World, ws: StompApp) -> None:
        ann = world.connect(login="ann")
        told = Told(world.connect())
        ann.subscribe(ROOM, "r")
        ((session,),) = [each.sessions for each in ws.presence(ROOM)]
        ws.presence.attach(session.session_id, {"status": "away"})
        world.advance(1)
        ws.presence.attach(session.session_id, {"mood": 'ä"\n'})
        world.advance(1)
        assert [each["info"] for each in told.read().members.values()] == [[{"mood": 'ä"\n'}]]
        assert len(told.diffs) <= 3
        ((session,),) = [each.sessions for each in ws.presence(ROOM)]
        assert session.info == {"mood": 'ä"\n'}
        ws.presence.attach(session.session_id, None)
        world.advance(1)
        assert [each["info"] for each in told.read().members.values()] == [[]]

    def test_a_handler_attaches_to_its_session_in_all_its_rooms(self, start: Start) -> None:
        ws = app()

        @ws.message_mapping("/mood")
        def mood(session: Session, body: str) -> None:
            ws.presence.attach(session, {"mood": body})

        world = start(ws)
        rooms = [ROOM, "/topic/room/8"]
        told = [Told(world.connect(), room) for room in rooms]
        ann = world.connect(login="ann")
        for n, room in enumerate(rooms):
            ann.subscribe(room, str(n))
        ann.subscribe("/topic/news", "n")
        ann.command("SEND", {"destination": "/app/mood"}, '"fine"')
        world.advance(1)
        for each in told:
            assert [member["info"] for member in each.read().members.values()] == [
                [{"mood": '"fine"'}]
            ]

    def test_it_survives_a_flap_as_followers_see_it(self, world: World, ws: StompApp) -> None:
        ann = world.connect(login="ann")
        ann.subscribe(ROOM, "r")
        ((session,),) = [each.sessions for each in ws.presence(ROOM)]
        ws.presence.attach(session.session_id, 1)
        ann.eof()
        told = Told(world.connect())
        assert [each["info"] for each in told.members.values()] == [[1]]
        assert [each["sessions"] for each in told.members.values()] == [1]

    def test_the_same_again_is_no_change(self, world: World, ws: StompApp) -> None:
        ann = world.connect(login="ann")
        ann.subscribe(ROOM, "r")
        ((session,),) = [each.sessions for each in ws.presence(ROOM)]
        ws.presence.attach(session.session_id, 1)
        told = Told(world.connect())
        ws.presence.attach(session.session_id, 1)
        ws.presence.attach("nobody", 1)
        world.advance(1)
        assert told.read().diffs == []


class Crowd:
    """Members by the thousand, without a connection for each: sessions of the broker alone."""

    def __init__(self, world: World, count: int) -> None:
        self.world = world
        self.presence = world.broker._sessions.presence
        self.topic = world.broker.delivery.destinations.open_topic(ROOM)
        self.readers: dict[str, Reader] = {}
        self.act(self.come, count)

    def act(self, work: Callable[..., None], *args: Any) -> None:
        self.world.broker._step.run(self.world.now, work, *args)
        self.world.runtime.driver._finish(self.world.now)
        self.world.settle()

    def come(self, count: int) -> None:
        for n in range(count):
            session = record()
            session.user, session.version = User(f"user-{n}"), Version.V12
            reader = self.readers[f"user-{n}"] = Reader(session, "r", ROOM, self.topic)
            self.presence.began(reader)

    def go(self, *leaving: str) -> None:
        for name in leaving:
            reader = self.readers.pop(name)
            reader.leave()
            self.presence.ended(reader, lost=False)

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *problem: object) -> None:
        self.act(self.go, *self.readers)


def keys(world: World) -> set[str]:
    """Of all members there are."""
    roster = world.broker.roster(ROOM)
    assert roster is not None
    return {str(each.number) for each in roster.members.values()}


class TestSizes:
    @pytest.mark.slow
    def test_a_state_of_10_000_is_one_message_with_the_default_limits(self, start: Start) -> None:
        world = start(app())
        with Crowd(world, 10_000):
            told = Told(world.connect())
            assert (told.states, told.diffs, len(told.members)) == (1, [], 10_000)
            assert told.peer.closed is None
            world.connect(login="ann").subscribe(ROOM, "r")
            world.advance(1)
            assert "ann" in told.read().names

    @pytest.mark.slow
    def test_10_000_that_come_at_once_are_told_in_one_message(self, start: Start) -> None:
        world = start(app())
        told = Told(world.connect())
        world.advance(1)
        with Crowd(world, 10_000):
            assert len(told.read().diffs) == 1
            assert len(told.members) == 10_000
            assert told.peer.closed is None

    def test_a_state_above_the_largest_message_is_followed_by_the_rest(self, start: Start) -> None:
        world = start(app(limits=Limits(max_outbound_message=3_000)))
        with Crowd(world, 100) as crowd:
            told = Told(world.connect())
            assert 0 < len(told.members) < 99
            assert not told.complete
            crowd.act(crowd.go, "user-0", "user-99")
            world.connect(login="ann").subscribe(ROOM, "r")
            for _ in range(30):
                world.advance(0.1)
                told.read()
            assert set(told.members) == keys(world)
            assert "ann" in told.names
            assert told.states == 1

    def test_a_difference_above_the_largest_message_is_a_state_anew(self, start: Start) -> None:
        world = start(app(limits=Limits(max_outbound_message=3_000)))
        told = Told(world.connect())
        assert told.complete
        world.advance(1)
        with Crowd(world, 100):
            for _ in range(30):
                world.advance(0.1)
            assert told.read().states == 2
            assert set(told.members) == keys(world)

    def test_a_part_waits_while_the_part_before_waits(self, start: Start) -> None:
        world = start(app(limits=Limits(max_outbound_message=3_000)))
        with Crowd(world, 100):
            peer = world.connect()
            peer.stream.window = 100
            peer.command("SUBSCRIBE", {"destination": "/presence" + ROOM, "id": "p"})
            world.advance(1)
            roster = world.broker.roster(ROOM)
            assert roster is not None
            assert list(roster.waiting.values()) != [0]
            messages = world.counters.messages_queued
            world.advance(1)
            assert world.counters.messages_queued == messages
            peer.eof()
            assert (roster.waiting, roster.followers) == ({}, 0)


def test_the_state_is_json_of_this_shape(world: World) -> None:
    world.connect(login='an"n').subscribe(ROOM, "r")
    world.connect().subscribe(ROOM, "r")
    peer = world.connect()
    peer.subscribe("/presence" + ROOM, "p")
    frame = peer.message()
    assert frame.headers["destination"] == "/presence" + ROOM
    body = json.loads(frame.body)
    for member in body["members"]:
        assert member.pop("since") > 0
    assert body == {
        "members": [
            {"key": "1", "user": 'an"n', "sessions": 1, "info": []},
            {"key": "2", "user": None, "sessions": 1, "info": []},
        ],
        "complete": True,
    }


def test_a_state_is_not_kept_behind_the_flush(world: World) -> None:
    world.connect(login="ann").subscribe(ROOM, "r")
    Told(world.connect())
    roster = world.broker.roster(ROOM)
    assert roster is not None
    assert roster.topic is not None
    assert [group.cached for group in roster.topic.groups.values()] == [None]


def test_a_roster_that_is_woken_behind_its_end_is_no_other_one(world: World, ws: StompApp) -> None:
    """Rosters that are due together are woken one by one, and the first may end the last member of
    the next: a slow consumer is closed.
    """
    peer = world.connect(login="ann")
    peer.subscribe(ROOM, "a")
    old = world.broker.roster(ROOM)
    assert old is not None
    peer.command("UNSUBSCRIBE", {"id": "a"})
    peer.subscribe(ROOM, "b")
    old.wake(world.now)
    assert names(ws) == ["ann"]
    assert old.deadline is None


def test_it_costs_no_event_where_nobody_listens(start: Start) -> None:
    world = start(app())
    made = "stocksync_ws.broker.sessions.presence."
    with mock.patch(made + "subscribed") as one, mock.patch(made + "unsubscribed") as other:
        peer = world.connect(login="ann")
        peer.subscribe(ROOM, "r")
        peer.command("UNSUBSCRIBE", {"id": "r"})
        peer.subscribe(ROOM, "r")
        peer.eof()
    assert not one.called
    assert not other.called

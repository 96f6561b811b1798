"""The presence of rooms against an oracle that only counts: whatever clients do, followers know who
is there, each member once, and listeners have heard of the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from stocksync_ws import Limits, PresenceJoined, PresenceLeft, StompApp
from stocksync_ws.testing import Peer, World
from tests.broker.kit import authenticate

ROOMS = ("/topic/room/1", "/topic/room/2")
USERS = ("ann", "bob", "")
GRACE, INTERVAL = 2.0, 0.1


class Client:
    """One connection, as the oracle knows it."""

    def __init__(self, number: int, peer: Peer, user: str) -> None:
        self.number = number
        self.peer = peer
        self.session = ""
        self.user = user
        self.info: Any = None
        self.rooms: dict[str, str] = {}
        """By subscription."""

    @property
    def owner(self) -> str:
        return self.user or f"anonymous {self.number}"


class Follower:
    """What one client was told of one room."""

    def __init__(self, peer: Peer, room: str) -> None:
        self.peer = peer
        self.room = room
        self.members: dict[str, Any] | None = None
        self.gone: set[str] = set()

    def read(self) -> None:
        for frame in self.peer.frames():
            body = frame.json()
            if frame.headers["presence"] == "state":
                self.members = {}
                body = {"joins": body["members"], "changes": [], "leaves": []}
            members = self.members
            assert members is not None, "a difference came before the state"
            for member in body["joins"]:
                assert member["key"] not in self.gone, "a key was used again"
                members[member["key"]] = member
            for member in body["changes"]:
                members[member["key"]] = member
            for key in body["leaves"]:
                members.pop(key, None)
                self.gone.add(key)

    @property
    def seen(self) -> list[Any]:
        assert self.members is not None
        return sorted(
            (each["user"] or "", each["sessions"], sorted(map(str, each["info"])))
            for each in self.members.values()
        )


class Round:
    """Random clients, and the oracle."""

    def __init__(self, seed: int, **limits: Any) -> None:
        self.random = random.Random(seed)
        given = {"presence_grace": GRACE, "presence_interval": INTERVAL, "ping_after": 1e6}
        self.ws = StompApp(
            "/ws",
            presence=["/topic/room/*"],
            authenticator=authenticate,
            heart_beat=(0, 0),
            limits=Limits(**(given | limits)),
        )
        self.there: dict[str, list[str]] = {room: [] for room in ROOMS}
        """Members by what listeners heard."""
        self.listen()
        self.world = World(self.ws)
        self.clients: list[Client] = []
        self.followers: list[Follower] = []
        self.away: dict[tuple[str, str], tuple[float, Any]] = {}
        """Users without a session in a room: since when, and the last info."""
        self.number = 0

    def listen(self) -> None:
        @self.ws.event_listener(PresenceJoined, "/topic/room/{room}", inline=True)
        def joined(event: PresenceJoined, room: str) -> None:
            self.there["/topic/room/" + room].append(event.key)

        @self.ws.event_listener(PresenceLeft, "/topic/room/{room}", inline=True)
        def left(event: PresenceLeft, room: str) -> None:
            self.there["/topic/room/" + room].remove(event.key)

    # Steps

    def step(self) -> None:
        steps: list[Callable[[], None]] = [
            self.connect,
            self.subscribe,
            self.subscribe,
            self.unsubscribe,
            self.lose,
            self.attach,
            self.follow,
            self.unfollow,
            self.wait,
        ]
        self.random.choice(steps)()

    def connect(self) -> None:
        if len(self.clients) >= 6:
            return
        self.number += 1
        user = self.random.choice(USERS)
        peer = self.world.connect(**({"login": user} if user else {}))
        client = Client(self.number, peer, user)
        client.session = list(self.world.broker.sessions)[-1]
        self.clients.append(client)

    def subscribe(self) -> None:
        if self.clients:
            client, room = self.random.choice(self.clients), self.random.choice(ROOMS)
            self.number += 1
            client.peer.command("SUBSCRIBE", {"destination": room, "id": str(self.number)})
            client.rooms[str(self.number)] = room
            self.away.pop((client.user, room), None)

    def unsubscribe(self) -> None:
        subscribed = [each for each in self.clients if each.rooms]
        if subscribed:
            client = self.random.choice(subscribed)
            key = self.random.choice(list(client.rooms))
            client.peer.command("UNSUBSCRIBE", {"id": key})
            del client.rooms[key]

    def lose(self) -> None:
        if self.clients:
            client = self.random.choice(self.clients)
            self.clients.remove(client)
            client.peer.eof()
            for room in set(client.rooms.values()):
                others = [each for each in self.clients if each.owner == client.owner]
                if client.user and not any(room in each.rooms.values() for each in others):
                    self.away[client.user, room] = self.world.now, client.info

    def attach(self) -> None:
        if self.clients:
            client = self.random.choice(self.clients)
            client.info = self.random.choice([None, 1, "x", {"a": [1]}])
            self.ws.presence.attach(client.session, client.info)
            self.world.settle()

    def follow(self) -> None:
        if len(self.followers) < 4:
            room = self.random.choice(ROOMS)
            peer = self.world.connect()
            peer.command("SUBSCRIBE", {"destination": "/presence" + room, "id": "p"})
            self.followers.append(Follower(peer, room))

    def unfollow(self) -> None:
        if self.followers and self.random.random() < 0.3:
            follower = self.followers.pop(self.random.randrange(len(self.followers)))
            if self.random.random() < 0.5:
                follower.peer.eof()
            else:
                follower.peer.command("UNSUBSCRIBE", {"id": "p"})

    def wait(self) -> None:
        self.world.advance(self.random.choice([0.01, INTERVAL, GRACE / 2, GRACE + INTERVAL]))

    # The oracle

    def expected(self, room: str) -> list[Any]:
        found: dict[str, list[Any]] = {}
        for client in self.clients:
            if room in client.rooms.values():
                found.setdefault(client.owner, []).append(client)
        seen = [
            (
                sessions[0].user,
                len(sessions),
                sorted(str(each.info) for each in sessions if each.info is not None),
            )
            for sessions in found.values()
        ]
        for (user, place), (since, info) in self.away.items():
            if place == room and self.world.now < since + GRACE and user not in found:
                seen.append((user, 1, [] if info is None else [str(info)]))
        return sorted(seen)

    def check(self) -> None:
        """Let an interval pass and compare, but not at the very end of a grace."""
        if any(
            abs(self.world.now + 2 * INTERVAL - since - GRACE) < 0.2
            for since, _ in self.away.values()
        ):
            self.world.advance(0.5)
        self.world.advance(2 * INTERVAL)
        for follower in self.followers:
            assert follower.peer.closed is None
            follower.read()
            assert follower.seen == self.expected(follower.room)
        for room in ROOMS:
            members = self.ws.presence(room)
            assert len({each.name for each in members if each.name}) == len(
                [each for each in members if each.name]
            )
            assert sorted(self.there[room]) == sorted(each.key for each in members)
            assert len(members) == len(self.expected(room))

    def end(self) -> None:
        for client in self.clients:
            client.peer.eof()
        for follower in self.followers:
            follower.peer.eof()
        self.world.advance(GRACE + 1)
        assert self.there == {room: [] for room in ROOMS}
        assert not self.world.broker._sessions.presence.rosters
        self.world.close()


def play(seed: int, steps: int, **limits: Any) -> None:
    each = Round(seed, **limits)
    for n in range(steps):
        each.step()
        if n % 7 == 0:
            each.check()
    each.check()
    each.end()


@pytest.mark.parametrize("seed", range(25))
def test_followers_and_listeners_know_who_is_there(seed: int) -> None:
    play(seed, 150)


@pytest.mark.parametrize("seed", range(100, 110))
def test_they_do_where_a_message_holds_one_member_only(seed: int) -> None:
    """Parts take a flush each, so a check waits for as many as there may be."""
    each = Round(seed, max_outbound_message=1_024 + 60, presence_interval=INTERVAL / 20)
    for n in range(150):
        each.step()
        if n % 7 == 0:
            each.check()
    each.end()

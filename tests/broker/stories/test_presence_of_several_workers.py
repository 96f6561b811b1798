"""Presence of several workers at random: whatever happens to workers and their engine, all of them
agree in the end, everybody who joined and is there no more has left once, and whoever was
disconnected is gone, wherever it was.
"""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import pytest

from stocksync_ws import PresenceJoined, PresenceLeft
from stocksync_ws.testing.peer import Peer
from tests.broker.cluster import Cluster

ROOMS = ("/topic/room/1", "/topic/room/2")
NAMES = ("ann", "bob", None)
STEPS = 60


class Client(NamedTuple):
    """A client, and the rooms it is in."""

    worker: int
    name: str | None
    peer: Peer
    rooms: set[str]


class Chaos:
    """Three workers to which anything may happen.

    Args:
        seed: Of everything that happens.
        loses: The engine may lose what it had.
        kills: Workers may end.
    """

    def __init__(self, seed: int, cluster: Cluster, *, loses: bool, kills: bool) -> None:
        self.random = random.Random(seed)
        self.cluster = cluster
        self.clients: list[Client] = []
        self.living = {0, 1, 2}
        self.doomed: list[Client] = []
        """Clients that were disconnected."""
        self.snapshot: object = None
        acts: list[tuple[int, Any]] = [
            (25, self.connect),
            (25, self.subscribe),
            (10, self.unsubscribe),
            (8, self.lose_client),
            (3, self.kick),
            (10, self.advance),
            (6, self.cut),
            (3, self.start),
            (6, self.settle),
        ]
        acts += [(3, self.kill), (2, self.close)] if kills else []
        acts += [(4, self.break_engine)] if loses else []
        self.acts = [act for _, act in acts]
        self.weights = [weight for weight, _ in acts]

    def run(self) -> None:
        for act in self.random.choices(self.acts, self.weights, k=STEPS):
            act()
        for worker in self.living:
            link = self.cluster.link(worker)
            if not link.connected:
                link.connect()
        self.cluster.advance(80)

    def any_worker(self) -> int:
        return self.random.choice(sorted(self.living))

    def connect(self) -> None:
        worker, name = self.any_worker(), self.random.choice(NAMES)
        headers = {} if name is None else {"login": name}
        peer = self.cluster.worlds[worker].connect(**headers)
        self.clients.append(Client(worker, name, peer, set()))

    def subscribe(self) -> None:
        room = self.random.choice(ROOMS)
        client = self.random.choice(self.clients) if self.clients else None
        if client is not None and client.peer.closed is None and room not in client.rooms:
            client.rooms.add(room)
            client.peer.command("SUBSCRIBE", {"id": room[-1], "destination": room})

    def unsubscribe(self) -> None:
        client = self.random.choice(self.clients) if self.clients else None
        if client is not None and client.peer.closed is None and client.rooms:
            client.peer.command("UNSUBSCRIBE", {"id": client.rooms.pop()[-1]})

    def lose_client(self) -> None:
        if self.clients:
            self.clients.pop(self.random.randrange(len(self.clients))).peer.eof()

    def kick(self) -> None:
        worker, name = self.any_worker(), self.random.choice(("ann", "bob"))
        self.doomed += [each for each in self.clients if each.name == name]
        self.cluster.apps[worker].users.disconnect(name)

    def advance(self) -> None:
        self.cluster.advance(self.random.choice([0.1, 1, 3, 12, 35]))

    def settle(self) -> None:
        for world in self.cluster.worlds:
            world.settle()

    def cut(self) -> None:
        link = self.cluster.link(self.any_worker())
        if link.connected:
            link.lose()
        else:
            link.connect()

    def start(self) -> None:
        if len(self.living) < 4:
            self.living.add(self.cluster.start())

    def kill(self) -> None:
        if len(self.living) > 1:
            worker = self.any_worker()
            self.forget(worker)
            self.cluster.kill(worker)

    def close(self) -> None:
        if len(self.living) > 1:
            worker = self.any_worker()
            self.forget(worker)
            self.cluster.worlds[worker].close()

    def forget(self, worker: int) -> None:
        self.living.discard(worker)
        self.clients = [each for each in self.clients if each.worker != worker]

    def break_engine(self) -> None:
        engine = self.cluster.engine
        match self.random.randrange(4):
            case 0:
                self.snapshot = engine.engine.snapshot()
            case 1:
                engine.restart(self.snapshot)
            case 2:
                engine.restart(engine.engine.snapshot())
            case _:
                engine.restart()

    # What must hold in the end

    def there(self, room: str) -> list[tuple[str, int]]:
        """Who is in a room, with the number of sessions."""
        found: dict[object, tuple[str, int]] = {}
        for client in self.clients:
            if client.peer.closed is None and room in client.rooms:
                key = client.name or id(client)
                found[key] = client.name or "", found.get(key, ("", 0))[1] + 1
        return sorted(found.values())

    def check(self, *, events: bool) -> None:
        for room in ROOMS:
            there = self.there(room)
            for worker in self.living:
                members = self.cluster.apps[worker].presence(room)
                assert sorted((each.name or "", len(each.sessions)) for each in members) == there
            if events:
                self.check_events(room, {name for name, _ in there})
        if events:
            self.check_disconnected()
        for worker in self.living:
            self.check_worker(worker)

    def check_events(self, room: str, there: set[str]) -> None:
        for name in ("ann", "bob"):
            told = [event for _, event in self.cluster.told if _is_of(event, name, room)]
            joined = sum(isinstance(event, PresenceJoined) for event in told)
            assert 2 * joined - len(told) == (name in there)

    def check_disconnected(self) -> None:
        assert all(each.peer.closed for each in self.doomed if each in self.clients)

    def check_worker(self, worker: int) -> None:
        """Nothing is left of what is over."""
        sessions = self.cluster.worlds[worker].broker._sessions
        shared, leases = sessions.presence.shared, sessions.leases
        assert shared is not None
        assert leases is not None
        assert len(leases._known) == len(self.living)
        assert not shared._dirty
        assert shared._flying is None
        rosters = sessions.presence.rosters.values()
        own = sum(bool(each.sessions) for roster in rosters for each in roster.members.values())
        assert len(shared._own) == own


def _is_of(event: object, name: str, room: str) -> bool:
    if not isinstance(event, (PresenceJoined, PresenceLeft)) or event.user is None:
        return False
    return event.destination == room and event.user.name == name


@pytest.mark.parametrize("kills", [False, True])
@pytest.mark.parametrize("loses", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_all_workers_agree_in_the_end(seed: int, loses: bool, kills: bool) -> None:
    """Events of a worker that ends, or of an engine that has lost them, may be lost with it."""
    with Cluster(3, presence=["/topic/room/*"]) as cluster:
        chaos = Chaos(seed, cluster, loses=loses, kills=kills)
        chaos.run()
        chaos.check(events=not loses and not kills)

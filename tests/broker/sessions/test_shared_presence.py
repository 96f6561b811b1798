"""Presence of several workers: everybody is seen everywhere, once, and leaves once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from stocksync_ws import Limits, PresenceJoined, PresenceLeft
from stocksync_ws.backplane import BackplaneSettings
from stocksync_ws.broker.sessions import shared_presence
from stocksync_ws.broker.sessions.shared_presence import SharedPresence
from stocksync_ws.testing.peer import Peer
from tests.broker.cluster import Cluster

ROOM = "/topic/room/7"
GIVEN: dict[str, Any] = {"presence": ["/topic/room/*"]}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(3, settings=BackplaneSettings(max_outage=None), **GIVEN) as cluster:
        yield cluster


def names(cluster: Cluster, worker: int) -> list[tuple[str | None, int]]:
    """The members that a worker knows, with the number of their sessions."""
    members = cluster.apps[worker].presence(ROOM)
    return sorted(((each.name, len(each.sessions)) for each in members), key=str)


def everywhere(cluster: Cluster, workers: tuple[int, ...] = (0, 1, 2)) -> Any:
    """The members that all of these workers know."""
    cluster.settle()
    seen = [names(cluster, worker) for worker in workers]
    assert seen.count(seen[0]) == len(seen), seen
    return seen[0]


def enter(cluster: Cluster, worker: int, login: str | None) -> Peer:
    return cluster.subscribe(cluster.connect(worker, login), ROOM)


def leave(cluster: Cluster, peer: Peer) -> None:
    peer.command("UNSUBSCRIBE", {"id": "sub-1"})
    cluster.settle()


def heard(cluster: Cluster) -> list[tuple[int, str, str | None]]:
    """Who told what of whom, since the last time."""
    cluster.settle()
    found = [each for each in cluster.told if isinstance(each[1], (PresenceJoined, PresenceLeft))]
    cluster.told.clear()
    told: list[tuple[int, str, str | None]] = []
    for worker, event in found:
        assert isinstance(event, (PresenceJoined, PresenceLeft))
        assert event.destination == ROOM
        what = "joined" if isinstance(event, PresenceJoined) else "left"
        told.append((worker, what, None if event.user is None else event.user.name))
    return told


def shared(cluster: Cluster, worker: int) -> SharedPresence:
    found = cluster.worlds[worker].broker._sessions.presence.shared
    assert found is not None
    return found


class Page:
    """What a follower knows."""

    def __init__(self, cluster: Cluster, worker: int) -> None:
        self.cluster = cluster
        self.peer = cluster.connect(worker)
        self.members: dict[str, Any] = {}
        self.told: list[Any] = []
        cluster.subscribe(self.peer, "/presence" + ROOM)

    def read(self) -> list[tuple[str | None, int]]:
        """The members, as name and number of sessions."""
        self.cluster.advance(0.2)
        for frame in self.peer.frames():
            if frame.command != "MESSAGE":
                continue
            told = json.loads(frame.body)
            self.told.append(told)
            if "members" in told:
                self.members = {}
            for member in [*told.get("members", ()), *told.get("joins", ())]:
                assert member["key"] not in self.members
                self.members[member["key"]] = member
            for member in told.get("changes", ()):
                assert member["key"] in self.members
                self.members[member["key"]] = member
            for key in told.get("leaves", ()):
                del self.members[key]
        known = [(each["user"], each["sessions"]) for each in self.members.values()]
        return sorted(known, key=str)


class TestMembers:
    def test_members_of_all_workers_are_seen_at_every_worker(self, cluster: Cluster) -> None:
        peers = [enter(cluster, 0, "ann"), enter(cluster, 1, "bob"), enter(cluster, 2, None)]
        assert everywhere(cluster) == [("ann", 1), ("bob", 1), (None, 1)]
        for peer in peers:
            leave(cluster, peer)
        assert everywhere(cluster) == []
        assert all(not shared(cluster, worker)._own for worker in range(3))

    def test_a_user_of_two_workers_is_one_member(self, cluster: Cluster) -> None:
        peers = [enter(cluster, worker, "ann") for worker in (0, 0, 1)]
        assert everywhere(cluster) == [("ann", 3)]
        assert [what for _, what, _ in heard(cluster)] == ["joined"]
        for left, peer in zip((2, 1), peers, strict=False):
            leave(cluster, peer)
            assert everywhere(cluster) == [("ann", left)]
        assert heard(cluster) == []
        leave(cluster, peers[2])
        assert everywhere(cluster) == []
        assert heard(cluster) == [(1, "left", "ann")]

    def test_events_are_told_where_the_member_lives_and_of_a_race_once(
        self, cluster: Cluster
    ) -> None:
        ann, bob = cluster.connect(0, "ann"), cluster.connect(1, "ann")
        for peer in (ann, bob):
            peer.command("SUBSCRIBE", {"id": "sub-1", "destination": ROOM})
        assert len(heard(cluster)) == 1
        for peer in (ann, bob):
            peer.command("UNSUBSCRIBE", {"id": "sub-1"})
        assert len(heard(cluster)) == 1
        assert everywhere(cluster) == []

    def test_an_event_has_the_user_and_the_session_of_its_worker(self, cluster: Cluster) -> None:
        enter(cluster, 1, "ann")
        (session,) = cluster.apps[1].users.sessions()
        ((worker, event),) = cluster.heard(PresenceJoined)
        assert (worker, event.session_id, event.user) == (1, session.id, session.user)
        (member,) = cluster.apps[1].presence(ROOM)
        assert event.key == member.key

    def test_of_a_user_elsewhere_the_name_is_known_and_here_all_of_it(
        self, cluster: Cluster
    ) -> None:
        enter(cluster, 0, "ann")
        (there,) = cluster.apps[1].presence(ROOM)
        (here,) = cluster.apps[0].presence(ROOM)
        assert there.user is not None
        assert there.user.name == "ann"
        assert there.user != here.user
        assert (there.since, there.sessions) == (here.since, here.sessions)
        enter(cluster, 1, "ann")
        (both,) = cluster.apps[1].presence(ROOM)
        assert both.user == here.user

    def test_they_are_listed_in_the_order_of_their_coming(self, cluster: Cluster) -> None:
        for worker, name in ((2, "c"), (0, "a"), (1, "b")):
            enter(cluster, worker, name)
        new = cluster.start()
        for worker in range(new + 1):
            listed = [each.name for each in cluster.apps[worker].presence(ROOM)]
            assert listed == ["c", "a", "b"]

    def test_what_is_attached_is_seen_everywhere(self, cluster: Cluster) -> None:
        enter(cluster, 0, "ann")
        (session,) = cluster.apps[0].users.sessions()
        page = Page(cluster, 1)
        cluster.apps[0].presence.attach(session, {"status": "away"})
        cluster.settle()
        (member,) = cluster.apps[2].presence(ROOM)
        assert [each.info for each in member.sessions] == [{"status": "away"}]
        page.read()
        (known,) = page.members.values()
        assert known["info"] == [{"status": "away"}]

    def test_of_many_sessions_some_are_listed_and_all_are_counted(
        self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shared_presence, "MOST_SESSIONS", 2)
        for _ in range(4):
            enter(cluster, 0, "ann")
        assert [names(cluster, worker) for worker in range(3)] == [
            [("ann", 4)],
            [("ann", 2)],
            [("ann", 2)],
        ]
        assert Page(cluster, 1).read() == [("ann", 4)]

    @pytest.mark.pure("counts what it sends in the place of a method")
    def test_what_is_told_at_once_is_bounded(
        self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        appended: list[int] = []
        workers = cluster.worlds[0].broker._sessions.workers
        assert workers is not None
        append = workers.append

        def count(messages: Any, *args: Any, **given: Any) -> str:
            appended.append(len(messages))
            return append(messages, *args, **given)

        monkeypatch.setattr(workers, "append", count)
        monkeypatch.setattr(shared_presence, "MOST_MEMBERS", 3)
        peers = [cluster.connect(0, f"user-{number}") for number in range(8)]
        cluster.subscribe(cluster.connect(0), ROOM)
        cluster.engine.disconnect()
        for peer in peers:
            peer.command("SUBSCRIBE", {"id": "s", "destination": ROOM})
        cluster.engine.reconnect()
        assert len(everywhere(cluster)) == 9
        assert max(appended) == 3
        appended.clear()
        monkeypatch.setattr(shared_presence, "MOST_MEMBERS", 100)
        monkeypatch.setattr(shared_presence, "MOST_BYTES", 1)
        cluster.engine.disconnect()
        for peer in peers:
            peer.command("UNSUBSCRIBE", {"id": "s"})
        cluster.engine.reconnect()
        assert len(everywhere(cluster)) == 1
        assert max(appended) == 1

    def test_a_destination_without_a_presence_here_is_nothing(self, cluster: Cluster) -> None:
        facts = {"destination": "/topic/other", "owner": "ann"}
        shared(cluster, 0).take(shared_presence.Notice.MEMBER, "w", facts)
        assert cluster.worlds[0].broker._sessions.presence.rosters == {}


class TestFollowers:
    def test_a_follower_is_told_of_members_of_other_workers(self, cluster: Cluster) -> None:
        ann = enter(cluster, 0, "ann")
        page = Page(cluster, 1)
        assert page.read() == [("ann", 1)]
        bob = enter(cluster, 2, "bob")
        here = enter(cluster, 1, "ann")
        assert page.read() == [("ann", 2), ("bob", 1)]
        leave(cluster, ann)
        leave(cluster, bob)
        assert page.read() == [("ann", 1)]
        leave(cluster, here)
        assert page.read() == []

    def test_a_page_that_comes_back_to_another_worker_finds_all(self, cluster: Cluster) -> None:
        enter(cluster, 0, "ann")
        enter(cluster, 2, "bob")
        for worker in range(3):
            assert Page(cluster, worker).read() == [("ann", 1), ("bob", 1)]


class TestFlaps:
    def test_who_comes_back_to_another_worker_in_time_has_never_left(
        self, cluster: Cluster
    ) -> None:
        page = Page(cluster, 2)
        enter(cluster, 0, "ann").eof()
        cluster.advance(2)
        assert [names(cluster, worker) for worker in range(3)] == [[("ann", 0)]] * 3
        assert page.read() == [("ann", 1)]
        enter(cluster, 1, "ann")
        cluster.advance(10)
        assert everywhere(cluster) == [("ann", 1)]
        assert heard(cluster) == [(0, "joined", "ann")]
        page.read()
        assert not any(told.get("leaves") for told in page.told)

    def test_who_does_not_come_back_leaves_once(self, cluster: Cluster) -> None:
        enter(cluster, 0, "ann").eof()
        cluster.advance(10)
        assert everywhere(cluster) == []
        assert heard(cluster) == [(0, "joined", "ann"), (0, "left", "ann")]

    def test_the_info_of_the_last_session_stays_while_somebody_may_come_back(
        self, cluster: Cluster
    ) -> None:
        peer, page = enter(cluster, 0, "ann"), Page(cluster, 1)
        cluster.apps[0].presence.attach(cluster.apps[0].users.sessions()[0], "x")
        page.read()
        peer.eof()
        page.read()
        (known,) = page.members.values()
        assert (known["info"], known["sessions"]) == (["x"], 1)


class TestDeath:
    def test_members_of_a_worker_that_dies_leave_once(self, cluster: Cluster) -> None:
        page = Page(cluster, 1)
        enter(cluster, 0, "ann")
        enter(cluster, 0, None)
        enter(cluster, 0, "bob")
        enter(cluster, 2, "bob")
        heard(cluster)
        cluster.kill(0)
        cluster.advance(15)
        assert len(everywhere(cluster, (1, 2))) == 3
        cluster.advance(30)
        assert everywhere(cluster, (1, 2)) == [("bob", 1)]
        told = heard(cluster)
        assert sorted((what, str(name)) for _, what, name in told) == [
            ("left", "None"),
            ("left", "ann"),
        ]
        assert len({worker for worker, _, _ in told}) == 1
        assert page.read() == [("bob", 1)]
        cluster.advance(120)
        assert heard(cluster) == []

    def test_however_many_they_are_all_of_them_are_told(self, cluster: Cluster) -> None:
        peers = [cluster.worlds[0].connect(login=f"user-{n}") for n in range(1_100)]
        for peer in peers:
            peer.command("SUBSCRIBE", {"id": "s", "destination": ROOM})
        cluster.settle()
        assert len(heard(cluster)) == 1_100
        cluster.kill(0)
        cluster.advance(45)
        assert len(heard(cluster)) == 1_100
        assert [world.counters.events_dropped for world in cluster.worlds[1:]] == [0, 0]

    def test_one_that_is_cut_off_for_longer_leaves_and_joins_again(self, cluster: Cluster) -> None:
        here, page = Page(cluster, 0), Page(cluster, 1)
        enter(cluster, 0, "ann")
        enter(cluster, 1, "bob")
        heard(cluster)
        cluster.link(0).lose()
        cluster.advance(28)
        assert len(names(cluster, 1)) == 2
        cluster.advance(15)
        assert everywhere(cluster, (1, 2)) == [("bob", 1)]
        assert [told[1:] for told in heard(cluster)] == [("left", "ann")]
        assert names(cluster, 0) == [("ann", 1), ("bob", 1)]
        cluster.link(0).connect()
        cluster.advance(1)
        assert everywhere(cluster) == [("ann", 1), ("bob", 1)]
        assert heard(cluster) == [(0, "joined", "ann")]
        assert here.read() == page.read() == [("ann", 1), ("bob", 1)]

    def test_one_that_is_back_in_time_has_never_been_away(self, cluster: Cluster) -> None:
        page = Page(cluster, 1)
        peer = enter(cluster, 0, "ann")
        heard(cluster)
        page.read()
        page.told.clear()
        for _ in range(4):
            cluster.link(0).lose()
            cluster.advance(18)
            cluster.link(0).connect()
            cluster.advance(1)
        assert everywhere(cluster) == [("ann", 1)]
        assert heard(cluster) == []
        assert page.read() == [("ann", 1)]
        assert page.told == []
        leave(cluster, peer)
        assert everywhere(cluster) == []

    def test_what_happens_at_one_that_is_cut_off_is_told_when_it_is_back(
        self, cluster: Cluster
    ) -> None:
        ann = enter(cluster, 0, "ann")
        bob = cluster.subscribe(cluster.connect(0, "bob"), ROOM)
        heard(cluster)
        cluster.link(0).lose()
        leave(cluster, ann)
        cluster.connect(0, "eve").command("SUBSCRIBE", {"id": "s", "destination": ROOM})
        cluster.settle()
        assert names(cluster, 0) == [("bob", 1), ("eve", 1)]
        assert names(cluster, 1) == [("ann", 1), ("bob", 1)]
        cluster.advance(12)
        assert heard(cluster) == []
        cluster.link(0).connect()
        assert everywhere(cluster) == [("bob", 1), ("eve", 1)]
        assert sorted(heard(cluster)) == [(0, "joined", "eve"), (0, "left", "ann")]
        assert bob.closed is None

    def test_a_worker_that_stops_is_forgotten_soon_and_who_comes_back_has_never_left(
        self, cluster: Cluster
    ) -> None:
        enter(cluster, 0, "ann")
        enter(cluster, 0, "bob")
        heard(cluster)
        cluster.worlds.pop(0).close()
        cluster.settle()
        assert heard(cluster) == []
        one, two = cluster.apps[1], cluster.apps[2]
        peer = cluster.worlds[0].connect(login="ann")
        cluster.subscribe(peer, ROOM)
        cluster.advance(4)
        assert len(one.presence(ROOM)) == len(two.presence(ROOM)) == 2
        cluster.advance(10)
        for app in (one, two):
            assert [each.name for each in app.presence(ROOM)] == ["ann"]
        assert [told[1:] for told in heard(cluster)] == [("left", "bob")]

    def test_a_worker_that_starts_sees_who_is_there_and_buries_who_was_left_behind(
        self, cluster: Cluster
    ) -> None:
        enter(cluster, 0, "ann")
        for worker in range(3):
            cluster.kill(worker)
        new = cluster.start()
        assert names(cluster, new) == [("ann", 1)]
        heard(cluster)
        cluster.advance(45)
        assert names(cluster, new) == []
        assert [told for told in heard(cluster) if told[0] == new] == [(new, "left", "ann")]


class TestEngine:
    def test_one_that_has_lost_everything_is_filled_again(self, cluster: Cluster) -> None:
        page = Page(cluster, 2)
        ann = enter(cluster, 0, "ann")
        enter(cluster, 1, "bob")
        heard(cluster)
        page.read()
        page.told.clear()
        cluster.engine.restart()
        cluster.settle()
        assert everywhere(cluster) == [("ann", 1), ("bob", 1)]
        assert page.read() == [("ann", 1), ("bob", 1)]
        assert page.told == []
        new = cluster.start()
        assert names(cluster, new) == [("ann", 1), ("bob", 1)]
        cluster.advance(60)
        assert everywhere(cluster, (0, 1, 2, 3)) == [("ann", 1), ("bob", 1)]
        assert heard(cluster) == []
        leave(cluster, ann)
        assert everywhere(cluster, (0, 1, 2, 3)) == [("bob", 1)]

    def test_who_left_while_it_lost_everything_is_gone(self, cluster: Cluster) -> None:
        ann = enter(cluster, 0, "ann")
        enter(cluster, 0, "bob")
        heard(cluster)
        cluster.engine.disconnect()
        leave(cluster, ann)
        cluster.engine.engine.restart()
        cluster.engine.reconnect()
        assert everywhere(cluster) == [("bob", 1)]
        assert heard(cluster) == [(0, "left", "ann")]

    def test_one_that_comes_back_with_less_is_told_the_rest(self, cluster: Cluster) -> None:
        ann = enter(cluster, 0, "ann")
        snapshot = cluster.engine.engine.snapshot()
        leave(cluster, ann)
        enter(cluster, 1, "bob")
        heard(cluster)
        cluster.engine.restart(snapshot)
        cluster.advance(1)
        assert everywhere(cluster) == [("bob", 1)]
        cluster.advance(60)
        assert everywhere(cluster) == [("bob", 1)]
        assert heard(cluster) == []

    def test_one_that_refuses_is_told_later(self, cluster: Cluster) -> None:
        cluster.engine.engine.refuses = "out of memory"
        enter(cluster, 0, "ann")
        cluster.advance(5)
        assert names(cluster, 0) == [("ann", 1)]
        assert names(cluster, 1) == []
        cluster.engine.engine.refuses = ""
        cluster.advance(11)
        assert everywhere(cluster) == [("ann", 1)]

    @pytest.mark.pure("puts a refusal in the place of a method")
    def test_too_much_in_flight_is_told_later(
        self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        workers = cluster.worlds[0].broker._sessions.workers
        assert workers is not None
        with monkeypatch.context() as full:
            full.setattr(workers, "append", lambda *args, **given: "max_in_flight")
            enter(cluster, 0, "ann")
        cluster.advance(11)
        assert everywhere(cluster) == [("ann", 1)]

    def test_all_members_are_told_again_before_they_age(
        self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shared_presence, "AGE", 60.0)
        enter(cluster, 0, "ann")
        log = cluster.engine.engine._channels["control"]

        def told_at() -> float:
            return max(at for _, payload, _, at in log.entries.values() if b'"member"' in payload)

        first = told_at()
        cluster.advance(35)
        assert told_at() > first
        assert everywhere(cluster) == [("ann", 1)]
        assert [told[1:] for told in heard(cluster)] == [("joined", "ann")]

    def test_who_was_told_of_after_all_others_is_not_taken_for_gone(
        self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        page = Page(cluster, 1)
        enter(cluster, 0, "ann")
        enter(cluster, 0, "bob")
        page.read()
        page.told.clear()
        cluster.link(1).lose()
        monkeypatch.setattr(shared_presence, "AGE", 60.0)
        cluster.advance(25)
        cluster.apps[0].presence.attach(cluster.apps[0].users.sessions()[0], "here")
        cluster.settle()
        cluster.link(1).connect()
        assert page.read() == [("ann", 1), ("bob", 1)]
        assert [(told["joins"], told["leaves"]) for told in page.told] == [([], [])]

    def test_those_that_are_not_told_again_are_gone(self, cluster: Cluster) -> None:
        enter(cluster, 0, "ann")
        enter(cluster, 0, "bob")
        other = shared(cluster, 1)
        worker = cluster.worlds[0].broker.worker
        other.take(shared_presence.Notice.FILLED, worker, {"fill": 7})
        assert names(cluster, 1) == []
        other.take(shared_presence.Notice.FILLED, "nobody", {"fill": 7})


def test_events_are_not_made_where_nobody_listens() -> None:
    with Cluster(3, listens=False, **GIVEN) as cluster:
        leave(cluster, enter(cluster, 0, "ann"))
        enter(cluster, 1, "bob")
        cluster.kill(1)
        cluster.advance(45)
        assert everywhere(cluster, (0, 2)) == []


def test_an_anonymous_member_is_another_at_each_worker(cluster: Cluster) -> None:
    for worker in range(3):
        enter(cluster, worker, None)
    assert everywhere(cluster) == [(None, 1)] * 3
    keys = [each.key for each in cluster.apps[0].presence(ROOM)]
    assert len({*keys}) == 3


def test_bounds_of_an_info_hold(cluster: Cluster) -> None:
    with Cluster(2, limits=Limits(presence_info=10), **GIVEN) as small:
        enter(small, 1, "ann")
        session_id = small.apps[1].users.sessions()[0].id
        with pytest.raises(ValueError, match="presence_info"):
            small.apps[0].presence.attach(session_id, "x" * 20)

"""Acts of the application on sessions at all workers: each is done once at each, and none is lost
in an outage.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from stocksync_ws import CurrentUser, DisconnectReason, SessionDisconnected, StompApp
from stocksync_ws.backplane import Append, BackplaneSettings
from stocksync_ws.broker.frames import orders
from stocksync_ws.testing.peer import Peer
from tests.broker.cluster import Cluster
from tests.broker.kit import User


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(3) as cluster:
        yield cluster


LOST = "an act on sessions does not reach the other workers: 3 more wait for the engine"


def of_others(cluster: Cluster, name: str = "ann") -> list[Peer]:
    """A session of a user at each worker."""
    return [cluster.connect(worker, name) for worker in range(3)]


def kicked(cluster: Cluster, peer: Peer) -> str:
    """What a client was told of its end; empty: it lives."""
    cluster.settle()
    if peer.closed is None:
        return ""
    assert peer.closed == 4503
    error = peer.frame("ERROR")
    assert error.headers["code"] == "kicked"
    return error.body.decode()


class TestDisconnect:
    def test_a_user_is_ended_at_all_workers_and_nobody_else(self, cluster: Cluster) -> None:
        peers, other = of_others(cluster), cluster.connect(1, "bob")
        assert cluster.apps[0].users.disconnect("ann", reason="closed") == 1
        for peer in peers:
            assert "'closed'" in kicked(cluster, peer)
        assert kicked(cluster, other) == ""
        told = cluster.heard(SessionDisconnected)
        assert sorted(worker for worker, _ in told) == [0, 1, 2]
        assert {event.reason for _, event in told} == {DisconnectReason.KICKED}
        assert [world.counters.sessions_kicked for world in cluster.worlds] == [1, 1, 1]

    def test_it_returns_the_number_of_this_worker(self, cluster: Cluster) -> None:
        peer = cluster.connect(1, "ann")
        assert cluster.apps[0].users.disconnect("ann") == 0
        assert kicked(cluster, peer)

    def test_a_session_of_another_worker_is_ended_by_its_id(self, cluster: Cluster) -> None:
        peers = of_others(cluster)
        (session,) = cluster.apps[2].users.sessions()
        assert cluster.apps[0].users.disconnect(session_id=session.id, reason="why") == 0
        assert "'why'" in kicked(cluster, peers[2])
        assert [kicked(cluster, peer) for peer in peers[:2]] == ["", ""]

    def test_a_session_of_this_worker_is_nothing_that_others_hear_of(
        self, cluster: Cluster
    ) -> None:
        peer = cluster.connect(0, "ann")
        top = cluster.engine.engine._channels["control"].top
        assert cluster.apps[0].users.disconnect(cluster.apps[0].users.sessions()[0]) == 1
        assert kicked(cluster, peer)
        assert cluster.engine.engine._channels["control"].top == top

    def test_a_reason_of_any_length_is_cut(self, cluster: Cluster) -> None:
        peers = of_others(cluster)
        cluster.apps[0].users.disconnect("ann", reason="x" * 100_000)
        told = [kicked(cluster, peer) for peer in peers]
        assert len({*told}) == 1
        assert "x" * 200 in told[0]
        assert "x" * 201 not in told[0]
        payloads = [
            entry[1] for entry in cluster.engine.engine._channels["control"].entries.values()
        ]
        assert max(map(len, payloads)) < 2_000

    def test_who_comes_later_stays(self, cluster: Cluster) -> None:
        cluster.apps[0].users.disconnect("ann")
        cluster.settle()
        peers = of_others(cluster)
        cluster.advance(60)
        assert [kicked(cluster, peer) for peer in peers] == ["", "", ""]

    def test_a_worker_that_starts_later_does_nothing(self, cluster: Cluster) -> None:
        cluster.apps[0].users.disconnect("ann")
        cluster.settle()
        cluster.engine.reachable = False
        new = cluster.start()
        peer = cluster.connect(new, "ann")
        cluster.link(new).connect()
        assert kicked(cluster, peer) == ""
        cluster.apps[0].users.disconnect("ann")
        assert kicked(cluster, peer)

    def test_one_that_was_cut_off_hears_of_it_when_it_is_back(self, cluster: Cluster) -> None:
        peers = of_others(cluster)
        cluster.link(2).lose()
        cluster.apps[0].users.disconnect("ann")
        cluster.advance(20)
        assert kicked(cluster, peers[1])
        assert kicked(cluster, peers[2]) == ""
        cluster.link(2).connect()
        assert kicked(cluster, peers[2])

    @pytest.mark.parametrize("away", [1, 4.9, 5.5, 25])
    def test_one_that_is_given_while_the_engine_is_away_is_done_here_and_then_there(
        self, cluster: Cluster, away: float
    ) -> None:
        peers = of_others(cluster)
        cluster.engine.disconnect()
        assert cluster.apps[0].users.disconnect("ann") == 1
        assert kicked(cluster, peers[0])
        cluster.advance(away)
        assert kicked(cluster, peers[1]) == ""
        cluster.engine.reconnect()
        cluster.advance(orders.RETRY)
        assert kicked(cluster, peers[1])
        assert kicked(cluster, peers[2])
        assert [world.counters.sessions_kicked for world in cluster.worlds] == [1, 1, 1]

    def test_an_engine_that_refuses_it_gets_it_again(self, cluster: Cluster) -> None:
        peers = of_others(cluster)
        cluster.engine.engine.refuses = "out of memory"
        cluster.apps[0].users.disconnect("ann")
        cluster.advance(10)
        assert kicked(cluster, peers[1]) == ""
        cluster.engine.engine.refuses = ""
        cluster.advance(orders.RETRY)
        assert kicked(cluster, peers[1])

    def test_one_for_which_too_much_is_in_flight_is_told_later(self) -> None:
        with Cluster(2, settings=BackplaneSettings(max_in_flight=1)) as cluster:
            peers = [cluster.connect(1, name) for name in "abc"]
            cluster.engine.disconnect()
            for name in "abc":
                cluster.apps[0].users.disconnect(name)
            cluster.advance(orders.RETRY * 2)
            cluster.engine.reconnect()
            cluster.advance(orders.RETRY * 2)
            assert all(kicked(cluster, peer) for peer in peers)

    def test_one_that_goes_again_leaves_alone_what_may_be_on_its_way(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Cluster(2, settings=BackplaneSettings(publish_timeout=0.5)) as cluster:
            cluster.connect(1, "ann")
            link = cluster.link(0)
            monkeypatch.setattr(cluster.engine, "moved", lambda link: None)
            cluster.apps[0].users.disconnect("ann")
            cluster.advance(orders.RETRY * 3)
            sent = [
                item
                for command in link.commands
                if isinstance(command, Append)
                for item in command.items
                if b'"order"' in item.payload
            ]
            assert len(sent) > 1
            assert len({id(item) for item in sent}) == len(sent)

    @pytest.mark.parametrize("forgets", [False, True])
    def test_one_whose_answer_is_lost_is_done_once(
        self, cluster: Cluster, forgets: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = cluster.engine.engine.snapshot()
        of_others(cluster)
        link = cluster.link(0)
        with monkeypatch.context() as still:
            still.setattr(cluster.engine, "moved", lambda link: None)
            cluster.apps[0].users.disconnect("ann")
            cluster.worlds[0].settle()
            link.execute()
        link.lose()
        cluster.engine.moved(cluster.link(1))
        cluster.advance(6)
        later = cluster.connect(1, "ann")
        if forgets:
            cluster.engine.engine.restart(before)
        link.connect()
        cluster.advance(2)
        assert kicked(cluster, later) == ""
        log = cluster.engine.engine._channels["control"].entries.values()
        assert sum(b'"order"' in entry[1] for entry in log) == 1

    def test_an_engine_that_has_lost_everything_does_nothing_twice(self, cluster: Cluster) -> None:
        of_others(cluster)
        cluster.apps[0].users.disconnect("ann")
        cluster.settle()
        snapshot = cluster.engine.engine.snapshot()
        peers = of_others(cluster)
        cluster.apps[0].users.disconnect("bob")
        cluster.settle()
        cluster.engine.restart(snapshot)
        cluster.settle()
        assert [kicked(cluster, peer) for peer in peers] == ["", "", ""]

    def test_one_that_comes_late_ends_no_session_that_came_after_it(self, cluster: Cluster) -> None:
        before = cluster.connect(2, "ann")
        cluster.advance(1)
        cluster.link(2).lose()
        cluster.apps[0].users.disconnect("ann")
        cluster.advance(20)
        after = cluster.connect(2, "ann")
        acts = cluster.worlds[2].broker._orders
        wall = acts._wall
        acts._wall = lambda: wall() + 20
        cluster.link(2).connect()
        assert kicked(cluster, before)
        assert kicked(cluster, after) == ""

    def test_as_many_as_may_wait_wait_and_the_oldest_are_lost_and_told(
        self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(orders, "MOST_WAITING", 3)
        peers = {name: cluster.connect(1, name) for name in "abcde"}
        cluster.engine.engine.refuses = "out of memory"
        for name in "abcde":
            cluster.apps[0].users.disconnect(name)
            cluster.settle()
        with caplog.at_level(logging.WARNING):
            cluster.advance(0.5)
        assert cluster.worlds[0].counters.orders_lost == 2
        assert caplog.messages == [LOST] * 2
        cluster.engine.engine.refuses = ""
        cluster.advance(5)
        assert [name for name, peer in peers.items() if kicked(cluster, peer)] == ["c", "d", "e"]

    def test_they_are_done_in_their_order(self, cluster: Cluster) -> None:
        peers = [cluster.connect(1, name) for name in "ab"]
        cluster.engine.engine.refuses = "out of memory"
        cluster.apps[0].users.disconnect("a", reason="first")
        cluster.settle()
        cluster.engine.engine.refuses = ""
        cluster.apps[0].users.disconnect("b", reason="second")
        cluster.settle()
        assert [kicked(cluster, peer) for peer in peers] == ["", ""]
        cluster.advance(orders.RETRY)
        assert all(kicked(cluster, peer) for peer in peers)
        ended = [event.session_id for _, event in cluster.heard(SessionDisconnected)]
        assert ended == sorted(ended)

    def test_of_those_that_are_known_to_be_done_the_oldest_is_forgotten(
        self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(orders, "MOST_DONE", 2)
        for name in "abcd":
            cluster.apps[0].users.disconnect(name)
            cluster.settle()
        done = cluster.worlds[1].broker._orders._done
        assert [number for _, number in done] == [3, 4]


class TestReauthorize:
    @pytest.fixture
    def rooms(self) -> Iterator[Cluster]:
        self.allowed = {"ann"}

        def prepare(app: StompApp) -> None:
            @app.authorize("/topic/staff", inline=True)
            def may(user: CurrentUser[User]) -> bool:
                return user.name in self.allowed

        with Cluster(2, prepare) as cluster:
            yield cluster

    def listening(self, cluster: Cluster, worker: int) -> Peer:
        peer = cluster.subscribe(cluster.connect(worker, "ann"), "/user/queue/errors")
        return cluster.subscribe(peer, "/topic/staff")

    @pytest.mark.parametrize("by", ["user", "session"])
    def test_rights_are_judged_at_another_worker(self, rooms: Cluster, by: str) -> None:
        peer = self.listening(rooms, 1)
        self.allowed.clear()
        users = rooms.apps[0].users
        if by == "user":
            assert users.reauthorize("ann") == 0
        else:
            (session,) = rooms.apps[1].users.sessions()
            assert users.reauthorize(session_id=session.id) == 0
        rooms.settle()
        assert peer.message().json()["code"] == "subscription-revoked"

    def test_they_are_judged_after_an_outage(self, rooms: Cluster) -> None:
        here, there = (self.listening(rooms, worker) for worker in (0, 1))
        self.allowed.clear()
        rooms.engine.disconnect()
        assert rooms.apps[0].users.reauthorize("ann") == 1
        rooms.settle()
        assert here.message().json()["code"] == "subscription-revoked"
        there.nothing()
        rooms.advance(7)
        rooms.engine.reconnect()
        rooms.advance(orders.RETRY)
        assert there.message().json()["code"] == "subscription-revoked"

    def test_a_session_of_this_worker_is_judged_here_alone(self, rooms: Cluster) -> None:
        peer = self.listening(rooms, 0)
        top = rooms.engine.engine._channels["control"].top
        self.allowed.clear()
        assert rooms.apps[0].users.reauthorize(rooms.apps[0].users.sessions()[0]) == 1
        rooms.settle()
        assert peer.message().json()["code"] == "subscription-revoked"
        assert rooms.engine.engine._channels["control"].top == top


class TestAttach:
    def test_something_is_attached_to_a_session_of_another_worker(self) -> None:
        with Cluster(2, presence=["/topic/room/*"]) as cluster:
            cluster.subscribe(cluster.connect(1, "ann"), "/topic/room/1")
            (session,) = cluster.apps[1].users.sessions()
            cluster.apps[0].presence.attach(session.id, {"status": "away"})
            cluster.settle()
            for app in cluster.apps:
                (member,) = app.presence("/topic/room/1")
                assert [each.info for each in member.sessions] == [{"status": "away"}]

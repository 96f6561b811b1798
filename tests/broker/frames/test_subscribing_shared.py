"""SUBSCRIBEs that wait until their worker follows the destination."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stocksync_ws import CurrentUser, Limits, StompApp, Stream
from stocksync_ws.testing.backplane import MemoryLink
from stocksync_ws.testing.peer import Peer
from tests.broker.cluster import Cluster
from tests.broker.kit import User


def subscribe(peer: Peer, destination: str) -> None:
    headers = {"destination": destination, "id": "it", "receipt": "r", "history": "10"}
    peer.command("SUBSCRIBE", headers)


def hold(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> MemoryLink:
    """What is on its way to and from the engine stays there."""
    monkeypatch.setattr(cluster.engine, "moved", lambda link: None)
    return cluster.link(0)


def answer(cluster: Cluster, link: MemoryLink) -> None:
    """The engine does all that has arrived, and its answers come together."""
    cluster.worlds[0].settle()
    while link.commands:
        while link.commands:
            link.execute()
        answers = [*link.answers]
        link.answers.clear()
        link._receive(answers)
        cluster.worlds[0].settle()


class TestRightsThatEndMeanwhile:
    @pytest.fixture
    def staff(self) -> Iterator[Cluster]:
        self.allowed = {"ann"}

        def prepare(app: StompApp) -> None:
            @app.authorize("/topic/staff", inline=True)
            def may(user: CurrentUser[User]) -> bool:
                return user.name in self.allowed

        with Cluster(1, prepare) as cluster:
            yield cluster

    def test_who_may_no_more_is_not_subscribed(
        self, staff: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        peer = staff.connect(0, "ann")
        link = hold(staff, monkeypatch)
        subscribe(peer, "/topic/staff")
        self.allowed.clear()
        staff.apps[0].users.reauthorize("ann")
        answer(staff, link)
        assert peer.error().headers["code"] == "subscribe-denied"

    def test_who_still_may_is_subscribed(
        self, staff: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        peer = staff.connect(0, "ann")
        link = hold(staff, monkeypatch)
        subscribe(peer, "/topic/staff")
        staff.apps[0].users.reauthorize("ann")
        answer(staff, link)
        assert peer.frame("RECEIPT").headers["receipt-id"] == "r"

    def test_a_function_that_was_asked_may_read_the_frame_again(self, staff: Cluster) -> None:
        staff.subscribe(staff.connect(0, "ann"), "/topic/staff")
        (session,) = staff.worlds[0].broker.sessions.values()
        (subscription,) = session.subscriptions.active.values()
        assert subscription.asked is not None
        assert subscription.asked.headers["destination"] == "/topic/staff"


class TestHistoriesThatGiveWayMeanwhile:
    @pytest.mark.parametrize("page", [1, 100])
    def test_all_subscriptions_get_their_history_and_what_follows(
        self, page: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        destinations, limits = {"/topic/*": Stream(history=10)}, Limits(max_streams=2)
        with Cluster(2, destinations=destinations, limits=limits) as cluster:
            cluster.engine.engine.page = page
            send = cluster.apps[1].template.convert_and_send
            for name in "abcd":
                for number in range(3):
                    send(f"/topic/{name}", f"{name}{number}")
            cluster.settle()
            peers = {name: cluster.connect(0) for name in "abcd"}
            with monkeypatch.context() as held:
                link = hold(cluster, held)
                for name, peer in peers.items():
                    subscribe(peer, f"/topic/{name}")
                answer(cluster, link)
            for name in "abcd":
                send(f"/topic/{name}", "live")
            cluster.settle()
            for name, peer in peers.items():
                wanted = [*(f"{name}{number}".encode() for number in range(3)), b"live"]
                assert cluster.bodies(peer) == wanted


class TestTimeouts:
    def test_each_waits_for_its_own_time(self) -> None:
        with Cluster(1) as cluster:
            peers = [cluster.connect(0) for _ in "123"]
            cluster.engine.disconnect()
            subscribe(peers[0], "/topic/a")
            cluster.advance(4)
            subscribe(peers[1], "/topic/b")
            subscribe(peers[2], "/topic/a")
            cluster.advance(5.9)
            assert [peer.closed for peer in peers] == [None, None, None]
            cluster.advance(0.1)
            assert peers[0].error().headers["code"] == "backplane-unavailable"
            assert [peer.closed for peer in peers[1:]] == [None, None]
            cluster.advance(4)
            for peer in peers[1:]:
                assert peer.error().headers["code"] == "backplane-unavailable"

    def test_one_that_is_over_does_not_hide_the_next(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with Cluster(1) as cluster:
            first, second = cluster.connect(0), cluster.connect(0)
            link = hold(cluster, monkeypatch)
            subscribe(first, "/topic/a")
            answer(cluster, link)
            subscribe(second, "/topic/b")
            assert first.frame("RECEIPT").headers["receipt-id"] == "r"
            cluster.worlds[0].advance(10)
            assert second.error().headers["code"] == "backplane-unavailable"

    def test_nothing_is_left_of_those_that_are_over(self) -> None:
        with Cluster(1) as cluster:
            workers = cluster.worlds[0].broker._sessions.workers
            assert workers is not None
            cluster.engine.disconnect()
            for number in range(50):
                subscribe(cluster.connect(0), f"/topic/{number}")
            assert all(f"/topic/{number}" in workers._waiting for number in range(50))
            cluster.engine.reconnect()
            cluster.settle()
            assert workers._waiting.until() is None
            assert not any(f"/topic/{number}" in workers._waiting for number in range(50))

"""What stands in a history is the same at all workers, whatever reached each of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stocksync_ws import Latest, Stream
from stocksync_ws.backplane import Append, Item, Keep
from stocksync_ws.testing.peer import Peer, ReceivedFrame
from tests.broker.cluster import Cluster

DESTINATION = "/topic/s"


@pytest.fixture(params=[Stream(history=10), Latest(key="key")])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with Cluster(2, destinations={DESTINATION: request.param}) as cluster:
        yield cluster


def send(cluster: Cluster, body: str, **headers: str) -> None:
    cluster.apps[0].template.convert_and_send(DESTINATION, body, {"key": body, **headers})
    cluster.settle()


def come_back(cluster: Cluster, peer: Peer, last: str) -> ReceivedFrame:
    """The RECEIPT of who has seen a message at another worker."""
    headers = {"destination": DESTINATION, "id": "it", "receipt": "r", "last-message-id": last}
    peer.command("SUBSCRIBE", headers)
    cluster.settle()
    return peer.frame("RECEIPT")


def test_a_message_that_has_expired_is_a_place_to_recover_from(cluster: Cluster) -> None:
    seen = cluster.subscribe(cluster.connect(0), DESTINATION)
    send(cluster, "lasts")
    send(cluster, "expires", expiration="1000")
    last = [frame.headers["message-id"] for frame in seen.frames()][-1]
    workers = cluster.worlds[1].broker._sessions.workers
    assert workers is not None
    wall = workers._wall
    workers._wall = lambda: wall() + 2
    peer = cluster.connect(1)
    receipt = come_back(cluster, peer, last)
    assert (receipt.headers["recovered"], receipt.headers["replayed"]) == ("true", "0")
    assert receipt.headers["last-message-id"] == last
    send(cluster, "next")
    assert cluster.bodies(peer) == [b"next"]


def test_a_value_that_has_expired_leaves_no_older_one_of_its_key() -> None:
    with Cluster(2, destinations={DESTINATION: Latest(key="name")}) as cluster:
        for worker in range(2):
            cluster.subscribe(cluster.connect(worker), DESTINATION)
        send(cluster, "old", name="a")
        workers = cluster.worlds[1].broker._sessions.workers
        assert workers is not None
        wall = workers._wall
        workers._wall = lambda: wall() + 2
        send(cluster, "new", name="a", expiration="1000")
        cluster.advance(2)
        for worker in range(2):
            peer = cluster.subscribe(cluster.connect(worker), DESTINATION)
            assert cluster.bodies(peer) == []


@pytest.mark.parametrize("payload", [b"", b"\n", b"[1]\n", b'["message",null,[]]\n', b"\xff\n"])
def test_what_something_else_has_put_into_a_channel_is_passed_over(
    cluster: Cluster, payload: bytes
) -> None:
    here = cluster.subscribe(cluster.connect(0), DESTINATION)
    send(cluster, "1")
    item = Item(DESTINATION, payload, Keep(10, 60, "other"), None)
    cluster.engine.engine.append("other", Append(1, (item,)), cluster.engine.now())
    send(cluster, "2")
    there = cluster.connect(1)
    there.command("SUBSCRIBE", {"destination": DESTINATION, "id": "it", "history": "10"})
    send(cluster, "3")
    for peer in here, there:
        assert cluster.bodies(peer) == [b"1", b"2", b"3"]
    assert [world.counters.messages_dropped for world in cluster.worlds] == [1, 1]


def test_a_message_that_expires_at_several_workers_is_one_dead_letter() -> None:
    policy = Stream(history=10, dead_letter="/topic/dead")
    with Cluster(3, destinations={DESTINATION: policy}) as cluster:
        dead = cluster.subscribe(cluster.connect(0), "/topic/dead")
        headers = {"destination": DESTINATION, "id": "it", "ack": "client", "prefetch-count": "1"}
        for worker in range(3):
            cluster.connect(worker).command("SUBSCRIBE", headers)
        cluster.settle()
        send(cluster, "fills the window")
        send(cluster, "1", expiration="1000")
        send(cluster, "2", expiration="1500")
        cluster.advance(2)
        assert cluster.bodies(dead) == [b"1", b"2"]
        assert [world.counters.messages_dead for world in cluster.worlds] == [2, 2, 2]
        assert [world.counters.messages_unrouted for world in cluster.worlds] == [0, 0, 0]

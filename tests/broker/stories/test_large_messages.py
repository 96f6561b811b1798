"""One message above `send_queue`: taken, and while it leaves only a standstill is slowness."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from stocksync_ws import StompApp, policies, send_to_user
from stocksync_ws.config import Limits
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.world import World
from tests.broker.kit import Broker, refused

BIG = 600_000


def large_app(size: int) -> Callable[[StompApp], None]:
    def prepare(app: StompApp) -> None:
        @app.message_mapping("/reply", inline=True)
        @send_to_user("/queue/reply", broadcast=False)
        def reply() -> bytes:
            return b"x" * size

        @app.subscribe_mapping("/answer", inline=True)
        def answer() -> bytes:
            return b"x" * size

        @app.snapshot("/topic/shot", inline=True)
        def shot() -> bytes:
            return b"x" * size

    return prepare


def by_template(world: World, peer: Peer) -> None:
    peer.subscribe("/topic/a", "s")
    peer.stream.open_window(0)
    world.app.template.send("/topic/a", b"x" * BIG)  # type: ignore[attr-defined]


def by_reply(world: World, peer: Peer) -> None:
    peer.subscribe("/user/queue/reply", "s")
    peer.stream.open_window(0)
    peer.send_to("/app/reply", receipt="r")


def by_subscribe(place: str) -> Callable[[World, Peer], None]:
    def ask(world: World, peer: Peer) -> None:
        peer.stream.open_window(0)
        peer.command("SUBSCRIBE", {"destination": place, "id": "s", "receipt": "r"})

    return ask


def from_queue(world: World, peer: Peer) -> None:
    world.app.template.send("/queue/a", b"x" * BIG)  # type: ignore[attr-defined]
    peer.stream.open_window(0)
    peer.command("SUBSCRIBE", {"destination": "/queue/a", "id": "s", "ack": "client"})


WAYS = {
    "the template": by_template,
    "a reply": by_reply,
    "an answer": by_subscribe("/app/answer"),
    "a snapshot": by_subscribe("/topic/shot"),
    "a queue": from_queue,
}


def drain(world: Broker, peer: Peer, seconds: float, bytes_a_second: int) -> None:
    """The client takes so many bytes a second."""
    for _ in range(int(seconds)):
        peer.stream.open_window(bytes_a_second)
        world.advance(1)
        peer.pong()


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_over_a_slow_link_it_is_delivered_and_nobody_is_closed(
    way: Callable[[World, Peer], None],
) -> None:
    with Broker(prepare=large_app(BIG), send_stall_seconds=10, send_queue_seconds=30) as world:
        peer = world.connect()
        way(world, peer)
        world.settle()
        drain(world, peer, 64, 10_000)
        peer.stream.open_window(None)
        world.settle()
        messages = [frame for frame in peer.frames() if frame.command == "MESSAGE"]
        assert [len(frame.body) for frame in messages] == [BIG]
        assert peer.closed is None
        assert world.broker.office.total == 0


def test_what_waits_behind_it_has_its_age_and_its_size_from_its_end() -> None:
    with Broker(send_stall_seconds=10, send_queue_seconds=30) as world:
        peer = world.reader("/topic/a")
        peer.stream.open_window(0)
        world.publish("/topic/a", "x" * BIG)
        world.settle()
        world.publish("/topic/a", *["y" * 100_000] * 6)  # over send_queue by themselves
        drain(world, peer, 61, 10_000)
        assert peer.closed is None
        # It has left, and what stood behind it is over the bound now, for more than a second.
        drain(world, peer, 3, 10_000)
        peer.stream.open_window(None)
        world.settle()
        assert peer.closed == 4008


def test_a_standstill_is_slowness_all_the_same() -> None:
    with Broker(send_stall_seconds=10) as world:
        peer = world.reader("/topic/a")
        peer.stream.open_window(1_000)
        world.publish("/topic/a", "x" * BIG)
        world.advance(9)
        assert world.counters.slow_consumers == 0
        world.advance(2)
        assert world.counters.slow_consumers == 1
        peer.eof()
        assert world.broker.office.total == 0


def test_a_second_one_while_the_first_leaves_is_no_exception() -> None:
    with Broker(send_queue=1_000) as world:
        peer = world.reader("/topic/a")
        peer.stream.open_window(0)
        world.publish("/topic/a", "x" * 9_000)
        world.settle()
        world.publish("/topic/a", "y" * 9_000)
        assert world.counters.slow_consumers == 1


def test_its_rest_counts_once_for_all_who_share_it() -> None:
    with Broker() as world:
        peers = [world.reader("/topic/a") for _ in range(3)]
        for peer in peers:
            peer.stream.open_window(0)
        world.publish("/topic/a", "x" * BIG)
        world.settle()
        whole = world.broker.office.total
        assert BIG < whole < BIG + 1_000
        for left, peer in zip((whole, whole, 0), peers, strict=True):
            peer.stream.open_window(None)
            world.settle()
            assert len(peer.message().body) == BIG
            assert world.broker.office.total == left


def test_it_counts_in_the_bound_over_all_while_it_leaves() -> None:
    with Broker(send_queue=1_000, max_total_queued=20_000) as world:
        holds, other = world.reader("/topic/a"), world.reader("/topic/b")
        for peer in (holds, other):
            peer.stream.open_window(0)
        world.publish("/topic/a", "x" * 15_000)
        world.settle()
        world.publish("/topic/b", "y" * 6_000)
        world.settle()
        assert world.counters.slow_consumers == 1
        holds.stream.open_window(None)
        other.stream.open_window(None)
        world.settle()
        assert (holds.closed, other.closed) == (4008, None)


def test_where_messages_may_be_lost_what_is_behind_it_is_and_it_is_not() -> None:
    with Broker({"/topic/a": policies.Topic(overflow="drop_oldest")}, send_queue=1_000) as world:
        peer = world.reader("/topic/a")
        peer.stream.open_window(0)
        world.publish("/topic/a", "x" * 5_000, *["y" * 400] * 30, "z")
        peer.stream.open_window(None)
        frames = peer.frames()
        assert len(frames[0].body) == 5_000
        assert frames[-1].body == b"z"
        assert sum(int(frame.headers.get("dropped", 0)) for frame in frames) + len(frames) == 32


@pytest.mark.parametrize("ask", ["/app/reply", "/app/answer", "/topic/shot"])
def test_beyond_the_bound_its_handler_has_failed(
    ask: str, caplog: pytest.LogCaptureFixture
) -> None:
    prepare = large_app(2_001)
    with Broker(prepare=prepare, max_outbound_message=2_000) as world:
        peer = world.connect()
        with caplog.at_level(logging.ERROR):
            if ask == "/app/reply":
                peer.send_to(ask)
            else:
                peer.command("SUBSCRIBE", {"destination": ask, "id": "s"})
        refused(peer, "handler-failed", 1011)
        text = "2001 bytes, larger than Limits.max_outbound_message (2000 bytes)"
        assert text in caplog.text


def test_beyond_the_bound_a_client_is_refused() -> None:
    with Broker(max_outbound_message=2_000) as world:
        peer = world.connect()
        peer.send_to("/topic/a", "x" * 2_000, receipt="r")
        peer.frame("RECEIPT")
        peer.send_to("/topic/a", "x" * 2_001)
        refused(peer, "limit", 1009)


def test_the_bound_is_sixteen_mebibytes() -> None:
    assert Limits().max_outbound_message == 16 * 1024 * 1024

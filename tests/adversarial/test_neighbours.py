"""One client must not hurt others: what it can make the server keep, and for how long.

Each test is a row of docs/contributing/neighbours.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from stocksync_ws import ConnectRequest, Limits, StompApp
from stocksync_ws.testing.peer import Peer, client_frame
from stocksync_ws.testing.world import World
from tests.polling import HEAD, Polling

MiB = 1024 * 1024
READ = 65_536
"""Bytes of one read."""


def app(**limits: float) -> StompApp:
    return StompApp("/ws", client_send=["/topic/**"], limits=Limits(**limits))  # type: ignore[arg-type]


def begun(size: int, first: int = 0x82) -> bytes:
    """The header of a masked frame that announces more than is going to come."""
    return bytes((first, 0xFF)) + size.to_bytes(8, "big") + bytes(4)


# Before CONNECTED


def half_frame(peer: Peer) -> None:
    peer.feed(begun(32 * MiB))


def fragments(peer: Peer) -> None:
    peer.feed(begun(READ, 0x02) + bytes(READ))


def a_fragment_each(peer: Peer) -> None:
    peer.feed(client_frame(2, b"\n", fin=False) + client_frame(0, b"\n", fin=False) * 3_000)


def messages(peer: Peer) -> None:
    peer.feed(client_frame(2, b"SEND\n"))


WAYS = {
    "an unfinished frame": (half_frame, bytes(READ)),
    "fragments": (fragments, begun(READ, 0x00) + bytes(READ)),
    "very small fragments": (a_fragment_each, client_frame(0, b"\n", fin=False) * 3_000),
    "whole messages": (messages, client_frame(2, b"a:" + b"b" * 1_000 + b"\n")),
}


@pytest.mark.parametrize(
    "way",
    [pytest.param(way, marks=[pytest.mark.slow] * (way == "very small fragments")) for way in WAYS],
)
def test_before_connected_a_client_keeps_little_of_our_memory(way: str) -> None:
    begin, more = WAYS[way]
    with World(app(max_message_size=32 * MiB, max_fragments=65_536)) as world:
        peers = [world.upgrade() for _ in range(20)]
        most = 0
        for peer in peers:
            begin(peer)
        for _ in range(100):
            for peer in peers:
                peer.feed(more)
            kept = [s.wire.kept + s.inbound.pre_auth for s in world.broker.sessions.values()]
            most = max(most, *kept, 0) if kept else most
        assert most <= world.broker.limits.pre_auth_bytes + READ
        for peer in peers:
            assert peer.error().headers["code"] == "limit"
            assert peer.closed == 1009


def test_before_connected_posts_keep_as_little() -> None:
    polled = StompApp("/ws", sockjs=True)
    with World(polled, polled.site()) as world:
        client = Polling(world).receive()
        assert client.took() == ["o"]
        client.receive()
        posts = [world.open() for _ in range(8)]
        for post in posts:
            head = HEAD.format(
                method="POST", target="/ws/000/abc/xhr_send", version="1.1", length=1_000_000
            )
            client.feed(post, head.encode() + b'["')
        most = 0
        for _ in range(15):
            for post in posts:
                client.feed(post, b"x" * 1_000)
                most = max(most, client.wire.kept)
        assert most <= world.broker.limits.pre_auth_bytes + 1_000
        assert client.wire.kept == 0
        [told] = client.messages()
        assert told.startswith("ERROR\n")
        assert "code:limit" in told


def test_a_connect_in_pieces_is_within_its_bound() -> None:
    """The bound counts what a message holds, however it is cut."""
    connect = b"CONNECT\naccept-version:1.2\n"
    with World(app()) as world:
        bound = world.broker.limits.pre_auth_bytes
        connect += (b"a:" + b"b" * 3_997 + b"\n") * 4 + b"\n\0"
        connect += b"\n" * (bound - len(connect))
        peer = world.upgrade()
        frame = client_frame(2, connect)
        for at in range(0, len(frame), 97):
            peer.feed(frame[at : at + 97])
        assert peer.frame("CONNECTED")
        other = world.upgrade()
        other.feed(client_frame(2, connect + b"\n"))
        assert other.error().headers["code"] == "limit"


# The time of what is not whole


def drip_frame(peer: Peer) -> Callable[[], None]:
    peer.feed(begun(READ - 1, 0x82)[:1])
    rest = iter((b"\xfe\xff\xff" + bytes(4)) + bytes(READ))
    return lambda: peer.feed(bytes((next(rest),)))


def drip_fragments(peer: Peer) -> Callable[[], None]:
    peer.feed(client_frame(2, b"\n", fin=False))
    return lambda: peer.feed(client_frame(0, b"\n", fin=False))


def drip_pings(peer: Peer) -> Callable[[], None]:
    """A PING may stand inside of a fragmented message, and is no end of it."""
    peer.feed(client_frame(2, b"\n", fin=False))

    def more() -> None:
        peer.feed(client_frame(9, b"") + client_frame(9, b"")[:3])
        peer.feed(client_frame(9, b"")[3:])

    return more


@pytest.mark.parametrize("drip", [drip_frame, drip_fragments, drip_pings])
def test_what_is_never_finished_ends_by_frame_timeout(
    drip: Callable[[Peer], Callable[[], None]],
) -> None:
    with World(app()) as world:
        peer = world.connect()
        more = drip(peer)
        for _ in range(29):
            world.advance(1)
            more()
        assert peer.closed is None
        world.advance(1.1)
        assert peer.error().headers["code"] == "frame-timeout"
        assert peer.closed == 1008


def test_who_finishes_one_frame_after_the_other_has_time_for_each() -> None:
    """Every read ends in the middle of a frame, but never of the same one."""
    for frame in (client_frame(2, b"\n"), client_frame(9, b"x"), client_frame(2, b"")):
        with World(app()) as world:
            peer = world.connect()
            peer.feed(frame[:3])
            for _ in range(10):
                world.advance(20)
                peer.feed(frame[3:] + frame[:3])
            assert peer.closed is None


def test_the_time_of_a_frame_stands_still_while_nobody_reads_it() -> None:
    application = app(inbox=1_000, max_message_size=READ)

    @application.message_mapping("/slow")
    def slow() -> None: ...

    with World(application) as world:
        peer = world.connect()
        world.hold_pool()
        peer.send_to("/app/slow")
        peer.send_to("/app/slow", b"x" * 2_000)
        peer.stream.paused = False  # what was in the socket
        peer.feed(client_frame(2, b"\n")[:3])
        world.advance(29)
        world.release_pool()
        world.advance(29)
        assert peer.closed is None
        world.advance(1.1)
        assert peer.error().headers["code"] == "frame-timeout"


# What it makes us say


def test_a_client_whose_frames_fail_writes_a_line_a_second(
    caplog: pytest.LogCaptureFixture,
) -> None:
    application = app()

    @application.message_mapping("/fail", inline=True)
    def fail(text: str) -> None:
        raise RuntimeError("x" * 200)

    with World(application, raise_errors=False) as world:
        peer = world.connect()
        peer.subscribe("/user/queue/errors")
        for _ in range(10):
            for destination in ("/app/fail", "/app/none", "/queue/denied", "/nowhere") * 10:
                peer.send_to(destination, b"text")
            world.advance(1)
        assert len(peer.frames()) == 400
    # A line for each of four kinds, and a sum.
    assert len(caplog.records) == 10 * 8
    told = [record.args[0] for record in caplog.records if "more" in record.message]  # type: ignore[index]
    assert sum(told) + len(caplog.records) - len(told) == 400  # type: ignore[arg-type]


def test_refused_requests_write_a_line_a_second(caplog: pytest.LogCaptureFixture) -> None:
    polled = StompApp("/ws", sockjs=True, allowed_origins=["https://shop.example"])
    with World(polled, polled.site()) as world:
        for _ in range(5):
            for _ in range(20):
                world.runtime.driver.feed(
                    world.open().link,
                    b"GET /ws HTTP/1.1\r\nHost: a\r\nOrigin: https://evil.example\r\n"
                    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
                )
                Polling(world, "unknown").send("x")
            world.advance(1)
        assert world.counters.origins_refused == 100
    assert "19 more like it were not logged" in caplog.text
    assert len(caplog.records) == 2 * 5


# What it makes us do


class Flood:
    """A crowd that sends as much as is read, and a host whose clock moves with each frame.

    Args:
        cost: Seconds that the handling of a frame takes.
        inline: The frames have a handler; else they are published to nobody.
        reads: Streams ask whether they may read, as sockets do; else bytes come in any case.
    """

    def __init__(self, cost: float, *, inline: bool, reads: bool, clients: int = 200) -> None:
        application = app()
        self.handled: list[str] = []
        self.cost = cost

        @application.message_mapping("/{who}", inline=True)
        def handle(who: str) -> None:
            self.handled.append(who)
            self.world.loop._now += cost

        self.world = World(application)
        self.inline = inline
        self.reads = reads
        self.peers = [self.world.connect() for _ in range(clients)]
        self.healthy = self.world.connect()
        self.turns = 0

    def frame(self, who: str) -> bytes:
        destination = f"/app/{who}" if self.inline else "/topic/nobody"
        return client_frame(2, f"SEND\ndestination:{destination}\nreceipt:{who}\n\nx\0".encode())

    def bring(self, peer: Peer, data: bytes) -> bool:
        """What a socket does when it is readable."""
        driver = self.world.runtime.driver
        if peer.stream.paused or (self.reads and not driver.may_read):
            return False
        driver.feed(peer.stream.link, data)
        return True

    def turn(self, more: bytes, healthy: bytes) -> bool:
        """One turn of a loop: everybody who may reads, the healthy client last; then what we have
        asked for. Whether the frame of the healthy client was taken.
        """
        for peer in self.peers:
            self.bring(peer, more)
        taken = bool(healthy) and self.bring(self.healthy, healthy)
        self.world.loop.call_soon(self.world.loop.stop)
        self.world.loop._run_once()  # type: ignore[attr-defined]
        return taken


FLOODS = {
    "handlers that cost": (0.0002, True, True),
    "handlers that cost much": (0.005, True, True),
    "bytes that cannot be refused": (0.0002, True, False),
    "publications": (0.0, False, True),
}


@pytest.mark.parametrize(
    "how",
    [pytest.param(how, marks=[pytest.mark.slow] * (how == "publications")) for how in FLOODS],
)
def test_a_healthy_client_is_heard_within_three_turns(how: str) -> None:
    cost, inline, reads = FLOODS[how]
    flood = Flood(cost, inline=inline, reads=reads)
    world, frame = flood.world, flood.frame("flood")
    more = frame * (READ // len(frame))
    waited: list[int] = []
    longest = 0.0
    for _ in range(15):
        wanted, left = 0, flood.frame("healthy")
        while True:
            began, frames = world.now, world.counters.frames_in
            if flood.turn(more, left):
                left = b""
            wanted += 1
            longest = max(longest, world.now - began)
            # Those of a turn, and those of one more that has begun behind it.
            assert world.counters.frames_in - frames <= 2 * 1_024
            if any(told.command == "RECEIPT" for told in flood.healthy.frames()):
                break
        waited.append(wanted)
    # At first nobody is known as one that floods, and each has a frame.
    assert waited[0] <= 3 + 200 * cost / 0.015
    assert max(waited[1:]) <= 3
    assert longest <= 0.025 + 16 * cost
    world.close()


# Who waits for whom


def knock(world: World) -> Peer:
    peer = world.upgrade()
    peer.send(b"CONNECT\naccept-version:1.2\nreceipt:r\n\n\0")
    return peer


def test_so_many_authenticators_may_wait_and_no_more() -> None:
    def authenticate(request: ConnectRequest) -> None: ...

    with World(StompApp("/ws", authenticator=authenticate)) as world:
        world.hold_pool()
        waiting = [knock(world) for _ in range(2 + 256)]
        refused = knock(world)
        error = refused.error()
        assert (error.headers["code"], error.headers["receipt-id"]) == ("limit", "r")
        assert refused.closed == 1008
        assert world.counters.connects_refused == 1
        waiting[0].eof()  # One that is gone waits no more.
        taken = knock(world)
        assert knock(world).error()
        world.release_pool()
        for peer in (*waiting[1:], taken, knock(world)):
            assert peer.frame("CONNECTED")


def test_coroutines_that_authenticate_wait_for_no_thread() -> None:
    async def authenticate(request: ConnectRequest) -> None:
        await asyncio.sleep(1)

    with World(StompApp("/ws", authenticator=authenticate)) as world:
        peers = [knock(world) for _ in range(300)]
        world.advance(1)
        assert all(peer.frame("CONNECTED") for peer in peers)


def test_a_slow_authenticator_is_not_the_fault_of_the_client() -> None:
    async def authenticate(request: ConnectRequest) -> None:
        await asyncio.sleep(1_000)

    with World(StompApp("/ws", authenticator=authenticate), raise_errors=False) as world:
        peer, silent = knock(world), world.upgrade()
        world.advance(10.1)
        assert peer.closed is None
        assert silent.error().headers["code"] == "connect-timeout"
        world.advance(20)
        assert peer.error().headers["code"] == "handler-timeout"
        assert peer.closed == 1011


def test_posts_behind_the_close_of_their_session_are_thrown_away() -> None:
    """The client has not asked for what ends its session yet; its posts are answered as ever."""
    polled = StompApp("/ws", sockjs=True)
    with World(polled, polled.site()) as world:
        client = Polling(world).receive()
        assert client.took() == ["o"]
        late = world.open()
        head = HEAD.format(method="POST", target="/ws/000/abc/xhr_send", version="1.1", length=100)
        client.feed(late, head.encode() + b'["')
        client.send("FOO\n\n\0")
        assert client.statuses() == [204]
        client.feed(late, b"x" * 90)
        assert client.wire.kept == 0
        client.feed(late, b"x" * 8)
        assert client.statuses(late) == [204]
        [told] = client.receive().messages()
        assert "code:unknown-command" in told

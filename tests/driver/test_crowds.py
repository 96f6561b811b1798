"""When a message waits beside the mailboxes, and what ends that."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stocksync_ws import Limits, OutboundMessage, StompApp, Topic
from stocksync_ws.broker.model.crowd import MOST
from stocksync_ws.driver.flush import BATCH
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.world import World
from tests.broker.kit import drafted
from tests.driver.turns import Turns

TOPIC = "/topic/a"


def made(**settings: object) -> World:
    app = StompApp("/ws", allowed_origins=["*"], client_send=["/topic/**"], **settings)  # type: ignore[arg-type]
    return World(app, silent=True)


def post(world: World, *bodies: bytes) -> None:
    """Publish without letting a turn pass."""
    for body in bodies:
        world.runtime.driver.publish(drafted(TOPIC, (), body))


def waits(world: World) -> bool:
    """A message lies beside the mailboxes."""
    return world.broker.outputs.crowd is not None


def queued(world: World) -> list[int]:
    """The entries in each mailbox."""
    return [len(session.mailbox.entries) for session in world.broker.sessions.values()]


def got(peer: Peer) -> list[tuple[str, bytes]]:
    return [(frame.command, frame.body) for frame in peer.frames()]


@pytest.fixture
def world() -> World:
    return made()


def subscribers(world: World, count: int = 2) -> list[Peer]:
    peers = [world.connect() for _ in range(count)]
    for peer in peers:
        peer.subscribe(TOPIC, id="s")
    return peers


def test_what_comes_alone_lies_in_no_mailbox_and_is_sent_with_the_turn(world: World) -> None:
    with world:
        peers = subscribers(world)
        post(world, b"1")
        assert waits(world)
        assert queued(world) == [0, 0]
        size = world.broker.office.total
        assert size > 0
        world.settle()
        assert [got(peer) for peer in peers] == [[("MESSAGE", b"1")]] * 2
        assert not waits(world)
        assert world.broker.office.total == 0


def test_a_second_one_puts_the_first_into_the_mailboxes(world: World) -> None:
    with world:
        peers = subscribers(world)
        post(world, b"1", b"2", b"3")
        assert not waits(world)
        assert queued(world) == [3, 3]
        world.settle()
        assert [got(peer) for peer in peers] == [[("MESSAGE", b"%d" % n) for n in (1, 2, 3)]] * 2


@pytest.mark.parametrize(("count", "beside"), [(1, True), (MOST, True), (MOST + 1, False)], ids=str)
def test_as_many_as_a_turn_flushes_may_wait(world: World, count: int, beside: bool) -> None:
    with world:
        peers = subscribers(world, count)
        post(world, b"1")
        assert waits(world) is beside
        world.settle()
        assert all(got(peer) == [("MESSAGE", b"1")] for peer in peers)


def acknowledges(world: World) -> None:
    world.connect().subscribe(TOPIC, ack="client")


def something_waits(world: World) -> None:
    world.connect().subscribe("/topic/b")
    world.runtime.driver.publish(drafted("/topic/b", (), b""))
    world.runtime.driver.publish(drafted("/topic/b", (), b""))


@pytest.mark.parametrize("also", [acknowledges, something_waits])
def test_where_anything_else_is_to_be_sent_nothing_waits_beside(
    world: World, also: Callable[[World], None]
) -> None:
    with world:
        [peer] = subscribers(world, 1)
        also(world)
        post(world, b"1")
        assert not waits(world)
        world.settle()
        assert got(peer) == [("MESSAGE", b"1")]


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({"limits": Limits(send_queue=100)}, 200),
        ({"destinations": {TOPIC: Topic(flush_delay=0.01)}}, 1),
    ],
    ids=["larger than a mailbox", "joined on purpose"],
)
def test_what_is_judged_in_its_mailbox_goes_there(settings: dict[str, object], size: int) -> None:
    with made(**settings) as world:
        [peer] = subscribers(world, 1)
        post(world, bytes(size))
        assert not waits(world)
        world.advance(0.02)
        assert got(peer) == [("MESSAGE", bytes(size))]


def test_a_message_of_a_client_goes_into_the_mailboxes(world: World) -> None:
    """The step goes on behind it, with the RECEIPT."""
    with world:
        [peer] = subscribers(world, 1)
        peer.command("SEND", {"destination": TOPIC, "receipt": "r"}, b"1")
        world.settle()
        assert got(peer) == [("MESSAGE", b"1"), ("RECEIPT", b"")]


@pytest.mark.parametrize(
    ("command", "headers"),
    [("SEND", {"destination": "/topic/none"}), ("UNSUBSCRIBE", {"id": "s"})],
    ids=["another message", "the end of its subscription"],
)
def test_what_follows_in_another_step_is_behind_it(
    world: World, command: str, headers: dict[str, str]
) -> None:
    with world:
        peer, other = subscribers(world)
        post(world, b"1")
        peer.command(command, {**headers, "receipt": "r"})
        world.settle()
        assert got(peer) == [("MESSAGE", b"1"), ("RECEIPT", b"")]
        assert got(other) == [("MESSAGE", b"1")]


def test_what_an_inline_handler_publishes_is_sent_before_its_receipt() -> None:
    app = StompApp("/ws", allowed_origins=["*"])

    @app.message_mapping("/do", inline=True)
    def do() -> None:
        app.template.send(TOPIC, b"1")

    with World(app, silent=True) as world:
        [peer] = subscribers(world, 1)
        peer.command("SEND", {"destination": "/app/do", "receipt": "r"})
        world.settle()
        assert got(peer) == [("MESSAGE", b"1"), ("RECEIPT", b"")]


def test_too_much_for_all_mailboxes_is_acted_on_in_its_own_step() -> None:
    with made(limits=Limits(max_total_queued=20_000, send_queue=20_000)) as world:
        slow, _ = subscribers(world)
        slow.stream.window = 0
        before = 0
        while not world.counters.slow_consumers and before < 9:
            before = before + 1
            world.settle()
            post(world, bytes(6_000))
        assert before == 5, "one in the transport, three in the mailbox"
        assert not waits(world)


def test_a_stream_that_takes_nothing_has_it_in_its_mailbox(world: World) -> None:
    with world:
        slow, peer = subscribers(world)
        slow.stream.window = 0
        for body in (b"1", b"2", b"3"):
            post(world, body)
            assert waits(world)
            world.settle()
        assert [body for _, body in got(peer)] == [b"1", b"2", b"3"]
        slow.stream.open_window(None)
        world.settle()
        assert [body for _, body in got(slow)] == [b"1", b"2", b"3"]


def test_what_an_interceptor_publishes_behind_a_message_does_not_wait_beside() -> None:
    """The step goes on: each of them is one of several."""
    app = StompApp("/ws", allowed_origins=["*"])

    @app.outbound_interceptor()
    def more(message: OutboundMessage) -> None:
        if message.destination == "/topic/none":
            app.template.send(TOPIC, b"1")
            app.template.send(TOPIC, b"2")

    with World(app, silent=True) as world:
        [peer] = subscribers(world, 1)
        world.runtime.driver.publish(drafted("/topic/none", (), b""))
        assert not waits(world)
        world.settle()
        assert got(peer) == [("MESSAGE", b"1"), ("MESSAGE", b"2")]
        assert world.broker.office.total == 0


def test_mailboxes_that_wait_from_an_earlier_turn_are_flushed_before(world: World) -> None:
    with world:
        [peer] = subscribers(world, 1)
        others = [world.connect() for _ in range(2 * BATCH + 10)]
        for other in others:
            other.subscribe("/topic/b", id="s")
        turns = Turns(world)
        for each in (peer, *others):
            each.stream.writes = 0
        world.runtime.driver.publish(drafted("/topic/b", (), b""))
        written = []
        for _ in range(3):
            turns.pass_one()
            if not written:
                post(world, b"1")
                assert waits(world)
            written.append((sum(each.stream.writes for each in others), peer.stream.writes))
        assert written == [(BATCH, 0), (2 * BATCH, 0), (2 * BATCH + 10, 1)]

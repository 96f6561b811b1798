"""The way out: one flush a turn, fair shares, the lane and what may go wrong in it."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from stocksync_ws import StompApp
from stocksync_ws.broker.model.session import Session
from stocksync_ws.broker.model.state import State
from stocksync_ws.driver.flush import BATCH, ROOM
from stocksync_ws.testing.peer import PING, Peer, client_frame
from stocksync_ws.testing.world import World
from tests.broker.kit import drafted
from tests.driver.turns import Turns

TOPIC = "/topic/a"


def subscribers(world: World, count: int) -> list[Peer]:
    peers = [world.connect() for _ in range(count)]
    for peer in peers:
        peer.subscribe(TOPIC)
        peer.stream.writes = 0
    return peers


def session_of(peer: Peer) -> Session:
    wire = peer.stream.link.wire
    assert wire is not None
    session: Session = wire.session
    return session


def post(world: World, *bodies: bytes) -> None:
    """Publish without letting a turn pass."""
    for body in bodies:
        world.runtime.driver.publish(drafted(TOPIC, (), body))


def bodies(peer: Peer) -> list[bytes]:
    return [frame.body for frame in peer.frames()]


# Once a turn


@pytest.mark.parametrize("count", [1, 2, 16, 100])
def test_however_many_messages_a_session_is_written_to_once_a_turn(
    world: World, count: int
) -> None:
    peers = subscribers(world, 5)
    sent = [b"%d" % number for number in range(count)]
    post(world, *sent)
    world.settle()
    assert [peer.stream.writes for peer in peers] == [1] * 5
    assert [bodies(peer) for peer in peers] == [sent] * 5


def test_sixteen_publishers_cost_no_more_writes_than_one_with_sixteen_in_flight(
    world: World,
) -> None:
    peers = subscribers(world, 20)
    publishers = [world.connect() for _ in range(16)]

    def writes(senders: list[Peer]) -> int:
        for peer in peers:
            peer.stream.writes = 0
        for sender in senders:
            data = b"SEND\ndestination:/topic/a\n\nx\0"
            world.runtime.driver.feed(sender.stream.link, client_frame(1, data))
        world.settle()
        return sum(peer.stream.writes for peer in peers)

    assert writes(publishers[:1] * 16) == 20
    assert writes(publishers) == 20
    assert all(len(peer.frames()) == 32 for peer in peers)


def test_nothing_is_written_within_the_step(world: World) -> None:
    peers = subscribers(world, 2)
    post(world, b"x")
    assert [peer.stream.writes for peer in peers] == [0, 0]


def test_at_most_256_sessions_a_turn_and_the_rest_keep_their_place(world: World) -> None:
    peers = subscribers(world, 2 * BATCH + 10)
    turns = Turns(world)
    post(world, b"first")
    turns.pass_one()
    done = [peer.stream.writes for peer in peers]
    assert sum(done) == BATCH == 256
    # Those that wait go before those that have become dirty again.
    post(world, b"second")
    turns.pass_one()
    turns.pass_one()
    late = [peer for peer, early in zip(peers, done, strict=True) if not early]
    assert all(peer.stream.writes == 1 for peer in late)
    while not turns.over:
        turns.pass_one()
    assert all(bodies(peer) == [b"first", b"second"] for peer in peers)


def test_a_transport_gets_at_most_64_kib_a_turn(world: World) -> None:
    (peer,) = subscribers(world, 1)
    turns = Turns(world)
    sent = [bytes([65 + number]) * 30_000 for number in range(6)]
    post(world, *sent)
    sizes: list[int] = []
    before = len(peer.stream.received)
    while not turns.over:
        turns.pass_one()
        sizes.append(len(peer.stream.received) - before)
        before = len(peer.stream.received)
    assert [size for size in sizes if size] == [sizes[0]] * 3
    assert 60_000 < sizes[0] <= ROOM == 65_536
    assert bodies(peer) == sent


def test_one_message_larger_than_that_goes_out_alone(world: World) -> None:
    (peer,) = subscribers(world, 1)
    post(world, b"small", bytes(200_000), b"behind")
    world.settle()
    assert peer.stream.writes == 3
    assert [len(body) for body in bodies(peer)] == [5, 200_000, 6]


def test_a_transport_that_holds_bytes_is_left_alone_until_it_has_written_them(
    world: World,
) -> None:
    (peer,) = subscribers(world, 1)
    peer.stream.window = 10
    post(world, b"one", b"two")
    world.settle()
    post(world, b"three")
    world.settle()
    assert peer.stream.writes == 2  # what it did not take was tried once more
    assert session_of(peer).mailbox
    peer.stream.open_window(None)
    world.settle()
    assert bodies(peer) == [b"one", b"two", b"three"]


def test_the_lane_never_overtakes_what_the_general_way_left_unsent(world: World) -> None:
    (peer,) = subscribers(world, 1)
    peer.stream.window = 10
    post(world, b"one", b"two")
    world.settle()
    # The kernel has room again, and the stream has not been told yet.
    peer.stream.window = None
    post(world, b"three")
    world.settle()
    peer.stream.open_window(None)
    world.settle()
    assert bodies(peer) == [b"one", b"two", b"three"]


# The lane


def test_a_session_at_rest_has_a_lane(world: World) -> None:
    (peer,) = subscribers(world, 1)
    assert session_of(peer).mailbox._send == peer.stream.send


def test_the_lane_is_taken_for_one_message_and_costs_no_general_way(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = subscribers(world, 3)
    monkeypatch.setattr(type(peers[0].stream), "write", lambda *_: pytest.fail("the general way"))
    post(world, b"x")
    world.settle()
    assert [bodies(peer) for peer in peers] == [[b"x"]] * 3
    assert world.broker.office.total == 0
    assert {session_of(peer).mailbox.queued for peer in peers} == {0}


@pytest.mark.parametrize("window", [0, 1, 40])
def test_a_lane_that_takes_less_than_the_whole_loses_nothing(world: World, window: int) -> None:
    peers = subscribers(world, 3)
    peers[1].stream.window = window
    post(world, b"first")
    world.settle()
    session = session_of(peers[1])
    assert not session.mailbox.is_open
    assert session.mailbox.unsent == peers[1].stream.unsent > 0
    assert [bodies(peers[0]), bodies(peers[2])] == [[b"first"]] * 2
    post(world, b"second")
    world.settle()
    peers[1].stream.open_window(None)
    world.settle()
    assert bodies(peers[1]) == [b"first", b"second"]
    assert session.mailbox.is_open
    assert world.broker.office.total == 0


@pytest.mark.parametrize("error", [BlockingIOError(), InterruptedError()])
def test_a_lane_that_would_block_goes_the_general_way(world: World, error: OSError) -> None:
    peers = subscribers(world, 3)

    def block(chunk: Any) -> int:
        raise error

    session_of(peers[1]).mailbox.open(block)
    post(world, b"x")
    world.settle()
    assert [bodies(peer) for peer in peers] == [[b"x"]] * 3


def test_an_error_in_the_lane_ends_its_session_and_the_batch_goes_on(world: World) -> None:
    peers = subscribers(world, 5)
    sessions = [session_of(peer) for peer in peers]

    def fail(chunk: Any) -> int:
        raise ConnectionResetError(errno.ECONNRESET, "reset")

    for at in (1, 3):
        sessions[at].mailbox.open(fail)
    post(world, b"x")
    world.settle()
    assert [session.state is State.CLOSED for session in sessions] == [0, 1, 0, 1, 0]
    assert [peer.stream.aborted for peer in peers] == [0, 1, 0, 1, 0]
    assert [bodies(peers[place]) for place in (0, 2, 4)] == [[b"x"]] * 3
    assert world.broker.office.total == 0


def test_a_bug_while_flushing_ends_its_session_and_the_batch_goes_on(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    peers = subscribers(world, 3)
    for peer in peers:
        peer.answers_close = False

    def bug(chunk: Any) -> int:
        raise ZeroDivisionError

    session_of(peers[1]).mailbox.open(bug)
    post(world, b"x")
    world.settle()
    assert [bodies(peers[0]), bodies(peers[2])] == [[b"x"]] * 2
    assert peers[1].closed == 1011
    world.expect_faults(internal_errors=1)
    assert len([each for each in caplog.records if each.exc_info]) == 1


@pytest.mark.parametrize("entries", [1, 2])
def test_a_session_that_has_ended_before_its_flush_keeps_nobody_waiting(
    world: World, entries: int
) -> None:
    first, second = subscribers(world, 2)
    post(world, *[b"x"] * entries)
    world.runtime.driver.ended(first.stream.link)
    world.settle()
    assert bodies(second) == [b"x"] * entries


def test_a_bug_on_the_general_way_ends_its_session_and_the_batch_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = subscribers(world, 3)
    sessions = [session_of(peer) for peer in peers]
    sessions[1].mailbox.block()
    monkeypatch.setattr(peers[1].stream, "write", lambda chunks: 1 // 0)
    post(world, b"x")
    world.settle()
    assert [bodies(peers[0]), bodies(peers[2])] == [[b"x"]] * 2
    assert sessions[1].state is not State.CONNECTED
    world.expect_faults(internal_errors=2)  # the message, and the Close behind it


def test_the_lane_never_overtakes_a_pong_that_is_still_unsent(world: World) -> None:
    (peer,) = subscribers(world, 1)
    peer.stream.window = 1
    peer.feed(client_frame(PING, b"hello"))
    assert peer.stream.unsent
    # The kernel has room again, and the stream has not been told yet.
    peer.stream.window = None
    post(world, b"x")
    world.settle()
    peer.stream.open_window(None)
    world.settle()
    assert peer.pongs == [b"hello"]
    assert bodies(peer) == [b"x"]


def test_a_pong_and_what_waits_in_the_mailbox_leave_in_one_write(world: World) -> None:
    (peer,) = subscribers(world, 1)
    peer.stream.window = 0
    post(world, b"1")
    world.settle()
    assert peer.stream.unsent
    peer.feed(client_frame(PING, b"hello"))
    post(world, b"2")
    world.settle()
    writes = peer.stream.writes
    peer.stream.open_window(None)
    world.settle()
    assert peer.stream.writes == writes + 2  # what was unsent, and everything behind it
    assert bodies(peer) == [b"1", b"2"]
    assert peer.pongs == [b"hello"]


def test_a_closing_session_has_no_lane(world: World) -> None:
    (peer,) = subscribers(world, 1)
    peer.answers_close = False
    peer.send("NONSENSE\n\n\0")
    world.settle()
    session = session_of(peer)
    assert session.state is State.CLOSING
    assert not session.mailbox.is_open


def test_an_error_leaves_behind_messages_that_had_been_queued(app: StompApp, world: World) -> None:
    (peer,) = subscribers(world, 1)
    peer.stream.window = 0
    app.template.send(TOPIC, b"before")
    world.settle()
    peer.send("NONSENSE\n\n\0")
    peer.stream.open_window(None)
    world.settle()
    assert peer.message().body == b"before"
    assert peer.error().headers["code"] == "unknown-command"
    assert peer.closed == 1002

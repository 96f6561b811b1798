"""The lane: a mailbox goes straight to the stream, while the plain case holds; one entry by the
bare `send`, several by one write.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stocksync_ws import StompApp
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.world import World
from stocksync_ws.types import Chunk

Start = Callable[..., World]


class Lane:
    """A subscriber whose stream writes down what came by its bare `send`."""

    def __init__(self, start: Start) -> None:
        self.app = StompApp("/ws", allowed_origins=["*"])
        self.world = start(self.app)
        self.peer: Peer = self.world.upgrade()
        self.sent: list[Chunk] = []
        send = self.peer.stream.send
        assert send is not None

        def watch(chunk: Chunk) -> int:
            self.sent.append(chunk)
            return send(chunk)

        self.peer.stream.send = watch
        self.peer.connect()
        self.peer.subscribe("/topic/a")
        self.sent.clear()
        [self.session] = self.world.broker.sessions.values()

    def publish(self, *bodies: str) -> None:
        for body in bodies:
            self.app.template.convert_and_send("/topic/a", body)
        self.world.settle()


@pytest.fixture
def lane(start: Start) -> Lane:
    return Lane(start)


def test_one_entry_goes_through_it_as_it_is(lane: Lane) -> None:
    lane.publish("1")
    assert len(lane.sent) == 1
    assert lane.sent[0].endswith(b"\n\n1\0")
    assert lane.session.mailbox.queued == lane.world.broker.office.total == 0


@pytest.mark.parametrize("joins", [True, False])
def test_several_go_in_one_write_and_the_machine_is_not_asked(
    lane: Lane, monkeypatch: pytest.MonkeyPatch, joins: bool
) -> None:
    lane.session.mailbox.joins = joins
    writes = lane.peer.stream.writes
    for name in ("take_output", "writable"):
        monkeypatch.setattr(type(lane.world.broker), name, lambda *_: pytest.fail("it was asked"))
    lane.publish("1", "2", "3")
    assert len(lane.sent) == joins
    assert lane.session.mailbox.is_open
    assert lane.session.mailbox.queued == lane.world.broker.office.total == 0
    assert lane.peer.stream.writes == writes + 1
    assert [frame.body for frame in lane.peer.frames()] == [b"1", b"2", b"3"]


@pytest.mark.parametrize("window", [0, 1, 50])
def test_what_it_does_not_take_goes_the_general_way_in_order(lane: Lane, window: int) -> None:
    lane.peer.stream.window = window
    lane.publish("1")
    assert not lane.session.mailbox.is_open
    assert lane.world.broker.office.total == 0
    lane.publish("2")
    lane.publish("3")
    assert len(lane.sent) == 1
    lane.peer.stream.open_window(None)
    lane.world.settle()
    assert [frame.body for frame in lane.peer.frames()] == [b"1", b"2", b"3"]
    lane.publish("4")
    assert len(lane.sent) == 2
    lane.peer.message()


@pytest.mark.parametrize("joins", [True, False])
@pytest.mark.parametrize("window", [0, 1, 150])
def test_of_several_what_is_not_taken_closes_it_until_it_is_written(
    lane: Lane, window: int, joins: bool
) -> None:
    mailbox = lane.session.mailbox
    mailbox.joins = joins
    lane.peer.stream.window = window
    lane.publish("1", "2")
    assert not mailbox.is_open
    assert mailbox.unsent == lane.peer.stream.unsent > 0
    assert not mailbox.entries
    lane.publish("3")
    assert len(lane.sent) == joins
    assert len(mailbox.entries) == 1
    lane.peer.stream.open_window(None)
    lane.world.settle()
    assert [frame.body for frame in lane.peer.frames()] == [b"1", b"2", b"3"]
    assert mailbox.is_open


def test_a_bug_in_a_write_of_several_ends_its_session_and_no_other(start: Start) -> None:
    lane = Lane(lambda app: World(app, silent=True))
    other = lane.world.connect()
    other.subscribe("/topic/a")
    stream = lane.peer.stream
    lane.session.mailbox.joins = False
    write = stream.write

    def bug(chunks: list[Chunk]) -> int:
        stream.write = write  # type: ignore[method-assign]
        raise ZeroDivisionError

    stream.write = bug  # type: ignore[method-assign]
    try:
        lane.publish("1", "2")
        lane.world.expect_faults(internal_errors=1)
        assert lane.peer.closed == 1011
        assert [frame.body for frame in other.frames()] == [b"1", b"2"]
        assert lane.world.broker.office.total == 0
    finally:
        lane.world.close()


@pytest.mark.parametrize("published", ["1", "12"])
def test_a_stream_that_is_gone_ends_its_session_and_no_other(lane: Lane, published: str) -> None:
    other = lane.world.connect()
    other.subscribe("/topic/a")

    def gone(chunk: Chunk) -> int:
        raise ConnectionResetError

    lane.session.mailbox.open(gone, joins=True)
    lane.publish(*published)
    assert lane.session.id not in lane.world.broker.sessions
    assert [frame.body.decode() for frame in other.frames()] == list(published)
    assert lane.world.broker.office.total == 0


@pytest.mark.parametrize("published", ["1", "12"])
def test_a_bug_in_it_ends_its_session_and_no_other(start: Start, published: str) -> None:
    lane = Lane(lambda app: World(app, silent=True))
    other = lane.world.connect()
    other.subscribe("/topic/a")

    def bug(chunk: Chunk) -> int:
        raise ZeroDivisionError

    lane.session.mailbox.open(bug, joins=True)
    try:
        lane.publish(*published)
        lane.world.expect_faults(internal_errors=1)
        assert lane.peer.closed == 1011
        assert [frame.body.decode() for frame in other.frames()] == list(published)
        assert lane.world.broker.office.total == 0
    finally:
        lane.world.close()


def test_a_closing_session_has_none(lane: Lane) -> None:
    lane.publish("1")
    assert lane.session.mailbox.is_open
    lane.peer.answers_close = False
    lane.peer.command("DISCONNECT", {})
    assert not lane.session.mailbox.is_open

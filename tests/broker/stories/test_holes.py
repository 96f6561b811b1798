"""Three holes that a first version of such a server has, and two more."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from stocksync_ws import StompApp
from stocksync_ws.testing.peer import client_frame
from stocksync_ws.testing.world import World

Start = Callable[..., World]


def test_a_close_whose_peer_reads_nothing_ends_by_the_abort_timer(start: Start) -> None:
    app = StompApp("/ws", allowed_origins=["*"])
    world = start(app)
    peer = world.connect()
    peer.subscribe("/topic/a")
    peer.stream.window = 0
    app.template.convert_and_send("/topic/a", "x")
    world.settle()
    peer.command("DISCONNECT", {"receipt": "r"})
    world.advance(4.9)
    assert not peer.stream.aborted
    world.advance(0.2)
    assert peer.stream.aborted
    assert world.counters.aborts == 1
    assert not world.broker.sessions


def test_a_slow_consumer_that_reads_nothing_is_aborted_too(start: Start) -> None:
    app = StompApp("/ws", allowed_origins=["*"])
    world = start(app)
    peer = world.connect()
    peer.subscribe("/topic/a")
    peer.stream.window = 0
    app.template.convert_and_send("/topic/a", "x")
    world.advance(10.1)
    assert world.counters.slow_consumers == 1
    world.advance(5.1)
    assert peer.stream.aborted


def test_a_peer_that_closes_first_and_reads_nothing_is_aborted(start: Start) -> None:
    """Our answer to its Close waits behind what it does not take: that must end too."""
    app = StompApp("/ws", allowed_origins=["*"])
    world = start(app)
    peer = world.connect()
    peer.subscribe("/topic/a")
    peer.stream.window = 0
    app.template.convert_and_send("/topic/a", "x")
    world.settle()
    peer.close(1000)
    assert not world.broker.sessions
    world.advance(4.9)
    assert not peer.stream.aborted
    world.advance(0.2)
    assert peer.stream.aborted
    assert world.runtime.driver.connections == 0


def test_a_request_that_is_refused_while_nothing_is_read_is_aborted(start: Start) -> None:
    world = start()
    stream = world.open()
    stream.window = 0
    world.runtime.driver.feed(stream.link, b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n")
    world.runtime.driver.feed(stream.link, b"nonsense\r\n\r\n")
    world.advance(20.1)
    assert stream.aborted


def test_a_flood_of_pings_from_a_peer_that_reads_nothing_is_bounded(start: Start) -> None:
    world = start()
    peer = world.connect()
    peer.stream.window = 0
    for n in range(2_000):
        world.runtime.driver.feed(peer.stream.link, client_frame(9, b"%0125d" % n))
        assert peer.stream.unsent <= 65_536
    world.settle()
    assert peer.stream.unsent <= 65_536
    assert world.broker.office.total <= 65_536
    peer.stream.open_window(None)
    world.settle()
    assert peer.pongs[-1] == b"%0125d" % 1_999
    assert len(peer.pongs) < 10


def test_a_flood_of_requests_from_a_peer_that_reads_nothing_is_bounded(start: Start) -> None:
    world = start()
    stream = world.open()
    stream.window = 0
    request = b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n"
    for _ in range(200):
        world.runtime.driver.feed(stream.link, request * 50)
    assert stream.unsent < 200_000
    world.advance(60)
    assert stream.aborted


class Stuck:
    """A deadline that does not move when it is woken."""

    def __init__(self, deadline: float) -> None:
        self.deadline: float | None = deadline
        self.armed = 0
        self.armed_at = 0.0

    def wake(self, now: float) -> None:
        """Leaves the deadline where it is."""


def test_a_deadline_that_does_not_move_cannot_loop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with World(StompApp("/ws")) as world:
        driver = world.runtime.driver
        thing = Stuck(world.now + 1)
        driver._timers.arm(thing)
        driver._arm()
        world.advance(5)
        world.expect_faults(stuck_deadlines=5)
        assert all(record.levelno == logging.ERROR for record in caplog.records)
        assert "did not move after its wake: Stuck" in caplog.text
        thing.deadline = None

"""COMMIT where several workers share destinations: the engine takes all of it in one step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from stocksync_ws import Queue, StompApp
from stocksync_ws.backplane import BackplaneSettings
from stocksync_ws.testing.backplane import MemoryBackplane
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.world import World

ONE, OTHER = "/topic/a", "/topic/b"


class Pair:
    """Two workers, and a client of each that reads what is shared."""

    def __init__(self, stack: ExitStack, settings: BackplaneSettings | None = None) -> None:
        self.engine = MemoryBackplane(settings)
        self.apps = [
            StompApp(
                "/ws",
                allowed_origins=["*"],
                backplane=self.engine,
                client_send=["/topic/**", "/queue/**"],
                client_subscribe=["/topic/**", "/queue/**"],
                destinations={"/queue/**": Queue(local=True)},
            )
            for _ in range(2)
        ]
        self.worlds = [stack.enter_context(World(app, raise_errors=False)) for app in self.apps]
        self.settle()
        self.sender, self.reader = (world.connect() for world in self.worlds)
        for destination in (ONE, OTHER):
            self.reader.subscribe(destination)
        self.settle()

    def settle(self) -> None:
        for _ in range(3):
            for world in self.worlds:
                world.settle()

    def bodies(self, peer: Peer) -> list[bytes]:
        self.settle()
        return [frame.body for frame in peer.frames() if frame.command == "MESSAGE"]

    def transact(self, *sends: tuple[str, str], **headers: str) -> None:
        self.sender.command("BEGIN", {"transaction": "t"})
        for number, (destination, body) in enumerate(sends):
            self.sender.send_to(destination, body, transaction="t", receipt=f"r{number}", **headers)
        self.sender.command("COMMIT", {"transaction": "t", "receipt": "done"})

    def receipts(self) -> list[str]:
        frames = self.sender.frames()
        return [frame.headers["receipt-id"] for frame in frames if frame.command == "RECEIPT"]


@pytest.fixture
def pair() -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(stack)


def one_partition(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    for world in pair.worlds:
        workers = world.broker._sessions.workers
        assert workers is not None
        workers._partition = lambda channel: 0


def test_all_of_it_arrives_everywhere_and_the_receipts_leave_in_order(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_partition(pair, monkeypatch)
    pair.transact((ONE, "1"), (OTHER, "2"), (ONE, "3"))
    assert pair.bodies(pair.reader) == [b"1", b"2", b"3"]
    assert pair.receipts() == ["r0", "r1", "r2", "done"]


def test_destinations_of_two_partitions_are_refused_and_nothing_is_sent(pair: Pair) -> None:
    assert pair.engine.partition(ONE) != pair.engine.partition(OTHER)
    pair.transact((ONE, "1"), (OTHER, "2"))
    pair.settle()
    error = pair.sender.frame("ERROR")
    assert error.headers["code"] == "unsupported"
    assert b"one partition" in error.body
    assert pair.bodies(pair.reader) == []


def test_what_is_local_follows_what_is_shared(pair: Pair) -> None:
    own = pair.worlds[0].connect()
    own.subscribe("/queue/jobs")
    pair.transact((ONE, "shared"), ("/queue/jobs", "local"))
    assert pair.bodies(pair.reader) == [b"shared"]
    assert pair.bodies(own) == [b"local"]
    assert pair.receipts() == ["r0", "r1", "done"]


def test_an_engine_that_is_away_undoes_all_of_it(pair: Pair) -> None:
    pair.sender.subscribe("/user/queue/errors")
    own = pair.worlds[0].connect()
    own.subscribe("/queue/jobs")
    pair.engine.disconnect()
    pair.transact((ONE, "shared"), ("/queue/jobs", "local"))
    pair.settle()
    assert pair.receipts() == []
    pair.worlds[0].advance(5.1)
    told = pair.sender.message()
    assert told.json()["code"] == "backplane-unavailable"
    pair.engine.reconnect()
    assert pair.bodies(pair.reader) == []
    assert pair.bodies(own) == []
    pair.sender.send_to(ONE, "later", receipt="r")
    assert pair.bodies(pair.reader) == [b"later"]
    assert pair.receipts() == ["r"]


def test_one_that_was_sent_and_not_answered_is_uncertain(pair: Pair) -> None:
    pair.sender.subscribe("/user/queue/errors")
    pair.engine.moved = lambda link: None  # type: ignore[method-assign]
    pair.transact((ONE, "1"))
    pair.worlds[0].advance(5.1)
    assert pair.sender.message().json()["code"] == "publish-uncertain"
    assert pair.worlds[0].counters.backplane_uncertain == 1


def test_an_engine_that_refuses_it_is_told_by_its_code(pair: Pair) -> None:
    pair.engine.engine.refuses = "out of memory"
    pair.transact((ONE, "1"))
    pair.settle()
    error = pair.sender.frame("ERROR")
    assert error.headers["code"] == "backplane-unavailable"
    assert b"memory" not in error.body


def test_too_much_in_flight_undoes_it_at_once() -> None:
    with ExitStack() as stack:
        pair = Pair(stack, BackplaneSettings(max_in_flight=1))
        pair.engine.disconnect()
        pair.apps[0].template.send(ONE, b"0")
        pair.transact((ONE, "1"))
        assert pair.sender.frame("ERROR").headers["code"] == "backplane-unavailable"
        assert pair.worlds[0].counters.backplane_refused == 1
        pair.engine.reconnect()
        assert pair.bodies(pair.reader) == [b"0"]


def test_a_session_that_ends_meanwhile_ends_its_transaction(pair: Pair) -> None:
    pair.engine.moved = lambda link: None  # type: ignore[method-assign]
    pair.transact((ONE, "1"))
    pair.sender.eof()
    pair.worlds[0].advance(6)
    assert pair.worlds[0].counters.internal_errors == 0
    assert len(pair.worlds[0].broker.sessions) == 0


def test_an_idempotency_key_is_refused_when_it_comes(pair: Pair) -> None:
    pair.sender.command("BEGIN", {"transaction": "t"})
    pair.sender.send_to(ONE, "1", transaction="t", idempotency_key="k")
    error = pair.sender.frame("ERROR")
    assert error.headers["code"] == "unsupported"
    assert b"idempotency-key" in error.body

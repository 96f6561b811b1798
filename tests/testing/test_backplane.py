"""The engine in memory, for tests of applications with several workers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest

from stocksync_ws import StompApp, Stream
from stocksync_ws.backplane import (
    Append,
    Appended,
    AppendOutcome,
    BackplaneEvent,
    BackplaneSettings,
    Connected,
    Item,
    Keep,
    Lost,
    Read,
    Subscribe,
)
from stocksync_ws.position import Position
from stocksync_ws.testing.backplane import MemoryBackplane, MemoryEngine, MemoryLink
from stocksync_ws.testing.clock import VirtualLoop
from stocksync_ws.testing.world import World

KEEP = Keep(100, 60.0)


def shop(engine: MemoryBackplane) -> StompApp:
    return StompApp(
        "/ws",
        allowed_origins=["*"],
        backplane=engine,
        client_send=["/topic/**"],
        destinations={"/topic/kept": Stream()},
    )


def put(
    engine: MemoryEngine, number: int, body: bytes = b"x", keep: Keep = KEEP, at: float = 0.0
) -> Appended:
    return engine.append("w", Append(number, (Item("a", body, keep, None),)), at)[0]


def kept(engine: MemoryEngine, start: int | None = 1) -> list[int]:
    return [position.offset for position, _ in engine.read(Read("a", 1, start, None)).entries]


# Several Worlds


def test_worlds_over_one_engine_publish_as_several_workers_would() -> None:
    engine = MemoryBackplane()
    with World(shop(engine)) as one, World(shop(engine)) as two:
        peer = two.connect()
        peer.subscribe("/topic/inventory")
        app = one.runtime.config
        assert app.backplane is engine
        sender = one.connect()
        sender.send_to("/topic/inventory", "7", receipt="r")
        one.settle()
        assert peer.message().body == b"7"
        assert sender.frame("RECEIPT").headers["receipt-id"] == "r"


def test_a_world_that_has_ended_is_no_worker_any_more() -> None:
    engine = MemoryBackplane()
    with World(shop(engine)) as one:
        with World(shop(engine)):
            assert len(engine.links) == 2
        assert len(engine.links) == 1
        one.settle()
    assert not engine.links


def test_workers_wait_for_an_engine_that_is_away_and_have_it_at_once_when_it_is_back() -> None:
    engine = MemoryBackplane()
    engine.disconnect()
    with World(shop(engine)) as world:
        peer = world.connect()
        peer.command("SUBSCRIBE", {"id": "s", "destination": "/topic/a", "receipt": "r"})
        world.advance(1)
        peer.nothing()
        engine.reconnect()
        engine.reconnect()  # who is connected stays so
        world.settle()
        assert peer.frame("RECEIPT").headers["receipt-id"] == "r"


@pytest.mark.parametrize(("keeps", "recovered"), [(True, "true"), (False, "false")])
def test_an_engine_comes_back_with_what_it_had_or_with_nothing(keeps: bool, recovered: str) -> None:
    engine = MemoryBackplane()
    with World(shop(engine)) as world:
        peer = world.connect()
        peer.subscribe("/topic/kept", "s")
        peer.send_to("/topic/kept", "x")
        last = peer.message().headers["message-id"]
        engine.restart(engine.engine.snapshot() if keeps else None)
        world.advance(30)
        other = world.connect()
        fields = {"id": "s", "destination": "/topic/kept", "last-message-id": last, "receipt": "r"}
        other.command("SUBSCRIBE", fields)
        world.settle()
        assert other.frame("RECEIPT").headers["recovered"] == recovered


def test_it_has_the_settings_that_it_is_given_and_channels_have_partitions() -> None:
    settings = BackplaneSettings(publish_timeout=1)
    engine = MemoryBackplane(settings)
    assert engine.config is settings
    assert MemoryBackplane().config == BackplaneSettings()
    assert 0 <= engine.partition("/topic/a") < 64
    assert engine.partition("/topic/a") == engine.partition("/topic/a")
    assert engine.now() == 0.0


# The engine


def test_messages_that_are_too_many_or_too_old_leave_and_that_is_told() -> None:
    engine = MemoryEngine()
    for number in range(1, 6):
        put(engine, number, keep=Keep(3, 60.0), at=float(number))
    assert kept(engine) == [3, 4, 5]
    put(engine, 6, keep=Keep(3, 1.0), at=6.5)
    assert kept(engine) == [6]
    assert engine.read(Read("a", 1, None, None)).lost == 5
    engine.trim("a", 0)
    engine.trim("nothing", 0)
    history = engine.read(Read("a", 1, 1, None))
    assert (history.lost, history.entries, history.complete_to) == (6, (), 6)


def test_a_read_is_answered_page_by_page() -> None:
    engine = MemoryEngine(page=2)
    for number in range(1, 6):
        put(engine, number)
    assert kept(engine) == [1, 2]
    assert engine.read(Read("a", 1, 1, None)).complete_to == 2
    assert engine.read(Read("a", 1, 4, None)).complete_to == 5


def test_an_engine_that_refuses_does_nothing() -> None:
    engine = MemoryEngine()
    engine.refuses = "out of memory"
    assert put(engine, 1) == Appended(1, AppendOutcome.REFUSED, problem="out of memory")
    engine.refuses = ""
    assert put(engine, 1).outcome is AppendOutcome.ACCEPTED
    assert kept(engine) == [1]


def test_a_snapshot_is_what_was_then_however_often_it_is_used() -> None:
    engine = MemoryEngine()
    put(engine, 1)
    snapshot = engine.snapshot()
    for generation in (1, 2):
        put(engine, 2)
        engine.restart(snapshot)
        assert kept(engine) == [1]
        assert engine.read(Read("a", 1, None, None)).top == Position("e1", generation, 1)


# Its links


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.close()


def test_nothing_is_sent_without_a_connection_and_nothing_is_told_after_it(
    loop: VirtualLoop,
) -> None:
    engine = MemoryBackplane()
    told: list[BackplaneEvent] = []

    def receive(events: Sequence[BackplaneEvent]) -> None:
        told.extend(events)

    async def work() -> None:
        link = engine.open("w", "", receive)
        link.send([Subscribe("a", 1)])
        assert not link.commands
        await asyncio.sleep(0)
        link.send([Subscribe("a", 1), Append(1, (Item("a", b"x", KEEP, None),))])
        link.execute()
        link.execute()
        link.lose("cut")
        link.lose("again")
        await asyncio.sleep(0)

    loop.run(work())
    assert told == [Connected(), Lost("cut")]


def test_worlds_over_one_engine_have_names_of_their_own_and_one_clock(loop: VirtualLoop) -> None:
    engine = MemoryBackplane()

    async def work() -> list[MemoryLink]:
        return [engine.open(engine.name(), "", lambda events: None) for _ in range(2)]

    links = loop.run(work())
    assert len({link.worker for link in links}) == len(engine.links) == 2
    assert engine.now() == loop.time()

"""Steps and turns: what user code may start, the fence, time, and who is read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest

from stocksync_ws import (
    MessagingTemplate,
    SessionDisconnected,
    StompApp,
    Topic,
)
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.turn import FRAMES, QUIET
from stocksync_ws.driver.driver import LEAST, READING, TURN, Driver
from stocksync_ws.testing.peer import Peer, client_frame
from stocksync_ws.testing.world import World
from stocksync_ws.wire.endpoint import Page
from tests.broker.kit import drafted

Start = Callable[[], World]


def internal_errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if "internal error" in each.getMessage()]


# When a turn is asked for


def test_what_waits_for_a_flush_delay_asks_for_no_turn_but_for_a_wake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policies = {"/topic/a": Topic(flush_delay=0.005)}
    with World(StompApp("/ws", allowed_origins=["*"], destinations=policies)) as world:
        peer = world.connect()
        peer.subscribe("/topic/a")
        asked: list[object] = []
        driver = world.runtime.driver
        with monkeypatch.context() as patched:
            patched.setattr(driver._host, "soon", asked.append)
            for _ in range(3):
                driver.publish(drafted("/topic/a", (), b"1"))
        assert asked == []
        world.advance(0.0051)
        assert [frame.body for frame in peer.frames()] == [b"1"] * 3


WAITING: dict[str, Callable[[Driver], tuple[object, str, object]]] = {
    "something to flush": lambda driver: (driver._outputs, "dirty", [None]),
    "something for the engine": lambda driver: (driver._outputs, "engine", [None]),
    "a read that is paused": lambda driver: (driver._outputs, "reads", [None]),
    "a session with frames left": lambda driver: (driver._turn, "waiting", 1),
    "somebody who waits for the end": lambda driver: (driver, "_idle", print),
    "somebody who waits for the last that polls": lambda driver: (driver, "_unpolled", [print]),
}


@pytest.mark.parametrize("what", [None, *WAITING])
def test_an_input_that_is_not_of_the_driver_asks_for_a_turn_if_something_waits(
    what: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    with World(StompApp("/ws", allowed_origins=["*"])) as world:
        driver = world.runtime.driver
        with monkeypatch.context() as patched:
            patched.setattr(driver._host, "soon", asked.append)
            if what is not None:
                patched.setattr(*WAITING[what](driver))
            driver.act(lambda now: None)
            patched.setattr(driver, "_scheduled", False)
    assert len(asked) == (what is not None)


# What user code may start


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("wait", [False, True])
def test_a_publish_in_a_handler_starts_no_other_call(
    app: StompApp, start: Start, wait: bool, inline: bool
) -> None:
    order: list[str] = []
    context: ContextVar[str] = ContextVar("context", default="outer")

    @app.message_mapping("/flood")
    async def flood(template: MessagingTemplate) -> None:
        context.set("of the handler")
        if wait:
            await asyncio.sleep(0)
        order.append("publishes")
        # One mailbox grows past its bound within the turn: its session ends, a listener is due.
        for _ in range(10):
            template.send("/topic/a", bytes(500_000))
        order.append("has published")

    def hear(event: SessionDisconnected) -> None:
        order.append(f"hears in {context.get()}")

    async def hear_async(event: SessionDisconnected) -> None:
        hear(event)

    app.event_listener(SessionDisconnected, inline=inline)(hear if inline else hear_async)
    world = start()
    flooded = world.connect()
    flooded.subscribe("/topic/a")
    flooded.stream.window = 0
    world.connect().send_to("/app/flood")
    assert order == ["publishes", "has published", "hears in outer"]


def test_a_handler_may_flood_its_own_session(app: StompApp, start: Start) -> None:
    order: list[str] = []

    @app.message_mapping("/flood")
    async def flood(template: MessagingTemplate) -> None:
        for _ in range(10):
            template.send("/topic/a", bytes(500_000))
        order.append("done")

    @app.event_listener(SessionDisconnected)
    async def listen(event: SessionDisconnected) -> None:
        order.append("heard")

    peer = start().connect()
    peer.subscribe("/topic/a")
    peer.stream.window = 0
    peer.send_to("/app/flood")
    assert order == ["done", "heard"]


def test_a_publish_in_a_handler_does_not_run_what_a_pool_function_returned(
    app: StompApp, start: Start
) -> None:
    order: list[str] = []

    @app.message_mapping("/pool")
    def pool() -> None:
        order.append("pool")

    @app.message_mapping("/inline", inline=True)
    def inline() -> None:
        order.append("inline")

    @app.message_mapping("/publish")
    async def publish(template: MessagingTemplate) -> None:
        await asyncio.sleep(0)
        (run,) = world.runtime.host.held or []
        run()
        order.append("publishes")
        template.send("/topic/a", b"x")
        order.append("has published")

    world = start()
    world.hold_pool()
    first = world.connect()
    first.send_to("/app/pool")
    first.send_to("/app/inline")
    world.connect().send_to("/app/publish")
    assert order == ["pool", "publishes", "has published", "inline"]


def test_a_call_that_ends_at_once_lets_the_next_frame_begin_in_the_same_turn(
    app: StompApp, start: Start
) -> None:
    seen: list[bytes] = []

    @app.message_mapping("/x")
    async def handler(body: bytes) -> None:
        seen.append(body)

    world = start()
    peer = world.connect()
    for number in range(200):
        data = b"SEND\ndestination:/app/x\n\n%d\0" % number
        world.runtime.driver.feed(peer.stream.link, client_frame(1, data))
    world.settle()
    assert seen == [b"%d" % number for number in range(200)]


@pytest.mark.parametrize(("inline", "share"), [(False, 1), (True, 8)])
def test_a_few_frames_in_their_turn_and_the_others_have_theirs_meanwhile(
    app: StompApp, start: Start, inline: bool, share: int
) -> None:
    order: list[str] = []

    @app.message_mapping("/x", inline=inline)
    def handler(body: bytes) -> None:
        order.append(body.decode())

    world = start()
    greedy, modest = world.connect(), world.connect()
    frame = b"SEND\ndestination:/app/x\n\n%s\0"
    driver = world.runtime.driver
    driver.feed(greedy.stream.link, client_frame(1, frame % b"greedy") * 100)
    driver.feed(modest.stream.link, client_frame(1, frame % b"modest"))
    world.settle()
    assert order.index("modest") == share
    assert order.count("greedy") == 100


# The fence


def break_once(world: World, monkeypatch: pytest.MonkeyPatch, name: str, victim: Peer) -> None:
    """Make one of the broker's inputs raise for one session."""
    owner = SessionRecord if name == "wake" else type(world.broker)
    real = getattr(owner, name)

    def broken(*args: Any) -> Any:
        session = args[0] if name == "wake" else args[1]
        if session.wire is victim.stream.link.wire:
            raise ZeroDivisionError
        return real(*args)

    monkeypatch.setattr(owner, name, broken)


def many(count: int) -> bytes:
    return client_frame(1, b"SEND\ndestination:/topic/b\n\nx\0") * count


@pytest.mark.parametrize(
    ("name", "trigger"),
    [
        ("receive", lambda peer: peer.send("SEND\ndestination:/topic/a\n\nx\0")),
        ("alive", lambda peer: peer.pong()),
        ("violate", lambda peer: peer.feed(b"\xff\xff\xff")),
        ("proceed", lambda peer: peer.feed(many(70))),
    ],
)
def test_a_bug_of_ours_ends_the_session_it_happened_to_and_no_other(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    trigger: Callable[[Peer], None],
) -> None:
    victim, other = world.connect(), world.connect()
    other.subscribe("/topic/a")
    break_once(world, monkeypatch, name, victim)
    trigger(victim)
    assert victim.closed == 1011
    assert len(internal_errors(caplog)) == 1
    world.expect_faults(internal_errors=1)
    other.send_to("/topic/a", b"alive")
    assert b"alive" in [frame.body for frame in other.frames()]


def test_a_bug_in_the_wake_of_one_session_ends_it_and_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    victim, other = world.connect(), world.connect()
    for peer in (victim, other):
        peer.answers_close = False
    break_once(world, monkeypatch, "wake", victim)
    world.advance(25.1)
    assert victim.closed == 1011
    assert other.pings
    assert len(internal_errors(caplog)) == 1
    world.expect_faults(internal_errors=1)


def test_a_bug_in_a_resume_ends_the_session_of_the_task(
    app: StompApp, start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    @app.message_mapping("/x")
    async def handler() -> None: ...

    def broken(*args: Any) -> None:
        raise ZeroDivisionError

    world = start()
    peer, other = world.connect(), world.connect()
    monkeypatch.setattr(type(world.broker), "resume", broken)
    peer.send_to("/app/x")
    assert peer.closed == 1011
    other.nothing()
    assert len(internal_errors(caplog)) == 1
    world.expect_faults(internal_errors=1)


def test_a_bug_outside_of_any_session_is_logged_and_counted(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(type(world.broker), "open", broken)
    world.upgrade()
    assert internal_errors(caplog) == ["internal error in the broker session=-"]
    world.expect_faults(internal_errors=1)


# Time


def test_a_deadline_that_does_not_move_is_counted_and_does_not_loop(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.connect()
    wakes = 0

    def stuck(*args: Any) -> None:
        nonlocal wakes
        wakes += 1

    monkeypatch.setattr(SessionRecord, "wake", stuck)
    world.advance(29.9)
    assert wakes == 5
    world.expect_faults(stuck_deadlines=wakes)
    assert "a deadline did not move after its wake: SessionRecord" in caplog.messages


def test_a_stall_is_counted_and_is_nobodys_silence(app: StompApp) -> None:
    app = StompApp("/ws", heart_beat=(10, 10))
    with World(app, silent=True) as world:
        peer = world.connect(heart_beat="10000,10000")
        world.advance(9)
        world.stall(60)
        assert world.counters.stalls == 1
        assert peer.closed is None
        world.advance(25)
        assert peer.closed == 4000


def test_a_request_that_does_not_come_ends_the_connection(world: World) -> None:
    silent, half = world.open(), world.open()
    world.runtime.driver.feed(half.link, b"GET / HT")
    world.advance(4.9)
    assert not silent.ended
    world.advance(0.2)
    assert silent.ended
    assert silent.received == b""
    assert half.received.startswith(b"HTTP/1.1 408 ")
    world.advance(5)
    assert silent.aborted
    assert half.aborted
    assert world.runtime.driver.connections == 0
    assert world.counters.aborts == 2


def test_a_stall_is_no_lateness_of_a_request(world: World) -> None:
    stream = world.open()
    world.runtime.driver.feed(stream.link, b"GET / HT")
    world.advance(4)
    world.stall(60)
    assert not stream.ended
    world.runtime.driver.feed(stream.link, b"TP/1.1\r\nHost: localhost\r\n\r\n")
    assert stream.received.startswith(b"HTTP/1.1 404 ")


def test_a_page_that_nobody_reads_does_not_keep_its_connection_for_ever(app: StompApp) -> None:
    with World(app, app.site({"/": Page("text/plain", bytes(100_000))})) as world:
        stream = world.open()
        stream.window = 0
        world.runtime.driver.feed(stream.link, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        world.advance(3_600)
        assert world.runtime.driver.connections == 0


# Turns


def send(destination: str = "/topic/a") -> bytes:
    return client_frame(2, f"SEND\ndestination:{destination}\n\n\0".encode())


@pytest.fixture
def publisher() -> StompApp:
    return StompApp("/ws", client_send=["/topic/**"])


def test_without_output_a_turn_comes_behind_so_many_frames(publisher: StompApp) -> None:
    with World(publisher) as world:
        peer, driver = world.connect(), world.runtime.driver
        number = world.broker.turn.number
        for _ in range(FRAMES - QUIET - 1):
            driver.feed(peer.stream.link, send())
        world.settle()
        assert world.broker.turn.number == number
        driver.feed(peer.stream.link, send())
        assert driver.may_read
        world.settle()
        assert world.broker.turn.number == number + 1
        assert world.broker.turn.left == FRAMES


def test_without_output_a_turn_comes_behind_a_handler_that_took_long(
    publisher: StompApp,
) -> None:
    @publisher.message_mapping("/slow", inline=True)
    def slow() -> None:
        world.loop.stall(LEAST + 0.001)

    with World(publisher) as world:
        peer, driver = world.connect(), world.runtime.driver
        number = world.broker.turn.number
        driver.feed(peer.stream.link, send("/app/slow"))
        world.settle()
        assert world.broker.turn.number == number + 1


def test_no_stream_reads_when_the_time_of_a_turn_is_over(publisher: StompApp) -> None:
    with World(publisher) as world:
        one, two, driver = world.connect(), world.connect(), world.runtime.driver
        two.subscribe("/topic/a")
        assert driver.may_read
        driver.feed(one.stream.link, send())
        world.loop.stall(READING - 0.001)
        assert driver.may_read
        world.loop.stall(0.002)
        assert not driver.may_read
        # One that cannot be asked brings its bytes, which wait for the end of the turn.
        frames = world.counters.frames_in
        driver.feed(one.stream.link, send())
        assert world.counters.frames_in == frames
        world.settle()
        assert driver.may_read
        assert len(two.frames()) == 2


def test_who_waits_has_a_moment_in_any_case(publisher: StompApp) -> None:
    @publisher.message_mapping("/slow", inline=True)
    def slow() -> None:
        world.loop.stall(TURN)

    with World(publisher) as world:
        one, two, driver = world.connect(), world.connect(), world.runtime.driver
        for peer in (one, two):
            driver.feed(peer.stream.link, send("/app/slow") * 3)
        world.settle()
        assert world.counters.frames_in == 2 + 6


@pytest.mark.pure("replaces a function that compiled code calls without a look-up")
def test_a_bug_in_the_share_of_one_ends_only_that_one(
    publisher: StompApp, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with World(publisher) as world:
        one, two, driver = world.connect(), world.connect(), world.runtime.driver
        proceed = world.broker.proceed
        culprit = next(iter(world.broker.sessions.values()))

        def broken(session: SessionRecord, now: float) -> None:
            if session is culprit:
                raise RuntimeError("a bug")
            proceed(session, now)

        monkeypatch.setattr(world.broker, "proceed", broken)
        for peer in (one, two):
            driver.feed(peer.stream.link, send() * 100)
        world.settle()
        assert (one.closed, two.closed) == (1011, None)
        world.expect_faults(internal_errors=1)

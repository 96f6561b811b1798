"""The world, its stream and its clients: what they show is what was really written."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from stocksync_ws import MessagingTemplate, StompApp, WrongLoop
from stocksync_ws.testing.peer import BINARY, CLOSE, PING, TEXT, client_frame
from stocksync_ws.testing.world import World


@pytest.fixture
def app() -> StompApp:
    return StompApp("/ws", heart_beat=(0, 0), client_send=["/topic/**"])


@pytest.fixture
def world(app: StompApp) -> Iterator[World]:
    with World(app) as world:
        yield world


# The world


def test_it_is_deterministic() -> None:
    def transcript() -> bytes:
        app = StompApp("/ws")
        with World(app) as world:
            peer = world.connect()
            peer.subscribe("/topic/a")
            app.template.convert_and_send("/topic/a", {"quantity": 7})
            world.settle()
            return b"".join(peer.raw())

    first = transcript()
    assert b'{"quantity":7}' in first
    assert transcript() == first


def test_the_example_of_its_docstring_works(app: StompApp) -> None:
    with World(app) as world:
        peer = world.connect()
        peer.subscribe("/topic/inventory")
        app.template.convert_and_send("/topic/inventory", {"quantity": 7})
        assert peer.message().body == b'{"quantity":7}'
        world.advance(30)
        assert peer.pings


def test_user_code_sleeps_in_virtual_time(app: StompApp) -> None:
    @app.message_mapping("/x")
    async def handler() -> str:
        await asyncio.sleep(5)
        return "slept"

    with World(app) as world:
        peer = world.connect()
        peer.subscribe("/topic/x")
        peer.send_to("/app/x")
        world.advance(4.9)
        peer.nothing()
        world.advance(0.2)
        assert peer.message().body == b"slept"


def test_a_held_pool_keeps_functions_back_in_order(app: StompApp) -> None:
    seen: list[str] = []

    @app.message_mapping("/x/{name}")
    def handler(name: str, template: MessagingTemplate) -> None:
        seen.append(name)

    with World(app) as world:
        first, second = world.connect(), world.connect()
        world.hold_pool()
        first.send_to("/app/x/a")
        second.send_to("/app/x/b")
        assert seen == []
        world.release_pool()
        assert seen == ["a", "b"]
        first.send_to("/app/x/c")
        assert seen == ["a", "b", "c"]


def test_run_awaits_on_the_virtual_clock(app: StompApp, world: World) -> None:
    published = world.run(app.template.publish("/topic/a", "x"))
    assert published.receivers == 0


def test_close_leaves_no_session_and_no_task(app: StompApp) -> None:
    cancelled: list[bool] = []

    @app.message_mapping("/x")
    async def handler() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(True)

    world = World(app)
    peer = world.connect()
    peer.send_to("/app/x")
    world.close()
    assert cancelled == [True]
    assert peer.stream.aborted
    assert not world.broker.calls.tasks.running
    assert not world.broker.sessions


def test_an_application_may_have_one_world_after_another(app: StompApp) -> None:
    for _ in range(3):
        with World(app) as world:
            peer = world.connect()
            peer.subscribe("/topic/a")
            app.template.send("/topic/a", b"x")
            assert peer.world is world
            world.settle()
            assert peer.message().body == b"x"


# Faults of the library at its end


class Stuck:
    """A deadline that does not move when it is woken."""

    deadline: float | None = 0.0
    armed = 0
    armed_at = 0.0

    def wake(self, now: float) -> None:
        pass


def provoke(world: World, fault: str) -> None:
    """One internal error, or one deadline that sticks."""
    if fault == "internal_errors":
        world.broker.fail(None, ZeroDivisionError(), world.now)
    else:
        stuck = Stuck()
        world.runtime.driver._keep_moving(stuck, world.now)
        stuck.deadline = None


FAULTS = ["internal_errors", "stuck_deadlines"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_library_fails_its_end(app: StompApp, fault: str) -> None:
    with pytest.raises(AssertionError, match=f"{fault}=1"), World(app) as world:
        provoke(world, fault)
    assert not world.broker.sessions
    world = World(app)
    provoke(world, fault)
    with pytest.raises(AssertionError, match=f"{fault}=1"):
        world.close()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_the_test_announces_does_not(app: StompApp, fault: str) -> None:
    with World(app) as world:
        world.expect_faults(**{fault: 2})
        for _ in range(2):
            provoke(world, fault)


@pytest.mark.parametrize("fault", FAULTS)
def test_an_announced_fault_that_does_not_come_fails_its_end(app: StompApp, fault: str) -> None:
    with pytest.raises(AssertionError, match=f"{fault}=0"), World(app) as world:
        world.expect_faults(**{fault: 1})


def test_the_error_of_a_test_is_seen_before_the_fault_that_caused_it(app: StompApp) -> None:
    with pytest.raises(KeyError) as caught, World(app) as world:
        provoke(world, "internal_errors")
        raise KeyError
    assert caught.value.__context__ is None
    assert world.loop.is_closed()


# The peer


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_a_client_frame_carries_any_length(size: int) -> None:
    frame = client_frame(BINARY, bytes(size))
    assert frame[1] & 0x80
    head = len(frame) - size
    assert head == {0: 6, 125: 6, 126: 8, 65_535: 8, 65_536: 14}[size]


@pytest.mark.parametrize("size", [10, 1_000, 100_000])
def test_a_peer_reads_messages_of_any_length(app: StompApp, world: World, size: int) -> None:
    peer = world.connect()
    peer.subscribe("/topic/a")
    app.template.send("/topic/a", bytes(size))
    world.settle()
    assert peer.message().body == bytes(size)


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_a_peer_speaks_every_version(world: World, version: str) -> None:
    peer = world.connect(version)
    peer.subscribe("/topic/a")
    peer.send_to("/topic/a", "hello", x_trace="7")
    assert peer.message().headers["x-trace"] == "7"


def test_a_frame_that_does_not_come_fails_with_the_story(world: World) -> None:
    peer = world.connect()
    peer.subscribe("/topic/a")
    with pytest.raises(AssertionError, match=r"no frame came; expected MESSAGE(?s:.*)RECEIPT"):
        peer.message()


def test_a_frame_of_another_command_fails_and_one_too_many_too(world: World) -> None:
    peer = world.connect()
    peer.subscribe("/topic/a")
    peer.send_to("/topic/a")
    with pytest.raises(AssertionError, match="expected RECEIPT, got"):
        peer.frame("RECEIPT")
    peer.send_to("/topic/a")
    with pytest.raises(AssertionError, match="expected nothing"):
        peer.nothing()


def test_raw_shows_exact_bytes_and_texts_their_kind(app: StompApp, world: World) -> None:
    peer = world.connect()
    peer.subscribe("/topic/a")
    peer.texts.clear()
    app.template.send("/topic/a", b"text")
    app.template.send("/topic/a", b"\xff")
    world.settle()
    first, second = peer.raw()
    assert first.startswith(b"MESSAGE\n")
    assert second.endswith(b"\xff\0")
    assert peer.texts == [True, False]


def test_a_message_half_come_is_not_shown(app: StompApp, world: World) -> None:
    peer = world.connect()
    peer.subscribe("/topic/a")
    for window in (1, 3, 50):
        peer.stream.window = window
        app.template.send("/topic/a", bytes(200))
        world.settle()
        assert peer.raw() == []
        peer.stream.open_window(None)
        world.settle()
        assert len(peer.raw()) == 1


def test_beats_pings_and_pongs_are_counted(app: StompApp) -> None:
    with World(StompApp("/ws", heart_beat=(10, 0))) as world:
        peer = world.connect(heart_beat="0,10000")
        peer.feed(client_frame(PING, b"p"))
        world.advance(26)
        assert peer.pongs == [b"p"]
        # Two of its own, and one that goes with the PING: a STOMP client does not see PINGs.
        assert peer.beats == 3
        assert len(peer.pings) == 1
        peer.pong(peer.pings[0])
        peer.beat()
        peer.close()
        assert peer.closed == 1000


def test_a_peer_answers_a_close_unless_it_is_told_not_to(world: World) -> None:
    polite, rude = world.connect(), world.connect()
    rude.answers_close = False
    for peer in (polite, rude):
        peer.send(b"NONSENSE\n\n\0", binary=True)
        assert peer.closed == 1002
    assert polite.stream.ended
    assert not rude.stream.ended


def test_an_error_must_be_the_last_frame(world: World) -> None:
    peer = world.connect()
    peer.send("NONSENSE\n\n\0")
    assert peer.error().headers["code"] == "unknown-command"
    peer.send_to("/topic/a")
    peer.nothing()


def test_a_refused_upgrade_shows_its_answer(world: World) -> None:
    peer = world.upgrade(Sec_WebSocket_Version="7")
    assert peer.response.startswith(b"HTTP/1.1 426 ")
    assert peer.stream.ended


# The stream


def test_a_window_takes_so_many_bytes_and_the_rest_waits(app: StompApp, world: World) -> None:
    peer = world.connect()
    peer.subscribe("/topic/a")
    peer.stream.window = 5
    app.template.send("/topic/a", b"hello")
    world.settle()
    assert len(peer.stream.received) == 5
    waiting = peer.stream.unsent
    assert waiting > 0
    peer.stream.open_window(7)
    world.settle()
    assert (len(peer.stream.received), peer.stream.unsent) == (12, waiting - 7)
    peer.stream.open_window(None)
    world.settle()
    assert peer.message().body == b"hello"


def test_a_shut_stream_ends_behind_what_is_unsent(world: World) -> None:
    stream = world.open()
    stream.window = 10
    stream.write([b"0123456789", b"abc"])
    stream.shut()
    assert not stream.ended
    stream.open_window(None)
    assert stream.ended
    assert stream.received == b"0123456789abc"


def test_an_aborted_stream_takes_nothing(world: World) -> None:
    stream = world.open()
    send = stream.send
    assert send is not None
    stream.abort()
    assert stream.write([b"x"]) == 0
    assert stream.received == b""
    assert stream.send is None
    with pytest.raises(ConnectionResetError):
        send(b"x")


def test_the_lane_of_a_full_stream_would_block(world: World) -> None:
    stream = world.open()
    assert stream.send is not None
    stream.window = 3
    assert stream.send(b"hello") == 3
    with pytest.raises(BlockingIOError):
        stream.send(b"lo")


def test_the_end_of_a_stream_ends_its_session(world: World) -> None:
    peer = world.connect()
    assert world.broker.sessions
    peer.eof()
    assert not world.broker.sessions
    assert peer.stream.aborted


def test_a_frame_of_close_without_code_is_answered_without_code(world: World) -> None:
    peer = world.connect()
    peer.answers_close = False
    peer.feed(client_frame(CLOSE, b""))
    assert bytes(peer.stream.received) == b"\x88\x00"


def test_a_text_that_is_no_utf8_is_refused(world: World) -> None:
    peer = world.connect()
    peer.feed(client_frame(TEXT, b"\xff"))
    assert peer.closed == 1007


# What a test cannot do with it


def test_inside_a_running_loop_it_says_how_to_write_the_test(app: StompApp) -> None:
    async def test() -> None:
        with pytest.raises(
            WrongLoop, match=r"a plain `def`, and await with `world\.run\(coroutine"
        ):
            World(app)

    asyncio.run(test())


@pytest.mark.parametrize(
    ("doing", "named"),
    [
        (lambda: asyncio.open_connection("127.0.0.1", 1), "create_connection"),
        (lambda: asyncio.start_server(lambda *_: None, "127.0.0.1", 0), "create_server"),
        (lambda: asyncio.to_thread(len, ""), "run_in_executor"),
        (lambda: asyncio.create_subprocess_exec("true"), "subprocess_exec"),
    ],
)
def test_real_io_says_what_to_do_instead(world: World, doing: Any, named: str) -> None:
    async def handler() -> None:
        await doing()

    with pytest.raises(RuntimeError, match=f"a World has .* no I/O, so `{named}` .*a fake"):
        world.run(handler())

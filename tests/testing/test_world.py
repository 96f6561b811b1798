"""The world, its stream and its clients: what they show is what was really written."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.applications import Starlette

from stocksync_ws import (
    AccessDenied,
    BadCredentials,
    BrokerAvailability,
    BrokerClosed,
    ConnectRequest,
    DisconnectReason,
    HandlerTimeout,
    Limits,
    MessagingTemplate,
    SessionDisconnected,
    StockSyncError,
    StompApp,
    WrongLoop,
)
from stocksync_ws.testing.backplane import MemoryBackplane
from stocksync_ws.testing.peer import BINARY, CLOSE, PING, TEXT, Peer, client_frame
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
    with World(StompApp("/ws", heart_beat=(10, 0)), silent=True) as world:
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
    peer.silent = True
    peer.feed(client_frame(CLOSE, b""))
    assert bytes(peer.stream.received) == b"\x88\x00"


def test_a_text_that_is_no_utf8_is_refused(world: World) -> None:
    peer = world.connect()
    peer.feed(client_frame(TEXT, b"\xff"))
    assert peer.closed == 1007


# What a test cannot do with it


def test_inside_a_running_loop_it_says_how_to_write_the_test(app: StompApp) -> None:
    told = r"a plain `def`, and await with `world\.run\(coroutine"

    async def test(world: World) -> None:
        for call in (world.settle, world.connect, world.close, lambda: world.run(test(world))):
            with pytest.raises(WrongLoop, match=told):
                call()
        with pytest.raises(WrongLoop, match=told):
            World(app)

    with World(app) as world:
        asyncio.run(test(world))


def test_it_takes_no_other_application() -> None:
    with pytest.raises(TypeError, match=r"runs a StompApp, and got Starlette: .*StompApp itself"):
        World(Starlette())  # type: ignore[arg-type]


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


# Its end


def test_its_end_is_the_stop_of_a_server(app: StompApp) -> None:
    told: list[object] = []

    @app.event_listener(SessionDisconnected)
    def left(event: SessionDisconnected) -> None:
        told.append((event.reason, event.close_code))
        app.template.convert_and_send("/topic/left", event.session_id)  # messages are still taken

    @app.event_listener(BrokerAvailability)
    async def availability(event: BrokerAvailability) -> None:
        told.append(event.available)

    with World(app) as world:
        clients = [world.connect() for _ in range(3)]
    assert told == [True, *[(DisconnectReason.SERVER_SHUTDOWN, 1012)] * 3, False]
    assert world.counters.messages_published == 3
    for client in clients:
        assert client.closed == 1012
        assert client.stream.ended
    with pytest.raises(BrokerClosed):
        app.template.send("/topic/left", b"")


def test_who_is_connected_sees_what_others_leave_behind_them(app: StompApp) -> None:
    @app.event_listener(SessionDisconnected)
    async def left(event: SessionDisconnected) -> None:
        await asyncio.sleep(0.001)
        app.template.send("/topic/left", b"x")

    world = World(app)
    clients = [world.connect() for _ in range(400)]  # whose closes take two seconds
    clients[-1].subscribe("/topic/left")
    world.close()
    assert 300 < len(clients[-1].frames()) < 400


def test_an_end_takes_its_time_and_no_real_one(app: StompApp) -> None:
    with World(app) as world:
        for _ in range(400):
            world.connect()
        began = world.now
    assert 1.5 < world.now - began < 3


def test_at_its_end_a_client_that_answers_no_close_is_cut_off(app: StompApp) -> None:
    ended: list[str] = []

    @app.event_listener(inline=True)
    def left(event: SessionDisconnected) -> None:
        ended.append(event.reason)

    with World(app) as world:
        rude, stalled, polite = world.connect(), world.connect(), world.connect()
        rude.answers_close = False
        stalled.stream.open_window(0)
        began = world.now
    assert world.now - began == pytest.approx(Limits().close_timeout, abs=0.1)
    assert [client.closed for client in (rude, stalled, polite)] == [1012, None, 1012]
    assert world.counters.aborts == 2
    assert ended == [DisconnectReason.SERVER_SHUTDOWN] * 3


def test_at_its_end_a_handler_has_the_time_of_a_stop(app: StompApp) -> None:
    done: list[str] = []

    @app.message_mapping("/work/{seconds}")
    async def work(seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
            done.append(f"{seconds} done")
        except asyncio.CancelledError:
            done.append(f"{seconds} cancelled")
            raise

    with World(app) as world:
        for seconds in ("4", "1000"):
            world.connect().send_to(f"/app/work/{seconds}", receipt="r")
    assert done == ["4.0 done", "1000.0 cancelled"]
    assert not world.broker.calls.tasks.running


def test_at_its_end_tasks_that_a_handler_made_are_cancelled(app: StompApp) -> None:
    tasks: list[asyncio.Task[bool]] = []

    @app.message_mapping("/begin")
    async def begin() -> None:
        tasks.append(asyncio.create_task(asyncio.Event().wait()))

    with World(app) as world:
        world.connect().send_to("/app/begin")
    assert tasks[0].cancelled()


def test_a_busy_pool_does_not_keep_it_from_its_end(app: StompApp) -> None:
    app.message_mapping("/x")(lambda: None)
    with World(app) as world:
        world.connect().send_to("/app/x")
        world.hold_pool()
        world.connect().send_to("/app/x")
    assert not world.broker.sessions


def test_an_end_comes_once_and_leaves_what_came_to_be_read(app: StompApp) -> None:
    world = World(app)
    client = world.connect()
    client.subscribe("/topic/a")
    app.template.send("/topic/a", b"the last one")
    world.close()
    world.close()
    with world:
        pass
    assert client.message().body == b"the last one"
    assert client.closed == 1012


# Errors of the application that nothing maps


@pytest.fixture
def failing(app: StompApp) -> StompApp:
    """An application whose handlers fail."""

    @app.message_mapping("/fail")
    async def fail(text: str) -> None:
        await asyncio.sleep(float(text or 0))
        raise ZeroDivisionError("of a handler")

    @app.message_mapping("/plain")
    def plain() -> None:
        raise ZeroDivisionError("of a function")

    @app.subscribe_mapping("/fail", inline=True)
    def answer() -> str:
        raise ZeroDivisionError("of an answer")

    @app.snapshot("/topic/snapshot")
    async def snapshot() -> str:
        raise ZeroDivisionError("of a snapshot")

    @app.message_mapping("/unserialisable")
    async def unserialisable() -> object:
        return object()

    return app


@pytest.fixture
def deaf(app: StompApp) -> StompApp:
    """An application whose listener fails."""

    @app.event_listener(SessionDisconnected)
    def left(event: SessionDisconnected) -> None:
        raise ZeroDivisionError(f"of a listener, {event.reason}")

    return app


Act = Callable[[Peer], object]

ACTS: list[tuple[Act, str]] = [
    (lambda peer: peer.send_to("/app/fail"), "of a handler"),
    (lambda peer: peer.send_to("/app/plain"), "of a function"),
    (lambda peer: peer.command("SUBSCRIBE", subscribe("/app/fail")), "of an answer"),
    (lambda peer: peer.command("SUBSCRIBE", subscribe("/topic/snapshot")), "of a snapshot"),
    (lambda peer: peer.send_to("/app/unserialisable"), "returned what cannot be sent"),
]


def subscribe(destination: str) -> dict[str, str]:
    return {"id": "s", "destination": destination}


@pytest.mark.parametrize(("act", "text"), ACTS)
def test_an_error_that_nothing_maps_is_raised_in_the_test(
    failing: StompApp, act: Act, text: str
) -> None:
    with World(failing) as world:
        peer = world.connect()
        with pytest.raises((ZeroDivisionError, StockSyncError), match=text):
            act(peer)


@pytest.mark.parametrize(
    ("leave", "reason"), [(Peer.close, "peer_closed"), (Peer.eof, "connection_lost")]
)
def test_an_error_of_a_listener_is_raised_too(deaf: StompApp, leave: Act, reason: str) -> None:
    with World(deaf) as world:
        peer = world.connect()
        with pytest.raises(ZeroDivisionError, match=f"of a listener, {reason}"):
            leave(peer)


def test_it_has_its_own_traceback(failing: StompApp) -> None:
    with World(failing) as world:
        with pytest.raises(ZeroDivisionError) as raised:
            world.connect().send_to("/app/plain")
        names = [entry.name for entry in raised.traceback]
        assert names[0] == "test_it_has_its_own_traceback"
        assert names[-1] == "plain"


def test_an_error_of_an_authenticator_is_raised_and_a_refusal_is_none() -> None:
    def authenticate(request: ConnectRequest) -> None:
        if request.login == "eve":
            raise BadCredentials("no such user")
        raise LookupError("no database")

    with World(StompApp("/ws", authenticator=authenticate)) as world:
        world.connect(login="eve", expect="bad-credentials")
        with pytest.raises(LookupError, match="no database"):
            world.connect()


@pytest.mark.parametrize("later", ["settle", "advance", "stall", "run", "close"])
def test_the_next_call_that_settles_raises_it(app: StompApp, later: str) -> None:
    @app.event_listener(BrokerAvailability, inline=True)
    def begun(event: BrokerAvailability) -> None:
        if event.available:
            raise LookupError("at the start")

    calls: dict[str, Callable[[World], object]] = {
        "settle": World.settle,
        "advance": lambda world: world.advance(1),
        "stall": lambda world: world.stall(1),
        "run": lambda world: world.run(asyncio.sleep(1)),
        "close": World.close,
    }
    world = World(app)  # which cannot raise it: there would be no world to be closed
    with pytest.raises(LookupError, match="at the start"):
        calls[later](world)
    world.close()


def test_one_that_comes_while_time_passes_is_raised_by_that(failing: StompApp) -> None:
    with World(failing) as world:
        peer = world.connect()
        peer.send_to("/app/fail", "5")
        world.advance(4)
        with pytest.raises(ZeroDivisionError, match="of a handler"):
            world.advance(2)


def test_one_of_the_end_is_raised_by_the_end(deaf: StompApp) -> None:
    world = World(deaf)
    world.connect()
    with pytest.raises(ZeroDivisionError, match="of a listener, server_shutdown"):
        world.close()
    assert world.loop.is_closed()


def test_several_are_a_group(failing: StompApp) -> None:
    with World(failing) as world:
        for peer in [world.connect() for _ in range(3)]:
            peer.subscribe("/user/queue/errors")
            peer.send_to("/app/fail", "5")
        with pytest.raises(ExceptionGroup, match="3 errors in a World") as raised:
            world.advance(6)
        assert [str(each) for each in raised.value.exceptions] == ["of a handler"] * 3


def test_the_same_one_twice_is_raised_once(app: StompApp) -> None:
    error = ZeroDivisionError("made once")

    @app.event_listener(SessionDisconnected, inline=True)
    def first(event: SessionDisconnected) -> None:
        raise error

    @app.event_listener(SessionDisconnected, inline=True)
    def second(event: SessionDisconnected) -> None:
        raise error

    with World(app) as world:
        peer = world.connect()
        with pytest.raises(ZeroDivisionError, match="made once"):
            peer.eof()


def test_a_fault_of_the_library_is_raised_beside_them(deaf: StompApp) -> None:
    world = World(deaf)
    world.connect()
    provoke(world, "internal_errors")
    with pytest.raises(ExceptionGroup) as raised:
        world.close()
    assert [type(each) for each in raised.value.exceptions] == [ZeroDivisionError, AssertionError]


def test_the_error_of_a_test_is_seen_before_those_of_the_application(deaf: StompApp) -> None:
    with pytest.raises(KeyError) as caught, World(deaf) as world:
        world.connect()
        raise KeyError
    assert caught.value.__context__ is None
    assert world.counters.listeners_failed == 1


def test_the_client_is_told_all_the_same(failing: StompApp) -> None:
    with World(failing) as world:
        peer = world.connect()
        with pytest.raises(ZeroDivisionError):
            peer.send_to("/app/fail")
        assert peer.error().headers["code"] == "handler-failed"
        assert peer.closed == 1011


def test_without_raising_only_clients_and_the_log_are_told(
    failing: StompApp, deaf: StompApp, caplog: pytest.LogCaptureFixture
) -> None:
    assert failing is deaf
    with World(failing, raise_errors=False) as world:
        for act, _ in ACTS:
            act(world.connect())
    assert world.counters.application_errors == world.counters.listeners_failed == len(ACTS)
    assert "ZeroDivisionError: of a handler" in caplog.text


def test_what_is_mapped_or_the_fault_of_a_client_is_not_raised(app: StompApp) -> None:
    @app.message_mapping("/mapped")
    async def mapped() -> None:
        raise LookupError

    @app.message_exception_handler(LookupError)
    async def on_error(error: LookupError) -> str:
        return "mapped"

    @app.message_mapping("/number")
    async def number(number: int) -> None: ...

    @app.message_mapping("/denied")
    async def denied() -> None:
        raise AccessDenied

    with World(app) as world:
        peer = world.connect()
        peer.subscribe("/user/queue/errors")
        codes: list[str] = []
        for path in ("/app/mapped", "/app/number", "/app/denied", "/app/nowhere", "/queue/a"):
            peer.send_to(path, "no number")
            codes.append(peer.message().body.decode())
    assert codes[0] == "mapped"
    for code, told in zip(("bad-payload", "send-denied", "no-handler"), codes[1:], strict=False):
        assert f'"code":"{code}"' in told


def test_a_handler_that_hangs_is_the_fault_of_the_application(app: StompApp) -> None:
    @app.message_mapping("/hang")
    async def hang() -> None:
        await asyncio.Event().wait()

    with World(app) as world:
        peer = world.connect()
        peer.send_to("/app/hang")
        with pytest.raises(HandlerTimeout, match="hang"):
            world.advance(Limits().handler_timeout + 1)
        assert peer.error().headers["code"] == "handler-timeout"


# One run at a time


def test_an_application_that_runs_is_not_taken_over() -> None:
    app = StompApp("/ws", client_send=["/topic/**"])
    with World(app) as world:
        with pytest.raises(WrongLoop, match="this StompApp runs already: end that run first"):
            World(app)
        peer = world.connect()
        peer.subscribe("/topic/a")
        app.template.convert_and_send("/topic/a", "still here")
        assert peer.message().body == b"still here"
    with World(app) as again:
        peer = again.connect()
        peer.subscribe("/topic/a")
        app.template.convert_and_send("/topic/a", "here again")
        assert peer.message().body == b"here again"


def test_a_server_that_runs_is_not_taken_over() -> None:
    app = StompApp("/ws")
    with app.serve_in_thread(port=0):
        with pytest.raises(WrongLoop, match="this StompApp runs already"):
            World(app)
        assert app.ready
        assert app.template.publish_wait("/topic/a", 1).receivers == 0


def test_a_world_keeps_a_server_from_starting() -> None:
    app = StompApp("/ws")
    with World(app), pytest.raises(WrongLoop, match="this StompApp runs already"):
        app.serve_in_thread(port=0)
    with app.serve_in_thread(port=0):
        assert app.ready


def test_worlds_over_one_engine_give_no_id_twice() -> None:
    engine = MemoryBackplane()
    ids: list[str] = []
    for _ in range(2):  # one after the other, and two beside each other
        apps = [StompApp("/ws", backplane=engine) for _ in range(2)]
        with World(apps[0]) as one, World(apps[1]) as other:
            for app, world in zip(apps, (one, other), strict=True):
                world.connect()
                ids += [world.broker.worker, *(each.id for each in app.users.sessions())]
            assert [*engine.links] == [one.broker.worker, other.broker.worker]
        assert not engine.links
    assert len({*ids}) == len(ids) == 8


def test_what_a_world_has_sent_before_its_end_arrives() -> None:
    engine = MemoryBackplane()
    apps = [StompApp("/ws", backplane=engine) for _ in range(2)]
    with World(apps[1]) as other:
        peer = other.connect()
        with World(apps[0]) as one:
            peer.subscribe("/topic/a")
            apps[0].template.convert_and_send("/topic/a", "last")
            one.close()
        other.settle()
        assert peer.message().body == b"last"


def test_a_world_without_an_engine_counts_its_ids_from_one(app: StompApp) -> None:
    with World(app) as world:
        world.connect()
        assert world.broker.worker == ""
        assert [each.id.startswith("id") for each in app.users.sessions()] == [True]


def test_an_engine_keeps_nothing_of_worlds_that_have_ended() -> None:
    engine = MemoryBackplane()
    app = StompApp("/ws", backplane=engine)
    for _ in range(3):
        with World(app):
            pass
    gc.collect()
    assert not engine._loops

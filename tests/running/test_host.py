"""User code on a real loop: in its colour, in its own context, in real tasks and threads."""

from __future__ import annotations

import asyncio
import gc
import logging
import queue
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from carriers.running import Running

from stocksync_ws import (
    ConnectRequest,
    Limits,
    MessagingTemplate,
    SessionConnected,
    StompApp,
    send_to,
)
from stocksync_ws.broker.model.pipeline import Call, Mode, Task
from stocksync_ws.running.host import SLOW_EVERY, _clock
from stocksync_ws.running.run import Run
from stocksync_ws.running.runtime import Runtime
from stocksync_ws.testing.world import World

Serve = Callable[[StompApp], Running]
PATIENCE = 10.0


class Odd(BaseException):
    """An exception of an application that is no `Exception`."""


@pytest.fixture
def app() -> StompApp:
    return StompApp("/ws")


def ask(running: Running, path: str) -> bytes:
    """Send to a handler and take what it sends to /topic/answer; then its RECEIPT."""
    client = running.connect()
    client.subscribe("/topic/answer")
    client.send("SEND", {"destination": path, "receipt": "r"})
    answer = client.frame("MESSAGE").body
    assert client.frame("RECEIPT").headers["receipt-id"] == "r"
    return answer


# Coroutines


def test_asyncio_timeout_works_from_the_first_line(serve: Serve, app: StompApp) -> None:
    @app.message_mapping("/x")
    @send_to("/topic/answer")
    async def handler() -> str:
        async with asyncio.timeout(PATIENCE):
            await asyncio.sleep(0)
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            return "timed out"
        return "not"

    assert ask(serve(app), "/app/x") == b"timed out"


def test_a_task_group_works(serve: Serve, app: StompApp) -> None:
    @app.message_mapping("/x")
    @send_to("/topic/answer")
    async def handler() -> list[int]:
        async def square(number: int) -> int:
            await asyncio.sleep(0)
            return number * number

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(square(number)) for number in range(3)]
        return [task.result() for task in tasks]

    assert ask(serve(app), "/app/x") == b"[0,1,4]"


def test_anyio_works(serve: Serve, app: StompApp) -> None:
    @app.message_mapping("/x")
    @send_to("/topic/answer")
    async def handler() -> list[str]:
        seen: list[str] = []

        async def child() -> None:
            await anyio.lowlevel.checkpoint()
            seen.append("child")

        async with anyio.create_task_group() as group:
            group.start_soon(child)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.sleep(PATIENCE)
        if scope.cancelled_caught:
            seen.append("cancelled")
        with anyio.move_on_after(0.001):
            await anyio.Event().wait()
        seen.append(await anyio.to_thread.run_sync(lambda: "thread"))
        return seen

    assert ask(serve(app), "/app/x") == b'["child","cancelled","thread"]'


def test_a_coroutine_runs_in_a_task_of_its_own(serve: Serve, app: StompApp) -> None:
    tasks: list[Any] = []

    @app.message_mapping("/x")
    @send_to("/topic/answer")
    async def handler() -> str:
        tasks.append(asyncio.current_task())
        await asyncio.sleep(0)
        tasks.append(asyncio.current_task())
        return "done"

    running = serve(app)
    ask(running, "/app/x")
    ask(running, "/app/x")
    assert tasks[0] is tasks[1]
    assert tasks[0] is not tasks[2]
    assert all(isinstance(task, asyncio.Task) for task in tasks)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_what_is_no_error_ends_the_call_of_a_def_and_nothing_else(
    serve: Serve, app: StompApp, error: type[BaseException]
) -> None:
    @app.message_mapping("/pool")
    def pool() -> None:
        raise error

    @app.message_mapping("/inline", inline=True)
    def inline() -> None:
        raise error

    running = serve(app)
    for path in ("/app/pool", "/app/inline"):
        client = running.connect()
        client.send("SEND", {"destination": path})
        assert client.frame("ERROR").headers["code"] == "handler-failed"
        assert client.closed() == 1011


@pytest.mark.parametrize("wait", [False, True])
def test_a_coroutine_that_cancels_itself_has_failed(
    serve: Serve, app: StompApp, wait: bool
) -> None:
    @app.message_mapping("/x")
    async def handler() -> None:
        if wait:
            await asyncio.sleep(0)
        raise asyncio.CancelledError

    client = serve(app).connect()
    client.send("SEND", {"destination": "/app/x"})
    assert client.frame("ERROR").headers["code"] == "handler-failed"
    assert client.closed() == 1011


@pytest.mark.parametrize("wait", [False, True])
@pytest.mark.parametrize("error", [SystemExit(3), Odd()])
def test_what_is_no_error_ends_a_coroutine_and_nothing_else(
    app: StompApp, error: BaseException, wait: bool, caplog: pytest.LogCaptureFixture
) -> None:
    @app.message_mapping("/x")
    async def handler() -> None:
        if wait:
            await asyncio.sleep(0)
        raise error

    with World(app, raise_errors=False) as world:
        peer = world.connect()
        try:
            peer.send_to("/app/x")
        except SystemExit:
            pytest.fail("it ended the server")
        assert peer.frame("ERROR").headers["code"] == "handler-failed"
        assert peer.closed == 1011
    assert f"raised {type(error).__name__}" in caplog.text


def test_a_def_that_returns_a_coroutine_is_told_off(
    serve: Serve, app: StompApp, caplog: pytest.LogCaptureFixture
) -> None:
    async def other() -> None: ...

    @app.message_mapping("/x")
    def handler() -> Any:
        return other()

    client = serve(app).connect()
    client.send("SEND", {"destination": "/app/x"})
    assert client.frame("ERROR").headers["code"] == "handler-failed"
    assert "`await` is missing" in caplog.text


def test_a_handler_over_its_time_is_cancelled_and_may_clean_up(serve: Serve) -> None:
    app = StompApp("/ws", limits=Limits(handler_timeout=0.05))
    cleaned: queue.Queue[str] = queue.Queue()

    @app.message_mapping("/x")
    async def handler() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.put("up")

    running = serve(app)
    client = running.connect()
    client.send("SEND", {"destination": "/app/x"})
    assert client.frame("ERROR").headers["code"] == "handler-timeout"
    assert cleaned.get(timeout=PATIENCE) == "up"
    assert running.carrier.counters.handlers_timed_out == 1


def test_a_coroutine_function_that_raises_when_it_is_called_has_failed(app: StompApp) -> None:
    def broken() -> None:
        raise ValueError

    def pipeline(handshake: object) -> Any:
        yield Call(broken, mode=Mode.ASYNC)

    app.dispatch.handshake = pipeline  # type: ignore[method-assign]
    with World(app, raise_errors=False) as world:
        peer = world.upgrade()
        peer.nothing()
        assert peer.response.startswith(b"HTTP/1.1 500 ")


# Contexts

TRACE: ContextVar[str] = ContextVar("trace", default="unset")


@pytest.mark.parametrize("colour", ["async", "pool", "inline"])
def test_each_call_sees_a_context_of_its_own(serve: Serve, app: StompApp, colour: str) -> None:
    def look() -> str:
        seen = TRACE.get()
        TRACE.set("leaked")
        return seen

    async def look_async() -> str:
        seen = TRACE.get()
        TRACE.set("leaked")
        await asyncio.sleep(0)
        assert TRACE.get() == "leaked"
        return seen

    function = look_async if colour == "async" else look
    mapping = app.message_mapping("/x", inline=colour == "inline")
    mapping(send_to("/topic/answer")(function))
    client = serve(app).connect()
    client.subscribe("/topic/answer")
    for _ in range(3):
        client.send("SEND", {"destination": "/app/x"})
        assert client.frame("MESSAGE").body == b"unset"


def test_a_pool_function_sees_the_context_the_server_was_started_in(app: StompApp) -> None:
    @app.message_mapping("/x")
    @send_to("/topic/answer")
    def handler() -> str:
        return TRACE.get()

    token = TRACE.set("of the server")
    try:
        with World(app) as world:
            peer = world.connect()
            peer.subscribe("/topic/answer")
            peer.send_to("/app/x")
            assert peer.message().body == b"of the server"
    finally:
        TRACE.reset(token)


# The pool


def test_a_pool_function_runs_in_another_thread_beside_the_loop(
    serve: Serve, app: StompApp
) -> None:
    names: queue.Queue[str] = queue.Queue()
    release = threading.Event()

    @app.message_mapping("/block")
    def block() -> None:
        names.put(threading.current_thread().name)
        release.wait(PATIENCE)

    @app.message_mapping("/quick")
    @send_to("/topic/answer")
    async def quick() -> str:
        return "meanwhile"

    running = serve(app)
    client = running.connect()
    client.send("SEND", {"destination": "/app/block", "receipt": "r"})
    assert names.get(timeout=PATIENCE).startswith("stocksync-handler")
    assert ask(running, "/app/quick") == b"meanwhile"
    release.set()
    client.frame("RECEIPT")


def test_a_thread_passes_over_what_was_refused_before_it_was_free(serve: Serve) -> None:
    app = StompApp("/ws", limits=Limits(handler_threads=1, handler_timeout=0.3))
    go = threading.Event()
    ran: list[str] = []

    @app.message_mapping("/{name}")
    def handler(name: str) -> None:
        ran.append(name)
        if name == "first":
            go.wait(PATIENCE)

    running = serve(app)
    for name in ("first", "second"):
        client = running.connect()
        client.send("SEND", {"destination": f"/app/{name}"})
        assert client.frame("ERROR").headers["code"] == "handler-timeout"
    assert running.carrier.counters.pool_slots_stuck == 1
    go.set()
    client = running.connect()
    client.send("SEND", {"destination": "/app/last", "receipt": "r"})
    client.frame("RECEIPT")
    assert ran == ["first", "last"]


def test_what_a_pool_function_publishes_comes_before_its_receipt(
    serve: Serve, app: StompApp
) -> None:
    @app.message_mapping("/x")
    @send_to("/topic/answer")
    def handler(template: MessagingTemplate) -> str:
        for number in range(3):
            template.send("/topic/answer", str(number).encode())
        return "returned"

    client = serve(app).connect()
    client.subscribe("/topic/answer")
    for _ in range(20):
        client.send("SEND", {"destination": "/app/x", "receipt": "r"})
        bodies = [client.frame("MESSAGE").body for _ in range(4)]
        assert bodies == [b"0", b"1", b"2", b"returned"]
        client.frame("RECEIPT")


def test_twenty_threads_publish_and_nothing_is_lost(serve: Serve, app: StompApp) -> None:
    client = serve(app).connect()
    client.subscribe("/topic/answer")

    def publish(thread: int) -> None:
        for number in range(100):
            app.template.send("/topic/answer", f"{thread}:{number}".encode())

    threads = [threading.Thread(target=publish, args=(each,)) for each in range(20)]
    for thread in threads:
        thread.start()
    got = [client.frame("MESSAGE").body.decode() for _ in range(2_000)]
    for thread in threads:
        thread.join(PATIENCE)
    for each in range(20):
        own = [text for text in got if text.startswith(f"{each}:")]
        assert own == [f"{each}:{number}" for number in range(100)]


def test_handlers_that_hold_their_threads_keep_nobody_from_connecting(
    serve: Serve, app: StompApp
) -> None:
    """Neither authenticators nor listeners wait for a thread of theirs."""
    held: queue.Queue[str] = queue.Queue()
    heard: queue.Queue[str] = queue.Queue()
    names: queue.Queue[str] = queue.Queue()
    release = threading.Event()

    def where(request: ConnectRequest) -> None:
        names.put(threading.current_thread().name)

    limited = StompApp(
        "/ws",
        allowed_origins=["*"],
        authenticator=where,
        limits=Limits(handler_threads=1),
    )

    @limited.message_mapping("/block")
    def block() -> None:
        held.put("")
        release.wait(PATIENCE)

    @limited.event_listener(SessionConnected)
    def listen(event: SessionConnected) -> None:
        heard.put(threading.current_thread().name)

    running = serve(limited)
    client = running.connect()
    client.send("SEND", {"destination": "/app/block", "receipt": "r"})
    held.get(timeout=PATIENCE)
    running.connect()
    for _ in range(2):
        assert names.get(timeout=PATIENCE).startswith("stocksync-authenticator")
        assert heard.get(timeout=PATIENCE).startswith("stocksync-listener")
    release.set()
    client.frame("RECEIPT")


def test_listeners_hear_in_the_pool(serve: Serve, app: StompApp) -> None:
    heard: queue.Queue[tuple[str, bool]] = queue.Queue()

    @app.event_listener(SessionConnected)
    def listen(event: SessionConnected) -> None:
        heard.put((event.session_id, threading.current_thread().name.startswith("stocksync")))

    serve(app).connect()
    session_id, in_pool = heard.get(timeout=PATIENCE)
    assert len(session_id) == 22
    assert in_pool


# A loop that was closed


@pytest.mark.parametrize("mode", Mode)
def test_on_a_closed_loop_nothing_is_started_and_nothing_fails(app: StompApp, mode: Mode) -> None:
    called: list[str] = []

    def pipeline() -> Any:
        yield

    loop = asyncio.new_event_loop()
    runtime = Runtime(app, loop)
    runtime.start()
    loop.close()
    runtime.host.soon(lambda: called.append("soon"))
    runtime.host.wake_at(loop.time())
    runner: Any = None
    task = Task(runner, None, pipeline(), copy_context())
    task.call = Call(called.append, ("call",), mode=mode)
    runtime.host.call(task)
    runtime.close()
    assert called == []


def test_what_an_open_loop_refuses_is_not_lost(app: StompApp) -> None:
    class Refusing(asyncio.SelectorEventLoop):
        def call_soon(self, *args: Any, **kwargs: Any) -> Any:
            raise RuntimeError("not from this thread")

    loop = Refusing()
    host = Runtime(app, loop).host
    with pytest.raises(RuntimeError, match="not from this thread"):
        host.soon(lambda: None)
    loop.close()
    host.soon(lambda: None)


# Slow calls: on the virtual clock


def slow_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if "slow call" in each.getMessage()]


def test_an_inline_call_that_held_the_loop_is_counted_and_named(
    app: StompApp, caplog: pytest.LogCaptureFixture
) -> None:
    world: World
    seconds = 0.2

    @app.message_mapping("/x", inline=True)
    def handler() -> None:
        world.loop.stall(seconds)

    with World(app) as world:
        peer = world.connect()
        peer.send_to("/app/x")
        assert world.counters.slow_calls == 1
        assert len(slow_lines(caplog)) == 1
        assert "/x" in slow_lines(caplog)[0]
        assert "200 ms" in slow_lines(caplog)[0]
        peer.send_to("/app/x")
        assert (world.counters.slow_calls, len(slow_lines(caplog))) == (2, 1)
        world.advance(SLOW_EVERY)
        peer.beat()
        peer.send_to("/app/x")
        assert (world.counters.slow_calls, len(slow_lines(caplog))) == (3, 2)
        seconds = 0.05
        peer.send_to("/app/x")
        assert world.counters.slow_calls == 3


@pytest.mark.parametrize("steps", [0, 1])
def test_a_coroutine_that_held_the_loop_is_counted(serve: Serve, app: StompApp, steps: int) -> None:
    @app.message_mapping("/x")
    async def handler() -> None:
        for _ in range(steps):
            await asyncio.sleep(0)
        time.sleep(0.12)  # noqa: ASYNC251  # what must not be done

    running = serve(app)
    client = running.connect()
    client.send("SEND", {"destination": "/app/x", "receipt": "r"})
    client.frame("RECEIPT")
    assert running.carrier.counters.slow_calls == 1


def test_a_quick_call_is_no_slow_call(app: StompApp, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    @app.message_mapping("/x", inline=True)
    def handler() -> None: ...

    with World(app) as world:
        world.connect().send_to("/app/x")
        assert world.counters.slow_calls == 0
    assert slow_lines(caplog) == []


def test_threads_end_with_an_application_that_was_forgotten_with_its_loop() -> None:
    before = set(threading.enumerate())
    loop = asyncio.new_event_loop()
    app = StompApp("/ws")

    @app.message_mapping("/a")
    def handle() -> None: ...

    Run(app).begin(loop)
    loop.close()
    started = set(threading.enumerate()) - before
    assert {thread.name for thread in started} >= {"stocksync-handler"}
    del app, handle, loop
    gc.collect()
    for thread in started:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_the_clock_is_that_of_the_loop_whoever_made_it() -> None:
    class Late(asyncio.SelectorEventLoop):
        def time(self) -> float:
            return 7.0

    own, late, patched = asyncio.SelectorEventLoop(), Late(), asyncio.SelectorEventLoop()
    patched.time = lambda: 5.0  # type: ignore[method-assign]
    try:
        assert _clock(own) is time.monotonic
        assert abs(_clock(own)() - own.time()) < 60
        assert [_clock(loop)() for loop in (late, patched)] == [7.0, 5.0]
    finally:
        for loop in (own, late, patched):
            loop.close()

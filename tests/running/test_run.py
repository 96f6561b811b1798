"""The one slot of an application: begin, stop, abort, and loops that were closed under it."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from carriers.client import connect_frame, stomp, upgrade
from carriers.line import Line, run

from stocksync_ws import (
    BackplaneSettings,
    BackplaneUnavailable,
    BrokerAvailability,
    BrokerClosed,
    ConfigurationError,
    DisconnectReason,
    Limits,
    Published,
    SessionDisconnected,
    StompApp,
    WrongLoop,
)
from stocksync_ws.aio.address import Address
from stocksync_ws.aio.server import Server
from stocksync_ws.backplane import BackplaneEvent, Connected, Lost
from stocksync_ws.running.run import Run
from stocksync_ws.running.runtime import Runtime

PATIENCE = 10.0
HERE = "this StompApp runs already on this very loop; serve it once, or make a StompApp for each"
RUNS_ALREADY = (
    r"this StompApp runs already on the loop of another thread; a second loop needs a StompApp of"
    r" its own \(in tests: `with TestClient\(app\)`, or `World\(app\)` of stocksync_ws\.testing\)"
)


@pytest.fixture
def app() -> StompApp:
    return StompApp("/ws", limits=Limits(close_timeout=0.2, shutdown_timeout=0.4))


@pytest.fixture
def slot(app: StompApp) -> Run:
    return Run(app)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """The threads of its pools end, whatever a test did."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE)
        assert not thread.is_alive(), thread.name


def elsewhere(function: Callable[[], object]) -> BaseException | None:
    """Run it in another thread to its end; what it raised."""
    raised: list[BaseException] = []

    def call() -> None:
        try:
            function()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    return raised[0] if raised else None


async def connected(port: int) -> socket.socket:
    """A client whose socket outlives the loop."""
    loop = asyncio.get_running_loop()
    client = socket.socket()
    client.setblocking(False)
    await loop.sock_connect(client, ("127.0.0.1", port))
    await loop.sock_sendall(client, upgrade() + connect_frame())
    received = b""
    while b"CONNECTED" not in received:
        received += await loop.sock_recv(client, 65_536)
    client.settimeout(PATIENCE)
    return client


def rest(client: socket.socket) -> bytes:
    """Bytes that come until the server ends the stream."""
    with client:
        return b"".join(iter(lambda: client.recv(65_536), b""))


def in_pool(app: StompApp) -> list[bool]:
    """Let a thread of the pool run at each start; what it heard."""
    heard: list[bool] = []

    @app.event_listener(BrokerAvailability)
    def listen(event: BrokerAvailability) -> None:
        heard.append(event.available)

    return heard


# One run after another


def test_it_begins_stops_and_begins_again_on_another_loop(app: StompApp, slot: Run) -> None:
    heard = in_pool(app)
    seen: list[Runtime] = []

    async def main() -> None:
        runtime = slot.begin(asyncio.get_running_loop())
        assert slot.runtime is runtime
        app.template.send("/topic/a", b"x")
        await slot.stop()
        assert (slot.runtime, runtime.closed) == (None, True)
        with pytest.raises(BrokerClosed):
            app.template.send("/topic/a", b"x")
        seen.append(runtime)

    for number in range(1, 4):
        run(main())
        assert len(set(seen)) == number
        assert heard == [True, False] * number
        assert slot.counters is seen[-1].broker.counters
        assert slot.counters.messages_published == 1


def test_before_the_first_run_its_counters_are_zero(app: StompApp, slot: Run) -> None:
    assert slot.counters.messages_published == 0
    assert slot.runtime is None


def test_where_nothing_runs_there_is_nothing_to_end(slot: Run) -> None:
    slot.abort()
    run(slot.stop())
    assert slot.runtime is None


def test_an_abort_frees_the_slot(app: StompApp, slot: Run) -> None:
    in_pool(app)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        first = slot.begin(loop)
        slot.abort()
        assert slot.runtime is None
        assert slot.begin(loop) is not first
        app.template.send("/topic/a", b"x")
        assert slot.counters.messages_published == 1
        await slot.stop()

    run(main())


def test_a_start_that_fails_leaves_the_slot_free(app: StompApp, slot: Run) -> None:
    in_pool(app)
    for path in ("/{one}", "/{two}"):

        @app.message_mapping(path)
        def handler() -> None: ...

    async def main() -> None:
        for _ in range(2):
            with pytest.raises(ConfigurationError):
                slot.begin(asyncio.get_running_loop())
            assert slot.runtime is None
            with pytest.raises(BrokerClosed):
                app.template.send("/topic/a", b"x")

    run(main())


# Two at once


def test_to_begin_where_it_runs_is_to_join(app: StompApp, slot: Run) -> None:
    heard = in_pool(app)

    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def begin() -> Runtime:
            await asyncio.sleep(0)
            return slot.begin(loop)

        runtimes = await asyncio.gather(*(begin() for _ in range(20)))
        assert set(runtimes) == {slot.runtime}
        await slot.stop()

    run(main())
    assert heard == [True, False]


def test_user_code_of_the_start_may_begin_it_too(app: StompApp, slot: Run) -> None:
    begun: list[Runtime] = []

    @app.event_listener(BrokerAvailability, inline=True)
    def listen(event: BrokerAvailability) -> None:
        begun.append(slot.begin(asyncio.get_running_loop()))

    async def main() -> None:
        runtime = slot.begin(asyncio.get_running_loop())
        assert begun == [runtime]
        slot.abort()

    run(main())


def test_who_would_stop_it_does_not_join(slot: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        runtime = slot.begin(loop)
        for refused in (slot.make_way, lambda: slot.begin(loop, alone=True)):
            with pytest.raises(WrongLoop, match=HERE):
                refused()
        assert slot.runtime is runtime
        await slot.stop()
        slot.make_way()
        slot.begin(loop, alone=True)
        await slot.stop()

    run(main())


def test_a_loop_that_stands_still_and_one_that_stops_are_told_apart(slot: Run) -> None:
    loop = asyncio.new_event_loop()

    async def begin() -> None:
        slot.begin(asyncio.get_running_loop())

    async def stop() -> None:
        ending = asyncio.ensure_future(slot.stop())
        await asyncio.sleep(0)
        if slot.runtime is not None:
            with pytest.raises(WrongLoop, match="it is stopping: wait for its end"):
                slot.make_way()
        await ending

    loop.run_until_complete(begin())
    with pytest.raises(WrongLoop, match="stands still and was never closed"):
        slot.make_way()
    with pytest.raises(WrongLoop, match="stands still and was never closed"):
        run(begin())
    loop.run_until_complete(stop())
    loop.close()


def test_a_second_live_loop_is_the_wrong_one(app: StompApp, slot: Run) -> None:
    async def begin() -> None:
        with pytest.raises(WrongLoop, match=RUNS_ALREADY):
            slot.begin(asyncio.get_running_loop())

    async def main() -> None:
        runtime = slot.begin(asyncio.get_running_loop())
        assert await asyncio.to_thread(elsewhere, lambda: asyncio.run(begin())) is None
        assert slot.runtime is runtime
        assert slot.counters is runtime.broker.counters
        app.template.send("/topic/a", b"x")
        assert slot.counters.messages_published == 1
        await slot.stop()

    run(main())


def test_a_loop_that_stands_still_is_live(slot: Run) -> None:
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    runtime = slot.begin(first)
    with pytest.raises(WrongLoop):
        slot.begin(second)
    first.run_until_complete(slot.stop())
    assert runtime.closed
    slot.begin(second)
    second.run_until_complete(slot.stop())
    first.close()
    second.close()


def test_of_two_threads_that_begin_one_runs(slot: Run) -> None:
    both, ends = threading.Barrier(2), threading.Barrier(2)
    results: list[str] = []

    async def begin() -> None:
        both.wait(PATIENCE)
        try:
            slot.begin(asyncio.get_running_loop())
        except WrongLoop:
            results.append("refused")
            ends.wait(PATIENCE)
        else:
            results.append("runs")
            ends.wait(PATIENCE)
            await slot.stop()

    for _ in range(20):
        other = threading.Thread(target=asyncio.run, args=(begin(),))
        other.start()
        asyncio.run(begin())
        other.join(PATIENCE)
    assert sorted(results) == ["refused"] * 20 + ["runs"] * 20


# The end


def hold_a_stop(app: StompApp) -> tuple[asyncio.Event, asyncio.Event]:
    """A listener that does not let a stop end: it has begun, and it may end."""
    begun, release = asyncio.Event(), asyncio.Event()

    @app.event_listener(BrokerAvailability)
    async def listen(event: BrokerAvailability) -> None:
        if event.available:
            begun.set()
            await release.wait()

    return begun, release


def test_two_who_stop_it_wait_for_one_end(app: StompApp, slot: Run) -> None:
    begun, release = hold_a_stop(app)

    async def main() -> None:
        runtime = slot.begin(asyncio.get_running_loop())
        await begun.wait()
        first = asyncio.create_task(slot.stop())
        second = asyncio.create_task(slot.stop())
        third = asyncio.create_task(slot.stop())
        await asyncio.sleep(0)
        assert slot.begin(asyncio.get_running_loop()) is runtime
        third.cancel()
        await asyncio.wait({third})
        assert third.cancelled()
        assert slot.runtime is runtime
        assert [runtime.closed, first.done(), second.done()] == [False] * 3
        release.set()
        await asyncio.gather(first, second)
        assert (slot.runtime, runtime.closed) == (None, True)

    run(main())


def test_a_stop_that_is_cancelled_ends_at_once(app: StompApp, slot: Run) -> None:
    begun, _ = hold_a_stop(app)

    async def main() -> None:
        runtime = slot.begin(asyncio.get_running_loop())
        await begun.wait()
        first = asyncio.create_task(slot.stop())
        second = asyncio.create_task(slot.stop())
        await asyncio.sleep(0)
        first.cancel()
        await second
        assert first.cancelled()
        assert (slot.runtime, runtime.closed) == (None, True)

    run(main())


def test_a_stop_that_an_abort_overtook_leaves_the_next_run_alone(app: StompApp, slot: Run) -> None:
    begun, _ = hold_a_stop(app)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        slot.begin(loop)
        await begun.wait()
        stopping = asyncio.create_task(slot.stop())
        await asyncio.sleep(0)
        slot.abort()
        runtime = slot.begin(loop)
        await stopping
        assert (slot.runtime, runtime.closed) == (runtime, False)
        assert (
            await asyncio.to_thread(elsewhere, lambda: app.template.send("/topic/a", b"x")) is None
        )
        app.template.send("/topic/a", b"y")
        assert slot.counters.messages_published == 2
        slot.abort()

    run(main())


# A loop that was closed without a stop


def vanish(slot: Run, app: StompApp) -> tuple[Server, socket.socket]:
    """Serve a client on a loop that ends without a stop; the server, and that client."""

    async def main() -> tuple[Server, socket.socket]:
        server = Server(slot, app.site(), Address("127.0.0.1", 0))
        await server.start()
        return server, await connected(server.ports[0])

    served: tuple[Server, socket.socket] = run(main())
    return served


def test_a_run_whose_loop_was_closed_is_thrown_away_by_the_next(app: StompApp, slot: Run) -> None:
    heard = in_pool(app)
    ends: list[str] = []

    @app.event_listener(SessionDisconnected, inline=True)
    def listen(event: SessionDisconnected) -> None:
        ends.append(event.reason)

    server, client = vanish(slot, app)
    dead = slot.runtime
    assert dead is not None
    assert not dead.closed

    async def main() -> None:
        runtime = slot.begin(asyncio.get_running_loop())
        assert slot.runtime is runtime is not dead
        assert dead.closed
        assert rest(client) == b""
        assert dead.driver.connections == 0
        assert not dead.broker.sessions
        # The server of the dead run has ended with it, and has no part in this one.
        assert list(server.ports) == []
        server.abort()
        assert slot.runtime is runtime
        app.template.send("/topic/a", b"x")
        assert slot.counters.messages_published == 1
        await slot.stop()

    run(main())
    assert ends == []
    assert heard[-2:] == [True, False]
    assert heard.count(False) == 1


def test_what_is_posted_while_no_loop_runs_is_kept_for_the_next(app: StompApp, slot: Run) -> None:
    _, client = vanish(slot, app)
    app.template.send("/topic/a", b"from the thread of the loop")
    assert elsewhere(lambda: app.template.send("/topic/a", b"from another")) is None
    assert slot.counters.messages_published == 0

    async def main() -> None:
        waiting = asyncio.create_task(app.template.publish("/topic/a", b"awaited"))
        await asyncio.sleep(0)
        assert not waiting.done()
        slot.begin(asyncio.get_running_loop())
        assert slot.counters.messages_published == 3
        assert isinstance(await waiting, Published)
        await slot.stop()

    run(main())
    client.close()


@pytest.mark.parametrize("end", ["stop", "abort", "make_way"])
def test_a_run_whose_loop_was_closed_may_be_ended_for_itself(
    app: StompApp, slot: Run, end: str
) -> None:
    in_pool(app)
    server, client = vanish(slot, app)
    if end == "stop":
        run(slot.stop())
    else:
        getattr(slot, end)()
    assert slot.runtime is None
    assert rest(client) == b""
    assert list(server.ports) == []
    app.template.send("/topic/a", b"kept")

    async def again() -> None:
        slot.begin(asyncio.get_running_loop())
        assert slot.counters.messages_published == 1
        await slot.stop()

    run(again())


def test_a_handler_that_hung_on_the_closed_loop_disturbs_nobody(app: StompApp, slot: Run) -> None:
    begun = asyncio.Event()
    handled: list[str] = []

    @app.message_mapping("/hang")
    async def hang() -> None:
        begun.set()
        await asyncio.Event().wait()

    @app.message_mapping("/x")
    async def handler() -> None:
        handled.append("x")

    async def first() -> socket.socket:
        server = Server(slot, app.site(), Address("127.0.0.1", 0))
        await server.start()
        client = await connected(server.ports[0])
        frames = stomp("SEND", {"destination": "/app/hang"}) + stomp(
            "SEND", {"destination": "/app/x"}
        )
        await asyncio.get_running_loop().sock_sendall(client, frames)
        await begun.wait()
        return client

    # Nobody cancels what is left on this loop, as `asyncio.run` would.
    loop = asyncio.new_event_loop()
    client = loop.run_until_complete(first())
    loop.close()

    async def second() -> None:
        slot.begin(asyncio.get_running_loop())
        assert rest(client) == b""
        await slot.stop()

    run(second())
    assert handled == []


@pytest.mark.parametrize("when", ["between the runs", "in the next run"])
def test_a_pool_function_of_the_closed_loop_that_returns_late(
    app: StompApp, slot: Run, when: str
) -> None:
    begun, release, returned = threading.Event(), threading.Event(), threading.Event()
    late: list[int] = []
    hand_over = app.inbox.hand_over

    def watched(result: Any) -> None:
        hand_over(result)
        if threading.get_ident() in late:
            returned.set()

    app.inbox.hand_over = watched  # type: ignore[method-assign]

    @app.event_listener(BrokerAvailability)
    def listen(event: BrokerAvailability) -> None:
        if not begun.is_set():
            late.append(threading.get_ident())
            begun.set()
            assert release.wait(PATIENCE)
            app.template.send("/topic/a", b"late")

    async def first() -> None:
        slot.begin(asyncio.get_running_loop())
        await asyncio.to_thread(begun.wait, PATIENCE)

    async def second() -> None:
        loop = asyncio.get_running_loop()
        problems: list[Any] = []
        loop.set_exception_handler(lambda _, context: problems.append(context))
        if when == "between the runs":
            release.set()
            assert await asyncio.to_thread(returned.wait, PATIENCE)
        slot.begin(loop)
        release.set()
        assert await asyncio.to_thread(returned.wait, PATIENCE)
        await slot.stop()
        assert problems == []

    run(first())
    dead = slot.runtime
    assert dead is not None
    run(second())
    assert dead.broker.counters.messages_published == 0
    assert slot.counters.messages_published == 1


def test_a_session_of_a_run_that_stops_is_told_and_the_next_starts_empty(
    app: StompApp, slot: Run
) -> None:
    ends: list[str] = []

    @app.event_listener(SessionDisconnected, inline=True)
    def listen(event: SessionDisconnected) -> None:
        ends.append(event.reason)

    async def main() -> None:
        async with Server(slot, app.site(), Address("127.0.0.1", 0)) as server:
            line = await Line.connected(server)
            ended = asyncio.create_task(line.ended())
        assert b"server restarts" in await ended
        runtime = slot.begin(asyncio.get_running_loop())
        assert (runtime.driver.connections, len(runtime.broker.sessions)) == (0, 0)
        await slot.stop()

    run(main())
    assert ends == [DisconnectReason.SERVER_SHUTDOWN]


# An engine behind several workers that a start requires


class Deaf:
    """An engine that says what a test says."""

    def __init__(self, *events: BackplaneEvent, required: bool = True) -> None:
        self.config = BackplaneSettings(require_at_start=required, subscribe_timeout=0.05)
        self._events = events

    def open(self, worker: str, agreement: str, receive: Any) -> Any:
        receive(list(self._events))
        return self

    def send(self, commands: object) -> None: ...
    def close(self) -> None: ...
    def partition(self, channel: str) -> int:
        return 0


@pytest.mark.parametrize(
    ("events", "error", "text"),
    [
        ((), BackplaneUnavailable, r"require_at_start: .* was not there within 0.05 s$"),
        ((Lost("no route"),), BackplaneUnavailable, "within 0.05 s: no route"),
        ((Lost("other policies", fatal=True),), ConfigurationError, "^other policies$"),
    ],
)
def test_a_start_that_requires_an_engine_fails_without_it(
    events: tuple[BackplaneEvent, ...], error: type[Exception], text: str
) -> None:
    async def main() -> None:
        app = StompApp("/ws", backplane=Deaf(*events))
        for _ in range(2):  # the second time says what the first one has left
            run = Run(app)
            server = Server(run, app.site(), Address("127.0.0.1", 0))
            with pytest.raises(error, match=text):
                await server.start()
            assert run.runtime is None
            assert not app.ready

    asyncio.run(main())


@pytest.mark.parametrize("engine", [Deaf(Connected()), Deaf(required=False)])
def test_a_start_goes_on_with_an_engine_or_where_none_is_required(engine: Deaf) -> None:
    async def main() -> None:
        app = StompApp("/ws", backplane=engine)
        async with app.listen("127.0.0.1", 0):
            await asyncio.sleep(0)  # the engine is asked in the next turn
            assert app.ready is bool(engine._events)

    asyncio.run(main())

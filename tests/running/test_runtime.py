"""Runs of an application: one after another, and how a stop treats what is under way."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest
from carriers.client import CLOSE, connect_frame, http_request, stomp, upgrade, ws_frame
from carriers.line import Line, run, serving

from stocksync_ws import (
    BrokerClosed,
    ConnectRequest,
    DisconnectReason,
    Frame,
    HttpRequest,
    Limits,
    SessionDisconnected,
    StompApp,
    controller,
    message_mapping,
)
from stocksync_ws.broker.broker import Broker
from stocksync_ws.broker.model.pipeline import Call, Mode
from stocksync_ws.running import pool
from stocksync_ws.running.runtime import Runtime, token
from stocksync_ws.testing.clock import VirtualLoop
from stocksync_ws.testing.world import World
from stocksync_ws.types import Refusal
from tests.broker.kit import User

PATIENCE = 10.0
TRACE: ContextVar[str] = ContextVar("trace", default="unset")


@pytest.fixture
def app() -> StompApp:
    return StompApp("/ws", limits=Limits(close_timeout=0.2, shutdown_timeout=0.4))


def test_tokens_are_random_and_long_enough() -> None:
    assert len({token(128) for _ in range(1_000)}) == 1_000
    assert len(token(128)) == 22
    assert len(token(72)) == 12


def test_it_starts_stops_and_starts_again_on_another_loop(app: StompApp) -> None:
    async def main() -> bytes:
        async with serving(app) as server:
            line = await Line.connected(server)
            line.writer.write(
                stomp("SUBSCRIBE", {"id": "1", "destination": "/topic/a", "receipt": "r"})
            )
            await line.reader.readuntil(b"\0")
            app.template.send("/topic/a", b"hello")
            message = await line.reader.readuntil(b"\0")
            line.writer.write(ws_frame(CLOSE, b"\x03\xe8"))
            await line.ended()
            return message

    for _ in range(3):
        assert run(main()).endswith(b"hello\0")


def nothing(app: StompApp) -> None:
    @app.message_mapping("/a")
    async def handle() -> None: ...

    @app.event_listener(SessionDisconnected, inline=True)
    def hear(event: SessionDisconnected) -> None: ...


def a_handler(app: StompApp) -> None:
    @app.message_mapping("/a")
    def handle() -> None: ...


def a_listener(app: StompApp) -> None:
    @app.event_listener(SessionDisconnected)
    def hear(event: SessionDisconnected) -> None: ...


def a_rule(app: StompApp) -> None:
    @app.authorize("/topic/**")
    def may() -> bool:
        return True


def an_answer(app: StompApp) -> None:
    @app.subscribe_mapping("/a")
    def answer() -> str:
        return ""


def a_snapshot(app: StompApp) -> None:
    @app.snapshot("/topic/a")
    def first() -> str:
        return ""


def an_exception_handler(app: StompApp) -> None:
    @app.message_exception_handler(ValueError)
    def handle(error: ValueError) -> None: ...


def a_method(app: StompApp) -> None:
    @controller()
    class Things:
        @message_mapping("/a")
        def handle(self) -> None: ...

    app.include(Things())


def an_interceptor_of_handshakes(app: StompApp) -> None:
    @app.handshake_interceptor()
    def look(request: HttpRequest) -> None: ...


def an_interceptor(app: StompApp) -> None:
    @app.inbound_interceptor()
    def look(frame: Frame) -> None: ...


def user_of(request: ConnectRequest) -> User:
    return User("ann")


async def user_soon(request: ConnectRequest) -> User:
    return User("ann")


def user_of_upgrade(request: HttpRequest) -> User:
    return User("ann")


def roles_of(user: User) -> set[str]:
    return set()


@pytest.mark.parametrize(
    ("declare", "settings", "plain"),
    [
        (nothing, {}, False),
        (nothing, {"authenticator": user_soon}, False),
        (a_handler, {}, True),
        (a_listener, {}, True),
        (a_rule, {}, True),
        (an_answer, {}, True),
        (a_snapshot, {}, True),
        (an_exception_handler, {}, True),
        (a_method, {}, True),
        (an_interceptor_of_handshakes, {}, True),
        (an_interceptor, {}, True),
        (nothing, {"authenticator": user_of}, True),
        (nothing, {"handshake_authenticator": user_of_upgrade}, True),
        (nothing, {"authenticator": user_soon, "roles": roles_of}, True),
    ],
)
def test_threads_start_with_a_run_that_has_plain_functions(
    declare: Callable[[StompApp], None],
    settings: dict[str, Any],
    plain: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[str] = []

    def start(function: Callable[[], None], name: str, *, daemon: bool) -> None:
        started.append(name)

    async def main() -> None:
        async with serving(app):
            pass

    monkeypatch.setattr(pool, "start_thread", start)
    app = StompApp("/ws", **settings)
    declare(app)
    run(main())
    assert started == ["stocksync-handler", "stocksync-authenticator", "stocksync-listener"] * plain


def test_a_handler_in_a_thread_sees_the_context_of_the_server(app: StompApp) -> None:
    seen: list[str] = []

    @app.message_mapping("/x")
    def handler() -> None:
        seen.append(TRACE.get())

    async def main() -> None:
        TRACE.set("of the server")
        async with serving(app) as server:
            line = await Line.connected(server)
            line.writer.write(stomp("SEND", {"destination": "/app/x", "receipt": "r"}))
            await line.reader.readuntil(b"\0")
            line.writer.write(ws_frame(CLOSE, b"\x03\xe8"))
            await line.ended()

    run(main())
    assert seen == ["of the server"]


def test_idle_keep_alive_connections_do_not_hold_a_stop_up(app: StompApp) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with serving(app) as server:
            silent = await Line.open(server)
            half = await Line.open(server, b"GET / HT")
            idle = await Line.open(server, http_request())
            await idle.reader.readline()
            began = loop.time()
        assert loop.time() - began < 0.2
        for line in (silent, half, idle):
            await line.ended()

    run(main())


@pytest.mark.parametrize("verdict", [None, Refusal(403, "Not you.")])
def test_a_handshake_may_wait_for_its_answer(app: StompApp, verdict: Refusal | None) -> None:
    asked, decided = asyncio.Event(), asyncio.Event()

    async def decide() -> None:
        asked.set()
        await decided.wait()

    def pipeline(handshake: object) -> Any:
        yield Call(decide, mode=Mode.ASYNC)
        return verdict

    app.dispatch.handshake = pipeline  # type: ignore[method-assign]

    async def main() -> None:
        async with serving(app) as server:
            line = await Line.open(server, upgrade() + connect_frame())
            await asked.wait()
            decided.set()
            status = await line.reader.readline()
            assert status.startswith(b"HTTP/1.1 403" if verdict else b"HTTP/1.1 101")
            if verdict is None:
                assert b"CONNECTED" in await line.reader.readuntil(b"\0")
            line.writer.close()

    run(main())


def test_a_stop_answers_handshakes_that_are_open_with_503(app: StompApp) -> None:
    asked = asyncio.Event()

    async def decide() -> None:
        asked.set()
        await asyncio.Event().wait()

    def pipeline(handshake: object) -> Any:
        yield Call(decide, mode=Mode.ASYNC)

    app.dispatch.handshake = pipeline  # type: ignore[method-assign]

    async def main() -> None:
        async with serving(app) as server:
            line = await Line.open(server, upgrade())
            await asked.wait()
            ended = asyncio.create_task(line.ended())
        assert (await ended).startswith(b"HTTP/1.1 503 ")

    run(main())


def test_a_stop_lets_a_running_handler_finish_and_answer(app: StompApp) -> None:
    begun, release = asyncio.Event(), asyncio.Event()
    done: list[str] = []

    @app.message_mapping("/x")
    async def handler() -> None:
        begun.set()
        await release.wait()
        done.append("finished")

    async def main() -> None:
        async with serving(app) as server:
            line = await Line.connected(server)
            line.writer.write(stomp("SEND", {"destination": "/app/x"}))
            await begun.wait()
            ended = asyncio.create_task(line.ended())
            asyncio.get_running_loop().call_later(0.05, release.set)
        assert b"\x03\xf4server restarts" in await ended

    run(main())
    assert done == ["finished"]


def test_a_stop_cancels_a_handler_that_does_not_end(app: StompApp) -> None:
    begun = asyncio.Event()
    ends: list[str] = []

    @app.message_mapping("/x")
    async def handler() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ends.append("cancelled")

    @app.event_listener(SessionDisconnected, inline=True)
    def listen(event: SessionDisconnected) -> None:
        ends.append(event.reason)

    async def main() -> None:
        async with serving(app) as server:
            line = await Line.connected(server)
            line.writer.write(stomp("SEND", {"destination": "/app/x"}))
            await begun.wait()
            ended = asyncio.create_task(line.ended())
        await ended
        await asyncio.sleep(0)

    run(main())
    assert sorted(ends) == ["cancelled", DisconnectReason.SERVER_SHUTDOWN]


def test_a_peer_that_ignores_the_close_is_cut_off(app: StompApp) -> None:
    async def main() -> None:
        async with serving(app) as server:
            line = await Line.connected(server)
        data = await line.ended()
        assert b"\x03\xf4server restarts" in data

    run(main())


def test_a_stop_that_waits_does_not_burn_the_loop(app: StompApp) -> None:
    turns = 0

    async def main() -> None:
        nonlocal turns
        async with serving(app) as server:
            line = await Line.connected(server)
            soon = server._runtime.host.soon

            def counted(callback: Any) -> None:
                nonlocal turns
                turns += 1
                soon(callback)

            server._runtime.host.soon = counted  # type: ignore[method-assign]
        await line.ended()

    run(main())
    assert turns < 50


def test_a_pool_function_that_outlives_the_stop_does_not_disturb_the_next_run() -> None:
    app = StompApp("/ws", limits=Limits(close_timeout=0.05, shutdown_timeout=0.1))
    begun, release, returned = threading.Event(), threading.Event(), threading.Event()

    @app.message_mapping("/x")
    def handler() -> None:
        begun.set()
        release.wait(PATIENCE)
        raise ValueError

    @app.message_exception_handler(ValueError)
    def on_error(error: ValueError) -> None: ...

    hand_over = app.inbox.hand_over

    def watched(result: Any) -> None:
        hand_over(result)
        returned.set()

    app.inbox.hand_over = watched  # type: ignore[method-assign]

    async def first() -> None:
        async with serving(app) as server:
            line = await Line.connected(server)
            line.writer.write(stomp("SEND", {"destination": "/app/x"}))
            await asyncio.to_thread(begun.wait, PATIENCE)
        await line.ended()

    async def second() -> None:
        async with serving(app) as server:
            line = await Line.connected(server)
            line.writer.close()
            await line.writer.wait_closed()

    run(first())
    release.set()
    assert returned.wait(PATIENCE)
    run(second())


def test_a_pool_function_that_returns_in_a_later_run_on_the_same_loop_is_nobodys(
    app: StompApp,
) -> None:
    begun, release, returned = threading.Event(), threading.Event(), threading.Event()
    mapped: list[str] = []

    @app.message_mapping("/x")
    def handler() -> None:
        begun.set()
        release.wait(PATIENCE)
        raise ValueError

    @app.message_exception_handler(ValueError)
    def on_error(error: ValueError) -> None:
        mapped.append("too late")

    hand_over = app.inbox.hand_over

    def watched(result: Any) -> None:
        hand_over(result)
        returned.set()

    app.inbox.hand_over = watched  # type: ignore[method-assign]

    async def main() -> None:
        problems: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, what: problems.append(what))
        async with serving(app) as server:
            line = await Line.connected(server)
            line.writer.write(stomp("SEND", {"destination": "/app/x"}))
            await asyncio.to_thread(begun.wait, PATIENCE)
            server.abort()
            await line.ended()
        async with serving(app) as server:
            release.set()
            assert await asyncio.to_thread(returned.wait, PATIENCE)
        assert problems == []

    run(main())
    assert mapped == []


def test_a_stop_after_the_end_does_nothing(app: StompApp) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        first = Runtime(app, loop)
        first.start()
        first.close()
        second = Runtime(app, loop)
        second.start()
        await first.stop()
        first.close()
        await asyncio.to_thread(app.template.send, "/topic/a", b"x")
        app.template.send("/topic/a", b"y")
        assert second.broker.counters.messages_published == 2
        await second.stop()

    run(main())


def test_an_application_keeps_nothing_of_a_run_that_has_ended(app: StompApp) -> None:
    def brokers() -> int:
        gc.collect()
        return sum(type(each) is Broker for each in gc.get_objects())

    before = brokers()
    world = World(app)
    world.connect()
    assert brokers() == before + 1
    world.close()
    del world
    assert brokers() == before
    with pytest.raises(BrokerClosed):
        app.template.send("/topic/a", b"")


def test_a_loop_that_was_closed_without_a_stop_loses_only_the_wake_up(app: StompApp) -> None:
    async def main() -> Runtime:
        runtime = Runtime(app, asyncio.get_running_loop())
        runtime.start()
        return runtime

    runtime = run(main())
    thread = threading.Thread(target=app.template.send, args=("/topic/a", b"x"))
    thread.start()
    thread.join(PATIENCE)
    assert runtime.broker.counters.messages_published == 0
    with World(app) as world:
        assert world.counters.messages_published == 1
    runtime.close()


@pytest.mark.parametrize("loop_closed", [False, True])
def test_who_made_something_beside_it_and_fails_to_end_that_does_not_keep_it_open(
    app: StompApp, caplog: pytest.LogCaptureFixture, loop_closed: bool
) -> None:
    called: list[str] = []

    def fail() -> None:
        called.append("first")
        raise ValueError("broken")

    loop = VirtualLoop()
    runtime = app._run.begin(loop)
    runtime.at_end += [fail, lambda: called.append("second")]
    if loop_closed:
        loop.close()
    app._run.abort()
    assert called == ["first", "second"]
    assert app._run.runtime is None
    assert all(pool._closed for pool in runtime.host._pools.values())
    assert "internal error at the end of a run" in caplog.text
    with World(app):
        pass
    loop.close()


def test_an_abort_resets_at_once_and_a_later_stop_does_nothing(app: StompApp) -> None:
    async def main() -> None:
        async with serving(app) as server:
            line = await Line.connected(server)
            server.abort()
            assert b"server" not in await line.ended()
        assert list(server.ports) == []

    run(main())


def test_a_handler_that_an_abort_cancels_has_not_failed(
    app: StompApp, caplog: pytest.LogCaptureFixture
) -> None:
    ended: list[str] = []

    async def main() -> None:
        begun, cleaned = asyncio.Event(), asyncio.Event()

        @app.message_mapping("/x")
        async def handler() -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                cleaned.set()

        @app.message_exception_handler(Exception)
        def mapped(error: Exception) -> None:
            ended.append(str(error))

        async with serving(app) as server:
            line = await Line.connected(server)
            line.writer.write(stomp("SEND", {"destination": "/app/x"}))
            await begun.wait()
            server.abort()
            await cleaned.wait()
            await line.ended()

    run(main())
    assert [each for each in caplog.messages if "failed" in each] == []
    assert ended == []


def test_a_second_signal_does_not_wait_for_a_pool_function() -> None:
    app = StompApp("/ws", limits=Limits(shutdown_timeout=8))
    begun, release = threading.Event(), threading.Event()

    @app.message_mapping("/x")
    def handler() -> None:
        begun.set()
        release.wait(PATIENCE)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with serving(app) as server:
            line = await Line.connected(server)
            line.writer.write(stomp("SEND", {"destination": "/app/x"}))
            await asyncio.to_thread(begun.wait, PATIENCE)
            for delay in (0.0, 0.01):
                loop.call_later(delay, os.kill, os.getpid(), signal.SIGTERM)
            loop.call_later(1, release.set)
            await server.serve_forever(signals=True)
            waited = release.is_set()
            release.set()
            await line.ended()
            assert not waited

    run(main())


def test_serve_forever_gives_its_signals_back(app: StompApp) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with serving(app) as server:
            loop.call_soon(os.kill, os.getpid(), signal.SIGTERM)
            await server.serve_forever(signals=True)
            assert not loop.remove_signal_handler(signal.SIGTERM)
            assert not loop.remove_signal_handler(signal.SIGINT)

    run(main())


def test_what_was_kept_is_still_there_when_no_thread_can_be_started(
    app: StompApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(function: Callable[[], None], name: str, *, daemon: bool) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(pool, "start_thread", start)
            with pytest.raises(RuntimeError, match="new thread"):
                Runtime(app, asyncio.get_running_loop()).start()
        again = Runtime(app, asyncio.get_running_loop())
        again.start()
        assert again.broker.counters.messages_published == 1
        await again.stop()

    a_handler(app)
    app.template.send("/topic/a", b"x")
    run(main())

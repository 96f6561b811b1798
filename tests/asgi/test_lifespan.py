"""The lifespan around that of the inner application: what begins first, and what ends last."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from stocksync_ws import (
    BackplaneSettings,
    BackplaneUnavailable,
    BrokerAvailability,
    BrokerClosed,
    Limits,
    SessionDisconnected,
    StompApp,
)
from stocksync_ws.testing import MemoryBackplane
from tests.asgi.host import Asgi, Lifespan, host_of

Serve = Callable[..., Asgi]


class Inner:
    """An application with a lifespan, which publishes in its startup and in its shutdown."""

    def __init__(self, app: StompApp, story: list[str]) -> None:
        self._app = app
        self._story = story

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "lifespan"
        assert scope["state"] == {}
        assert (await receive())["type"] == "lifespan.startup"
        self._story.append("inner starts")
        self._app.template.send("/topic/a", b"startup")
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        self._story.append("inner stops")
        self._app.template.send("/topic/a", b"shutdown")
        await send({"type": "lifespan.shutdown.complete"})


def told(app: StompApp) -> list[str]:
    story: list[str] = []

    @app.event_listener(BrokerAvailability, inline=True)
    def broker(event: BrokerAvailability) -> None:
        story.append(f"broker {'up' if event.available else 'down'}")

    @app.event_listener(SessionDisconnected)
    async def session(event: SessionDisconnected) -> None:
        story.append("session closes")
        await asyncio.sleep(1)
        story.append("its listener is done")

    return story


def begun(host: Asgi) -> Lifespan:
    lifespan = host.lifespan()
    assert lifespan.tell("startup") == ["startup.complete"]
    return lifespan


def test_the_order_of_everything(app: StompApp, serve: Serve) -> None:
    story = told(app)
    host = serve(app, Inner(app, story))
    lifespan = begun(host)
    assert story == ["broker up", "inner starts"]
    assert app.counters.messages_published == 1
    client = host.open().connect()
    assert lifespan.tell("shutdown") == ["startup.complete"]
    assert client.closed is not None
    assert client.closed["code"] == 1012
    host.advance(2)
    assert lifespan.said == ["startup.complete", "shutdown.complete"]
    assert story[2:] == ["session closes", "its listener is done", "inner stops", "broker down"]
    assert app.counters.messages_published == 2
    assert app._run.runtime is None
    with pytest.raises(BrokerClosed):
        app.template.send("/topic/a", b"late")


def test_the_run_is_over_when_the_host_hears_of_the_end(app: StompApp, serve: Serve) -> None:
    host = serve(app, Inner(app, []))
    inner, host.app = host.app, None  # type: ignore[assignment]
    running: list[bool] = []

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        async def look(message: Any) -> None:
            running.append(app._run.runtime is not None)
            await send(message)

        await inner(scope, receive, look)

    host.app = outer
    begun(host).tell("shutdown")
    assert running == [True, False]


def test_sessions_that_do_not_end_do_not_hold_the_shutdown_up(serve: Serve) -> None:
    app = StompApp("/ws", limits=Limits(close_timeout=1, shutdown_timeout=4))

    @app.event_listener(SessionDisconnected)
    async def listen(event: SessionDisconnected) -> None:
        await asyncio.Event().wait()

    host = serve(app)
    lifespan = begun(host)
    host.open().connect()
    lifespan.tell("shutdown")
    host.advance(2.9)
    assert lifespan.said == ["startup.complete"]
    host.advance(1.2)
    assert lifespan.said == ["startup.complete", "shutdown.complete"]
    assert host.tasks() == set()


def test_a_host_is_told_that_a_required_engine_is_not_there(serve: Serve) -> None:
    engine = MemoryBackplane(BackplaneSettings(require_at_start=True, subscribe_timeout=3))
    engine.reachable = False
    app = StompApp("/ws", backplane=engine)
    host = serve(app)
    lifespan = host.lifespan()
    assert lifespan.tell("startup") == []
    host.advance(2.9)
    assert lifespan.said == []
    host.advance(0.2)
    assert lifespan.said == ["startup.failed"]
    assert "was not there within 3 s" in lifespan.sent[0]["message"]
    assert isinstance(lifespan.task.exception(), BackplaneUnavailable)
    assert app._run.runtime is None


def test_a_host_starts_when_a_required_engine_has_come(serve: Serve) -> None:
    engine = MemoryBackplane(BackplaneSettings(require_at_start=True))
    engine.reachable = False
    app = StompApp("/ws", backplane=engine)
    host = serve(app)
    lifespan = host.lifespan()
    assert lifespan.tell("startup") == []
    engine.reconnect()
    host.advance(0)
    assert lifespan.said == ["startup.complete"]


# Applications without a lifespan


async def returns(scope: Any, receive: Any, send: Any) -> None:
    """As some do with a scope that they do not know."""


async def raises(scope: Any, receive: Any, send: Any) -> None:
    """As Django does."""
    raise ValueError(f"Django can only handle ASGI/HTTP connections, not {scope['type']}.")


async def raises_late(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    raise KeyError("path")


def test_a_startup_that_raises_after_it_was_asked_for_is_a_failed_one(
    app: StompApp, serve: Serve
) -> None:
    host = serve(app, raises_late)
    lifespan = host.lifespan()
    assert lifespan.tell("startup") == ["startup.failed"]
    with pytest.raises(KeyError):
        lifespan.task.result()
    assert app._run.runtime is None


@pytest.mark.parametrize("inner", [returns, raises])
def test_an_application_without_a_lifespan_gets_ours(
    app: StompApp, serve: Serve, inner: Any
) -> None:
    host = serve(app, inner)
    lifespan = begun(host)
    client = host.open().connect().subscribe("/topic/a")
    app.template.send("/topic/a", b"1")
    assert client.bodies() == [b"1"]
    assert lifespan.tell("shutdown") == ["startup.complete", "shutdown.complete"]
    assert client.over
    assert lifespan.task.done()
    assert lifespan.task.exception() is None


def test_an_application_that_starts_and_returns_has_no_shutdown_of_its_own(
    app: StompApp, serve: Serve
) -> None:
    async def inner(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})

    lifespan = begun(serve(app, inner))
    assert lifespan.tell("of_the_future") == ["startup.complete"]
    assert lifespan.tell("shutdown") == ["startup.complete", "shutdown.complete"]
    assert app._run.runtime is None


def test_an_application_that_hears_of_the_shutdown_and_says_nothing(
    app: StompApp, serve: Serve
) -> None:
    async def inner(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()

    lifespan = begun(serve(app, inner))
    assert lifespan.tell("shutdown") == ["startup.complete", "shutdown.complete"]
    assert lifespan.task.done()


# Failures


def test_a_startup_that_fails_ends_the_run(app: StompApp, serve: Serve) -> None:
    async def inner(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})
        raise RuntimeError("no database")

    host = serve(app, inner)
    lifespan = host.lifespan()
    assert lifespan.tell("startup") == ["startup.failed"]
    assert lifespan.sent[0]["message"] == "no database"
    assert app._run.runtime is None
    with pytest.raises(RuntimeError, match="no database"):
        lifespan.task.result()
    assert host.open().messages == [{"type": "websocket.close", "code": 1008}]


def test_a_startup_that_fails_quietly_ends_the_run(app: StompApp, serve: Serve) -> None:
    async def inner(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    lifespan = serve(app, inner).lifespan()
    assert lifespan.tell("startup") == ["startup.failed"]
    assert lifespan.task.done()
    assert app._run.runtime is None


def test_an_application_that_breaks_while_it_runs_ends_the_run(app: StompApp, serve: Serve) -> None:
    async def inner(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raise RuntimeError("broken shutdown")

    host = serve(app, inner)
    lifespan = begun(host)
    client = host.open().connect()
    lifespan.tell("shutdown")
    with pytest.raises(RuntimeError, match="broken shutdown"):
        lifespan.task.result()
    assert client.over
    assert app._run.runtime is None


def test_a_declaration_that_cannot_work_fails_the_startup(app: StompApp, serve: Serve) -> None:
    @app.message_mapping("/x")
    def handler(what: Undeclared) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    story: list[str] = []
    lifespan = serve(app, Inner(app, story)).lifespan()
    assert lifespan.tell("startup") == ["startup.failed"]
    assert "Undeclared" in lifespan.sent[0]["message"]
    assert lifespan.task.exception() is not None
    assert (story, app._run.runtime) == ([], None)


def test_a_host_that_cancels_its_lifespan_ends_the_run(app: StompApp, serve: Serve) -> None:
    """Some hosts end a lifespan by cancelling it, and go on with the loop."""
    host = serve(app, Inner(app, []))
    lifespan = begun(host)
    client = host.open().connect()
    lifespan.task.cancel()
    host.settle()
    assert lifespan.task.cancelled()
    assert client.over
    assert app._run.runtime is None


# A lifespan that is not there


def test_without_a_lifespan_the_first_websocket_begins(app: StompApp) -> None:
    """Pitfall 9: a mounted application and some hosts never have one. The loop ends the run."""
    host = host_of(app, raises)
    client = host.open().connect().subscribe("/topic/a")
    app.template.send("/topic/a", b"1")
    assert client.bodies() == [b"1"]
    host.close()
    assert client.task.done()
    app._run.abort()
    assert app._run.runtime is None


def test_a_lifespan_that_begins_late_joins_the_run(app: StompApp, serve: Serve) -> None:
    host = serve(app)
    client = host.open().connect().subscribe("/topic/a")
    runtime = app._run.runtime
    lifespan = begun(host)
    assert app._run.runtime is runtime
    app.template.send("/topic/a", b"1")
    assert client.bodies() == [b"1"]
    lifespan.tell("shutdown")
    assert client.over


# Two hosts of one application


async def ordinary(scope: Any, receive: Any, send: Any) -> None:
    for answer in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{answer}.complete"})


def second_host(host: Asgi, application: Any) -> Lifespan:
    """The lifespan of another host on the same loop."""
    first, host.app = host.app, application
    lifespan = begun(host)
    host.app = first
    return lifespan


@pytest.mark.parametrize("inner", [ordinary, raises])
@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("first_ends_first", [False, True])
def test_the_last_lifespan_of_two_hosts_ends_the_run(
    app: StompApp, serve: Serve, inner: Any, same: bool, first_ends_first: bool
) -> None:
    """Of two applications that one `StompApp` is in, or of one application that both serve."""
    host = serve(app, inner)
    second = host.app if same else app.wrap(inner, signals=False)
    lifespans = [begun(host), second_host(host, second)]
    client = host.open().connect().subscribe("/topic/a")
    if first_ends_first:
        lifespans.reverse()
    assert lifespans.pop().tell("shutdown")[1:] == ["shutdown.complete"]
    app.template.send("/topic/a", b"1")
    assert client.bodies() == [b"1"]
    assert client.closed is None
    # An application whose only host has gone lets nobody in any more.
    late = host.open().connect() if same else client
    [last] = lifespans
    last.tell("shutdown")
    host.advance(2)  # Closes are spread.
    assert last.said[1:] == ["shutdown.complete"]
    assert client.closed is not None
    assert client.closed["code"] == 1012
    assert client.over
    assert late.over
    assert app._run.runtime is None


def test_a_lifespan_beside_another_that_is_cancelled_or_fails_leaves_the_run(
    app: StompApp, serve: Serve
) -> None:
    fails = False

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        await (raises_late if fails else ordinary)(scope, receive, send)

    host = serve(app, inner)
    lifespan = begun(host)
    client = host.open().connect()
    for second in (host.app, app.wrap(inner, signals=False)):
        fails = False
        second_host(host, second).task.cancel()
        fails = True
        first, host.app = host.app, second
        assert host.lifespan().tell("startup") == ["startup.failed"]
        host.app = first
    fails = False
    late = host.open().connect()
    assert client.closed is None
    lifespan.tell("shutdown")
    host.advance(2)
    assert client.over
    assert late.over
    assert app._run.runtime is None


def test_other_scopes_are_passed_on_untouched(app: StompApp, serve: Serve) -> None:
    seen: list[Any] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    host = serve(app, inner)
    scope = {"type": "of_the_future", "path": "/ws"}
    host.loop.run(host.app(scope, None, None))  # type: ignore[arg-type]
    assert seen[0] is scope
    host.open(path="/other")
    assert seen[1]["path"] == "/other"
    assert app._run.runtime is None


def test_nothing_is_logged_above_info_in_an_ordinary_life(
    app: StompApp, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    host = serve(app, raises)
    lifespan = begun(host)
    host.open().connect()
    lifespan.tell("shutdown")
    assert [each for each in caplog.records if each.levelno > logging.INFO] == []

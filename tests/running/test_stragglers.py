"""What goes on when its run is over: named, and waited for no longer. On the virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from stocksync_ws import Limits, SessionConnected, StompApp
from stocksync_ws.running.stragglers import CLEAN_UP
from stocksync_ws.testing.world import World

STOP = 1.0
TOLD = "user code does not end, and is left behind: "


@pytest.fixture
def app() -> StompApp:
    return StompApp("/ws", limits=Limits(shutdown_timeout=STOP, close_timeout=STOP / 2))


async def swallow(times: int = 1_000) -> None:
    """Go on after so many cancellations."""
    for _ in range(times):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    messages = [record.getMessage() for record in caplog.records]
    return [text.removeprefix(TOLD) for text in messages if text.startswith(TOLD)]


def stop(world: World) -> float:
    """The seconds that a stop takes."""
    begun = world.now
    world.run(world.runtime.stop())
    return world.now - begun


def ask(world: World) -> None:
    world.connect().send_to("/app/it")


def left(world: World) -> set[asyncio.Task[Any]]:
    """What `asyncio.run` would wait for."""
    world.advance(0.1)
    return asyncio.all_tasks(world.loop)


def test_a_handler_that_does_not_end_is_named_and_left_behind(
    app: StompApp, caplog: pytest.LogCaptureFixture
) -> None:
    @app.message_mapping("/it")
    async def culprit() -> None:
        await swallow()

    with World(app) as world:
        for _ in range(3):
            ask(world)
        assert stop(world) == pytest.approx(STOP + CLEAN_UP, abs=0.1)
        assert not left(world)
    [line] = told(caplog)  # once, however many there are
    assert line.startswith(f"@message_mapping('/it') {__name__}.")
    assert line.endswith(".culprit")


MAKES: dict[str, Callable[[Coroutine[Any, Any, None]], Coroutine[Any, Any, Any]]] = {}


def makes(function: Callable[..., Any]) -> Callable[..., Any]:
    MAKES[function.__name__] = function
    return function


@makes
async def a_task(inner: Coroutine[Any, Any, None]) -> None:
    await asyncio.create_task(inner)


@makes
async def a_group(inner: Coroutine[Any, Any, None]) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(inner)


@makes
async def gathered(inner: Coroutine[Any, Any, None]) -> None:
    await asyncio.gather(inner, asyncio.sleep(1_000))


@makes
async def in_two_layers(inner: Coroutine[Any, Any, None]) -> None:
    await asyncio.create_task(a_task(inner))


@pytest.mark.parametrize("how", MAKES)
def test_a_task_that_a_handler_made_ends_before_the_handler(
    how: str, app: StompApp, caplog: pytest.LogCaptureFixture
) -> None:
    ends: list[str] = []

    @app.message_mapping("/it")
    async def culprit() -> None:
        try:
            await MAKES[how](swallow())
        finally:
            ends.append("clean")

    with World(app) as world:
        ask(world)
        stop(world)
        world.advance(CLEAN_UP)  # `gather` does not wait for all of them.
        assert not left(world)
    assert ends == ["clean"]
    [line] = told(caplog)
    assert "culprit in a task of " in line


def test_who_ends_in_time_is_not_named(app: StompApp, caplog: pytest.LogCaptureFixture) -> None:
    ends: list[str] = []

    @app.message_mapping("/it")
    async def it() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(CLEAN_UP / 2)
            ends.append("clean")

    with World(app) as world:
        ask(world)
        assert stop(world) == pytest.approx(STOP + CLEAN_UP / 2)
        assert not left(world)
    assert ends == ["clean"]
    assert not told(caplog)


def test_what_begins_in_the_clean_up_has_no_time_of_its_own(
    app: StompApp, caplog: pytest.LogCaptureFixture
) -> None:
    begun: list[str] = []

    @app.event_listener(SessionConnected)
    async def first(event: SessionConnected) -> None:
        await swallow(1)

    @app.event_listener(SessionConnected)
    async def second(event: SessionConnected) -> None:
        begun.append("second")
        await swallow()

    @app.event_listener(SessionConnected)
    async def third(event: SessionConnected) -> None:
        begun.append("third")

    with World(app) as world:
        world.connect()
        assert stop(world) == pytest.approx(STOP + CLEAN_UP, abs=0.1)
        assert not left(world)
    assert begun == ["second"]
    [line] = told(caplog)
    assert line.endswith(".second")


def test_what_nobody_has_cancelled_goes_on(app: StompApp, caplog: pytest.LogCaptureFixture) -> None:
    """The loop may live on, and with it a task that a handler has begun for the application; when
    `asyncio.run` cancels it in the end, it may not go on for ever either.
    """
    tasks: list[asyncio.Task[None]] = []

    @app.message_mapping("/it")
    async def it() -> None:
        tasks.append(asyncio.create_task(swallow()))

    with World(app) as world:
        ask(world)
        assert stop(world) < STOP
        world.advance(10 * CLEAN_UP)
        [task] = tasks
        assert not task.done()
        task.cancel()
        world.advance(CLEAN_UP + 0.1)
        assert task.done()
    [line] = told(caplog)
    assert line.endswith(".it in a task of swallow")


def test_the_tasks_of_others_are_left_alone(
    app: StompApp, caplog: pytest.LogCaptureFixture
) -> None:
    other = StompApp("/ws")

    @other.message_mapping("/it")
    async def it() -> None:
        await swallow()

    async def bystander() -> None:
        await swallow()

    with World(app) as world, World(other, raise_errors=False) as elsewhere:
        ask(elsewhere)
        task = world.loop.create_task(bystander())
        world.settle()
        task.cancel()
        stop(world)
        world.advance(10 * CLEAN_UP)
        elsewhere.advance(10 * CLEAN_UP)
        assert not task.done()
        assert len(left(elsewhere)) == 1
        asyncio.Future.cancel(task)
        elsewhere.runtime.close()
        elsewhere.advance(CLEAN_UP + 0.1)
    [line] = told(caplog)
    assert line.endswith(".it")


def test_an_end_at_once_leaves_them_the_same_time(
    app: StompApp, caplog: pytest.LogCaptureFixture
) -> None:
    @app.message_mapping("/it")
    async def culprit() -> None:
        await swallow()

    with World(app) as world:
        ask(world)
        world.runtime.close()
        world.advance(CLEAN_UP - 0.2)
        assert len(left(world)) == 1
        world.advance(0.1)
        assert not left(world)
    assert len(told(caplog)) == 1


def test_two_looks_in_one_turn_leave_who_waited_its_time(
    app: StompApp, caplog: pytest.LogCaptureFixture
) -> None:
    """What has made an end of its tasks hears of it in the next turn, and ends by itself then."""
    ends: list[str] = []

    @app.message_mapping("/it")
    async def culprit() -> None:
        try:
            await a_group(swallow())
        finally:
            ends.append("clean")

    with World(app) as world:
        ask(world)
        world.runtime.close()
        world.advance(CLEAN_UP / 2)
        for _ in range(2):
            world.runtime.host.stragglers.leave_behind()
        assert not left(world)
    assert ends == ["clean"]
    assert [record for record in caplog.records if record.name == "asyncio"] == []
    assert len(told(caplog)) == 1


def test_who_goes_on_behind_its_tasks_is_left_behind_in_a_later_look(
    app: StompApp, caplog: pytest.LogCaptureFixture
) -> None:
    @app.message_mapping("/it")
    async def culprit() -> None:
        try:
            await a_group(swallow())
        except asyncio.CancelledError:
            await swallow()

    with World(app) as world:
        ask(world)
        world.runtime.close()
        world.advance(CLEAN_UP - 0.2)
        assert len(left(world)) == 2
        world.advance(0.1)
        assert not left(world)
    assert len(told(caplog)) == 1

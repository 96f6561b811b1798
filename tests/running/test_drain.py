"""A drain before the end of a run: no new session, the old ones closed, messages still taken."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from stocksync_ws import (
    BrokerAvailability,
    BrokerClosed,
    DisconnectReason,
    Limits,
    SessionDisconnected,
    StompApp,
)
from stocksync_ws.testing.world import World

Start = Callable[[], World]


@pytest.fixture
def app() -> StompApp:
    return StompApp("/ws", limits=Limits(close_timeout=1, shutdown_timeout=4))


@pytest.fixture
def story(app: StompApp) -> list[str]:
    story: list[str] = []

    @app.event_listener(SessionDisconnected)
    async def session(event: SessionDisconnected) -> None:
        assert event.reason is DisconnectReason.SERVER_SHUTDOWN
        story.append("closed")
        await asyncio.sleep(2)
        story.append("heard")

    @app.event_listener(BrokerAvailability, inline=True)
    def broker(event: BrokerAvailability) -> None:
        story.append("up" if event.available else "down")

    return story


@pytest.fixture
def world(app: StompApp, story: list[str]) -> Iterator[World]:
    with World(app) as world:
        yield world


def test_it_waits_for_the_listeners_and_messages_are_still_taken(
    app: StompApp, world: World, story: list[str]
) -> None:
    peer = world.connect()
    drained = world.loop.create_task(world.runtime.drain())
    world.advance(1)
    assert peer.closed == 1012
    assert (story, drained.done(), world.runtime.draining) == (["up", "closed"], False, True)
    world.advance(1.5)
    assert (story, drained.done()) == (["up", "closed", "heard"], True)
    assert not world.runtime.closed
    app.template.send("/topic/a", b"x")
    assert world.counters.messages_published == 1
    world.run(world.runtime.stop())
    assert story[-1] == "down"
    with pytest.raises(BrokerClosed):
        app.template.send("/topic/a", b"x")


def test_what_was_posted_before_it_is_published_before_the_sessions_close(
    app: StompApp, world: World
) -> None:
    peer = world.connect()
    peer.subscribe("/topic/a")
    world.loop.create_task(world.runtime.drain())
    # It lies in the inbox when the drain begins.
    thread = threading.Thread(target=app.template.send, args=("/topic/a", b"last words"))
    thread.start()
    thread.join(10)
    assert peer.message().body == b"last words"
    assert peer.closed == 1012


def test_two_wait_for_the_one_end(world: World) -> None:
    world.connect()
    tasks = [world.loop.create_task(world.runtime.drain()) for _ in range(2)]
    world.advance(1)
    assert [task.done() for task in tasks] == [False, False]
    world.advance(2)
    assert [task.done() for task in tasks] == [True, True]
    assert world.loop.run(world.runtime.drain(), 0.0) is None


def test_a_stop_during_a_drain_waits_for_it(world: World, story: list[str]) -> None:
    world.connect()
    world.loop.create_task(world.runtime.drain())
    world.advance(1)
    stopped = world.loop.create_task(world.runtime.stop())
    world.settle()
    assert (stopped.done(), story[-1]) == (False, "closed")
    world.advance(2)
    assert stopped.done()
    assert story == ["up", "closed", "heard", "down"]


def test_it_leaves_time_for_the_end(app: StompApp) -> None:
    @app.event_listener(SessionDisconnected)
    async def listen(event: SessionDisconnected) -> None:
        await asyncio.Event().wait()

    with World(app) as world:
        world.connect()
        drained = world.loop.create_task(world.runtime.drain())
        world.advance(2.9)
        assert not drained.done()
        world.advance(0.2)
        assert drained.done()
        assert not world.runtime.closed
        world.run(world.runtime.stop(), 1.1)
        assert world.runtime.closed


def test_a_second_signal_ends_it_and_the_stop_behind_it_at_once(
    world: World, story: list[str]
) -> None:
    world.connect()
    drained = world.loop.create_task(world.runtime.drain())
    world.advance(1)
    world.runtime.hurry()
    world.settle()
    assert drained.done()
    stopped = world.loop.create_task(world.runtime.stop())
    world.settle()
    assert stopped.done()
    assert story == ["up", "closed", "down"]


def test_a_close_under_it_ends_it(world: World) -> None:
    world.connect()
    drained = [world.loop.create_task(world.runtime.drain()) for _ in range(2)]
    world.settle()
    world.runtime.close()
    world.settle()
    assert [task.done() for task in drained] == [True, True]
    assert world.loop.run(world.runtime.drain(), 0.0) is None


def test_who_made_something_beside_it_is_called_once_and_first(
    world: World, story: list[str]
) -> None:
    world.runtime.at_end.append(lambda: story.append("at the end"))
    world.run(world.runtime.stop())
    world.runtime.close()
    assert story == ["up", "down", "at the end"]

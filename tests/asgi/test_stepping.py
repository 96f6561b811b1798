"""A step that raises: whose fault it was, what its client gets, and whether steps go on."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest

from stocksync_ws import DisconnectReason, StompApp
from stocksync_ws.asgi.lifespan import Wrapped
from stocksync_ws.asgi.stepping import Stepping
from stocksync_ws.wire.scope import ScopeChunk
from tests.asgi.host import (
    Asgi,
    Client,
    Ends,
    Held,
    at_once,
    ends_of,
    learn,
    publish,
    suspending,
    timed,
)

Serve = Callable[..., Asgi]
REQUEST: ContextVar[str] = ContextVar("request", default="none")


def stepping_of(host: Asgi) -> Stepping:
    assert isinstance(host.app, Wrapped)
    return host.app._gateway._stepping


def loud(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged at WARNING and above."""
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


async def dead(client: Client, message: Any) -> None:
    """The connection is broken; hosts say that of `send` and of `close`."""
    raise RuntimeError("Cannot call 'send' once a close message has been sent")


# A client that has gone


in_tasks_or_not = pytest.mark.parametrize("in_tasks", [False, True])


@in_tasks_or_not
def test_a_dead_connection_is_a_lost_one_and_not_the_hosts_fault(
    app: StompApp, host: Asgi, caplog: pytest.LogCaptureFixture, in_tasks: bool
) -> None:
    ends = ends_of(app)
    if in_tasks:
        learn(host, timed)
    ends.clear()
    caplog.clear()
    client = host.open().connect().subscribe("/topic/a")
    other = host.open().connect().subscribe("/topic/a")
    client.manner = dead
    publish(app, b"1")
    assert client.over
    assert client.messages == []
    assert [(end.reason, end.close_code) for end in ends] == [
        (DisconnectReason.CONNECTION_LOST, 1006)
    ]
    assert other.bodies() == [b"1"]
    assert stepping_of(host).allowed is not in_tasks
    assert loud(caplog) == []
    assert app.counters.internal_errors == in_tasks


@in_tasks_or_not
def test_a_disconnect_that_has_come_is_heard_before_a_close_is_tried(
    app: StompApp, host: Asgi, caplog: pytest.LogCaptureFixture, in_tasks: bool
) -> None:
    ends = ends_of(app)
    if in_tasks:
        learn(host, timed)
    ends.clear()
    caplog.clear()
    client = host.open().connect().subscribe("/topic/a")
    gone = {"type": "websocket.disconnect", "code": 1001, "reason": "away"}

    class Closed(Ends):
        async def __call__(self, client: Client, message: Any) -> None:
            if in_tasks and not self.raised:
                client.say(gone)
            elif not self.raised:
                host.loop.call_soon(client.say, gone)
            await super().__call__(client, message)

    client.manner = manner = Closed(RuntimeError("closed"))
    publish(app, b"1")
    assert client.over
    assert [(end.reason, end.close_code) for end in ends] == [(DisconnectReason.PEER_CLOSED, 1001)]
    assert manner.raised == 1
    assert stepping_of(host).allowed is not in_tasks
    assert loud(caplog) == []


def test_a_suspicion_is_settled_when_its_task_is_cancelled_before_it_began(
    app: StompApp, host: Asgi, caplog: pytest.LogCaptureFixture
) -> None:
    client = host.open().connect().subscribe("/topic/a")
    suspected: list[bool] = []

    async def manner(client: Client, message: Any) -> None:
        def abort() -> None:
            suspected.append(not stepping_of(host).allowed)
            app._run.abort()

        host.loop.call_soon(abort)
        raise RuntimeError("no")

    client.manner = manner
    publish(app, b"1")
    assert client.over
    assert suspected == [True]
    assert stepping_of(host).allowed
    assert loud(caplog) == []


def test_no_step_is_taken_while_it_is_not_known_whose_fault_one_was(
    app: StompApp, host: Asgi
) -> None:
    """Nor when one suspicion of several is settled."""
    stepping = Stepping()
    stepping.suspect()
    stepping.suspect()
    stepping.settle(None)
    assert not stepping.allowed
    stepping.settle(None)
    assert stepping.allowed
    stepping.suspect()
    stepping.settle(RuntimeError("no"))
    stepping.suspect()
    stepping.settle(None)
    assert not stepping.allowed


def test_a_message_that_fails_beside_a_receipt_and_our_close_still_gets_a_close_at_once(
    app: StompApp, host: Asgi
) -> None:
    client = host.open().connect().subscribe("/topic/a")
    client.manner = manner = Ends(RuntimeError("no"), text="MESSAGE")
    host.loop.call_soon(publish, app, b"1", b"2")
    client.command("DISCONNECT", {"receipt": "bye"})  # in one turn, so in one flush
    assert manner.raised == 1
    assert client.closed == {"type": "websocket.close", "code": 1011, "reason": "internal error"}
    assert client.over


# Where a send is begun, and where it goes on


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_a_loop_that_begins_its_tasks_at_once_changes_nothing(app: StompApp, host: Asgi) -> None:
    host.loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
    client = host.open().connect().subscribe("/topic/a")
    publish(app, b"1")
    assert client.bodies() == [b"1"]
    client.command("DISCONNECT", {})
    assert client.closed is not None
    assert client.over


def test_our_tasks_are_not_made_by_the_factory_of_the_loop(app: StompApp, host: Asgi) -> None:
    """Which might begin them at once, inside of the driver's calls."""
    client = host.open().connect().subscribe("/topic/a")
    made: list[str] = []

    def factory(loop: Any, coroutine: Any, **more: Any) -> asyncio.Task[Any]:
        made.append(coroutine.__qualname__)
        return asyncio.Task(coroutine, loop=loop, **more)

    host.loop.set_task_factory(factory)
    client.manner = suspending
    publish(app, b"1", b"2")
    assert client.bodies() == [b"1", b"2"]
    client.manner = Ends(RuntimeError("no"), text="MESSAGE")
    publish(app, b"3")
    assert client.over
    assert made == []


@pytest.mark.parametrize("manner", [at_once, suspending])
def test_middleware_may_reset_behind_a_send_what_it_has_set_before_it(
    app: StompApp, host: Asgi, caplog: pytest.LogCaptureFixture, manner: Any
) -> None:
    async def around(client: Client, message: Any) -> None:
        token = REQUEST.set("x")
        try:
            await manner(client, message)
        finally:
            REQUEST.reset(token)

    client = host.open(around).connect().subscribe("/topic/a")
    for turn in (b"1", b"2", b"3"):
        publish(app, turn, turn)
        assert client.bodies() == [turn, turn]
    client.command("DISCONNECT", {})
    assert client.closed is not None
    assert client.closed["code"] == 1000
    assert stepping_of(host).allowed
    assert loud(caplog) == []


# What takes the steps


def test_one_stepper_sends_for_all_scopes_and_keeps_nothing_of_them(
    app: StompApp, host: Asgi
) -> None:
    clients = [host.open().connect().subscribe("/topic/a") for _ in range(3)]
    publish(app, b"1")
    host.settle()
    stepper = stepping_of(host).idle
    assert stepper is not None
    publish(app, b"2", b"3")
    assert [client.bodies() for client in clients] == [[b"1", b"2", b"3"]] * 3
    clients[0].command("DISCONNECT", {"receipt": "bye"})  # its close needs a task
    assert clients[0].over
    assert stepping_of(host).idle is stepper
    kept = inspect.getgeneratorlocals(stepper)  # type: ignore[arg-type]
    assert set(kept) <= {"found", "chunk"}


@pytest.mark.parametrize("bodies", [[b"1"], [b"1", b"2", b"3"]])
def test_a_stepper_whose_send_is_not_finished_serves_nobody_else(
    app: StompApp, host: Asgi, bodies: list[bytes]
) -> None:
    held = Held()
    clients = [host.open().connect().subscribe("/topic/a") for _ in range(5)]
    clients[1].manner = clients[3].manner = held
    publish(app, *bodies)
    host.settle()
    size = sum(len(message["text"]) for message in clients[0].messages)
    sessions = list(app._run.runtime.broker.sessions.values())  # type: ignore[union-attr]
    assert [session.mailbox.unsent for session in sessions] == [0, size, 0, size, 0]
    for number in (0, 2, 4):
        assert clients[number].bodies() == bodies
    assert len(held.waiting) == 2
    for number in (1, 3):
        clients[number].manner = at_once
        held.release()  # of the first message; those behind it are sent at once
        assert clients[number].bodies() == bodies
    publish(app, b"4")
    assert [client.bodies() for client in clients] == [[b"4"]] * 5


def test_a_send_may_be_begun_inside_of_another_one(app: StompApp, host: Asgi) -> None:
    """It is the host's code, and nobody knows what it calls."""
    one, other = (host.open().connect().subscribe("/topic/a") for _ in range(2))
    stream = list(app._run.runtime.driver._links.open)[1].stream  # type: ignore[union-attr]
    beat = ScopeChunk({"type": "websocket.send", "text": "\n"}, 1, plain=True)
    beats: list[Any] = []

    async def nested(client: Client, message: Any) -> None:
        assert stream.write([beat]) == 0
        client.take(message)

    async def counting(client: Client, message: Any) -> None:
        if message is beat.message:
            beats.append(message)
        client.take(message)

    one.manner, other.manner = nested, counting
    publish(app, b"1", b"2")
    assert one.bodies() == other.bodies() == [b"1", b"2"]
    assert len(beats) == 2
    assert stepping_of(host).allowed

"""Sending to a host and hearing from it: whatever a host's `send` and `receive` do, order holds, a
slow client is found out, and nothing is left when a scope is over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest

from stocksync_ws import DisconnectReason, StompApp
from tests.asgi.host import (
    Asgi,
    Client,
    Ends,
    FutureLike,
    Held,
    at_once,
    ends_of,
    learn,
    lost,
    only_timer,
    publish,
    suspending,
    timed,
)

Serve = Callable[..., Asgi]
TRACE: ContextVar[str] = ContextVar("trace", default="unset")
BIG = bytes(60_000)
MANNERS = ["at once", "suspending", "timed", "future-like"]


# Manners of sending


@pytest.mark.parametrize(
    "manner", [at_once, suspending, timed, FutureLike(finished=True)], ids=MANNERS
)
def test_every_frame_arrives_once_and_in_order(app: StompApp, host: Asgi, manner: Any) -> None:
    learn(host, manner)
    client = host.open(manner).connect().subscribe("/topic/a")
    for turn in range(3):
        bodies = [f"{turn}-{number}".encode() for number in range(20)]
        publish(app, *bodies)
        assert client.bodies() == bodies
    client.disconnect(code=1000, reason="")
    assert client.over


def test_an_object_without_send_and_throw_is_waited_for(app: StompApp, host: Asgi) -> None:
    """Pitfall 4: a compiled host returns something like a future."""
    manner = FutureLike(finished=False)
    client = host.open().connect().subscribe("/topic/a")
    client.manner = manner
    publish(app, b"1")
    host.settle()
    publish(app, b"2")
    assert client.bodies() == [b"1"]
    assert len(manner.waiting) == 1
    manner.waiting.popleft().set_result(None)
    assert client.bodies() == [b"2"]
    # It fails while it is waited for.
    manner.waiting.popleft().set_exception(OSError("gone"))
    assert client.over


def test_a_cancelled_wait_reaches_the_object(app: StompApp, host: Asgi) -> None:
    manner = FutureLike(finished=False)
    client = host.open().connect().subscribe("/topic/a")
    client.manner = manner
    publish(app, b"1")
    host.settle()
    client.disconnect(code=1006)
    assert manner.waiting[0].cancelled()
    assert client.over
    assert host.tasks() == set()


def test_what_comes_behind_a_suspended_send_waits_for_it(app: StompApp, host: Asgi) -> None:
    held = Held()
    client = host.open().connect().subscribe("/topic/a")
    client.manner = held
    publish(app, b"1", b"2")
    host.settle()
    publish(app, b"3")
    host.settle()
    assert len(held.waiting) == 1
    for number in (b"1", b"2", b"3"):
        assert client.bodies() == []
        held.release()
        assert client.bodies() == [number]
    client.manner = at_once
    publish(app, b"4")
    assert client.bodies() == [b"4"]


@pytest.mark.parametrize("slow", [False, True])
def test_what_middleware_publishes_in_a_send_comes_behind_that_message(
    app: StompApp, host: Asgi, slow: bool
) -> None:
    client = host.open().connect().subscribe("/topic/a")
    more = [b"3", b"2"]

    async def manner(client: Client, message: Any) -> None:
        if more:
            publish(app, more.pop())
        if slow:
            await asyncio.sleep(0)
        client.take(message)

    client.manner = manner
    publish(app, b"1")
    assert client.bodies() == [b"1", b"2", b"3"]
    publish(app, b"4")
    assert client.bodies() == [b"4"]


def test_only_messages_are_begun_outside_of_a_task(app: StompApp, host: Asgi) -> None:
    """Pitfall 3: accept and close are sent in a task, since hosts use time-outs there."""
    tasks: dict[str, bool] = {}

    async def manner(client: Client, message: Any) -> None:
        tasks[message["type"]] = _current_task() is not None
        client.take(message)

    client = host.open(manner).connect()
    client.command("DISCONNECT", {})
    assert client.over
    assert tasks == {
        "websocket.accept": True,
        "websocket.send": False,
        "websocket.close": True,
    }


def _current_task() -> asyncio.Task[Any] | None:
    return asyncio.current_task()


def test_what_was_begun_outside_of_a_task_is_never_begun_inside_of_one(
    app: StompApp, host: Asgi
) -> None:
    """A time-out of the host that begins in a task which ends before it would never come."""
    inside: list[bool] = []

    async def manner(client: Client, message: Any) -> None:
        inside.append(_current_task() is not None)
        await suspending(client, message)

    client = host.open().connect().subscribe("/topic/a")
    client.manner = manner
    for _ in range(3):
        publish(app, BIG)  # each fills a flush, so the next goes when this one is sent
    assert len(client.bodies()) == 3
    assert inside[0] is False
    held = Held()
    client.manner = held
    publish(app, b"1")
    host.settle()
    inside.clear()
    client.manner = manner
    publish(app, b"2")
    held.release()
    assert client.bodies() == [b"1", b"2"]
    assert inside == [False]


def test_a_host_that_sends_in_tasks_only_is_told_once_and_costs_one_client(
    app: StompApp, host: Asgi, caplog: pytest.LogCaptureFixture
) -> None:
    ends = ends_of(app)
    clients = [host.open().connect().subscribe("/topic/a") for _ in range(3)]
    for client in clients:
        client.manner = timed
    publish(app, b"1", b"2")
    publish(app, b"3")
    first, *others = clients
    assert first.closed is not None
    assert first.closed["code"] == 1011
    assert first.over
    for client in others:
        assert client.bodies() == [b"1", b"2", b"3"]
    # The frame whose step raised is not sent again, and none of those behind it.
    assert first.bodies() == []
    assert [end.close_code for end in ends] == [1011]
    warnings = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "RuntimeError: Timeout should be used inside a task" in warnings[0].getMessage()
    later = host.open(timed).connect().subscribe("/topic/a")
    publish(app, b"4")
    assert later.bodies() == [b"4"]
    assert len([each for each in caplog.records if each.levelno == logging.WARNING]) == 1


def test_a_step_that_fails_on_the_direct_way_is_not_repeated(app: StompApp, host: Asgi) -> None:
    client = host.open().connect().subscribe("/topic/a")
    publish(app, b"0")
    assert client.bodies() == [b"0"]
    client.manner = manner = Ends(RuntimeError("no"), text="\n\n1")
    publish(app, b"1")
    assert client.bodies() == []
    assert manner.raised == 1
    assert client.closed is not None
    assert client.closed["code"] == 1011


def test_a_send_that_fails_in_its_task_ends_the_session_with_an_error(
    app: StompApp, host: Asgi
) -> None:
    held = Held()
    client = host.open().connect().subscribe("/topic/a")
    client.manner = held
    publish(app, b"1", b"2")
    host.settle()
    client.manner = at_once
    held.release(RuntimeError("broken"))
    assert client.bodies() == []
    assert client.closed is not None
    assert client.closed["code"] == 1011
    assert client.over


@pytest.mark.parametrize("ways", ["direct", "general", "in its task"])
def test_a_client_that_the_host_has_lost_is_over(app: StompApp, host: Asgi, ways: str) -> None:
    ends = ends_of(app)
    client = host.open().connect().subscribe("/topic/a")
    other = host.open().connect().subscribe("/topic/a")
    held = Held()
    client.manner = held if ways == "in its task" else lost
    publish(app, *([b"1", b"2"] if ways == "general" else [b"1"]))
    host.settle()
    if held.waiting:
        held.release(OSError("gone"))
    assert client.over
    assert [end.reason for end in ends] == [DisconnectReason.CONNECTION_LOST]
    assert other.bodies()[0] == b"1"
    assert app.counters.internal_errors == 0
    publish(app, b"3")
    assert other.bodies() == [b"3"]


@pytest.mark.parametrize("ways", ["direct", "general", "in its task"])
def test_a_send_that_is_cancelled_by_the_host_costs_its_own_client_only(
    app: StompApp, host: Asgi, ways: str
) -> None:
    ends = ends_of(app)
    client = host.open().connect().subscribe("/topic/a")
    others = [host.open().connect().subscribe("/topic/a") for _ in range(2)]
    held = Held()
    client.manner = held if ways == "in its task" else Ends(asyncio.CancelledError())
    publish(app, *([b"1", b"2"] if ways == "general" else [b"1"]))
    host.settle()
    if held.waiting:
        held.release(asyncio.CancelledError())
    for other in others:
        assert other.bodies()[0] == b"1"
    assert client.over
    assert [end.reason for end in ends] == [DisconnectReason.CONNECTION_LOST]


@pytest.mark.parametrize("error", [RuntimeError("no such code"), OSError("gone"), ValueError()])
def test_a_close_that_the_host_refuses_ends_the_scope(
    app: StompApp, host: Asgi, error: Exception
) -> None:
    ends = ends_of(app)
    client = host.open().connect()
    client.manner = Ends(error, kind="websocket.close")
    client.text("x" * (app.config.limits.max_message_size + 1))
    assert client.over
    assert [(end.close_code, end.reason) for end in ends] == [
        (1009, DisconnectReason.LIMIT_EXCEEDED)
    ]
    assert host.tasks() == set()


def test_an_accept_that_the_host_refuses_ends_the_scope(app: StompApp, host: Asgi) -> None:
    client = host.open(Ends(RuntimeError("no"), kind="websocket.accept"))
    assert client.over
    assert host.tasks() == set()
    assert app.counters.connections == 1


# Hearing


def test_a_message_is_text_or_bytes(app: StompApp, host: Asgi) -> None:
    client = host.open().connect().subscribe("/topic/a")
    frame = b"SEND\ndestination:/topic/a\n\n"
    client.tell({"type": "websocket.receive", "bytes": frame + b"\xff\0"})
    client.tell({"type": "websocket.receive", "text": "SEND\ndestination:/topic/a\n\nü\0"})
    client.tell({"type": "websocket.receive", "bytes": None, "text": "\n"})
    client.tell({"type": "websocket.receive", "bytes": frame + b"\0", "text": None})
    client.tell({"type": "websocket.receive"})
    client.tell({"type": "websocket.of_the_future"})
    assert client.bodies() == [b"\xff", "ü".encode(), b""]
    assert client.closed is None


def test_a_pause_is_that_no_message_is_asked_for(app: StompApp, serve: Serve) -> None:
    """Pitfall 15: hosts stop reading while nobody calls `receive`."""
    release = asyncio.Event()
    heard: list[bytes] = []

    @app.message_mapping("/x")
    async def handler(payload: bytes) -> None:
        heard.append(payload[:1])
        await release.wait()

    host = serve(app)
    client = host.open().connect()
    for number in range(6):
        client.command("SEND", {"destination": "/app/x"}, b"%d" % number + bytes(30_000))
    asked = client.receives
    client.command("SEND", {"destination": "/app/x"}, b"6")
    assert client.receives == asked
    assert heard == [b"0"]
    release.set()
    host.settle()
    assert heard == [b"%d" % number for number in range(7)]
    assert client.receives > asked


def test_a_paused_client_that_we_end_is_freed(app: StompApp, serve: Serve) -> None:
    @app.message_mapping("/x")
    async def handler() -> None:
        await asyncio.Event().wait()

    host = serve(app)
    client = host.open().connect()
    for _ in range(6):
        client.command("SEND", {"destination": "/app/x"}, bytes(30_000))
    asked = client.receives
    app._run.abort()
    assert client.over
    assert client.receives == asked
    assert host.tasks() == set()


def test_a_receive_that_never_returns_does_not_hold_a_close_up(app: StompApp, host: Asgi) -> None:
    client = host.open().connect()
    client.command("DISCONNECT", {"receipt": "r"})
    assert [frame.command for frame in client.frames()] == ["RECEIPT"]
    assert client.closed == {"type": "websocket.close", "code": 1000, "reason": "bye"}
    assert client.over
    assert not client.task.cancelled()
    assert client.task.exception() is None
    assert only_timer(host)


# Contexts


def test_context_variables_of_the_host_are_there_in_every_send(app: StompApp, host: Asgi) -> None:
    seen: list[str] = []

    async def manner(client: Client, message: Any) -> None:
        seen.append(TRACE.get())
        await asyncio.sleep(0)
        seen.append(TRACE.get())
        client.take(message)

    inner = host.app

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        TRACE.set(scope["trace"])
        await inner(scope, receive, send)

    host.app = middleware
    for name in ("a", "b"):
        client = host.open(manner, trace=name).connect().subscribe("/topic/a")
        publish(app, b"1", b"2")
        assert client.bodies() == [b"1", b"2"]
        client.manner = at_once
        client.disconnect(code=1000)
        assert set(seen) == {name}
        seen.clear()

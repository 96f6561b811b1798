"""Sending to a host and hearing from it: whatever a host's `send` and `receive` do, order holds, a
slow client is found out, and nothing is left when a scope is over.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest

from stocksync_ws import DisconnectReason, Limits, SessionDisconnected, StompApp
from tests.asgi.host import (
    Asgi,
    Client,
    Ends,
    FutureLike,
    Held,
    at_once,
    lost,
    suspending,
    timed,
)

Serve = Callable[..., Asgi]
TRACE: ContextVar[str] = ContextVar("trace", default="unset")
BIG = bytes(60_000)
MANNERS = ["at once", "suspending", "timed", "future-like"]


def publish(app: StompApp, *bodies: bytes) -> None:
    for body in bodies:
        app.template.send("/topic/a", body)


def ends_of(app: StompApp) -> list[SessionDisconnected]:
    heard: list[SessionDisconnected] = []

    @app.event_listener(SessionDisconnected, inline=True)
    def listen(event: SessionDisconnected) -> None:
        heard.append(event)

    return heard


def learn(host: Asgi, manner: Any) -> None:
    """The first client of a host that sends in tasks only pays for the lesson."""
    if manner is timed:
        client = host.open(manner)
        client.command("CONNECT", {"accept-version": "1.2", "host": "localhost"})
        assert client.over


def only_timer(host: Asgi) -> bool:
    """Nothing is left of a client: no task, and nothing to do in the next turn."""
    turns = 0

    def count() -> None:
        nonlocal turns
        turns += 1

    assert host.tasks() == set()
    host.loop.call_soon(count)
    host.settle()
    return turns == 1


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


# Slow clients, and healthy ones


def test_a_client_that_takes_nothing_is_closed_with_4008(app: StompApp, host: Asgi) -> None:
    ends = ends_of(app)
    client = host.open().connect().subscribe("/topic/a")
    held = Held()
    client.manner = held
    for _ in range(20):
        publish(app, BIG)
    host.settle()
    assert not client.over
    host.advance(3)
    assert [end.close_code for end in ends] == [4008]
    host.advance(app.config.limits.close_timeout + 1)
    assert client.over
    assert held.cancelled == 1
    assert only_timer(host)
    assert app.counters.slow_consumers == 1


def test_a_client_that_takes_nothing_of_a_little_is_found_out_too(
    app: StompApp, host: Asgi
) -> None:
    ends = ends_of(app)
    client = host.open().connect().subscribe("/topic/a")
    client.manner = Held()
    publish(app, b"1")
    host.advance(app.config.limits.send_stall_seconds - 1)
    assert ends == []
    host.advance(2)
    assert [end.close_code for end in ends] == [4008]
    host.advance(app.config.limits.close_timeout + 1)
    assert client.over


@pytest.mark.parametrize("manner", [suspending, timed, at_once])
def test_a_burst_to_a_healthy_client_is_no_slowness(
    app: StompApp, host: Asgi, manner: Any
) -> None:
    """Pitfall 5: a host that never finishes a send at once has had no time to take it."""
    learn(host, manner)
    client = host.open(manner).connect().subscribe("/topic/a")
    for turn in range(3):
        publish(app, *(bytes([turn]) + BIG for _ in range(30)))
        got = client.bodies()
        assert [body[0] for body in got] == [turn] * 30
    assert client.closed is None
    assert app.counters.slow_consumers == 0


def test_bytes_that_wait_are_counted_and_counted_off(app: StompApp, host: Asgi) -> None:
    held = Held()
    client = host.open().connect().subscribe("/topic/a")
    client.manner = held
    publish(app, b"1", b"22")
    host.settle()
    [link] = app._run.runtime.driver._links.open  # type: ignore[union-attr]
    unsent = [link.stream.unsent]
    while held.waiting:
        held.release()
        host.settle()
        unsent.append(link.stream.unsent)
    assert unsent[0] > unsent[1] > unsent[2] == 0


# Batching and sharing


def texts(client: Client) -> list[Any]:
    """The objects of the messages, as the host got them."""
    return [each for each in client.messages if each["type"] == "websocket.send"]


def test_a_group_shares_one_message_object(app: StompApp, host: Asgi) -> None:
    clients = [host.open().connect().subscribe("/topic/a") for _ in range(3)]
    publish(app, b"1", b"2")
    host.settle()
    first = texts(clients[0])
    assert len(first) == 2
    for client in clients[1:]:
        assert all(mine is theirs for mine, theirs in zip(texts(client), first, strict=True))


@pytest.mark.parametrize("manner", [at_once, suspending])
def test_a_batch_is_one_message_object_for_the_group_and_keeps_order(
    serve: Serve, manner: Any
) -> None:
    app = StompApp("/ws", heart_beat=(0, 0), asgi_batch=True)
    host = serve(app)
    clients = [host.open(manner).connect().subscribe("/topic/a") for _ in range(3)]
    publish(app, b"1", b"2", b"3")
    host.settle()
    [joined] = texts(clients[0])
    for client in clients[1:]:
        assert texts(client)[0] is joined
    for client in clients:
        assert client.bodies() == [b"1", b"2", b"3"]
    publish(app, b"4")
    for client in clients:
        assert client.bodies() == [b"4"]


def test_a_batch_in_front_of_a_close_is_sent_before_it(serve: Serve) -> None:
    app = StompApp("/ws", heart_beat=(0, 0), asgi_batch=True)
    host = serve(app)
    client = host.open().connect().subscribe("/topic/a")
    publish(app, b"1", b"2")
    client.command("DISCONNECT", {"receipt": "bye"})
    assert [frame.command for frame in client.frames()] == ["MESSAGE", "MESSAGE", "RECEIPT"]
    assert client.closed is not None
    assert client.closed["code"] == 1000


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


# The end


@pytest.mark.parametrize("while_unsent", [False, True])
def test_a_lost_client_is_freed(app: StompApp, host: Asgi, while_unsent: bool) -> None:
    ends = ends_of(app)
    client = host.open().connect().subscribe("/topic/a")
    held = Held()
    if while_unsent:
        client.manner = held
        publish(app, b"1", b"2")
        host.settle()
    client.disconnect(code=1006)
    assert client.over
    assert [(end.reason, end.close_code) for end in ends] == [
        (DisconnectReason.CONNECTION_LOST, 1006)
    ]
    assert held.cancelled == while_unsent
    assert only_timer(host)
    publish(app, b"3")
    assert only_timer(host)


@pytest.mark.parametrize("while_unsent", [False, True])
def test_an_abort_frees_everything_and_forgets_what_is_unsent(
    app: StompApp, host: Asgi, while_unsent: bool
) -> None:
    """Pitfalls 6 and 7: the coroutine returns, and nothing spins."""
    client = host.open().connect().subscribe("/topic/a")
    held = Held()
    if while_unsent:
        client.manner = held
        publish(app, b"1", b"2")
        host.settle()
    app._run.abort()
    assert client.over
    assert not client.task.cancelled()
    assert client.task.cancelling() == 0
    assert held.cancelled == while_unsent
    assert only_timer(host)


def test_nothing_of_a_client_is_left_in_memory(app: StompApp, host: Asgi) -> None:
    client = host.open(suspending).connect().subscribe("/topic/a")
    publish(app, b"1")
    client.disconnect(code=1000)
    assert client.over
    # Whatever knew the scope's stream would know the host's `send`, and this client by it.
    kept = weakref.ref(client)
    del client
    gc.collect()
    assert kept() is None


def test_a_cancellation_by_the_host_is_passed_on_behind_our_own_end(
    app: StompApp, host: Asgi
) -> None:
    """Pitfall 7, the other half."""
    ends = ends_of(app)
    client = host.open().connect().subscribe("/topic/a")
    client.task.cancel()
    host.settle()
    assert client.task.cancelled()
    assert [end.reason for end in ends] == [DisconnectReason.CONNECTION_LOST]
    assert only_timer(host)


def test_a_cancellation_by_the_host_beside_our_own_is_passed_on(app: StompApp, host: Asgi) -> None:
    client = host.open().connect()
    app._run.abort()
    client.task.cancel()
    host.settle()
    assert client.task.cancelled()


def test_a_host_whose_receive_raises_ends_its_scope_only(app: StompApp, serve: Serve) -> None:
    ends = ends_of(app)
    host = serve(app)
    other = host.open().connect().subscribe("/topic/a")
    client = host.open().connect()
    assert client._waiter is not None
    client._waiter.set_exception(RuntimeError("a host that is broken"))
    host.settle()
    with pytest.raises(RuntimeError, match="a host that is broken"):
        client.task.result()
    assert len(ends) == 1
    publish(app, b"1")
    assert other.bodies() == [b"1"]


def test_a_host_that_swallows_our_cancellation_is_left_as_it_was(app: StompApp, host: Asgi) -> None:
    client = host.open().connect()
    state: list[int] = []

    async def receive() -> Any:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return {"type": "websocket.disconnect", "code": 1006}

    async def outer(scope: Any, _: Any, send: Any) -> None:
        connected = False

        async def first() -> Any:
            nonlocal connected
            if connected:
                return await receive()
            connected = True
            return {"type": "websocket.connect"}

        await inner(scope, first, send)
        task = asyncio.current_task()
        assert task is not None
        state.append(task.cancelling())

    inner, host.app = host.app, outer
    second = host.open()
    app._run.abort()
    assert second.over
    assert client.over
    assert state == [0]


def test_a_refusal_that_is_still_being_sent_is_given_up_when_the_client_has_gone(
    app: StompApp, host: Asgi
) -> None:
    held = Held()
    client = host.open(held, headers=[(b"host", b"a/b")])
    host.settle()
    assert len(held.waiting) == 1
    client.disconnect(code=1006)
    assert client.over
    assert held.cancelled == 1
    assert only_timer(host)


def test_a_client_that_never_takes_a_refusal_is_given_up_in_time(serve: Serve) -> None:
    app = StompApp("/ws", limits=Limits(close_timeout=2))
    host = serve(app)
    held = Held()
    client = host.open(held, headers=[(b"host", b"a/b")])
    host.advance(1)
    assert not client.over
    host.advance(2)
    assert client.over
    assert held.cancelled == 1
    assert only_timer(host)

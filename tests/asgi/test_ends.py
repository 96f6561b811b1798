"""However a scope ends, its coroutine returns and nothing of it is left."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from stocksync_ws import DisconnectReason, Limits, StompApp
from tests.asgi.host import (
    Asgi,
    Held,
    ends_of,
    only_timer,
    publish,
    suspending,
)

Serve = Callable[..., Asgi]
BIG = bytes(60_000)


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

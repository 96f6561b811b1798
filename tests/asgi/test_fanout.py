"""Many clients of one topic on a host: slow ones and healthy ones, shared messages, batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stocksync_ws import StompApp
from tests.asgi.host import (
    Asgi,
    Client,
    Held,
    at_once,
    ends_of,
    learn,
    only_timer,
    publish,
    suspending,
    timed,
)

Serve = Callable[..., Asgi]
BIG = bytes(60_000)


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
def test_a_burst_to_a_healthy_client_is_no_slowness(app: StompApp, host: Asgi, manner: Any) -> None:
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

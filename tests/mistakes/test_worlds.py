"""Calls of a World and its clients that cannot work: what they raise."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from stocksync_ws import ConversionError, StompApp, Topic
from stocksync_ws.testing import World
from tests.mistakes.kit import Mistake, check


async def work() -> None:
    """Do nothing."""


def run_for(world: Any, seconds: Any) -> None:
    world.run(work(), seconds)


TABLE: list[Mistake] = [
    Mistake(
        lambda world: world.advance("5"),
        TypeError,
        "advance takes seconds, and got '5': write advance(5)",
        "write advance(5)",
    ),
    Mistake(
        lambda world: world.advance(timedelta(minutes=1.5)),
        TypeError,
        "advance takes seconds, and got datetime.timedelta(seconds=90): write advance(90)",
        "write advance(90)",
    ),
    Mistake(
        lambda world: world.advance(None),
        TypeError,
        "advance takes seconds, and got None: write advance(60)",
        "write advance(60)",
    ),
    Mistake(
        lambda world: world.advance(-5),
        ValueError,
        (
            "advance takes seconds, and got -5: time only goes on, and not for ever: write"
            " advance(5)"
        ),
        "write advance(5)",
    ),
    Mistake(
        lambda world: world.advance(float("inf")),
        ValueError,
        (
            "advance takes seconds, and got inf: time only goes on, and not for ever: write"
            " advance(60)"
        ),
        "write advance(60)",
    ),
    Mistake(
        lambda world: world.stall("0.5"),
        TypeError,
        "stall takes seconds, and got '0.5': write stall(0.5)",
        "write stall(0.5)",
    ),
    Mistake(
        lambda world: run_for(world, "5"),
        TypeError,
        "run takes seconds, and got '5': write run(coroutine, 5)",
        "write run(coroutine, 5)",
    ),
    Mistake(
        lambda world: run_for(world, -1),
        ValueError,
        (
            "run takes seconds, and got -1: time only goes on, and not for ever: write"
            " run(coroutine, 1)"
        ),
        "write run(coroutine, 1)",
    ),
    Mistake(
        lambda world: world.run(round),
        TypeError,
        "run takes a coroutine, and got <built-in function round>: write run(round())",
        "write run(round())",
    ),
    Mistake(
        lambda world: world.connect("ann"),
        ValueError,
        (
            "connect('ann'): what comes first is the version of STOMP, '1.0', '1.1' or '1.2';"
            " headers have their names: write connect(login='ann')"
        ),
        "write connect(login='ann')",
    ),
    Mistake(
        lambda world: world.connect(heart_beat=(1000, 0)),
        TypeError,
        "the header heart_beat=(1000, 0) is no text: write heart_beat='1000,0'",
        "write heart_beat='1000,0'",
    ),
    Mistake(
        lambda world: world.upgrade(Cookie=b"a=1"),
        TypeError,
        "the header Cookie=b'a=1' is no text: write Cookie='a=1'",
        "write Cookie='a=1'",
    ),
    Mistake(
        lambda world: world.connect().subscribe("/topic/a", ack=None),
        TypeError,
        "the header ack=None is no text: leave it out",
        "leave it out",
    ),
    Mistake(
        lambda world: world.connect().send_to("/topic/a", {"a": 1}),
        TypeError,
        (
            "the body of send_to is text or octets, and got dict: write send_to(destination,"
            " json={'a': 1})"
        ),
        "json={'a': 1}",
    ),
    Mistake(
        lambda world: world.connect().send_to("/topic/a", ["x"] * 100),
        TypeError,
        (
            "the body of send_to is text or octets, and got list: write send_to(destination,"
            " json=...)"
        ),
        "json=...",
    ),
    Mistake(
        lambda world: world.connect().send(7),
        TypeError,
        "the body of send is text or octets, and got int: write send_to(destination, json=7)",
        "json=7",
    ),
    Mistake(
        lambda world: world.connect().command("SEND", {"destination": "/topic/a"}, [1]),
        TypeError,
        "the body of command is text or octets, and got list: write send_to(destination, json=[1])",
        "json=[1]",
    ),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.write)
def test_the_text(row: Mistake) -> None:
    with World(StompApp("/ws", client_send=["/topic/**"])) as world:
        check(row, world)


@pytest.mark.parametrize(
    ("value", "path"),
    [(object(), "$"), ([object()], "$[0]"), ({"a": object()}, "$.a"), ("\ud800", "$")],
)
def test_the_path_of_json_begins_at_the_value(value: Any, path: str) -> None:
    with World(StompApp("/ws")) as world, pytest.raises(ConversionError) as raised:
        world.connect().send_to("/topic/a", json=value)
    assert raised.value.path == path


def test_text_and_octets_are_bodies_of_every_call() -> None:
    calls: list[Callable[[Any, Any], None]] = [
        lambda peer, body: peer.send_to("/topic/a", body),
        lambda peer, body: peer.command("SEND", {"destination": "/topic/a"}, body),
    ]
    with World(StompApp("/ws", client_send=["/topic/**"])) as world:
        peer = world.connect()
        peer.subscribe("/topic/a")
        for call in calls:
            for body in ("ü", "ü".encode(), bytearray("ü".encode()), memoryview("ü".encode())):
                call(peer, body)
                assert peer.message().body == "ü".encode()


def test_a_message_that_waits_for_its_flush_delay_is_expected_at_once() -> None:
    policies = {"/topic/a": Topic(flush_delay=0.005), "/topic/b": Topic(flush_delay=0.1)}
    app = StompApp("/ws", allowed_origins=["*"], destinations=policies)
    with World(app) as world:
        client = world.connect()
        client.subscribe("/topic/a")
        app.template.convert_and_send("/topic/a", "1")
        world.settle()
        with pytest.raises(AssertionError) as caught:
            client.message()
        assert str(caught.value).startswith(
            "no frame came; expected MESSAGE (messages wait for their flush_delay:"
            " world.advance(0.005)); closed=None;"
        )
        world.advance(0.005)
        assert client.message().body == b"1"
        with pytest.raises(AssertionError, match="no frame came; expected MESSAGE; closed=None;"):
            client.message()

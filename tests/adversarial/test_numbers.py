"""Numbers that can be read and not be written: no client breaks the state that others are told.

Each test is a row of docs/contributing/neighbours.md.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import pytest

from stocksync_ws import ConversionError, Header, StompApp, send_to, send_to_user
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.world import World

EXAMPLE = Path(__file__).parents[2] / "examples" / "inventory" / "app.py"
LONGEST = 10**4_300 - 1
"""The largest integer that the interpreter reads and writes."""
BEYOND = 2**63


@pytest.fixture
def inventory() -> Iterator[ModuleType]:
    """The example, with a stock of its own."""
    spec = importlib.util.spec_from_file_location("example_inventory_numbers", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def code(peer: Peer) -> str:
    """Of an error that is told on the error destination."""
    return str(json.loads(peer.message().body)["code"])


def stock(world: World) -> dict[str, int]:
    """What somebody who comes now is told."""
    peer = world.connect()
    peer.subscribe("/app/inventory")
    return {item["product_id"]: item["quantity"] for item in json.loads(peer.message().body)}


def adjust(peer: Peer, delta: object) -> str:
    """What the sender is told of it."""
    peer.send_to("/app/inventory/kettle/adjust", json.dumps({"delta": delta}))
    told = [json.loads(frame.body) for frame in peer.frames()]
    return "".join(each["message"] for each in told)


@pytest.mark.parametrize(
    ("delta", "problem"),
    [
        (LONGEST, "$.delta: integer beyond 64 bits"),
        (-LONGEST, "$.delta: integer beyond 64 bits"),
        (BEYOND, "$.delta: integer beyond 64 bits"),
        (BEYOND - 1, "$: At most 1,000,000 at a time."),
        (1_000_000, "There is room for 1,000,000 of Gooseneck kettle."),
        (-1_000_000, "Only 8 left of Gooseneck kettle."),
    ],
    ids=["4,300 digits", "as many below zero", "2**63", "64 bits", "too much", "too little"],
)
def test_no_adjustment_breaks_the_inventory(
    inventory: ModuleType, delta: int, problem: str
) -> None:
    with World(inventory.ws) as world:
        peer = world.connect()
        peer.subscribe("/user/queue/errors")
        for _ in range(3):
            assert adjust(peer, delta) == problem
        assert stock(world)["kettle"] == 8
        assert adjust(peer, 1_000_000 - 8) == ""
        # What the page shows is what JavaScript can hold.
        assert stock(world)["kettle"] == 1_000_000 < 2**53


def echo(**settings: Any) -> StompApp:
    application = StompApp("/ws", **settings)

    @application.message_mapping("/any", inline=True)
    @send_to_user("/queue/told")
    def take_any(body: Any) -> Any:
        return body

    @application.message_mapping("/number/{number}", inline=True)
    @send_to_user("/queue/told")
    def take_variable(number: int) -> int:
        return number + 1

    @application.message_mapping("/header", inline=True)
    @send_to_user("/queue/told")
    def take_header(number: Annotated[int, Header()]) -> int:
        return number + 1

    return application


WAYS = {
    "a body": ("/app/any", '{{"a":[{}]}}', {}),
    "a header": ("/app/header", "", {"number": "{}"}),
    "a variable": ("/app/number/{}", "", {}),
}


@pytest.mark.parametrize("way", WAYS)
def test_an_integer_is_bounded_whatever_way_it_comes(way: str) -> None:
    destination, body, headers = WAYS[way]

    def send(peer: Peer, number: int) -> None:
        # The interpreter's own bound would stop the test, too.
        filled = {name: value.format(number) for name, value in headers.items()}
        peer.send_to(destination.format(number), body.format(number), **filled)

    with World(echo()) as world:
        peer = world.connect()
        peer.subscribe("/user/queue/told")
        peer.subscribe("/user/queue/errors")
        send(peer, BEYOND - 1)
        assert str(BEYOND)[:-1].encode() in peer.message().body
        for number in (BEYOND, -BEYOND - 1, 10**200):
            send(peer, number)
            assert code(peer) == "bad-payload"
    with World(echo(json_integers=None)) as world:
        peer = world.connect()
        peer.subscribe("/user/queue/told")
        send(peer, 10**200)
        assert str(10**200)[:-1].encode() in peer.message().body


def test_a_result_that_cannot_be_written_is_the_failure_of_its_handler(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A value or a key; the others, and the handler's next call, are as before."""
    application = StompApp("/ws")
    results: list[object] = [LONGEST + 1, {"a": [LONGEST + 1]}, {LONGEST + 1: "a"}, "well"]

    @application.message_mapping("/result", inline=True)
    @send_to("/topic/results")
    def result() -> object:
        return results.pop(0)

    @application.subscribe_mapping("/result", inline=True)
    def answer() -> object:
        return LONGEST + 1

    @application.snapshot("/topic/snapshot", inline=True)
    def snapshot() -> object:
        return {LONGEST + 1: "a"}

    with World(application, raise_errors=False) as world, caplog.at_level(logging.ERROR):
        other = world.connect()
        other.subscribe("/topic/results")
        peer = world.connect()
        peer.subscribe("/user/queue/errors")
        for path in ("$", "$.a[0]", "$"):
            caplog.clear()
            peer.send_to("/app/result")
            assert code(peer) == "handler-failed"
            assert f"returned what cannot be sent: {path}: too many digits" in caplog.text
            world.advance(1)
        for destination in ("/app/result", "/topic/snapshot"):
            caplog.clear()
            peer.command("SUBSCRIBE", {"id": "s", "destination": destination})
            assert code(peer) == "handler-failed"
            assert "returned what cannot be sent: $: too many digits" in caplog.text
            world.advance(1)
        peer.send_to("/app/result")
        assert other.message().body == b"well"
        with pytest.raises(ConversionError, match="too many digits"):
            application.template.convert_and_send("/topic/results", {LONGEST + 1: "a"})

"""Handlers that take too long: what the log says of them."""

from __future__ import annotations

import logging

import pytest

from stocksync_ws import Limits, StompApp
from stocksync_ws.testing.world import World
from tests.mistakes.kit import compare


def warnings(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    lines = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    return [line for line in lines if text in line]


@pytest.mark.parametrize(
    ("inline", "write"),
    [(True, "leave inline=True out"), (False, "await what it waits for")],
)
def test_one_that_holds_the_loop(
    inline: bool, write: str, caplog: pytest.LogCaptureFixture
) -> None:
    ws = StompApp("/ws")

    def block() -> None:
        world.loop.stall(0.5)

    async def wait() -> None:
        block()

    ws.message_mapping("/jobs", inline=inline)(block if inline else wait)
    with World(ws, raise_errors=False) as world:
        world.connect().send_to("/app/jobs")
    [line] = warnings(caplog, "slow call")
    name = "block" if inline else "wait"
    says = (
        f"slow call mapping=@message_mapping('/jobs') tests.mistakes.test_calls."
        f"test_one_that_holds_the_loop.<locals>.{name} held the loop for 500 ms, and nobody else"
        f" was served: {write}, or make it a `def`, which runs in a thread"
    )
    compare(line, says, write)


@pytest.mark.parametrize(
    ("begun", "says", "write"),
    [
        (
            False,
            (
                "no thread of the pool was free in time for mapping=@message_mapping('/jobs')"
                " tests.mistakes.test_calls.wait: raise Limits.handler_threads, or write `async"
                " def` where handlers wait"
            ),
            "raise Limits.handler_threads",
        ),
        (
            True,
            (
                "a thread of the pool is stuck in mapping=@message_mapping('/jobs')"
                " tests.mistakes.test_calls.wait: it took longer than Limits.handler_timeout, and"
                " cannot be stopped; give what it waits for a timeout"
            ),
            "give what it waits for a timeout",
        ),
    ],
)
def test_one_that_holds_its_thread(
    begun: bool, says: str, write: str, caplog: pytest.LogCaptureFixture
) -> None:
    ws = StompApp("/ws", limits=Limits(handler_timeout=2.0))
    ws.message_mapping("/jobs")(wait)
    with World(ws, raise_errors=False) as world:
        world.hold_pool(inside=begun)
        world.connect().send_to("/app/jobs")
        world.advance(10)
        world.release_pool()
    [line] = warnings(caplog, "of the pool")
    compare(line, says, write)


def wait() -> None:
    """Wait for something that does not come, as far as the pool can tell."""

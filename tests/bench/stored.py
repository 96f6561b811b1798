"""Memory of what is kept: history, and messages that nobody has acknowledged yet.

`python -m tests.bench.stored [--quick]`: by `tracemalloc`, in this process, without a socket, with
messages of 250 bytes. The bounds count message bytes; beside them stands what Python adds.
"""

from __future__ import annotations

import gc
import tracemalloc

from stocksync_ws import Limits, StompApp, Stream
from stocksync_ws.broker.model.log import HOLES
from stocksync_ws.broker.model.publication import Draft
from stocksync_ws.testing.world import World
from stocksync_ws.types import ToDestination
from tests.bench.harness import BODY, Row, at_most, options, show

SUBSCRIBERS = 500
TOPIC = "/topic/bench"
DRAFT = Draft(ToDestination(TOPIC), (("content-type", "application/json"),), BODY)
PER_HOLE = 64
"""Bytes of the place that a message leaves behind; as many as there are messages may stay."""
PER_STORED = 3.0
"""Times its own bytes that a stored message takes."""
PER_DELIVERY = 256.0
"""Bytes of one message that one subscriber has not acknowledged, besides the shared message."""


def _traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def _publish(world: World, count: int) -> int:
    """Publish so many; the bytes that stay."""
    before = _traced()
    for _ in range(count):
        world.runtime.driver.publish(DRAFT)
        world.settle()
    return _traced() - before


def _history(messages: int) -> list[Row]:
    """Fill a history, then publish as many again: nothing more may stay."""
    policy = Stream(history=messages)
    app = StompApp("/ws", allowed_origins=["*"], destinations={TOPIC: policy})
    with World(app, silent=True) as world:
        kept = _publish(world, messages)
        again = _publish(world, messages * 2)
        size = world.broker.delivery.registry.stored.size
    what = f"history of {messages}"
    detail = (
        f"{kept / 1024:.0f} KiB for {size / 1024:.0f} KiB; bound {Limits().history_bytes >> 10} KiB"
    )
    return [
        at_most(f"{what}, memory / bytes counted", kept / size, PER_STORED, "x", detail),
        at_most(
            f"{what}, growth when full",
            again / 1024,
            (messages + HOLES) * PER_HOLE / 1024,
            "KiB",
            f"{messages * 2} more",
        ),
    ]


def _unacknowledged(subscribers: int) -> list[Row]:
    limits = Limits()
    window = limits.ack_window
    with World(StompApp("/ws", allowed_origins=["*"]), silent=True) as world:
        for _ in range(subscribers):
            world.connect().subscribe(TOPIC, id="sub-0", ack="client-individual")
        for session in world.broker.sessions.values():
            session.mailbox.open(len)  # The transport takes everything and keeps nothing.
        full = _publish(world, window)
        for stream in world.streams:
            assert not stream.received.count(BODY), "the memory of the clients would count"
        sessions = world.broker.sessions.values()
        held = sum(
            len(each)
            for session in sessions
            for each in (session.subscriptions.ledgers or {}).values()
        )
        assert held == subscribers * window
        beyond = _publish(world, limits.pending_messages)
        open_still = len(world.broker.sessions)
    assert open_still == subscribers
    each = full / held
    detail = f"{full / 1_048_576:.1f} MiB for {subscribers} windows of {window}"
    bound = limits.pending_messages * len(BODY) * 4 / 1024
    return [
        at_most("unacknowledged, per delivery", each, PER_DELIVERY, "bytes", detail),
        at_most(
            f"windows full, {limits.pending_messages} more", beyond / 1024, bound, "KiB", "one log"
        ),
    ]


def measure(*, quick: bool) -> list[Row]:
    """The rows of the table."""
    tracemalloc.start()
    try:
        return [
            *_history(100),
            *_history(1_000),
            *_unacknowledged(SUBSCRIBERS // 5 if quick else SUBSCRIBERS),
        ]
    finally:
        tracemalloc.stop()


if __name__ == "__main__":
    show(measure(quick=options(__doc__)))

"""A session in process, without a socket: its beginning, and a heart-beat of the server.

`python -m tests.bench.sessions [--quick]`: 16 clients at a time are connected, CONNECTED and
subscribed, with a turn of the virtual loop for each step of theirs; then 2,000 sessions are owed a
beat every ten seconds. Each in a process of its own; streams that take everything and do nothing
stand for the sockets of those that are owed beats.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import time

from tests.bench.harness import ENVIRONMENT, ROOT, SERVER_CORE, Row, at_most, options, pin, show
from tests.bench.load import CONNECT, STOMP_UPGRADE, SUBSCRIBE, masked

TOGETHER = 16
GROUPS = 10
"""Of a round."""
BEATING = 2_000
EVERY = 10.0
"""Seconds between two beats, of which nine tenths pass."""
STEPS = (STOMP_UPGRADE, masked(CONNECT), masked(SUBSCRIBE.format("auto").encode()))


def answer_connects() -> None:
    """Answer each line with the microseconds of a client that is subscribed."""
    from stocksync_ws import StompApp
    from stocksync_ws.testing.world import World

    app = StompApp("/ws", allowed_origins=["*"])
    with World(app, app.site(), silent=True) as world:
        driver = world.runtime.driver

        def group() -> None:
            streams = [world.open() for _ in range(TOGETHER)]
            for step in STEPS:
                for stream in streams:
                    driver.feed(stream.link, step)
                world.settle()
            assert all(b"RECEIPT" in stream.received for stream in streams)

        for _ in sys.stdin:
            began = time.process_time()
            for _ in range(GROUPS):
                group()
            used = time.process_time() - began
            print(used / GROUPS / TOGETHER * 1e6, flush=True)
            for stream in world.streams:
                driver.ended(stream.link)
            world.streams.clear()
            world.settle()


def answer_beats() -> None:
    """Answer each line with the microseconds of a beat, its part of the turn included."""
    from stocksync_ws import Limits, StompApp
    from stocksync_ws.testing.world import World

    limits = Limits(ping_after=3600)
    app = StompApp("/ws", allowed_origins=["*"], heart_beat=(EVERY, EVERY), limits=limits)
    with World(app, silent=True) as world:
        for number in range(BEATING):
            world.connect(heart_beat=f"0,{EVERY * 1000:.0f}")
            if not number % 50:
                world.advance(EVERY / BEATING * 50)
        world.advance(2 * EVERY)
        for session in world.broker.sessions.values():
            assert session.mailbox.is_open
            session.mailbox.open(len)
        gc.collect()
        for _ in sys.stdin:
            began = time.process_time()
            world.advance(0.9 * EVERY)  # in which each is owed one
            print((time.process_time() - began) / BEATING * 1e6, flush=True)


def least(kind: str, rounds: int) -> float:
    """The least of the answers of a process."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"from tests.bench.sessions import {kind}; {kind}()"],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    pin(SERVER_CORE, process.pid)
    told, _ = process.communicate("\n" * rounds)
    if process.returncode:
        raise RuntimeError(f"{kind} has failed")
    return min(map(float, told.split()))


def measure(*, quick: bool) -> list[Row]:
    """The rows of the table."""
    rounds = 5 if quick else 30
    connects = least("answer_connects", rounds)
    return [
        Row("connect, CONNECT, SUBSCRIBE in process", f"{connects:.1f} us"),
        at_most("a server's beat in process", least("answer_beats", rounds), 4, "us"),
    ]


if __name__ == "__main__":
    show(measure(quick=options(__doc__)))

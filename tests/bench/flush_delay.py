"""`flush_delay`: server CPU per delivered message at a steady rate, with and without it.

`python -m tests.bench.flush_delay [--quick]`: 250 bytes of JSON, published by a timer of the server
itself, up to 1,000 times a second.
"""

from __future__ import annotations

import time
from contextlib import ExitStack

from tests.bench.harness import Process, Row, at_most, begin, options, show
from tests.bench.load import Crowd, in_groups, open_stomp
from tests.bench.servers import FLUSH_DELAY, RATE, STEADY

TARGETS = {100: 0.5, 200: 1 / 3}
"""The most that a delivery may cost of what it costs without, by the number of subscribers: what a
publication costs once does not change, and is the more of it the fewer there are.
"""
FRESH = 4
"""Pairs of processes: where one has its memory makes a difference."""
LOOK = 0.02
"""Seconds between two looks of the clients at what has come."""


class Contender:
    """A server with its subscribers, and what a delivery has cost it."""

    def __init__(self, kind: str, subscribers: int, stack: ExitStack) -> None:
        self._process = stack.enter_context(Process(kind))
        port = self._process.port
        self._crowd = Crowd(in_groups(lambda count: open_stomp(port, count), subscribers))
        stack.callback(self._crowd.close)
        self._crowd.drive(self._process.publish, 120, 16)
        self.least = float("inf")
        """Microseconds per delivery in the best round."""

    def round(self) -> None:
        """One round."""
        messages = STEADY * len(self._crowd.connections)
        left = messages
        self._process.begin(b"r")
        while (answer := self._process.answered()) is None:
            left -= self._crowd.read(0)
            time.sleep(LOOK)
        while left:
            left -= self._crowd.read(1)
        self.least = min(self.least, answer["total"] / messages * 1e6)


def _least(subscribers: int, rounds: int) -> tuple[float, float]:
    """Microseconds per delivery without and with it, of two processes that take turns."""
    with ExitStack() as stack:
        plain = Contender("ours", subscribers, stack)
        delayed = Contender("ours-delayed", subscribers, stack)
        for _ in range(rounds):
            plain.round()
            delayed.round()
        return plain.least, delayed.least


def _compare(subscribers: int, rounds: int) -> Row:
    found = [_least(subscribers, rounds) for _ in range(FRESH)]
    plain, delayed = (min(each) for each in zip(*found, strict=True))
    what = f"{subscribers} subscribers, {RATE} publications/s, flush_delay={FLUSH_DELAY} / without"
    detail = f"{delayed:.2f} us a delivery, {plain:.2f} without"
    return at_most(what, delayed / plain, TARGETS[subscribers], "x", detail)


def measure(*, quick: bool) -> list[Row]:
    """The rows of the table."""
    return [_compare(subscribers, 4 if quick else 12) for subscribers in TARGETS]


if __name__ == "__main__":
    begin()
    show(measure(quick=options(__doc__)))

"""Acknowledgement: server CPU per delivery with `ack:client-individual` against `auto`, and of one
ACK.

`python -m tests.bench.acks [--quick]`: 500 subscribers each, 250 bytes of JSON; one publication at
a time, and 16 in flight. The messages of a round are sent within the window and settled afterwards,
so that what they cost and what their ACKs cost is told apart: one ACK a write, and all that a
client owes in one write, each ACK a WebSocket message of its own.
"""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

from tests.bench.harness import ROOT, Cpu, Process, Row, at_most, begin, options, show
from tests.bench.load import Crowd, ack_frame, in_groups, open_stomp

SUBSCRIBERS = 500
BATCH = 16
"""Publications of a round; far less than the window."""
PAUSE = 0.01
"""Seconds before each look at what is settled: asking costs the server, too."""


class Contender:
    """A server whose subscribers all have one mode, and the least it has used."""

    def __init__(self, stack: ExitStack, mode: str, tree: Path = ROOT) -> None:
        self.process = process = stack.enter_context(Process("ours", tree=tree))
        self.crowd = Crowd(
            in_groups(lambda count: open_stomp(process.port, count, ack=mode), SUBSCRIBERS)
        )
        self._acks = mode != "auto"
        self._number = 0
        """Of the newest publication that was acknowledged."""
        self._settled = 0
        self.least: defaultdict[str, float] = defaultdict(lambda: float("inf"))

    def round(self) -> dict[str, float]:
        """One round of everything; microseconds per delivery and per ACK."""
        costs = {"1 in flight": self._send(1)}
        if self._acks:
            costs["one a write"] = self._acknowledge(1)
        costs["16 in flight"] = self._send(BATCH)
        if self._acks:
            costs["16 a write"] = self._acknowledge(BATCH)
        for what, cost in costs.items():
            self.least[what] = min(self.least[what], cost)
        return costs

    def _send(self, in_flight: int) -> float:
        before = self.process.cpu()
        self.crowd.drive(self.process.publish, BATCH, in_flight)
        return self._cost(before)

    def _acknowledge(self, together: int) -> float:
        first = self._number + 1
        frames = [ack_frame(first + place) for place in range(BATCH)]
        before = self.process.cpu()
        for start in range(0, BATCH, together):
            octets = b"".join(frames[start : start + together])
            for connection in self.crowd.connections:
                connection.send(octets)
            self._settled += together * SUBSCRIBERS
            time.sleep(PAUSE)
            while self.process.ask(b"s")["settled"] < self._settled:
                time.sleep(PAUSE)
        cost = self._cost(before)
        self._number += BATCH
        return cost

    def _cost(self, before: Cpu) -> float:
        used = self.process.cpu() - before
        return used.total / BATCH / SUBSCRIBERS * 1e6


def measure(*, quick: bool) -> list[Row]:
    """The rows of the table."""
    with ExitStack() as stack:
        auto = Contender(stack, "auto")
        acked = Contender(stack, "client-individual")
        for _ in range(8 if quick else 40):
            auto.round()
            acked.round()
        auto.crowd.close()
        acked.crowd.close()
    rows: list[Row] = []
    for what in ("1 in flight", "16 in flight"):
        mine, plain = acked.least[what], auto.least[what]
        detail = f"{mine:.2f} us / {plain:.2f} us"
        rows.append(at_most(f"client-individual / auto, {what}", mine / plain, 2.0, "x", detail))
    rows += [
        at_most(f"ACK, {what}", acked.least[what], 15, "us")
        for what in ("one a write", "16 a write")
    ]
    return rows


if __name__ == "__main__":
    begin()
    show(measure(quick=options(__doc__)))

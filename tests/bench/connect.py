"""Connecting: server CPU of handshake + CONNECT + SUBSCRIBE, against the bare handshake of
`websockets`.

`python -m tests.bench.connect [--quick]`: 16 clients connect at a time; ours wait for the 101, for
CONNECTED and for the RECEIPT of their SUBSCRIBE, so a client of ours costs three reads, and one of
`websockets` one.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from tests.bench.harness import Process, Row, at_most, begin, options, show
from tests.bench.load import in_groups, open_plain, open_stomp, reset


def cost(
    process: Process, opener: Callable[[int], list[socket.socket]], clients: int, size: int
) -> float:
    """Microseconds a client."""
    before = process.cpu()
    connections = in_groups(opener, clients, size)
    used = process.cpu() - before
    for connection in connections:
        reset(connection)
    process.wait_for(0)
    return used.total / clients * 1e6


def measure(*, quick: bool, size: int = 16) -> list[Row]:
    """The rows of the table."""
    rounds, clients = (6, 64) if quick else (30, 160)
    with Process("ours") as ours, Process("websockets", "8100") as theirs:
        found: list[tuple[float, float]] = []
        for _ in range(rounds):
            one = cost(ours, lambda count: open_stomp(ours.port, count), clients, size)
            other = cost(theirs, lambda count: open_plain(theirs.port, count), clients, size)
            found.append((one, other))
    mine, bare = (min(each) for each in zip(*found, strict=True))
    detail = f"{mine:.0f} us / {bare:.0f} us"
    return [at_most("connect / bare handshake of websockets", mine / bare, 1.2, "x", detail)]


if __name__ == "__main__":
    begin()
    show(measure(quick=options(__doc__)))

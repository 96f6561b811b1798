"""Publishers: 16 clients that publish against one client with 16 in flight; CPU per delivery.

`python -m tests.bench.publishers [--quick]`: 500 subscribers; clients SEND 250 bytes of JSON to a
broker destination, and to an inline handler whose value goes there.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from itertools import cycle

from tests.bench.harness import BODY, Process, Row, at_most, begin, options, show
from tests.bench.load import Crowd, in_groups, open_stomp, send_frame

SUBSCRIBERS = 500
IN_FLIGHT = 16
DESTINATIONS = {"broker": "/topic/bench", "inline handler": "/app/publish"}
NO_MORE = 1.05
"""The target is 1; two equal numbers measured on shared cores differ by this much."""


def _publish(senders: list[socket.socket], frame: bytes) -> Callable[[int], None]:
    """SENDs in turn, one a system call: a sender whose message has arrived sends its next."""
    turn = cycle(senders)

    def publish(count: int) -> None:
        for _ in range(count):
            next(turn).send(frame)

    return publish


def cost(
    process: Process, crowd: Crowd, senders: list[socket.socket], frame: bytes, publications: int
) -> float:
    """Microseconds a delivery."""
    publish = _publish(senders, frame)
    before = process.cpu()
    crowd.drive(publish, publications, IN_FLIGHT)
    used = process.cpu() - before
    return used.total / publications / len(crowd.connections) * 1e6


def measure(*, quick: bool) -> list[Row]:
    """The rows of the table."""
    rounds, publications = (6, 64) if quick else (40, 96)
    rows: list[Row] = []
    with Process("ours") as process:
        port = process.port
        senders = open_stomp(port, IN_FLIGHT, subscribe=False)
        crowd = Crowd(in_groups(lambda count: open_stomp(port, count), SUBSCRIBERS))
        for name, destination in DESTINATIONS.items():
            frame = send_frame(destination, BODY)
            found: dict[int, float] = {}
            for _ in range(rounds):
                for count in (1, IN_FLIGHT):
                    each = cost(process, crowd, senders[:count], frame, publications)
                    found[count] = min(each, found.get(count, each))
            detail = f"{found[IN_FLIGHT]:.2f} us / {found[1]:.2f} us"
            ratio = found[IN_FLIGHT] / found[1]
            rows.append(at_most(f"16 publishers / one, {name}", ratio, NO_MORE, "x", detail))
        crowd.close()
    return rows


if __name__ == "__main__":
    begin()
    show(measure(quick=options(__doc__)))

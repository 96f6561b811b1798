"""Ours over Redis beside Centrifuge, the library in Go that Centrifugo is made of.

`python -m tests.bench.centrifuge [--quick]`: each serves one client, then 500, from one core and
over one Redis. The program is made from `centrifuge.go`: in an empty folder `go mod init bench`,
`go get github.com/centrifugal/centrifuge@1d8f99f` and `go build -o centrifuge centrifuge.go`;
STOCKSYNC_BENCH_CENTRIFUGE names it. Of each the least of all rounds counts.
"""

from __future__ import annotations

import os
import select
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from tests.bench.harness import BODY, Process, Row, begin, options, show
from tests.bench.load import (
    PLAIN_UPGRADE,
    Crowd,
    connect,
    in_groups,
    masked,
    open_stomp,
    read_until,
    send_frame,
)
from tests.bench.servers import CENTRIFUGE, KEPT, TOPIC
from tests.bench.workers import SUBSCRIBERS, cost, latency, receipts, redis
from tests.redis.servers import Server

BODY_MARK = b'Z"'
"""Stands once in each message; no single octet does, since the length of a frame may be any."""
ANSWER_MARK = b"{}"
"""Stands once in each answer to a publication."""
PUBLISH = masked(b'{"id":3,"publish":{"channel":"bench","data":' + BODY + b"}}")


class Marked(socket.socket):
    """A connection that gives a mark of two octets in one piece."""

    _held = b""

    def recv(self, size: int, flags: int = 0) -> bytes:
        """What has come, but a half of a mark."""
        data = super().recv(size, flags)
        if not data:
            return data
        data, self._held = self._held + data, b""
        if len(data) == 1:  # empty would be the end
            select.select([self], [], [])
            data += super().recv(size, flags)
        if data[-1:] in (BODY_MARK[:1], ANSWER_MARK[:1]):
            data, self._held = data[:-1], data[-1:]
        return data


def open_centrifuge(port: int, count: int, *, subscribe: bool = True) -> list[socket.socket]:
    """Clients of Centrifuge, in JSON."""
    steps = [(PLAIN_UPGRADE, b"\r\n\r\n"), (masked(b'{"id":1,"connect":{}}'), b"}")]
    if subscribe:
        steps.append((masked(b'{"id":2,"subscribe":{"channel":"bench"}}'), b"}"))
    connections = [connect(port) for _ in range(count)]
    for request, mark in steps:
        for connection in connections:
            connection.send(request)
        for connection in connections:
            read_until(connection, mark)
    return [Marked(fileno=connection.detach()) for connection in connections]


@dataclass
class Side:
    """One kind of server, twice, and what was found."""

    name: str
    one: Process
    other: Process
    opener: Callable[..., list[socket.socket]]
    mark: bytes
    frame: bytes
    answer: bytes
    found: dict[str, list[float]] = field(default_factory=dict)

    def crowd(self, size: int) -> Crowd:
        """Subscribers, to whom nothing more comes of what was published before."""
        found = in_groups(lambda count: self.opener(self.one.port, count), size)
        crowd = Crowd(found, self.mark)
        while crowd.read(0.2):
            pass
        return crowd

    def add(self, what: str, value: float) -> None:
        self.found.setdefault(what, []).append(value)

    def round(self, server: Server, count: int) -> None:
        """One client, what it costs to publish to it and to receive for it, and how late it is."""
        crowd = self.crowd(1)
        before = engine(server)
        self.add("a publication", cost(self.one, crowd, self.one, count))
        self.add("a publication, in Redis", (engine(server) - before) / count * 1e6)
        self.add(
            "a message that another worker publishes", cost(self.one, crowd, self.other, count)
        )
        self.add("latency p50", latency(self.one, crowd, 200) * 1e3)
        crowd.close()
        (client,) = self.opener(self.one.port, 1, subscribe=False)
        rate = receipts(client, self.frame, count, self.answer)
        self.add("50 publications in flight of one client", 1e6 / rate)

    def fan_out(self, publications: int) -> None:
        """Many clients."""
        crowd = self.crowd(SUBSCRIBERS)
        crowd.drive(self.one.publish, 10, 4)
        self.add("a delivery to 500", cost(self.one, crowd, self.one, publications) / SUBSCRIBERS)
        crowd.close()


def engine(server: Server) -> float:
    """Seconds that Redis has used so far."""
    told = server.tell("INFO", "cpu")
    assert isinstance(told, dict)
    return float(told["used_cpu_user"]) + float(told["used_cpu_sys"])


@contextmanager
def sides() -> Iterator[list[Side]]:
    """Ours, and theirs with a history and without one."""
    with ExitStack() as stack:

        def started(kind: str, *words: str) -> tuple[Process, Process]:
            one = stack.enter_context(Process(kind, *words))
            return one, stack.enter_context(Process(kind, *words))

        ours = "ours-redis"
        frame = send_frame(TOPIC, BODY, "r")
        found = [Side("ours", *started(ours), open_stomp, b"\0", frame, b"\0")]
        for name, kept in (("with history", KEPT), ("without", 0)):
            pair = started("centrifuge-redis", str(kept))
            found.append(Side(name, *pair, open_centrifuge, BODY_MARK, PUBLISH, ANSWER_MARK))
        yield found


def measure(*, quick: bool) -> list[Row]:
    """The rows of the table."""
    rounds, count = (3, 1_000) if quick else (9, 4_000)
    with redis() as server, sides() as all_sides:
        for number in range(rounds):
            for side in all_sides:
                side.round(server, count)
                side.fan_out(10 if quick else 40)
            print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    rows: list[Row] = []
    for what in all_sides[0].found:
        ours, kept, without = (min(side.found[what]) for side in all_sides)
        rows.append(
            Row(
                what,
                f"{ours:.1f} us  ({ours / kept:.2f} x Centrifuge with history {kept:.1f};"
                f" {ours / without:.2f} x without {without:.1f})",
            )
        )
    return rows


if __name__ == "__main__":
    if CENTRIFUGE not in os.environ:
        sys.exit(f"{CENTRIFUGE} names no program: {__doc__}")
    begin()
    show(measure(quick=options(__doc__)))

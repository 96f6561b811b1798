"""Ours beside the libraries that a user would take instead: fan-out, and request and reply.

`python -m tests.bench.peers [--quick]`: a publication to 500 clients, one at a time; then 16
clients, each with one request on its way that is read as JSON and answered with it. All send 250
bytes of JSON, each in the framing of its own. A table of Markdown for the docs is printed, too.
"""

from __future__ import annotations

import platform
import select
import socket
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version

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
from tests.bench.peer_servers import PEERS

SUBSCRIBERS = 500
ASKERS = 16
JSON_MARK = b"{"
"""Stands once in each message of JSON."""
ANSWERS = masked(b"SUBSCRIBE\nid:a\ndestination:/user/queue/answers\nreceipt:a\n\n\0")


def open_json(port: int, count: int) -> list[socket.socket]:
    """Clients of a plain WebSocket."""
    connections = [connect(port) for _ in range(count)]
    for connection in connections:
        connection.send(PLAIN_UPGRADE)
    for connection in connections:
        read_until(connection, b"\r\n\r\n")
    return connections


def open_socketio(port: int, count: int) -> list[socket.socket]:
    """Clients of Socket.IO that have joined."""
    upgrade = PLAIN_UPGRADE.replace(b"/ws ", b"/ws/?EIO=4&transport=websocket ")
    connections = [connect(port) for _ in range(count)]
    for request, mark in ((upgrade, b"}"), (masked(b"40"), b"}")):
        for connection in connections:
            connection.send(request)
        for connection in connections:
            read_until(connection, mark)
    return connections


@dataclass
class Contender:
    """A library, and what it has used."""

    name: str
    process: Process
    crowd: Crowd
    mark: bytes
    ask: bytes
    askers: list[socket.socket]
    """Those of the crowd that ask."""
    fan_out: list[float] = field(default_factory=list)
    """Microseconds a delivery, by rounds."""
    trips: list[float] = field(default_factory=list)
    """Microseconds a round trip, by rounds."""

    def round(self, publications: int, trips: int) -> None:
        """One round of each."""
        before = self.process.cpu().total
        self.crowd.drive(self.process.publish, publications, 1)
        used = self.process.cpu().total - before
        self.fan_out.append(used / publications / SUBSCRIBERS * 1e6)
        before = self.process.cpu().total
        _ask_all(self.askers, self.ask, self.mark, trips)
        used = self.process.cpu().total - before
        self.trips.append(used / trips * 1e6)


def _ask_all(askers: list[socket.socket], ask: bytes, mark: bytes, trips: int) -> None:
    """Have each ask again when it is answered, until there were so many answers in all."""
    poll = select.epoll()
    by_number = {each.fileno(): each for each in askers}
    for number, connection in by_number.items():
        poll.register(number, select.EPOLLIN)
        connection.send(ask)
    asked, answered = len(askers), 0
    while answered < asked:
        for number, _ in poll.poll(0):
            came = by_number[number].recv(16_384).count(mark)
            answered += came
            if came and asked < trips:
                asked += 1
                by_number[number].send(ask)
    poll.close()


def _start(stack: ExitStack, name: str) -> Contender:
    process = stack.enter_context(Process(f"peer-{name}" if name in PEERS else "ours"))
    opener, mark, ask = open_json, JSON_MARK, masked(BODY)
    if name == "python-socketio":
        opener, ask = open_socketio, masked(b'420["ask",' + BODY + b"]")
    elif name not in PEERS:
        opener, mark = open_stomp, b"\0"
        ask = send_frame("/app/ask-inline" if "inline" in name else "/app/ask", BODY)
    connections = in_groups(lambda count: opener(process.port, count), SUBSCRIBERS)
    process.wait_for(SUBSCRIBERS)
    askers = connections[:ASKERS]
    for connection in askers if name not in PEERS else ():
        connection.send(ANSWERS)
        read_until(connection, b"\0")
    crowd = Crowd(connections, mark)
    crowd.drive(process.publish, 20, 1)
    return Contender(name, process, crowd, mark, ask, askers)


def _table(contenders: list[Contender]) -> list[str]:
    """The rows of a table of Markdown."""
    first = contenders[0]
    machine = f"{platform.system()} {platform.machine()}, CPython {platform.python_version()}"
    made = f"Made on {datetime.now(UTC):%Y-%m-%d} by `python -m tests.bench.peers`"
    lines = [
        f"{made}, {machine}, one core for the server.",
        "",
        "| | fan-out, µs a delivery | / ours | round trip, µs | / ours | round trips a second |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for each in contenders:
        fan_out, trip = min(each.fan_out), min(each.trips)
        name = f"{each.name} {version(each.name)}" if each.name in PEERS else each.name
        lines.append(
            f"| {name} | {fan_out:.2f} | {fan_out / min(first.fan_out):.2f} | {trip:.1f}"
            f" | {trip / min(first.trips):.2f} | {1e6 / trip:,.0f} |"
        )
    return lines


def measure(*, quick: bool) -> list[Row]:
    """The rows of the table."""
    rounds, publications, trips = (3, 10, 800) if quick else (9, 24, 4_000)
    with ExitStack() as stack:
        contenders = [_start(stack, name) for name in ("ours", "ours, inline handler", *PEERS)]
        for number in range(rounds):
            for each in contenders:
                each.round(publications, trips)
            print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        for each in contenders:
            each.crowd.close()
    print("\n".join(_table(contenders)))
    return [
        Row(f"peers, {each.name}", f"{min(each.fan_out):.2f} us, {min(each.trips):.1f} us a trip")
        for each in contenders
    ]


if __name__ == "__main__":
    begin()
    show(measure(quick=options(__doc__)))

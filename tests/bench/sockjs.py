"""SockJS: server CPU per delivered message over a framed WebSocket and a stream of XHR, beside the
plain endpoint; polls; memory of a parked session.

`python -m tests.bench.sockjs [--quick]`: 200 subscribers, 250 bytes of JSON, our own server; one
publication at a time, and 16 in flight.
"""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack

from tests.bench.fanout import WARM_UP, Contender
from tests.bench.harness import Process, Row, at_most, begin, options, show
from tests.bench.load import (
    CONNECT,
    SUBSCRIBE,
    UPGRADE,
    Crowd,
    connect,
    in_groups,
    masked,
    open_stomp,
    read_until,
    reset,
)

SUBSCRIBERS = 200
MARK = b"{"
"""The body is the only one in a message."""
DONE = b"\r\n\r\n"


def _array(frame: bytes) -> bytes:
    return json.dumps([frame.decode()]).encode()


STEPS = [_array(CONNECT), _array(SUBSCRIBE.format("auto").encode())]


def open_framed(port: int, count: int) -> list[socket.socket]:
    """Clients of the framed WebSocket that are subscribed."""
    connections = [connect(port) for _ in range(count)]
    for number, connection in enumerate(connections):
        path = b"GET /ws/000/framed%d/websocket HTTP" % number
        connection.send((UPGRADE % b"").replace(b"GET /ws HTTP", path))
        read_until(connection, b"o")
        for step in STEPS:
            connection.send(masked(step))
            read_until(connection, b'u0000"]')
    return connections


class Streams:
    """Clients of xhr_streaming that are subscribed; one more connection posts for all of them."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._number = 0
        self._poster = connect(port)

    def open(self, count: int) -> list[socket.socket]:
        """So many more."""
        opened: list[socket.socket] = []
        for _ in range(count):
            self._number += 1
            session = b"/ws/000/stream%d" % self._number
            connection = connect(self._port)
            connection.send(_post(session + b"/xhr_streaming"))
            read_until(connection, b"o\n\r\n")
            for step in STEPS:
                self._poster.send(_post(session + b"/xhr_send", step))
                read_until(self._poster, DONE)
                read_until(connection, b'u0000"]\n\r\n')
            opened.append(connection)
        return opened

    def park(self, count: int) -> None:
        """So many sessions that nothing carries, each connected and subscribed."""
        for _ in range(count):
            self._number += 1
            session = b"/ws/000/parked%d" % self._number
            self._ask(session + b"/xhr", b"", b"o\n")
            for step in STEPS:
                self._ask(session + b"/xhr_send", step, DONE)
                self._ask(session + b"/xhr", b"", b'"]\n')

    def _ask(self, path: bytes, body: bytes, mark: bytes) -> None:
        self._poster.send(_post(path, body))
        read_until(self._poster, mark)

    def close(self) -> None:
        """Hang up the poster."""
        reset(self._poster)


def _post(path: bytes, body: bytes = b"") -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (path, len(body), body)


def _start(stack: ExitStack) -> list[Contender]:
    found: list[Contender] = []
    for name in ("plain", "framed", "xhr_streaming"):
        process = stack.enter_context(Process("ours"))
        port, streams = process.port, Streams(process.port)
        if name == "plain":
            opened = in_groups(lambda count: open_stomp(port, count), SUBSCRIBERS)  # noqa: B023
        elif name == "framed":
            opened = open_framed(port, SUBSCRIBERS)
        else:
            opened = streams.open(SUBSCRIBERS)
        streams.close()
        mark = b"\0" if name == "plain" else MARK
        crowd = Crowd(opened, mark)
        crowd.drive(process.publish, WARM_UP + 100, 16)
        found.append(Contender(name, process, crowd))
    return found


def _polls(process: Process, publications: int) -> float:
    """Polls per 16 messages, of one client that asks again at once, with 16 in flight."""
    port = process.port
    session = b"/ws/000/poller"
    poster, poller = connect(port), connect(port)
    poller.send(_post(session + b"/xhr"))
    read_until(poller, b"o\n")
    for step in STEPS:
        poster.send(_post(session + b"/xhr_send", step))
        read_until(poster, DONE)
        poller.send(_post(session + b"/xhr"))
        read_until(poller, b'"]\n')
    polls = had = asked = 0
    while had < publications:
        if asked == had:
            process.publish(16)
            asked += 16
        poller.send(_post(session + b"/xhr"))
        polls += 1
        had += read_until(poller, b'"]\n').count(MARK)
    reset(poster)
    reset(poller)
    return polls / (publications / 16)


def _parked(process: Process, count: int) -> float:
    """KiB of one more parked session."""
    streams = Streams(process.port)
    streams.park(100)
    before = process.ask(b"m")
    streams.park(count)
    after = process.ask(b"m")
    streams.close()
    return float(after["rss"] - before["rss"]) / 1024 / count


def measure(*, quick: bool) -> list[Row]:
    """The rows of the table."""
    rounds, publications = (6, 16) if quick else (40, 24)
    with ExitStack() as stack:
        contenders = _start(stack)
        for _ in range(rounds):
            for contender in contenders:
                contender.round(publications, 1)
                contender.round(publications * 2, 16)
        polls = _polls(stack.enter_context(Process("ours")), 1_600)
        parked = _parked(stack.enter_context(Process("ours")), 500 if quick else 2_000)
        plain, framed, streamed = contenders
        for contender in contenders:
            contender.crowd.close()
    return [
        *(
            Row(
                f"SockJS, {each.name}",
                f"{each.least(1):.2f} us; 16 in flight {each.least(16):.2f} us",
            )
            for each in contenders
        ),
        at_most("framed / plain, 1 in flight", framed.least(1) / plain.least(1), 1.1, "x"),
        at_most("framed / plain, 16 in flight", framed.least(16) / plain.least(16), 1.1, "x"),
        at_most("xhr_streaming / plain, 1", streamed.least(1) / plain.least(1), 1.3, "x"),
        at_most("xhr_streaming / plain, 16", streamed.least(16) / plain.least(16), 1.3, "x"),
        at_most("polls per 16 messages", polls, 1, ""),
        at_most("memory, parked session", parked, 6, "KiB"),
    ]


if __name__ == "__main__":
    begin()
    show(measure(quick=options(__doc__)))

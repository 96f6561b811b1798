"""Inbound: server CPU of one small SEND to a handler that returns nothing.

`python -m tests.bench.inbound [--quick]`: to an inline handler and to an `async def` one SEND a
read, and 32 SENDs a read, of which the last asks for a RECEIPT. Beside it stand the stages of one
SEND, measured in this process, without a socket. The targets are for a machine whose bare
`socket.send` costs 4.5 us; ratios against an echo of `websockets` tell whether it got worse.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from tests.bench.harness import Process, Row, at_most, begin, options, show
from tests.bench.load import masked, open_plain, open_stomp, read_until, reset, send_frame

BURST = 32
SMALL = b'{"quantity":12}'


def cost(process: Process, send: Callable[[], object], times: int, messages: int) -> float:
    """Microseconds a message."""
    before = process.cpu()
    for _ in range(times):
        send()
    used = process.cpu() - before
    return used.total / times / messages * 1e6


def asker(connection: socket.socket, destination: str, burst: int) -> Callable[[], bytes]:
    """Sends so many SENDs in one write, and spins until the RECEIPT of the last; what has come."""
    quiet = send_frame(destination, SMALL)
    octets = quiet * (burst - 1) + send_frame(destination, SMALL, "r")

    def ask() -> bytes:
        connection.send(octets)
        return read_until(connection, b"\0")

    return ask


def _over_sockets(*, quick: bool) -> list[Row]:
    rounds, times = (5, 120) if quick else (20, 400)
    with Process("ours") as ours, Process("websockets", "8100") as theirs:
        stomp = open_stomp(ours.port, 1)[0]
        plain = open_plain(theirs.port, 1)[0]
        ask_one, ask_burst = (asker(stomp, "/app/ignore", burst) for burst in (1, BURST))
        ask_task, ask_tasks = (asker(stomp, "/app/wait", burst) for burst in (1, BURST))

        def say() -> None:
            plain.send(masked(b"echo"))
            read_until(plain, b"echo")

        found: dict[str, list[float]] = {}
        for _ in range(rounds):
            found.setdefault("one", []).append(cost(ours, ask_one, times, 1))
            found.setdefault("burst", []).append(cost(ours, ask_burst, times // 10, BURST))
            found.setdefault("task", []).append(cost(ours, ask_task, times, 1))
            found.setdefault("tasks", []).append(cost(ours, ask_tasks, times // 10, BURST))
            found.setdefault("echo", []).append(cost(theirs, say, times, 1))
        reset(stomp)
        reset(plain)
    one, burst, task, tasks, echo = (min(costs) for costs in found.values())
    return [
        Row("inbound, SEND with RECEIPT, one a read", f"{one:.1f} us"),
        at_most(f"inbound, SEND, {BURST} a read", burst, 17, "us"),
        Row("inbound, SEND with RECEIPT, async handler", f"{task:.1f} us"),
        Row(f"inbound, SEND, async handler, {BURST} a read", f"{tasks:.1f} us", "26 us on 3.13"),
        Row("inbound, echo of websockets", f"{echo:.1f} us; ours is {one / echo:.2f} x"),
    ]


def _timed(step: Callable[[], object], rounds: int) -> float:
    """Microseconds a call, of the best round."""
    least = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(500):
            step()
        least = min(least, time.process_time() - began)
    return least / 500 * 1e6


def _stages(*, quick: bool) -> list[Row]:
    """What the layers take of one SEND, each called as the layer above calls it."""
    from stocksync_ws.config import Limits
    from stocksync_ws.stomp.decoder import Decoder
    from stocksync_ws.stomp.frame import Version
    from stocksync_ws.wire.websocket import WebSocketReader, WebSocketWire

    rounds = 5 if quick else 20
    octets = send_frame("/app/ignore", SMALL)
    reader = WebSocketReader(WebSocketWire(), Limits())
    payload = (
        f"SEND\ndestination:/app/ignore\ncontent-type:application/json\n"
        f"content-length:{len(SMALL)}\n\n".encode()
        + SMALL
        + b"\0"
    )
    decoder = Decoder(Limits())
    decoder.version = Version.V12

    def decode() -> None:
        decoder.feed(payload)
        assert decoder.next() is not None
        assert decoder.next() is None

    framing = _timed(lambda: reader.receive(octets), rounds)
    decoding = _timed(decode, rounds)
    return [
        Row("inbound, of it WebSocket framing", f"{framing:.1f} us"),
        Row("inbound, of it STOMP decoding", f"{decoding:.1f} us"),
    ]


def measure(*, quick: bool) -> list[Row]:
    """The rows of the table."""
    return [*_over_sockets(quick=quick), *_stages(quick=quick)]


if __name__ == "__main__":
    begin()
    show(measure(quick=options(__doc__)))

"""One healthy client beside a crowd that floods: how long it waits, and how long a turn of the loop
keeps everybody.

`python -m tests.bench.neighbours --against PATH [--quick]`: a server in a process, 200 clients that
send as much as is read in another, and here the healthy one, which sends a frame and waits for its
RECEIPT, again and again. PATH is another checkout, such as one from before turns were bounded; both
libraries are measured in turns, by this very file. Times are those that the server computes: it is
never idle, so they are what a clock would show on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import selectors
import socket
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

FLOODERS = 200
COST = 5_000
"""Numbers that a handler adds: about 0.1 ms."""
TICK = 0.002
"""Seconds after which the server's loop is to come back to a timer; what it computes meanwhile is
its lag.
"""
PAUSE = 0.005
"""Seconds between two frames of the healthy client."""
LEAST = 5
"""Frames that it sends at least."""
WARM = 1.0
"""Seconds that the flood lasts before anything is counted."""


async def serve() -> None:
    """The server process. It imports the library that its environment names, and nothing else."""
    from stocksync_ws import Limits, StompApp

    logging.disable()  # A call is slow when the machine does something else.
    patient = Limits(handshake_timeout=60, connect_timeout=60, handler_timeout=60)
    app = StompApp("/ws", allowed_origins=["*"], heart_beat=(0.0, 0.0), limits=patient)
    lags: list[float] = []

    def handle(who: str) -> None:
        sum(range(COST))

    app.message_mapping("/{who}", inline=True)(handle)

    async def watch() -> None:
        while True:
            began = time.process_time()
            await asyncio.sleep(TICK)
            lags.append(time.process_time() - began)

    def told() -> None:
        sys.stdin.buffer.read1(1)
        print(json.dumps({"frames": app.counters.frames_in, "lags": lags}), flush=True)
        lags.clear()

    listening = socket.create_server(("127.0.0.1", 0), backlog=1_024)
    watching = asyncio.create_task(watch())
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), told)
    print(json.dumps({"port": listening.getsockname()[1]}), flush=True)
    await app.serve(sock=listening)
    watching.cancel()


def flood(port: int) -> None:
    """The process of the crowd: it writes whenever it can, until it is ended."""
    from tests.bench.load import open_stomp, send_frame

    batch = send_frame("/app/flood", b"x") * 800
    selector = selectors.DefaultSelector()
    for sock in open_stomp(port, FLOODERS, subscribe=False):
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_WRITE, [0])
    print("{}", flush=True)
    while True:
        for key, _ in selector.select():
            sent: list[int] = key.data
            try:
                sent[0] += key.fileobj.send(batch[sent[0] :])  # type: ignore[union-attr]
            except BlockingIOError:
                continue
            sent[0] %= len(batch)


class Role:
    """A process of this file."""

    def __init__(self, *arguments: str, tree: Path, core: int) -> None:
        from tests.bench.harness import pin

        environment = {**os.environ, "PYTHONPATH": str(tree)}
        # Without -P the other files here would stand before those of the tree.
        command = [sys.executable, "-P", __file__, *arguments]
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        pin(core, self._process.pid)

    def hear(self) -> Any:
        """A line that it says."""
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def ask(self) -> Any:
        """What it knows."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"?")
        self._process.stdin.flush()
        return self.hear()

    def cpu(self) -> float:
        """Seconds that it has computed so far. Linux names the clock of another process like so."""
        return time.clock_gettime(~self._process.pid << 3 | 2)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


def trips(server: Role, sock: socket.socket, seconds: float) -> list[float]:
    """What the server computes from each frame of the healthy client to its RECEIPT."""
    from tests.bench.load import read_until, send_frame

    frame = send_frame("/app/healthy", b"x", "r")
    found: list[float] = []
    until = time.perf_counter() + seconds
    while len(found) < LEAST or time.perf_counter() < until:
        began = server.cpu()
        sock.send(frame)
        read_until(sock, b"\0")
        found.append(server.cpu() - began)
        time.sleep(PAUSE)
    return found


def one_round(tree: Path, seconds: float) -> tuple[list[float], list[float], float]:
    """The round trips and the lags, in milliseconds, and thousands of frames a second."""
    from tests.bench.harness import CLIENT_CORE, ROOT, SERVER_CORE
    from tests.bench.load import open_stomp

    server = Role("serve", tree=tree, core=SERVER_CORE)
    port = server.hear()["port"]
    [healthy] = open_stomp(port, 1, subscribe=False)
    crowd = Role("flood", str(port), tree=ROOT, core=CLIENT_CORE)
    try:
        crowd.hear()
        time.sleep(WARM)
        before, began = server.ask()["frames"], server.cpu()
        waited = trips(server, healthy, seconds)
        after = server.ask()
        frames = (after["frames"] - before) / (server.cpu() - began) / 1e3
    finally:
        healthy.close()
        crowd.close()
        server.close()
    return [each * 1e3 for each in waited], [each * 1e3 for each in after["lags"]], frames


def measure(other: Path, *, quick: bool) -> list[Any]:
    """The rows of the table."""
    from tests.bench.harness import ROOT, at_most

    rounds, seconds = (2, 3.0) if quick else (5, 8.0)
    found: dict[Path, list[tuple[float, float, float]]] = {other: [], ROOT: []}
    for number in range(rounds):
        for tree, figures in found.items():
            waited, lags, frames = one_round(tree, seconds)
            figures.append((median(waited), max(lags), frames))
            name = "this checkout" if tree == ROOT else "the other one"
            print(
                f"round {number + 1}, {name}: p50 {median(waited):.1f} ms of {len(waited)}, lag"
                f" {max(lags):.1f} ms at most, {frames:.1f} thousand frames a second"
            )
    (old_trip, old_lag, _), (new_trip, new_lag, _) = (
        [median(each) for each in zip(*figures, strict=True)] for figures in found.values()
    )
    return [
        at_most(
            "round trip of a healthy client / in the other checkout",
            new_trip / old_trip,
            1 / 15,
            "x",
            f"{new_trip:.1f} ms / {old_trip:.1f} ms",
        ),
        at_most(
            "longest lag of the loop / in the other checkout",
            new_lag / old_lag,
            1 / 15,
            "x",
            f"{new_lag:.1f} ms / {old_lag:.1f} ms",
        ),
    ]


def main() -> None:
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve())
        return
    if sys.argv[1:2] == ["flood"]:
        flood(int(sys.argv[2]))
        return
    from tests.bench.harness import begin, show

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--against", type=Path, metavar="PATH", required=True)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    given = parser.parse_args()
    begin()
    show(measure(given.against.resolve(), quick=given.quick))


if __name__ == "__main__":
    main()

"""Costs of what stands in the way of a frame: rules, interceptors, rates and a presence.

`python -m tests.bench.hooks [--quick]`: each in a process of its own, without a socket, beside the
same application without it; rounds alternate, and the least of each counts.
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from tests.bench.harness import ENVIRONMENT, ROOT, SERVER_CORE, Row, at_most, options, pin, show

BURST = 32
"""SENDs of one message; half as many SUBSCRIBEs, each with its UNSUBSCRIBE."""
READS = 30
"""Messages of one round."""
TOPIC = "/topic/bench"
SEND = b"SEND\ndestination:%s\ncontent-length:2\n\n{}\0" % TOPIC.encode()
PAIR = b"SUBSCRIBE\nid:%d\ndestination:/topic/room/7\n\n\0UNSUBSCRIBE\nid:%d\n\n\0"
TARGETS = {"rule": 2.0, "interceptor": 1.0, "rate": 1.0, "presence": 2.0}
"""Microseconds of a SEND, a publication, a SEND, and half of a SUBSCRIBE with its UNSUBSCRIBE."""


def _application(kind: str) -> Any:
    from stocksync_ws import Rate, StompApp

    settings: dict[str, Any] = {}
    if kind == "rate":
        settings["session_rate"] = Rate(1e6, burst=1_000_000)
    if kind == "presence":
        settings["presence"] = ["/topic/room/*"]
    app = StompApp("/ws", allowed_origins=["*"], client_send=["/topic/**"], **settings)
    if kind == "rule":

        @app.authorize(TOPIC)
        async def may() -> bool:
            return True

    if kind == "interceptor":

        @app.outbound_interceptor()
        def look(message: object) -> None:
            return None

    return app


def answer(kind: str) -> None:
    """Answer each line with the microseconds of one operation."""
    from stocksync_ws.testing.world import World

    with World(_application(kind), silent=True) as world:
        world.connect()
        [session] = world.broker.sessions.values()
        world.connect().subscribe("/topic/room/7", id="x")
        payload, count = SEND * BURST, BURST
        if kind in ("subscribe", "presence"):
            count = BURST // 2
            payload = b"".join(PAIR % (number, number) for number in range(count))
        driver = world.runtime.driver

        def once() -> None:
            now = world.now
            world.broker.receive(session, payload, now)
            driver._finish(now)
            world.settle()

        for _ in range(READS):
            once()
        for _ in sys.stdin:
            began = time.process_time()
            for _ in range(READS):
                once()
            used = time.process_time() - began
            print(used / READS / count * 1e6, flush=True)


class Answers:
    """A process that does one thing."""

    def __init__(self, kind: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.hooks", "answer", kind],
            cwd=ROOT,
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        pin(SERVER_CORE, self._process.pid)
        self.least = float("inf")

    def round(self) -> None:
        """One round more."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self.least = min(self.least, float(self._process.stdout.readline()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.communicate()


def measure(*, quick: bool) -> list[Row]:
    """The rows of the table."""
    with ExitStack() as stack:
        kinds = ("send", "rule", "interceptor", "rate", "subscribe", "presence")
        found = {kind: stack.enter_context(Answers(kind)) for kind in kinds}
        for _ in range(9 if quick else 21):
            for each in found.values():
                each.round()
    rows = []
    for kind, target in TARGETS.items():
        beside = found["subscribe" if kind == "presence" else "send"].least
        cost = found[kind].least - beside
        if kind == "presence":
            cost /= 2
        rows.append(at_most(f"hooks, {kind}", cost, target, "us", f"beside {beside:.2f}"))
    return rows


if __name__ == "__main__":
    if sys.argv[1:2] == ["answer"]:
        answer(sys.argv[2])
    else:
        show(measure(quick=options(__doc__)))

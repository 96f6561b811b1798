"""Fan-out in process, without a socket: publish to 500 `auto` subscribers, and the flush.

`python -m tests.bench.inprocess [--quick]`: in a process of its own. Transports that take
everything and do nothing stand for the sockets.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.bench.harness import BODY, ENVIRONMENT, ROOT, SERVER_CORE, Row, options, pin, show

SUBSCRIBERS = 500
TOPIC = "/topic/bench"
PUBLICATIONS = 40
"""Of one round."""


def answer() -> None:
    """Answer each line with the microseconds of a publication per subscriber."""
    from stocksync_ws import StompApp
    from stocksync_ws.broker.model.publication import Draft
    from stocksync_ws.testing.world import World
    from stocksync_ws.types import ToDestination

    with World(StompApp("/ws", allowed_origins=["*"]), silent=True) as world:
        for _ in range(SUBSCRIBERS):
            world.connect().subscribe(TOPIC, id="sub-0")
        driver = world.runtime.driver
        draft = Draft(ToDestination(TOPIC), (("content-type", "application/json"),), BODY)
        driver.publish(draft)
        world.settle()
        for session in world.broker.sessions.values():
            assert session.mailbox.is_open
            session.mailbox.open(len)
        for _ in sys.stdin:
            began = time.process_time()
            for _ in range(PUBLICATIONS):
                driver.publish(draft)
                world.settle()
            used = time.process_time() - began
            print(used / PUBLICATIONS / SUBSCRIBERS * 1e6, flush=True)


class Answers:
    """A process that publishes with the library of one checkout, and with its benchmark: what a
    benchmark touches inside may have another name in another checkout.
    """

    def __init__(self, tree: Path = ROOT) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from tests.bench.inprocess import answer; answer()"],
            cwd=tree,
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        pin(SERVER_CORE, self._process.pid)

    def round(self) -> float:
        """Microseconds of one publication per subscriber."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the process that publishes has ended")
        return float(line)

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
    with Answers() as answers:
        least = min(answers.round() for _ in range(20 if quick else 100))
    return [Row("fan-out in process, auto", f"{least:.3f} us")]


if __name__ == "__main__":
    show(measure(quick=options(__doc__)))

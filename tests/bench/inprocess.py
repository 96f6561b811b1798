"""Fan-out in process, without a socket: publish to 500 `auto` subscribers, and the flush.

`python -m tests.bench.inprocess [--quick] [--before TREE]`: with another checkout of this project
the two alternate, each in processes of its own, and the ratio is told. Transports that take
everything and do nothing stand for the sockets.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.bench.harness import BODY, ROOT, Row, at_most, show

SUBSCRIBERS = 500
TOPIC = "/topic/bench"
NO_MORE = 1.05
PUBLICATIONS = 40
"""Of one round."""
PAIRS = 5
"""Processes of each checkout: where a process has its memory makes a difference, too."""
_START = """
import sys
sys.path.insert(0, {!r})
import stocksync_ws
assert stocksync_ws.__file__.startswith(sys.path.pop(0))
from tests.bench.inprocess import answer
answer()
"""
"""The library of the other checkout, measured by this one's benchmark."""


def answer() -> None:
    """Answer each line with the microseconds of a publication per subscriber."""
    from stocksync_ws import StompApp
    from stocksync_ws.broker.model.publication import Draft
    from stocksync_ws.testing.world import World

    with World(StompApp("/ws", allowed_origins=["*"])) as world:
        for _ in range(SUBSCRIBERS):
            world.connect().subscribe(TOPIC, id="sub-0")
        driver = world.runtime.driver
        draft = Draft(TOPIC, (("content-type", "application/json"),), BODY)
        driver.publish(draft)
        world.settle()
        for session in world.broker.sessions.values():
            assert session.lane is not None
            session.lane = len
        for _ in sys.stdin:
            began = time.process_time()
            for _ in range(PUBLICATIONS):
                driver.publish(draft)
                world.settle()
            used = time.process_time() - began
            print(used / PUBLICATIONS / SUBSCRIBERS * 1e6, flush=True)


class _Checkout:
    """A process that publishes with the library of one checkout."""

    def __init__(self, tree: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START.format(str(tree.resolve()))],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def round(self) -> float:
        """Microseconds of one publication per subscriber."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.communicate()


def _least(trees: list[Path], rounds: int, pairs: int) -> list[float]:
    least = [float("inf")] * len(trees)
    for _ in range(pairs):
        with ExitStack() as stack:
            checkouts = [stack.enter_context(_Checkout(tree)) for tree in trees]
            for _ in range(rounds):
                for place, checkout in enumerate(checkouts):
                    least[place] = min(least[place], checkout.round())
    return least


def measure(*, quick: bool, before: Path | None = None) -> list[Row]:
    """The rows of the table."""
    rounds = 20 if quick else 100
    if before is None:
        (now,) = _least([ROOT], rounds, 1)
        return [Row("fan-out in process, auto", f"{now:.3f} us")]
    now, then = _least([ROOT, before], rounds, PAIRS)
    detail = f"{now:.3f} us / {then:.3f} us"
    return [at_most("fan-out in process, auto / before", now / then, NO_MORE, "x", detail)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--before", type=Path, help="another checkout, to compare with")
    given = parser.parse_args()
    show(measure(quick=given.quick, before=given.before))

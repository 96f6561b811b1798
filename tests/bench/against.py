"""This checkout against another one, row by row: `python -m tests.bench --against PATH`.

Rule: both run under the same load client, that of this checkout; each runs its own library in its
own processes. A round starts fresh processes of both, because where a process has its memory makes
a difference, and lets them take turns, slice by slice; the next round begins with the other one.

A figure is the mean of the least third of its slices. On a busy machine identical checkouts differ
by up to 3 % in it, and by up to 6 % in the one least slice, whose ratio stands beside it: where the
two ratios lie far apart, more rounds are needed. The table says "not slower" or "SLOWER"; nothing
fails.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from tests.bench.harness import ROOT
from tests.bench.probes import PROBES, Figures, Probe

ROUNDS = 9
QUICK_ROUNDS = 2
_WHERE = (
    "import stocksync_ws, tests.bench.servers as own; print(stocksync_ws.__file__, own.__file__)"
)


class Side:
    """One of the two checkouts, and what was measured of it."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self.found: dict[str, list[float]] = {}
        """The slices of each row."""

    def take(self, figures: Figures) -> None:
        """One slice more."""
        for row, value in figures.items():
            self.found.setdefault(row, []).append(value)

    def least(self, row: str) -> float:
        """The least slice."""
        return min(self.found[row])

    def figure(self, row: str) -> float:
        """The mean of the least third."""
        slices = sorted(self.found[row])
        third = slices[: -(-len(slices) // 3)]
        return sum(third) / len(third)


def check(tree: Path) -> None:
    """Processes that are started in a checkout run what stands there, and nothing installed."""
    done = subprocess.run([sys.executable, "-c", _WHERE], cwd=tree, capture_output=True, text=True)
    files = done.stdout.split()
    if done.returncode or not all(
        Path(file).resolve().is_relative_to(tree.resolve()) for file in files
    ):
        raise SystemExit(f"{tree} is no checkout that can be measured: {done.stderr or files}")


def _round(probe: Probe, sides: Sequence[Side]) -> None:
    with ExitStack() as stack:
        started = [(side, stack.enter_context(closing(probe.start(side.tree)))) for side in sides]
        for _ in range(probe.slices):
            for side, slices in started:
                side.take(next(slices))


def line(row: str, probe: Probe, this: Side, other: Side) -> str:
    """One line of the table."""
    if row not in this.found or row not in other.found:
        return f"{row:<32} only one of the two has it"
    old, new = other.figure(row), this.figure(row)
    ratio, least = new / old, this.least(row) / other.least(row)
    verdict = "not slower" if ratio <= probe.bound else "SLOWER"
    figures = f"{old:>9.3f} {new:>9.3f} {probe.unit:<3} {ratio:>6.3f} {least:>8.3f}"
    return f"{row:<32} {figures}  {verdict} (<= {probe.bound:g})"


def compare(tree: Path, names: Sequence[str], rounds: int) -> None:
    """Measure and print, probe by probe.

    Args:
        tree: The other checkout.
        names: Which probes; none means all.
        rounds: How many rounds of each.
    """
    tree = tree.resolve()
    for each in (ROOT, tree):
        check(each)
    print(f"{rounds} rounds; ratio = this / other")
    print(f"{'':<32} {'other':>9} {'this':>9}      {'ratio':>6} {'of least':>8}")
    for name in names or PROBES:
        probe = PROBES[name]
        this, other = Side(ROOT), Side(tree)
        try:
            for number in range(rounds):
                _round(probe, (this, other) if number % 2 else (other, this))
        except (RuntimeError, OSError) as error:
            print(f"{name}: cannot be measured: {error}")
            continue
        for row in dict.fromkeys([*this.found, *other.found]):
            print(line(row, probe, this, other), flush=True)

"""Trying a fault: a child process gets the code with the fault, and runs the tests that cover it.

A fault is killed by a test that fails or hangs with it, alone, and passes without it. A child has
its own process group, and is killed with everything that it has started.
"""

from __future__ import annotations

import gc
import os
import resource
import select
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType

import pytest

__all__ = ["Bench", "Failures", "Verdict", "run_item"]

PATIENCE = 10.0
"""Seconds that a test may take in which it takes none, besides ten times what it takes."""
MEMORY = 6 << 30
"""Bytes of address space of a child: a fault may fill a list for ever."""

Codes = Mapping[tuple[str, int], CodeType]


class Failures:
    """A plugin that notes whether a test has failed."""

    def __init__(self) -> None:
        self.seen = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seen = self.seen or report.failed


def run_item(items: Sequence[pytest.Item], index: int, then: int, failures: Failures) -> bool:
    """Run one test, whose fixtures stay for the test at `then`; say whether it failed."""
    failures.seen = False
    item, after = items[index], items[then] if then < len(items) else None
    try:
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
    except BaseException:
        return True
    return failures.seen


@dataclass(frozen=True)
class Verdict:
    killed: bool
    by: str = ""
    """The test that killed it, with a word about how."""
    tests: int = 0
    """How many cover it."""
    seconds: float = 0.0


@dataclass(frozen=True)
class _End:
    """How the tests of a child ended."""

    position: int | None
    """Of the test that failed, in the order of the run; None when all passed."""
    how: str = ""


class Bench:
    """Tries faults on the tests of one session of pytest.

    Args:
        items: Everything that was collected.
        seconds: What each of them takes.
    """

    def __init__(
        self, items: Sequence[pytest.Item], seconds: Sequence[float], failures: Failures
    ) -> None:
        self._items = items
        self._seconds = seconds
        self._failures = failures
        self._alone: dict[int, bool] = {}
        self._functions: dict[tuple[str, str, int], list[FunctionType]] = {}
        for thing in gc.get_objects():
            if type(thing) is FunctionType:  # `isinstance` would wake up lazy objects
                code = thing.__code__
                key = code.co_filename, code.co_qualname, code.co_firstlineno
                self._functions.setdefault(key, []).append(thing)
        gc.freeze()

    def try_fault(self, file: Path, codes: Codes, order: Sequence[int]) -> Verdict:
        """Run these tests with this code, until one kills it."""
        began = time.monotonic()
        left, by = list(order), ""
        while left and not by:
            end = self._child(left, file, codes)
            if end.position is None:
                break
            test = left[end.position]
            left = left[end.position + 1 :]
            again = self._child([test], file, codes)
            if again.position is not None and self._passes_alone(test):
                by = f"{self._items[test].nodeid} {again.how}"
        return Verdict(bool(by), by, len(order), time.monotonic() - began)

    def _passes_alone(self, test: int) -> bool:
        """A test that fails without the fault says nothing about it."""
        if test not in self._alone:
            self._alone[test] = self._child([test], Path(), {}).position is None
        return self._alone[test]

    def _child(self, order: Sequence[int], file: Path, codes: Codes) -> _End:
        readable, writable = os.pipe()
        child = os.fork()
        if not child:
            os.close(readable)
            try:
                self._in_child(order, file, codes, lambda text: os.write(writable, text))
            finally:
                os._exit(0)
        os.close(writable)
        try:
            return self._watch(readable, order)
        finally:
            os.close(readable)
            for kill in (os.killpg, os.kill):
                try:
                    kill(child, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            os.waitpid(child, 0)

    def _in_child(
        self, order: Sequence[int], file: Path, codes: Codes, tell: Callable[[bytes], object]
    ) -> None:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nothing, descriptor)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        self._put(file, codes)
        for position, test in enumerate(order):
            tell(b">")
            then = order[position + 1] if position + 1 < len(order) else len(self._items)
            if run_item(self._items, test, then, self._failures):
                tell(b"x")
                return
        tell(b".")

    def _put(self, file: Path, codes: Codes) -> None:
        for (name, line), code in codes.items():
            for function in self._functions.get((str(file), name, line), ()):
                if function.__code__ != code:
                    function.__code__ = code

    def _watch(self, readable: int, order: Sequence[int]) -> _End:
        position = -1
        while True:
            taken = self._seconds[order[position]] if position >= 0 else 1.0
            ready, _, _ = select.select([readable], [], [], PATIENCE + 10 * taken)
            if not ready:
                return _End(max(position, 0), "hangs")
            told = os.read(readable, 4096)
            position += told.count(b">")
            if b"x" in told:
                return _End(position, "fails")
            if b"." in told:
                return _End(None)
            if not told:
                return _End(max(position, 0), "dies")

"""Which tests run which lines, and how long each takes: one run of them all under coverage.

It happens in a child process, so that the process that the faults are put into has run nothing.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import coverage
import pytest

from tests.mutate.trials import Failures, run_item

__all__ = ["Covering", "covering", "import_all"]

IMPORT = "import"
"""The context of what runs when a module is imported."""


@dataclass
class Covering:
    """What one run of the tests has shown."""

    lines: dict[str, dict[int, list[int]]] = field(default_factory=dict)
    """By file below the tree and line: positions in `tests`; -1 is the import."""
    tests: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    """Tests that fail as the code is; they judge nothing."""

    def of(self, file: str, lines: Iterable[int]) -> list[int]:
        """The tests that run one of these lines, the cheapest first."""
        found = self._all(file, lines) - {-1}
        bad = set(self.failed)
        mirror = f"test_{Path(file).name}::"
        return sorted(
            (each for each in found if self.tests[each] not in bad),
            key=lambda each: (mirror not in self.tests[each], self.seconds[each]),
        )

    def is_import_only(self, file: str, lines: Iterable[int]) -> bool:
        return self._all(file, lines) == {-1}

    def _all(self, file: str, lines: Iterable[int]) -> set[int]:
        known = self.lines.get(file, {})
        return {each for line in lines for each in known.get(line, ())}

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Covering:
        made = cls(**json.loads(path.read_text()))
        made.lines = {
            file: {int(line): tests for line, tests in lines.items()}
            for file, lines in made.lines.items()
        }
        return made


def covering(
    root: Path,
    package: str,
    items: Sequence[pytest.Item],
    failures: Failures,
    path: Path,
    say: Callable[[str], None],
) -> Covering:
    """Run all tests in a child process, and read what it has left in a file.

    Raises:
        RuntimeError: The child did not come to its end.
    """
    child = os.fork()
    if not child:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            _run(root, package, items, failures, say).save(path)
            os._exit(0)
        finally:
            os._exit(1)
    if os.waitpid(child, 0)[1]:
        raise RuntimeError("the run under coverage did not come to its end")
    return Covering.load(path)


def _run(
    root: Path,
    package: str,
    items: Sequence[pytest.Item],
    failures: Failures,
    say: Callable[[str], None],
) -> Covering:
    found = Covering()
    measured = coverage.Coverage(data_file=None, config_file=False, source=[str(root / package)])
    measured.start()
    said = time.monotonic()
    for number, item in enumerate(items):
        measured.switch_context(str(number))
        began = time.perf_counter()
        if run_item(items, number, number + 1, failures):
            found.failed.append(item.nodeid)
            say(f"fails as the code is, and judges nothing: {item.nodeid}")
        found.tests.append(item.nodeid)
        found.seconds.append(round(time.perf_counter() - began, 4))
        if time.monotonic() - said > 15:
            said = time.monotonic()
            say(f"coverage: {number + 1} of {len(items)} tests")
    measured.switch_context(IMPORT)
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        del sys.modules[name]
    import_all(root, package)
    measured.stop()
    found.lines = _lines(root, measured.get_data())
    return found


def _lines(root: Path, data: Any) -> dict[str, dict[int, list[int]]]:
    files: dict[str, dict[int, list[int]]] = {}
    for file in data.measured_files():
        files[Path(file).relative_to(root).as_posix()] = {
            line: [-1 if name == IMPORT else int(name) for name in names if name]
            for line, names in data.contexts_by_lineno(file).items()
        }
    return files


def import_all(root: Path, package: str) -> None:
    """Import every module of the package."""
    for file in sorted((root / package).rglob("*.py")):
        parts = file.relative_to(root).with_suffix("").parts
        if parts[-1] != "__main__":
            importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))

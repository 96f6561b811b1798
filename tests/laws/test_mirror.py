"""Every module has its tests where one looks for them: `broker/frames/sending.py` in
`tests/broker/frames/test_sending.py`.

What still has none stands in `ELSEWHERE`, with the file that holds most of its tests. The list can
only shrink: a module that has got its mirror, or is gone, has to leave it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "stocksync_ws"
TESTS = ROOT / "tests"
MIRRORED = ("asgi", "broker", "driver", "running", "stomp", "wire")
"""Packages that keep the law; `messaging` does not yet."""
LEFT_OUT = frozenset(("__init__.py", "room.py"))
"""Files that only re-export, or only put together what stands in others."""
ELSEWHERE = {
    "broker/calls/events.py": "broker/sessions/test_lifecycle.py",
    "broker/model/durable.py": "broker/delivery/test_durables.py",
    "broker/model/environment.py": "broker/kit.py",
    "broker/model/pipeline.py": "broker/calls/test_tasks.py",
    "broker/model/state.py": "broker/sessions/test_ends.py",
    "driver/ports.py": "driver/test_wires.py",
    "stomp/rules.py": "stomp/test_codec_properties.py",
    "wire/frames.py": "wire/test_websocket.py",
}
"""Modules without a mirror, and where their tests are."""


def mirror(module: str) -> str:
    """`broker/frames/sending.py` -> `broker/frames/test_sending.py`."""
    folder, _, name = module.rpartition("/")
    return f"{folder}/test_{name}"


def modules() -> list[str]:
    """Every module that the law is about, as a path below the package."""
    files = [file for room in MIRRORED for file in sorted((PACKAGE / room).rglob("*.py"))]
    return [file.relative_to(PACKAGE).as_posix() for file in files if file.name not in LEFT_OUT]


def problems(
    modules: Iterable[str], tests: Iterable[str], elsewhere: Mapping[str, str]
) -> list[str]:
    """Everything that breaks the law."""
    modules, tests = set(modules), set(tests)
    found = [
        f"{module} has no {mirror(module)}"
        for module in modules - set(elsewhere)
        if mirror(module) not in tests
    ]
    for module, where in elsewhere.items():
        if module not in modules:
            found.append(f"{module} is gone: it leaves the list")
        elif mirror(module) in tests:
            found.append(f"{module} has its mirror: it leaves the list")
        elif where not in tests:
            found.append(f"{module} is tested in {where}, which is gone")
    return sorted(found)


def test_every_module_has_its_tests_where_one_looks_for_them() -> None:
    tests = [file.relative_to(TESTS).as_posix() for file in TESTS.rglob("*.py")]
    assert problems(modules(), tests, ELSEWHERE) == []


def test_the_law_is_about_every_room_of_the_broker() -> None:
    rooms = {module.split("/")[1] for module in modules() if module.startswith("broker/")}
    assert rooms == {"broker.py", "calls", "delivery", "frames", "model", "sessions"}


@pytest.mark.parametrize(
    ("tests", "elsewhere", "problem"),
    [
        ([], {}, "a/b.py has no a/test_b.py"),
        (["a/test_b.py"], {"a/b.py": "a/test_b.py"}, "a/b.py has its mirror: it leaves the list"),
        (["a/test_c.py"], {"a/b.py": "a/d.py"}, "a/b.py is tested in a/d.py, which is gone"),
        (["a/test_b.py"], {"a/x.py": "a/test_b.py"}, "a/x.py is gone: it leaves the list"),
    ],
)
def test_what_breaks_it_is_seen(tests: list[str], elsewhere: dict[str, str], problem: str) -> None:
    assert problems(["a/b.py"], tests, elsewhere) == [problem]


def test_what_keeps_it_is_let_pass() -> None:
    tests = ["a/test_b.py", "stories/test_c.py"]
    assert problems(["a/b.py", "a/c.py"], tests, {"a/c.py": "stories/test_c.py"}) == []

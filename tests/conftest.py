"""Settings of all tests: a property has no deadline in real time, since machines are noisy;
`--quick`, for whoever works on something; and `--build`, which build it is that is tested.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("house", settings.default, deadline=None)
settings.load_profile("house")

OTHERS = [Path(__file__).parent / name for name in ("interop", "redis", "servers")]
"""Clients, engines and servers of others: minutes."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick",
        action="store_true",
        help="without clients, engines and servers of others, and without what is marked `slow`",
    )
    parser.addoption(
        "--build",
        choices=("pure", "compiled"),
        help="which build has to be the one that is imported; not given, either is right",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave folders out; None leaves the question to others."""
    return True if config.getoption("--quick") and collection_path in OTHERS else None


def pytest_sessionstart(session: pytest.Session) -> None:
    """A run that was to test the other build tests nothing."""
    # Here and not above: the plugin of the package sees to it that nothing is imported before.
    import stocksync_ws

    wanted = session.config.getoption("--build")
    if wanted is not None and (wanted == "compiled") != stocksync_ws.compiled:
        raise pytest.UsageError(f"--build={wanted}, but {stocksync_ws.__file__} is the other one")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    from stocksync_ws import compiled

    for item in items if compiled else ():
        for mark in item.iter_markers("pure"):
            (reason,) = mark.args
            item.add_marker(pytest.mark.skip(reason=f"needs pure Python: {reason}"))
    if not config.getoption("--quick"):
        return
    slow = [item for item in items if item.get_closest_marker("slow") is not None]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if item not in slow]


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Garbage of other tests is not collected here: at the end of a full stack nothing of it could
    be finalized.
    """
    gc.disable()
    yield
    gc.enable()

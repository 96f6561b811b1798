"""Settings of all tests: a property has no deadline in real time, since machines are noisy; and
`--quick`, for whoever works on something.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("house", settings.default, deadline=None)
settings.load_profile("house")

OTHERS = [Path(__file__).parent / name for name in ("interop", "servers")]
"""Clients and servers of others: minutes."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick",
        action="store_true",
        help="without clients and servers of others, and without what is marked `slow`",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave folders out; None leaves the question to others."""
    return True if config.getoption("--quick") and collection_path in OTHERS else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--quick"):
        return
    slow = [item for item in items if item.get_closest_marker("slow") is not None]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if item not in slow]

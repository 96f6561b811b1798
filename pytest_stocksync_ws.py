"""The plugin for pytest: a fixture `world` that runs the application of your fixture `stomp_app`.

Rule: pytest imports this file in every run of everybody who has the package installed, so it stands
beside the package and imports nothing of it before a fixture is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from stocksync_ws.testing import World

__all__ = ["stomp_app", "world"]

_MISSING = """\
the fixture `world` runs the application that a fixture `stomp_app` returns, and there is none:
write it, into conftest.py for all tests:

    import pytest

    from your_module import ws  # your StompApp


    @pytest.fixture
    def stomp_app():
        return ws
"""


@pytest.fixture
def stomp_app() -> Any:
    """The StompApp that `world` runs. To be overridden by a fixture of yours."""
    pytest.fail(_MISSING, pytrace=False)


@pytest.fixture
def world(stomp_app: Any) -> Iterator[World]:
    """A `stocksync_ws.testing.World` of the application that the fixture `stomp_app` returns."""
    from stocksync_ws.testing import World

    with World(stomp_app) as world:
        yield world

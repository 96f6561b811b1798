"""An application with a world around it."""

from collections.abc import Callable, Iterator

import pytest

from stocksync_ws import StompApp
from stocksync_ws.testing.world import World


@pytest.fixture
def app() -> StompApp:
    return StompApp("/ws", heart_beat=(0, 0), client_send=["/topic/**"])


@pytest.fixture
def world(app: StompApp) -> Iterator[World]:
    with World(app, silent=True) as world:
        yield world


@pytest.fixture
def start(app: StompApp) -> Iterator[Callable[[], World]]:
    """Starts the world when the test has declared its handlers."""
    worlds: list[World] = []

    def start() -> World:
        worlds.append(World(app, silent=True))
        return worlds[-1]

    yield start
    for each in worlds:
        each.close()

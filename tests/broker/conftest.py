"""Worlds for the tests of the broker: closed at their end, with nothing left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stocksync_ws import StompApp
from stocksync_ws.testing.world import World


@pytest.fixture
def start() -> Iterator[Callable[..., World]]:
    """Starts the world of an application, or of one with these settings; what it fails at is told
    to its clients alone, as by a server.
    """
    worlds: list[World] = []

    def begin(app: StompApp | None = None, **settings: Any) -> World:
        app = app or StompApp("/ws", allowed_origins=["*"], **settings)
        worlds.append(World(app, raise_errors=False, silent=True))
        return worlds[-1]

    yield begin
    for world in worlds:
        world.close()
        broker = world.broker
        assert not broker.sessions
        registry = broker.delivery.registry
        assert not [each for each in registry.known.values() if each.groups]
        assert not [each for each in registry.topics.values() if each.behind or each.durables]
        assert not broker.office.total
        assert not broker.calls.tasks.running
        assert not broker._sessions.presence.rosters

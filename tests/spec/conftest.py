"""Worlds of a broker that is configured as examples/broker.py is, but lets in anonymous clients;
and the watch over `@pytest.mark.stomp`: what a mark says of a version is worth nothing when the
test never speaks it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from stocksync_ws import StompApp
from stocksync_ws.broker.frames import connecting
from stocksync_ws.stomp.frame import Version
from stocksync_ws.testing.world import World
from tests.spec.spoken import Spoken
from tests.spec.talk import BROKER

SPOKEN = Spoken()


@pytest.fixture
def broker() -> Iterator[Callable[..., World]]:
    """Starts a world of the example broker with other settings, or with this application, whose
    errors are told to its clients alone.
    """
    worlds: list[World] = []

    def begin(app: StompApp | None = None, **settings: Any) -> World:
        if app is None:
            app = StompApp("/ws", allowed_origins=["*"], **(BROKER | settings))
        worlds.append(World(app, raise_errors=False, silent=True))
        return worlds[-1]

    yield begin
    for world in worlds:
        world.close()
        assert not world.broker.sessions
        assert not world.broker.office.total


@pytest.fixture
def world(broker: Callable[..., World]) -> World:
    """A world of the example broker."""
    return broker()


@pytest.fixture(autouse=True)
def spoken(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Notes every version that a CONNECT of this test asks for and could get."""
    heard: set[str] = set()
    choose = connecting.choose_version

    def listen(accept_version: str | None) -> Version | None:
        version = choose(accept_version)
        heard.update([] if version is None else [version.value])
        return version

    monkeypatch.setattr(connecting, "choose_version", listen)
    yield
    SPOKEN.note(request.node, heard)

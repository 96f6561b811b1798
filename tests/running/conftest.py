"""A server on a real loop in a thread, and clients that block, as the conformance suite uses."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "adapters"))

from carriers.aio import AioCarrier
from carriers.running import Running

from stocksync_ws import StompApp


@pytest.fixture
def serve() -> Iterator[Callable[[StompApp], Running]]:
    """Starts an application; it stops with the test."""
    started: list[Running] = []

    def serve(app: StompApp) -> Running:
        carrier = AioCarrier()
        carrier.start(app, {})
        started.append(Running(carrier, app))
        return started[-1]

    yield serve
    for running in started:
        running.close()

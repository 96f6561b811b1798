"""The adapters that the conformance suite runs over. A new adapter adds a carrier here."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from carriers.aio import AioCarrier, NoReaders
from carriers.certificate import make_certificate
from carriers.running import Carrier, Running
from carriers.thread import ThreadCarrier
from carriers.world import WorldCarrier

from stocksync_ws import StompApp
from stocksync_ws.wire.endpoint import Page


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A self-signed certificate with its key in one file."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


CARRIERS: dict[str, Callable[[str | None], Carrier]] = {
    "aio": AioCarrier,
    "transports": lambda certificate: AioCarrier(certificate, NoReaders),
    "thread": ThreadCarrier,
}


SLOW = ["transports", *(f"{name}-tls" for name in CARRIERS)]
"""What others have tested already, but for how the octets come and go."""
REST = [pytest.param(name, marks=pytest.mark.slow) for name in SLOW]


@pytest.fixture(params=["world", "aio", "thread", *REST])
def carrier(request: pytest.FixtureRequest) -> Carrier:
    """One adapter, not started."""
    if request.param == "world":
        return WorldCarrier()
    name, _, tls = request.param.partition("-")
    return CARRIERS[name](request.getfixturevalue("certificate") if tls else None)


@pytest.fixture
def serve(carrier: Carrier) -> Iterator[Callable[..., Running]]:
    """Starts an application with pages; it stops with the test."""
    started: list[Running] = []

    def serve(app: StompApp, pages: dict[str, Page] | None = None) -> Running:
        carrier.start(app, pages or {})
        started.append(Running(carrier, app))
        return started[0]

    yield serve
    for running in started:
        running.close()

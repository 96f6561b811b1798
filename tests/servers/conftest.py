"""The servers of others: each serves the shop of the suite in a process of its own.

Without `--full`, a server that is deprecated, second class or a variant of another one gets the
tests that `hosts.py` says, the inventory story at least. A test that is marked `asgi` or `wsgi` is
for the servers that call the application so; one marked `way_out`, for those that keep their socket
to themselves, and for no others.

A test that changes nothing gets one server for all of them; one with settings, or one that stops
it, gets its own. `--ignore=tests/servers` leaves the folder out, where they are not installed.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "adapters"))
sys.path.insert(0, str(Path(__file__).parent))

from carriers.certificate import make_certificate
from hosts import HOSTS, Host
from launcher import Server
from stage import Open, ServerStage, open_server


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="every test on every server")


def pytest_configure(config: pytest.Config) -> None:
    for name, what in (
        ("asgi", "for servers that speak ASGI"),
        ("wsgi", "for servers that speak WSGI"),
        ("way_out", "for servers that give no access to the socket"),
        ("sockjs", "of SockJS: what runs without --full has a column of its own"),
    ):
        config.addinivalue_line("markers", f"{name}: {what}")


def _is_for(host: Host, item: pytest.Item) -> bool:
    gateways = {mark.name for mark in item.iter_markers() if mark.name in ("asgi", "wsgi")}
    way_out = item.get_closest_marker("way_out") is not None
    return (not gateways or host.gateway in gateways) and host.gives_socket is not way_out


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not for a server, and what only `--full` has."""
    full = config.getoption("--full")

    def is_left_out(item: pytest.Item) -> bool:
        host = getattr(item, "callspec", None) and item.callspec.params.get("host")
        if not isinstance(host, Host):
            return False
        words = host.sockjs if item.get_closest_marker("sockjs") else host.default
        in_slice = full or any(word in item.name for word in words)
        return not (in_slice and _is_for(host, item))

    config.hook.pytest_deselected(items=[item for item in items if is_left_out(item)])
    items[:] = [item for item in items if not is_left_out(item)]


@pytest.fixture(scope="session", params=HOSTS.values(), ids=HOSTS.keys())
def host(request: pytest.FixtureRequest) -> Host:
    """One server."""
    chosen: Host = request.param
    if chosen.needs and importlib.util.find_spec(chosen.needs) is None:
        pytest.skip(f"{chosen.title} is not installed")
    return chosen


@pytest.fixture(scope="session")
def shared(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Server]]:
    """The server that serves all tests that have no wishes; started by the first of them."""
    started: list[Server] = []

    def get() -> Server:
        if not started or not started[-1].running:
            started.append(open_server(host, tmp_path_factory.mktemp(host.name) / "log", {}))
        return started[-1]

    yield get
    for server in started:
        server.check(server.stop())


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A self-signed certificate with its key in one file."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def stage(host: Host, shared: Callable[[], Server]) -> Iterator[ServerStage]:
    """The shop in the server that the tests share."""
    stage = ServerStage(host, shared())
    yield stage
    stage.close_and_free()


@pytest.fixture
def open_shop(host: Host, tmp_path: Path) -> Iterator[Open]:
    """Opens a shop in a server of the test's own; settings of the shop, and of `launch`."""
    opened: list[ServerStage] = []

    def open_shop(settings: dict[str, Any] | None = None, **launching: Any) -> ServerStage:
        log = tmp_path / f"log{len(opened)}"
        opened.append(ServerStage(host, open_server(host, log, settings or {}, **launching)))
        return opened[-1]

    yield open_shop
    for stage in opened:
        stage.close()
        stage.server.check(stage.server.stop())

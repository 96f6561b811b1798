"""The servers of others: each serves the shop of the suite in a process of its own.

A test that changes nothing gets one server for all of them; one with settings, or one that stops
it, gets its own. `--ignore=tests/servers` leaves the folder out, where they are not installed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ADAPTERS = HERE.parent / "adapters"
sys.path[:0] = [str(HERE), str(ADAPTERS)]
pytest.register_assert_rewrite("suite", "carriers")

from hosts import HOSTS, Host
from launcher import Server, launch
from stage import ServerStage

Open = Callable[..., ServerStage]


@pytest.fixture(scope="session", params=HOSTS.values(), ids=HOSTS.keys())
def host(request: pytest.FixtureRequest) -> Host:
    """One server."""
    chosen: Host = request.param
    return chosen


@pytest.fixture(scope="session")
def shared(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Server]]:
    """The server that serves all tests that have no wishes; started by the first of them."""
    started: list[Server] = []

    def get() -> Server:
        if not started or not started[-1].running:
            started.append(shop(host, tmp_path_factory.mktemp(host.name) / "log", {}))
        return started[-1]

    yield get
    for server in started:
        server.check(server.stop())


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
        opened.append(ServerStage(host, shop(host, log, settings or {}, **launching)))
        return opened[-1]

    yield open_shop
    for stage in opened:
        stage.close()
        stage.server.check(stage.server.stop())


def shop(host: Host, log: Path, settings: dict[str, Any], **launching: Any) -> Server:
    """A server of the shop."""
    return launch(
        host.name,
        "application:app",
        log,
        environment={"SHOP": json.dumps(settings)},
        folders=(HERE, ADAPTERS),
        **launching,
    )

"""SockJS over the servers of others: the suite of `tests/adapters`, and what is a host's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from carriers.sockjs import HttpPage
from hosts import Host
from launcher import Server
from rights_transports import *  # noqa: F403
from sockjs_answers import *  # noqa: F403
from sockjs_answers import SHOP, Serve
from sockjs_settings import *  # noqa: F403
from sockjs_suite import *  # noqa: F403
from stage import Open, ServerStage, open_server

pytestmark = pytest.mark.sockjs

SETTINGS: dict[str, Any] = {"sockjs": {}, "origins": [SHOP]}


@pytest.fixture(scope="session")
def shared_sockjs(
    host: Host, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Server]]:
    """The server of all tests that have no wishes; started by the first of them."""
    started: list[Server] = []

    def get() -> Server:
        if not started or not started[-1].running:
            started.append(open_server(host, tmp_path_factory.mktemp(host.name) / "log", SETTINGS))
        return started[-1]

    yield get
    for server in started:
        server.check(server.stop())


@pytest.fixture
def serve(
    host: Host,
    shared_sockjs: Callable[[], Server],
    open_shop: Open,
    request: pytest.FixtureRequest,
) -> Iterator[Serve]:
    """Opens the shop; with the settings of all, in the server that they share."""
    opened: list[ServerStage] = []

    def serve(**settings: Any) -> ServerStage:
        if settings or "stop" in request.node.name:
            return open_shop(SETTINGS | settings)
        opened.append(ServerStage(host, shared_sockjs()))
        return opened[-1]

    yield serve
    for stage in opened:
        stage.close_and_free()


def test_a_connection_is_closed_with_a_word_where_the_table_says_so(
    serve: Serve, host: Host
) -> None:
    http = serve().browser().connect().ask("GET", "/ws")
    http.answer()
    if not http.is_idle or not host.says_close:
        assert http.is_idle is not host.says_close
        assert http.pipe.receive() == b""
        return
    assert http.ask("GET", "/ws/info").answer().status == 200


@pytest.mark.asgi
def test_sessions_below_a_root_path(open_shop: Open, host: Host, tmp_path: Path) -> None:
    stage = open_shop(SETTINGS, root_path="/shop")
    for base, status in host.root_paths.items():
        browser = stage.browser()
        if status == 101:
            for transport in ("xhr", "xhr_streaming", "eventsource"):
                page = HttpPage(browser, transport, base=base).connect().subscribe("/topic/say")
                page.say("below")
                assert page.message().body == b"below"
        assert browser.ask("GET", f"{base}/info").status == (200 if status == 101 else 404)

"""The suite of `tests/adapters` over the servers of others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hosts import Host
from launcher import Server
from rights_suite import *  # noqa: F403
from stage import Open, ServerStage
from suite import *  # noqa: F403
from suite import Serve


@pytest.fixture
def serve(
    host: Host, shared: Callable[[], Server], open_shop: Open, request: pytest.FixtureRequest
) -> Iterator[Serve]:
    """Opens the shop; with the settings of all, in the server that they share."""
    opened: list[ServerStage] = []

    def serve(**settings: Any) -> ServerStage:
        if settings or "stop" in request.node.name:
            return open_shop(settings)
        opened.append(ServerStage(host, shared()))
        return opened[-1]

    yield serve
    for stage in opened:
        stage.close_and_free()

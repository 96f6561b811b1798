"""The suite over what runs in this process: the in-memory world, and our own server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from carriers.running import Carrier
from carriers.stage import LocalStage
from rights_suite import *  # noqa: F403
from suite import *  # noqa: F403
from suite import Serve


@pytest.fixture
def serve(carrier: Carrier) -> Iterator[Serve]:
    """Opens the shop; it closes with the test."""
    opened: list[LocalStage] = []

    def serve(**settings: Any) -> LocalStage:
        opened.append(LocalStage(carrier, settings))
        return opened[0]

    yield serve
    for stage in opened:
        stage.close()

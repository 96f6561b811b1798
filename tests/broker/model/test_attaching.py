"""Scripts that wait for a channel: in the order of their time, and taken once."""

from __future__ import annotations

from typing import Any, cast

import pytest

from stocksync_ws.broker.model.attaching import Attaching
from stocksync_ws.broker.model.pipeline import Task


def add(attaching: Attaching, channel: str, until: float, name: str) -> None:
    attaching.add(channel, until).append(cast("Task", cast("Any", name)))


@pytest.mark.pure("names stand for tasks")
def test_they_are_over_in_their_order_and_none_that_was_taken_is_late() -> None:
    attaching = Attaching()
    assert attaching.until() is None
    add(attaching, "a", 1, "a1")
    add(attaching, "b", 2, "b")
    add(attaching, "a", 3, "a2")
    add(attaching, "c", 4, "c")
    assert attaching.until() == 1
    assert attaching.take_late(0.9) == []
    assert attaching.take_late(1) == ["a1"]
    assert "a" in attaching
    assert attaching.take("b") == ["b"]
    assert attaching.take("b") == []
    assert "b" not in attaching
    assert attaching.until() == 3
    assert attaching.take_late(9) == ["a2", "c"]
    assert "a" not in attaching
    assert attaching.until() is None

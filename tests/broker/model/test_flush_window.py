"""The time in which messages of one topic wait for each other."""

from __future__ import annotations

from typing import Any

import pytest

from stocksync_ws.broker.model.flush_window import FlushWindow


class Keeper:
    """Opens windows, and writes down what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, float | None]] = []

    def begin(self, window: FlushWindow) -> None:
        self.asked.append(("begin", window.deadline))
        window.deadline = 5.0

    def wake(self, window: FlushWindow, now: float) -> None:
        self.asked.append(("wake", now))
        window.deadline = None


@pytest.mark.pure("hands over a stand-in; compiled code takes its own records")
def test_it_opens_with_the_first_message_and_again_when_it_has_ended() -> None:
    keeper, topic = Keeper(), object()
    made: Any = FlushWindow(topic, 0.005, keeper)  # type: ignore[arg-type]
    assert (made.topic, made.delay, made.deadline) == (topic, 0.005, None)
    for _ in range(3):
        made.begin()
    made.wake(5.0)
    made.begin()
    assert keeper.asked == [("begin", None), ("wake", 5.0), ("begin", None)]

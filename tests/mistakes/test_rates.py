"""Mistakes with rates: told where they are written."""

from __future__ import annotations

from typing import Any

import pytest

from stocksync_ws import ConfigurationError, Rate, StompApp
from tests.mistakes.kit import Mistake, check, raises

TABLE: list[Mistake] = []


def loose(given: Any) -> Any:
    return given


@raises(
    TABLE,
    ConfigurationError,
    "session_rate: must be a Rate, not 20: write Rate(20, burst=40)",
    "write Rate(20, burst=40)",
)
def a_number() -> None:
    StompApp("/ws", session_rate=loose(20))


@raises(
    TABLE,
    ConfigurationError,
    "user_rate: must be a Rate, not '20/s': write Rate(20, burst=40)",
    "write Rate(20, burst=40)",
)
def a_text() -> None:
    StompApp("/ws", user_rate=loose("20/s"))


@raises(
    TABLE,
    ConfigurationError,
    "Rate.per_second: must be a positive number of frames a second, not 0: leave the rate out, or"
    " write Rate(20, burst=40)",
    "write Rate(20, burst=40)",
)
def nothing_a_second() -> None:
    Rate(0, burst=1)


@raises(
    TABLE,
    ConfigurationError,
    "Rate.burst: must be a whole number of frames, at least 1, not 0: write Rate(20, burst=40)",
    "write Rate(20, burst=40)",
)
def no_burst() -> None:
    Rate(20, burst=0)


@raises(
    TABLE,
    ConfigurationError,
    "Rate.burst: must be a whole number of frames, at least 1, not 1.5: write Rate(20, burst=40)",
    "write Rate(20, burst=40)",
)
def half_a_frame() -> None:
    Rate(20, burst=loose(1.5))


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.code.__name__)
def test_the_text_says_what_to_write(row: Mistake) -> None:
    check(row)

"""`Rate`: what it takes."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from stocksync_ws import ConfigurationError, Rate


@pytest.mark.parametrize("per_second", [1, 0.001, 1e6, 1 / 60])
def test_any_positive_number_is_a_rate(per_second: float) -> None:
    rate = Rate(per_second, burst=1)
    assert (rate.per_second, rate.burst) == (per_second, 1)


@pytest.mark.parametrize("per_second", [0, -1, math.nan, math.inf, True, "20", None])
def test_what_is_no_positive_number_is_refused(per_second: Any) -> None:
    with pytest.raises(
        ConfigurationError, match=r"^Rate.per_second: .* write Rate\(20, burst=40\)$"
    ):
        Rate(per_second, burst=40)


@pytest.mark.parametrize("burst", [0, -1, 0.5, 40.0, True, "40", None])
def test_a_burst_is_a_whole_number_of_frames(burst: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^Rate.burst: .* write Rate\(20, burst=40\)$"):
        Rate(20, burst)


def test_a_rate_does_not_change() -> None:
    rate: Any = Rate(20, burst=40)
    with pytest.raises(FrozenInstanceError):
        rate.burst = 41

"""`Rate`: how many frames a client may send, as the application configures it.

Rule: validated when made; a rate says nothing of whose frames it bounds, the setting does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

from stocksync_ws.checks import fail

__all__ = ["Rate"]


@dataclass(frozen=True)
class Rate:
    """A bound on frames a second, for `StompApp(session_rate=…, user_rate=…)`: a bucket that holds
    `burst` frames and is refilled with `per_second` of them in each second. With a backplane each
    worker has buckets of its own.

    Raises:
        ConfigurationError: A value is not a positive number, or the burst is not a whole one.
    """

    per_second: float
    """Frames a second in the long run; below 1 for less than one: `1 / 60` is one a minute."""
    burst: int
    """Frames that may come at once after a silence, at least 1."""

    def __post_init__(self) -> None:
        per_second, burst = cast("object", self.per_second), cast("object", self.burst)
        if not _is_positive(per_second):
            problem = "must be a positive number of frames a second"
            advice = "leave the rate out, or write Rate(20, burst=40)"
            raise fail("Rate.per_second", f"{problem}, not {per_second!r}: {advice}")
        if not isinstance(burst, int) or isinstance(burst, bool) or burst < 1:
            problem = "must be a whole number of frames, at least 1"
            raise fail("Rate.burst", f"{problem}, not {burst!r}: write Rate(20, burst=40)")


def _is_positive(given: object) -> bool:
    if isinstance(given, bool) or not isinstance(given, (int, float)):
        return False
    return 0 < given < math.inf

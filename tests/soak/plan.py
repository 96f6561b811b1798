"""What each client will do, as data: made from a seed, whatever happens meanwhile.

Rule: a plan depends on the seed and the number of its client alone. Steps carry numbers, which a
client reduces to what there is at that moment; when something happens on a real network is not
in the plan.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

__all__ = ["ENDS", "STEPS", "Life", "Step", "lives"]

STEPS = {
    "send": 30,
    "settle": 14,
    "pause": 10,
    "subscribe": 8,
    "transaction": 8,
    "burst": 4,
    "ask": 4,
    "unsubscribe": 3,
}
"""How often each step is chosen, in parts."""
ENDS = {"cut": 6, "disconnect": 4, "close": 2, "cut in a transaction": 2}
"""How often a connection ends in which way, in parts."""
NUMBERS = 8
"""More than any step draws."""
LONGEST = 80
"""Steps of one connection."""

Step = tuple[str, tuple[int, ...]]


@dataclass(frozen=True)
class Life:
    """One connection of a client."""

    version: str
    """The version of STOMP it asks for."""
    steps: tuple[Step, ...]
    end: str
    """A key of `ENDS`."""
    away: float
    """Seconds until the next connection."""


def lives(seed: int, client: int) -> Iterator[Life]:
    """The connections of one client, without end."""
    for number in count():
        rng = random.Random(f"{seed} {client} {number}")
        names = rng.choices([*STEPS], [*STEPS.values()], k=rng.randint(3, LONGEST))
        steps = tuple(
            (name, tuple(rng.randrange(27_720) for _ in range(NUMBERS))) for name in names
        )
        (end,) = rng.choices([*ENDS], [*ENDS.values()])
        yield Life(rng.choice(["1.1", "1.2"]), steps, end, rng.choice([0.0, 0.01, 0.1, 0.5]))

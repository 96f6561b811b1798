"""Rounds as data: made from a seed, played, shortened.

Rule: a round is a list of steps, each a name and the numbers it will draw; nothing else decides
what happens in it, so that it can be played again, and in part.
"""

from __future__ import annotations

import random

from tests.model.checks import Diverged
from tests.model.invariants import Broken, i10_the_same_octets
from tests.model.long_run import silence
from tests.model.world_steps import STEPS, Round

__all__ = ["ROUND", "Script", "make_script", "one_round", "play", "play_twice", "shorten"]

ROUND = 150
"""Steps."""
NUMBERS = 64
"""More than any step draws."""
LAST_STEPS = 8
"""So many before its end every fourth round begins to drain."""

TWICE = 20
"""Of so many rounds of a long run one is played twice."""

Script = list[tuple[str, list[int]]]


def make_script(seed: int) -> Script:
    """The steps of one round; the numbers are reduced to what is asked for."""
    rng = random.Random(seed)
    names = rng.choices([*STEPS], [*STEPS.values()], k=ROUND)
    if rng.randrange(4) == 0:
        names[-LAST_STEPS] = "drain"
    return [(name, [rng.randrange(27_720) for _ in range(NUMBERS)]) for name in names]


def play(script: Script) -> Round:
    """Play a round to its end."""
    world = Round()
    try:
        for name, numbers in script:
            given = iter(numbers)
            world.do(name, lambda n, given=given: next(given) % n)  # type: ignore[misc]
        world.finish()
    except Broken as broken:
        told = "\n".join(world.log[-60:])
        raise Broken(f"step {world.steps}: {broken}\n{told}") from broken
    finally:
        world.drop()
    return world


def play_twice(script: Script) -> Round:
    """Play a round two times: it must be the same octets."""
    played = play(script)
    i10_the_same_octets(played, play(script))
    return played


def one_round(seed: int) -> tuple[int, int, str]:
    """Of a long run: its seed, its steps, and what was wrong with it."""
    script = make_script(seed)
    try:
        with silence():
            played = play_twice(script) if seed % TWICE == 0 else play(script)
    except Exception as problem:
        return seed, len(script), f"{type(problem).__name__}: {str(problem)[:300]}"
    return seed, played.steps, ""


def shorten(script: Script) -> Script:
    """Leave out whatever can be left out so that it still fails."""
    size = len(script) // 2
    while size:
        at = 0
        while at < len(script):
            shorter = script[:at] + script[at + size :]
            if fails(shorter):
                script = shorter
            else:
                at += size
        size //= 2
    return script


def fails(script: Script) -> bool:
    try:
        play(script)
    except (Diverged, Broken):
        return True
    except Exception:
        return False
    return False

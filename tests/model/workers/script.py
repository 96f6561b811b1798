"""Rounds of the workers' model as data: made from a seed, played, shortened."""

from __future__ import annotations

import random

from tests.model.long_run import silence
from tests.model.workers.steps import STEPS, Round

__all__ = ["ROUND", "Script", "make_script", "one_round", "play", "shorten"]

ROUND = 200
"""Steps."""
NUMBERS = 40
"""More than any step draws."""
Script = tuple[list[int], list[tuple[str, list[int]]]]
"""What the stage draws, and the steps."""


def make_script(seed: int) -> Script:
    rng = random.Random(seed)
    names = rng.choices([*STEPS], [*STEPS.values()], k=ROUND)
    numbers = [rng.randrange(27_720) for _ in range(NUMBERS)]
    return numbers, [(name, [rng.randrange(27_720) for _ in range(NUMBERS)]) for name in names]


def play(script: Script) -> Round:
    """Play a round to its end."""
    first, steps = script
    given = iter(first)
    stage = Round(lambda n: next(given) % n)
    try:
        for name, numbers in steps:
            each = iter(numbers)
            stage.do(name, lambda n, each=each: next(each) % n)  # type: ignore[misc]
        stage.finish()
    except Exception as problem:
        problem.add_note("\n".join(stage.log))
        raise
    return stage


def one_round(seed: int) -> tuple[int, int, str]:
    """Of a long run: its seed, its steps, and what was wrong with it."""
    script = make_script(seed)
    try:
        with silence():
            stage = play(script)
    except Exception as problem:
        return seed, len(script[1]), f"{type(problem).__name__}: {str(problem)[:300]}"
    return seed, stage.steps, ""


def shorten(script: Script) -> Script:
    """Leave out whatever can be left out so that it still fails alike."""
    first, steps = script
    how = failure(script)
    size = len(steps) // 2
    while size:
        at = 0
        while at < len(steps):
            shorter = steps[:at] + steps[at + size :]
            if failure((first, shorter)) == how:
                steps = shorter
            else:
                at += size
        size //= 2
    return first, steps


def failure(script: Script) -> str:
    """Of which kind the divergence of a round is; empty: there is none."""
    try:
        play(script)
    except Exception as problem:
        return type(problem).__name__ + str(problem)[:3]
    return ""

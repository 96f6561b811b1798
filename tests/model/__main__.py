"""`python -m tests.model --steps N [--seed S]`: a long run of the model, from a seed.

Rule: a run is made of rounds of 150 steps; a round is named by its seed, so that a divergence can
be played again with `--seed` and `--rounds 1`. It is shortened before it is printed.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys

from tests.model.twin import STEPS, Diverged, Twin

ROUND = 150

Script = list[tuple[str, list[int]]]


def make_script(seed: int) -> Script:
    """The steps of one round: a name, and numbers that are reduced to what is asked for."""
    rng = random.Random(seed)
    names = rng.choices([*STEPS], [*STEPS.values()], k=ROUND)
    return [(name, [rng.randrange(27_720) for _ in range(14)]) for name in names]


def play(script: Script) -> int:
    """Play a round; the number of steps."""
    twin = Twin()
    try:
        for name, numbers in script:
            given = iter(numbers)
            twin.do(name, lambda n, given=given: next(given) % n)  # type: ignore[misc]
        twin.finish()
    except BaseException:
        twin.world.loop.close()
        raise
    return twin.steps


def shorten(script: Script) -> Script:
    """Leave out whatever can be left out."""
    size = len(script) // 2
    while size:
        at = 0
        while at < len(script):
            shorter = script[:at] + script[at + size :]
            try:
                play(shorter)
                at += size
            except Diverged:
                script = shorter
            except Exception:
                at += size
        size //= 2
    return script


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10**9)
    given = parser.parse_args()
    logging.disable()
    done = rounds = 0
    while done < given.steps and rounds < given.rounds:
        seed = given.seed + rounds
        script = make_script(seed)
        try:
            done += play(script)
        except Exception as problem:
            print(f"seed {seed} diverged after {done} steps: {str(problem)[:300]}", flush=True)
            try:
                play(shorten(script))
            except Exception as shorter:
                print(shorter)
                if not isinstance(shorter, Diverged):
                    raise
            return 1
        rounds += 1
        if rounds % 100 == 0:
            print(f"{done} steps, {rounds} rounds, no divergence", flush=True)
    print(f"{done} steps, {rounds} rounds, no divergence")
    return 0


if __name__ == "__main__":
    sys.exit(main())

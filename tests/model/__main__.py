"""`python -m tests.model --steps N [--seed S] [--rounds R] [--jobs J]`: a long run of the model.

Rule: a run is made of rounds of 150 steps; a round is named by its seed, so that a divergence can
be played again with `--seed` and `--rounds 1`. It is shortened before it is printed. Every
twentieth round is played twice, and must be the same octets.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import sys
import time
from collections.abc import Iterator

from tests.model.script import ROUND, make_script, one_round, play, shorten

SAID = 10.0
"""Seconds between two lines of progress."""


def rounds(seeds: range, jobs: int) -> Iterator[tuple[int, int, str]]:
    if jobs == 1:
        yield from map(one_round, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(one_round, seeds, chunksize=8)


def show(seed: int) -> None:
    """The shortest way to what was wrong with a round."""
    script = shorten(make_script(seed))
    print(f"seed {seed}, shortened to {len(script)} steps:", flush=True)
    try:
        play(script)
    except Exception as problem:
        print(problem, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.model")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10**6)
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    logging.disable()
    began = said = time.monotonic()
    steps = done = 0
    wrong: list[int] = []
    most = min(given.rounds, -(-given.steps // ROUND))
    for seed, count, problem in rounds(range(given.seed, given.seed + most), given.jobs):
        steps, done = steps + count, done + 1
        if problem:
            wrong.append(seed)
            print(f"seed {seed} diverged: {problem}", flush=True)
        now = time.monotonic()
        if now - said >= SAID:
            said = now
            print(f"{steps} steps, {done} rounds, {steps / (now - began):.0f} steps/s", flush=True)
        if len(wrong) >= 10:
            break
    seconds = time.monotonic() - began
    print(f"{steps} steps, {done} rounds, {seconds:.0f} seconds, {len(wrong)} divergences")
    for seed in wrong[:3]:
        show(seed)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""A long run of rounds from seeds, over several processes.

Rule: a round is named by its seed, so that a divergence can be played again with `--seed` and
`--rounds 1`. It is shortened before it is printed.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

__all__ = ["Rounds", "long_run", "parser_of"]

SAID = 10.0
"""Seconds between two lines of progress."""


class Rounds(NamedTuple):
    """What is played."""

    size: int
    """Steps of a round."""
    play: Callable[[int], tuple[int, int, str]]
    """Plays the round of a seed: the seed, its steps, and what was wrong with it."""
    show: Callable[[int], None]
    """Prints the shortest way to what was wrong."""


def parser_of(name: str) -> argparse.ArgumentParser:
    """The arguments of a long run."""
    parser = argparse.ArgumentParser(prog=name)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10**6)
    parser.add_argument("--jobs", type=int, default=1)
    return parser


def _played(rounds: Rounds, seeds: range, jobs: int) -> Iterator[tuple[int, int, str]]:
    if jobs == 1:
        yield from map(rounds.play, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(rounds.play, seeds, chunksize=8)


@contextmanager
def silence() -> Iterator[None]:
    """Nothing is logged meanwhile."""
    before = logging.root.manager.disable
    logging.disable()
    try:
        yield
    finally:
        logging.disable(before)


def long_run(rounds: Rounds, given: argparse.Namespace) -> int:
    """Play rounds until there are so many steps; 1 if any of them diverged."""
    with silence():
        return _long_run(rounds, given)


def _long_run(rounds: Rounds, given: argparse.Namespace) -> int:
    began = said = time.monotonic()
    steps = done = 0
    wrong: list[int] = []
    most = min(given.rounds, -(-given.steps // rounds.size))
    for seed, count, problem in _played(rounds, range(given.seed, given.seed + most), given.jobs):
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
        rounds.show(seed)
    return 1 if wrong else 0

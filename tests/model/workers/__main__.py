"""`python -m tests.model.workers --steps N [--seed S] [--rounds R] [--jobs J]`: a long run of the
model of several workers. `--break` shows, for each rule that is broken once, which round sees it.

Rule: as `tests.model`: a round is named by its seed, and a divergence is shortened.
"""

from __future__ import annotations

import sys

from tests.model.long_run import Rounds, long_run, parser_of
from tests.model.workers.breaks import BREAKS, broken
from tests.model.workers.script import ROUND, make_script, one_round, play, shorten

MOST = 5_000
"""Rounds in which a broken rule is looked for."""


def show(seed: int) -> None:
    """The shortest way to what was wrong with a round."""
    script = shorten(make_script(seed))
    print(f"seed {seed}, shortened to {len(script[1])} steps:", flush=True)
    try:
        play(script)
    except Exception as problem:
        print(*getattr(problem, "__notes__", ()), f"{type(problem).__name__}: {problem}", sep="\n")


def show_breaks(first: int) -> int:
    """Break each rule; how many of them nothing has seen."""
    unseen = 0
    for rule in BREAKS:
        with broken(rule):
            found = (one_round(seed) for seed in range(first, first + MOST))
            seed, _, problem = next((each for each in found if each[2]), (0, 0, ""))
        if problem.startswith(("AttributeError", "NameError", "TypeError")):
            raise SystemExit(f"{rule}: the break itself is broken: {problem}")
        unseen += not problem
        print(f"{rule}: round {seed}: {problem}" if problem else f"{rule}: NOT SEEN", flush=True)
    return unseen


def main() -> int:
    parser = parser_of("python -m tests.model.workers")
    parser.add_argument("--break", action="store_true", dest="breaks")
    given = parser.parse_args()
    if given.breaks:
        return show_breaks(given.seed)
    return long_run(Rounds(ROUND, one_round, show), given)


if __name__ == "__main__":
    sys.exit(main())

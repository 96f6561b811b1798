"""`python -m tests.model --steps N [--seed S] [--rounds R] [--jobs J]`: a long run of the model.

Rule: a run is made of rounds of 150 steps (`long_run.py`). Every twentieth round is played twice,
and must be the same octets.
"""

from __future__ import annotations

import sys

from tests.model.long_run import Rounds, long_run, parser_of
from tests.model.script import ROUND, make_script, one_round, play, shorten


def show(seed: int) -> None:
    """The shortest way to what was wrong with a round."""
    script = shorten(make_script(seed))
    print(f"seed {seed}, shortened to {len(script)} steps:", flush=True)
    try:
        play(script)
    except Exception as problem:
        print(problem, flush=True)


if __name__ == "__main__":
    sys.exit(
        long_run(Rounds(ROUND, one_round, show), parser_of("python -m tests.model").parse_args())
    )

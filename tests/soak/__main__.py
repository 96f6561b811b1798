"""`python -m tests.soak [--seconds N] [--seed S] [--clients C]`: random clients over real sockets.

Rule: the seed decides what each client does, in which order; it is printed, and given again it
gives the same plans. The exit code is 1 when anything was wrong, and what was is printed.
"""

from __future__ import annotations

import argparse
import random
import sys

from tests.soak.run import Soak

SHOWN = 30
"""Violations that are printed."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--round", type=float, default=30.0, help="seconds of a round")
    given = parser.parse_args()
    print(
        f"--seed {given.seed} --seconds {given.seconds:.0f} --clients {given.clients}", flush=True
    )
    soak = Soak(
        given.seed, given.seconds, given.clients, given.round, lambda t: print(t, flush=True)
    )
    good = soak.run()
    print(", ".join(f"{number:,} {name}" for name, number in soak.totals.items()))
    for violation in soak.violations[:SHOWN]:
        print(f"  {violation}")
    print(f"{soak.violated} violations, seed {given.seed}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

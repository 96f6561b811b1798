"""`python -m tests.mutate [--package NAME] [--only TEXT] [--jobs N]`: small faults.

300 places of the seven packages below get one fault each, and the tests that run the place have to
see it. Where a package is named, only its places are tried; `--only` takes those whose line in the
output contains a text. `--resume` goes on behind the last run, as long as the code is the same, and
tries what has survived again. Survivors that nobody minds stand in `judged.toml`, and are tried
with `--recheck` only: each of them would cost all the tests that cover it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.mutate.running import SEED, Plan, mutate

ROOT = Path(__file__).parents[2]
QUOTAS = {
    "stomp": 40,
    "broker": 60,
    "wire": 40,
    "driver": 40,
    "messaging": 40,
    "aio": 40,
    "running": 40,
}
"""Places by package: 300."""
NOT = ("bench", "examples", "interop", "laws", "mutate", "servers")
"""Folders of tests that look at other processes, or at the text of the code."""
STATE = ROOT / ".mutate"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutate")
    parser.add_argument("--package", action="append", choices=list(QUOTAS))
    parser.add_argument("--only", default="")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--recheck", action="store_true")
    parser.add_argument("tests", nargs="*", help="files of tests; default: all")
    given = parser.parse_args()
    tests = given.tests or [str(ROOT / "tests"), *(f"--ignore={ROOT}/tests/{name}" for name in NOT)]
    plan = Plan(
        ROOT,
        "stocksync_ws",
        {name: QUOTAS[name] for name in given.package or QUOTAS},
        tests,
        Path(__file__).with_name("judged.toml"),
        given.seed,
        given.jobs,
        given.only,
        given.recheck,
        STATE if given.resume else None,
    )
    return mutate(plan)


if __name__ == "__main__":
    sys.exit(main())

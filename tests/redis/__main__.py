"""The faults of Redis in full, one line each: `python -m tests.redis [--factor N] [NAME ...]`."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.redis.scenes import SCENES


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.redis")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--factor", type=float, default=5.0, help="how much longer than in tests")
    given = parser.parse_args()
    wrong = 0
    for scene in SCENES:
        if given.names and scene.name not in given.names:
            continue
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            verdict = asyncio.run(scene.play(Path(folder), given.factor))
        wrong += bool(verdict.errors) or bool(verdict.tells) is not scene.told
        print(f"{scene.name}: {verdict} ({time.monotonic() - began:.0f} s)", flush=True)
        for error in verdict.errors[:10]:
            print(f"    {error}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.autobahn --python PATH [--write]`: the suite against an echo on our wire.

Rule: it ends with 0 only when every case ran and had the result that is expected of it. `PATH` is a
Python 2.7 in which `autobahntestsuite` is installed; `python -m nox -s autobahn` makes one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.autobahn.echo import EchoServer
from tests.autobahn.judge import GROUPS, Verdict, page

PAGE = Path(__file__).parents[2] / "docs" / "contributing" / "websocket.md"
AGENT = "stocksync-ws"
LONGEST = 1_800.0
"""Seconds of a run."""
START = (
    "import sys; sys.argv = ['wstest', '-m', 'fuzzingclient', '-s', 'spec.json'];"
    " from autobahntestsuite.wstest import run; run()"
)


def play(python: str, folder: Path) -> dict[str, dict[str, object]]:
    """Run the suite; what it wrote down."""
    with EchoServer() as server:
        specification = {
            "outdir": "reports",
            "servers": [{"agent": AGENT, "url": f"ws://127.0.0.1:{server.port}/ws"}],
            "cases": [f"{group}.*" for group in GROUPS],
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }
        (folder / "spec.json").write_text(json.dumps(specification))
        subprocess.run([python, "-c", START], cwd=folder, check=True, timeout=LONGEST)
        if server.counters.internal_errors:
            raise SystemExit(f"{server.counters.internal_errors} internal errors")
    found: dict[str, dict[str, object]] = json.loads(
        (folder / "reports" / "index.json").read_text()
    )[AGENT]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.autobahn")
    parser.add_argument("--python", required=True, help="a Python 2.7 with autobahntestsuite")
    parser.add_argument("--write", action="store_true", help="write docs/contributing/websocket.md")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        verdict = Verdict(play(given.python, Path(folder)))
    print("\n".join(verdict.table()))
    for fault in verdict.faults:
        print(f"  {fault}")
    print(f"{len(verdict.faults)} faults")
    if given.write:
        PAGE.write_text(page(verdict))
    return 1 if verdict.faults else 0


if __name__ == "__main__":
    sys.exit(main())

"""All benchmarks and one table: `python -m tests.bench [--quick] [NAME ...]`.

With `--against PATH [--rounds N]` this checkout is compared with another one instead.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.bench import (
    acks,
    asgi,
    connect,
    fanout,
    fanout_large,
    flush_delay,
    hooks,
    inbound,
    inprocess,
    memory,
    peers,
    publishers,
    replay,
    sessions,
    sockjs,
    stored,
    storm,
    threads,
    workers,
)
from tests.bench.against import QUICK_ROUNDS, ROUNDS, compare
from tests.bench.harness import begin, show
from tests.bench.probes import PROBES

BENCHMARKS = {
    "fanout": fanout,
    "fanout_large": fanout_large,
    "flush_delay": flush_delay,
    "asgi": asgi,
    "threads": threads,
    "inprocess": inprocess,
    "acks": acks,
    "publishers": publishers,
    "connect": connect,
    "storm": storm,
    "sessions": sessions,
    "memory": memory,
    "stored": stored,
    "replay": replay,
    "inbound": inbound,
    "sockjs": sockjs,
    "hooks": hooks,
    "peers": peers,
    "workers": workers,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Server CPU and memory per operation.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--against", type=Path, metavar="PATH", help="another checkout")
    parser.add_argument("--rounds", type=int, help=f"of the comparison, {ROUNDS} when not given")
    given = parser.parse_args()
    known = BENCHMARKS if given.against is None else PROBES
    for name in given.names:
        if name not in known:
            parser.error(f"no such benchmark: {name}; there are {', '.join(known)}")
    begin()
    if given.against is not None:
        rounds = given.rounds or (QUICK_ROUNDS if given.quick else ROUNDS)
        compare(given.against, given.names, rounds)
        return
    modules = [BENCHMARKS[name] for name in given.names or BENCHMARKS]
    show([row for module in modules for row in module.measure(quick=given.quick)])


if __name__ == "__main__":
    main()

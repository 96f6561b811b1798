"""All benchmarks and one table: `python -m tests.bench [--quick]`."""

from __future__ import annotations

from tests.bench import acks, connect, fanout, inbound, inprocess, memory, publishers, stored
from tests.bench.harness import begin, options, show

if __name__ == "__main__":
    quick = options(__doc__)
    begin()
    show(
        [
            row
            for each in (
                fanout,
                inprocess,
                acks,
                publishers,
                connect,
                memory,
                stored,
                inbound,
            )
            for row in each.measure(quick=quick)
        ]
    )

"""All benchmarks and one table: `python -m tests.bench [--quick]`."""

from __future__ import annotations

from tests.bench import connect, fanout, inbound, memory, publishers
from tests.bench.harness import begin, options, show

if __name__ == "__main__":
    quick = options(__doc__)
    begin()
    show(
        [
            row
            for each in (fanout, publishers, connect, memory, inbound)
            for row in each.measure(quick=quick)
        ]
    )

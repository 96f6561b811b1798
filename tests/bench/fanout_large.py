"""Fan-out to 10,000 subscribers: server CPU per delivered message, against a bare loop.

`python -m tests.bench.fanout_large [--quick]`: one publication at a time. So many connections are
more than a client may have to two servers at once: each is there alone, in turns.
"""

from __future__ import annotations

from contextlib import ExitStack

from tests.bench.fanout import Contender, connect_bare
from tests.bench.harness import Process, Row, at_most, begin, options, show
from tests.bench.load import Crowd, in_groups, open_stomp
from tests.bench.storm import allow

SUBSCRIBERS = 10_000
PUBLICATIONS = 4
"""Of one round."""
WARM_UP = 12


def _turn(name: str, frame: bytes, subscribers: int, rounds: int) -> tuple[float, bytes]:
    """The least of the rounds of one server, in microseconds per delivery, and what it sends."""
    with ExitStack() as stack:
        process = stack.enter_context(Process(name, *([frame.hex()] if frame else [])))
        port = process.port
        if frame:
            crowd = Crowd(in_groups(lambda count: connect_bare(process, count), subscribers))
        else:
            crowd = Crowd(in_groups(lambda count: open_stomp(port, count), subscribers))
        stack.callback(crowd.close)
        process.wait_for(subscribers)
        crowd.acknowledge()
        crowd.drive(process.publish, WARM_UP, 1)
        frame = crowd.one(process.publish)
        contender = Contender(name, process, crowd)
        for _ in range(rounds):
            contender.round(PUBLICATIONS, 1)
        return contender.least(1), frame


def measure(*, quick: bool) -> list[Row]:
    """The rows of the table."""
    subscribers = 1_000 if quick else SUBSCRIBERS
    allow(subscribers)
    ours: list[float] = []
    loop: list[float] = []
    for _ in range(1 if quick else 5):
        cost, frame = _turn("ours", b"", subscribers, 6)
        ours.append(cost)
        loop.append(_turn("bare", frame, subscribers, 6)[0])
    ratio, detail = min(ours) / min(loop), f"{min(ours):.2f} us, bare loop {min(loop):.2f}"
    what = f"fan-out to {subscribers:,}, 1 in flight / bare loop"
    return [at_most(what, ratio, 1.4, "x", detail)]


if __name__ == "__main__":
    begin()
    show(measure(quick=options(__doc__)))

"""Fan-out: server CPU per delivered message, against a bare loop and `websockets.broadcast`.

`python -m tests.bench.fanout [--quick]`: 100 and 500 subscribers (quick: 500), 250 bytes of JSON;
one publication at a time, and 16 in flight. All three servers send the same bytes.
"""

from __future__ import annotations

import socket
from contextlib import ExitStack

from tests.bench.harness import Cpu, Process, Row, at_most, begin, options, show
from tests.bench.load import Crowd, connect, in_groups, open_plain, open_stomp

SUBSCRIBERS = 500
TARGETS = {100: 1.2, SUBSCRIBERS: 1.3}
"""Of one publication in flight, against the bare loop, by the number of subscribers."""
WARM_UP = 40
PUBLICATIONS = 96
"""Of one round: so many that what else a round costs a server (to be asked for its CPU time, and to
find its memory out of the cache) is not a part of the result.
"""
QUICK_ROUNDS = 6


class Contender:
    """One server with its subscribers, and what it has used."""

    def __init__(self, name: str, process: Process, crowd: Crowd) -> None:
        self.name = name
        self.process = process
        self.crowd = crowd
        self._rounds: dict[int, list[Cpu]] = {}
        """Per delivery, by how many were in flight."""

    def round(self, publications: int, in_flight: int) -> Cpu:
        """One round; microseconds per delivery."""
        before = self.process.cpu()
        self.crowd.drive(self.process.publish, publications, in_flight)
        used = self.process.cpu() - before
        scale = 1e6 / publications / len(self.crowd.connections)
        cost = Cpu(used.total * scale, used.user * scale)
        self._rounds.setdefault(in_flight, []).append(cost)
        return cost

    def least(self, in_flight: int) -> float:
        """Microseconds per delivery in the best round."""
        return min(cost.total for cost in self._rounds[in_flight])

    def user(self, in_flight: int) -> float:
        """Microseconds in user mode per delivery: the mean of the best third of the rounds,
        because ticks need a second of CPU time to mean something.
        """
        rounds = sorted(self._rounds[in_flight], key=lambda cost: cost.total)
        best = rounds[: len(rounds) // 3 + 1]
        return sum(cost.user for cost in best) / len(best)


def connect_bare(process: Process, count: int) -> list[socket.socket]:
    """Connections to the bare loop, which accepts when it is asked how many there are."""
    found = [connect(process.port) for _ in range(count)]
    process.ask(b"n")
    return found


def start(stack: ExitStack, subscribers: int = SUBSCRIBERS) -> list[Contender]:
    """Our server first: the others send what it sends."""
    process = stack.enter_context(Process("ours"))
    port = process.port
    crowd = Crowd(in_groups(lambda count: open_stomp(port, count), subscribers))
    crowd.drive(process.publish, 120, 16)  # message ids have three digits from here on
    frame = crowd.one(process.publish)
    assert frame.count(0) == 1, "the length of the frame holds a NUL: the client would miscount"
    found = [Contender("ours", process, crowd)]
    for name in ("bare", "websockets"):
        process = stack.enter_context(Process(name, frame.hex()))
        port = process.port
        if name == "bare":
            crowd = Crowd(in_groups(lambda count: connect_bare(process, count), subscribers))  # noqa: B023
        else:
            crowd = Crowd(in_groups(lambda count: open_plain(port, count), subscribers))  # noqa: B023
        process.wait_for(subscribers)
        assert crowd.one(process.publish) == frame
        crowd.drive(process.publish, WARM_UP, 16)
        found.append(Contender(name, process, crowd))
    for contender in found:
        contender.crowd.acknowledge()
    return found


def _measure(subscribers: int, rounds: int, publications: int) -> list[Row]:
    with ExitStack() as stack:
        contenders = start(stack, subscribers)
        # One after the other: what is joined in a burst leaves a connection in another mode.
        for in_flight, count in ((1, publications), (16, publications * 2)):
            for _ in range(rounds):
                for contender in contenders:
                    contender.round(count, in_flight)
        ours, loop, broadcast = contenders
        for contender in contenders:
            assert contender.crowd.acknowledges, f"{contender.name}: TCP was in another mode"
            contender.crowd.close()
    what = f"fan-out to {subscribers:,}"
    rows = [
        Row(
            f"{what}, {each.name}",
            f"{each.least(1):.2f} us, user {each.user(1):.2f};"
            f" 16 in flight {each.least(16):.2f} us, user {each.user(16):.2f}",
        )
        for each in contenders
    ]
    one = ours.least(1) / loop.least(1)
    several = ours.least(16) / broadcast.least(16)
    rows.append(at_most(f"{what}, 1 in flight / bare loop", one, TARGETS[subscribers], "x"))
    if subscribers == SUBSCRIBERS:
        rows.append(at_most(f"{what}, 16 in flight / broadcast", several, 0.25, "x"))
    if subscribers == SUBSCRIBERS and rounds > QUICK_ROUNDS:
        # A short run has too few ticks to tell user mode.
        rows.append(at_most(f"{what}, 1 in flight, user mode", ours.user(1), 1.3, "us"))
    return rows


def measure(*, quick: bool) -> list[Row]:
    """The rows of the table."""
    if quick:
        return _measure(SUBSCRIBERS, QUICK_ROUNDS, 16)
    rows: list[Row] = []
    for subscribers in TARGETS:
        rows += _measure(subscribers, 40, PUBLICATIONS)
    return rows


if __name__ == "__main__":
    begin()
    show(measure(quick=options(__doc__)))

"""Fan-out of the server on a thread: CPU per delivered message, against `serve` in the same run.

`python -m tests.bench.threads [--quick]`: 500 subscribers, 250 bytes of JSON; one publication at a
time, and 16 in flight. `serve` publishes on its own loop. The thread server is asked on the main
thread, so each of its publications is posted to another thread, with a wake-up and a change of
threads: that is what applications without a loop do, and the CPU of both threads counts.
"""

from __future__ import annotations

from contextlib import ExitStack

from tests.bench.fanout import SUBSCRIBERS, Contender
from tests.bench.harness import Process, Row, at_most, begin, options, show
from tests.bench.load import Crowd, in_groups, open_stomp

NAMES = {"ours": "serve", "threaded": "thread server"}


def _start(stack: ExitStack) -> list[Contender]:
    found: list[Contender] = []
    for kind, name in NAMES.items():
        process = stack.enter_context(Process(kind))
        port = process.port
        crowd = Crowd(in_groups(lambda count: open_stomp(port, count), SUBSCRIBERS))  # noqa: B023
        crowd.drive(process.publish, 120, 16)  # message ids have three digits from here on
        assert crowd.one(process.publish).count(0) == 1
        found.append(Contender(name, process, crowd))
    return found


def measure(*, quick: bool) -> list[Row]:
    """The rows of the table."""
    rounds, publications = (9, 16) if quick else (40, 24)
    with ExitStack() as stack:
        contenders = _start(stack)
        for _ in range(rounds):
            for contender in contenders:
                contender.round(publications, 1)
                contender.round(publications * 2, 16)
        serve, thread = contenders
        for contender in contenders:
            contender.crowd.close()
    return [
        *(
            Row(
                f"fan-out, {each.name}",
                f"{each.least(1):.2f} us, user {each.user(1):.2f};"
                f" 16 in flight {each.least(16):.2f} us, user {each.user(16):.2f}",
            )
            for each in contenders
        ),
        at_most("thread server / serve, 1 in flight", thread.least(1) / serve.least(1), 1.05, "x"),
        at_most(
            "thread server / serve, 16 in flight", thread.least(16) / serve.least(16), 1.05, "x"
        ),
    ]


if __name__ == "__main__":
    begin()
    show(measure(quick=options(__doc__)))

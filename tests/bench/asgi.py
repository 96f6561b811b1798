"""Fan-out inside a host server: CPU per delivered message, against a plain ASGI loop.

`python -m tests.bench.asgi [--quick]`: 200 subscribers, 250 bytes of JSON, uvicorn with
`websockets-sansio`; one publication at a time, and 16 in flight. All servers send the same bytes.
"""

from __future__ import annotations

from contextlib import ExitStack
from statistics import median

from tests.bench.fanout import WARM_UP, Contender
from tests.bench.harness import Process, Row, at_most, begin, options, show
from tests.bench.load import Crowd, in_groups, open_plain, open_stomp

SUBSCRIBERS = 200
NAMES = {"inside": "inside a host", "batch": "inside, batched", "plain": "plain ASGI loop"}


def _start(stack: ExitStack) -> list[Contender]:
    """Ours first: the plain loop sends what it sends."""
    found: list[Contender] = []
    frame = b""
    for kind in ("inside", "batch"):
        process = stack.enter_context(Process("asgi-inside", kind))
        port = process.port
        crowd = Crowd(in_groups(lambda count: open_stomp(port, count), SUBSCRIBERS))  # noqa: B023
        crowd.drive(process.publish, 120, 16)  # message ids have three digits from here on
        frame = crowd.one(process.publish)
        assert frame.count(0) == 1
        found.append(Contender(NAMES[kind], process, crowd))
    process = stack.enter_context(Process("asgi-plain", frame.hex()))
    crowd = Crowd(in_groups(lambda count: open_plain(process.port, count), SUBSCRIBERS))
    process.wait_for(SUBSCRIBERS)
    assert crowd.one(process.publish) == frame
    crowd.drive(process.publish, WARM_UP, 16)
    return [*found, Contender(NAMES["plain"], process, crowd)]


def _ratios(
    contenders: list[Contender], rounds: int, publications: int
) -> tuple[list[float], list[float]]:
    """Of one start of all servers: inside to plain with 1 and with 16 in flight, and batched; then
    the least of inside and plain with 16.
    """
    for _ in range(rounds):
        for contender in contenders:
            contender.round(publications, 1)
            contender.round(publications * 2, 16)
    inside, batched, loop = contenders
    return [
        inside.least(1) / loop.least(1),
        inside.least(16) / loop.least(16),
        batched.least(16) / loop.least(16),
    ], [each.least(16) for each in (inside, loop)]


def measure(*, quick: bool) -> list[Row]:
    """The rows of the table.

    A process has a speed of its own from its start to its end, which differs by a fifth and more
    (the plain loop took 4.1 or 5.1 us). So there are the middle of several starts, and the least of
    each over all of them.
    """
    starts, rounds, publications = (1, 6, 16) if quick else (7, 10, 24)
    rows: list[Row] = []
    found: list[list[float]] = []
    least: list[list[float]] = []
    for _ in range(starts):
        with ExitStack() as stack:
            contenders = _start(stack)
            ratios, sixteen = _ratios(contenders, rounds, publications)
            found.append(ratios)
            least.append(sixteen)
            for contender in contenders:
                contender.crowd.close()
        rows += [
            Row(
                f"fan-out, {each.name}",
                f"{each.least(1):.2f} us; 16 in flight {each.least(16):.2f} us",
            )
            for each in contenders
        ]
    targets = (
        ("inside / plain loop, 1 in flight", 1.25),
        ("inside / plain loop, 16 in flight", 1.2),
        ("batched / plain loop, 16", 0.35),
    )
    for (name, target), ratios in zip(targets, zip(*found, strict=True), strict=True):
        detail = f"{min(ratios):.2f} to {max(ratios):.2f} of {starts}"
        rows.append(at_most(name, median(ratios), target, "x", detail))
    ours, plain = (min(each) for each in zip(*least, strict=True))
    rows.append(at_most("least inside / least plain, 16", ours / plain, 1.2, "x"))
    return rows


if __name__ == "__main__":
    begin()
    show(measure(quick=options(__doc__)))

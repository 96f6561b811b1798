"""What two checkouts are compared by: each probe measures one checkout, a slice at a time.

Rule: a probe is a generator that starts processes of the checkout it is given, yields the figures
of one short slice after another, and ends what it started when it is closed. It talks to the
checkout only by what both sides of a comparison have: the command line and the control octets of
`servers.py`, STOMP on the socket, and `inprocess.answer`. A figure is server CPU per operation.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.bench import acks, connect, fanout, inbound, inprocess, memory, publishers
from tests.bench.harness import BODY, Process
from tests.bench.load import Crowd, in_groups, open_stomp, reset, send_frame

SUBSCRIBERS = 500

Figures = dict[str, float]
"""By the name of the row."""
Slices = Generator[Figures, None, None]


def _subscribed(process: Process) -> Crowd:
    return Crowd(in_groups(lambda count: open_stomp(process.port, count), SUBSCRIBERS))


def fan_out(tree: Path) -> Slices:
    """Publications to `auto` subscribers."""
    with Process("ours", tree=tree) as process:
        crowd = _subscribed(process)
        try:
            crowd.drive(process.publish, fanout.WARM_UP, 16)
            contender = fanout.Contender("ours", process, crowd)
            while True:
                yield {
                    "fan-out, 1 in flight": contender.round(8, 1).total,
                    "fan-out, 16 in flight": contender.round(32, 16).total,
                }
        finally:
            crowd.close()


def acknowledged(tree: Path) -> Slices:
    """Publications to `client-individual` subscribers, and their ACKs."""
    with ExitStack() as stack:
        contender = acks.Contender(stack, "client-individual", tree)
        try:
            while True:
                costs = contender.round()
                yield {
                    "client-individual, 1 in flight": costs["1 in flight"],
                    "client-individual, 16 in flight": costs["16 in flight"],
                    "ACK, one a write": costs["one a write"],
                    "ACK, 16 a write": costs["16 a write"],
                }
        finally:
            contender.crowd.close()


def many_publishers(tree: Path) -> Slices:
    """Clients that publish to a broker destination, and through a handler."""
    with Process("ours", tree=tree) as process:
        senders = open_stomp(process.port, publishers.IN_FLIGHT, subscribe=False)
        crowd = _subscribed(process)
        frames = {
            f"16 publishers, {name}": send_frame(destination, BODY)
            for name, destination in publishers.DESTINATIONS.items()
        }
        try:
            while True:
                yield {
                    row: publishers.cost(process, crowd, senders, frame, 32)
                    for row, frame in frames.items()
                }
        finally:
            crowd.close()
            for sender in senders:
                reset(sender)


def connecting(tree: Path) -> Slices:
    """Clients that connect, 16 at a time."""
    with Process("ours", tree=tree) as process:
        while True:
            used = connect.cost(process, lambda count: open_stomp(process.port, count), 32, 16)
            yield {"connect, CONNECT, SUBSCRIBE": used}


def sending(tree: Path) -> Slices:
    """SENDs to handlers that return nothing. Not every checkout's server has the `async def`."""
    inline, burst, task = "SEND, RECEIPT, inline", "SEND, inline, 32 a read", "SEND, RECEIPT, async"
    with Process("ours", tree=tree) as process, ExitStack() as stack:
        clients = open_stomp(process.port, 2)
        for client in clients:
            stack.callback(reset, client)
        ask_one = inbound.asker(clients[0], "/app/ignore", 1)
        ask_burst = inbound.asker(clients[0], "/app/ignore", inbound.BURST)
        ask_task = inbound.asker(clients[1], "/app/wait", 1)
        has_task = '"/wait"' in (tree / "tests/bench/servers.py").read_text()
        while True:
            found = {
                inline: inbound.cost(process, ask_one, 100, 1),
                burst: inbound.cost(process, ask_burst, 10, inbound.BURST),
            }
            if has_task:
                found[task] = inbound.cost(process, ask_task, 100, 1)
            yield found


def in_process(tree: Path) -> Slices:
    """Publications without a socket."""
    with inprocess.Answers(tree) as answers:
        while True:
            yield {"fan-out in process": answers.round()}


def idle(tree: Path) -> Slices:
    """Connections that do nothing; each slice has a process of its own."""
    while True:
        kib, _ = memory.per_connection("ours", 500, tree=tree)
        yield {"memory per idle connection": kib}


@dataclass(frozen=True)
class Probe:
    """One of the benchmarks that compare.

    Args:
        start: The generator.
        slices: How many slices of one process make a round.
        unit: Of its figures.
        bound: The ratio up to which this checkout counts as not slower.
    """

    start: Callable[[Path], Slices]
    slices: int
    unit: str = "us"
    bound: float = 1.05


PROBES = {
    "fanout": Probe(fan_out, 20),
    "inprocess": Probe(in_process, 40),
    "acks": Probe(acknowledged, 7),
    "publishers": Probe(many_publishers, 12),
    "connect": Probe(connecting, 20),
    "inbound": Probe(sending, 50),
    "memory": Probe(idle, 1, "KiB", 1.08),
}
"""By the name of the module that measures the same against targets."""

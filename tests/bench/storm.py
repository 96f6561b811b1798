"""A storm: all clients dial at once, ours until they are subscribed, those of `websockets` until
their bare handshake is answered.

`python -m tests.bench.storm [--quick]`: rounds of the two servers alternate. A stall is how late a
timer of a millisecond comes on the loop of the server while the storm lasts; the target is that of
ours. Each client takes its next step when the answer to the last one has come.
"""

from __future__ import annotations

import resource
import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.bench.harness import Process, Row, at_most, begin, options, show
from tests.bench.load import CONNECT, PLAIN_UPGRADE, READ, STOMP_UPGRADE, SUBSCRIBE, masked, reset

CLIENTS = 5_000
SPARE = 256
"""Descriptors beside those of the clients, here and in the server."""
WITHIN = 60.0
"""Seconds a storm may take before the run is given up."""

Steps = Sequence[tuple[bytes, bytes]]
"""What a client sends, and the end of the answer that it waits for."""

HANDSHAKE: Steps = ((PLAIN_UPGRADE, b"\r\n\r\n"),)
SESSION: Steps = (
    (STOMP_UPGRADE, b"\r\n\r\n"),
    (masked(CONNECT), b"\0"),
    (masked(SUBSCRIBE.format("auto").encode()), b"\0"),
)


def allow(clients: int) -> None:
    """Raise the soft limit of descriptors, which servers inherit.

    Raises:
        SystemExit: The hard limit is too low.
    """
    wanted = clients + SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise SystemExit(
            f"a storm of {clients:,} clients needs {wanted:,} descriptors, and `ulimit -Hn` allows"
            f" {hard:,}: raise it, or run with --quick"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def dial(port: int, clients: int, steps: Steps) -> tuple[float, list[socket.socket]]:
    """Have all clients dial at once; the seconds until the last one is done, and their sockets.

    Raises:
        RuntimeError: A client was hung up on, or it takes longer than `WITHIN`.
    """
    poll = select.epoll()
    done: list[socket.socket] = []
    waiting: dict[int, tuple[socket.socket, int]] = {}
    began = time.perf_counter()
    for _ in range(clients):
        client = socket.socket()
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.connect_ex(("127.0.0.1", port))
        waiting[client.fileno()] = client, -1
        poll.register(client.fileno(), select.EPOLLOUT)
    while waiting:
        ready = poll.poll(WITHIN)
        if not ready or time.perf_counter() - began > WITHIN:
            raise RuntimeError(f"{len(waiting)} clients are not done after {WITHIN:g} seconds")
        for fd, _ in ready:
            client, step = waiting[fd]
            if step < 0:
                poll.modify(fd, select.EPOLLIN)
            # Answers are far smaller than what one read takes, and come whole.
            elif not client.recv(READ).endswith(steps[step][1]):
                raise RuntimeError(f"the server broke off step {step}")
            step += 1
            if step < len(steps):
                client.send(steps[step][0])
                waiting[fd] = client, step
            else:
                poll.unregister(fd)
                done.append(client)
                del waiting[fd]
    took = time.perf_counter() - began
    poll.close()
    return took, done


@dataclass
class Contender:
    """A server, and what its storms have cost."""

    process: Process
    steps: Steps
    took: list[float] = field(default_factory=list)
    """Seconds of each storm."""
    used: list[float] = field(default_factory=list)
    """Microseconds of CPU a client, of each storm."""
    stalls: list[dict[str, float]] = field(default_factory=list)
    """Milliseconds, of each storm: p50, p99 and max."""

    def storm(self, clients: int) -> None:
        """One storm more."""
        before = self.process.cpu()
        self.process.control.send(b"w")
        took, sockets = dial(self.process.port, clients, self.steps)
        self.stalls.append(self.process.ask(b"l"))
        used = self.process.cpu() - before
        for each in sockets:
            reset(each)
        self.process.wait_for(0)
        self.took.append(took)
        self.used.append(used.total / clients * 1e6)

    def stall(self, which: str) -> float:
        """The least of the rounds, in milliseconds."""
        return min(each[which] for each in self.stalls)

    @property
    def told(self) -> str:
        """Its stalls in a few words."""
        return f"p50 {self.stall('p50'):.0f}, max {self.stall('max'):.0f}"


def measure(*, quick: bool) -> list[Row]:
    """The rows of the table."""
    rounds, clients = (3, 1_000) if quick else (9, CLIENTS)
    allow(clients)
    with Process("ours") as process, Process("websockets", "8100") as other:
        ours, bare = Contender(process, SESSION), Contender(other, HANDSHAKE)
        for _ in range(rounds):
            ours.storm(clients)
            bare.storm(clients)
    mine, theirs = min(ours.took), min(bare.took)
    storm = f"storm of {clients:,}"
    told = f"{ours.told}; websockets p99 {bare.stall('p99'):.0f}, {bare.told}"
    return [
        at_most(
            f"{storm}, all subscribed / bare handshakes of websockets",
            mine / theirs,
            1.2,
            "x",
            f"{mine:.2f} s / {theirs:.2f} s",
        ),
        at_most(f"{storm}, stall of the loop, p99", ours.stall("p99"), 60, "ms", told),
        Row(
            f"{storm}, CPU a client",
            f"{min(ours.used):.0f} us  (websockets {min(bare.used):.0f} us)",
        ),
    ]


if __name__ == "__main__":
    begin()
    show(measure(quick=options(__doc__)))

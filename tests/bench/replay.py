"""Replay: server CPU of a message that clients who come back have missed.

`python -m tests.bench.replay [--quick]`: 1,600 clients come back at once, each has missed 50
messages of 250 bytes; then one by itself, which has missed as many as are kept.
"""

from __future__ import annotations

import select
import socket

from tests.bench.harness import Process, Row, at_most, begin, options, show
from tests.bench.load import READ, in_groups, masked, open_stomp, read_until, reset
from tests.bench.servers import KEPT, TOPIC
from tests.bench.storm import allow

CLIENTS, MISSED = 1_600, 50
COME_BACK = f"SUBSCRIBE\nid:sub-0\ndestination:{TOPIC}\nlast-message-id:{{}}\nreceipt:r\n\n\0"


def _epoch(process: Process) -> str:
    """The epoch of the history: a RECEIPT names the place at which a client begins."""
    (client,) = open_stomp(process.port, 1, subscribe=False)
    client.send(masked(f"SUBSCRIBE\nid:s\ndestination:{TOPIC}\nreceipt:r\n\n\0".encode()))
    receipt = read_until(client, b"\0")
    reset(client)
    position = receipt.partition(b"last-message-id:")[2].partition(b"\n")[0]
    return position.rpartition(b"-")[0].decode()


def _come_back(process: Process, clients: list[socket.socket], last: str, missed: int) -> float:
    """Microseconds a message, from the SUBSCRIBEs of all to the last message."""
    poll = select.epoll()
    left = {each.fileno(): (each, missed + 1) for each in clients}  # and the RECEIPT
    for client in clients:
        poll.register(client.fileno(), select.EPOLLIN)
    subscribe = masked(COME_BACK.format(last).encode())
    before = process.cpu().total
    for client in clients:
        client.send(subscribe)
    while left:
        for number, _ in poll.poll(0):
            client, wanted = left[number]
            data = client.recv(READ)
            if not data:
                raise RuntimeError("the server hung up on a client")
            wanted -= data.count(0)
            left[number] = client, wanted
            if wanted <= 0:
                poll.unregister(number)
                del left[number]
    used = process.cpu().total - before
    poll.close()
    return used / len(clients) / missed * 1e6


def measure(*, quick: bool) -> list[Row]:
    """The rows of the table."""
    rounds, count = (3, 200) if quick else (9, CLIENTS)
    allow(count)
    crowd: list[float] = []
    alone: list[float] = []
    with Process("ours-kept") as process:
        epoch = _epoch(process)
        process.publish(KEPT)
        process.ask(b"n")  # behind them
        for _ in range(rounds):
            for found, number, missed in ((crowd, count, MISSED), (alone, 1, KEPT)):
                clients = in_groups(
                    lambda size: open_stomp(process.port, size, subscribe=False), number
                )
                last = f"{epoch}-{KEPT - missed}"
                found.append(_come_back(process, clients, last, missed))
                for client in clients:
                    reset(client)
                process.wait_for(0)
    return [
        at_most(f"replay, {count:,} clients x {MISSED} messages", min(crowd), 3.5, "us"),
        Row(f"replay, one client, {KEPT:,} messages", f"{min(alone):.2f} us a message"),
    ]


if __name__ == "__main__":
    begin()
    show(measure(quick=options(__doc__)))

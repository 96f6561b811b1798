"""Several workers on Redis: what it adds to a publication, to its way, and to everything else.

`python -m tests.bench.workers [--quick]`: a Redis of its own on 127.0.0.1, and servers with it and
without it, in turns. python-socketio publishes by its own manager over the same Redis. Redis runs
where the client does, so that the servers have their core alone.
"""

from __future__ import annotations

import asyncio
import json
import select
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from stocksync_ws.backplane import BackplaneEvent, BackplaneSettings, History
from stocksync_ws.broker.delivery.mirrors import Mirrors, Reset, State
from stocksync_ws.counters import Counters
from stocksync_ws.position import Position
from stocksync_ws.redis import Publisher, RedisBackplane
from tests.bench.harness import (
    BODY,
    CLIENT_CORE,
    ENVIRONMENT,
    Process,
    Row,
    at_most,
    begin,
    options,
    pin,
    show,
)
from tests.bench.load import READ, Crowd, in_groups, open_stomp, reset, send_frame
from tests.bench.peers import JSON_MARK, open_socketio
from tests.bench.servers import REDIS, TOPIC
from tests.redis.servers import Server

DESTINATIONS = 10_000
IN_FLIGHT = 50
SUBSCRIBERS = 500
PEER_COUNT = 1_000
"""Messages of a peer in a round."""
STEP = 32
"""Messages of a peer on their way at once."""
PATIENCE = 10.0
"""Seconds for messages of a peer."""


@contextmanager
def redis() -> Iterator[Server]:
    """A server of our own, on the core of the client."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        assert server.process is not None
        pin(CLIENT_CORE, server.process.pid)
        ENVIRONMENT[REDIS] = server.url
        try:
            yield server
        finally:
            server.kill()


def cost(process: Process, crowd: Crowd, publisher: Process, count: int) -> float:
    """Microseconds that a process uses for a message that another one, or it, publishes."""
    before = process.cpu()
    crowd.drive(publisher.publish, count, 64)
    return (process.cpu() - before).total / count * 1e6


def latency(process: Process, crowd: Crowd, count: int) -> float:
    """Milliseconds from the wish to publish to the message, with nothing else on its way."""
    found: list[float] = []
    for _ in range(count):
        began = time.perf_counter()
        crowd.drive(process.publish, 1, 1)
        found.append(time.perf_counter() - began)
    return median(found) * 1e3


def receipts(client: socket.socket, frame: bytes, count: int, mark: bytes = b"\0") -> float:
    """Answers a second to one client with 50 publications on their way; it hangs up then."""
    client.setblocking(True)
    client.sendall(frame * IN_FLIGHT)
    had = 0
    client.setblocking(False)
    began = time.perf_counter()
    while had < count:
        select.select([client], [], [])
        more = client.recv(READ).count(mark)
        had += more
        client.setblocking(True)
        client.sendall(frame * more)
        client.setblocking(False)
    rate = had / (time.perf_counter() - began)
    reset(client)
    return rate


def stomp_receipts(process: Process, count: int) -> float:
    """RECEIPTs a second of one session with 50 SENDs on their way."""
    (client,) = open_stomp(process.port, 1, subscribe=False)
    return receipts(client, send_frame(TOPIC, BODY, "r"), count)


def settled(process: Process, count: int) -> float:
    """Microseconds that a peer without a client uses for a message that it gets back itself."""
    while not process.ask(b"s")["settled"]:
        process.publish(1)  # it does not say when it listens
        time.sleep(0.05)
    return _in_steps(process, count, lambda: None)


def served(process: Process, crowd: Crowd, count: int) -> float:
    """Microseconds that python-socketio uses for a message, which one client gets."""
    while not crowd.read(0.05):
        process.publish(1)  # it does not say when it listens
    while crowd.read(0.2):
        pass
    return _in_steps(process, count, lambda: crowd.drive(lambda _: None, STEP, STEP))


def _in_steps(process: Process, count: int, read: Callable[[], None]) -> float:
    """Microseconds of a peer for a message. It has ended all of a step before it gets more: with
    too many on their way it finds no connection left, and connects anew or loses them.
    """
    before = process.ask(b"s")["settled"]
    time.sleep(0.1)
    while (now := process.ask(b"s")["settled"]) != before:
        before = now
        time.sleep(0.1)
    used, asked = process.cpu(), 0
    while asked < count:
        process.publish(STEP)
        asked += STEP
        read()
        until = time.monotonic() + PATIENCE
        while process.ask(b"s")["settled"] - before < asked:
            assert time.monotonic() < until, "it has lost messages"
            time.sleep(0.005)  # each question costs the peer, too
    return (process.cpu() - used).total / asked * 1e6


def _publications(rounds: int, count: int) -> list[Row]:
    with ExitStack() as stack:
        memory = stack.enter_context(Process("ours"))
        one = stack.enter_context(Process("ours-redis"))
        other = stack.enter_context(Process("ours-redis"))
        here = Crowd(open_stomp(memory.port, 1))
        there = Crowd(open_stomp(one.port, 1))
        found: dict[str, list[float]] = {}
        for _ in range(rounds):
            found.setdefault("memory", []).append(cost(memory, here, memory, count))
            found.setdefault("redis", []).append(cost(one, there, one, count))
            found.setdefault("receives", []).append(cost(one, there, other, count))
            found.setdefault("late", []).append(latency(memory, here, 200))
            found.setdefault("later", []).append(latency(one, there, 200))
            found.setdefault("rate", []).append(stomp_receipts(memory, count))
            found.setdefault("slower", []).append(stomp_receipts(one, count))
            for crowd in (here, there):
                while crowd.read(0.05):
                    pass
        for crowd in (here, there):
            crowd.close()
    least = {name: min(each) for name, each in found.items()}
    added = least["redis"] - least["memory"]
    detail = f"{least['redis']:.1f} with Redis, {least['memory']:.1f} in memory"
    most = max(found["slower"]) / max(found["rate"])
    return [
        at_most("a publication, added by Redis", added, 20.0, "us", detail),
        at_most("a message that another worker publishes", least["receives"], 25.0, "us"),
        at_most("latency p50, added by Redis", least["later"] - least["late"], 0.6, "ms"),
        Row(
            "50 SENDs in flight on one session / in memory",
            f"{most:.2f} x  ({max(found['slower']):,.0f} RECEIPTs a second)",
            ">= 0.5 x",
            most >= 0.5,
        ),
    ]


def _beside_socketio(rounds: int, count: int) -> list[Row]:
    with ExitStack() as stack:
        one = stack.enter_context(Process("ours-redis"))
        peer = stack.enter_context(Process("socketio-redis"))
        serving = stack.enter_context(Process("socketio-redis-served"))
        ours = Crowd(open_stomp(one.port, 1))
        its = Crowd(open_socketio(serving.port, 1), JSON_MARK)
        found: list[list[float]] = [[], [], []]
        for _ in range(rounds):
            found[0].append(cost(one, ours, one, count))
            found[1].append(settled(peer, PEER_COUNT))
            found[2].append(served(serving, its, PEER_COUNT))
        for crowd in (ours, its):
            crowd.close()
    least, alone, with_client = map(min, found)
    what = "a publication / python-socketio's manager"
    return [
        at_most(f"{what}, which has no client", least / alone, 0.4, "x", f"{alone:.1f} us"),
        at_most(f"{what}, with a client", least / with_client, 0.4, "x", f"{with_client:.1f} us"),
    ]


def _beside_channels(rounds: int, count: int) -> list[Row]:
    rows: list[Row] = []
    for layer, target in (("pubsub", 0.3), ("core", 0.06)):
        with ExitStack() as stack:
            one = stack.enter_context(Process("ours-redis"))
            peer = stack.enter_context(Process(f"channels-redis-{layer}"))
            ours = Crowd(open_stomp(one.port, 1))
            found: list[list[float]] = [[], []]
            for _ in range(rounds):
                found[0].append(cost(one, ours, one, count))
                found[1].append(settled(peer, PEER_COUNT))
            ours.close()
        here, there = map(min, found)
        what = f"a publication / channels_redis, {layer}"
        rows.append(at_most(what, here / there, target, "x", f"{there:.1f} us"))
    return rows


def _publication(size: int, rounds: int, publications: int) -> list[float]:
    """Microseconds of a publication to so many subscribers, with no other on its way: in memory,
    and with Redis.
    """
    with ExitStack() as stack:
        pairs: list[tuple[Process, Crowd]] = []
        for kind in ("ours", "ours-redis"):
            process = stack.enter_context(Process(kind))
            port = process.port
            crowd = Crowd(in_groups(lambda count, to=port: open_stomp(to, count), size))
            crowd.drive(process.publish, 40, 16)
            pairs.append((process, crowd))
        found: list[list[float]] = [[], []]
        for _ in range(rounds):
            for costs, (process, crowd) in zip(found, pairs, strict=True):
                before = process.cpu()
                crowd.drive(process.publish, publications, 1)
                costs.append((process.cpu() - before).total / publications * 1e6)
        for _, crowd in pairs:
            crowd.close()
    return list(map(min, found))


def _fan_out(rounds: int, publications: int) -> list[Row]:
    """A delivery is what one subscriber more costs; the rest is the publication."""
    few = _publication(1, rounds, publications * 4)
    many = _publication(SUBSCRIBERS, rounds, publications)
    here, there = (
        (all_of - one) / (SUBSCRIBERS - 1) for one, all_of in zip(few, many, strict=True)
    )
    detail = f"{there:.2f} us / {here:.2f} us"
    return [
        at_most("fan-out to 500, a delivery / in memory", there / here, 1.05, "x", detail),
        Row("fan-out to 500, the whole publication / in memory", f"{many[1] / many[0]:.2f} x"),
        Row("a publication with no other on its way, added by Redis", f"{few[1] - few[0]:.0f} us"),
    ]


class _Silent:
    """Nobody is told anything: how fast channels are live is all that counts."""

    def begin(self, channel: str, history: History) -> None: ...
    def continues(self, channel: str, history: History) -> None: ...
    def apply(self, channel: str, position: Position, payload: bytes) -> None: ...
    def attached(self, channel: str) -> None: ...
    def reset(self, channel: str, why: Reset) -> None: ...
    def available(self, up: bool, why: str) -> None: ...


async def _alive_again(url: str, server: Server, count: int) -> float:
    """Seconds from the end of all connections until so many destinations are live again."""
    commands: list[object] = []
    mirrors = Mirrors(
        BackplaneSettings(),
        commands,  # type: ignore[arg-type]
        _Silent(),
        lambda done, settlement: None,
        Counters(),
    )
    changed = asyncio.Event()

    def receive(events: Sequence[BackplaneEvent]) -> None:
        for event in events:
            mirrors.receive(event)
        if commands:
            link.send(list(commands))  # type: ignore[arg-type]
            commands.clear()
        changed.set()

    link = RedisBackplane(url, prefix="alive").open("w", "", receive)
    names = [f"/topic/{number}" for number in range(count)]
    for name in names:
        mirrors.follow(name, keeps=True)

    async def live() -> None:
        while True:
            changed.clear()
            states = [mirrors.find(name) for name in names]
            if mirrors.up and all(each is not None and each.state is State.LIVE for each in states):
                return
            await changed.wait()

    await live()
    found: list[float] = []
    for _ in range(3):
        began = time.perf_counter()
        cut = asyncio.create_task(asyncio.to_thread(server.cut))
        while mirrors.up:
            changed.clear()
            await changed.wait()
        await live()
        await cut
        found.append(time.perf_counter() - began)
    link.close()
    await asyncio.sleep(0)
    return min(found)


def _publisher(url: str, count: int) -> float:
    """Microseconds a message of a process that serves nothing."""
    with Publisher(url, prefix="bench") as publisher:
        payload = json.loads(BODY)
        publisher.convert_and_send(TOPIC, payload)
        found: list[float] = []
        for _ in range(5):
            began = time.perf_counter()
            for _ in range(count):
                publisher.convert_and_send(TOPIC, payload)
            found.append((time.perf_counter() - began) / count)
    return min(found) * 1e6


def measure(*, quick: bool) -> list[Row]:
    """The rows of the table."""
    rounds, count = (3, 1_000) if quick else (9, 4_000)
    with redis() as server:
        rows = _publications(rounds, count)
        rows += _beside_socketio(rounds, count)
        rows += _beside_channels(rounds, count)
        rows += _fan_out(rounds, 40 if quick else 100)
        seconds = asyncio.run(_alive_again(server.url, server, DESTINATIONS))
        rows.append(at_most("10,000 destinations live again", seconds, 0.5, "s"))
        used = _publisher(server.url, count // 2)
        rows.append(at_most("a message of a Publisher", used, 150.0, "us"))
    return rows


if __name__ == "__main__":
    begin()
    show(measure(quick=options(__doc__)))

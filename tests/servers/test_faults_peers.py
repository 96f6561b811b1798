"""Faults of the peer and of the network: rows 1 to 7 of the table of faults, on our own server and
on uvicorn.

The virtual clock proves the same at the exact edge, in `tests/broker/sessions/test_liveness.py`
(1 to 3) and `test_slow_consumers.py` (4 to 6), and in `tests/driver/test_links.py` (7).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.servers.faults_herd import Herd
from tests.servers.faults_kit import HERE, LONG, Proxy, Watcher, both, serve, until

TOPIC = "/topic/a"
KIB = 1024
BEATS: dict[str, Any] = {"heart_beat": (0.2, 0.2)}


def publish(watcher: Watcher, first: int, count: int, size: int = 0, pause: float = 0) -> None:
    body = {"destination": TOPIC, "first": first, "count": count, "size": size}
    watcher.tell("/publish", {**body, "at_once": 8, "pause": pause})


def numbers(count: int) -> list[int]:
    return list(range(1, count + 1))


PEER = """
import sys, time
from tests.servers.faults_kit import SocketPipe, Watcher
from carriers.client import TEXT, ws_frame

client = Watcher(SocketPipe(int(sys.argv[1]))).enter(heart_beat="200,0")
begun, told = time.monotonic(), False
while time.monotonic() < begun + 30:
    client.pipe.send(ws_frame(TEXT, bytes([10])))
    time.sleep(0.05)
    if not told and time.monotonic() > begun + 1.2:
        print("has lived for twice the grace", flush=True)
        told = True
"""


@contextmanager
def peer(port: int) -> Iterator[subprocess.Popen[str]]:
    """A client that beats, in a process of its own; it has lived for a while already."""
    root = str(HERE.parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", PEER, str(port)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    try:
        assert process.stdout is not None
        assert "has lived" in process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


@both
def test_row_01_a_client_that_vanishes_without_a_word(host: str, tmp_path: Path) -> None:
    # A process that is stopped: its kernel still takes every byte, so nothing tells the server.
    with serve(host, tmp_path, **BEATS) as server:
        watcher = server.watcher().enter()
        before = watcher.probe()
        with peer(server.port) as process:
            assert server.ends() == []
            assert watcher.probe()["sessions"] == 2
            process.send_signal(signal.SIGSTOP)
            assert server.wait_for_ends(1) == ["heart_beat_lost"]
            watcher.until_probe(lambda now: now["connections"] == 1, "its connection has ended")
            if server.ours or LONG:  # uvicorn waits for an answer to Close, for ten seconds.
                gone(watcher, before)
        gone(watcher, before)


def gone(watcher: Watcher, before: dict[str, Any]) -> None:
    """Nothing of a client is left."""
    watcher.until_probe(
        lambda now: all(now[each] == before[each] for each in ("sessions", "descriptors", "tasks")),
        f"as before: {before}",
    )


@both
def test_row_02_only_the_direction_to_the_client_is_dead(host: str, tmp_path: Path) -> None:
    limits = {"send_queue": 64 * KIB, "send_stall_seconds": 0.5}
    with (
        serve(host, tmp_path, limits=limits, **BEATS) as server,
        Proxy(server.port) as proxy,
        Herd(proxy.port) as half,
        Herd(server.port) as herd,
    ):
        watcher = server.watcher().enter()
        [other] = herd.join(1, TOPIC, beat=0.2)
        [cut] = half.join(1, TOPIC, beat=0.2)
        proxy.to_client.clear()
        publish(watcher, 1, 1_600, 4 * KIB, 0.003)
        # It beats, so it is not a lost client: it is a slow one.
        assert server.wait_for_ends(1) == ["slow_consumer"]
        herd.wait_for_numbers(1_600, [other])
        assert other.numbers == numbers(1_600)
        proxy.open()
        until(lambda: cut.lost, "the client learns that it is over")
        assert cut.numbers == numbers(len(cut.numbers))
        assert server.ends() == ["slow_consumer"]


@both
def test_row_03_a_network_that_swallows_everything_for_less_than_the_grace(
    host: str, tmp_path: Path
) -> None:
    with (
        serve(host, tmp_path, heart_beat=(0.5, 0.5)) as server,
        Proxy(server.port) as proxy,
        Herd(proxy.port) as herd,
    ):
        watcher = server.watcher().enter()
        [member] = herd.join(1, TOPIC, beat=0.5)
        proxy.shut()
        publish(watcher, 1, 50)
        time.sleep(1.1)  # The fault: of 1.5 s, less a quarter since its last beat.
        proxy.open()
        herd.wait_for_numbers(50, [member])
        assert member.numbers == numbers(50)
        herd.each(lambda each: each.command("SEND", destination=TOPIC, body="51"))
        assert member.numbers == numbers(51)
        assert server.ends() == []


@both
def test_row_03_a_network_that_swallows_everything_for_longer(host: str, tmp_path: Path) -> None:
    with (
        serve(host, tmp_path, heart_beat=(0.5, 0.5)) as server,
        Proxy(server.port) as proxy,
        Herd(proxy.port) as herd,
    ):
        watcher = server.watcher().enter()
        [member] = herd.join(1, TOPIC, beat=0.5)
        proxy.shut()
        publish(watcher, 1, 50)
        assert server.wait_for_ends(1) == ["heart_beat_lost"]
        proxy.open()
        until(lambda: member.lost, "the client learns that it is over")
        assert member.code == 4000
        assert member.numbers == numbers(50)
        herd.join(1, TOPIC, beat=0.5)
        assert server.ends() == ["heart_beat_lost"]


@both
def test_row_04_a_client_that_never_reads(host: str, tmp_path: Path) -> None:
    limits = {"send_queue": 64 * KIB, "send_stall_seconds": 1.0}
    with serve(host, tmp_path, limits=limits) as server, Herd(server.port) as herd:
        watcher = server.watcher().enter()
        others = herd.join(3, TOPIC)
        publish(watcher, 1, 1_600, 4 * KIB, 0.004)
        herd.wait_for_numbers(1_600, others)
        before = watcher.probe()["peak"]
        never = server.watcher(window=16 * KIB).enter()
        never.subscribe(TOPIC)
        publish(watcher, 1_601, 1_600, 4 * KIB, 0.004)
        assert server.wait_for_ends(1) == ["slow_consumer"]
        herd.wait_for_numbers(3_200, others)
        assert all(other.numbers == numbers(3_200) for other in others)
        [end] = server.events("SessionDisconnected")
        assert (end["session"], end["code"]) == (never.session, "4008")
        # On a host it may be eight times its bound within a second; that, and the copies of it.
        assert watcher.probe()["peak"] - before <= 2 * KIB * KIB


@both
def test_row_05_a_client_that_reads_in_drops(host: str, tmp_path: Path) -> None:
    limits = {"send_queue": 64 * KIB}
    with serve(host, tmp_path, limits=limits) as server:
        watcher = server.watcher().enter()
        before = watcher.probe()
        slow = server.watcher(window=4 * KIB).enter()
        slow.subscribe(TOPIC)
        slow.pipe.size = KIB
        quickly = threading.Event()
        thread = threading.Thread(target=drip, args=(slow, quickly))
        thread.start()
        most = 0
        first = 1
        while not server.ends():
            publish(watcher, first, 8, 4 * KIB)
            first += 8
            most = max(most, *watcher.ask("/queued"))
            assert first < 50_000
        assert server.ends() == ["slow_consumer"]
        assert 64 * KIB < most <= 8 * 64 * KIB + 16 * KIB
        watcher.until_probe(lambda now: now["connections"] == 1, "its connection has ended")
        if not server.ours:
            # A host that has bytes for a client keeps its descriptor until that has read them.
            quickly.set()
        gone(watcher, before)
        quickly.set()
        thread.join()


def drip(client: Watcher, quickly: threading.Event) -> None:
    """Read a little, now and then: the fault."""
    try:
        while client.pipe.receive():
            quickly.wait(0.02)
    except OSError:
        pass


@both
def test_row_06_a_slow_client_that_recovers_just_below_its_bound(host: str, tmp_path: Path) -> None:
    limits = {"send_queue": 512 * KIB}
    with serve(host, tmp_path, limits=limits) as server:
        watcher = server.watcher().enter()
        slow = server.watcher(window=16 * KIB).enter()
        slow.subscribe(TOPIC)
        for _ in range(2):
            published = fill(watcher, 0.9 * 512 * KIB, 1)
            assert slow.numbers(published) == numbers(published)
        slow.tell("/publish", {"destination": TOPIC, "first": 7, "count": 1})
        assert slow.numbers(1) == [7]
        assert server.ends() == []
        assert watcher.probe()["counters"]["messages_dropped"] == 0


def fill(watcher: Watcher, bound: float, first: int) -> int:
    """Publish until so many bytes wait for somebody; how many messages."""
    number = first
    while watcher.ask("/queued")[0] < bound:
        publish(watcher, number, 8, 4 * KIB)
        number += 8
        assert number < 20_000
    return number - first


@both
def test_row_07_a_close_that_the_peer_never_reads(host: str, tmp_path: Path) -> None:
    limits = {"send_queue": 8 * KIB * KIB, "close_timeout": 0.5}
    with serve(host, tmp_path, limits=limits) as server:
        watcher = server.watcher().enter()
        before = watcher.probe()
        deaf = server.watcher(window=16 * KIB).enter()
        deaf.subscribe(TOPIC)
        fill(watcher, KIB * KIB, 1)
        deaf.send("NO-SUCH-COMMAND")
        assert server.wait_for_ends(1) == ["protocol_error"]
        now = watcher.until_probe(lambda now: now["connections"] == 1, "the connection is cut")
        assert now["counters"]["aborts"] == 1
        if not server.ours:
            # ASGI cannot cut a connection: the host keeps its descriptor until the peer has gone.
            assert now["descriptors"] == before["descriptors"] + 1
            deaf.pipe.reset()
        gone(watcher, before)


def test_the_check_of_pairs_sees_what_it_is_for() -> None:
    from tests.servers.faults_kit import check_pairs

    def fails(*events: tuple[str, str]) -> bool:
        lines = [{"event": f"Session{name}", "session": session} for name, session in events]
        try:
            check_pairs(lines)
        except AssertionError:
            return True
        return False

    one, two = ("Connected", "1"), ("Disconnected", "1")
    assert not fails(one, ("Connected", "2"), two, ("Disconnected", "2"))
    assert fails(one)
    assert fails(two)
    assert fails(one, two, two)
    assert fails(one, two, one)

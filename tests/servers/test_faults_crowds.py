"""Faults that take many clients: rows 15, 21, 22 and 28 to 31 of the table of faults, on our own
server and on uvicorn.

The order of {SUBSCRIBE, UNSUBSCRIBE, publish} is played out exhaustively on the virtual clock, in
`tests/broker/stories/test_interleavings.py` (28); an error at one of many subscribers is injected
in `tests/driver/test_flush.py` (29 and 30); the inbox is proved in `tests/test_inbox.py` (31).
"""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import pytest

from tests.servers.faults_herd import Herd, Member
from tests.servers.faults_kit import LONG, Watcher, both, scaled, serve, until

TOPIC = "/topic/a"
CANNOT_ACCEPT = ("cannot accept", "accept() out of system resource")


@both
def test_row_15_out_of_descriptors(host: str, tmp_path: Path) -> None:
    limits = {"max_connections": 1_000}
    # On Python 3.11 asyncio tells it once for each place in its backlog, and again after its end.
    noise = ("ERROR asyncio", "Traceback") if host != "ours" else ()
    with (
        serve(host, tmp_path, descriptors=60, limits=limits, noise=noise) as server,
        Herd(server.port) as herd,
    ):
        watcher = server.watcher().enter()
        there = herd.join(10, TOPIC)
        coming = herd.begin(herd._join(100, TOPIC, None))

        def said() -> int:
            log = server.server.log
            return sum(log.count(each) for each in CANNOT_ACCEPT)

        until(said, "it has no descriptor left")
        begun = time.monotonic()
        first = 1
        while time.monotonic() < begun + 2.5:  # The fault: it is tried again once a second.
            publish(watcher, first, 10)
            first += 10
            herd.wait_for_numbers(first - 1, there)
        assert all(member.numbers == list(range(1, first)) for member in there)
        assert not coming.done()
        assert server.ends() == []
        if server.ours:
            assert said() == 1

        def leave() -> None:
            herd.reset([each for each in herd.members[10:] if each.ready.done() and not each.lost])

        # As some go, the others come in.
        while not coming.done():
            leave()
            watcher.ask("/slow", {"steps": 1, "every": 0.05})
        leave()  # those who came last
        watcher.until_probe(lambda now: now["descriptors"] <= 60 - 5, "there are some again")
        herd.join(1)
        assert all(not member.lost for member in there)


def publish(watcher: Watcher, first: int, count: int) -> None:
    watcher.tell("/publish", {"destination": TOPIC, "first": first, "count": count})


@both
def test_row_21_a_storm_of_reconnects(host: str, tmp_path: Path) -> None:
    stay, leave = scaled(50, 500), scaled(1_000, 5_000)
    with serve(host, tmp_path, heart_beat=(1.0, 1.0)) as server, Herd(server.port) as herd:
        watcher = server.watcher().enter()
        stayed = herd.join(stay, TOPIC, beat=1.0)
        leaving = herd.join(leave, TOPIC)
        for storm in range(2):
            herd.reset(leaving)
            leaving = herd.join(leave, TOPIC)
            ended = (storm + 1) * leave
            assert server.wait_for_ends(ended) == ["connection_lost"] * ended
        assert not any(member.lost for member in stayed)
        publish(watcher, 1, 5)
        herd.wait_for_numbers(5, stayed + leaving)
        assert all(member.numbers == [1, 2, 3, 4, 5] for member in stayed + leaving)


@pytest.mark.skipif(not LONG, reason="ten minutes")
@both
def test_row_22_clients_that_come_and_go(host: str, tmp_path: Path) -> None:
    seconds, rate = 600, 200
    with serve(host, tmp_path) as server, Herd(server.port) as herd:
        watcher = server.watcher().enter()
        before, sizes = watcher.probe(), []
        for second in range(seconds):
            began = time.monotonic()
            herd.reset(herd.join(rate, TOPIC))
            herd.members.clear()
            if second % 30 == 29:
                now = watcher.until_probe(
                    lambda now: all(
                        now[each] == before[each]
                        for each in ("descriptors", "threads", "tasks", "timers", "sessions")
                    ),
                    f"as before: {before}",
                )
                sizes.append(now["rss"])
            time.sleep(max(0.0, began + 1 - time.monotonic()))  # The rate.
        assert len(server.ends()) == seconds * rate
        # What the first half has not used, the second half needs no more.
        half = len(sizes) // 2
        assert max(sizes[half:]) <= max(sizes[:half]) + 1024 * 1024, sizes


@both
def test_row_28_subscribing_and_unsubscribing_amid_a_broadcast(host: str, tmp_path: Path) -> None:
    seconds = scaled(2, 10)
    with serve(host, tmp_path) as server, Herd(server.port) as herd:
        watcher = server.watcher().enter()
        [witness] = herd.join(1, TOPIC)
        members = herd.join(50)
        watcher.tell("/tick", {"destination": TOPIC, "every": 0.001})
        dice = random.Random(28)

        async def come_and_go(member: Member) -> None:
            end = asyncio.get_running_loop().time() + seconds
            number = 0
            while asyncio.get_running_loop().time() < end:
                number += 1
                await member.command("SUBSCRIBE", id=f"s{number}", destination=TOPIC)
                await asyncio.sleep(dice.random() * 0.02)
                await member.command("UNSUBSCRIBE", id=f"s{number}")

        herd.each(come_and_go, members)
        rounds = sum(check_rounds(member) for member in members)
        assert rounds >= 50 * 5
        numbers = witness.numbers  # Once: more come in meanwhile.
        assert numbers == list(range(1, len(numbers) + 1))
        assert server.ends() == []


def check_rounds(member: Member) -> int:
    """Between SUBSCRIBE and UNSUBSCRIBE is no gap, and outside is nothing; how often."""
    rounds, active = 0, False
    numbers: list[int] = []
    for what, body in member.heard:
        if what.startswith("SUBSCRIBE "):
            assert not active
            active, numbers, rounds = True, [], rounds + 1
        elif what.startswith("UNSUBSCRIBE "):
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else 1
            active = False
        else:
            assert active, (what, body)
            assert what == f"s{rounds}"
            numbers.append(int(body))
    return rounds


@both
def test_row_29_clients_that_are_reset_amid_a_fan_out(host: str, tmp_path: Path) -> None:
    with serve(host, tmp_path) as server, Herd(server.port) as herd:
        watcher = server.watcher().enter()
        members = herd.join(1_000, TOPIC)
        first, second = members[::10], members[1::2]
        staying = [each for at, each in enumerate(members) if at % 10 in (2, 4, 6, 8)]
        left = len(first) + len(second)

        async def leave(some: list[Member]) -> None:
            for member in some:
                member.reset()
                await asyncio.sleep(0)

        # As it happens, amid messages that are written one at a time.
        work = herd.begin(leave(first))
        watcher.tell("/publish", {"destination": TOPIC, "first": 1, "count": 30, "at_once": 1})
        work.result(10)
        herd.wait_for_numbers(30, staying)
        # And half of all at once, before the server can hear of any of them.
        watcher.tell("/block", {"seconds": 0.5, "number": 31})
        until(lambda: server.events("blocked"), "it hears of nothing now")
        herd.run(leave(second))
        herd.wait_for_numbers(31, staying)
        publish(watcher, 32, 9)
        herd.wait_for_numbers(40, staying)
        assert all(member.numbers == list(range(1, 41)) for member in staying)
        assert server.wait_for_ends(left) == ["connection_lost"] * left
        now = watcher.probe()
        assert now["counters"]["internal_errors"] == 0
        assert now["sessions"] == len(members) - left + 1


@both
def test_row_30_a_text_that_no_frame_can_carry(host: str, tmp_path: Path) -> None:
    with serve(host, tmp_path) as server, Herd(server.port) as herd:
        watcher = server.watcher().enter()
        members = herd.join(10, TOPIC)
        before = watcher.probe()["counters"]["messages_queued"]
        assert watcher.ask("/surrogate") == ["ConversionError"]
        # Two answers to the one who asks, and nothing for anybody else.
        assert watcher.probe()["counters"]["messages_queued"] == before + 2
        publish(watcher, 1, 3)
        herd.wait_for_numbers(3, members)
        assert all(member.numbers == [1, 2, 3] for member in members)


@both
def test_row_30_a_transport_that_raises(host: str, tmp_path: Path) -> None:
    # On our own server a stream is broken; on a host, middleware of the application is.
    noise = ("internal error", "Traceback", "RuntimeError", "Exception in ASGI")
    with serve(host, tmp_path, noise=noise) as server, Herd(server.port) as herd:
        watcher = server.watcher().enter()
        first, broken = herd.join(10, TOPIC), server.watcher()
        broken.enter("/ws" if server.ours else "/ws?broken")
        if server.ours:
            broken.subscribe(TOPIC)
            assert broken.ask("/break") == ["it will be"]
            watcher.ask("/slow", {"steps": 1, "every": 0.1})
        else:
            broken.send("SUBSCRIBE", {"id": "t", "destination": TOPIC})
            until(lambda: server.server.log.count("connection open") >= 12, "it has come in")
        last = herd.join(10, TOPIC)
        publish(watcher, 1, 10)
        assert server.wait_for_ends(1) == ["internal_error"]
        publish(watcher, 11, 10)
        herd.wait_for_numbers(20, first + last)
        assert all(member.numbers == list(range(1, 21)) for member in first + last)
        assert server.ends() == ["internal_error"]
        watcher.until_probe(lambda now: now["connections"] == 21, "its connection is cut")


@both
def test_row_31_threads_of_the_application_publish(host: str, tmp_path: Path) -> None:
    threads, count = 8, 10_000
    limits = {"send_queue": 64 * 1024 * 1024}
    debug = {"PYTHONASYNCIODEBUG": "1"}
    with (
        serve(host, tmp_path, limits=limits, environment=debug) as server,
        Herd(server.port) as herd,
    ):
        watcher = server.watcher().enter()
        members = herd.join(2, TOPIC)
        watcher.tell("/threads", {"threads": threads, "count": count})
        herd.wait_for_numbers(threads * count, members)
        for member in members:
            bodies = [body for _, body in member.heard if body]
            for thread in range(threads):
                own = [body for body in bodies if body.startswith(f"{thread} ")]
                assert own == [f"{thread} {number}" for number in range(count)]
        assert members[0].heard[1:] == members[1].heard[1:]
        assert server.events("written by another thread") == []
        assert watcher.probe()["counters"]["internal_errors"] == 0

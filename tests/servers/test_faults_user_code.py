"""Faults of the application's own code: rows 8, 9, 12, 26, 27 and 36 of the table of faults, on our
own server and on uvicorn.

The virtual clock proves the same at every step, in `tests/broker/stories/test_hanging_handlers.py`
(9), `tests/broker/sessions/test_liveness.py` (12) and `test_lifecycle.py` (26), and
`tests/driver/test_driver.py` (27).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.servers.faults_herd import Herd
from tests.servers.faults_kit import Faulty, Watcher, both, serve, until

TOPIC = "/topic/a"
SECRET = "the-secret-of-an-exception"
RAISED = ("stocksync_ws.handler", "Traceback", "ValueError", "KeyError", "SystemExit")
"""What the log says when user code raises."""


def nobody_else_noticed(server: Faulty, watcher: Watcher) -> None:
    """Who was there is there, and who comes may come in."""
    assert watcher.ask("/slow", {"steps": 1, "every": 0}) == ["done"]
    other = server.watcher().enter()
    assert other.probe()["counters"]["internal_errors"] == 0
    other.send("DISCONNECT")
    assert other.closed() == 1000


@both
def test_row_08_a_handler_that_raises_what_is_mapped(host: str, tmp_path: Path) -> None:
    with serve(host, tmp_path) as server:
        watcher, raising = server.watcher().enter(), server.watcher().enter()
        raising.subscribe("/user/queue/errors")
        raising.tell("/raise/mapped", b"x")
        assert raising.frame("MESSAGE").body == b"mapped"
        assert raising.probe()["sessions"] == 2
        nobody_else_noticed(server, watcher)


@pytest.mark.parametrize("how", ["error", "base", "base-in-thread"])
@both
def test_row_08_a_handler_that_raises_what_nobody_expects(
    host: str, tmp_path: Path, how: str
) -> None:
    with serve(host, tmp_path, noise=RAISED) as server:
        watcher, raising = server.watcher().enter(), server.watcher().enter()
        raising.tell(f"/raise/{how}", b"x")
        error = raising.error()
        assert error["code"] == "handler-failed"
        assert SECRET not in str(error)
        assert raising.closed() == 1011
        assert server.wait_for_ends(1) == ["handler_failed"]
        assert SECRET in server.server.log or how != "error"
        nobody_else_noticed(server, watcher)


@both
def test_row_09_a_handler_that_hangs(host: str, tmp_path: Path) -> None:
    with serve(host, tmp_path, limits={"handler_timeout": 0.3}, noise=RAISED) as server:
        watcher = server.watcher().enter()
        before = watcher.probe()["tasks"]
        hanging = server.watcher().enter()
        hanging.tell("/hang", b"x")
        assert hanging.error()["code"] == "handler-timeout"
        assert hanging.closed() == 1011
        assert server.wait_for_ends(1) == ["handler_failed"]
        assert len(server.events("hang ended")) == 1
        now = watcher.until_probe(lambda now: now["tasks"] == before, "its task has ended")
        assert now["counters"]["handlers_timed_out"] == 1
        nobody_else_noticed(server, watcher)


@both
def test_row_09_a_handler_that_hangs_in_a_thread(host: str, tmp_path: Path) -> None:
    limits = {"handler_timeout": 0.3, "handler_threads": 2}
    with serve(host, tmp_path, limits=limits, noise=RAISED) as server:
        watcher, hanging = server.watcher().enter(), server.watcher().enter()
        hanging.tell("/hang-in-thread", b"x")
        assert hanging.error()["code"] == "handler-timeout"
        assert watcher.probe()["counters"]["pool_slots_stuck"] == 1
        # The other thread of the two goes on.
        raising = server.watcher().enter()
        raising.tell("/raise/base-in-thread", b"x")
        assert raising.error()["code"] == "handler-failed"
        assert server.wait_for_ends(2) == ["handler_failed"] * 2
        watcher.tell("/release")
        watcher.until_probe(
            lambda now: now["counters"]["pool_slots_stuck"] == 0, "its thread is free again"
        )
        nobody_else_noticed(server, watcher)


@both
def test_row_12_a_loop_that_stands_still_for_longer_than_the_grace(
    host: str, tmp_path: Path
) -> None:
    with serve(host, tmp_path, heart_beat=(0.2, 0.2)) as server, Herd(server.port) as herd:
        watcher = server.watcher().enter()
        living = herd.join(20, TOPIC, beat=0.2)
        watcher.tell("/block", {"seconds": 1.5})
        watcher.until_probe(lambda now: now["counters"]["stalls"] >= 1, "it has noticed")
        herd.each(lambda member: member.command("SEND", destination=TOPIC, body="1"))
        assert server.ends() == []
        assert all(member.numbers == [1] * 20 for member in living)
        # And who falls silent afterwards is found as ever.
        silent = living.pop()
        herd.run(fall_silent(silent))
        assert server.wait_for_ends(1) == ["heart_beat_lost"]


async def fall_silent(member: Any) -> None:
    member._timer.cancel()


@both
def test_row_26_listeners_that_raise_and_one_that_never_ends(host: str, tmp_path: Path) -> None:
    limits = {"handler_timeout": 0.5}
    with (
        serve(host, tmp_path, limits=limits, raising_listeners=True, noise=RAISED) as server,
        Herd(server.port) as herd,
    ):
        watcher = server.watcher().enter()
        members = herd.join(20, TOPIC)
        watcher.tell("/publish", {"destination": TOPIC, "first": 1, "count": 50})
        herd.wait_for_numbers(50, members)
        assert all(member.numbers == list(range(1, 51)) for member in members)
        herd.reset(members[:10])
        # Two that raise for each of these, and one that hangs for each that connected.
        now = watcher.until_probe(
            lambda now: now["counters"]["listeners_failed"] >= 20 * 5 + 10 * 2 + 3 + 2,
            "all have failed",
        )
        assert now["counters"]["internal_errors"] == 0
        assert server.wait_for_ends(10) == ["connection_lost"] * 10
        assert SECRET in server.server.log
        nobody_else_noticed(server, watcher)


@both
def test_row_27_listeners_that_publish(host: str, tmp_path: Path) -> None:
    with serve(host, tmp_path, publishing_listeners=True) as server, Herd(server.port) as herd:
        watcher = server.watcher().enter()
        members = herd.join(40, TOPIC)
        assert watcher.probe()["counters"]["internal_errors"] == 0
        herd.wait_for_numbers(3, members)
        [first, *_] = sorted(members, key=lambda member: -len(member.heard))
        herd.wait_for_numbers(3 * 40, [first])
        # Each sees the end of what the first saw, in the same order: nothing was done inside of
        # something else. Whoever publishes does so in threes that are never mixed.
        whole = [body for _, body in first.heard if body]
        for member in members:
            own = [body for _, body in member.heard if body]
            assert own == whole[len(whole) - len(own) :]
            assert len(own) >= 3
        assert whole == ["s 0", "s 1", "s 2"] * 40
        assert server.ends() == []


@both
def test_row_36_garbage_collection_in_a_tight_loop(host: str, tmp_path: Path) -> None:
    with serve(host, tmp_path, heart_beat=(0.3, 0.3)) as server, Herd(server.port) as herd:
        watcher = server.watcher().enter()
        watcher.tell("/collect", {"on": True})
        members = herd.join(10, TOPIC, beat=0.3)
        workers = [server.watcher().enter() for _ in range(5)]
        for worker in workers:
            worker.tell("/wait", b"x")
        until(lambda: min(member.beats for member in members) >= 5, "heart-beats go on")
        assert watcher.ask("/wake") == [5]
        for worker in workers:
            assert worker.frame("MESSAGE").body == b'["done"]'
        herd.each(lambda member: member.command("SEND", destination=TOPIC, body="1"))
        assert server.ends() == []
        watcher.tell("/collect", {"on": False})
        assert watcher.probe()["counters"]["internal_errors"] == 0

"""A client that stops reading, and is left like that: the server frees what it holds, or the table
says that it does not.
"""

from __future__ import annotations

import time

import pytest
from carriers.shop import End
from carriers.stage import until
from hosts import Host
from stage import Open

KB60 = bytes(60_000)
MB = 1_000_000
TIGHT = {"send_queue": 262_144, "close_timeout": 1.0}


def test_a_client_that_reads_nothing_is_freed_with_all_it_held(open_shop: Open, host: Host) -> None:
    if not host.slows_down:
        pytest.skip("it takes everything: see below")
    stage = open_shop(TIGHT)
    slow, fast = stage.connect(), stage.connect()
    for client in (slow, fast):
        client.subscribe("/topic/say")
    stage.publish("/topic/say", KB60)
    assert fast.frame("MESSAGE").body == KB60
    before = stage.process()
    for _ in range(500):
        stage.publish("/topic/say", KB60)
        assert fast.frame("MESSAGE").body == KB60
        if stage.ends():
            break
    assert stage.next_end() == End("slow_consumer", 4008)
    until(lambda: stage.counters()["connections_open"] == 1, "the end of its connection")
    for _ in range(100):
        stage.publish("/topic/say", KB60)
        assert fast.frame("MESSAGE").body == KB60
    rested = stage.process()
    assert rested["memory"] - before["memory"] < 12 * MB
    # What spins uses the whole of a second; this is a measurement, and waits for nothing.
    time.sleep(1.0)
    assert stage.process()["cpu"] - rested["cpu"] < 0.5


def test_a_server_that_takes_everything_is_known_by_it(open_shop: Open, host: Host) -> None:
    if host.slows_down:
        pytest.skip("its send waits")
    stage = open_shop(TIGHT)
    slow = stage.connect()
    slow.subscribe("/topic/say")
    before = stage.process()["memory"]
    for _ in range(400):
        stage.publish("/topic/say", KB60)
    until(lambda: stage.process()["memory"] - before > 12 * MB, "most of 24 MB in its memory")
    assert stage.counters()["slow_consumers"] == 0
    assert stage.ends() == []


def test_a_slow_client_that_is_cut_is_freed_at_once(open_shop: Open, host: Host) -> None:
    stage = open_shop({"send_queue": 4 * MB, "max_total_queued": 64 * MB})
    client = stage.connect()
    client.subscribe("/topic/say")
    # More than kernel and server keep, less than would end it.
    stage.publish("/topic/say", KB60, count=100)
    client.pipe.reset()
    assert stage.next_end().reason == "connection_lost"
    until(lambda: stage.counters()["connections_open"] == 0, "the end of its connection")

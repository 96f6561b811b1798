"""Two workers behind one address are noticed; one never is."""

from __future__ import annotations

import re
import time

import pytest
from carriers.stage import until
from hosts import Host
from stage import Open, ServerStage

SOON = {"patience": 1.0}
SEVERAL = "several workers serve"


def in_both_workers(stage: ServerStage) -> None:
    """Open sessions until two processes have one."""

    def served() -> bool:
        stage.connect()
        return len(stage.serving()) == 2

    until(served, "a session in each of two workers")


def test_two_workers_warn_once(open_shop: Open, host: Host) -> None:
    if host.workers == "alone":
        pytest.skip("it has one process")
    stage = open_shop(SOON, workers=2)
    in_both_workers(stage)
    until(lambda: SEVERAL in stage.server.log, "the warning")
    time.sleep(1.5)  # Longer than it takes to warn again.
    assert stage.server.log.count(SEVERAL) == 1
    found = re.search(r"this is process (\d+), and process (\d+) does so too", stage.server.log)
    assert found is not None
    assert set(map(int, found.groups())) == stage.serving()


def test_a_second_worker_can_refuse(open_shop: Open, host: Host) -> None:
    if host.workers == "alone":
        pytest.skip("it has one process")
    stage = open_shop(SOON | {"workers": "refuse"}, workers=2)
    in_both_workers(stage)
    until(lambda: SEVERAL in stage.server.log, "the warning")
    refused = 503 if host.refuses_in_words else 403

    def answers() -> set[int]:
        found = set()
        for _ in range(20):
            client = stage.open()
            client.ask_upgrade()
            found.add(client.response()[0])
        return found

    until(lambda: answers() == {101, refused}, "one worker that takes sessions, one that does not")


def test_one_worker_never_warns(open_shop: Open, host: Host) -> None:
    stage = open_shop({"patience": 0.2})
    for _ in range(3):
        stage.connect()
    time.sleep(0.6)  # Three times as long as it would take.
    assert stage.counters()["sessions"] == 3
    assert SEVERAL not in stage.server.log

"""The control log at a worker: a message that cannot be taken keeps nothing of the others back."""

from __future__ import annotations

import logging

import pytest

from stocksync_ws.backplane import Item, Keep
from stocksync_ws.broker.model.control import CHANNEL
from tests.broker.cluster import Cluster


def put(cluster: Cluster, payload: bytes) -> None:
    """Put something into the log."""
    workers = cluster.worlds[0].broker._sessions.workers
    assert workers is not None
    world = cluster.worlds[0]
    message = Item(CHANNEL, payload, Keep(1_000, 60.0))
    world.broker._step.run(world.now, lambda: workers.append((message,), lambda settlement: None))
    cluster.connect(0)


def test_what_a_worker_of_another_version_tells_is_passed_over() -> None:
    with Cluster() as cluster:
        put(cluster, b'{"kind":"weather","worker":"w"}')
        peer = cluster.connect(1, "ann")
        cluster.apps[0].users.disconnect("ann")
        cluster.settle()
        assert peer.closed == 4503


@pytest.mark.parametrize("payload", [b"nothing", b"{}", b'{"kind":"order","worker":"w"}'])
def test_what_cannot_be_read_is_a_fault_and_the_rest_goes_on(
    payload: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with Cluster() as cluster, caplog.at_level(logging.CRITICAL, "stocksync_ws.broker"):
        put(cluster, payload)
        peer = cluster.connect(1, "ann")
        cluster.apps[0].users.disconnect("ann")
        cluster.settle()
        assert peer.closed == 4503
        for world in cluster.worlds:
            world.expect_faults(internal_errors=1)


def test_a_worker_without_a_presence_follows_it_too() -> None:
    with Cluster() as cluster:
        for world in cluster.worlds:
            workers = world.broker._sessions.workers
            assert workers is not None
            assert workers.is_live(CHANNEL)
            assert workers.living == {each.broker.worker for each in cluster.worlds}


def test_members_are_nothing_to_a_worker_without_a_presence() -> None:
    with Cluster() as cluster:
        put(cluster, b'{"kind":"gone","worker":"w","destination":"/topic/x","owner":"ann"}')
        assert [world.counters.internal_errors for world in cluster.worlds] == [0, 0]


def test_a_log_that_is_not_what_it_was_is_counted() -> None:
    with Cluster() as cluster:
        cluster.engine.restart()
        cluster.settle()
        assert cluster.worlds[0].counters.backplane_resets
        cluster.engine.restart(cluster.engine.engine.snapshot())
        cluster.settle()
        workers = cluster.worlds[0].broker._sessions.workers
        assert workers is not None
        assert workers.is_live(CHANNEL)

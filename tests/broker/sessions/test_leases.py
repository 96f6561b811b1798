"""Leases: which workers live, who declares one dead, and when that is void."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from stocksync_ws.backplane import BackplaneSettings
from stocksync_ws.broker.model.control import CHANNEL, Notice, notice, read_notice
from stocksync_ws.broker.sessions.leases import LEASE, RENEW, Leases
from tests.broker.cluster import Cluster


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(3, settings=BackplaneSettings(max_outage=None)) as cluster:
        yield cluster


def leases(cluster: Cluster, worker: int) -> Leases:
    found = cluster.worlds[worker].broker._sessions.leases
    assert found is not None
    return found


def living(cluster: Cluster, worker: int) -> set[str]:
    """The workers that one takes for alive."""
    workers = cluster.worlds[worker].broker._sessions.workers
    assert workers is not None
    assert workers.living is not None
    return workers.living


def name(cluster: Cluster, worker: int) -> str:
    return cluster.worlds[worker].broker.worker


def told(cluster: Cluster, kind: Notice) -> list[Any]:
    """What the log has of a kind."""
    entries = cluster.engine.engine._channels[CHANNEL].entries.values()
    found = (read_notice(entry[1]) for entry in entries)
    return [each[2] for each in found if each is not None and each[0] is kind]


def put(cluster: Cluster, kind: Notice, **facts: object) -> None:
    """Have the first worker tell something."""
    world = cluster.worlds[0]
    workers = world.broker._sessions.workers
    assert workers is not None
    message = notice(kind, name(cluster, 0), "test", **facts)
    world.broker._step.run(world.now, lambda: workers.append((message,), lambda settlement: None))
    cluster.connect(0)


def test_all_workers_know_each_other_and_each_has_one_message_in_the_log(cluster: Cluster) -> None:
    for _ in range(3):
        everybody = {name(cluster, worker) for worker in range(3)}
        assert all(living(cluster, worker) == everybody for worker in range(3))
        found = told(cluster, Notice.LEASE)
        assert [each["seconds"] for each in found] == [LEASE] * 3
        assert {each["worker"] for each in found} == everybody
        cluster.advance(RENEW * 3)
    assert told(cluster, Notice.DEAD) == []


def test_a_worker_that_dies_is_declared_dead_once_by_one_of_the_others(cluster: Cluster) -> None:
    dead = name(cluster, 0)
    cluster.kill(0)
    cluster.advance(LEASE - RENEW - 1)
    assert dead in living(cluster, 1)
    cluster.advance(RENEW * 2)
    assert dead not in living(cluster, 1) | living(cluster, 2)
    (declared,) = told(cluster, Notice.DEAD)
    assert declared["dead"] == dead
    top = cluster.engine.engine._channels[CHANNEL].top
    cluster.advance(RENEW * 6)
    assert cluster.engine.engine._channels[CHANNEL].top == top + 12  # signs of life, and no more


def test_a_death_is_void_where_something_of_that_worker_came_before(cluster: Cluster) -> None:
    last = leases(cluster, 1)._known[name(cluster, 2)].last
    cluster.link(2).lose()
    epoch = cluster.engine.engine._channels[CHANNEL].epoch
    put(cluster, Notice.DEAD, dead=name(cluster, 2), epoch=epoch, last=last - 1)
    put(cluster, Notice.DEAD, dead=name(cluster, 2), epoch="of old", last=1_000)
    assert name(cluster, 2) in living(cluster, 1)
    put(cluster, Notice.DEAD, dead=name(cluster, 2), epoch=epoch, last=last)
    put(cluster, Notice.DEAD, dead="nobody", epoch=epoch, last=100)
    assert name(cluster, 2) not in living(cluster, 1)
    assert name(cluster, 2) in living(cluster, 2)
    cluster.link(2).connect()
    cluster.settle()
    assert name(cluster, 2) in living(cluster, 1)  # it has read of it, and lives


def test_who_is_cut_off_judges_nobody_and_gives_all_a_whole_lease_when_it_is_back(
    cluster: Cluster,
) -> None:
    cluster.link(1).lose()
    cluster.kill(0)
    cluster.link(2).lose()
    cluster.advance(LEASE * 3)
    assert told(cluster, Notice.DEAD) == []
    cluster.link(1).connect()
    cluster.advance(LEASE - 1)
    assert [each["dead"] for each in told(cluster, Notice.DEAD)] == []
    cluster.advance(2)
    dead = {each["dead"] for each in told(cluster, Notice.DEAD)}
    assert dead == {name(cluster, 0), name(cluster, 2)}
    cluster.link(2).connect()
    cluster.advance(1)
    assert living(cluster, 1) == living(cluster, 2) == {name(cluster, 1), name(cluster, 2)}


def test_an_engine_that_refuses_everything_stops_nobodys_clock(cluster: Cluster) -> None:
    cluster.engine.engine.refuses = "out of memory"
    cluster.advance(LEASE * 3)
    assert all(len(living(cluster, worker)) == 3 for worker in range(3))
    cluster.engine.engine.refuses = ""
    cluster.advance(LEASE * 2)
    assert told(cluster, Notice.DEAD) == []
    assert all(len(living(cluster, worker)) == 3 for worker in range(3))


def test_a_loop_that_stood_still_is_nobody_elses_silence(cluster: Cluster) -> None:
    asleep, others = cluster.worlds[1], [cluster.worlds[0], cluster.worlds[2]]
    for _ in range(40):
        for world in others:
            world.advance(1)
    asleep.stall(40)
    cluster.settle()
    assert {each["dead"] for each in told(cluster, Notice.DEAD)} <= {asleep.broker.worker}
    cluster.advance(1)
    assert all(len(living(cluster, worker)) == 3 for worker in range(3))


def test_a_worker_that_stops_says_how_long_it_may_be_missed(cluster: Cluster) -> None:
    peer = cluster.worlds[0].connect()
    stopped = cluster.worlds[0]
    stopped.broker.stop(stopped.now)
    cluster.link(0).lose()
    cluster.link(0).connect()
    cluster.worlds.pop(0).close()
    cluster.settle()
    assert peer.closed == 1012
    (last,) = [
        each for each in told(cluster, Notice.LEASE) if each["worker"] == stopped.broker.worker
    ]
    assert last["seconds"] == stopped.runtime.config.limits.presence_grace + 1 / 200
    cluster.advance(4)
    assert stopped.broker.worker in living(cluster, 0)
    cluster.advance(4)
    assert stopped.broker.worker not in living(cluster, 0)


def test_a_restart_of_the_engine_makes_nobody_older(cluster: Cluster) -> None:
    cluster.advance(LEASE)
    cluster.engine.restart()
    cluster.settle()
    top = cluster.engine.engine._channels[CHANNEL].top
    assert all(lease.last <= top for lease in leases(cluster, 0)._known.values())
    cluster.advance(LEASE * 2)
    assert told(cluster, Notice.DEAD) == []

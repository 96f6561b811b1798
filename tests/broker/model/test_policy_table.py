"""Which policy a destination has."""

from __future__ import annotations

from stocksync_ws import Queue, Stream, Topic
from stocksync_ws.broker.model.namespace import Namespace
from stocksync_ws.broker.model.policy_table import QUEUE, TOPIC, PolicyTable
from stocksync_ws.config import BrokerConfig

EXACT, ANY, JOBS = Stream(history=1), Stream(history=2), Queue(local=True)
CONFIG = BrokerConfig(
    destinations={"/topic/a": EXACT, "/topic/**": ANY, "/queue/jobs": JOBS},
)


def test_the_first_pattern_that_matches_counts() -> None:
    table = PolicyTable(CONFIG, Namespace(CONFIG))
    assert table.of("/topic/a") is EXACT
    assert table.of("/topic/a/b") is ANY
    assert table.of("/queue/jobs") is JOBS
    assert table.of("/queue/other") is QUEUE


def test_what_is_a_user_s_own_is_an_ordinary_topic() -> None:
    table = PolicyTable(CONFIG, Namespace(CONFIG))
    assert table.of(("ann", "/topic/a")) is TOPIC
    assert table.of(("ann", "/queue/jobs")) is TOPIC
    assert not table.is_queue(("ann", "/queue/jobs"))
    assert isinstance(TOPIC, Topic)

"""What Redis says of itself."""

from __future__ import annotations

import pytest

from stocksync_ws import ConfigurationError
from stocksync_ws.redis.facts import check_version, facts_of

INFO = (
    b"# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nrun_id:abc\r\n"
    b"# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n"
    b"# Replication\r\nmaster_replid:def\r\n"
)


def test_a_run_is_the_process_and_its_place_among_replicas() -> None:
    facts = facts_of(INFO)
    assert facts.run == "abc:def"
    assert facts.version == (7, 0)
    assert not facts.is_cluster
    assert facts_of(INFO.replace(b"def", b"xyz")).run != facts.run


def test_what_makes_room_is_told_only_where_there_is_a_bound() -> None:
    assert facts_of(INFO).evicts == ""
    bounded = INFO.replace(b"maxmemory:0", b"maxmemory:1000")
    assert facts_of(bounded).evicts == "allkeys-lru"
    assert facts_of(bounded.replace(b"allkeys-lru", b"noeviction")).evicts == ""


@pytest.mark.parametrize(
    ("version", "mode", "fits"),
    [
        ("6.2.0", "standalone", True),
        ("6.0.20", "standalone", False),
        ("6.2.0", "cluster", False),
        ("7.0.0", "cluster", True),
        ("8.2.1", "sentinel", True),
    ],
)
def test_a_version_that_is_too_old_is_told(version: str, mode: str, fits: bool) -> None:
    info = INFO.decode().replace("7.0.15", version).replace("standalone", mode)
    if fits:
        check_version(facts_of(info))
    else:
        with pytest.raises(ConfigurationError, match=r"is too old: .* or later is needed"):
            check_version(facts_of(info))

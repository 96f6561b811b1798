"""What Redis says of itself."""

from __future__ import annotations

import pytest

from stocksync_ws import ConfigurationError
from stocksync_ws.redis.facts import check_version, facts_of

INFO = (
    b"# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nrun_id:abc\r\n"
    b"# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n"
)


def test_what_redis_says_is_read() -> None:
    facts = facts_of(INFO)
    assert facts.process == "abc"
    assert facts.version == (7, 0)
    assert not facts.is_cluster


@pytest.mark.parametrize("name", [b"redis_mode", b"server_mode"])
def test_a_cluster_is_known_by_what_redis_and_valkey_call_it(name: bytes) -> None:
    info = INFO.replace(b"redis_mode:standalone", name + b":cluster")
    assert facts_of(info).is_cluster


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

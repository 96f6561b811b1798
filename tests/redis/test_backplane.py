"""The settings of the engine: what is wrong is told where it is written."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from redis import Redis
from redis import asyncio as redis_asyncio

from stocksync_ws import ConfigurationError, StompApp
from stocksync_ws.redis import RedisBackplane


def test_the_defaults_are_those_of_every_engine() -> None:
    made = RedisBackplane("redis://cache:6379/0", prefix="shop", publish_timeout=3.0)
    assert made.config is made
    assert made.publish_timeout == 3.0
    assert made.max_in_flight == 10_000
    StompApp("/ws", backplane=made)


def test_a_password_is_shown_nowhere() -> None:
    assert "secret" not in repr(RedisBackplane("redis://:secret@cache:6379/0"))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, r'RedisBackplane: needs a URL: write RedisBackplane\("redis://localhost'),
        ({"url": "cache:6379"}, "what it was given is no URL of Redis"),
        ({"url": "http://:secret@cache"}, "one of http is no URL of Redis"),
        ({"url": 7}, "no URL of Redis"),
        ({"url": "redis://a:port"}, "the URL cannot be used: its host, port or a value"),
        ({"url": "redis://a:99999"}, "the URL cannot be used: its"),
        ({"url": "redis://a/shop"}, "a database has a number"),
        ({"url": "redis://a/0?db=x"}, "a value behind [?] cannot be read"),
        ({"url": "redis://a/0?foo=1"}, "behind [?] .*'foo'"),
        ({"url": "redis://:p@secret#1@a:1/0"}, "write %23 for #"),
        ({"url": "redis-sentinel://cache"}, "for Sentinel give redis="),
        ({"redis": Redis()}, "redis= must be a redis.asyncio"),
        ({"url": "redis://a", "redis": redis_asyncio.Redis()}, "not both"),
        ({"url": "redis://a", "prefix": ""}, "prefix: must be a text like 'shop'"),
        ({"url": "redis://a", "prefix": "{a}"}, "without blanks and braces"),
        ({"url": "redis://a", "silence": -1}, "silence: must be a number of seconds above 0"),
        ({"url": "redis://a", "max_in_flight": 0}, "max_in_flight"),
        ({"url": "redis://a", "require_at_start": 1}, "require_at_start: must be True or False"),
        ({"url": "redis://a", "on_policy_mismatch": "no"}, "must be 'error' or 'warn'"),
    ],
)
def test_a_wrong_setting_is_told(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text) as told:
        RedisBackplane(**arguments)
    assert "secret" not in str(told.value)


def test_without_the_extra_it_is_told_what_to_install() -> None:
    lines = "import sys; sys.modules['redis'] = None\nimport stocksync_ws.redis"
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True)
    assert done.returncode == 1
    assert "ImportError: stocksync_ws.redis needs the packages redis and hiredis" in done.stderr
    assert "pip install 'stocksync-ws[redis]'" in done.stderr


def test_the_package_itself_needs_no_redis() -> None:
    lines = "import sys, stocksync_ws; print('redis' in sys.modules, 'hiredis' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"]

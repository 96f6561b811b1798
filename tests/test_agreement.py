"""What workers must agree about: nothing that decides about a message is left out."""

from __future__ import annotations

import json
import re
from dataclasses import fields

import pytest

from stocksync_ws import BackplaneSettings, Latest, Queue, Stream, Topic
from stocksync_ws.agreement import agreement_of, config_of, differences, repair_of
from stocksync_ws.config import BrokerConfig, Limits
from stocksync_ws.policies import DestinationPolicy
from stocksync_ws.testing import MemoryBackplane

CONFIG = BrokerConfig(
    broker_prefixes=("/topic", "/queue", "/feed"),
    user_prefix="/me",
    destinations={
        "/topic/a": Stream(history=7, seconds=90.0, on_subscribe=3),
        "/topic/b/*": Latest(key="sku"),
        "/topic/**": Topic(overflow="drop_oldest", flush_delay=0.002),
        "/queue/jobs": Queue(local=True, retry=(0.0, 5.0)),
    },
    limits=Limits(max_keys=77),
    backplane=MemoryBackplane(BackplaneSettings(repair_messages=50, repair_seconds=9.0)),
)


def test_what_was_written_is_read_as_it_was() -> None:
    text = agreement_of(CONFIG)
    read = config_of(text, backplane=CONFIG.backplane)
    assert read.destinations == CONFIG.destinations
    assert list(read.destinations) == list(CONFIG.destinations)
    for name in ("application_prefixes", "broker_prefixes", "queue_prefixes", "user_prefix"):
        assert getattr(read, name) == getattr(CONFIG, name)
    assert read.limits.max_keys == 77
    assert agreement_of(read) == text
    assert repair_of(text) == {"repair_messages": 50, "repair_seconds": 9.0}


@pytest.mark.parametrize("kind", [Topic, Stream, Latest, Queue])
def test_every_field_of_a_policy_is_in_it(kind: type[DestinationPolicy]) -> None:
    pattern = "/queue/a" if kind is Queue else "/topic/a"
    ((_, _, written),) = json.loads(agreement_of(BrokerConfig(destinations={pattern: kind()})))[
        "destinations"
    ]
    assert set(written) == {field.name for field in fields(kind)}


def test_equal_settings_differ_in_nothing() -> None:
    assert differences(agreement_of(CONFIG), agreement_of(CONFIG)) == ""


@pytest.mark.parametrize(
    ("here", "there", "text"),
    [
        (
            {"/topic/a": Stream(history=7)},
            {"/topic/a": Stream(history=8)},
            r"^destinations\['/topic/a'\]: here Stream\(history=7\), there Stream\(history=8\)$",
        ),
        (
            {"/topic/a": Topic()},
            {"/topic/a": Latest()},
            "here Topic",
        ),
        ({"/topic/a": Topic()}, {}, r"here Topic\(.*\), there none"),
        ({}, {"/topic/a": Topic()}, r"here none, there Topic"),
        (
            {"/topic/a": Topic(), "/topic/*": Stream()},
            {"/topic/*": Stream(), "/topic/a": Topic()},
            "another order",
        ),
    ],
)
def test_what_differs_is_named(
    here: dict[str, DestinationPolicy], there: dict[str, DestinationPolicy], text: str
) -> None:
    found = differences(
        agreement_of(BrokerConfig(destinations=here)),
        agreement_of(BrokerConfig(destinations=there)),
    )
    assert found

    assert re.search(text, found), found


def test_a_prefix_that_differs_is_named() -> None:
    other = BrokerConfig(user_prefix="/me")
    found = differences(agreement_of(BrokerConfig()), agreement_of(other))
    assert found == "user_prefix: here '/user', there '/me'"


@pytest.mark.parametrize("text", ["", "no JSON", "[]", '{"format":1}'])
def test_what_cannot_be_read_is_told(text: str) -> None:
    assert "cannot be read" in differences(agreement_of(BrokerConfig()), text)
    with pytest.raises(ValueError, match="another version"):
        config_of(text)
    assert repair_of(text) == {}

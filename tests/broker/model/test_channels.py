"""Channels: one for each destination, and what is kept of it."""

from __future__ import annotations

import pytest

from stocksync_ws import BackplaneSettings, Latest, Queue, Stream, Topic
from stocksync_ws.backplane import Keep
from stocksync_ws.broker.model.channels import (
    channel_of,
    channel_of_worker,
    destination_in,
    keep_of,
)
from stocksync_ws.broker.model.destination import Address
from stocksync_ws.policies import Policy

SETTINGS = BackplaneSettings(repair_messages=40, repair_seconds=30.0)


def test_two_addresses_have_two_channels() -> None:
    addresses: list[Address] = [
        "/topic/a",
        ("ann", "/queue/a"),
        ("a", "/b/c"),
        ("a/b", "/c"),
        ("1:a", "/b"),
        "/reply-queue/w1.token",
    ]
    assert len({channel_of(each) for each in addresses}) == len(addresses)


def test_a_message_to_a_reply_queue_says_to_which() -> None:
    assert destination_in("/reply-queue/w1.token") == "/reply-queue/w1.token"
    assert destination_in("/topic/a") == destination_in(("ann", "/reply-queue/w1.token")) == ""


def test_a_reply_queue_is_in_the_channel_of_its_worker() -> None:
    assert channel_of("/reply-queue/w1.token") == channel_of_worker("w1")
    assert channel_of("/reply-queue/w1.other") == channel_of_worker("w1")


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        (Topic(), Keep(40, 30.0)),
        (Queue(local=True), Keep(40, 30.0)),
        (Stream(history=10, seconds=5.0), Keep(40, 30.0)),
        (Stream(history=100, seconds=90.0), Keep(100, 90.0)),
        (Latest(key="sku"), Keep(9, 1e12, "kettle")),
        (Latest(key="other"), Keep(9, 1e12, "/topic/a")),
    ],
)
def test_a_channel_keeps_the_history_and_enough_to_repair_a_gap(policy: Policy, kept: Keep) -> None:
    headers = (("sku", "kettle"), ("sku", "lamp"))
    assert keep_of(policy, headers, "/topic/a", SETTINGS, 9) == kept

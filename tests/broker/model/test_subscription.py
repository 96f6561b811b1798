"""Subscriptions as records: what a new one is, whom it tells, and what a session remembers."""

from __future__ import annotations

from typing import Any

import pytest

from stocksync_ws import policies
from stocksync_ws.broker.model.ledger import AckMode, Ledger
from stocksync_ws.broker.model.log import ByteCounter
from stocksync_ws.broker.model.subscription import Reader, Subscriptions
from stocksync_ws.broker.model.topic import Topic
from stocksync_ws.stomp.frame import Version
from tests.broker.kit import record


class Left:
    """Where topics are acted on: who left."""

    def __init__(self) -> None:
        self.readers: list[Reader] = []

    def leave(self, reader: Reader) -> None:
        self.readers.append(reader)


def reader(keeper: Any, mode: AckMode = AckMode.AUTO) -> Reader:
    session = record()
    session.version = Version.V12
    ledger = None if mode is AckMode.AUTO else Ledger(mode, 9, by_message_id=False)
    topic = Topic("/topic/a", policies.Topic(), ByteCounter(), keeper)
    return Reader(session, "s", "/topic/as-the-client-named-it", topic, mode, ledger)


def test_a_new_reader_has_its_group_and_is_neither_live_nor_behind() -> None:
    made = reader(Left())
    topic = made.topic
    assert topic.groups == {made.group.key: made.group}
    assert not made.group.members
    assert not topic.behind
    assert made.session.subscriptions.behind is None
    assert not any((made.ended, made.blocked, made.unrecovered, made.dropped))


@pytest.mark.parametrize(
    ("mode", "acking"), [(AckMode.AUTO, 0), (AckMode.CLIENT, 1), (AckMode.INDIVIDUAL, 1)]
)
def test_its_topic_counts_those_that_acknowledge(mode: AckMode, acking: int) -> None:
    assert reader(Left(), mode).topic.acking == acking


def test_whoever_ends_it_need_not_know_its_kind() -> None:
    left = Left()
    made = reader(left)
    made.opened()  # it goes on with the next flush, and nothing is asked
    assert left.readers == []
    made.leave()
    assert left.readers == [made]


REMEMBERED = [("remember_refused", "refused_ids"), ("remember_auto", "ended_auto")]


@pytest.mark.parametrize(("remember", "keys"), REMEMBERED)
class TestRemembered:
    def test_a_session_that_had_none_keeps_nothing(self, remember: str, keys: str) -> None:
        assert getattr(Subscriptions(), keys) is None

    def test_the_newest_are_remembered_and_no_more_than_may_be(
        self, remember: str, keys: str
    ) -> None:
        made = Subscriptions()
        for key in "abc":
            getattr(made, remember)(key, 2)
        assert list(getattr(made, keys)) == ["b", "c"]

    def test_what_happens_again_is_the_newest_and_takes_no_more_room(
        self, remember: str, keys: str
    ) -> None:
        made = Subscriptions()
        for key in "abac":
            getattr(made, remember)(key, 2)
        assert list(getattr(made, keys)) == ["a", "c"]


def test_what_is_refused_and_what_has_ended_are_remembered_apart() -> None:
    made = Subscriptions()
    made.remember_refused("a", 9)
    made.remember_auto("b", 9)
    assert (made.refused_ids, made.ended_auto) == ({"a": None}, {"b": None})

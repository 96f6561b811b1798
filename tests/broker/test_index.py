"""Groups of equal receivers, joined and left in O(1)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from stocksync_ws.broker.index import Index
from stocksync_ws.broker.session import Subscription
from stocksync_ws.stomp.frame import Version


class _Session:
    def __init__(self, version: Version, key: str) -> None:
        self.version = version
        self.wire = SimpleNamespace(key=key)


def join(
    index: Index,
    destination: Any = "/topic/a",
    subscription_id: str | None = "s1",
    version: Version = Version.V12,
    key: str = "websocket",
) -> Subscription:
    made: Any = _Session(version, key)
    subscription = Subscription(made, subscription_id, "/topic/a")
    index.join(destination, subscription)
    return subscription


def test_equal_receivers_share_a_group_and_its_head() -> None:
    index = Index()
    one, two = join(index), join(index)
    [group] = index.groups("/topic/a")
    assert list(group.members) == [one.session, two.session]
    assert group.head == b"MESSAGE\nsubscription:s1\n"
    assert (index.size, len(index)) == (2, 1)


def test_what_makes_bytes_differ_makes_groups_differ() -> None:
    index = Index()
    join(index)
    join(index, subscription_id="s:2")
    join(index, subscription_id=None, version=Version.V10)
    join(index, version=Version.V11)
    join(index, key="sockjs")
    heads = [group.head for group in index.groups("/topic/a")]
    assert heads == [
        b"MESSAGE\nsubscription:s1\n",
        b"MESSAGE\nsubscription:s\\c2\n",
        b"MESSAGE\n",
        b"MESSAGE\nsubscription:s1\n",
        b"MESSAGE\nsubscription:s1\n",
    ]


def test_nobody_there_is_no_group() -> None:
    assert list(Index().groups("/topic/a")) == []


def test_leaving_takes_empty_groups_and_destinations_away() -> None:
    index = Index()
    one, two, three = join(index), join(index, subscription_id="s2"), join(index, "/topic/b")
    index.leave(one)
    assert len(list(index.groups("/topic/a"))) == 1
    index.leave(two)
    assert len(index) == 1
    index.leave(three)
    assert (index.size, len(index)) == (0, 0)


def test_one_of_two_leaves_and_the_other_stays() -> None:
    index = Index()
    one, two = join(index), join(index)
    index.leave(one)
    [group] = index.groups("/topic/a")
    assert list(group.members) == [two.session]
    assert one.group is None


def test_leaving_twice_or_without_having_joined_is_nothing() -> None:
    index = Index()
    one = join(index)
    index.leave(one)
    index.leave(one)
    index.leave(Subscription(one.session, "x", "/app/x"))
    assert index.size == 0


def test_an_address_of_a_user_is_no_path() -> None:
    index = Index()
    join(index, ("a/queue/x", "/queue/y"))
    assert list(index.groups(("a", "/queue/x/queue/y"))) == []
    assert len(list(index.groups(("a/queue/x", "/queue/y")))) == 1

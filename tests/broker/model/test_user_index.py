"""Sessions by the names of their users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stocksync_ws.broker.model.user_index import UserIndex


@dataclass(frozen=True)
class User:
    name: str


class Someone:
    def __init__(self, name: str | None) -> None:
        self.user = None if name is None else User(name)


def test_a_user_stands_in_it_while_one_session_does() -> None:
    index, first, second = UserIndex(), Someone("ann"), Someone("ann")
    given: list[Any] = [first, second]
    for each in given:
        index.add(each)
    assert index.of("ann") == [first, second]
    index.remove(given[0])
    assert index.of("ann") == [second]
    index.remove(given[1])
    assert index.of("ann") == []
    assert index.connected == {}


def test_who_is_nobody_stands_nowhere() -> None:
    index = UserIndex()
    nobody: Any = Someone(None)
    index.add(nobody)
    index.remove(nobody)
    assert index.connected == {}


def test_a_session_that_was_never_in_it_takes_nobody_out() -> None:
    index = UserIndex()
    ann, stranger, bob = (Someone("ann"), Someone("ann"), Someone("bob"))
    given: list[Any] = [ann, stranger, bob]
    index.add(given[0])
    index.remove(given[1])
    index.remove(given[2])
    assert index.of("ann") == [ann]

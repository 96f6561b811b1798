"""Sessions by the names of their users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.user_index import UserIndex
from tests.broker.kit import record


@dataclass(frozen=True)
class User:
    name: str


def someone(name: str | None) -> SessionRecord:
    made = record()
    made.user = None if name is None else User(name)
    return made


def test_a_user_stands_in_it_while_one_session_does() -> None:
    index, first, second = UserIndex(), someone("ann"), someone("ann")
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
    nobody: Any = someone(None)
    index.add(nobody)
    index.remove(nobody)
    assert index.connected == {}


def test_a_session_that_was_never_in_it_takes_nobody_out() -> None:
    index = UserIndex()
    ann, stranger, bob = (someone("ann"), someone("ann"), someone("bob"))
    given: list[Any] = [ann, stranger, bob]
    index.add(given[0])
    index.remove(given[1])
    index.remove(given[2])
    assert index.of("ann") == [ann]

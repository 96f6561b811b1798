"""Credentials: when the session is told, and what the header says."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from stocksync_ws.broker.model.credentials import MOST, Credentials
from stocksync_ws.types import HttpRequest

UPGRADE = HttpRequest("GET", "/ws")


@dataclass(frozen=True)
class User:
    name: str


def given(expires_in: float | None, now: float) -> Credentials:
    made = Credentials(User("ann"), expires_in, request=UPGRADE)
    made.begin(now)
    return made


def test_without_an_end_nothing_is_due() -> None:
    made = given(None, 100.0)
    assert (made.due_at, made.left(1e9), made.ended(1e9)) == (None, None, False)


@pytest.mark.parametrize(
    ("life", "told_at"), [(3_600.0, 3_540.0), (120.0, 60.0), (119.0, 59.5), (1.0, 0.5)]
)
def test_it_is_told_a_minute_before_and_of_a_short_life_at_half(
    life: float, told_at: float
) -> None:
    made = given(life, 100.0)
    assert made.due_at == 100.0 + told_at
    made.tell_at = None
    assert made.due_at == 100.0 + life


def test_the_end_itself_is_behind_it() -> None:
    made = given(10.0, 100.0)
    assert not made.ended(109.999)
    assert made.ended(110.0)


@pytest.mark.parametrize(
    ("at", "left"), [(100.0, 10), (100.1, 9), (109.9, 0), (110.0, 0), (500.0, 0)]
)
def test_what_is_left_is_whole_seconds_and_never_more_than_there_are(at: float, left: int) -> None:
    assert given(10.0, 100.0).left(at) == left


def test_an_end_that_is_far_away_has_a_number_that_clients_can_read() -> None:
    assert given(1e300, 100.0).left(100.0) == MOST

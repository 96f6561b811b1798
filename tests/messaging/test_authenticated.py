"""`Authenticated`: what is wrong with it is said where it is made."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, dataclass
from datetime import timedelta
from typing import Any

import pytest

from stocksync_ws import Authenticated


@dataclass(frozen=True)
class User:
    name: str


ANN = User("ann")


def test_the_user_alone_is_enough() -> None:
    made = Authenticated(ANN)
    assert (made.user, made.expires_in, made.roles) == (ANN, None, ())


def test_everything_that_fits_is_kept_as_it_is() -> None:
    made = Authenticated(ANN, 1.5, {"admin"})
    assert (made.expires_in, made.roles) == (1.5, {"admin"})
    assert Authenticated(ANN, math.inf).expires_in == math.inf
    assert Authenticated(ANN, -1).expires_in == -1


def test_it_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Authenticated(ANN).expires_in = 7  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def test_there_has_to_be_a_user() -> None:
    nobody: Any = None
    with pytest.raises(TypeError, match="for an anonymous session return None alone"):
        Authenticated(nobody)


@pytest.mark.parametrize("given", ["300", True, timedelta(seconds=300), 3j, b"3"])
def test_an_end_is_a_number_of_seconds(given: Any) -> None:
    with pytest.raises(TypeError, match="expires_in must be a number of seconds, not"):
        Authenticated(ANN, given)


def test_an_end_that_is_nan_would_never_come() -> None:
    with pytest.raises(ValueError, match="expires_in is NaN"):
        Authenticated(ANN, math.nan)


@pytest.mark.parametrize("given", ["admin", b"admin", None, 7, [7], {None}])
def test_roles_are_texts(given: Any) -> None:
    with pytest.raises(TypeError, match=r"roles must be a set of texts.*write \{'admin'\}"):
        Authenticated(ANN, roles=given)

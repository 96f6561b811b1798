"""Owners: how much each may hold, and when it is forgotten."""

from __future__ import annotations

import pytest

from stocksync_ws.broker.model.owner import Owner, Owners
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.config import Limits
from tests.broker.kit import User, environment, record

LIMITS = Limits(max_stored=1_000, max_queues=30, max_streams=5, idempotency_keys=100)
SHARE = "Limits.owner_share=0.1 of Limits."
HALF = "the half of all anonymous clients of Limits."


def session(name: str | None = None) -> SessionRecord:
    made = record(environment())
    made.user = None if name is None else User(name)
    return made


def owner(name: str | None = "ann", owners: Owners | None = None) -> Owner:
    return (owners or Owners(LIMITS)).of(session(name))


class TestOf:
    def test_a_user_is_one_owner_whatever_its_sessions(self) -> None:
        owners = Owners(LIMITS)
        one, two, other = (session(name) for name in ("ann", "ann", "bob"))
        assert owners.of(one) is owners.of(two) is one.account
        assert owners.of(other) is not owners.of(one)
        assert owners.of(one).crowd is None

    def test_an_anonymous_session_is_one_of_a_crowd(self) -> None:
        owners = Owners(LIMITS)
        one, two = session(), session()
        assert owners.of(one) is not owners.of(two)
        assert owners.of(one).crowd is owners.of(two).crowd is owners.anonymous

    def test_a_user_lives_as_long_as_something_of_it_does(self) -> None:
        owners = Owners(LIMITS)
        one, two, three = (session("ann") for _ in range(3))
        kept = owners.of(one)
        kept.store(10)
        one.account = None
        assert owners.of(two) is kept
        two.account = None
        del kept
        assert owners.of(three).stored == 0


class TestShares:
    @pytest.mark.parametrize(
        ("what", "limit", "most"),
        [
            ("stored", "max_stored=1000", 100),
            ("queues", "max_queues=30", 3),
            ("keys", "idempotency_keys=100", 10),
        ],
    )
    def test_it_may_hold_its_share_and_no_more(self, what: str, limit: str, most: int) -> None:
        made = owner()
        assert made.refusal(what, most) == ""
        if what == "stored":
            made.store(most - 1)
        else:
            made.own(most - 1, what)
        assert made.refusal(what, 1) == ""
        assert made.refusal(what, 2) == f"{SHARE}{limit}, got {most + 1}"
        assert made.refusal(what, 0) == ""

    def test_who_holds_nothing_may_have_one_whatever_the_share(self) -> None:
        made = owner()
        assert made.refusal("stored", 5_000) == ""
        assert made.refusal("stored", 5_000, one=False) == f"{SHARE}max_stored=1000, got 5000"
        assert made.refusal("streams", 1) == ""
        made.own(1, "streams")
        assert made.refusal("streams", 1) == f"{SHARE}max_streams=5, got 2"

    def test_who_holds_more_already_may_replace_it_by_less(self) -> None:
        made = owner()
        made.store(5_000)
        assert made.refusal("stored", -10) == ""
        assert made.refusal("stored", 1)

    def test_all_anonymous_sessions_together_may_hold_a_half(self) -> None:
        owners = Owners(LIMITS)
        crowd = [owner(None, owners) for _ in range(6)]
        for each in crowd[:5]:
            each.store(100)
            each.own(10, "keys")
        assert (owners.anonymous.stored, owners.anonymous.keys) == (500, 50)
        assert crowd[5].refusal("stored", 1) == f"{HALF}max_stored=1000, got 501"
        assert crowd[5].refusal("keys", 1) == f"{HALF}idempotency_keys=100, got 51"
        assert owner("ann", owners).refusal("stored", 100) == ""
        crowd[0].store(-100)
        assert crowd[5].refusal("stored", 1) == ""

    def test_a_share_that_rounding_makes_smaller_is_none_the_less_whole(self) -> None:
        limits = Limits(owner_share=0.29, max_queues=100)
        made = owner(owners=Owners(limits))
        made.own(28, "queues")
        assert made.refusal("queues", 1) == ""
        assert made.refusal("queues", 2)

    def test_what_is_in_the_share_for_sure(self) -> None:
        owners = Owners(LIMITS)
        ann, peer = owner("ann", owners), owner(None, owners)
        for made in (ann, peer):
            made.store(60)
            assert made.may_store(40)
            assert not made.may_store(41)
        owners.anonymous.store(430)
        assert peer.may_store(10)
        assert not peer.may_store(11)

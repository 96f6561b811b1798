"""Buckets against a naive oracle, and who has which."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stocksync_ws import Rate
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.rate import Bucket, Buckets, seconds_left
from stocksync_ws.broker.model.session import SessionRecord
from tests.broker.kit import User, environment, record


class Oracle:
    """Counts frames as one would by hand, in fractions: refilled, capped, taken one by one."""

    def __init__(self, rate: Rate) -> None:
        self.per_second = Fraction(rate.per_second)
        self.burst = rate.burst
        self.frames = Fraction(rate.burst)
        self.at = Fraction(0)

    def refill(self, now: float) -> None:
        passed = Fraction(now) - self.at
        self.frames = min(Fraction(self.burst), self.frames + passed * self.per_second)
        self.at = Fraction(now)

    def wait(self) -> Fraction:
        """Seconds until there is a frame."""
        return max(Fraction(0), (1 - self.frames) / self.per_second)


def session(env: Environment, name: str | None) -> SessionRecord:
    made = record(env)
    made.user = None if name is None else User(name)
    return made


RATES = st.builds(Rate, st.sampled_from([0.125, 0.5, 1, 2, 8, 64]), st.integers(1, 6))
GAPS = st.integers(0, 40).map(lambda eighths: eighths / 8)
STEPS = st.lists(
    st.tuples(
        GAPS,
        st.sampled_from(["a", "a again", "b", "nobody", "nobody else"]),
        st.sampled_from(["send", "send", "send", "leave"]),
    ),
    max_size=60,
)


@given(own=st.none() | RATES, shared=st.none() | RATES, steps=STEPS)
def test_a_bucket_admits_what_counting_by_hand_admits(
    own: Rate | None, shared: Rate | None, steps: list[tuple[float, str, str]]
) -> None:
    """Powers of two, so that there is nothing to round."""
    env, now = environment(), 0.0
    buckets = Buckets(own, shared, 100)
    live: dict[str, SessionRecord] = {}
    of_session: dict[str, Oracle] = {}
    of_user: dict[str, Oracle] = {}
    for gap, who, what in steps:
        now += gap
        user = None if who.startswith("nobody") else who[0]
        if what == "leave":
            if who in live:
                buckets.end(live.pop(who), now)
                of_session.pop(who, None)
            continue
        sender = live.setdefault(who, session(env, user))
        oracles: list[Oracle] = []
        if own is not None:
            oracles.append(of_session.setdefault(who, Oracle(own)))
        if shared is not None and user is not None:
            oracles.append(of_user.setdefault(user, Oracle(shared)))
        for each in oracles:
            each.refill(now)
        longest = max((each.wait() for each in oracles), default=Fraction(0))
        empty = buckets.take(sender, now)
        assert (empty is None) == (longest == 0)
        if empty is None:
            for each in oracles:
                each.frames -= 1
        else:
            assert seconds_left(empty, now) == -(-longest // 1) >= 1
    for left in live.values():
        buckets.end(left, now)
    assert len(buckets) <= 2


@pytest.mark.parametrize("per_second", [0.1, 0.3, 3, 7, 30, 1000])
@pytest.mark.parametrize("start", [0.0, 1 / 3, 1_234_567.891, 1e8])
def test_the_burst_is_whole_whatever_the_times_are_rounded_to(
    per_second: float, start: float
) -> None:
    buckets, sender = Buckets(Rate(per_second, 50), None, 1), session(environment(), None)
    taken = [buckets.take(sender, start) is None for _ in range(60)]
    assert taken == [True] * 50 + [False] * 10


def test_a_refused_frame_takes_nothing_from_either_bucket() -> None:
    env = environment()
    buckets = Buckets(Rate(1, burst=1), Rate(1, burst=3), 10)
    one, two = session(env, "a"), session(env, "a")
    assert buckets.take(one, 0.0) is None
    empty = [buckets.take(one, 0.0) for _ in range(10)]
    assert {each and each.rule for each in empty} == {"session_rate=Rate(per_second=1, burst=1)"}
    assert buckets.take(two, 0.0) is None
    third = session(env, "a")
    assert buckets.take(third, 0.0) is None
    fourth = session(env, "a")
    empty = [buckets.take(fourth, 0.0)]
    assert empty[0] is not None
    assert empty[0].rule == "user_rate=Rate(per_second=1, burst=3)"
    assert buckets.take(fourth, 1.0) is None


def test_the_bucket_that_is_empty_for_longer_says_when_to_come_back() -> None:
    for own, shared in ((Rate(1, 1), Rate(0.1, 1)), (Rate(0.1, 1), Rate(1, 1))):
        buckets, sender = Buckets(own, shared, 10), session(environment(), "a")
        assert buckets.take(sender, 0.0) is None
        empty = buckets.take(sender, 0.0)
        assert empty is not None
        assert seconds_left(empty, 0.0) == 10


def test_what_is_left_to_wait_is_rounded_up_and_at_least_a_second() -> None:
    bucket = Bucket(Rate(2, burst=1), "")
    bucket.full_at = 10.5
    assert seconds_left(bucket, 10.0) == 1
    assert seconds_left(bucket, 9.4) == 2
    bucket.full_at = 10.0 + 1e-5
    assert seconds_left(bucket, 10.0) == 1


def test_an_anonymous_session_has_no_bucket_of_a_user() -> None:
    buckets, nobody = Buckets(None, Rate(1, 1), 10), session(environment(), None)
    assert [buckets.take(nobody, 0.0) for _ in range(3)] == [None] * 3
    buckets.end(nobody, 0.0)
    assert not len(buckets)


def test_a_user_who_left_is_forgotten_when_its_bucket_is_full() -> None:
    env = environment()
    buckets, sender = Buckets(None, Rate(1, 2), 10), session(environment(), "a")
    assert buckets.take(sender, 0.0) is None
    buckets.end(sender, 5.0)
    assert not len(buckets)
    sender = session(env, "a")
    assert buckets.take(sender, 5.0) is None
    buckets.end(sender, 5.5)
    assert len(buckets) == 1


def test_a_bucket_is_kept_while_one_session_of_its_user_is_left() -> None:
    env = environment()
    buckets = Buckets(None, Rate(1, 2), 10)
    one, two = session(env, "a"), session(env, "a")
    for sender in (one, two):
        assert buckets.take(sender, 0.0) is None
    buckets.end(one, 10.0)  # full again
    assert len(buckets) == 1
    for _ in range(2):
        assert buckets.take(two, 10.0) is None
    assert buckets.take(session(env, "a"), 10.0) is not None


def test_over_the_bound_those_nearest_to_full_are_forgotten() -> None:
    env = environment()
    buckets = Buckets(None, Rate(1, 100), 8)
    for number in range(9):
        sender = session(env, f"u{number}")
        for _ in range(number + 1):
            buckets.take(sender, 0.0)
        buckets.end(sender, 0.0)
    assert len(buckets) == 6
    for number, left in ((0, 100), (2, 100), (3, 96), (8, 91)):
        sender = session(env, f"u{number}")
        assert sum(buckets.take(sender, 0.0) is None for _ in range(101)) == left
        buckets.end(sender, 0.0)


def test_over_the_bound_the_full_ones_go_first() -> None:
    env = environment()
    buckets = Buckets(None, Rate(1, 100), 8)
    for number in range(9):
        sender = session(env, f"u{number}")
        for _ in range(5 if number < 8 else 50):
            buckets.take(sender, 0.0)
        buckets.end(sender, 0.0 if number < 8 else 40.0)
    assert len(buckets) == 1


def test_a_session_that_ends_twice_is_counted_once() -> None:
    env = environment()
    buckets = Buckets(None, Rate(1, 2), 10)
    one, two = session(env, "a"), session(env, "a")
    assert buckets.take(one, 0.0) is None
    assert buckets.take(two, 0.0) is None
    buckets.end(one, 0.0)
    buckets.end(one, 0.0)
    assert buckets.take(two, 0.0) is not None
    again = session(env, "a")
    assert buckets.take(again, 0.0) is not None

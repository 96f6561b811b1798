"""The log against a dict of what was ever in it: whatever is done to it, in whatever order."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import count
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stocksync_ws.broker.model.log import HOLES, ByteCounter, Log
from stocksync_ws.broker.model.owner import Owner
from stocksync_ws.broker.model.publication import Publication
from stocksync_ws.config import Limits
from stocksync_ws.position import Position
from tests.broker.kit import publication as made_publication

_numbers = count(1)


def publication(size: int = 3) -> Publication:
    return made_publication(next(_numbers), "e-1", "/t", (), b"x" * size, 0.0)


class LogModel(RuleBasedStateMachine):
    """Every rule is what a policy does; `entries` is every append there ever was."""

    def __init__(self) -> None:
        super().__init__()
        self.tally = ByteCounter()
        self.other = Log(self.tally)
        self.other.append(publication())
        self.log = Log(self.tally)
        self.entries: dict[int, tuple[Publication, bool]] = {}
        self.top = 0
        self.lost = 0

    def present(self, start: int = 0) -> list[tuple[int, Publication]]:
        return [(o, item) for o, (item, there) in self.entries.items() if there and o >= start]

    def gone(self, offset: int) -> None:
        self.entries[offset] = self.entries[offset][0], False

    @rule(size=st.integers(0, 50))
    def append(self, size: int) -> None:
        item = publication(size)
        self.top += 1
        assert self.log.append(item) == self.top
        self.entries[self.top] = item, True

    @rule(count=st.integers(1, 100))
    def append_many(self, count: int) -> None:
        for _ in range(count):
            self.append(1)

    @rule(gap=st.integers(1, 50))
    def append_at(self, gap: int) -> None:
        item = publication()
        self.top += gap
        assert self.log.append(item, self.top) == self.top
        self.entries[self.top] = item, True

    @rule()
    def skip(self) -> None:
        self.top += 1
        assert self.log.skip() == self.top

    @rule(offset=st.integers(0, 400))
    def read(self, offset: int) -> None:
        assert self.log.read(offset) == next(iter(self.present(offset)), None)

    @rule(offset=st.integers(0, 400))
    def take(self, offset: int) -> None:
        there = dict(self.present()).get(offset)
        assert self.log.take(offset) is there
        if there is not None:
            self.gone(offset)

    @rule(count=st.integers(1, 100))
    def take_first(self, count: int) -> None:
        for _ in range(count):
            found = self.log.read(0)
            if found is not None:
                self.take(found[0])

    @precondition(lambda self: any(not there for _, there in self.entries.values()))
    @rule(data=st.data())
    def put_back(self, data: st.DataObject) -> None:
        gone = [o for o, (_, there) in self.entries.items() if not there]
        offset = data.draw(st.sampled_from(gone))
        item, _ = self.entries[offset]
        self.log.put_back(offset, item)
        self.entries[offset] = item, True

    @rule()
    def trim(self) -> None:
        first = next(iter(self.present()), None)
        assert self.log.trim() is (None if first is None else first[1])
        if first is not None:
            self.gone(first[0])
            self.lost = max(self.lost, first[0])

    @rule(offset=st.integers(0, 400))
    def forget(self, offset: int) -> None:
        self.log.forget(offset)
        for each, _ in self.present():
            if each < offset:
                self.gone(each)

    @rule(offset=st.integers(0, 400))
    def count_from(self, offset: int) -> None:
        assert self.log.count_from(offset) == len(self.present(offset))

    @rule(count=st.integers(0, 400))
    def newest(self, count: int) -> None:
        newest = self.present()[-count:] if count else []
        start = newest[0][0] if newest else self.top + 1
        assert self.log.newest(count, -1.0) == start
        assert self.log.newest(count, 0.0) == self.top + 1

    @rule(offset=st.integers(0, 400))
    def holds(self, offset: int) -> None:
        assert self.log.holds(offset) == (offset in dict(self.present()))

    @invariant()
    def is_the_dict(self) -> None:
        present = self.present()
        assert list(self.log) == present
        assert len(self.log) == len(present)
        assert self.log.size == sum(item.size for _, item in present)
        assert self.tally.size == self.log.size + self.other.size
        assert self.log.stored == self.tally.size
        assert self.log.top == self.top
        assert self.log.lost == self.lost
        assert self.log.oldest() == (present[0] if present else None)

    @invariant()
    def holes_are_bounded(self) -> None:
        items = self.log._items
        assert len(items) <= 2 * len(self.log) + HOLES + 1
        assert len(items) == len(self.log._offsets)


TestLog = LogModel.TestCase
TestLog.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


class Counting(list[Any]):
    """A list that counts how often one of its places is looked at, or copied."""

    looked = 0

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        Counting.looked += len(found) if isinstance(index, slice) else 1
        return found


def drained(log: Log) -> int:
    """Places looked at while a log is emptied from its beginning."""
    Counting.looked = 0
    while (found := log.read(0)) is not None:
        log._items = Counting(log._items) if type(log._items) is list else log._items
        assert log.take(found[0]) is found[1]
    return Counting.looked


def filled(count: int) -> Log:
    log = Log(ByteCounter())
    for _ in range(count):
        log.append(publication())
    log._items = Counting(log._items)
    return log


@pytest.mark.pure("counts by a type of its own, which compiled code does not ask")
def test_draining_looks_at_each_entry_a_few_times_only() -> None:
    few, many = drained(filled(1_000)), drained(filled(10_000))
    assert many <= 10_000 * 12
    assert many <= few * 12


@pytest.mark.pure("counts by a type of its own, which compiled code does not ask")
def test_taking_every_second_and_draining_the_rest_is_linear() -> None:
    def looked(count: int) -> int:
        log = filled(count)
        Counting.looked = 0
        for offset in range(2, count, 2):
            log.take(offset)
        return Counting.looked + drained(log)

    assert looked(10_000) <= looked(1_000) * 12


def test_the_newest_are_no_older_than_they_may_be_and_only_these_are_looked_at() -> None:
    log = Log(ByteCounter())
    for at in range(1, 101):
        log.append(made_publication(at, "e-1", "/t", (), b"x", float(at)))
    assert [log.newest(200, since) for since in (0.0, 1.0, 60.5, 99.0, 100.0)] == (
        [1, 2, 61, 100, 101]
    )
    assert log.newest(3, 60.0) == 98
    log._items = Counting(log._items)
    Counting.looked = 0
    log.newest(3, 0.0)
    log.newest(200, 97.0)
    assert Counting.looked <= 8


def test_what_comes_back_in_any_order_stands_in_its_old_place() -> None:
    log = filled(10)
    taken = [log.read(0) for _ in range(5) if log.take(log.read(0)[0])]  # type: ignore[index]
    assert len(taken) == 5
    log = filled(6)
    items = dict(log)
    for offset in (1, 2, 3, 5):
        log.take(offset)
    for offset in (3, 1, 5, 2):
        log.put_back(offset, items[offset])
    assert [offset for offset, _ in log] == [1, 2, 3, 4, 5, 6]
    assert log.lost == 0


@pytest.mark.parametrize("leave", ["forget", "take", "trim"])
def test_what_has_left_is_held_by_nothing(leave: str) -> None:
    log, item = Log(ByteCounter()), publication()
    free = sys.getrefcount(item)
    log.append(item)
    log.append(publication())
    assert sys.getrefcount(item) > free
    {"forget": lambda: log.forget(2), "take": lambda: log.take(1), "trim": log.trim}[leave]()
    assert len(log) == 1
    assert sys.getrefcount(item) == free


def test_offsets_are_never_used_again_and_lost_never_falls() -> None:
    log = filled(3)
    item = log.read(1)
    assert item is not None
    log.take(1)
    log.trim()
    assert log.lost == 2
    log.put_back(1, item[1])
    log.trim()
    assert log.lost == 2
    log.forget(100)
    assert log.top == 3
    assert log.append(publication()) == 4


def test_what_is_dropped_next_is_behind_the_hole_at_which_reading_stands() -> None:
    log = filled(3)
    log.take(2)
    log.forget(2)
    third = log.read(3)
    assert third is not None
    assert log.trim() is third[1]
    assert log.lost == 3


# Positions: where somebody else orders what is in several logs


def history(*offsets: int) -> Log:
    log = Log(ByteCounter(), "e")
    for offset in offsets:
        log.append(publication(), offset)
    return log


def test_offsets_that_others_gave_may_have_gaps_and_are_read_across() -> None:
    log = history(3, 4, 9)
    assert [offset for offset, _ in log] == [3, 4, 9]
    assert [found[0] for start in range(1, 10) if (found := log.read(start))] == (
        [3, 3, 3, 4, 9, 9, 9, 9, 9]
    )
    assert log.count_from(5) == 1
    assert not log.holds(5)
    assert log.append(publication()) == 10


@pytest.mark.parametrize(
    ("position", "known"),
    [
        (Position("e", 0, 0), True),
        (Position("e", 0, 4), True),
        (Position("e", 0, 9), True),
        (Position("e", 0, 10), False),
        (Position("e", 0, -1), False),
        (Position("e", 1, 4), False),
        (Position("f", 0, 4), False),
        (Position("", 0, 4), False),
    ],
)
def test_a_position_is_known_up_to_the_newest_of_this_history(
    position: Position, known: bool
) -> None:
    log = history(1, 9)
    assert log.knows(position) is known
    assert log.covers(position) is known
    log.trim()
    assert log.knows(position) is known


def test_a_log_without_a_history_knows_no_position() -> None:
    log = Log(ByteCounter())
    log.append(publication())
    assert log.epoch is None
    assert not log.knows(Position("None", 0, 0))


def test_a_position_is_covered_as_long_as_nothing_behind_it_was_trimmed() -> None:
    log = history(3, 5, 9)
    log.trim()
    covered = [offset for offset in range(11) if log.covers(Position("e", 0, offset))]
    assert covered == [3, 4, 5, 6, 7, 8, 9]


def test_what_was_taken_or_forgotten_left_for_good_reason_and_is_still_covered() -> None:
    log = history(1, 2, 3)
    log.take(2)
    log.forget(2)
    assert log.covers(Position("e", 0, 0))
    log.trim()
    assert not log.covers(Position("e", 0, 2))
    assert log.covers(Position("e", 0, 3))


def test_a_log_takes_over_a_history_and_what_was_there_counts_no_more() -> None:
    log = history(1, 2, 3)
    log.adopt("theirs", ((0, 0), (7, 5), (9, 8)), 4)
    assert (log.top, log.lost, len(log), log.size) == (4, 0, 0, 0)
    for offset in range(5, 11):
        log.append(publication(), offset)
    ids = [log.message_id(offset) for offset in range(11)]
    assert ids[:6] == [f"theirs-{offset}" for offset in range(6)]
    assert ids[6:] == ["theirs.7-6", "theirs.7-7", "theirs.7-8", "theirs.9-9", "theirs.9-10"]
    assert not log.knows(Position("e", 0, 3))


@pytest.mark.parametrize(
    ("generation", "known"), [(0, range(6)), (7, range(9)), (9, range(11)), (8, ())]
)
def test_a_generation_counts_as_far_as_the_next_one_began(
    generation: int, known: Iterable[int]
) -> None:
    log = Log(ByteCounter(), "mine")
    log.adopt("theirs", ((0, 0), (7, 5), (9, 8)), 10)
    found = [at for at in range(13) if log.knows(Position("theirs", generation, at))]
    assert found == [*known]


def test_what_came_before_a_history_was_taken_over_was_never_here() -> None:
    log = Log(ByteCounter(), "mine")
    log.adopt("theirs", ((0, 0),), 999)
    log.append(publication(), 1_000)
    covered = [offset for offset in (0, 10, 998, 999, 1_000) if log.covers(log_at(offset))]
    assert covered == [999, 1_000]
    assert log.knows(log_at(10))


def log_at(offset: int) -> Position:
    return Position("theirs", 0, offset)


def test_a_message_id_is_its_position_as_text() -> None:
    log = history(3)
    assert log.message_id(3) == "e-3"
    for offset in (0, 3):
        position = Position.parse(log.message_id(offset))
        assert position == Position("e", 0, offset)
        assert position is not None
        assert log.knows(position)


def test_two_logs_may_keep_one_publication_each_at_an_offset_of_its_own() -> None:
    whole = ByteCounter()
    one, two = Log(ByteCounter(whole), "e"), Log(ByteCounter(whole), "f")
    item = publication()
    assert (one.append(item, 4), two.append(item)) == (4, 1)
    assert one.read(0) == (4, item)
    assert two.read(0) == (1, item)
    assert one.stored == two.stored == whole.size == 2 * item.size
    one.trim()
    assert (one.lost, two.lost) == (4, 0)
    assert two.read(0) == (1, item)
    assert whole.size == item.size


# The end of life


def mortal(expires_at: float) -> Publication:
    made = publication()
    made.expires_at = expires_at
    return made


def test_what_is_dead_is_taken_out_in_the_order_of_death_and_leaves_holes() -> None:
    log = history()
    for expires_at in (30.0, 10.0, 20.0):
        log.append(mortal(expires_at))
    log.append(publication())
    assert log.next_expiry() == 10.0
    assert log.take_expired(10.0) == []  # at its very last moment it can still be delivered
    assert [offset for offset, _ in log.take_expired(20.5)] == [2, 3]
    assert (log.next_expiry(), log.lost, len(log)) == (30.0, 0, 2)
    log.take(1)
    assert log.next_expiry() is None
    assert log.take_expired(99.0) == []


def test_what_comes_back_dies_at_its_time_and_once() -> None:
    log = history()
    log.append(mortal(10.0))
    item = log.take(1)
    assert item is not None
    assert log.next_expiry() is None
    log.put_back(1, item)
    assert log.take_expired(11.0) == [(1, item)]
    assert log.take_expired(12.0) == []


def test_ends_of_what_has_left_are_bounded() -> None:
    log = history()
    for number in range(1, 1_001):
        log.append(mortal(1_000.0 + number))
        if number > 1:
            log.take(number)
    assert len(log._expiring) <= 2 * len(log) + HOLES + 1
    assert log.next_expiry() == 1_001.0


def test_what_has_an_owner_counts_in_its_share_as_long_as_it_is_there() -> None:
    log, owner = Log(ByteCounter()), Owner(Limits(), 1.0, "")
    items = [made_publication(number, "n", "", (), b"x" * 10) for number in range(4)]
    for each in items[:3]:
        each.owner = owner
    for each in items:
        log.append(each)
    assert owner.stored == 30
    log.take(2)
    assert owner.stored == 20
    log.put_back(2, items[1])
    log.trim()
    assert owner.stored == 20
    log.forget(5)
    assert owner.stored == 0


def test_what_was_taken_out_is_not_there_a_second_time() -> None:
    log = history()
    for _ in range(3):
        log.append(publication())
    assert log.take(2) is not None
    assert log.take(2) is None
    assert (log.take(9), len(log)) == (None, 2)

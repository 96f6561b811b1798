"""The log against a list of (offset, item, present): whatever is done to it, in whatever order."""

from __future__ import annotations

from itertools import count
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stocksync_ws.broker.model.log import HOLES, ByteCounter, Log
from stocksync_ws.broker.model.publication import Publication
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
        self.entries: list[list[Any]] = []
        self.lost = 0

    def present(self, start: int = 0) -> list[tuple[int, Publication]]:
        return [(o, item) for o, item, there in self.entries if there and o >= start]

    @rule(size=st.integers(0, 50))
    def append(self, size: int) -> None:
        item = publication(size)
        offset = self.log.append(item)
        assert offset == len(self.entries) + 1
        self.entries.append([offset, item, True])

    @rule(count=st.integers(1, 100))
    def append_many(self, count: int) -> None:
        for _ in range(count):
            self.append(1)

    @rule(offset=st.integers(0, 400))
    def read(self, offset: int) -> None:
        assert self.log.read(offset) == next(iter(self.present(offset)), None)

    @rule(offset=st.integers(0, 400))
    def take(self, offset: int) -> None:
        there = dict(self.present()).get(offset)
        assert self.log.take(offset) is there
        if there is not None:
            self.entries[offset - 1][2] = False

    @rule(count=st.integers(1, 100))
    def take_first(self, count: int) -> None:
        for _ in range(count):
            found = self.log.read(0)
            if found is not None:
                self.take(found[0])

    @precondition(lambda self: any(not there for _, _, there in self.entries))
    @rule(data=st.data())
    def put_back(self, data: st.DataObject) -> None:
        gone = [o for o, _, there in self.entries if not there]
        offset = data.draw(st.sampled_from(gone))
        self.log.put_back(offset, self.entries[offset - 1][1])
        self.entries[offset - 1][2] = True

    @rule()
    def trim(self) -> None:
        first = next(iter(self.present()), None)
        assert self.log.trim() is (None if first is None else first[1])
        if first is not None:
            self.entries[first[0] - 1][2] = False
            self.lost = max(self.lost, first[0])

    @rule(offset=st.integers(0, 400))
    def forget(self, offset: int) -> None:
        self.log.forget(offset)
        for entry in self.entries:
            entry[2] = entry[2] and entry[0] >= offset

    @rule(offset=st.integers(0, 400))
    def count_from(self, offset: int) -> None:
        assert self.log.count_from(offset) == len(self.present(offset))

    @invariant()
    def is_the_list(self) -> None:
        present = self.present()
        assert list(self.log) == present
        assert len(self.log) == len(present)
        assert self.log.size == sum(item.size for _, item in present)
        assert self.tally.size == self.log.size + self.other.size
        assert self.log.top == len(self.entries)
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


def test_draining_looks_at_each_entry_a_few_times_only() -> None:
    few, many = drained(filled(1_000)), drained(filled(10_000))
    assert many <= 10_000 * 12
    assert many <= few * 12


def test_taking_every_second_and_draining_the_rest_is_linear() -> None:
    def looked(count: int) -> int:
        log = filled(count)
        Counting.looked = 0
        for offset in range(2, count, 2):
            log.take(offset)
        return Counting.looked + drained(log)

    assert looked(10_000) <= looked(1_000) * 12


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

"""Which versions a test really spoke, against those its marks name.

Rule: the cases of a parametrized test are taken together, once all of them have run; a mark of a
single case is held against that case alone. What "Protocol Negotiation" says holds before there is
a version, so its marks are not looked at.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from math import prod

import pytest

from tests.spec.demands import places

BEFORE = "Protocol Negotiation"


def missing(marks: Iterable[pytest.Mark], heard: set[str]) -> list[str]:
    """Versions that a mark names and nobody spoke."""
    named = (place for mark in marks for place in places(mark.args))
    wanted = {place.version for place in named if place.section != BEFORE}
    return sorted(wanted - heard)


def cases(item: pytest.Item) -> int:
    """How many cases the test of this item has."""
    lists = (mark.args[1] for mark in own(item, "parametrize"))
    return prod(len(list(each)) for each in lists)


def own(item: pytest.Item, name: str) -> list[pytest.Mark]:
    """The marks of the function itself, not those of one case."""
    function = getattr(item, "function", None)
    return [each for each in getattr(function, "pytestmark", ()) if each.name == name]


class Spoken:
    """What all tests of one run have spoken."""

    def __init__(self) -> None:
        self._heard: dict[str, set[str]] = defaultdict(set)
        self._ran: Counter[str] = Counter()

    def note(self, item: pytest.Item, heard: set[str]) -> None:
        """A case has run.

        Raises:
            AssertionError: A mark names a version that was not spoken.
        """
        of_all = own(item, "stomp")
        of_one = [each for each in item.iter_markers("stomp") if each not in of_all]
        assert not (silent := missing(of_one, heard)), f"marked, never spoken: {silent}"
        test = item.nodeid.partition("[")[0]
        self._heard[test] |= heard
        self._ran[test] += 1
        if self._ran[test] == cases(item):
            silent = missing(of_all, self._heard[test])
            assert not silent, f"marked, never spoken: {silent}"

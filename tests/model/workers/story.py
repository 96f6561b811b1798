"""What one subscriber of one destination was given, laid beside what there was.

Rule: a subscriber that is told nothing gets each message behind the one before it, once. What tells
of a loss (`recovered:false`, `dropped`, another message-id of the beginning) begins a new stretch.
What an engine has forgotten, and a worker that still lives was told of, must be told in the end.
"""

from __future__ import annotations

from tests.model.workers.truth import Entry, Truth

__all__ = ["Broken", "Story"]


class Broken(AssertionError):
    """What was promised does not hold."""


def hold(right: object, problem: str) -> None:
    if not right:
        raise Broken(problem)


class Story:
    """One destination, as its subscriber sees it; over reconnects that recover it, too."""

    def __init__(self, truth: Truth, channel: str, *, latest: bool) -> None:
        self._truth = truth
        self.channel = channel
        self.latest = latest
        """Messages that are replaced by newer ones may be missing."""
        self.last: Entry | None = None
        """The last message, or where it begins."""
        self.floor: Entry | None = None
        """What was there when it was subscribed: of that, newest values may have aged."""
        self.exact = True
        """The next one stands right behind `last`."""
        self.wild = True
        """Nothing is known of what comes next."""
        self.told = 0
        """How often it was told that something is missing."""
        self._seen: set[str] = set()
        self._passed: list[Entry] = []
        self._since = 0

    def begins(self, at: Entry | None, *, exact: bool) -> None:
        """What comes next stands right behind this one; or no later than that."""
        self._stretch()
        self.last, self.exact, self.wild = at, exact, at is None
        self._seen.clear()
        if at is not None:
            self._passed.append(at)

    def tell(self) -> None:
        """Something may be missing before what comes next."""
        self._stretch()
        self.last, self.wild = None, True
        self._seen.clear()
        self.told += 1

    def _stretch(self) -> None:
        self._passed.clear()
        self._since = self._truth.count

    def take(self, message_id: str, body: str) -> Entry:
        """A message came for the first time."""
        entry = self.entry(message_id, body)
        hold(body not in self._seen, f"I3: {entry} came twice")
        self._seen.add(body)
        if not self.wild:
            self._compare(entry)
        self.last, self.exact, self.wild = entry, True, False
        self._passed.append(entry)
        return entry

    def entry(self, message_id: str, body: str) -> Entry:
        """I1: a message-id names one message."""
        entry = self._truth.find(self.channel, message_id)
        hold(entry is not None, f"I1: {body!r} came as {message_id}, which is not there")
        assert entry is not None
        hold(entry.body == body, f"I1: {message_id} is {entry}, and came as {body!r}")
        return entry

    def _compare(self, entry: Entry) -> None:
        """I2: nothing is missing before a message."""
        last, before = self.last, entry.before
        assert last is not None
        assert before is not None
        if self.latest:
            while before is not last and before is not None and self._is_replaced(before):
                before = before.before
        if before is last or (not self.exact and last.follows(before)):
            return
        tip = self._truth.tip(self.channel)
        if not self.exact and (tip is None or not tip.follows(entry)):
            return  # of a past that the engine has forgotten: what comes next has to tell
        # A channel that nothing was ever put into may begin anew.
        empty = not last.position.offset and before is not None and not before.position.offset
        hold(empty, f"I2: {entry} came behind {last}, and {before} is before it")

    def _is_replaced(self, entry: Entry) -> bool:
        if not entry.position.offset:
            return False
        if entry.trimmed and self.floor is not None and self.floor.follows(entry):
            return True
        return any(other.slot == entry.slot for other in entry.branch()[1:])

    def has_all(self) -> None:
        """At rest: it has the newest message."""
        tip = self._truth.tip(self.channel)
        if self.wild or tip is None or not tip.position.offset:
            return
        inside = not self.exact and self.last is not None and self.last.follows(tip)
        there: Entry | None = tip
        while self.latest and there is not None and there is not self.last:
            if not self._is_replaced(there):
                break
            there = there.before
        hold(there is self.last or inside, f"I2: last {self.last}, there is {tip}")

    def ends(self, workers: set[str]) -> None:
        """At the end: also what was accepted, and forgotten by the engine, was told."""
        self.has_all()
        tip = self._truth.tip(self.channel)
        passed = set(self._passed)
        for entry in self._passed:
            for other in entry.behind:
                if other in passed or (self.latest and tip is not None and tip.follows(other)):
                    continue
                for lost in other.branch():
                    hold(
                        lost.number <= self._since or not (lost.known & workers),
                        f"I3: {lost} is known at {lost.known}, never came, and that was not told",
                    )

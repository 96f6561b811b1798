"""Mirrors of the channels of an engine: each state and each rule, command by command."""

from __future__ import annotations

from typing import Any

import pytest

from stocksync_ws.backplane import (
    Append,
    Appended,
    AppendOutcome,
    BackplaneCommand,
    BackplaneSettings,
    Connected,
    History,
    Item,
    Keep,
    Lost,
    Pushed,
    Read,
    Subscribe,
    Subscribed,
    Unsubscribe,
)
from stocksync_ws.broker.delivery import mirrors as module
from stocksync_ws.broker.delivery.mirrors import Mirrors, Reset, State
from stocksync_ws.broker.model.flight import Done, Failure, Settlement
from stocksync_ws.counters import Counters
from stocksync_ws.position import Position

KEEP = Keep(10, 60.0)
GENERATIONS = ((0, 0), (7, 5))


def at(offset: int, generation: int = 0, epoch: str = "e") -> Position:
    return Position(epoch, generation, offset)


class Worker:
    """Mirrors, and all that they say."""

    def __init__(self, *, connected: bool = True) -> None:
        self.commands: list[BackplaneCommand] = []
        self.told: list[Any] = []
        self.settled: list[Settlement] = []
        settings = BackplaneSettings(max_in_flight=3)
        self.counters = Counters()
        self.mirrors = Mirrors(settings, self.commands, self, self._settle, self.counters)
        if connected:
            self.mirrors.receive(Connected())
            self.told.clear()

    def _settle(self, done: Done, settlement: Settlement) -> None:
        done(settlement)

    def begin(self, channel: str, history: History) -> None:
        self.told.append(("begin", history.top))

    def continues(self, channel: str, history: History) -> None:
        self.told.append(("continues", history.begins))

    def apply(self, channel: str, position: Position, payload: bytes) -> None:
        self.told.append((str(position), payload))

    def attached(self, channel: str) -> None:
        self.told.append("attached")

    def reset(self, channel: str, why: Reset) -> None:
        self.told.append(why)

    def available(self, up: bool, why: str) -> None:
        self.told.append(up)

    def taken(self) -> list[BackplaneCommand]:
        taken = self.commands[:]
        self.commands.clear()
        return taken

    def heard(self) -> list[Any]:
        told, self.told = self.told, []
        return told

    def append(self, *channels: str, now: float = 0.0) -> str:
        messages = tuple(Item(channel, b"x", KEEP) for channel in channels)
        return self.mirrors.append(messages, now, self.settled.append)

    def pushed(self, offset: int, generation: int = 0, epoch: str = "e", after: int = -1) -> None:
        position = at(offset, generation, epoch)
        before = offset - 1 if after < 0 else after
        self.mirrors.receive(Pushed("a", before, position, b"p%d" % offset))

    def subscribed(self) -> Read:
        """The engine has answered the SUBSCRIBE; what the mirror reads then."""
        command = self.taken()[-1]
        assert isinstance(command, Subscribe)
        self.mirrors.receive(Subscribed("a", command.turn))
        return self.reads()

    def reads(self) -> Read:
        (read,) = self.taken()
        assert isinstance(read, Read)
        return read

    def history(self, read: Read, top: Position, *offsets: int, **more: Any) -> None:
        """The answer to a read: what stands at these offsets."""
        entries = tuple((at(each, top.generation, top.epoch), b"h%d" % each) for each in offsets)
        more = {"complete_to": top.offset, "entries": entries} | more
        self.mirrors.receive(History("a", read.turn, top, **more))

    def live(self, top: Position | None = None, *, keeps: bool = False) -> Worker:
        """A mirror that is live at a position."""
        self.mirrors.follow("a", keeps=keeps)
        self.history(self.subscribed(), top or at(0))
        self.told.clear()
        return self

    @property
    def state(self) -> State:
        mirror = self.mirrors.find("a")
        assert mirror is not None
        return mirror.state


# A channel that nothing is known of


def test_a_channel_is_subscribed_before_it_is_read_and_live_when_all_is_read() -> None:
    worker = Worker()
    mirror = worker.mirrors.follow("a", keeps=False)
    assert worker.state is State.ASKED
    read = worker.subscribed()
    assert read.start is None
    assert (worker.state, mirror.known) == (State.READING, False)
    worker.history(read, at(4))
    assert (worker.state, mirror.known) == (State.LIVE, True)
    assert worker.heard() == [("begin", at(4)), "attached"]
    worker.pushed(5)
    assert worker.heard() == [("e-5", b"p5")]


def test_what_was_kept_before_is_read_where_it_is_wanted() -> None:
    worker = Worker()
    worker.mirrors.follow("a", keeps=True)
    read = worker.subscribed()
    assert read.start == 1
    worker.history(read, at(4), 3, 4, lost=2)
    assert worker.heard() == [("begin", at(4)), ("e-3", b"h3"), ("e-4", b"h4"), "attached"]


def test_a_long_history_is_read_page_by_page_and_attached_at_its_end() -> None:
    worker = Worker()
    worker.mirrors.follow("a", keeps=True)
    worker.history(worker.subscribed(), at(4), 1, 2, complete_to=2)
    assert worker.heard() == [("begin", at(4)), ("e-1", b"h1"), ("e-2", b"h2")]
    read = worker.reads()
    assert read.start == 3
    worker.history(read, at(5), 4, 5)
    assert worker.heard() == [("e-4", b"h4"), ("e-5", b"h5"), "attached"]
    worker.pushed(6)
    assert worker.heard() == [("e-6", b"p6")]


def test_a_channel_is_followed_once() -> None:
    worker = Worker()
    assert worker.mirrors.follow("a", keeps=False) is worker.mirrors.follow("a", keeps=False)
    assert len(worker.taken()) == 1


def test_without_a_connection_it_is_asked_for_when_there_is_one() -> None:
    worker = Worker(connected=False)
    worker.mirrors.follow("a", keeps=False)
    assert worker.taken() == []
    worker.mirrors.receive(Connected())
    assert worker.heard() == [True]
    assert worker.taken() == [Subscribe("a", 1)]


def test_pushes_wait_behind_what_is_read_and_those_that_were_read_are_dropped() -> None:
    worker = Worker()
    worker.mirrors.follow("a", keeps=True)
    worker.pushed(1)
    read = worker.subscribed()
    worker.pushed(2)
    worker.pushed(3)
    worker.history(read, at(2), 1, 2)
    assert worker.heard() == [
        ("begin", at(2)),
        ("e-1", b"h1"),
        ("e-2", b"h2"),
        "attached",
        ("e-3", b"p3"),
    ]


@pytest.mark.pure("changes a constant of the module")
def test_more_pushes_than_may_wait_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING", 2)
    worker = Worker()
    worker.mirrors.follow("a", keeps=False)
    read = worker.subscribed()
    for offset in (1, 2, 3):
        worker.pushed(offset)
    worker.history(read, at(0))
    assert worker.reads().start == 1


# Turns


def test_the_answer_to_an_earlier_subscribe_does_not_make_it_read() -> None:
    worker = Worker()
    worker.mirrors.follow("a", keeps=False)
    worker.mirrors.leave("a")
    worker.mirrors.follow("a", keeps=False)
    first, left, second = worker.taken()
    assert isinstance(first, Subscribe)
    assert isinstance(second, Subscribe)
    assert left == Unsubscribe("a")
    worker.mirrors.receive(Subscribed("a", first.turn))
    assert (worker.taken(), worker.state) == ([], State.ASKED)
    worker.mirrors.receive(Subscribed("a", second.turn))
    assert isinstance(worker.taken()[0], Read)


def test_the_answer_to_an_earlier_read_is_dropped() -> None:
    worker = Worker().live(at(3), keeps=True)
    worker.pushed(5)  # a gap: it is read from 4 on
    earlier = worker.reads()
    worker.mirrors.leave("a")
    worker.mirrors.follow("a", keeps=True)
    read = worker.subscribed()
    worker.history(earlier, at(5), 4, 5)
    assert (worker.heard(), worker.state) == ([], State.READING)
    worker.history(read, at(5), 1, 2, 3, 4, 5)
    assert [each[0] for each in worker.heard()[:-1]] == ["begin", "e-1", "e-2", "e-3", "e-4", "e-5"]


def test_what_comes_of_a_channel_that_is_not_followed_is_dropped() -> None:
    worker = Worker()
    worker.mirrors.receive(Subscribed("a", 1))
    worker.pushed(1)
    worker.mirrors.receive(History("a", 1, at(1)))
    assert (worker.heard(), worker.taken()) == ([], [])


def test_an_answer_that_no_state_waits_for_is_dropped() -> None:
    worker = Worker().live()
    worker.mirrors.receive(Subscribed("a", 1))
    worker.mirrors.receive(History("a", 2, at(9)))
    assert (worker.heard(), worker.taken(), worker.state) == ([], [], State.LIVE)


# Pushes of a channel that is live


def test_a_push_that_came_already_is_dropped() -> None:
    worker = Worker().live(at(3))
    worker.pushed(3)
    worker.pushed(2)
    assert (worker.heard(), worker.taken()) == ([], [])


def test_a_gap_is_read_from_there_and_nobody_is_told() -> None:
    worker = Worker().live(at(3))
    worker.pushed(5)
    assert worker.state is State.READING
    read = worker.reads()
    assert (read.start, read.seen) == (4, at(3))
    worker.history(read, at(6), 4, 5, 6)
    assert worker.heard() == [("e-4", b"h4"), ("e-5", b"h5"), ("e-6", b"h6")]
    assert (worker.counters.backplane_gaps, worker.counters.backplane_repaired) == (1, 3)


def test_what_was_replaced_leaves_no_gap() -> None:
    worker = Worker().live(at(3))
    worker.pushed(6, after=5)
    worker.history(worker.reads(), at(6), 6)
    assert worker.heard() == [("e-6", b"h6")]
    worker.pushed(7)
    assert worker.heard() == [("e-7", b"p7")]


@pytest.mark.parametrize(("generation", "epoch"), [(7, "e"), (0, "f")])
def test_a_push_of_another_generation_or_epoch_is_not_believed(generation: int, epoch: str) -> None:
    worker = Worker().live(at(5))
    worker.pushed(6, generation, epoch)
    assert worker.heard() == []
    assert worker.reads().start == 6


# After another connection


def test_everything_is_asked_for_again_what_is_in_flight_first() -> None:
    worker = Worker().live(at(3))
    worker.append("a")
    worker.append("b")
    first = worker.taken()
    worker.mirrors.receive(Lost())
    assert worker.heard() == [False]
    worker.append("a")
    assert worker.taken() == [], "nothing is sent without a connection"
    worker.mirrors.receive(Connected())
    sent = worker.taken()
    assert sent[:2] == first
    assert [type(each) for each in sent] == [Append, Append, Append, Subscribe]
    assert [each.number for each in sent if isinstance(each, Append)] == [1, 2, 3]


def test_after_another_connection_it_goes_on_behind_what_was_applied() -> None:
    worker = Worker().live(at(3))
    worker.mirrors.receive(Lost())
    worker.mirrors.receive(Connected())
    worker.told.clear()
    worker.pushed(5)
    assert worker.heard() == [], "a push is of no account before the answer to the SUBSCRIBE"
    read = worker.subscribed()
    assert (read.start, read.seen) == (4, at(3))
    worker.history(read, at(4), 4)
    assert worker.heard() == [("e-4", b"h4")]


# An engine that comes back


def test_another_run_of_the_engine_goes_on_with_what_was_applied() -> None:
    worker = Worker().live(at(5))
    worker.pushed(6, 7)
    worker.history(worker.reads(), at(6, 7), 6, begins=GENERATIONS)
    assert worker.heard() == [("continues", GENERATIONS), ("e.7-6", b"h6")]
    worker.pushed(7, 7)
    assert worker.heard() == [("e.7-7", b"p7")]


@pytest.mark.parametrize(
    ("mine", "top", "more", "why"),
    [
        (at(5), at(9, epoch="f"), {}, Reset.NEW_EPOCH),
        (at(5), at(4), {}, Reset.ROLLED_BACK),
        (at(6), at(9, 7), {"begins": GENERATIONS}, Reset.ROLLED_BACK),
        (at(5, 3), at(9, 7), {"begins": GENERATIONS}, Reset.ROLLED_BACK),
        (at(5), at(9), {"lost": 6}, Reset.TRIMMED),
        (at(5), at(9, 7), {"lost": 6, "begins": GENERATIONS}, Reset.TRIMMED),
    ],
)
def test_what_is_no_beginning_of_what_there_is_is_reset(
    mine: Position, top: Position, more: dict[str, Any], why: Reset
) -> None:
    worker = Worker().live(mine)
    worker.mirrors.receive(Lost())
    worker.mirrors.receive(Connected())
    worker.told.clear()
    worker.history(worker.subscribed(), top, **more)
    told = worker.heard()
    assert told[:2] == [why, ("begin", top)]
    lost = more.get("lost", 0)
    if why is Reset.TRIMMED:
        assert worker.taken() == []
        assert worker.state is State.LIVE
    else:
        read = worker.reads()
        assert read.start == lost + 1, "it is read anew, from its beginning"


def test_a_channel_that_lost_nothing_of_what_was_missed_is_not_reset() -> None:
    worker = Worker().live(at(5))
    worker.pushed(9)
    worker.history(worker.reads(), at(9), 6, 7, 8, 9, lost=5)
    assert [each[0] for each in worker.heard()] == ["e-6", "e-7", "e-8", "e-9"]


# What is in flight


def test_an_append_is_answered_at_once_where_its_channel_is_not_followed() -> None:
    worker = Worker()
    assert worker.append("a") == ""
    worker.mirrors.receive(Appended(1, AppendOutcome.ACCEPTED, (at(1),), 2))
    assert worker.settled == [Settlement(AppendOutcome.ACCEPTED, (at(1),), 2)]
    assert worker.mirrors.seen("a") == at(1)


def test_an_answer_counts_when_this_worker_has_applied_what_it_names() -> None:
    worker = Worker().live(at(3))
    worker.append("a", "b")
    worker.mirrors.receive(Appended(1, AppendOutcome.ACCEPTED, (at(4), at(1))))
    assert worker.settled == []
    worker.pushed(4)
    assert len(worker.settled) == 1


def test_an_answer_behind_its_push_counts_at_once() -> None:
    worker = Worker().live(at(3))
    worker.append("a")
    worker.pushed(4)
    assert worker.settled == []
    worker.mirrors.receive(Appended(1, AppendOutcome.ACCEPTED, (at(4),)))
    assert len(worker.settled) == 1


@pytest.mark.parametrize("how", ["leave", "reset", "read"])
def test_who_waits_for_a_push_waits_no_longer_than_for_its_channel(how: str) -> None:
    worker = Worker().live(at(3))
    worker.append("a")
    worker.mirrors.receive(Appended(1, AppendOutcome.ACCEPTED, (at(4),)))
    worker.taken()
    if how == "leave":
        worker.mirrors.leave("a")
    else:
        worker.pushed(6)
        top = at(0, epoch="f") if how == "reset" else at(6)
        worker.history(worker.reads(), top)
    assert len(worker.settled) == 1


def test_an_append_is_settled_once_whatever_comes() -> None:
    worker = Worker().live(at(3))
    worker.append("a")
    answer = Appended(1, AppendOutcome.ACCEPTED, (at(4),))
    worker.mirrors.receive(answer)
    worker.mirrors.receive(answer)
    assert worker.mirrors.deadline == 5
    worker.mirrors.expire(5)
    assert worker.settled == [Settlement(AppendOutcome.ACCEPTED, (at(4),))]
    worker.pushed(4)
    worker.mirrors.receive(answer)
    assert len(worker.settled) == 1
    assert worker.mirrors.in_flight == 0


@pytest.mark.parametrize("connected", [True, False])
def test_what_waits_too_long_is_uncertain_or_was_never_sent(connected: bool) -> None:
    worker = Worker(connected=connected)
    worker.append("a")
    worker.mirrors.expire(4.9)
    assert worker.settled == []
    worker.mirrors.expire(5)
    failure = Failure.UNCERTAIN if connected else Failure.UNAVAILABLE
    assert worker.settled == [Settlement(failure)]


def test_too_much_in_flight_is_said_and_nothing_happens() -> None:
    worker = Worker()
    assert [worker.append("a") for _ in range(3)] == ["", "", ""]
    assert worker.append("a").startswith("max_in_flight: 3")
    assert len(worker.taken()) == 3
    assert worker.mirrors.in_flight == 3


def test_a_repeat_is_counted() -> None:
    worker = Worker()
    worker.append("a")
    worker.mirrors.receive(Appended(1, AppendOutcome.REPEATED, (at(1),)))
    assert worker.counters.backplane_repeats == 1


# What is known of a channel


def test_the_highest_position_is_known_whether_it_was_applied_or_accepted() -> None:
    worker = Worker().live(at(3))
    assert worker.mirrors.seen("a") == at(3)
    worker.append("a")
    worker.mirrors.receive(Appended(1, AppendOutcome.ACCEPTED, (at(9),)))
    assert worker.mirrors.seen("a") == at(9)
    worker.pushed(4)
    assert worker.mirrors.seen("a") == at(9)
    worker.append("a")
    worker.mirrors.receive(Appended(2, AppendOutcome.ACCEPTED, (at(2, epoch="f"),)))
    assert worker.mirrors.seen("a") == at(4), "of another epoch than what was applied"


def test_what_was_applied_is_known_of_a_channel_that_was_left() -> None:
    worker = Worker().live(at(3))
    worker.mirrors.leave("a")
    assert worker.mirrors.find("a") is None
    assert worker.mirrors.seen("a") == at(3)


def test_a_channel_may_be_left_before_anything_is_known_of_it_or_without_a_connection() -> None:
    worker = Worker()
    worker.mirrors.follow("a", keeps=False)
    worker.mirrors.receive(Lost())
    worker.mirrors.leave("a")
    assert worker.mirrors.seen("a") is None
    assert worker.taken() == []

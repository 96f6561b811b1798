"""Publications on their way to the engine: in their order, answered once, and never forgotten."""

from __future__ import annotations

import pytest

from stocksync_ws.backplane import AppendOutcome, BackplaneSettings, Item, Keep
from stocksync_ws.broker.delivery import appends as module
from stocksync_ws.broker.delivery.appends import Appends
from stocksync_ws.broker.model.flight import Failure, Flight, Settlement
from stocksync_ws.position import Position

KEEP = Keep(10, 60.0)
AT = Position("e", 0, 5)


def appends(**settings: float) -> Appends:
    return Appends(BackplaneSettings(**settings))  # type: ignore[arg-type]


def add(appends: Appends, *channels: str, now: float = 0.0, body: bytes = b"x") -> Flight:
    messages = tuple(Item(channel, body, KEEP) for channel in channels or ("a",))
    return appends.add(messages, now, lambda settlement: None, "key", "digest")


def accepted(*positions: Position) -> Settlement:
    return Settlement(AppendOutcome.ACCEPTED, positions)


def test_numbers_rise_and_a_command_names_what_is_known_of_its_channels() -> None:
    made = appends()
    first, second = add(made, "a"), add(made, "a", "b")
    assert [each.number for each in made.unanswered()] == [1, 2]
    assert len(made) == 2
    command = made.command(second, {"a": AT}.get)
    assert command.number == 2
    assert command.items == (Item("a", b"x", KEEP, AT), Item("b", b"x", KEEP, None))
    assert (command.key, command.digest) == ("key", "digest")
    assert (first.sent, second.sent) == (False, True)


def test_there_may_be_so_many_and_so_many_bytes_in_flight() -> None:
    made = appends(max_in_flight=2, max_in_flight_bytes=10)
    assert made.problem(11) == "", "one of any size may"
    add(made, body=b"123456789")
    assert made.problem(1) == ""
    assert made.problem(2).startswith("max_in_flight_bytes: 9 bytes wait")
    second = add(made, body=b"1")
    assert made.problem(0).startswith("max_in_flight: 2 publications wait")
    assert made.take(second)
    assert made.problem(1) == ""


def test_an_answer_is_taken_once_and_is_not_sent_for_again() -> None:
    made = appends()
    flight = add(made, "a", "b")
    other = Position("f", 0, 1)
    assert made.answered(1, accepted(AT, other)) is flight
    assert made.answered(1, accepted(AT, AT)) is None
    assert made.answered(2, accepted(AT)) is None, "nobody waits for that"
    assert list(made.unanswered()) == []
    assert made.take(flight)
    assert not made.take(flight)


@pytest.mark.parametrize(("times", "outcome"), [(1, AppendOutcome.REFUSED), (2, Failure.UNCERTAIN)])
def test_what_was_sent_twice_and_is_refused_may_have_been_done_before(
    times: int, outcome: AppendOutcome | Failure
) -> None:
    made = appends()
    flight = add(made)
    for _ in range(times):
        made.command(flight, lambda channel: None)
    made.answered(1, Settlement(AppendOutcome.REFUSED, problem="full"))
    assert flight.settlement == Settlement(outcome, problem="full")


def test_a_command_that_is_sent_again_leaves_alone_what_may_be_on_its_way() -> None:
    made = appends()
    flight = add(made, "a", "b")
    first = made.command(flight, lambda channel: None)
    again = made.command(flight, lambda channel: AT)
    assert [item.seen for item in first.items] == [None, None]
    assert [item.seen for item in again.items] == [AT, AT]
    assert [item.payload for item in again.items] == [item.payload for item in first.items]


def test_an_answer_is_held_until_its_channels_have_come_so_far() -> None:
    made = appends()
    first, second = add(made, "a", "b"), add(made, "a")
    made.hold(first, "a", 5)
    made.hold(first, "b", 1)
    made.hold(second, "a", 6)
    assert not made.release("a", 4)
    assert not made.release("a", 5), "it waits for the other channel"
    assert made.release("b", 9) == [first]
    assert not made.release("b", 9)
    assert made.release("a", 6) == [second]
    assert not made.release("a", 7)


def test_what_waits_longest_is_overdue_first() -> None:
    made = appends(publish_timeout=5)
    assert made.deadline is None
    assert made.overdue(100) == []
    first, second, _ = add(made, now=0), add(made, now=1), add(made, now=2)
    assert made.deadline == 5
    assert made.overdue(4.9) == []
    assert made.overdue(6) == [first, second]


@pytest.mark.pure("changes a constant of the module")
def test_the_positions_of_many_channels_are_known_and_the_oldest_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_SEEN", 2)
    made = appends()
    made.saw("a", AT)
    made.saw("b", AT)
    made.saw("a", AT)
    made.saw("c", AT)
    assert [made.seen(name) for name in "abc"] == [AT, None, AT]

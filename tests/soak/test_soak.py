"""A slice of the soak, and its judges: each finds what it is there for."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest

from tests.soak.ledger import Holding, Ledger, LiveReader, Publication, State, StreamReader
from tests.soak.plan import ENDS, STEPS, lives
from tests.soak.run import MEMORY, OBJECTS, ZERO, Soak, judge_log, judge_probe

PLACE = "/topic/a"


@pytest.mark.slow
def test_a_slice_of_it_finds_nothing() -> None:
    seed = random.SystemRandom().randrange(10**6)
    soak = Soak(seed, seconds=3.0, clients=8, round_seconds=1.5)
    assert soak.run(), (f"seed {seed}", soak.violated, soak.violations)
    for each in ("sent", "delivered", "connections", "cuts", "recoveries"):
        assert soak.totals[each] > 0, each


# Plans


def test_a_plan_is_the_same_whenever_it_is_made_and_another_for_each_seed_and_client() -> None:
    plans = {
        (seed, client): [*islice(lives(seed, client), 40)] for seed in (1, 2) for client in (1, 2)
    }
    assert [*islice(lives(1, 2), 40)] == plans[1, 2]
    seen = [*plans.values()]
    assert not [one for at, one in enumerate(seen) if one in seen[:at]]
    assert {name for plan in seen for life in plan for name, _ in life.steps} == set(STEPS)
    assert {life.end for plan in seen for life in plan} == set(ENDS)


# The ledger


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def sent(ledger: Ledger, *, promised: bool = True, sender: str = "ann") -> Publication:
    found = ledger.send(PLACE, sender)
    if promised:
        ledger.promise(found)
    return found


def read(reader: LiveReader, *found: Publication) -> None:
    for each in found:
        reader.take(each, f"m{each.number}")


def live(ledger: Ledger, kind: type[LiveReader] = LiveReader) -> Any:
    return kind(ledger, PLACE, "reader", ledger.stamp())


def complaint(ledger: Ledger) -> str:
    """The one thing that is wrong."""
    (text,) = ledger.violations
    assert ledger.violated == 1
    return text


def test_what_came_whole_and_in_order_is_no_violation(ledger: Ledger) -> None:
    reader = live(ledger)
    one, other, two = sent(ledger), sent(ledger, sender="bob"), sent(ledger)
    perhaps = sent(ledger, promised=False)
    read(reader, other, one, two)
    reader.finish(ledger.stamp())
    assert ledger.find(perhaps.body(3)) is perhaps
    assert ledger.violations == []


def test_what_was_promised_before_it_listened_or_after_its_end_may_miss(ledger: Ledger) -> None:
    sent(ledger)
    reader = live(ledger)
    until = ledger.stamp()
    sent(ledger)
    reader.finish(until)
    LiveReader(ledger, PLACE, "never active").finish(ledger.stamp())
    assert ledger.violations == []


def test_a_promise_that_is_broken_is_told(ledger: Ledger) -> None:
    reader = live(ledger)
    found = sent(ledger)
    reader.finish(ledger.stamp())
    assert complaint(ledger) == f"reader never got {found.name}"


@pytest.mark.parametrize(
    ("numbers", "told"),
    [((0, 0), "twice"), ((1, 0), "behind a later one")],
    ids=["double", "order"],
)
def test_doubles_and_a_wrong_order_are_told(
    ledger: Ledger, numbers: tuple[int, ...], told: str
) -> None:
    reader, both = live(ledger), [sent(ledger), sent(ledger)]
    read(reader, *(both[number] for number in numbers))
    assert complaint(ledger).endswith(told)


@pytest.mark.parametrize("state", [State.HELD, State.FORBIDDEN])
def test_what_was_not_committed_is_told(ledger: Ledger, state: State) -> None:
    found = ledger.send(PLACE, "ann", held=True)
    found.state = state
    ledger.find(found.body(0))
    assert complaint(ledger).endswith("its transaction was not committed")


def test_what_nobody_sent_is_told(ledger: Ledger) -> None:
    assert ledger.find("/topic/a eve 1 xxx") is None
    assert complaint(ledger).startswith("nobody sent")


def test_readers_of_a_stream_see_one_sequence(ledger: Ledger) -> None:
    one, two = live(ledger, StreamReader), live(ledger, StreamReader)
    found = [sent(ledger, sender=name) for name in ("ann", "bob", "cid")]
    for place, each in enumerate(found):
        one.take(each, f"m{place}")
    two.take(found[0], "m0")
    two.take(found[2], "m2")  # without what was between them
    assert complaint(ledger).endswith("where others got another one")


def test_a_stream_that_says_that_it_begins_anew_owes_nothing_from_before(ledger: Ledger) -> None:
    reader = live(ledger, StreamReader)
    sent(ledger)
    reader.begin_anew("m1")
    found = sent(ledger)
    reader.take(found, "m2")
    reader.finish(ledger.stamp())
    assert ledger.violations == []


def holding(ledger: Ledger, **more: Any) -> Holding:
    return Holding(ledger, PLACE, "queue", ledger.stamp(), **more)


def test_a_queue_may_give_again_what_is_marked_and_nothing_is_owed_once_it_is_settled(
    ledger: Ledger,
) -> None:
    queue = holding(ledger, ordered=True)
    found = [sent(ledger) for _ in range(3)]
    for each in found:
        queue.take(each, False)
    queue.take(found[0], True)
    queue.settle(found[0].name)
    queue.perhaps.add(found[1].name)
    queue.settle(found[2].name, acknowledged=False)
    queue.bury(found[2])
    queue.finish(ledger.stamp())
    assert ledger.violations == []


WRONG: list[tuple[str, Callable[[Holding, Publication, Publication], object]]] = [
    ("twice without redelivered", lambda q, a, b: (q.take(a, False), q.take(a, False))),
    ("behind a later one", lambda q, a, b: (q.take(b, False), q.take(a, False))),
    ("which was settled", lambda q, a, b: (q.settle(a.name), q.take(a, True))),
    ("it was acknowledged", lambda q, a, b: (q.settle(a.name), q.bury(a))),
    ("died twice", lambda q, a, b: (q.bury(a), q.bury(a))),
]


@pytest.mark.parametrize(("told", "act"), WRONG, ids=[told for told, _ in WRONG])
def test_what_a_queue_must_not_do_is_told(
    ledger: Ledger, told: str, act: Callable[[Holding, Publication, Publication], object]
) -> None:
    act(holding(ledger, ordered=True), sent(ledger), sent(ledger))
    assert told in complaint(ledger)


def test_what_a_queue_lost_is_told_and_what_was_rejected_and_did_not_die(ledger: Ledger) -> None:
    queue = holding(ledger)
    lost, rejected = sent(ledger), sent(ledger)
    queue.settle(rejected.name, acknowledged=False)
    queue.finish(ledger.stamp())
    assert ledger.violations == [
        f"queue lost {lost.name}",
        f"queue: {rejected.name} was rejected, and is no dead letter",
    ]


# The server

PROBE = {
    "counters": dict.fromkeys(ZERO, 0),
    "sessions": 0,
    "queued": 0,
    "running": 0,
    "objects": 1_000,
    "descriptors": 8,
    "memory": 1_000,
}


def test_a_server_that_is_as_before_is_no_violation() -> None:
    assert judge_probe(PROBE, PROBE, PROBE) == []
    assert judge_log(0, "WARNING stocksync_ws.broker something was slow\n") == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sessions", 1),
        ("queued", 1),
        ("running", 1),
        ("descriptors", 9),
        ("objects", 1_001 + OBJECTS),
        ("memory", 1_001 + MEMORY),
    ],
)
def test_what_a_server_keeps_is_told(name: str, value: int) -> None:
    (told,) = judge_probe(PROBE | {name: value}, PROBE, PROBE)
    assert told.startswith(name)


@pytest.mark.parametrize("name", ZERO)
def test_a_counter_that_moved_is_told(name: str) -> None:
    counters = PROBE["counters"] | {name: 1}  # type: ignore[operator]
    assert judge_probe(PROBE | {"counters": counters}, PROBE, PROBE) == [f"{name}=1"]


@pytest.mark.parametrize("line", ["ERROR stocksync_ws.broker bad", "Traceback (most recent call"])
def test_an_error_in_its_log_is_told(line: str) -> None:
    assert judge_log(1, f"WARNING x\n{line}\n") == ["the server ended with 1", line]

"""What an engine behind several workers must keep: one check for each sentence of the contract of
`stocksync_ws.backplane.Backplane`. Whoever writes an engine runs them against it:

    @pytest.mark.parametrize("check", CHECKS, ids=str)
    def test_the_engine_keeps_its_contract(check: Check) -> None:
        asyncio.run(check(Engine(make_backplane(), cut)))

Rule: only commands and events are looked at. A check makes channels of its own by a random name, so
that an engine that keeps things between two runs is no hindrance. What cannot be seen from outside,
as a push that is late, is not checked.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from stocksync_ws.backplane import (
    Append,
    Appended,
    AppendOutcome,
    Backplane,
    BackplaneEvent,
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
from stocksync_ws.position import Position, generation_end

__all__ = ["CHECKS", "RESTARTS", "Check", "Engine"]

E = TypeVar("E", bound=BackplaneEvent)

PATIENCE = 5.0
"""Seconds in which an event must come."""
ALL = Keep(1_000, 60.0)
DONE = (AppendOutcome.ACCEPTED, AppendOutcome.REPEATED)


@dataclass
class Engine:
    """An engine, and what can be done to it."""

    backplane: Backplane
    cut: Callable[[], Awaitable[None]]
    """Every connection is lost, with what is on its way, and comes again."""
    save: Callable[[], Awaitable[None]] | None = None
    """What it has now is on its disk."""
    restart: Callable[[bool], Awaitable[None]] | None = None
    """It comes back as another run: with all it has (True), or with what was saved last."""

    workers: list[Worker] = field(default_factory=list)

    def worker(self) -> Worker:
        made = Worker(self.backplane)
        self.workers.append(made)
        return made

    async def end(self) -> None:
        """Every worker ends."""
        for worker in self.workers:
            worker.link.close()
        await asyncio.sleep(0)  # what was closed ends in the next turn

    def channel(self) -> str:
        """One that nobody has ever used."""
        return f"/topic/{secrets.token_hex(8)}"

    def neighbours(self) -> tuple[str, str]:
        """Two channels of one partition."""
        first = self.channel()
        while True:
            second = self.channel()
            if self.backplane.partition(first) == self.backplane.partition(second):
                return first, second


@dataclass(frozen=True)
class Check:
    """One sentence of the contract."""

    name: str
    run: Callable[[Engine], Awaitable[None]]

    def __str__(self) -> str:
        return self.name

    async def __call__(self, engine: Engine) -> None:
        try:
            await self.run(engine)
        finally:
            await engine.end()


CHECKS: list[Check] = []
"""Those that every engine can be asked."""
RESTARTS: list[Check] = []
"""Those that need `Engine.save` and `Engine.restart`."""


def check(run: Callable[[Engine], Awaitable[None]]) -> Callable[[Engine], Awaitable[None]]:
    CHECKS.append(Check(run.__name__, run))
    return run


def restarts(run: Callable[[Engine], Awaitable[None]]) -> Callable[[Engine], Awaitable[None]]:
    RESTARTS.append(Check(run.__name__, run))
    return run


class Worker:
    """A worker that keeps what it is told."""

    def __init__(self, backplane: Backplane) -> None:
        self.events: list[BackplaneEvent] = []
        self.threads: set[int] = set()
        self._new = asyncio.Event()
        self._turn = self._number = 0
        self.link = backplane.open(secrets.token_hex(8), "", self._receive)

    def _receive(self, events: Sequence[BackplaneEvent]) -> None:
        self.threads.add(threading.get_ident())
        self.events += events
        self._new.set()

    async def until(
        self, kind: type[E], fits: Callable[[E], bool] = lambda event: True, since: int = 0
    ) -> E:
        """The first event that fits."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for event in self.events[since:]:
                    if isinstance(event, kind) and fits(event):
                        return event
                self._new.clear()
                await self._new.wait()

    async def connected(self) -> Worker:
        await self.until(Connected)
        return self

    def number(self) -> int:
        self._number += 1
        return self._number

    async def sent(self, append: Append) -> Appended:
        """An append, and its answer."""
        since = len(self.events)
        self.link.send([append])
        return await self.until(Appended, lambda event: event.number == append.number, since)

    async def append(
        self,
        channel: str,
        payload: bytes = b"x",
        keep: Keep = ALL,
        seen: Position | None = None,
    ) -> Position:
        """One message, which must be accepted; its position."""
        answer = await self.sent(one(self.number(), channel, payload, keep, seen))
        assert answer.outcome is AppendOutcome.ACCEPTED, answer
        assert len(answer.positions) == 1, answer
        return answer.positions[0]

    async def subscribe(self, channel: str) -> None:
        self._turn += 1
        turn = self._turn
        self.link.send([Subscribe(channel, turn)])
        told = await self.until(Subscribed, lambda event: event.turn == turn)
        assert told.channel == channel, told

    async def read(
        self, channel: str, start: int | None = 1, seen: Position | None = None
    ) -> History:
        self._turn += 1
        turn = self._turn
        self.link.send([Read(channel, turn, start, seen)])
        told = await self.until(History, lambda event: event.turn == turn)
        assert told.channel == channel, told
        return told

    async def read_all(self, channel: str) -> tuple[History, list[tuple[Position, bytes]]]:
        """All that is kept, page by page."""
        found: list[tuple[Position, bytes]] = []
        start = 1
        while True:
            history = await self.read(channel, start)
            found += history.entries
            assert start <= history.complete_to + 1, "a read does not go on"
            if history.complete_to >= history.top.offset:
                return history, found
            start = history.complete_to + 1

    def pushes(self, channel: str) -> list[Pushed]:
        found = [event for event in self.events if isinstance(event, Pushed)]
        return [push for push in found if push.channel == channel]


def one(
    number: int,
    channel: str,
    payload: bytes = b"x",
    keep: Keep = ALL,
    seen: Position | None = None,
    **more: str,
) -> Append:
    """An append of one message."""
    return Append(number, (Item(channel, payload, keep, seen),), **more)


# 1: appends


@check
async def an_append_gets_the_offset_behind_the_last_one_whoever_sends_it(engine: Engine) -> None:
    first, second = await engine.worker().connected(), await engine.worker().connected()
    channel = engine.channel()
    found = [await worker.append(channel) for worker in (first, second, second, first)]
    assert [each.offset for each in found] == [1, 2, 3, 4]
    assert len({each.epoch for each in found}) == 1


@check
async def an_append_of_several_messages_is_one_step(engine: Engine) -> None:
    worker = await engine.worker().connected()
    one_channel, other = engine.neighbours()
    before = await worker.append(other, b"before")
    items = (
        Item(one_channel, b"a", ALL, None),
        Item(other, b"b", ALL, None),
        Item(one_channel, b"c", ALL, None),
    )
    answer = await worker.sent(Append(worker.number(), items))
    assert answer.outcome is AppendOutcome.ACCEPTED
    assert [each.offset for each in answer.positions] == [1, before.offset + 1, 2]
    assert [body for _, body in (await worker.read(one_channel)).entries] == [b"a", b"c"]
    assert [body for _, body in (await worker.read(other)).entries] == [b"before", b"b"]


@check
async def what_is_appended_is_kept_under_its_position(engine: Engine) -> None:
    worker = await engine.worker().connected()
    channel = engine.channel()
    payloads = [b"", b"\x00\xff", b"x" * 100_000]
    positions = [await worker.append(channel, payload) for payload in payloads]
    _, entries = await worker.read_all(channel)
    assert entries == list(zip(positions, payloads, strict=True))


@check
async def what_is_appended_is_pushed_to_every_subscriber_and_to_nobody_else(
    engine: Engine,
) -> None:
    one_worker, other, outside = [await engine.worker().connected() for _ in range(3)]
    channel = engine.channel()
    await one_worker.subscribe(channel)
    await other.subscribe(channel)
    position = await one_worker.append(channel, b"hello")
    for worker in (one_worker, other):
        push = await worker.until(Pushed)
        assert (push.channel, push.position, push.payload) == (channel, position, b"hello")
    await outside.append(channel)
    await outside.read(channel)
    assert not outside.pushes(channel)


@check
async def the_newest_messages_are_kept_and_what_has_aged_is_told(engine: Engine) -> None:
    worker = await engine.worker().connected()
    channel = engine.channel()
    for number in range(10):
        await worker.append(channel, b"%d" % number, Keep(3, 60.0))
    history, entries = await worker.read_all(channel)
    offsets = [position.offset for position, _ in entries]
    assert offsets == list(range(history.lost + 1, 11)), "what is above `lost` is there"
    assert len(offsets) >= 3
    assert [body for _, body in entries][-3:] == [b"7", b"8", b"9"]


@check
async def what_is_older_than_it_may_be_leaves_the_channel(engine: Engine) -> None:
    """Not at once, but while others come: what is used for ever keeps nothing for ever."""
    worker = await engine.worker().connected()
    plain, slotted = engine.channel(), engine.channel()
    for number in range(3):
        await worker.append(plain, b"old", Keep(1_000, 1.0))
        await worker.append(slotted, b"old", Keep(1_000, 1.0, str(number)))
    await asyncio.sleep(2.1)  # the age is counted by the engine
    for _ in range(40):
        await worker.append(plain, b"new", Keep(1_000, 1.0))
        await worker.append(slotted, b"new", Keep(1_000, 1.0, "new"))
    history, entries = await worker.read_all(plain)
    assert {body for _, body in entries} == {b"new"}
    assert history.lost >= 3
    history, entries = await worker.read_all(slotted)
    assert [body for _, body in entries] == [b"new"]
    assert 3 <= history.lost < history.top.offset


@check
async def a_message_takes_the_place_of_the_one_in_its_slot_which_is_not_lost(
    engine: Engine,
) -> None:
    worker = await engine.worker().connected()
    channel = engine.channel()
    for slot, body in (("a", b"1"), ("b", b"2"), ("a", b"3"), ("c", b"4")):
        await worker.append(channel, body, Keep(1_000, 60.0, slot))
    history, entries = await worker.read_all(channel)
    assert [(position.offset, body) for position, body in entries] == [
        (2, b"2"),
        (3, b"3"),
        (4, b"4"),
    ]
    assert history.lost == 0


# 2: appends that come again


@check
async def an_append_that_was_done_is_answered_as_then_and_does_nothing_more(
    engine: Engine,
) -> None:
    worker = await engine.worker().connected()
    channel = engine.channel()
    await worker.subscribe(channel)
    append = one(worker.number(), channel, b"once")
    first = await worker.sent(append)
    again = await worker.sent(append)
    assert again.outcome is AppendOutcome.REPEATED
    assert again.positions == first.positions
    history, entries = await worker.read_all(channel)
    assert history.top.offset == len(entries) == 1


@check
async def all_that_may_come_again_is_answered_as_then(engine: Engine) -> None:
    worker = await engine.worker().connected()
    channel = engine.channel()
    appends = [replace(one(number, channel), oldest=2) for number in (1, 2, 3, 4)]
    found = [await worker.sent(append) for append in appends]
    again = [await worker.sent(append) for append in appends[1:]]
    assert {each.outcome for each in again} == {AppendOutcome.REPEATED}
    assert [each.positions for each in again] == [each.positions for each in found[1:]]
    assert (await worker.read(channel)).top.offset == 4


@check
async def one_that_was_not_done_does_nothing_behind_a_later_one(engine: Engine) -> None:
    worker = await engine.worker().connected()
    channel = engine.channel()
    await worker.sent(replace(one(2, channel), oldest=1))
    late = await worker.sent(replace(one(1, channel), oldest=1))
    assert (late.outcome, late.positions) == (AppendOutcome.REPEATED, ())
    assert (await worker.read(channel)).top.offset == 1


@check
async def one_of_several_messages_does_nothing_behind_a_later_one_of_any_channel(
    engine: Engine,
) -> None:
    worker = await engine.worker().connected()
    one_channel, other = engine.neighbours()
    await worker.sent(replace(one(2, other), oldest=1))
    items = Item(one_channel, b"a", ALL, None), Item(other, b"b", ALL, None)
    for both in (items, items[::-1]):
        late = await worker.sent(Append(1, both, oldest=1))
        assert (late.outcome, late.positions) == (AppendOutcome.REPEATED, ())
    assert (await worker.read(one_channel)).top.offset == 0
    assert (await worker.read(other)).top.offset == 1


@check
async def an_append_with_a_lower_number_does_nothing(engine: Engine) -> None:
    worker = await engine.worker().connected()
    channel = engine.channel()
    first, second = one(1, channel, b"first"), one(2, channel, b"second")
    await worker.sent(first)
    await worker.sent(second)
    answer = await worker.sent(first)
    assert answer.outcome is AppendOutcome.REPEATED
    assert (await worker.read(channel)).top.offset == 2


@check
async def numbers_are_those_of_one_worker(engine: Engine) -> None:
    first, second = await engine.worker().connected(), await engine.worker().connected()
    channel = engine.channel()
    assert (await first.sent(one(7, channel, b"a"))).outcome is AppendOutcome.ACCEPTED
    assert (await second.sent(one(7, channel, b"b"))).outcome is AppendOutcome.ACCEPTED
    assert (await first.read(channel)).top.offset == 2


@check
async def numbers_are_known_for_each_channel(engine: Engine) -> None:
    worker = await engine.worker().connected()
    one_channel, other = engine.channel(), engine.channel()
    append = one(1, one_channel)
    first = await worker.sent(append)
    await worker.sent(one(2, other))
    again = await worker.sent(append)
    assert (again.outcome, again.positions) == (AppendOutcome.REPEATED, first.positions)


@check
async def an_append_that_is_sent_again_on_another_connection_is_done_once(
    engine: Engine,
) -> None:
    worker = await engine.worker().connected()
    channel = engine.channel()
    for number in range(1, 6):
        append = one(number, channel, b"%d" % number)
        since = len(worker.events)
        worker.link.send([append])
        await engine.cut()
        await worker.until(Connected, since=since)
        answer = await worker.sent(append)
        assert answer.outcome in DONE
    _, entries = await worker.read_all(channel)
    assert [body for _, body in entries] == [b"1", b"2", b"3", b"4", b"5"]


@check
async def an_append_with_a_key_is_done_once_whoever_sends_it(engine: Engine) -> None:
    first, second = await engine.worker().connected(), await engine.worker().connected()
    channel, key = engine.channel(), secrets.token_hex(8)
    done = await first.sent(one(first.number(), channel, b"a", key=key, digest="d"))
    again = await second.sent(one(second.number(), channel, b"a", key=key, digest="d"))
    assert again.outcome is AppendOutcome.DUPLICATE
    assert again.positions == done.positions
    other = await second.sent(one(second.number(), channel, b"b", key=key, digest="e"))
    assert other.outcome is AppendOutcome.MISMATCH
    assert (await first.read(channel)).top.offset == 1


# 3 and 4: pushes


@check
async def pushes_come_in_the_order_of_their_offsets_and_each_names_the_one_before(
    engine: Engine,
) -> None:
    first, second = await engine.worker().connected(), await engine.worker().connected()
    channel = engine.channel()
    await first.subscribe(channel)
    for _ in range(20):
        first.link.send([one(first.number(), channel) for _ in range(2)])
        second.link.send([one(second.number(), channel) for _ in range(2)])
    await first.until(Pushed, lambda push: push.position.offset == 80)
    pushes = first.pushes(channel)
    offsets = [push.position.offset for push in pushes]
    assert offsets == sorted(offsets)
    assert all(push.after == push.position.offset - 1 for push in pushes)


@check
async def a_push_behind_replaced_messages_names_the_one_before(engine: Engine) -> None:
    worker = await engine.worker().connected()
    channel = engine.channel()
    await worker.subscribe(channel)
    for _ in range(3):
        await worker.append(channel, keep=Keep(1_000, 60.0, "a"))
    await worker.until(Pushed, lambda push: push.position.offset == 3)
    assert [(push.after, push.position.offset) for push in worker.pushes(channel)] == [
        (0, 1),
        (1, 2),
        (2, 3),
    ]


@check
async def what_is_appended_after_the_answer_to_a_subscribe_is_pushed(engine: Engine) -> None:
    reader, writer = await engine.worker().connected(), await engine.worker().connected()
    for _ in range(10):
        channel = engine.channel()
        await reader.subscribe(channel)
        position = await writer.append(channel)
        push = await reader.until(Pushed, lambda push, name=channel: push.channel == name)  # type: ignore[misc]
        assert push.position == position


@check
async def a_channel_that_is_left_is_pushed_no_more(engine: Engine) -> None:
    worker = await engine.worker().connected()
    left, other = engine.channel(), engine.channel()
    await worker.subscribe(left)
    await worker.subscribe(other)
    worker.link.send([Unsubscribe(left)])
    await worker.append(left)
    await worker.append(other)
    await worker.until(Pushed, lambda push: push.channel == other)
    assert not worker.pushes(left)


@check
async def a_channel_may_be_subscribed_again_on_a_new_connection(engine: Engine) -> None:
    worker = await engine.worker().connected()
    channel = engine.channel()
    await worker.subscribe(channel)
    since = len(worker.events)
    await engine.cut()
    await worker.until(Connected, since=since)
    await worker.subscribe(channel)
    position = await worker.append(channel)
    assert (await worker.until(Pushed)).position == position


# 5: reads


@check
async def a_channel_begins_empty_and_with_its_first_append(engine: Engine) -> None:
    worker = await engine.worker().connected()
    channel = engine.channel()
    history = await worker.read(channel)
    assert (history.top.offset, history.lost, history.entries) == (0, 0, ())
    assert history.complete_to == 0
    position = await worker.append(channel, seen=history.top)
    assert (position.epoch, position.offset) == (history.top.epoch, 1)
    assert "." not in position.epoch
    assert Position.parse(str(position)) == position


@check
async def a_read_is_no_older_than_its_command(engine: Engine) -> None:
    reader, writer = await engine.worker().connected(), await engine.worker().connected()
    channel = engine.channel()
    for _ in range(10):
        position = await writer.append(channel)
        history, entries = await reader.read_all(channel)
        assert history.top == position
        assert entries[-1][0] == position


@check
async def a_read_tells_what_stands_at_its_start_and_behind_it(engine: Engine) -> None:
    worker = await engine.worker().connected()
    channel = engine.channel()
    positions = [await worker.append(channel) for _ in range(5)]
    history = await worker.read(channel, 4)
    assert [position for position, _ in history.entries] == positions[3:]
    assert history.top == positions[-1]
    assert history.complete_to == 5
    behind = await worker.read(channel, 6)
    assert (behind.entries, behind.complete_to) == ((), 5)


@check
async def a_read_without_a_start_tells_where_the_channel_stands(engine: Engine) -> None:
    worker = await engine.worker().connected()
    channel = engine.channel()
    position = await worker.append(channel)
    history = await worker.read(channel, None)
    assert (history.top, history.entries) == (position, ())
    assert history.complete_to == position.offset


@check
async def a_long_channel_is_read_page_by_page(engine: Engine) -> None:
    worker = await engine.worker().connected()
    channel = engine.channel()
    payloads = [b"%d" % number + b" " * 10_000 for number in range(200)]
    for payload in payloads:
        worker.link.send([one(worker.number(), channel, payload)])
    await worker.until(Appended, lambda event: event.number == 200)
    _, entries = await worker.read_all(channel)
    assert [body for _, body in entries] == payloads
    assert [position.offset for position, _ in entries] == list(range(1, 201))


@check
async def the_generation_of_a_message_is_known(engine: Engine) -> None:
    worker = await engine.worker().connected()
    channel = engine.channel()
    position = await worker.append(channel)
    history = await worker.read(channel)
    assert generation_end(history.begins, position.generation, history.top.offset) == 1


# 7: events and connections


@check
async def events_come_on_the_thread_of_the_loop(engine: Engine) -> None:
    worker = await engine.worker().connected()
    await worker.append(engine.channel())
    assert worker.threads == {threading.get_ident()}


@check
async def a_lost_connection_is_told_and_so_is_the_next_one(engine: Engine) -> None:
    worker = await engine.worker().connected()
    await engine.cut()
    await worker.until(Lost)
    await worker.until(Connected, since=1)
    kinds = [type(event) for event in worker.events]
    assert kinds[0] is Connected
    assert kinds[-2:] == [Lost, Connected]


@check
async def nothing_of_a_lost_connection_is_told_on_the_next_one(engine: Engine) -> None:
    worker = await engine.worker().connected()
    channel = engine.channel()
    for number in range(1, 6):
        since = len(worker.events)
        worker.link.send([Read(channel, -number, 1, None), one(number, channel)])
        await engine.cut()
        await worker.until(Connected, since=since)
        await worker.read(channel)
        await worker.sent(one(number, channel))
        connected = worker.events.index(Connected(), since)
        lost = next(at for at in range(since, connected) if isinstance(worker.events[at], Lost))
        assert lost == connected - 1, "something is told without a connection"
        told = worker.events[connected:]
        assert not any(isinstance(event, History) and event.turn < 0 for event in told)
        answers = [each for each in told if isinstance(each, Appended) and each.number == number]
        assert len(answers) == 1


@check
async def a_worker_that_has_ended_is_told_nothing(engine: Engine) -> None:
    ended, other = await engine.worker().connected(), await engine.worker().connected()
    channel = engine.channel()
    await ended.subscribe(channel)
    await other.subscribe(channel)
    ended.link.send([Read(channel, 99, 1, None)])
    ended.link.close()
    count = len(ended.events)
    await other.append(channel)
    await other.until(Pushed)
    await engine.cut()
    await other.until(Connected, since=1)
    await other.read(channel)
    assert len(ended.events) == count


# 8: answers


@check
async def every_command_is_answered_in_whatever_company_it_comes(engine: Engine) -> None:
    worker = await engine.worker().connected()
    channels = [engine.channel() for _ in range(50)]
    for turn, channel in enumerate(channels):
        worker.link.send(
            [
                Subscribe(channel, turn),
                one(worker.number(), channel),
                Read(channel, 1_000 + turn, 1, None),
            ]
        )
    for turn in range(50):
        await worker.until(Subscribed, lambda event, turn=turn: event.turn == turn)  # type: ignore[misc]
        await worker.until(Appended, lambda event, turn=turn: event.number == turn + 1)  # type: ignore[misc]
        await worker.until(History, lambda event, turn=turn: event.turn == 1_000 + turn)  # type: ignore[misc]


# 6: an engine that comes back


async def _back(engine: Engine, worker: Worker, *, keeps: bool) -> None:
    """The engine comes back, and the worker has a connection again."""
    assert engine.restart is not None
    since = len(worker.events)
    await engine.restart(keeps)
    await worker.until(Connected, since=since)


async def _save(engine: Engine) -> None:
    assert engine.save is not None
    await engine.save()


@restarts
async def an_engine_that_comes_back_with_all_it_had_goes_on(engine: Engine) -> None:
    worker = await engine.worker().connected()
    channel = engine.channel()
    seen = await worker.append(channel, b"a")
    await _back(engine, worker, keeps=True)
    history = await worker.read(channel, 1, seen)
    assert history.top.epoch == seen.epoch
    assert generation_end(history.begins, seen.generation, history.top.offset) == seen.offset
    assert [(position, body) for position, body in history.entries] == [(seen, b"a")]
    position = await worker.append(channel, b"b", seen=seen)
    assert (position.epoch, position.offset) == (seen.epoch, 2)


@restarts
async def an_engine_that_comes_back_begins_a_new_generation(engine: Engine) -> None:
    worker = await engine.worker().connected()
    channel = engine.channel()
    seen = await worker.append(channel)
    await _back(engine, worker, keeps=True)
    position = await worker.append(channel)
    assert position.generation != seen.generation
    history = await worker.read(channel)
    assert history.begins[-1] == (position.generation, seen.offset)
    assert [number for number, _ in history.begins][-2:] == [seen.generation, position.generation]


@restarts
async def a_position_never_names_two_messages(engine: Engine) -> None:
    worker = await engine.worker().connected()
    channel = engine.channel()
    await worker.append(channel)
    await _save(engine)
    names = set()
    for _ in range(4):
        names.add(str(await worker.append(channel)))
        names.add(str(await worker.append(channel)))
        await _back(engine, worker, keeps=False)
    assert len(names) == 8


@restarts
async def who_has_seen_what_is_gone_makes_the_channel_begin_anew(engine: Engine) -> None:
    worker, other = await engine.worker().connected(), await engine.worker().connected()
    channel = engine.channel()
    kept = await worker.append(channel, b"kept")
    await _save(engine)
    gone = await worker.append(channel, b"gone")
    await _back(engine, worker, keeps=False)
    await other.until(Connected, since=1)
    history = await other.read(channel, 1, kept)
    assert history.top.epoch == kept.epoch, "who has seen no more than is left sees no difference"
    history = await worker.read(channel, gone.offset + 1, gone)
    assert history.top.epoch != kept.epoch
    assert (history.top.offset, history.lost, history.entries) == (0, 0, ())
    after = await other.read(channel, kept.offset + 1, kept)
    assert after.top == history.top


@restarts
async def who_has_seen_what_is_gone_may_also_be_the_one_who_appends(engine: Engine) -> None:
    worker = await engine.worker().connected()
    channel = engine.channel()
    await worker.append(channel, b"kept")
    await _save(engine)
    gone = await worker.append(channel, b"gone")
    await _back(engine, worker, keeps=False)
    position = await worker.append(channel, b"new", seen=gone)
    assert position.epoch != gone.epoch
    assert position.offset == 1


@restarts
async def what_is_gone_is_seen_by_its_generation_however_long_the_channel_is(
    engine: Engine,
) -> None:
    worker = await engine.worker().connected()
    channel = engine.channel()
    await worker.append(channel, b"kept")
    await _save(engine)
    gone = await worker.append(channel, b"gone")
    await _back(engine, worker, keeps=False)
    for _ in range(3):
        await worker.append(channel, b"new")
    history = await worker.read(channel, gone.offset + 1, gone)
    assert history.top.epoch != gone.epoch


@restarts
async def a_generation_of_a_run_that_is_gone_is_not_known(engine: Engine) -> None:
    worker = await engine.worker().connected()
    channel = engine.channel()
    await worker.append(channel, b"kept")
    await _save(engine)
    await _back(engine, worker, keeps=True)
    gone = await worker.append(channel, b"of a run between")
    await _back(engine, worker, keeps=False)
    await worker.append(channel, b"new")
    history = await worker.read(channel, gone.offset + 1, gone)
    assert history.top.epoch != gone.epoch


@restarts
async def an_engine_that_has_lost_everything_has_other_epochs(engine: Engine) -> None:
    worker = await engine.worker().connected()
    await _save(engine)
    channel = engine.channel()
    gone = await worker.append(channel)
    await _back(engine, worker, keeps=False)
    history = await worker.read(channel, 2, gone)
    assert history.top.epoch != gone.epoch
    assert history.top.offset == 0


@restarts
async def numbers_are_known_to_an_engine_that_has_all_it_had(engine: Engine) -> None:
    worker = await engine.worker().connected()
    channel = engine.channel()
    append = one(1, channel)
    first = await worker.sent(append)
    await _back(engine, worker, keeps=True)
    again = await worker.sent(append)
    assert (again.outcome, again.positions) == (AppendOutcome.REPEATED, first.positions)

"""The engine in memory keeps the contract of an engine; one that breaks a rule of it is seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
from backplanes import CHECKS, RESTARTS, Check, Engine

from stocksync_ws.backplane import (
    Append,
    Appended,
    AppendOutcome,
    History,
    Item,
    Keep,
    Pushed,
    Read,
)
from stocksync_ws.position import Position
from stocksync_ws.testing.backplane import MemoryBackplane, MemoryEngine, MemoryLink
from stocksync_ws.testing.clock import VirtualLoop


def engine_in_memory(page: int = 2_000) -> Engine:
    backplane = MemoryBackplane(page=page)
    saved: list[object] = []

    async def cut() -> None:
        backplane.disconnect()
        backplane.reconnect()

    async def save() -> None:
        saved.append(backplane.engine.snapshot())

    async def restart(keeps: bool) -> None:
        backplane.restart(backplane.engine.snapshot() if keeps else saved[-1])

    return Engine(backplane, cut, save, restart)


def run(check: Check, page: int = 2_000) -> None:
    loop = VirtualLoop()
    try:
        loop.run(run_on_it(check, page))
    finally:
        loop.close()


async def run_on_it(check: Check, page: int) -> None:
    await check(engine_in_memory(page))


@pytest.mark.parametrize("page", [2_000, 7])
@pytest.mark.parametrize("check", [*CHECKS, *RESTARTS], ids=str)
def test_the_engine_in_memory_keeps_the_contract(check: Check, page: int) -> None:
    run(check, page)


# Engines that break one rule each

append, put, read, find = (
    MemoryEngine.append,
    MemoryEngine._put,
    MemoryEngine.read,
    MemoryEngine._find,
)
execute, drop = MemoryLink.execute, MemoryLink._drop
Answer = tuple[Appended, list[Pushed]]


def forgets_numbers(self: Any, worker: str, command: Append, at: float) -> Answer:
    self._producers.clear()
    return append(self, worker, command, at)


def numbers_of_all(self: Any, worker: str, command: Append, at: float) -> Answer:
    return append(self, "all", command, at)


def numbers_of_no_channel(self: Any, worker: str, command: Append, at: float) -> Answer:
    answer = append(self, worker, command, at)
    for known in list(self._producers):
        if known[1] != command.items[0].channel:
            del self._producers[known]
    return answer


def forgets_keys(self: Any, worker: str, command: Append, at: float) -> Answer:
    return append(self, worker, replace(command, key=""), at)


def repeats_without_position(self: Any, worker: str, command: Append, at: float) -> Answer:
    answer, pushes = append(self, worker, command, at)
    if answer.outcome is AppendOutcome.REPEATED:
        answer = replace(answer, positions=())
    return answer, pushes


def knows_the_last_only(self: Any, worker: str, command: Append, at: float) -> Answer:
    return append(self, worker, replace(command, oldest=command.number), at)


def does_what_comes_late(self: Any, worker: str, command: Append, at: float) -> Answer:
    known = self._producers.get((worker, command.items[0].channel), {})
    if command.number not in known:
        self._producers.pop((worker, command.items[0].channel), None)
    return append(self, worker, command, at)


def takes_the_first_only(self: Any, worker: str, command: Append, at: float) -> Answer:
    return append(self, worker, replace(command, items=command.items[:1]), at)


def keeps_one_less(self: Any, item: Item, at: float) -> Pushed:
    keep = item.keep._replace(messages=max(1, item.keep.messages - 1))
    return put(self, replace(item, keep=keep), at)


def keeps_no_slots(self: Any, item: Item, at: float) -> Pushed:
    return put(self, replace(item, keep=Keep(item.keep.messages, item.keep.seconds)), at)


def loses_what_is_replaced(self: Any, item: Item, at: float) -> Pushed:
    push = put(self, item, at)
    channel = self._channels[item.channel]
    channel.lost = max(channel.lost, min(channel.entries) - 1)
    return push


def names_the_one_kept_before(self: Any, item: Item, at: float) -> Pushed:
    found = self._find(item.channel, item.seen).entries
    before = [offset for offset, each in found.items() if each[2] != item.keep.slot or not each[2]]
    return replace(put(self, item, at), after=max(before, default=0))


def says_nothing_of_what_has_aged(self: Any, command: Read) -> History:
    return read(self, command)._replace(lost=0)


def reads_from_the_beginning(self: Any, command: Read) -> History:
    return read(self, command._replace(start=1))


def reads_one_page(self: Any, command: Read) -> History:
    history = read(self, command)
    return history._replace(complete_to=history.top.offset)


def reads_what_was(self: Any, command: Read) -> History:
    then = self.__dict__.setdefault("then", {})
    history = then.get(command.channel, None) or read(self, command)
    then[command.channel] = read(self, command)
    return history._replace(turn=command.turn)


def no_generations(self: Any, name: str, seen: Position | None) -> Any:
    if name in self._channels:
        self._channels[name].run = self._run
    return find(self, name, None)


def counts_generations(self: Any, name: str, seen: Position | None) -> Any:
    channel = self._channels.get(name)
    if channel is not None and channel.run != self._run:
        channel.run = self._run
        channel.generation += 1
        channel.begins.append((channel.generation, channel.top))
    return find(self, name, seen)


def looks_at_no_seen(self: Any, name: str, seen: Position | None) -> Any:
    return find(self, name, None)


def looks_at_the_length(self: Any, name: str, seen: Position | None) -> Any:
    channel = find(self, name, None)
    if seen is not None and seen.epoch == channel.epoch and seen.offset > channel.top:
        return find(self, name, seen)
    return channel


def epochs_come_again(self: Any) -> Any:
    channel = anew(self)
    channel.epoch = "e"
    return channel


anew = MemoryEngine._anew


def forgets_turns(self: Any) -> None:
    execute(self)
    if self.answers and hasattr(self.answers[-1], "turn"):
        self.answers[-1] = self.answers[-1]._replace(turn=1)


def pushes_to_all(self: Any) -> None:
    for link in self._backplane.links.values():
        link.channels.update(item.channel for item in getattr(self.commands[0], "items", ()))
    execute(self)


def pushes_to_others_only(self: Any) -> None:
    before = len(self.pushes)
    execute(self)
    while len(self.pushes) > before:
        self.pushes.pop()


def pushes_the_last_first(self: Any) -> None:
    execute(self)
    self.pushes.reverse()


def pushes_from_the_second_on(self: Any) -> None:
    command = self.commands[0]
    execute(self)
    fresh = self.__dict__.setdefault("fresh", set())
    if type(command).__name__ == "Subscribe":
        fresh.add(command.channel)
    for link in self._backplane.links.values():
        for push in list(link.pushes):
            if push.channel in link.__dict__.get("fresh", ()):
                link.fresh.discard(push.channel)
                link.pushes.remove(push)


def never_leaves(self: Any) -> None:
    if type(self.commands[0]).__name__ == "Unsubscribe":
        self.commands.popleft()
    else:
        execute(self)


def answers_after_the_end(self: Any) -> None:
    self.connected = False
    self.commands.clear()


def sends_again(self: Any) -> None:
    commands = list(self.commands)
    drop(self)
    self.commands.extend(commands)
    self._backplane.moved(self)


def forgets_every_third_answer(self: Any) -> None:
    execute(self)
    self.count = self.__dict__.get("count", 0) + 1
    if self.count % 3 == 0:
        self.answers.pop()


def close_tells(self: Any) -> None:
    """A worker that has ended is told on."""


def says_nothing_of_a_loss(self: Any, reason: str = "") -> None:
    self._drop()


BROKEN: list[tuple[object, str, Callable[..., Any], str]] = [
    (MemoryEngine, "append", forgets_numbers, "an_append_that_was_done"),
    (MemoryEngine, "append", forgets_numbers, "an_append_with_a_lower_number"),
    (MemoryEngine, "append", knows_the_last_only, "all_that_may_come_again"),
    (MemoryEngine, "append", does_what_comes_late, "one_that_was_not_done"),
    (MemoryEngine, "append", numbers_of_all, "numbers_are_those_of_one_worker"),
    (MemoryEngine, "append", numbers_of_no_channel, "numbers_are_known_for_each_channel"),
    (MemoryEngine, "append", forgets_keys, "an_append_with_a_key"),
    (MemoryEngine, "append", repeats_without_position, "an_append_that_was_done"),
    (MemoryEngine, "append", takes_the_first_only, "an_append_of_several_messages"),
    (MemoryEngine, "_put", keeps_one_less, "the_newest_messages_are_kept"),
    (MemoryEngine, "_put", keeps_no_slots, "a_message_takes_the_place"),
    (MemoryEngine, "_put", loses_what_is_replaced, "a_message_takes_the_place"),
    (MemoryEngine, "_put", names_the_one_kept_before, "a_push_behind_replaced_messages"),
    (MemoryEngine, "read", says_nothing_of_what_has_aged, "the_newest_messages_are_kept"),
    (MemoryEngine, "read", reads_from_the_beginning, "a_read_tells_what_stands"),
    (MemoryEngine, "read", reads_from_the_beginning, "a_read_without_a_start"),
    (MemoryEngine, "read", reads_one_page, "a_long_channel_is_read"),
    (MemoryEngine, "read", reads_what_was, "a_read_is_no_older"),
    (MemoryEngine, "_find", no_generations, "a_position_never_names_two"),
    (MemoryEngine, "_find", no_generations, "an_engine_that_comes_back_begins"),
    (MemoryEngine, "_find", counts_generations, "a_position_never_names_two"),
    (MemoryEngine, "_find", looks_at_no_seen, "who_has_seen_what_is_gone_makes"),
    (MemoryEngine, "_find", looks_at_no_seen, "who_has_seen_what_is_gone_may"),
    (MemoryEngine, "_find", looks_at_the_length, "what_is_gone_is_seen_by_its_generation"),
    (MemoryEngine, "_find", looks_at_the_length, "a_generation_of_a_run_that_is_gone"),
    (MemoryEngine, "_anew", epochs_come_again, "an_engine_that_has_lost_everything"),
    (MemoryLink, "execute", forgets_turns, "a_read_is_no_older"),
    (MemoryLink, "execute", pushes_to_all, "what_is_appended_is_pushed"),
    (MemoryLink, "execute", pushes_to_others_only, "what_is_appended_is_pushed"),
    (MemoryLink, "execute", pushes_the_last_first, "pushes_come_in_the_order"),
    (MemoryLink, "execute", pushes_from_the_second_on, "what_is_appended_after_the_answer"),
    (MemoryLink, "execute", never_leaves, "a_channel_that_is_left"),
    (MemoryLink, "_drop", sends_again, "nothing_of_a_lost_connection"),
    (MemoryLink, "execute", forgets_every_third_answer, "every_command_is_answered"),
    (MemoryLink, "close", close_tells, "a_worker_that_has_ended"),
    (MemoryLink, "lose", says_nothing_of_a_loss, "a_lost_connection_is_told"),
]
"""What is replaced, by what, and the check that sees it."""


@pytest.mark.parametrize(
    ("home", "name", "instead", "seen"),
    BROKEN,
    ids=[f"{row[2].__name__}-{row[3]}" for row in BROKEN],
)
def test_an_engine_that_breaks_a_rule_is_seen(
    home: object,
    name: str,
    instead: Callable[..., Any],
    seen: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    found = [check for check in (*CHECKS, *RESTARTS) if check.name.startswith(seen)]
    assert len(found) == 1
    page = 7 if "page" in instead.__name__ else 2_000
    with mock.patch.object(home, name, instead), pytest.raises((AssertionError, TimeoutError)):
        run(found[0], page)
    assert [each.getMessage() for each in caplog.records if each.name == "asyncio"] == [], (
        "the engine breaks itself, not a rule"
    )

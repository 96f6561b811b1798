"""Being told of the exit: order, patience, forks, and hosts whose main thread never ends."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from stocksync_ws.running import at_exit
from stocksync_ws.running.at_exit import AtExit

PATIENCE = 10.0


class Thing:
    """Something that has to end."""

    def __init__(self, told: list[str], name: str, *, ends: bool = True) -> None:
        self.told = told
        self.name = name
        self.ends = ends

    def end_at_exit(self) -> None:
        self.told.append(f"end {self.name}")

    def wait(self, seconds: float) -> bool:
        self.told.append(f"wait {self.name}")
        self.seconds = seconds
        return self.ends


class Process:
    """A process of which the test decides when it exits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pid = 100
        self.patched = False
        self.hooks: list[Callable[[], Any]] = []
        self.watchers: list[tuple[Callable[[], None], str, bool]] = []
        monkeypatch.setattr(os, "getpid", lambda: self.pid)
        monkeypatch.setattr(atexit, "register", self.hooks.append)
        monkeypatch.setattr(at_exit, "is_patched", lambda: self.patched)
        monkeypatch.setattr(at_exit, "start_thread", self._start)

    def _start(self, function: Callable[[], None], name: str, *, daemon: bool) -> None:
        self.watchers.append((function, name, daemon))


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Process:
    return Process(monkeypatch)


@pytest.fixture
def told() -> list[str]:
    return []


def test_one_thread_watches_and_the_interpreter_waits_for_it(
    process: Process, told: list[str]
) -> None:
    exits = AtExit()
    assert process.watchers == []
    exits.add(Thing(told, "a"))
    exits.add(Thing(told, "b"))
    [(_, name, daemon)] = process.watchers
    assert (name, daemon) == ("stocksync-exit", False)
    assert len(process.hooks) == 1


def test_all_begin_to_end_before_any_is_waited_for(process: Process, told: list[str]) -> None:
    exits = AtExit()
    for name in "ab":
        exits.add(Thing(told, name))
    process.hooks[0]()
    assert [each.split()[0] for each in told] == ["end", "end", "wait", "wait"]


def test_the_thread_waits_for_the_main_thread(
    process: Process, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    exits = AtExit()
    exits.add(Thing(told, "a"))
    main = threading.Thread(target=told.append, args=("main ends",))
    main.start()
    monkeypatch.setattr(threading, "main_thread", lambda: main)
    process.watchers[0][0]()
    assert told == ["main ends", "end a", "wait a"]


def test_what_has_ended_is_left_alone(process: Process, told: list[str]) -> None:
    exits = AtExit()
    thing = Thing(told, "a")
    exits.remove(thing)
    exits.add(thing)
    exits.remove(thing)
    process.hooks[0]()
    assert told == []


def test_patience_is_for_all_together_and_who_does_not_end_is_named(
    process: Process,
    told: list[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exits = AtExit()
    things = [Thing(told, "a", ends=False), Thing(told, "b", ends=False)]
    for thing in things:
        exits.add(thing)
    clock = iter((100.0, 100.5, 109.0))
    monkeypatch.setattr(at_exit.time, "monotonic", lambda: next(clock))
    process.hooks[0]()
    assert sorted(thing.seconds for thing in things) == [0.0, at_exit.PATIENCE - 0.5]
    assert len([each for each in caplog.messages if "holds the server's loop" in each]) == 2


def test_greenlets_need_no_thread(process: Process, told: list[str]) -> None:
    process.patched = True
    exits = AtExit()
    exits.add(Thing(told, "a"))
    assert process.watchers == []
    process.hooks[0]()
    assert told == ["end a", "wait a"]


def test_a_forked_child_does_not_end_what_its_parent_serves(
    process: Process, told: list[str]
) -> None:
    exits = AtExit()
    exits.add(Thing(told, "parent"))
    process.pid = 200
    process.hooks[0]()
    assert told == []


def test_a_forked_child_watches_for_itself_and_has_one_hook(
    process: Process, told: list[str]
) -> None:
    exits = AtExit()
    exits.add(Thing(told, "parent"))
    process.pid = 200
    exits.add(Thing(told, "child"))
    assert (len(process.watchers), len(process.hooks)) == (2, 1)
    process.hooks[0]()
    assert told == ["end child", "wait child"]

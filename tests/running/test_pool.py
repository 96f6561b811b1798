"""The pool: how it grows, what it bounds, and what is left of it."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stocksync_ws.running import pool as pool_module
from stocksync_ws.running.pool import Pool

PATIENCE = 10.0


class Threads:
    """The threads that the pool has started; more can be refused."""

    def __init__(self) -> None:
        self.started: list[threading.Thread] = []
        self.refuse = False

    def start(self, function: Callable[[], None], name: str, *, daemon: bool) -> None:
        if self.refuse:
            raise RuntimeError("can't create new thread at interpreter shutdown")
        thread = threading.Thread(target=function, name=name, daemon=daemon)
        thread.start()
        self.started.append(thread)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Threads]:
    threads = Threads()
    monkeypatch.setattr(pool_module, "start_thread", threads.start)
    yield threads
    for thread in threads.started:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "a thread is left"


class Held:
    """Work that begins, and ends when it is told to."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def __call__(self) -> None:
        self.begun.set()
        assert self.go_on.wait(PATIENCE)


def settle(pool: Pool, threads: int) -> None:
    """Let all threads of the pool have nothing to do."""
    gate = threading.Barrier(threads + 1)
    done: queue.SimpleQueue[None] = queue.SimpleQueue()

    def work() -> None:
        gate.wait(PATIENCE)
        done.put(None)

    for _ in range(threads):
        pool.submit(work)
    gate.wait(PATIENCE)
    for _ in range(threads):
        done.get(timeout=PATIENCE)


def test_the_first_thread_starts_with_the_run_and_once(threads: Threads) -> None:
    pool = Pool(3, "its-name")
    assert threads.started == []
    pool.start()
    pool.start()
    [thread] = threads.started
    assert (thread.name, thread.daemon) == ("its-name", True)
    pool.close()


def test_work_for_an_idle_thread_starts_none(threads: Threads) -> None:
    pool = Pool(3, "x")
    pool.start()
    held = Held()
    pool.submit(held)
    assert held.begun.wait(PATIENCE)
    assert len(threads.started) == 1
    held.go_on.set()
    pool.close()


def test_it_grows_while_all_are_busy_up_to_the_bound_and_then_keeps_the_order(
    threads: Threads,
) -> None:
    pool = Pool(2, "x")
    held = [Held(), Held()]
    for number, each in enumerate(held):
        pool.submit(each)
        assert each.begun.wait(PATIENCE)
        assert len(threads.started) == number + 1
    order: list[int] = []
    last = threading.Event()
    for number in range(3):
        pool.submit(lambda number=number: order.append(number))  # type: ignore[misc]
    pool.submit(last.set)
    assert len(threads.started) == 2
    assert order == []
    held[0].go_on.set()
    assert last.wait(PATIENCE)
    assert order == [0, 1, 2]
    held[1].go_on.set()
    pool.close()


def test_what_waits_counts_against_threads_that_are_idle(threads: Threads) -> None:
    pool = Pool(4, "x")
    pool.start()
    held = [Held(), Held(), Held()]
    for each in held:
        pool.submit(each)  # None of them may have begun yet.
    for each in held:
        assert each.begun.wait(PATIENCE), "it waits behind another, although there may be threads"
        each.go_on.set()
    assert len(threads.started) == 3
    pool.close()


def test_threads_are_used_again(threads: Threads) -> None:
    pool = Pool(4, "x")
    settle(pool, 2)
    count = len(threads.started)
    for _ in range(50):
        done = threading.Event()
        pool.submit(done.set)
        assert done.wait(PATIENCE)
    assert len(threads.started) <= max(count, 3)
    pool.close()


def test_where_no_thread_can_be_started_work_waits_for_those_that_there_are(
    threads: Threads,
) -> None:
    pool = Pool(4, "x")
    held = Held()
    pool.submit(held)
    threads.refuse = True
    done = threading.Event()
    pool.submit(done.set)
    held.go_on.set()
    assert done.wait(PATIENCE)
    pool.close()


def test_without_any_thread_who_submits_is_told(threads: Threads) -> None:
    threads.refuse = True
    pool = Pool(4, "x")
    for begin in (pool.start, lambda: pool.submit(lambda: None)):
        with pytest.raises(RuntimeError, match="interpreter shutdown"):
            begin()
    pool.close()


def test_a_closed_pool_takes_nothing_and_drops_what_has_not_begun(threads: Threads) -> None:
    pool = Pool(1, "x")
    held = Held()
    pool.submit(held)
    assert held.begun.wait(PATIENCE)
    ran: list[bool] = []
    pool.submit(lambda: ran.append(True))
    pool.close()
    with pytest.raises(RuntimeError, match="the pool is closed"):
        pool.submit(lambda: None)
    pool.start()
    held.go_on.set()
    threads.started[0].join(PATIENCE)
    assert ran == []
    assert len(threads.started) == 1


def test_nobody_waits_for_work_that_does_not_end(threads: Threads) -> None:
    pool = Pool(1, "x")
    held = Held()
    pool.submit(held)
    pool.close()
    assert threads.started[0].is_alive()
    held.go_on.set()


@pytest.mark.parametrize(("processors", "most"), [(2, 6), (None, 5), (64, 32)])
def test_without_a_number_there_are_four_more_than_processors(
    monkeypatch: pytest.MonkeyPatch, threads: Threads, processors: Any, most: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    pool = Pool(None, "x")
    held = [Held() for _ in range(most + 1)]
    for each in held:
        pool.submit(each)
    for each in held[:-1]:
        assert each.begun.wait(PATIENCE)
    assert len(threads.started) == most
    for each in held:
        each.go_on.set()
    pool.close()

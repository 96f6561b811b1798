"""Native threads, locks and sockets, also where a module like gevent's has replaced them."""

from __future__ import annotations

import _thread
import queue
import socket
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from stocksync_ws.running import native

PATIENCE = 10.0


class Cooperative:
    """What must not be made."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise AssertionError("a cooperative one was made")


class Monkey(SimpleNamespace):
    """The two functions of gevent.monkey that are asked."""

    def __init__(self, *patched: str) -> None:
        self.saved: dict[tuple[str, str], Any] = {}
        self.patched = patched

    def is_module_patched(self, name: str) -> bool:
        return name in self.patched

    def get_original(self, module: str, name: str) -> Any:
        return self.saved.get((module, name), getattr(sys.modules[module], name))


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch) -> Monkey:
    """The application has patched everything."""
    monkey = Monkey("threading", "socket", "queue")
    for module, name in (
        (_thread, "allocate_lock"),
        (_thread, "start_new_thread"),
        (queue, "SimpleQueue"),
        (socket, "socket"),
    ):
        monkey.saved[module.__name__, name] = getattr(module, name)
        monkeypatch.setattr(module, name, Cooperative)
    monkeypatch.setattr(threading, "Thread", Cooperative)
    monkeypatch.setitem(sys.modules, "gevent.monkey", monkey)
    return monkey


def test_nothing_is_patched_where_nothing_was_imported() -> None:
    assert not native.is_patched()


def test_an_imported_gevent_that_has_not_patched_threads_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "gevent.monkey", Monkey("socket"))
    assert not native.is_patched()
    names: list[str] = []
    done = native.new_lock()
    done.acquire()

    def run() -> None:
        names.append(threading.current_thread().name)
        done.release()

    native.start_thread(run, "its-name", daemon=True)
    assert done.acquire(timeout=PATIENCE)
    assert names == ["its-name"]


def test_threads_locks_and_queues_are_native_where_greenlets_stand_in_their_place(
    patched: Monkey,
) -> None:
    assert native.is_patched()
    handed = native.new_queue()
    done = native.new_lock()
    done.acquire()

    def run() -> None:
        handed.put(_thread.get_ident())
        done.release()

    native.start_thread(run, "not given", daemon=True)
    assert done.acquire(timeout=PATIENCE)
    assert handed.get(timeout=PATIENCE) != _thread.get_ident()


def test_sockets_are_native_where_cooperative_ones_stand_in_their_place(patched: Monkey) -> None:
    one, other = native.socket_pair()
    with one, other:
        one.sendall(b"x")
        assert other.recv(1) == b"x"
        assert type(one) is type(other) is patched.saved["socket", "socket"]
        number = other.detach()
        with native.socket_of(number) as again:
            assert (again.fileno(), again.family) == (number, socket.AF_UNIX)


def test_a_thread_that_is_no_daemon_is_waited_for_at_the_exit() -> None:
    seen: list[bool] = []
    for daemon in (True, False):
        done = native.new_lock()
        done.acquire()

        def run(done: Any = done) -> None:
            seen.append(threading.current_thread().daemon)
            done.release()

        native.start_thread(run, "x", daemon=daemon)
        assert done.acquire(timeout=PATIENCE)
    assert seen == [True, False]

"""The epoll of streams: it watches as a loop does, and a turn of the loop serves a bounded part."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable, Iterator
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Any

import pytest

from stocksync_ws.aio.polling import MOST, EpollPoller, poller_of
from stocksync_ws.streams import Poller

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="there is no epoll here")


@pytest.fixture(params=["loop", "epoll"])
def ground(request: pytest.FixtureRequest) -> Iterator[tuple[asyncio.AbstractEventLoop, Poller]]:
    """A loop and a poller on it: the loop itself is one, and shows what is expected."""
    loop = asyncio.new_event_loop()
    at_end: list[Callable[[], None]] = []
    yield loop, loop if request.param == "loop" else poller_of(loop, at_end)
    for callback in at_end:
        callback()
    loop.close()


def turn(loop: asyncio.AbstractEventLoop, times: int = 2) -> None:
    async def turns() -> None:
        for _ in range(times):
            await asyncio.sleep(0)

    loop.run_until_complete(turns())


Ground = tuple[asyncio.AbstractEventLoop, Any]


def test_who_is_readable_is_called_in_every_turn_until_it_is_read(ground: Ground) -> None:
    loop, poller = ground
    one, other = socket.socketpair()
    with one, other:
        told: list[str] = []
        poller.add_reader(one.fileno(), lambda: told.append("read"))
        turn(loop)
        assert not told
        other.send(b"x")
        turn(loop)
        assert len(told) > 1
        one.recv(1)
        told.clear()
        turn(loop)
        assert not told
        poller.remove_reader(one.fileno())


def test_one_descriptor_is_read_and_written(ground: Ground) -> None:
    loop, poller = ground
    one, other = socket.socketpair()
    with one, other:
        told: set[str] = set()
        poller.add_writer(one.fileno(), lambda: told.add("write"))
        poller.add_reader(one.fileno(), lambda: told.add("read"))
        turn(loop)
        assert told == {"write"}
        other.send(b"x")
        turn(loop)
        assert told == {"read", "write"}
        told.clear()
        poller.remove_writer(one.fileno())
        turn(loop)
        assert told == {"read"}
        told.clear()
        poller.remove_reader(one.fileno())
        poller.remove_reader(one.fileno())
        poller.remove_writer(one.fileno())
        turn(loop)
        assert not told
        poller.add_reader(one.fileno(), lambda: told.add("again"))
        turn(loop)
        assert told == {"again"}
        poller.remove_reader(one.fileno())


def test_a_hang_up_is_told_to_whoever_waits_for_anything(ground: Ground) -> None:
    loop, poller = ground
    one, other = socket.socketpair()
    with one:
        told: set[str] = set()
        poller.add_reader(one.fileno(), lambda: told.add("read"))
        other.close()
        turn(loop)
        assert told == {"read"}
        poller.remove_reader(one.fileno())
        poller.add_writer(one.fileno(), lambda: told.add("write"))
        turn(loop)
        assert told == {"read", "write"}
        poller.remove_writer(one.fileno())


def test_who_is_taken_out_by_another_one_in_the_same_turn_is_not_called(ground: Ground) -> None:
    loop, poller = ground
    pairs = [socket.socketpair() for _ in range(2)]
    told: list[int] = []

    def first_of(fd: int) -> None:
        told.append(fd)
        for one, _ in pairs:
            poller.remove_reader(one.fileno())

    for one, other in pairs:
        poller.add_reader(one.fileno(), partial(first_of, one.fileno()))
        other.send(b"x")
    turn(loop)
    assert len(told) == 1
    for one, other in pairs:
        one.close()
        other.close()


def test_a_callback_that_raises_takes_nothing_from_the_others(ground: Ground) -> None:
    loop, poller = ground
    pairs = [socket.socketpair() for _ in range(3)]
    failed: list[Any] = []
    told: list[int] = []
    loop.set_exception_handler(lambda _, context: failed.append(context["exception"]))

    def fail() -> None:
        poller.remove_reader(pairs[0][0].fileno())
        raise ValueError

    poller.add_reader(pairs[0][0].fileno(), fail)
    for one, _ in pairs[1:]:
        poller.add_reader(one.fileno(), partial(told.append, one.fileno()))
    for _, other in pairs:
        other.send(b"x")
    turn(loop)
    assert [type(each) for each in failed] == [ValueError]
    assert len(set(told)) == 2
    for one, other in pairs:
        poller.remove_reader(one.fileno())
        one.close()
        other.close()


def test_what_cannot_be_watched_is_not_taken_for_watched(ground: Ground) -> None:
    """A stream whose beginning failed is aborted, and must not fail there before its socket is
    closed.
    """
    _, poller = ground
    one, other = socket.socketpair()
    descriptor = one.fileno()
    one.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        poller.add_reader(descriptor, lambda: None)
    poller.remove_reader(descriptor)
    with socket.fromfd(other.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as closed:
        poller.add_reader(closed.fileno(), lambda: None)
        descriptor = closed.fileno()
    poller.remove_reader(descriptor)
    other.close()


def test_a_turn_serves_so_many_and_the_next_one_those_that_wait() -> None:
    loop = asyncio.new_event_loop()
    poller = EpollPoller(loop)
    pairs = [socket.socketpair() for _ in range(2 * MOST + 1)]
    served: list[int] = []
    for one, other in pairs:
        poller.add_reader(one.fileno(), partial(served.append, one.fileno()))
        other.send(b"x")
    poller._serve()
    assert len(set(served)) == len(served) == MOST
    poller._serve()
    poller._serve()
    assert set(served) == {one.fileno() for one, _ in pairs}
    for one, other in pairs:
        poller.remove_reader(one.fileno())
        one.close()
        other.close()
    poller.close()
    loop.close()


def test_nobody_is_called_in_the_context_of_the_first_who_asked() -> None:
    """A request of a WSGI server brings its connection in the context of that request."""
    request: ContextVar[str] = ContextVar("request", default="none")
    loop = asyncio.new_event_loop()
    poller = EpollPoller(loop)
    one, other = socket.socketpair()
    with one, other:
        seen: list[str] = []

        def first() -> None:
            request.set("the first")
            poller.add_reader(one.fileno(), lambda: seen.append(request.get()))

        copy_context().run(first)
        other.send(b"x")
        turn(loop)
        assert set(seen) == {"none"}
        poller.close()
    loop.close()


def test_what_one_sets_in_a_context_variable_no_other_one_sees(ground: Ground) -> None:
    loop, poller = ground
    pairs = [socket.socketpair() for _ in range(2)]
    user: ContextVar[str] = ContextVar("user", default="nobody")
    seen: dict[str, set[str]] = {"ann": set(), "bob": set()}

    def called(name: str) -> None:
        seen[name].add(user.get())
        user.set(name)

    for (one, other), name in zip(pairs, seen, strict=True):
        poller.add_reader(one.fileno(), partial(called, name))
        poller.add_writer(one.fileno(), partial(called, name))
        other.send(b"x")
    turn(loop, 3)
    assert all(seen.values())
    assert "bob" not in seen["ann"]
    assert "ann" not in seen["bob"]
    for one, other in pairs:
        poller.remove_reader(one.fileno())
        poller.remove_writer(one.fileno())
        one.close()
        other.close()


def test_after_its_end_it_watches_nothing_and_takes_everything() -> None:
    loop = asyncio.new_event_loop()
    at_end: list[Callable[[], None]] = []
    poller: Any = poller_of(loop, at_end)
    one, other = socket.socketpair()
    with one, other:
        told: list[str] = []
        poller.add_reader(one.fileno(), lambda: told.append("read"))
        other.send(b"x")
        for _ in range(2):
            at_end[0]()
        poller.add_writer(one.fileno(), lambda: told.append("write"))
        poller.remove_reader(one.fileno())
        turn(loop)
        assert not told
    loop.close()
    poller.close()


def test_a_loop_that_was_closed_under_it_does_not_keep_it_from_ending() -> None:
    loop = asyncio.new_event_loop()
    poller = EpollPoller(loop)
    one, other = socket.socketpair()
    with one, other:
        poller.add_reader(one.fileno(), lambda: None)
        loop.close()
        poller.close()
        poller.remove_reader(one.fileno())


def test_a_loop_that_watches_no_descriptors_is_asked_for_none() -> None:
    class Bare:
        call_soon = None

        def is_closed(self) -> bool:
            return False

    at_end: list[Callable[[], None]] = []
    loop: Any = Bare()
    poller_of(loop, at_end)
    at_end[0]()


def test_without_epoll_the_loop_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, "epoll")
    loop = asyncio.new_event_loop()
    assert poller_of(loop, []) is loop
    loop.close()

"""Signals of a process that somebody else serves: drained first, then the host's own handler."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from stocksync_ws.running.signals import SignalChain
from stocksync_ws.testing.clock import VirtualLoop

PATIENCE = 10.0
BOTH = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture(autouse=True)
def handlers_as_they_were() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in BOTH}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.close()


@pytest.fixture
def story() -> list[str]:
    """What happened, in order; the host's handler is in it."""
    story: list[str] = []

    def handler(number: int, frame: object) -> None:
        story.append(f"host hears {signal.Signals(number).name}")

    for number in BOTH:
        signal.signal(number, handler)
    return story


def chain_of(loop: Any, story: list[str]) -> SignalChain:
    async def drain() -> None:
        story.append("drain begins")
        await asyncio.sleep(5)
        story.append("drained")

    return SignalChain(loop, drain, lambda: story.append("hurried"))


@pytest.mark.parametrize("number", BOTH)
def test_the_host_hears_of_it_when_all_sessions_are_closed(
    loop: VirtualLoop, story: list[str], number: signal.Signals, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    chain = chain_of(loop, story)
    chain.install()
    assert caplog.text == ""
    signal.raise_signal(number)
    assert story == []
    loop.settle()
    assert story == ["drain begins"]
    assert f"{number.name}: closing all sessions before the host stops" in caplog.text
    loop.advance(6)
    assert story == ["drain begins", "drained", f"host hears {number.name}"]
    chain.restore()


@pytest.mark.parametrize("second", BOTH)
def test_a_second_signal_goes_straight_through(
    loop: VirtualLoop, story: list[str], second: signal.Signals
) -> None:
    chain_of(loop, story).install()
    signal.raise_signal(signal.SIGTERM)
    loop.settle()
    signal.raise_signal(second)
    assert story == ["drain begins", f"host hears {second.name}"]
    loop.advance(6)
    assert story[2:] == ["hurried", "drained", "host hears SIGTERM"]


def test_the_host_hears_of_it_when_the_drain_fails(loop: VirtualLoop, story: list[str]) -> None:
    failed: list[object] = []

    async def drain() -> None:
        raise ValueError("broken")

    loop.set_exception_handler(lambda _, context: failed.append(context))
    chain = SignalChain(loop, drain, lambda: None)
    chain.install()
    signal.raise_signal(signal.SIGTERM)
    loop.settle()
    assert story == ["host hears SIGTERM"]
    assert chain._task is not None
    with pytest.raises(ValueError, match="broken"):
        chain._task.result()


def test_on_a_closed_loop_the_host_hears_of_it_at_once(story: list[str]) -> None:
    loop = VirtualLoop()
    chain_of(loop, story).install()
    loop.close()
    signal.raise_signal(signal.SIGTERM)
    assert story == ["host hears SIGTERM"]


# Handlers that are left


def ours(number: int) -> bool:
    handler = signal.getsignal(number)
    return isinstance(getattr(handler, "__self__", None), SignalChain)


@pytest.mark.parametrize(
    ("handler", "name"),
    [
        (signal.SIG_DFL, "SIG_DFL"),
        (signal.SIG_IGN, "SIG_IGN"),
        (signal.default_int_handler, "default_int_handler"),
    ],
)
def test_where_no_python_is_called_nothing_is_changed_and_that_is_told_once(
    loop: VirtualLoop, handler: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for number in BOTH:
        signal.signal(number, handler)
    chain = chain_of(loop, [])
    chain.install()
    assert [signal.getsignal(number) for number in BOTH] == [handler, handler]
    [record] = caplog.records
    assert record.levelno == logging.INFO
    assert f"SIGTERM ({name}), SIGINT ({name})" in record.getMessage()
    chain.restore()
    assert [signal.getsignal(number) for number in BOTH] == [handler, handler]


def test_each_signal_is_judged_for_itself(
    loop: VirtualLoop, story: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    chain_of(loop, story).install()
    assert (ours(signal.SIGTERM), ours(signal.SIGINT)) == (True, False)
    assert "SIGINT (default_int_handler)" in caplog.text
    assert "SIGTERM" not in caplog.text


def test_another_thread_changes_nothing(loop: VirtualLoop, story: list[str]) -> None:
    before = [signal.getsignal(number) for number in BOTH]
    raised: list[BaseException] = []

    def install() -> None:
        try:
            chain = chain_of(loop, story)
            chain.install()
            chain.restore()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=install)
    thread.start()
    thread.join(PATIENCE)
    assert raised == []
    assert [signal.getsignal(number) for number in BOTH] == before


# The end


def test_at_the_end_the_hosts_handlers_are_back(loop: VirtualLoop, story: list[str]) -> None:
    before = [signal.getsignal(number) for number in BOTH]
    chain = chain_of(loop, story)
    chain.install()
    assert all(ours(number) for number in BOTH)
    chain.restore()
    assert [signal.getsignal(number) for number in BOTH] == before
    chain.restore()
    assert [signal.getsignal(number) for number in BOTH] == before


def test_a_handler_that_came_behind_ours_stays_and_reaches_the_host(
    loop: VirtualLoop, story: list[str]
) -> None:
    chain = chain_of(loop, story)
    chain.install()
    mine = signal.getsignal(signal.SIGTERM)
    assert callable(mine)

    def theirs(number: int, frame: Any) -> None:
        story.append("in front")
        mine(number, frame)

    signal.signal(signal.SIGTERM, theirs)
    chain.restore()
    assert signal.getsignal(signal.SIGTERM) is theirs
    signal.raise_signal(signal.SIGTERM)
    loop.advance(6)
    assert story == ["in front", "drain begins", "drained", "host hears SIGTERM"]


def test_an_end_during_the_drain_still_lets_the_host_hear(
    loop: VirtualLoop, story: list[str]
) -> None:
    chain = chain_of(loop, story)
    chain.install()
    signal.raise_signal(signal.SIGTERM)
    loop.settle()
    chain.restore()
    loop.advance(6)
    assert story == ["drain begins", "drained", "host hears SIGTERM"]


# A handler of an asyncio loop


def test_beside_a_handler_of_the_loop_the_drain_runs_too() -> None:
    """The loop calls its own whatever Python calls, so nothing can be put in front of it."""
    story: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        heard, drained = asyncio.Event(), asyncio.Event()

        async def drain() -> None:
            story.append("drained")
            drained.set()

        def handler() -> None:
            story.append("host hears SIGTERM")
            heard.set()

        loop.add_signal_handler(signal.SIGTERM, handler)
        noop = signal.getsignal(signal.SIGTERM)
        chain = SignalChain(loop, drain, lambda: None)
        chain.install()
        assert ours(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            await heard.wait()
            await drained.wait()
        chain.restore()
        assert signal.getsignal(signal.SIGTERM) is noop
        loop.remove_signal_handler(signal.SIGTERM)

    asyncio.run(main())
    assert sorted(story) == ["drained", "host hears SIGTERM"]

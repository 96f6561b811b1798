"""The virtual loop: time moves only when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from stocksync_ws.testing.clock import VirtualLoop


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop(start=100.0)
    yield loop
    loop.close()


def test_time_stands_still_while_what_is_ready_runs(loop: VirtualLoop) -> None:
    seen: list[float] = []

    def again(left: int) -> None:
        seen.append(loop.time())
        if left:
            loop.call_soon(again, left - 1)

    loop.call_soon(again, 50)
    loop.settle()
    assert seen == [100.0] * 51


def test_timers_fire_in_order_and_at_their_own_time(loop: VirtualLoop) -> None:
    seen: list[tuple[str, float]] = []
    for name, delay in (("late", 3.0), ("soon", 1.0), ("middle", 2.0), ("never", 10.5)):
        loop.call_later(delay, lambda name=name: seen.append((name, loop.time())))
    loop.advance(10)
    assert [name for name, _ in seen] == ["soon", "middle", "late"]
    assert [at for _, at in seen] == pytest.approx([101.0, 102.0, 103.0])
    assert loop.time() == 110.0


def test_a_timer_due_at_the_end_of_the_time_fires(loop: VirtualLoop) -> None:
    seen: list[bool] = []
    loop.call_later(5, seen.append, True)
    loop.advance(4.999)
    assert seen == []
    loop.advance(0.001)
    assert seen == [True]


def test_a_timer_that_makes_timers_is_followed(loop: VirtualLoop) -> None:
    ticks: list[float] = []

    def tick() -> None:
        ticks.append(loop.time())
        loop.call_later(1, tick)

    tick()
    loop.advance(10.5)
    assert ticks == [100.0 + number for number in range(11)]


def test_a_stall_runs_nothing_meanwhile_and_everything_late(loop: VirtualLoop) -> None:
    seen: list[float] = []
    loop.call_later(1, lambda: seen.append(loop.time()))
    loop.stall(30)
    assert seen == []
    loop.settle()
    assert seen == [130.0]


def test_sleep_and_timeout_obey_the_same_clock(loop: VirtualLoop) -> None:
    async def main() -> str:
        await asyncio.sleep(1_000)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.sleep(6)
        return "done"

    assert loop.run(main(), seconds=2_000) == "done"
    assert loop.time() == pytest.approx(1_105.0)


def test_run_gives_up_in_virtual_time(loop: VirtualLoop) -> None:
    ended: list[bool] = []

    async def main() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            ended.append(True)

    with pytest.raises(TimeoutError, match="50 virtual seconds"):
        loop.run(main(), seconds=50)
    assert ended == [True]


def test_run_raises_what_the_coroutine_raised(loop: VirtualLoop) -> None:
    async def main() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        loop.run(main())


def test_a_call_from_another_thread_is_taken(loop: VirtualLoop) -> None:
    seen: list[int] = []
    loop.call_soon_threadsafe(seen.append, 1)
    loop.settle()
    assert seen == [1]

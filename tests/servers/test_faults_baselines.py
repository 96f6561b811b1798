"""Whatever way a thousand clients leave, nothing of them stays: invariant I5, on our own server and
on uvicorn.

Descriptors, threads, tasks and timers of the server's process, handles of its loop, sessions,
connections and subscriptions are what they were before; and it holds no more objects than after
the first hundreds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.servers.faults_herd import Herd, Member
from tests.servers.faults_kit import Watcher, both, scaled, serve

from carriers.client import CLOSE, stomp, ws_frame  # isort: skip

TOPIC = "/topic/a"
COUNTED = (
    "descriptors",
    "threads",
    "tasks",
    "handles",
    "timers",
    "sessions",
    "connections",
    "destinations",
    "pipelines",
)
AT_ONCE = 220
Way: TypeAlias = Callable[[Member], Awaitable[None]]


async def says_disconnect(member: Member) -> None:
    await member.command("DISCONNECT")


async def closes(member: Member) -> None:
    member.transport.write(ws_frame(CLOSE, b"\x03\xe8"))
    await member.over


async def is_reset(member: Member) -> None:
    member.reset()


async def goes_without_a_word(member: Member) -> None:
    member.transport.close()


async def ends_its_direction(member: Member) -> None:
    member.transport.write_eof()
    await member.over


async def breaks_the_protocol(member: Member) -> None:
    member.transport.write(stomp("NO-SUCH-COMMAND", {}))
    await member.over


async def breaks_the_framing(member: Member) -> None:
    member.transport.write(b"\xff\xff\xff\xff")
    await member.over


async def leaves_a_frame_unfinished(member: Member) -> None:
    member.transport.write(ws_frame(2, b"SEND\ndestination:/topic/a\n\nhalf of")[:-5])
    member.transport.close()


async def leaves_a_transaction_and_a_receipt(member: Member) -> None:
    await member.command("BEGIN", transaction="t")
    member.transport.write(
        stomp("SEND", {"destination": TOPIC, "transaction": "t", "receipt": "never"}, b"1")
    )
    member.transport.close()


async def falls_silent(member: Member) -> None:
    assert member._timer is not None
    member._timer.cancel()
    await member.over


async def leaves_a_running_handler(member: Member) -> None:
    member.transport.write(
        stomp("SEND", {"destination": "/app/slow"}, b'{"steps": 3, "every": 0.01}')
    )
    await member.command("SUBSCRIBE", id="own", destination="/user/queue/answers")
    member.reset()


WAYS: list[Way] = [
    says_disconnect,
    closes,
    is_reset,
    goes_without_a_word,
    ends_its_direction,
    breaks_the_protocol,
    breaks_the_framing,
    leaves_a_frame_unfinished,
    leaves_a_transaction_and_a_receipt,
    falls_silent,
    leaves_a_running_handler,
]


@both
def test_after_a_thousand_upgrades_everything_is_as_before(host: str, tmp_path: Path) -> None:
    with (
        serve(host, tmp_path, heart_beat=(0.2, 0.2), limits={"close_timeout": 0.3}) as server,
        Herd(server.port) as herd,
    ):
        watcher = server.watcher().enter()
        baseline = watcher.probe()
        upgrade(herd, AT_ONCE)
        before = settled(watcher, baseline)  # Objects that are kept once are there now.
        upgrade(herd, scaled(5, 50) * AT_ONCE)
        now = settled(watcher, baseline)
        assert now["counters"]["internal_errors"] == 0
        assert now["counters"]["stuck_deadlines"] == 0
        assert now["counters"]["connections"] - before["counters"]["connections"] >= 1_100
        assert now["objects"] - before["objects"] < 300


def upgrade(herd: Herd, count: int) -> None:
    """So many come, subscribe, and leave in one way or another."""

    async def live(number: int) -> None:
        [member] = await herd._join(1, TOPIC, 0.2)
        async with asyncio.timeout(10):
            await WAYS[number % len(WAYS)](member)
            await member.over

    async def all_of_them() -> None:
        for first in range(0, count, AT_ONCE):
            await asyncio.gather(*(live(first + each) for each in range(AT_ONCE)))
            herd.members.clear()

    herd.begin(all_of_them()).result(300)


def settled(watcher: Watcher, before: dict[str, Any]) -> dict[str, Any]:
    """The numbers, when all clients have left and everything is as it was."""
    return watcher.until_probe(
        lambda now: all(now[each] == before[each] for each in COUNTED), f"as before: {before}"
    )


@pytest.mark.parametrize("name", COUNTED)
def test_every_number_is_looked_at(name: str) -> None:
    class Fake:
        def until_probe(self, look: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
            now = {**dict.fromkeys(COUNTED, 1), name: 2}
            assert look(now)
            return now

    with pytest.raises(AssertionError):
        settled(Fake(), dict.fromkeys(COUNTED, 1))  # type: ignore[arg-type]

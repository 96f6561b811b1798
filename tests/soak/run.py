"""Rounds: clients live their plans, everything is read to its end, and the server is looked at.

Rule: after a round the server holds no session, no message that waits, and as many descriptors as
before the first one; what it has in memory stays what it was after the first round, within what a
heap of Python needs. A round begins with a new ledger, and goes on in the plans.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.soak.actor import Actor
from tests.soak.drain import Drain
from tests.soak.ledger import Holding, Ledger
from tests.soak.places import QUEUES, solo
from tests.soak.plan import Life, lives
from tests.soak.process import Server

__all__ = ["Soak", "judge_log", "judge_probe"]

SAID = 10.0
"""Seconds between two lines of progress."""
QUIET = 15.0
"""Seconds in which the server has let go of everything."""
ZERO = (
    "application_errors",
    "calls_abandoned",
    "handlers_timed_out",
    "internal_errors",
    "listeners_failed",
    "protocol_errors",
    "slow_consumers",
    "stuck_deadlines",
)
"""Counters that nothing of what the clients do may move."""
OBJECTS = 4_000
"""Of the collector, more than after the first round: histories that were not full, caches."""
MEMORY = 16 * 1024 * 1024
"""The same in bytes of the process."""


def judge_probe(now: dict[str, Any], first: dict[str, Any], then: dict[str, Any]) -> list[str]:
    """What is wrong with the server after a round.

    Args:
        now: Its probe.
        first: That before the first round.
        then: That after the first round.
    """
    found = [f"{name}={now[name]}" for name in ("sessions", "queued", "running") if now[name]]
    found += [f"{name}={now['counters'][name]}" for name in ZERO if now["counters"][name]]
    if now["descriptors"] != first["descriptors"]:
        found.append(f"descriptors: {now['descriptors']}, before {first['descriptors']}")
    for name, room in (("objects", OBJECTS), ("memory", MEMORY)):
        if now[name] > then[name] + room:
            found.append(f"{name}: {now[name]}, after the first round {then[name]}")
    return found


def judge_log(code: int, log: str) -> list[str]:
    """What is wrong with the end of the server."""
    found = [] if code == 0 else [f"the server ended with {code}"]
    bad = ("ERROR", "CRITICAL", "Traceback", "Exception ignored", "Task was destroyed")
    return found + [line for line in log.splitlines() if line.startswith(bad)][:10]


@dataclass
class Soak:
    """One run."""

    seed: int
    seconds: float
    clients: int
    round_seconds: float
    say: Callable[[str], None] = print
    violations: list[str] = field(default_factory=list)
    violated: int = 0
    totals: dict[str, int] = field(default_factory=dict)

    def run(self) -> bool:
        """Play it; whether nothing was wrong."""
        with tempfile.TemporaryFile("w+") as log:
            server = Server(log)
            try:
                asyncio.run(self._rounds(server))
                for problem in judge_log(*server.stop()):
                    self._violate(f"log of the server: {problem}")
            finally:
                server.kill()
        return not self.violated

    def _violate(self, text: str) -> None:
        self.violated += 1
        self.violations.append(text)

    async def _rounds(self, server: Server) -> None:
        self._began = self._said = time.monotonic()
        plans = [lives(self.seed, client) for client in range(self.clients)]
        first = then = await asyncio.to_thread(server.probe)
        number = 0
        while time.monotonic() - self._began < self.seconds:
            number += 1
            await self._round(number, server.port, plans)
            now = await self._quiet(server, first)
            if number == 1:
                then = now
            for problem in judge_probe(now, first, then):
                self._violate(f"server after round {number}: {problem}")
            self._tell(f"round {number} over, {now['memory'] >> 20} MiB, {now['objects']} objects")

    async def _round(self, number: int, port: int, plans: list[Iterator[Life]]) -> None:
        ledger = Ledger()
        holdings = [Holding(ledger, each, each, ledger.stamp()) for each in QUEUES]
        for client in range(self.clients):
            place = solo(client)
            holdings.append(Holding(ledger, place, place, ledger.stamp(), ordered=True))
        queues = {each.destination: each for each in holdings}
        actors = [Actor(ledger, port, f"{c}.{number}", queues) for c in range(self.clients)]
        end = time.monotonic() + self.round_seconds
        over = lambda: time.monotonic() >= end  # noqa: E731
        async with asyncio.TaskGroup() as group:
            for actor, plan in zip(actors, plans, strict=True):
                group.create_task(self._act(actor, plan, over))
            group.create_task(self._progress(ledger, over))
        async with asyncio.TaskGroup() as group:
            for actor in actors:
                group.create_task(actor.finish())
        await Drain(ledger, queues).run(port)
        self._count(ledger, actors)

    async def _act(self, actor: Actor, plan: Iterator[Life], over: Callable[[], bool]) -> None:
        while not over():
            life = next(plan)
            await actor.live(life, over)
            await asyncio.sleep(life.away)

    def _count(self, ledger: Ledger, actors: list[Actor]) -> None:
        self.violations += ledger.violations
        self.violated += ledger.violated
        for name, number in {
            "sent": ledger.sent,
            "delivered": ledger.delivered,
            "connections": sum(actor.lives for actor in actors),
            "cuts": sum(actor.cuts for actor in actors),
            "recoveries": sum(actor.recoveries for actor in actors),
            "histories too short": sum(actor.restarts for actor in actors),
        }.items():
            self.totals[name] = self.totals.get(name, 0) + number

    async def _quiet(self, server: Server, first: dict[str, Any]) -> dict[str, Any]:
        """The probe of a server that has let go of everything, or has had its time."""
        end = time.monotonic() + QUIET
        while True:
            now = await asyncio.to_thread(server.probe)
            done = not now["sessions"] and now["descriptors"] == first["descriptors"]
            if done or time.monotonic() >= end:
                return now
            await asyncio.sleep(0.1)

    # Progress

    async def _progress(self, ledger: Ledger, over: Callable[[], bool]) -> None:
        while not over():
            await asyncio.sleep(0.1)
            if time.monotonic() - self._said >= SAID:
                self._said = time.monotonic()
                wrong = self.violated + ledger.violated
                self._tell(f"{ledger.sent} sent, {ledger.delivered} delivered, {wrong} violations")

    def _tell(self, text: str) -> None:
        self.say(f"{time.monotonic() - self._began:6.0f} s  {text}")

"""A scene: a server of Redis, workers, browsers, and a fault between.

Rule: everything that is started here ends here, by process id.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.redis.browsers import Browser
from tests.redis.servers import Server, free_port
from tests.redis.verdict import Verdict, judge, settled
from tests.redis.worker import ROOMS, room

__all__ = ["Stage", "WorkerProcess", "play"]

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0
TURN = 0.02


class WorkerProcess:
    """One worker."""

    def __init__(
        self, name: str, url: str, folder: Path, history: int, settings: dict[str, Any]
    ) -> None:
        self.name = name
        self.port = free_port()
        self.log = folder / f"published-{name}"
        self.log.touch()
        words = [name, str(self.port), url, str(self.log), str(history), json.dumps(settings)]
        self._errors = (folder / f"log-{name}").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.redis.worker", *words],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    async def hear(self) -> str:
        """Its next line."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            return (await asyncio.to_thread(self.process.stdout.readline)).strip()

    async def ask(self, line: str) -> str:
        self.tell(line)
        return await self.hear()

    @property
    def lives(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """End it without a word."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self._errors):
            if pipe is not None:
                pipe.close()

    def published(self) -> list[tuple[str, str, str]]:
        lines = [line for line in self.log.read_text().split("\n") if line.endswith("]")]
        return [tuple(json.loads(line)) for line in lines]


class Stage:
    """Two workers, and browsers at both.

    Args:
        folder: Where logs and data go.
        server: The server of Redis.
        browsers: How many at each worker.
        via: The URLs by which each worker reaches it; none: its own.
        history: Messages of a room that are kept.
        settings: Of the backplane.
    """

    def __init__(
        self,
        folder: Path,
        server: Server,
        browsers: int = 15,
        via: Sequence[str] = (),
        history: int = 1_000,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self.server = server
        urls = via or (server.url, server.url)
        given = settings or {}
        self.workers = [
            WorkerProcess(name, url, folder, history, given)
            for name, url in zip(("a", "b"), urls, strict=True)
        ]
        ports = [worker.port for worker in self.workers]
        rooms = [room(number) for number in range(ROOMS)]
        self.browsers = [
            Browser(at, rooms, survives=number % 2 == 0)
            for number in range(browsers)
            for at in (ports, ports[::-1])
        ]
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        for worker in self.workers:
            assert await worker.hear() == "ready"
        self._tasks = [asyncio.create_task(browser.run()) for browser in self.browsers]
        await self.until(self.all_live, "all browsers are subscribed")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for worker in self.workers:
            worker.kill()

    def all_live(self) -> bool:
        return all(len(browser.live) == ROOMS for browser in self.browsers)

    async def until(self, look: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                while not look():  # noqa: ASYNC110 - processes are looked at, too
                    await asyncio.sleep(TURN)
        except TimeoutError:
            raise AssertionError(f"not in time: {what}") from None

    def rate(self, rate: int) -> None:
        for worker in self.workers:
            if worker.lives:
                worker.tell(f"rate {rate}")

    async def pass_time(self, seconds: float) -> None:
        """Messages flow."""
        await asyncio.sleep(seconds)

    async def redis(self, act: Callable[..., object], *words: Any) -> None:
        """Do something to the server, beside the browsers."""
        await asyncio.to_thread(act, *words)

    async def verdict(self) -> Verdict:
        """The end: everything is answered, and everybody has come back."""
        for worker in self.workers:
            if worker.lives:
                assert await worker.ask("quiet") == "quiet"
        told = [each for worker in self.workers for each in worker.published()]
        await self.until(
            lambda: self.all_live() and settled(self.browsers, told), "everybody has everything"
        )
        verdict = judge(self.browsers, told)
        for worker in self.workers:
            if worker.lives:
                counters = json.loads(await worker.ask("stats"))
                verdict.connections = max(verdict.connections, counters["backplane_connections"])
        return verdict


async def play(
    stage: Stage, act: Callable[[Stage], Awaitable[None]], rate: int = 100, after: float = 1.0
) -> Verdict:
    """Play a scene: messages flow, something happens, and they flow on for a while."""
    async with stage:
        stage.rate(rate)
        await stage.pass_time(1.0)
        await act(stage)
        await stage.pass_time(after)
        return await stage.verdict()

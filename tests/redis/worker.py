"""One worker of the fault scenes, a process of its own: it serves browsers, and publishes.

    python -m tests.redis.worker NAME PORT URL LOG HISTORY [BACKPLANE SETTINGS AS JSON]

Lines on its standard input say what to do: `rate N` publishes N messages a second, `stats` prints
its counters as JSON, `end` ends it. Each publication is one line of LOG: room, number, and the
message id, or the name of the error.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from typing import IO

from stocksync_ws import StockSyncError, StompApp, Stream
from stocksync_ws.redis import RedisBackplane

ROOMS = 5


def room(number: int) -> str:
    """A destination."""
    return f"/topic/room/{number % ROOMS}"


class Publishing:
    """What this worker publishes, in order for each room, and what becomes of it."""

    def __init__(self, app: StompApp, name: str, log: IO[str]) -> None:
        self._app = app
        self._name = name
        self._log = log
        self._number = 0
        self._rate = 0
        self._changed = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()

    def at(self, rate: int) -> None:
        """Publish so many messages a second."""
        self._rate = rate
        self._changed.set()

    async def quiet(self) -> None:
        """Wait until everything is answered."""
        self.at(0)
        if self._running:
            await asyncio.wait(self._running)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            if not self._rate:
                await self._changed.wait()
                begun, count = loop.time(), 0
                continue
            due = int((loop.time() - begun) * self._rate) - count
            for _ in range(due):
                task = asyncio.create_task(self._publish(self._number))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
                self._number += 1
            count += due
            await asyncio.sleep(0.005)

    async def _publish(self, number: int) -> None:
        body = f"{self._name} {number}"
        try:
            told = (await self._app.template.publish(room(number), body)).message_id
        except StockSyncError as error:
            told = type(error).__name__
        self._log.write(json.dumps([room(number), body, told]) + "\n")
        self._log.flush()


async def main(
    name: str, port: str, url: str, log: str, history: str, settings: str = "{}"
) -> None:
    backplane = RedisBackplane(url, prefix="scene", **json.loads(settings))
    app = StompApp(
        "/ws",
        allowed_origins=["*"],
        backplane=backplane,
        destinations={"/topic/room/*": Stream(history=int(history), seconds=600.0)},
    )
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with app.listen("127.0.0.1", int(port)):
        with open(log, "a") as file:  # noqa: ASYNC230 - one line at a time
            publishing = Publishing(app, name, file)
            task = asyncio.create_task(publishing.run())
            print("ready", flush=True)
            while line := (await lines.readline()).decode().split():
                if line[0] == "rate":
                    publishing.at(int(line[1]))
                elif line[0] == "stats":
                    print(json.dumps(dataclasses.asdict(app.counters)), flush=True)
                elif line[0] == "quiet":
                    await publishing.quiet()
                    print("quiet", flush=True)
                else:
                    break
            task.cancel()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

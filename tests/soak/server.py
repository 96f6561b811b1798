"""The server under test, in a process of its own: `python -m tests.soak.server`.

It prints its port, answers each line on its standard input by one line of JSON about itself, and
stops when its standard input ends. Its log goes to standard error.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

from stocksync_ws import ConnectRequest, Limits, Queue, StompApp, Stream, Topic, send_to_user
from tests.soak.places import DEAD

HISTORY = 300
"""Messages of a stream: more than are published while a client is away."""
OFTEN = 1_000_000
"""Deliveries where nothing is to die."""
RETRY = (0.0, 0.05, 0.1)
"""Seconds before a message comes again, so that a round ends soon."""


@dataclasses.dataclass(frozen=True)
class User:
    name: str


def authenticate(request: ConnectRequest) -> User:
    return User(request.login or "")


def make_app() -> StompApp:
    """Everything is open, and nothing is slow enough to be lost on a machine in use."""
    app = StompApp(
        "/ws",
        allowed_origins=["*"],
        authenticator=authenticate,
        client_send=["/topic/**", "/queue/**"],
        client_subscribe=["/topic/**", "/queue/**"],
        destinations={
            "/topic/stream/**": Stream(history=HISTORY),
            "/topic/durable/**": Topic(max_deliveries=OFTEN, ack_timeout=600, retry=RETRY),
            DEAD: Queue(max_deliveries=OFTEN),
            "/queue/**": Queue(dead_letter=DEAD, retry=RETRY),
        },
        heart_beat=(0, 0),
        limits=Limits(
            send_queue=4 * 1024 * 1024,
            pending_messages=10_000,
            pending_bytes=8 * 1024 * 1024,
            durable_messages=10_000,
            durable_bytes=8 * 1024 * 1024,
            max_total_queued=256 * 1024 * 1024,
            close_timeout=2,
        ),
    )

    @app.message_mapping("/echo")
    @send_to_user("/queue/echo", broadcast=False)
    async def echo(body: str) -> str:
        return body

    return app


def probe(app: StompApp) -> dict[str, Any]:
    """What the process holds now."""
    gc.collect()
    runtime = app._run.runtime
    assert runtime is not None
    broker = runtime.broker
    pages = Path("/proc/self/statm")
    descriptors = Path("/proc/self/fd")
    return {
        "counters": dataclasses.asdict(app.counters),
        "sessions": len(broker.sessions),
        "queued": broker.office.total,
        "running": len(broker.calls.tasks.running),
        "objects": len(gc.get_objects()),
        "descriptors": len(os.listdir(descriptors)) if descriptors.is_dir() else 0,
        "memory": int(pages.read_text().split()[1]) * 4096 if pages.exists() else 0,
    }


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    app = make_app()
    with app.serve_in_thread(port=0) as server:
        print(server.url.rpartition(":")[2].strip("/").partition("/")[0], flush=True)
        for _ in sys.stdin:
            print(json.dumps(probe(app)), flush=True)


if __name__ == "__main__":
    main()

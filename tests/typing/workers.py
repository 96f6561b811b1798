"""Several workers, as a user writes them."""

from __future__ import annotations

from typing import assert_type

from stocksync_ws import (
    Backplane,
    BackplaneAvailability,
    BackplaneReset,
    BackplaneSettings,
    BackplaneUnavailable,
    Published,
    PublishUncertain,
    Queue,
    StompApp,
)
from stocksync_ws.testing import MemoryBackplane, World

engine: Backplane = MemoryBackplane(BackplaneSettings(publish_timeout=2, max_outage=None))
ws = StompApp(
    "/ws",
    backplane=engine,
    client_send=["/queue/jobs"],
    destinations={"/queue/jobs": Queue(local=True)},
)


@ws.event_listener()
def outage(event: BackplaneAvailability) -> None:
    assert_type(event.available, bool)
    assert_type(event.duration, float)


@ws.event_listener(BackplaneReset)
def reset(event: BackplaneReset) -> None:
    assert_type((event.destination, event.reason), tuple[str, str])


async def publish() -> None:
    try:
        published = await ws.template.publish("/topic/stock", {"quantity": 7})
    except (BackplaneUnavailable, PublishUncertain) as error:
        print(error)
    else:
        assert_type(published, Published)
        assert_type(published.workers, int)


def test() -> None:
    memory = MemoryBackplane()
    with World(StompApp("/ws", backplane=memory)):
        assert_type(memory.reachable, bool)
        memory.disconnect()
        memory.reconnect()
        memory.restart(memory.engine.snapshot())

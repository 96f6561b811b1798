"""Several workers, as a user writes them."""

from __future__ import annotations

from typing import assert_type

from stocksync_ws import (
    Backplane,
    BackplaneAvailability,
    BackplaneReset,
    BackplaneSettings,
    BackplaneUnavailable,
    IdempotencyMismatch,
    Published,
    PublishUncertain,
    Queue,
    StompApp,
)
from stocksync_ws.redis import AsyncPublisher, Publisher, RedisBackplane
from stocksync_ws.testing import MemoryBackplane, World

engine: Backplane = MemoryBackplane(BackplaneSettings(publish_timeout=2, max_outage=None))
redis: Backplane = RedisBackplane("redis://cache:6379/0", prefix="shop", silence=1.0)
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


def publish_from_elsewhere(publisher: Publisher) -> None:
    with publisher:
        try:
            told = publisher.convert_and_send("/topic/stock", 7, idempotency_key="seven")
        except IdempotencyMismatch:
            publisher.convert_and_send_to_user("anna", "/queue/errors", "no", {"a": "b"})
        else:
            assert_type(told.duplicate, bool)


async def publish_and_await(publisher: AsyncPublisher) -> None:
    async with publisher:
        assert_type(await publisher.send("/topic/stock", b"7"), Published)


def test() -> None:
    memory = MemoryBackplane()
    with World(StompApp("/ws", backplane=memory)):
        assert_type(memory.reachable, bool)
        memory.disconnect()
        memory.reconnect()
        memory.restart(memory.engine.snapshot())

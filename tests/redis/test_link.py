"""The way to Redis: a start without it, settings that do not fit, and a Redis that is not to be
trusted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis import asyncio as redis_asyncio

from stocksync_ws import BackplaneUnavailable, ConfigurationError, StompApp, Stream, Topic
from stocksync_ws.backplane import (
    Append,
    Appended,
    BackplaneEvent,
    Connected,
    History,
    Item,
    Keep,
    Lost,
    Read,
    Subscribe,
    Subscribed,
)
from stocksync_ws.policies import DestinationPolicy
from stocksync_ws.position import Position
from stocksync_ws.redis import Publisher, RedisBackplane
from stocksync_ws.redis.link import Link
from stocksync_ws.redis.packing import Names
from tests.redis.proxy import Proxy
from tests.redis.servers import Server, free_port

ROOM: dict[str, DestinationPolicy] = {"/topic/room": Stream(history=5)}


def app_of(url: str, destinations: dict[str, DestinationPolicy] = ROOM, **more: Any) -> StompApp:
    return StompApp("/ws", destinations=destinations, backplane=RedisBackplane(url, **more))


class Told:
    """What a worker is told."""

    def __init__(self) -> None:
        self.events: list[BackplaneEvent] = []
        self._new = asyncio.Event()

    def __call__(self, events: Sequence[BackplaneEvent]) -> None:
        self.events += events
        self._new.set()

    async def until(self, kind: type[Any], since: int = 0) -> Any:
        async with asyncio.timeout(10):
            while True:
                for event in self.events[since:]:
                    if isinstance(event, kind):
                        return event
                self._new.clear()
                await self._new.wait()


@asynccontextmanager
async def link_to(
    backplane: RedisBackplane, agreement: str = ""
) -> AsyncIterator[tuple[Link, Told]]:
    told = Told()
    link = backplane.open("w1", agreement, told)
    try:
        yield link, told
    finally:
        link.close()
        await asyncio.sleep(0)  # what is closed ends in the next turn


# A start


def test_an_application_starts_without_redis_and_says_so() -> None:
    async def main() -> None:
        app = app_of(f"redis://127.0.0.1:{free_port()}", publish_timeout=0.2)
        async with app.listen("127.0.0.1", 0):
            assert not app.ready
            with pytest.raises(BackplaneUnavailable):
                await app.template.publish("/topic/room", 1)

    asyncio.run(main())


def test_the_log_says_that_a_worker_is_connected_and_when_it_is_again(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "stocksync_ws.redis")

    async def main() -> None:
        async with link_to(RedisBackplane(server.url)) as (_, told):
            await told.until(Connected)
            await asyncio.to_thread(server.cut)
            await told.until(Connected, since=1)

    asyncio.run(main())
    lines = [each.getMessage() for each in caplog.records if each.levelno == logging.INFO]
    assert lines == [
        "connected to Redis, prefix 'stocksync'",
        "connected to Redis again, prefix 'stocksync'",
    ]


def test_redis_that_comes_later_is_found(server: Server) -> None:
    async def main() -> None:
        await asyncio.to_thread(server.kill)
        app = app_of(server.url)
        async with app.listen("127.0.0.1", 0):
            waiting = asyncio.create_task(app.template.publish("/topic/room", 1))
            await asyncio.to_thread(server.start)
            assert (await waiting).message_id

    asyncio.run(main())


def test_a_start_that_requires_redis_fails_without_it() -> None:
    async def main() -> None:
        url = f"redis://127.0.0.1:{free_port()}"
        app = app_of(url, require_at_start=True, subscribe_timeout=0.3)
        with pytest.raises(BackplaneUnavailable, match=r"was not there within 0.3 s: Error 111"):
            async with app.listen("127.0.0.1", 0):
                pass
        assert not app.ready

    asyncio.run(main())


def test_a_start_that_requires_redis_waits_for_it(shared: Server) -> None:
    async def main() -> None:
        app = app_of(shared.url, prefix="waits", require_at_start=True)
        async with app.listen("127.0.0.1", 0):
            assert (await app.template.publish("/topic/room", 1)).message_id

    asyncio.run(main())


# What the workers agree about


def test_a_worker_with_other_policies_is_kept_away(
    shared: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        one = app_of(shared.url, prefix="differs")
        other = app_of(
            shared.url, {"/topic/room": Topic()}, prefix="differs", require_at_start=True
        )
        async with one.listen("127.0.0.1", 0):
            await one.template.publish("/topic/room", 1)
            with pytest.raises(ConfigurationError, match=r"have other policies .*'/topic/room'"):
                async with other.listen("127.0.0.1", 0):
                    pass

    asyncio.run(main())
    assert any(record.levelno == logging.ERROR for record in caplog.records)


def test_a_worker_that_has_ended_holds_nobody_to_what_it_had(shared: Server) -> None:
    async def main() -> None:
        one = app_of(shared.url, prefix="ended")
        other = app_of(shared.url, {"/topic/room": Topic()}, prefix="ended", require_at_start=True)
        async with one.listen("127.0.0.1", 0):
            await one.template.publish("/topic/room", 1)
        async with other.listen("127.0.0.1", 0):
            assert (await other.template.publish("/topic/room", 1)).message_id

    asyncio.run(main())


def test_a_deploy_that_is_taken_back_finds_the_old_policies_again(shared: Server) -> None:
    async def main() -> None:
        old, again = (app_of(shared.url, prefix="back", require_at_start=True) for _ in range(2))
        new = app_of(shared.url, {"/topic/room": Topic()}, prefix="back", on_policy_mismatch="warn")
        async with old.listen("127.0.0.1", 0):
            await old.template.publish("/topic/room", 1)
            async with new.listen("127.0.0.1", 0):
                await new.template.publish("/topic/room", 1)
            async with again.listen("127.0.0.1", 0):
                assert (await again.template.publish("/topic/room", 1)).message_id

    asyncio.run(main())


def test_a_worker_that_is_kept_away_says_why_nothing_is_sent(shared: Server) -> None:
    async def main() -> None:
        old = app_of(shared.url, prefix="kept", publish_timeout=0.5)
        new = app_of(shared.url, {"/topic/room": Topic()}, prefix="kept", on_policy_mismatch="warn")
        async with old.listen("127.0.0.1", 0):
            await old.template.publish("/topic/room", 1)
            async with new.listen("127.0.0.1", 0):
                await new.template.publish("/topic/room", 1)
                await asyncio.to_thread(shared.cut)
                while old.ready:  # noqa: ASYNC110 - until its link has seen it
                    await asyncio.sleep(0.01)
                with pytest.raises(BackplaneUnavailable, match=r"other policies .*'/topic/room'"):
                    await old.template.publish("/topic/room", 1)

    asyncio.run(main())


def test_a_worker_that_is_one_of_a_deploy_is_let_in_with_one_warning(
    shared: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        one = app_of(shared.url, prefix="deploy")
        other = app_of(
            shared.url, {"/topic/room": Topic()}, prefix="deploy", on_policy_mismatch="warn"
        )
        async with one.listen("127.0.0.1", 0):
            await one.template.publish("/topic/room", 1)
            async with other.listen("127.0.0.1", 0):
                assert (await other.template.publish("/topic/room", 1)).message_id

    asyncio.run(main())
    warnings = [each for each in caplog.records if "other policies" in each.getMessage()]
    assert [each.levelno for each in warnings] == [logging.WARNING]


# What Redis is


def test_a_redis_that_makes_room_is_warned_of(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.tell("CONFIG", "SET", "maxmemory", "100mb")
    server.tell("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")

    async def main() -> None:
        async with link_to(RedisBackplane(server.url)) as (_, told):
            await told.until(Connected)
            await asyncio.to_thread(server.cut)
            await told.until(Connected, since=1)

    asyncio.run(main())
    warnings = [each for each in caplog.records if "allkeys-lru" in each.getMessage()]
    assert len(warnings) == 1


def test_a_client_is_taken_in_place_of_a_url(shared: Server) -> None:
    async def main() -> None:
        client = redis_asyncio.Redis(port=shared.port, decode_responses=True)
        async with link_to(RedisBackplane(redis=client)) as (_, told):
            await told.until(Connected)

    asyncio.run(main())


def test_a_process_that_is_another_one_each_time_is_not_trusted(
    tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    """As behind a proxy: then each new connection is told as a reset, for what it has forgotten
    cannot be noticed.
    """
    one, other = [Server(tmp_path_factory.mktemp("redis")) for _ in range(2)]

    async def main() -> None:
        async with Proxy(one.port) as proxy:
            proxy.turns = [other.port, one.port, one.port, one.port]
            async with link_to(RedisBackplane(proxy.url)) as (link, told):
                await told.until(Connected)
                keep = Keep(100, 60.0)
                link.send([Append(1, (Item("/topic/a", b"x", keep, None),))])
                position = (await told.until(Appended)).positions[0]
                since = len(told.events)
                proxy.turns = [one.port, one.port]
                proxy.cut()
                await told.until(Connected, since)
                link.send([Read("/topic/a", 1, 1, position)])
                assert (await told.until(History, since)).top.epoch != position.epoch
                since = len(told.events)
                link.send([Read("/topic/a", 2, 1, position)])
                again = await told.until(History, since)
                assert again.top.epoch == (told.events[since - 1]).top.epoch  # type: ignore[union-attr]

    try:
        asyncio.run(main())
    finally:
        one.kill()
        other.kill()
    assert "connect to Redis itself" in caplog.text


def test_a_redis_that_restarts_all_the_time_is_not_trusted(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with link_to(RedisBackplane(server.url)) as (link, told):
            seen: Position | None = None
            for number in range(1, 9):
                await told.until(Connected, len(told.events) - 1 if number > 1 else 0)
                since = len(told.events)
                item = Item("/topic/a", b"x", Keep(100, 60.0), seen)
                link.send([Append(number, (item,))])
                seen = (await told.until(Appended, since)).positions[0]
                if "connect to Redis itself" in caplog.text:
                    break
                await asyncio.to_thread(server.tell, "SAVE")
                await asyncio.to_thread(server.kill)
                await told.until(Lost, since)
                await asyncio.to_thread(server.start)

    asyncio.run(main())
    assert "connect to Redis itself" in caplog.text


def test_an_append_that_is_refused_keeps_the_connection(server: Server) -> None:
    async def main() -> None:
        async with link_to(RedisBackplane(server.url)) as (link, told):
            await told.until(Connected)
            server.tell("CONFIG", "SET", "maxmemory", "1")
            item = Item("/topic/a", b"x", Keep(100, 60.0), None)
            link.send([Append(1, (item,)), Read("/topic/b", 1, 1, None)])
            refused = await told.until(Appended)
            assert "maxmemory" in refused.problem
            assert refused.positions == ()
            server.tell("CONFIG", "SET", "maxmemory", "0")
            assert (await told.until(History)).turn == 1, "a read is asked again"
            since = len(told.events)
            link.send([Append(2, (item,))])
            assert (await told.until(Appended, since)).positions[0].offset == 1
            assert not any(isinstance(event, Lost) for event in told.events)

    asyncio.run(main())


def test_scripts_that_redis_has_forgotten_are_loaded_again(server: Server) -> None:
    async def main() -> None:
        async with link_to(RedisBackplane(server.url)) as (link, told):
            await told.until(Connected)
            server.tell("SCRIPT", "FLUSH")
            link.send([Read("/topic/b", 1, 1, None)])
            await told.until(Lost)
            await told.until(Connected, since=1)
            link.send([Read("/topic/b", 2, 1, None)])
            assert (await told.until(History)).turn == 2

    asyncio.run(main())


@pytest.mark.parametrize(("written", "life"), [(False, 600), (True, 86_400)])
def test_a_channel_that_is_followed_is_never_forgotten(
    server: Server, written: bool, life: int
) -> None:
    """What nobody writes to and somebody follows is told to be in use, so that it begins anew for
    nobody.
    """

    async def main() -> None:
        async with link_to(RedisBackplane(server.url)) as (link, told):
            await told.until(Connected)
            link.send([Subscribe("/topic/a", 1)])
            await told.until(Subscribed)
            if written:
                link.send([Append(1, (Item("/topic/a", b"x", Keep(10, 60.0), None),))])
            link.send([Read("/topic/a", 2, None, None)])
            await told.until(History)
            key = Names("stocksync").facts("/topic/a")
            await asyncio.to_thread(server.tell, "EXPIRE", key, 100)
            keep = link._keep_alive if written else link._keep_empty
            keep()
            since = len(told.events)
            link.send([Read("/topic/b", 3, None, None)])
            await told.until(History, since)
            left = await asyncio.to_thread(server.tell, "TTL", key)
            assert isinstance(left, int)
            assert life - 10 < left <= life

    asyncio.run(main())


def test_another_reign_is_noticed(server: Server) -> None:
    """A process that was a replica meanwhile may have the state of another one."""

    async def main() -> None:
        async with link_to(RedisBackplane(server.url, silence=0.2)) as (_, told):
            await told.until(Connected)
            key = Names("stocksync").reign(0)
            await asyncio.to_thread(server.tell, "HSET", key, "r", "another", "t", "text")
            assert "reigned" in (await told.until(Lost)).reason
            await told.until(Connected, since=2)

    asyncio.run(main())


def test_a_publisher_and_a_worker_know_the_same_run(server: Server) -> None:
    async def main() -> None:
        async with link_to(RedisBackplane(server.url)) as (link, told):
            await told.until(Connected)
            with Publisher(server.url) as publisher:
                for number in range(1, 8):
                    link.send([Append(number, (Item("/topic/a", b"x", Keep(10, 60.0), None),))])
                    answer = await told.until(Appended, len(told.events))
                    assert answer.positions[0].generation == 0
                    told_id = await asyncio.to_thread(publisher.convert_and_send, "/topic/a", 1)
                    assert "." not in told_id.message_id, "a generation has begun"

    asyncio.run(main())


def test_a_master_that_has_become_a_replica_is_noticed(server: Server) -> None:
    """It goes on to answer, and to push what it is told to."""

    async def main() -> None:
        async with link_to(RedisBackplane(server.url, silence=0.2)) as (_, told):
            await told.until(Connected)
            await asyncio.to_thread(server.tell, "REPLICAOF", "127.0.0.1", free_port())
            assert "READONLY" in (await told.until(Lost)).reason

    asyncio.run(main())

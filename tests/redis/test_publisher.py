"""Publishers: processes that serve nothing reach the browsers of all workers."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis, RedisCluster
from redis import asyncio as redis_asyncio
from redis.crc import key_slot
from websockets.asyncio.client import connect

from stocksync_ws import (
    BackplaneUnavailable,
    ConfigurationError,
    ConversionError,
    IdempotencyMismatch,
    PublishUncertain,
    StompApp,
    Stream,
)
from stocksync_ws.agreement import agreement_of
from stocksync_ws.config import BrokerConfig
from stocksync_ws.redis import AsyncPublisher, Publisher, RedisBackplane
from stocksync_ws.redis.packing import Names
from stocksync_ws.redis.publishing import Publishing
from stocksync_ws.testing import MemoryBackplane
from tests.redis.browsers import Browser, frame_of, parsed
from tests.redis.proxy import Proxy
from tests.redis.servers import Server, free_port

STREAMS = {"/topic/inventory": Stream(history=50, seconds=600.0)}


@pytest.fixture
def url(shared: Server) -> str:
    """An empty server."""
    shared.tell("FLUSHALL")
    return shared.url


async def heard(url: str, act: Callable[[], Awaitable[None]]) -> list[str]:
    """What a browser at a worker gets on `/topic/inventory` while something is done."""
    app = StompApp(
        "/ws", allowed_origins=["*"], destinations=STREAMS, backplane=RedisBackplane(url)
    )
    async with app.listen("127.0.0.1", 0) as server:
        assert server.port is not None
        browser = Browser([server.port], ["/topic/inventory"], survives=False)
        task = asyncio.create_task(browser.run())
        async with asyncio.timeout(10):
            await browser.until(lambda: bool(browser.live))
            await act()
            found = browser.stretches["/topic/inventory"][0].messages
            await browser.until(lambda: bool(found))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return [body for _, body in found]


def test_a_publisher_reaches_the_browsers_of_a_worker(url: str) -> None:
    with Publisher(url) as publisher:

        async def act() -> None:
            told = await asyncio.to_thread(
                publisher.convert_and_send, "/topic/inventory", {"quantity": 7}
            )
            assert told.workers == 1
            assert not told.duplicate

        assert asyncio.run(heard(url, act)) == ['{"quantity":7}']


def test_a_publisher_that_awaits_reaches_them_too(url: str) -> None:
    async def act() -> None:
        async with AsyncPublisher(url) as publisher:
            told = await publisher.convert_and_send("/topic/inventory", {"quantity": 7})
            assert told.workers == 1

    assert asyncio.run(heard(url, act)) == ['{"quantity":7}']


def test_a_publisher_answers_at_a_reply_queue(url: str) -> None:
    """As a task does that is given the address with its job."""

    async def main() -> list[str]:
        app = StompApp(
            "/ws",
            allowed_origins=["*"],
            client_send=["/topic/**"],
            backplane=RedisBackplane(url, require_at_start=True),
        )
        async with app.listen("127.0.0.1", 0) as server, asyncio.timeout(10):
            uri = f"ws://127.0.0.1:{server.port}/ws"
            async with connect(uri, subprotocols=["v12.stomp"], compression=None) as client:  # type: ignore[list-item]
                for command, headers in (
                    ("CONNECT", {"accept-version": "1.2"}),
                    ("SUBSCRIBE", {"id": "s", "destination": "/topic/jobs", "receipt": "r"}),
                    ("SEND", {"destination": "/topic/jobs", "reply-to": "/temp-queue/mine"}),
                ):
                    await client.send(frame_of(command, headers))
                    _, told, _ = parsed(await client.recv())
                address = told["reply-to"]
                with Publisher(url) as publisher:
                    done = await asyncio.to_thread(publisher.convert_and_send, address, "done")
                assert done.workers == 1
                async with AsyncPublisher(url) as other:
                    await other.convert_and_send(address, "and this")
                return [parsed(await client.recv())[2] for _ in range(2)]

    assert asyncio.run(main()) == ["done", "and this"]


def test_what_the_workers_keep_is_known_to_a_publisher(url: str, shared: Server) -> None:
    async def nothing() -> None:
        with Publisher(url) as publisher:
            await asyncio.to_thread(publisher.convert_and_send, "/topic/inventory", 1)

    asyncio.run(heard(url, nothing))
    key = next(name for name in shared.tell("KEYS", "*:s:/topic/inventory"))  # type: ignore[attr-defined]
    assert 590 < int(shared.tell("TTL", key.decode())) <= 600  # type: ignore[call-overload]


def test_messages_of_one_publisher_are_in_order(url: str, shared: Server) -> None:
    with Publisher(url) as publisher:
        ids = [publisher.convert_and_send("/topic/a", n).message_id for n in range(5)]
    assert [name.rpartition("-")[2] for name in ids] == ["1", "2", "3", "4", "5"]
    assert len({name.rpartition("-")[0] for name in ids}) == 1


def test_threads_share_a_publisher(url: str) -> None:
    found: list[str] = []
    with Publisher(url) as publisher:

        def publish() -> None:
            found.extend(publisher.convert_and_send("/topic/a", 1).message_id for _ in range(50))

        threads = [threading.Thread(target=publish) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(int(name.rpartition("-")[2]) for name in found) == list(range(1, 201))


def test_a_key_names_one_message(url: str) -> None:
    with Publisher(url) as publisher, Publisher(url) as other:
        first = publisher.convert_and_send("/topic/a", 1, idempotency_key="adjust-7")
        again = other.convert_and_send("/topic/a", 1, idempotency_key="adjust-7")
        assert again.message_id == first.message_id
        assert (first.duplicate, again.duplicate) == (False, True)
        with pytest.raises(IdempotencyMismatch, match="'adjust-7' was used for another message"):
            publisher.convert_and_send("/topic/a", 2, idempotency_key="adjust-7")
        later = publisher.convert_and_send("/topic/b", 2, idempotency_key="adjust-7")
        assert not later.duplicate, "a key counts for its destination"


@pytest.mark.parametrize("key", [None, 0, 7, b"z", "k" * 129])
def test_a_key_that_is_none_is_told(url: str, key: Any) -> None:
    with Publisher(url) as publisher, pytest.raises(ValueError, match="idempotency_key must be"):
        publisher.convert_and_send("/topic/a", 1, idempotency_key=key)


def test_a_prefix_under_which_nobody_runs_is_warned_of(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Publisher(url, prefix="shoop") as publisher:
        for _ in range(2):
            assert publisher.convert_and_send("/topic/a", 1).workers == 0
    assert [each.getMessage()[:50] for each in caplog.records] == [
        "Redis knows of no worker under the prefix 'shoop',"
    ]


def test_what_workers_leave_is_read_soon_where_there_was_nothing() -> None:
    publishing = Publishing("shop", time.time)
    publishing.learn(None)
    assert not publishing.is_due(100.9, 100.0)
    assert publishing.is_due(101.0, 100.0)
    publishing.learn(agreement_of(BrokerConfig(backplane=MemoryBackplane())).encode())
    assert not publishing.is_due(159.9, 100.0)
    assert publishing.is_due(160.0, 100.0)


def test_a_connection_that_has_ended_meanwhile_is_no_doubt(server: Server) -> None:
    with Publisher(server.url, timeout=0.3) as publisher:
        publisher.convert_and_send("/topic/a", 1)
        server.kill()
        with pytest.raises(BackplaneUnavailable):
            publisher.convert_and_send("/topic/a", 2)


def test_a_user_is_reached(url: str, shared: Server) -> None:
    with Publisher(url) as publisher:
        publisher.convert_and_send_to_user("anna", "/queue/errors", "no")
    (key,) = shared.tell("KEYS", "*:s:user:*")  # type: ignore[misc]
    assert key.endswith(b"user:4:anna/queue/errors")


def test_octets_are_sent_as_they_are(url: str, shared: Server) -> None:
    with Publisher(url) as publisher:
        publisher.send("/topic/a", b"\x00\xff", {"content-type": "image/png"})
    (key,) = shared.tell("KEYS", "*:s:/topic/a")  # type: ignore[misc]
    ((_, fields),) = shared.tell("XRANGE", key.decode(), "-", "+")  # type: ignore[misc]
    assert fields[b"d"].endswith(b"\n\x00\xff")


@pytest.mark.parametrize(
    ("destination", "payload", "error", "text"),
    [
        ("topic/a", 1, ValueError, "begins with a slash"),
        ("/nowhere/a", 1, ValueError, "under none of the broker prefixes"),
        ("/queue/a", 1, ValueError, "backplane"),
        ("/topic/a", object(), ConversionError, "object"),
    ],
)
def test_a_mistake_is_told_at_once(
    url: str, destination: str, payload: object, error: type[Exception], text: str
) -> None:
    with Publisher(url) as publisher, pytest.raises(error, match=text):
        publisher.convert_and_send(destination, payload)


def test_a_child_has_connections_of_its_own(url: str, tmp_path: Path) -> None:
    publisher = Publisher(url)
    publisher.convert_and_send("/topic/a", "parent")
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        told = publisher.convert_and_send("/topic/a", "child").message_id
        (tmp_path / "child").write_text(told)
        os._exit(0)
    os.waitpid(child, 0)
    told = publisher.convert_and_send("/topic/a", "parent again").message_id
    publisher.close()
    assert (tmp_path / "child").read_text().endswith("-2")
    assert told.endswith("-3")


def test_a_child_of_a_thread_that_publishes_is_not_stuck(url: str, tmp_path: Path) -> None:
    publisher = Publisher(url)
    publisher.convert_and_send("/topic/a", 1)
    publisher._lock.acquire()  # as another thread has it at the moment of the fork
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        publisher.convert_and_send("/topic/a", "child")
        os._exit(0)
    _, status = os.waitpid(child, 0)
    publisher._lock.release()
    publisher.close()
    assert status == 0


def test_nothing_was_sent_where_redis_is_not_there() -> None:
    publisher = Publisher(f"redis://127.0.0.1:{free_port()}", timeout=0.2)
    with pytest.raises(BackplaneUnavailable, match="nothing was sent"):
        publisher.convert_and_send("/topic/a", 1)


def test_it_is_uncertain_where_redis_does_not_answer(server: Server) -> None:
    async def main() -> None:
        async with Proxy(server.port) as proxy:
            publisher = Publisher(proxy.url, timeout=0.5)
            await asyncio.to_thread(publisher.convert_and_send, "/topic/a", 1)
            proxy.swallow()
            with pytest.raises(PublishUncertain, match="may have been published"):
                await asyncio.to_thread(publisher.convert_and_send, "/topic/a", 2)
            async with AsyncPublisher(proxy.url, timeout=0.5) as other:
                with pytest.raises(BackplaneUnavailable):
                    await other.convert_and_send("/topic/a", 3)
            publisher.close()

    asyncio.run(main())


def test_a_lost_connection_is_made_again_and_nothing_is_sent_twice(server: Server) -> None:
    async def awaited() -> list[str]:
        async with AsyncPublisher(server.url) as publisher:
            found: list[str] = []
            for number in range(5):
                found.append((await publisher.convert_and_send("/topic/b", number)).message_id)
                await asyncio.to_thread(server.cut)
            return found

    with Publisher(server.url) as publisher:
        ids: list[str] = []
        for number in range(5):
            ids.append(publisher.convert_and_send("/topic/a", number).message_id)
            server.cut()
    assert [name.rpartition("-")[2] for name in ids] == ["1", "2", "3", "4", "5"]
    assert [name.rpartition("-")[2] for name in asyncio.run(awaited())] == list("12345")


def test_a_refusal_is_told_as_that(server: Server) -> None:
    with Publisher(server.url) as publisher:
        publisher.convert_and_send("/topic/a", 1)
        server.tell("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(BackplaneUnavailable, match=r"refuses it: .*maxmemory"):
            publisher.convert_and_send("/topic/a", 2)
        server.tell("CONFIG", "SET", "maxmemory", "0")
        assert publisher.convert_and_send("/topic/a", 3).message_id.endswith("-2")


def test_a_cluster_is_found_from_any_of_its_nodes(one_node_cluster: Server) -> None:
    async def awaited() -> str:
        async with AsyncPublisher(one_node_cluster.url) as publisher:
            return (await publisher.convert_and_send("/topic/of-a-cluster", 2)).message_id

    with Publisher(one_node_cluster.url) as publisher:
        assert publisher.convert_and_send("/topic/of-a-cluster", 1).message_id.endswith("-1")
    assert asyncio.run(awaited()).endswith("-2")


def test_any_node_of_a_cluster_leads_to_all(cluster: list[Server]) -> None:
    destinations = [f"/topic/{number}" for number in range(30)]

    async def awaited(url: str) -> None:
        async with AsyncPublisher(url) as publisher:
            for destination in destinations:
                await publisher.convert_and_send(destination, 1)

    for node in cluster:
        asyncio.run(awaited(node.url))
        with Publisher(node.url) as publisher:
            for destination in destinations:
                publisher.convert_and_send(destination, 1)
    streams = sum(len(node.tell("KEYS", "*:s:*")) for node in cluster)  # type: ignore[arg-type]
    assert streams == 30
    client = RedisCluster(host="127.0.0.1", port=cluster[0].port)
    with Publisher(redis=client) as publisher:
        told = {publisher.convert_and_send(each, 1).message_id for each in destinations}
    client.close()
    assert {name.rpartition("-")[2] for name in told} == {"7"}


def holds(node: Server, slot: int) -> bool:
    """A node of a cluster has a slot."""
    ranges: Any = node.tell("CLUSTER", "SLOTS")
    return any(begin <= slot <= end and at[1] == node.port for begin, end, at, *_ in ranges)


def test_a_moved_slot_is_followed(cluster: list[Server]) -> None:
    """A node that has lost its slots sends whoever comes to the one that has them."""
    names = Names("stocksync")
    slot = key_slot(names.tag(names.partition("/topic/a")).encode())
    source = next(node for node in cluster if holds(node, slot))
    target = next(node for node in cluster if node is not source)
    with Publisher(cluster[0].url) as publisher:
        publisher.convert_and_send("/topic/b", 1)
        name = str(target.tell("CLUSTER", "MYID").decode())  # type: ignore[attr-defined]
        for node in cluster:
            node.tell("CLUSTER", "SETSLOT", slot, "NODE", name)
        assert publisher.convert_and_send("/topic/a", 1).message_id


@pytest.mark.parametrize("given", [False, True])
def test_a_timeout_is_kept(given: bool, server: Server) -> None:
    """By whatever it is that takes so long: others that wait, the client library, Redis."""
    took: list[float] = []

    async def awaited(publisher: AsyncPublisher) -> None:
        began = time.monotonic()
        with pytest.raises((BackplaneUnavailable, PublishUncertain)):
            await publisher.convert_and_send("/topic/a", 1)
        took.append(time.monotonic() - began)

    def blocked(publisher: Publisher) -> None:
        began = time.monotonic()
        with pytest.raises((BackplaneUnavailable, PublishUncertain)):
            publisher.convert_and_send("/topic/a", 1)
        took.append(time.monotonic() - began)

    async def main() -> None:
        source: Any = {"redis": redis_asyncio.Redis(port=server.port)} if given else {}
        async with AsyncPublisher("" if given else server.url, timeout=0.5, **source) as publisher:
            await asyncio.gather(*[awaited(publisher) for _ in range(4)])

    server.signal(signal.SIGSTOP)
    try:
        asyncio.run(main())
        source: Any = {"redis": Redis(port=server.port)} if given else {}
        with Publisher("" if given else server.url, timeout=0.5, **source) as publisher:
            threads = [threading.Thread(target=blocked, args=[publisher]) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        server.signal(signal.SIGCONT)
    assert len(took) == 8
    assert max(took) < 2.0, took


def test_a_publisher_that_was_interrupted_knows_the_run_of_redis(server: Server) -> None:
    """A connection that is made again behind its back would say the run of before: one id, two
    messages.
    """
    publisher = Publisher(server.url)
    ids = [publisher.convert_and_send("/topic/a", 1).message_id for _ in range(3)]
    server.tell("SAVE")
    ids += [publisher.convert_and_send("/topic/a", 1).message_id for _ in range(2)]
    server.kill()
    server.start()
    with Publisher(server.url) as other:  # loads the scripts
        other.convert_and_send("/topic/b", 1)
    ids += [publisher.convert_and_send("/topic/a", 1).message_id for _ in range(2)]
    publisher.close()
    assert len(set(ids)) == 7


def test_who_may_not_publish_writes_nothing(server: Server) -> None:
    server.tell("ACL", "SETUSER", "pub", "on", ">pw", "~*", "resetchannels", "+@all")
    url = f"redis://pub:pw@127.0.0.1:{server.port}/0"
    with (
        Publisher(url, timeout=0.2) as publisher,
        pytest.raises(BackplaneUnavailable, match="NOPERM"),
    ):
        publisher.convert_and_send("/topic/a", 1)
    assert server.tell("KEYS", "*:s:*") == []


def test_a_client_is_taken_in_place_of_a_url(url: str, shared: Server) -> None:
    async def awaited() -> str:
        async with AsyncPublisher(redis=redis_asyncio.Redis(port=shared.port)) as publisher:
            return (await publisher.convert_and_send("/topic/a", 2)).message_id

    with Redis(port=shared.port, decode_responses=True) as client:
        with Publisher(redis=client) as publisher:
            assert publisher.convert_and_send("/topic/a", 1).message_id.endswith("-1")
        assert client.ping(), "a client that was given stays open"
    assert asyncio.run(awaited()).endswith("-2")


def test_an_awaiting_publisher_may_be_used_on_several_loops(url: str) -> None:
    publisher = AsyncPublisher(url)

    async def publish() -> str:
        told = await publisher.convert_and_send("/topic/a", 1)
        await publisher.aclose()
        return told.message_id

    assert [asyncio.run(publish()).rpartition("-")[2] for _ in range(2)] == ["1", "2"]


@pytest.mark.parametrize("kind", [Publisher, AsyncPublisher])
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "needs a URL"),
        ({"url": "http://cache"}, "one of http is no URL of Redis"),
        ({"url": "redis+sentinel://cache"}, "for Sentinel give redis="),
        ({"url": "redis://cache", "prefix": "a b"}, "prefix"),
        ({"url": "redis://cache", "timeout": 0}, "timeout: must be a number of seconds above 0"),
        ({"redis": 7}, "redis= must be a redis"),
    ],
)
def test_a_wrong_argument_is_told(
    kind: Callable[..., object], arguments: dict[str, Any], text: str
) -> None:
    with pytest.raises(ConfigurationError, match=text):
        kind(**arguments)

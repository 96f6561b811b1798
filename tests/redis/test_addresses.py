"""Where Redis is: URLs, TLS, passwords, sockets."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from stocksync_ws import BackplaneUnavailable
from stocksync_ws.backplane import Connected
from stocksync_ws.redis import AsyncPublisher, Publisher, RedisBackplane
from stocksync_ws.redis.addresses import redis_url
from tests.adapters.carriers.certificate import make_certificate
from tests.redis.servers import CannotStart, Server, free_port
from tests.redis.test_link import Told

PASSWORD = "p@ss:/word?"


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ("redis://a", "redis://a"),
        ("rediss://a:1/2", "rediss://a:1/2"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("valkey://a", "redis://a"),
        ("valkeys://u:p@a:1/2", "rediss://u:p@a:1/2"),
    ],
)
def test_a_url_is_one_that_the_client_library_knows(given: str, known: str) -> None:
    assert redis_url(given) == known
    RedisBackplane(given)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A server with a password, by each way to it."""
    folder = tmp_path_factory.mktemp("redis")
    certificate = make_certificate(folder)
    tls, path = free_port(), folder / "redis.sock"
    words = ["--tls-port", str(tls), "--tls-cert-file", certificate, "--tls-key-file", certificate]
    words += ["--tls-auth-clients", "no", "--unixsocket", str(path)]
    try:
        server = Server(folder, *words)
    except CannotStart as error:
        if not re.search("Bad directive|Missing implement of connection type tls", str(error)):
            raise
        pytest.skip("this Redis was built without TLS")
    server.tell("CONFIG", "SET", "requirepass", PASSWORD)
    word = quote(PASSWORD, safe="")
    yield {
        "redis": f"redis://:{word}@127.0.0.1:{server.port}",
        "rediss": f"rediss://default:{word}@localhost:{tls}/0?ssl_cert_reqs=none",
        "unix": f"unix://:{word}@{path}?db=0",
    }
    server.kill()


@pytest.mark.parametrize("way", ["redis", "rediss", "unix"])
def test_every_way_leads_there(guarded: dict[str, str], way: str, tmp_path: Path) -> None:
    url = guarded[way]

    async def main() -> None:
        told = Told()
        link = RedisBackplane(url).open("w1", "", told)
        try:
            await told.until(Connected)
            async with AsyncPublisher(url) as publisher:
                assert (await publisher.convert_and_send(f"/topic/{way}", 1)).message_id
        finally:
            link.close()
            await asyncio.sleep(0.1)  # TLS says goodbye in a few turns

    asyncio.run(main())
    with Publisher(url) as publisher:
        assert publisher.convert_and_send(f"/topic/{way}", 2).message_id.endswith("-2")


def test_a_wrong_password_is_told(guarded: dict[str, str]) -> None:
    url = guarded["redis"].replace(quote(PASSWORD, safe=""), "wrong")
    with (
        Publisher(url, timeout=0.2) as publisher,
        pytest.raises(BackplaneUnavailable, match="invalid username-password"),
    ):
        publisher.convert_and_send("/topic/a", 1)

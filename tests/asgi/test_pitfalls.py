"""The pitfalls of being inside somebody else's server, and the test of each.

The numbers are those that docstrings of the tests say ("Pitfall 4"). What only a real server shows
(two workers, a reload, its pings, its close codes) is tested with real servers, and again in part.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stocksync_ws import StompApp
from tests.asgi.host import Asgi, nothing_else

TESTS = Path(__file__).parents[1]
PITFALLS = {
    1: "the host takes the protocols out of the headers",
    2: "a scope has nothing of the mechanics of a handshake",
    3: "accept and close need a task",
    4: "what `send` returns is no coroutine",
    5: "a healthy client looks slow on a host that never finishes a send at once",
    6: "an abort forgets what is unsent, or the scope spins",
    7: "to abort is to let the coroutine return; a foreign cancellation is passed on",
    8: "middleware inside of a wrapped application does not see the socket",
    9: "a mount loses the exact path, and the lifespan",
    10: "a root path",
    11: "a test client has many loops",
    14: "many codes for one event",
    15: "a pause is that nobody calls `receive`",
    16: "the host buffers whole messages",
    17: "no PONG reaches an application",
}


def test_every_pitfall_has_its_test() -> None:
    files = [*(TESTS / "asgi").glob("test_*.py"), TESTS / "wire" / "test_scope.py"]
    found = {
        int(number)
        for file in files
        for numbers in re.findall(r'"""Pitfalls? ([0-9]+(?: and [0-9]+)*)', file.read_text())
        for number in numbers.split(" and ")
    }
    assert found == set(PITFALLS)


def test_a_client_without_heart_beats_is_neither_pinged_nor_closed(
    app: StompApp, host: Asgi
) -> None:
    """Pitfall 17: whether it is alive is the host's to find out."""
    client = host.open().connect(**{"heart-beat": "0,0"}).subscribe("/topic/a")
    host.advance(3_600)
    assert client.messages == []
    app.template.send("/topic/a", b"1")
    assert client.bodies() == [b"1"]


def test_heart_beats_go_on_beside_the_pings_of_the_host() -> None:
    app = StompApp("/ws", heart_beat=(10, 10))
    host = Asgi(app.wrap(nothing_else, signals=False))
    client = host.open().connect(**{"heart-beat": "10000,10000"})
    host.advance(10.5)
    assert [message["text"] for message in client.messages] == ["\n"]
    host.advance(31)
    assert client.closed is not None
    assert client.closed["code"] == 4000
    assert client.over
    host.close()


def test_with_wrap_only_middleware_around_it_is_seen(app: StompApp) -> None:
    """Pitfall 8: that is why `install` is recommended."""
    seen: list[object] = []

    async def inner(scope: object, receive: object, send: object) -> None:
        pytest.fail("the inner application was asked")

    wrapped = app.wrap(inner, signals=False)

    async def around(scope: dict[str, object], receive: object, send: object) -> None:
        await wrapped({**scope, "user": "ann"}, receive, send)

    gateway = wrapped._gateway  # type: ignore[attr-defined]
    begin = gateway._websocket

    async def look(request: object, receive: object, send: object) -> None:
        seen.append(request.user)  # type: ignore[attr-defined]
        await begin(request, receive, send)

    gateway._websocket = look
    host = Asgi(around)
    host.open().connect()
    app._run.abort()
    host.close()
    assert seen == ["ann"]

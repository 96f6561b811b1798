"""SockJS and the gateway: who is asked for a user, and what a run that ends does to requests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from stocksync_ws import (
    ConnectRequest,
    Limits,
    StompApp,
)
from tests.asgi.frameworks import FRAMEWORKS
from tests.asgi.host import Asgi, host_of
from tests.asgi.web import Page, ask, stomp

LOCAL = (b"host", b"localhost")
PRELUDE = b"h" * 2_048 + b"\n"
everywhere = pytest.mark.parametrize("framework", FRAMEWORKS)


@pytest.fixture
def asked() -> list[ConnectRequest]:
    """What the authenticator was given."""
    return []


@pytest.fixture
def app(asked: list[ConnectRequest]) -> StompApp:
    async def authenticate(request: ConnectRequest) -> None:
        asked.append(request)

    return StompApp("/ws", heart_beat=(0, 0), authenticator=authenticate, sockjs=True)


@pytest.fixture
def run() -> Iterator[Callable[[Any], Asgi]]:
    hosts: list[Asgi] = []

    def run(app: Any) -> Asgi:
        hosts.append(Asgi(app))
        return hosts[-1]

    yield run
    for host in hosts:
        host.close()


Run = Callable[[Any], Asgi]


class Asking:
    """A question for session and user that counts, and may be held."""

    def __init__(self) -> None:
        self.scopes: list[str] = []
        self.gate: asyncio.Event | None = None

    async def __call__(self, scope: Mapping[str, Any]) -> Mapping[str, Any]:
        self.scopes.append(scope["path"].rpartition("/")[2])
        if self.gate is not None:
            await self.gate.wait()
        return {"session": {"cart": len(self.scopes)}}


@pytest.fixture
def asking(app: StompApp, run: Run) -> tuple[Asgi, Asking]:
    """An application in front of another whose users are asked for."""
    host = host_of(app)
    asking = Asking()
    host.app._gateway.users = asking  # type: ignore[attr-defined]
    return host, asking


def test_users_are_asked_for_by_a_request_that_opens_a_session_alone(
    asking: tuple[Asgi, Asking], asked: list[ConnectRequest]
) -> None:
    host, users = asking
    page = Page(host).connect().subscribe()
    page.stream().gone()
    page.poll()
    page.post("\n")
    Page(host, "never").post("\n")
    ask(host, "GET", "/ws/info")
    ask(host, "GET", "/ws")
    ask(host, "GET", "/ws/a/b")
    ask(host, "OPTIONS", "/ws/000/other/xhr")
    assert users.scopes == ["xhr"]
    assert dict(asked[0].request.session) == {"cart": 1}
    assert Page(host, "second").stream().parts == [PRELUDE, b"o\n"]
    assert users.scopes == ["xhr", "xhr_streaming"]
    host.close()


def test_nobody_is_asked_for_a_page_that_has_no_right_to_come_in(
    asking: tuple[Asgi, Asking],
) -> None:
    host, users = asking
    evil = [LOCAL, (b"origin", b"https://evil.example")]
    assert Page(host, headers=evil).poll().status == 403
    assert users.scopes == []
    host.close()


def test_two_openings_at_once_are_one_session(asking: tuple[Asgi, Asking]) -> None:
    host, users = asking
    users.gate = asyncio.Event()
    first, second = Page(host).stream(), Page(host).stream()
    assert (users.scopes, first.status, second.status) == (["xhr_streaming"] * 2, None, None)
    users.gate.set()
    assert first.parts == [PRELUDE, b"o\n"]
    assert second.parts == [PRELUDE, b'c[2010,"Another connection still open"]\n']
    host.close()


def test_a_run_that_ended_meanwhile_is_503(asking: tuple[Asgi, Asking]) -> None:
    host, users = asking
    users.gate = asyncio.Event()
    lifespan = host.lifespan()
    lifespan.tell("startup")
    poll = Page(host).poll()
    lifespan.tell("shutdown")
    assert poll.status is None
    users.gate.set()
    assert (poll.status, poll.over) == (503, True)
    host.close()


def test_while_it_drains_no_session_is_opened_and_those_there_are_told(
    app: StompApp, run: Run
) -> None:
    host = host_of(app)
    page = Page(host).connect().subscribe()
    stream = page.stream()
    waiting = Page(host, "waiting").connect().poll()
    assert app._run.runtime is not None
    draining = host.loop.create_task(app._run.runtime.drain())
    host.settle()
    late = Page(host, "late").poll()
    assert (late.status, late.parts) == (503, [b"The server is not available.\n"])
    assert app.counters.connections_refused == 1
    host.advance(1)
    assert stream.parts[-1].startswith(b"c[1012,")
    assert waiting.parts[-1].startswith(b"c[1012,")
    assert stream.ended
    assert waiting.ended
    host.advance(60)
    assert draining.done()
    host.close()


def test_after_its_end_every_request_is_503(app: StompApp, run: Run) -> None:
    host = host_of(app)
    lifespan = host.lifespan()
    lifespan.tell("startup")
    page = Page(host).connect()
    lifespan.tell("shutdown")
    host.advance(60)
    assert lifespan.said == ["startup.complete", "shutdown.complete"]
    for late in (page.poll(), page.stream(), page.post("\n"), Page(host, "other").poll()):
        assert (late.status, late.over) == (503, True)
    host.close()


def test_over_the_cap_a_session_is_not_opened_and_an_open_one_goes_on(run: Run) -> None:
    app = StompApp("/ws", sockjs=True, limits=Limits(max_connections=2))
    host = host_of(app)
    page = Page(host).connect()
    stream = page.stream()
    other = Page(host, "other").stream()
    assert (stream.status, other.status) == (200, 200)
    assert Page(host, "third").poll().status == 503
    assert page.post("\n").status == 204
    host.close()


def test_a_framed_websocket(app: StompApp, run: Run) -> None:
    host = host_of(app)
    client = host.open(path="/ws/000/s/websocket")
    client.text(json.dumps(stomp("CONNECT", {"accept-version": "1.2", "host": "a"})))
    accepted, opened, connected = client.messages
    assert (accepted["type"], opened["text"]) == ("websocket.accept", "o")
    assert connected["text"].startswith('a["CONNECTED')
    client.disconnect(code=1000)
    assert client.over
    host.close()

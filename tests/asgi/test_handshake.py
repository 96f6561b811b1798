"""Who an upgrade is, in a scope: user and session of the host, and a verdict that takes time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from stocksync_ws import AccessDenied, Authenticated, BadCredentials, HttpRequest, StompApp
from tests.asgi.host import Asgi, host_of

EXTENDED: dict[str, Any] = {"websocket.http.response": {}}


@dataclass(frozen=True)
class User:
    name: str


async def judge(request: HttpRequest) -> Authenticated[User] | None:
    await asyncio.sleep(1)
    if request.session is None:
        raise AccessDenied("no middleware has been here")
    if "ends" not in request.session:
        raise BadCredentials("nobody has logged in")
    return Authenticated(User(request.user), request.session["ends"])


@pytest.fixture
def run() -> Iterator[Callable[[], Asgi]]:
    hosts: list[Asgi] = []

    def start() -> Asgi:
        app = StompApp("/ws", heart_beat=(0, 0), handshake_authenticator=judge)
        hosts.append(host_of(app))
        return hosts[-1]

    yield start
    for host in hosts:
        host.close()


def test_user_and_session_of_the_host_say_who_it_is(run: Callable[[], Asgi]) -> None:
    host = run()
    client = host.open(user="ann", session={"ends": 60.5})
    client.command("CONNECT", {"accept-version": "1.2", "host": "localhost"})
    host.settle()
    assert client.messages == []
    host.advance(1.1)
    assert client.messages.pop(0)["type"] == "websocket.accept"
    [connected] = client.frames()
    assert connected.headers["user-name"] == "ann"
    assert connected.headers["credentials-expire"] == "60"
    client.command("SEND", {"destination": "/user/session/credentials", "receipt": "r"})
    host.advance(1.1)
    assert client.frames()[-1].headers["credentials-expire"] == "60"
    host.advance(61)
    assert client.closed is not None
    assert client.closed["code"] == 4001


@pytest.mark.parametrize(("scope", "status"), [({"session": {}}, 401), ({}, 403)])
def test_a_refusal_is_the_answer_or_what_the_host_makes_of_a_close(
    run: Callable[[], Asgi], scope: dict[str, Any], status: int
) -> None:
    host = run()
    for extensions in (EXTENDED, {}):
        client = host.open(**scope, extensions=extensions)
        host.advance(1.1)
        if extensions:
            assert client.messages[0]["status"] == status
        else:
            assert client.messages[0]["type"] == "websocket.close"
        assert client.over


def test_a_client_that_leaves_before_the_verdict_is_forgotten(run: Callable[[], Asgi]) -> None:
    host = run()
    client = host.open(user="ann", session={"ends": 60.5})
    client.tell({"type": "websocket.disconnect", "code": 1001})
    host.advance(1.1)
    assert client.messages == []
    assert client.over

"""Who is let in, by which run, and what a request without a WebSocket gets."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from stocksync_ws import (
    BrokerClosed,
    ConfigurationError,
    DisconnectReason,
    Limits,
    SessionDisconnected,
    StompApp,
    WrongLoop,
)
from stocksync_ws.broker.model.pipeline import Threads
from stocksync_ws.inbox import START
from stocksync_ws.running import siblings
from stocksync_ws.running.siblings import PATIENCE, Claim
from tests.asgi.host import Asgi, Client, at_once, host_of, websocket_scope

Serve = Callable[..., Asgi]
EXTENDED = {"websocket.http.response": {}}


def status(client: Client) -> int:
    """The answer to a handshake that was refused, on a host that passes it on."""
    assert client.over
    start, body = client.messages
    assert start["type"] == "websocket.http.response.start"
    assert body["type"] == "websocket.http.response.body"
    code: int = start["status"]
    return code


# Requests


@pytest.mark.parametrize("path", ["/ws", "/ws/"])
def test_the_endpoint_is_found_at_its_path_and_with_a_trailing_slash(
    app: StompApp, host: Asgi, path: str
) -> None:
    """Pitfall 9, with `wrap`."""
    client = host.open(path=path).connect().subscribe("/topic/a")
    app.template.send("/topic/a", b"1")
    assert client.bodies() == [b"1"]
    code, headers, _ = host.get(path)
    assert (code, headers["upgrade"]) == (426, "websocket")


@pytest.mark.parametrize("path", ["/", "/wsx", "/ws/x", "/WS"])
def test_every_other_path_is_the_inner_applications(host: Asgi, path: str) -> None:
    code, _, body = host.get(path)
    assert (code, body) == (404, b"of the inner application")


ROOTS = {
    "the path has it": ("/shop/ws", "/shop"),
    "the path has it not": ("/ws", "/shop"),
    "it begins like the path": ("/ws", "/w"),
    "it is the path": ("/ws/ws/", "/ws"),
    "it ends with a slash": ("/shop/ws", "/shop/"),
}


@pytest.mark.parametrize("name", ROOTS)
def test_a_root_path_is_understood_both_ways(app: StompApp, host: Asgi, name: str) -> None:
    """Pitfall 10."""
    path, root = ROOTS[name]
    host.open(path=path, root_path=root).connect()
    assert host.get(path, root_path=root)[0] == 426


def test_a_path_below_another_root_is_not_ours(host: Asgi) -> None:
    assert host.get("/shop/ws", root_path="/stop")[0] == 404


def test_the_index_of_a_root_path_that_is_called_like_the_endpoint_is_not_ours(host: Asgi) -> None:
    for path in ("/ws", "/ws/"):
        assert host.get(path, root_path="/ws")[2] == b"of the inner application"


def test_a_websocket_that_comes_as_plain_http_is_the_servers_lack(
    app: StompApp, host: Asgi, caplog: pytest.LogCaptureFixture
) -> None:
    headers = [
        (b"host", b"localhost"),
        (b"connection", b"Upgrade"),
        (b"upgrade", b"websocket"),
        (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        (b"sec-websocket-version", b"13"),
    ]
    code, _, body = host.get(headers=headers)
    assert code == 501
    assert b"passes no WebSocket on" in body
    host.open()
    host.get(headers=headers)
    assert "pip install websockets" in caplog.text
    assert app.counters.handshakes_refused == 1


def test_http_2_has_no_header_upgrade(host: Asgi) -> None:
    code, headers, _ = host.get(http_version="2")
    assert (code, "upgrade" in headers) == (426, False)


def test_a_refusal_is_an_answer_where_the_host_knows_one(app: StompApp, host: Asgi) -> None:
    headers = [(b"host", b"a/b")]
    assert status(host.open(headers=headers, extensions=EXTENDED)) == 400
    client = host.open(headers=headers)
    assert client.over
    assert client.messages == [{"type": "websocket.close", "code": 1008}]
    assert app.counters.handshakes_refused == 2
    assert host.tasks() == set()


def test_a_verdict_of_the_application_is_an_answer(app: StompApp, serve: Serve) -> None:
    from stocksync_ws.broker.model.pipeline import Call, Mode
    from stocksync_ws.types import Refusal

    decided = asyncio.Event()

    async def decide() -> None:
        await decided.wait()

    def pipeline(handshake: object) -> Any:
        yield Call(decide, mode=Mode.ASYNC)
        return Refusal(401, "Who are you?")

    app.dispatch.handshake = pipeline  # type: ignore[method-assign]
    host = serve(app)
    client = host.open(extensions=EXTENDED)
    gone = host.open(extensions=EXTENDED)
    assert client.messages == []
    gone.disconnect(code=1006)
    decided.set()
    assert status(client) == 401
    assert gone.over
    assert gone.messages == []


# The first message


def test_a_client_that_has_gone_before_it_asked_opens_nothing(app: StompApp, host: Asgi) -> None:
    client = Client(host, websocket_scope(), at_once)
    client.disconnect(code=1006)
    assert client.over
    client.task.result()
    assert (client.messages, app._run.runtime, app.counters.connections) == ([], None, 0)


def test_what_a_client_sends_without_asking_first_is_not_lost(host: Asgi) -> None:
    """The test client of Quart does so."""
    Client(host, websocket_scope(), at_once).connect().subscribe("/topic/a")


# How many


def test_no_more_connections_than_the_limit(serve: Serve) -> None:
    app = StompApp("/ws", limits=Limits(max_connections=2))
    host = serve(app)
    first, _ = host.open().connect(), host.open().connect()
    assert status(host.open(extensions=EXTENDED)) == 503
    assert app.counters.connections_refused == 1
    first.disconnect(code=1000)
    host.open().connect()


# The run


def test_the_first_websocket_begins_the_run(app: StompApp, host: Asgi) -> None:
    assert app._run.runtime is None
    assert host.get()[0] == 426
    assert app._run.runtime is None
    app.template.send("/topic/a", b"kept")
    host.open()
    assert app._run.runtime is not None
    assert app.counters.messages_published == 1


def test_a_declaration_that_cannot_work_fails_the_first_websocket(
    app: StompApp, serve: Serve
) -> None:
    @app.message_mapping("/x")
    def handler(what: Undeclared) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    client = serve(app).open()
    assert client.over
    with pytest.raises(ConfigurationError):
        client.task.result()
    assert app._run.runtime is None


def test_a_second_live_loop_is_the_wrong_one(app: StompApp, serve: Serve) -> None:
    """Pitfall 11."""
    first, second = serve(app), serve(app)
    kept = first.open().connect().subscribe("/topic/a")
    client = second.open()
    assert client.over
    with pytest.raises(WrongLoop, match=r"TestClient\(app\)"):
        client.task.result()
    lifespan = second.lifespan()
    assert lifespan.tell("startup") == ["startup.failed"]
    assert "stands still and was never closed" in lifespan.sent[0]["message"]
    app.template.send("/topic/a", b"1")
    assert kept.bodies() == [b"1"]


def test_a_closed_loop_is_thrown_away_with_its_sessions_and_its_pool(
    app: StompApp, serve: Serve
) -> None:
    """Pitfall 11, the other half; that no thread is left is looked at after each test."""
    first = host_of(app)
    before = first.open().connect().subscribe("/topic/a")
    runtime = app._run.runtime
    assert runtime is not None
    ran = threading.Event()
    runtime.host._pools[Threads.HANDLERS].submit(ran.set)
    assert ran.wait(10)
    first.loop.close()
    after = serve(app).open().connect().subscribe("/topic/a")
    assert runtime.closed
    assert runtime.driver.connections == 0
    app.template.send("/topic/a", b"1")
    assert after.bodies() == [b"1"]
    assert not [each for each in before.messages if "MESSAGE" in str(each)]
    before.task._log_destroy_pending = False  # type: ignore[attr-defined]
    coroutine = before.task.get_coro()
    assert coroutine is not None
    coroutine.close()


def test_an_awaited_publication_behind_a_closed_loop_gives_up_in_time(
    app: StompApp, serve: Serve
) -> None:
    """A `TestClient` without `with` closes its loop behind each request."""
    first = host_of(app)
    first.open().disconnect(code=1000)
    first.loop.close()
    second = serve(app)
    with pytest.raises(BrokerClosed):
        second.loop.run(app.template.publish("/topic/a", b"1"), START + 1)


def test_two_gateways_of_an_application_share_its_run(app: StompApp, serve: Serve) -> None:
    host = serve(app)
    client = host.open().connect().subscribe("/topic/a")
    host.app = app.wrap(host.app, signals=False)
    other = host.open().connect().subscribe("/topic/a")
    app.template.send("/topic/a", b"1")
    assert (client.bodies(), other.bodies()) == ([b"1"], [b"1"])


# The end of a run


def test_while_it_drains_it_answers_503(app: StompApp, serve: Serve) -> None:
    heard: list[SessionDisconnected] = []

    @app.event_listener(SessionDisconnected)
    async def listen(event: SessionDisconnected) -> None:
        heard.append(event)
        await asyncio.sleep(2)

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        for answer in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{answer}.complete"})

    host = serve(app, inner)
    lifespan = host.lifespan()
    lifespan.tell("startup")
    client = host.open().connect()
    lifespan.tell("shutdown")
    host.advance(1)
    assert client.closed == {
        "type": "websocket.close",
        "code": 1012,
        "reason": "server restarts",
    }
    late = host.open(extensions=EXTENDED)
    assert status(late) == 503
    # Before anything is kept for it, and with a time to come again.
    assert b"retry-after" in dict(late.messages[0]["headers"])
    assert app.counters.connections_refused == 1
    assert lifespan.said == ["startup.complete"]
    host.advance(3)
    assert lifespan.said == ["startup.complete", "shutdown.complete"]
    assert [event.reason for event in heard] == [DisconnectReason.SERVER_SHUTDOWN]


def test_after_the_lifespan_it_answers_503(app: StompApp, host: Asgi) -> None:
    lifespan = host.lifespan()
    lifespan.tell("startup")
    lifespan.tell("shutdown")
    assert app._run.runtime is None
    client = host.open(extensions=EXTENDED)
    assert status(client) == 503
    assert dict(client.messages[0]["headers"])[b"retry-after"]
    plain = host.open()
    assert plain.over
    assert plain.messages == [{"type": "websocket.close", "code": 1008}]
    code, headers, _ = host.get()
    assert (code, "retry-after" in headers) == (503, True)
    assert app._run.runtime is None


def test_after_the_lifespan_of_one_loop_another_loop_begins_anew(
    app: StompApp, serve: Serve
) -> None:
    first = host_of(app)
    lifespan = first.lifespan()
    lifespan.tell("startup")
    lifespan.tell("shutdown")
    second = Asgi(first.app)
    first.close()
    assert second.get()[0] == 426
    second.open().connect()
    app._run.abort()
    second.close()


def test_the_lifespan_begins_again_after_it_ended(app: StompApp, host: Asgi) -> None:
    for _ in range(3):
        lifespan = host.lifespan()
        assert lifespan.tell("startup") == ["startup.complete"]
        client = host.open().connect()
        assert lifespan.tell("shutdown")[1:] == ["shutdown.complete"]
        assert client.closed is not None
        assert client.closed["code"] == 1012
        assert client.over


def test_an_end_where_nothing_has_begun(app: StompApp, host: Asgi) -> None:
    gateway = app._gateway(signals=False)
    host.loop.run(gateway.drain())
    host.loop.run(gateway.end())
    assert app._run.runtime is None


# Several workers


class Taken:
    """A name that another process holds until it is told otherwise."""

    def __init__(self) -> None:
        self.mine = False
        self.held = True
        self.freed = 0

    def take(self) -> bool:
        self.mine = not self.held
        return self.mine

    def holder(self) -> int | None:
        return 4_242

    def free(self) -> None:
        self.freed += 1


@pytest.fixture
def name(monkeypatch: pytest.MonkeyPatch) -> Taken:
    taken = Taken()

    def claim(loop: Any, server: Any, path: str) -> Claim | None:
        if server is None or server[0] == "testserver":
            return siblings.claim_of(loop, server, path)
        return Claim(loop, taken, f"{server[0]}:{server[1]}{path}")

    monkeypatch.setattr("stocksync_ws.asgi.gateway.claim_of", claim)
    return taken


@pytest.mark.parametrize("workers", ["warn", "refuse"])
def test_a_second_worker_warns_or_refuses_as_well(
    serve: Serve, name: Taken, workers: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app = StompApp("/ws", workers=workers)
    host = serve(app)
    server = ("10.0.0.1", 8000)
    kept = host.open(server=server).connect()
    host.advance(PATIENCE - 1)
    host.open(server=server).connect()
    assert "several workers" not in caplog.text
    host.advance(2)
    assert "several workers serve 10.0.0.1:8000/ws" in caplog.text
    assert "process 4242" in caplog.text
    later = host.open(server=server, extensions=EXTENDED)
    if workers == "warn":
        later.connect()
    else:
        assert status(later) == 503
    assert kept.closed is None
    # The other one has ended.
    name.held = False
    host.advance(PATIENCE + 1)
    host.open(server=server).connect()
    app._run.abort()
    assert name.freed == 1


def test_the_address_is_claimed_once_a_run(app: StompApp, host: Asgi, name: Taken) -> None:
    for _ in range(3):
        host.open(server=("10.0.0.1", 8000)).connect()
    app._run.abort()
    assert name.freed == 1
    host.open(server=("10.0.0.1", 8000)).connect()
    app._run.abort()
    assert name.freed == 2


@pytest.mark.parametrize("server", [("testserver", 80), None])
def test_a_test_client_claims_nothing(
    app: StompApp, host: Asgi, name: Taken, server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    host.open(server=server).connect()
    host.advance(PATIENCE + 1)
    app._run.abort()
    assert (name.freed, caplog.text) == (0, "")


def test_what_workers_means_is_checked() -> None:
    with pytest.raises(ConfigurationError, match="workers: must be 'warn' or 'refuse'"):
        StompApp("/ws", workers="many")  # type: ignore[arg-type]


def test_a_router_that_sends_us_more_than_ours_is_told_so(app: StompApp) -> None:
    host = Asgi(app._gateway(signals=False))
    host.open(path="/ws").connect()
    assert status(host.open(path="/ws/more", extensions=EXTENDED)) == 404
    assert host.get("/ws/more")[0] == 404
    host.close()
    app._run.abort()

"""SockJS inside of an application that a team has: each framework, middleware around it, and routes
that are in the way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import clear_url_caches, include, path
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.testclient import TestClient

from stocksync_ws import (
    ConfigurationError,
    ConnectRequest,
    Limits,
    SessionDisconnected,
    SockJSOptions,
    StompApp,
)
from tests.asgi import django_site
from tests.asgi.django_site import NAME, caught, configure
from tests.asgi.frameworks import FRAMEWORKS, add_route, make
from tests.asgi.host import Asgi, Held, ends_of, publish
from tests.asgi.web import Page, ask, stomp

pytestmark = pytest.mark.slow

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


# Frameworks


def works(host: Asgi, ws: StompApp, base: str = "/ws", **changes: Any) -> None:
    """Each transport carries a session there."""
    assert ask(host, "GET", base, **changes).parts == [b"Welcome to SockJS!\n"]
    info = ask(host, "GET", f"{base}/info", **changes)
    assert json.loads(b"".join(info.parts))["websocket"] is True
    assert ask(host, "OPTIONS", f"{base}/000/s/xhr", **changes).status == 204
    page = Page(host, "polled", base, **changes).connect().subscribe()
    for number in range(3):
        ws.template.send("/topic/a", b"%d" % number)
        poll = page.poll()
        assert b"%d\\u0000" % number in poll.parts[0]
        assert poll.ended
    stream = page.stream()
    for number in range(3):
        ws.template.send("/topic/a", b"%d" % number)
        assert b"%d\\u0000" % number in stream.parts[-1]
    assert not stream.ended
    stream.gone()
    assert stream.over
    client = host.open(path=f"{base}/000/framed/websocket", **changes)
    assert client.messages[1]["text"] == "o"
    client.disconnect(code=1000)
    assert client.over


@everywhere
@pytest.mark.parametrize("lifespan", [True, False])
def test_sessions_work_below_the_middleware_of_a_framework(
    app: StompApp, run: Run, framework: str, lifespan: bool
) -> None:
    host = run(app.install(make(framework), signals=False))
    if lifespan:
        begun = host.lifespan()
        assert begun.tell("startup") == ["startup.complete"]
    works(host, app)
    if lifespan:
        assert ask(host, "GET", "/wsx").parts == [b"caught"]
        begun.tell("shutdown")
        assert begun.said == ["startup.complete", "shutdown.complete"]


@everywhere
@pytest.mark.parametrize("whole", [True, False])
def test_below_a_root_path(app: StompApp, run: Run, framework: str, whole: bool) -> None:
    host = run(app.install(make(framework), signals=False))
    works(host, app, "/shop/ws" if whole else "/ws", root_path="/shop")


@everywhere
def test_session_and_user_of_the_framework_are_there_with_the_handshake(
    app: StompApp, run: Run, framework: str, asked: list[ConnectRequest]
) -> None:
    host = run(app.install(make(framework), signals=False))
    host.lifespan().tell("startup")
    _, headers, _ = host.get("/login")
    cookie = headers["set-cookie"].partition(";")[0].encode()
    Page(host, headers=[LOCAL, (b"cookie", cookie), (b"x-user", b"ann")]).connect()
    assert dict(asked[0].request.session) == {"cart": 3}


@everywhere
def test_what_is_below_the_endpoint_is_its_own_and_nothing_else(
    app: StompApp, run: Run, framework: str
) -> None:
    host = run(app.install(make(framework), signals=False))
    host.lifespan().tell("startup")
    for path_ in ("/ws/a", "/ws/a/b/c", "/ws//s/xhr"):
        assert ask(host, "GET", path_).status == 404, path_
    for path_ in ("/wsx", "/wsx/info", "/x/ws/info", "/ws-2"):
        assert ask(host, "GET", path_).parts == [b"caught"], path_


@pytest.mark.parametrize("framework", ["starlette", "fastapi"])
@pytest.mark.parametrize("layers", [1, 3])
def test_middleware_that_wraps_each_answer_breaks_no_stream(
    run: Run, framework: str, layers: int
) -> None:
    """`BaseHTTPMiddleware` runs what is below it in a task, with a queue for each answer."""
    ws = StompApp(
        "/ws", heart_beat=(0, 0), sockjs=SockJSOptions(stream_bytes=10_000), limits=Limits()
    )
    ends = ends_of(ws)

    async def pass_on(request: Any, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["x-seen"] = "yes"
        return response

    middleware = [Middleware(BaseHTTPMiddleware, dispatch=pass_on) for _ in range(layers)]
    make_one = Starlette if framework == "starlette" else FastAPI
    host = run(ws.install(make_one(middleware=middleware), signals=False))
    page = Page(host).connect().subscribe()
    stream = page.stream()
    assert (b"x-seen", b"yes") in stream.messages[0]["headers"]
    for number in range(12):
        publish(ws, b"%d " % number + bytes([46]) * 1_000)
        assert b"%d ." % number in stream.parts[-1]
        if stream.ended:
            break
    assert stream.over
    assert ends == []
    # The next one is cut by the client, and a body comes in parts.
    stream = page.stream()
    body = json.dumps([stomp("SUBSCRIBE", {"id": "2", "destination": "/topic/b", "receipt": "p"})])
    post = page.begin_post().body(body[:9].encode(), more=True).body(body[9:].encode())
    assert post.status == 204
    assert b"receipt-id:p" in stream.parts[-1]
    stream.gone()
    assert stream.over
    assert [str(end.reason) for end in ends] == ["connection_lost"]


def test_a_host_that_is_slow_behind_such_middleware_is_felt(run: Run) -> None:
    ws = StompApp(
        "/ws",
        heart_beat=(0, 0),
        sockjs=SockJSOptions(stream_bytes=10_000_000),
        limits=Limits(send_queue=65_536, close_timeout=1.0),
    )
    ends = ends_of(ws)

    async def pass_on(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    middleware = [Middleware(BaseHTTPMiddleware, dispatch=pass_on)]
    host = run(ws.install(Starlette(middleware=middleware), signals=False))
    page = Page(host).connect().subscribe()
    stream = page.stream()
    stream.manner = held = Held()
    for _ in range(40):
        publish(ws, bytes(60_000).replace(b"\0", b"x"))
        host.settle()
    host.advance(12)
    assert [str(end.reason) for end in ends] == ["slow_consumer"]
    while held.waiting:
        held.release()
        host.settle()
    assert stream.over


@everywhere
@pytest.mark.parametrize("own", ["/ws/x", "/ws/000/s/xhr", "/ws/info/"])
def test_a_route_below_the_endpoint_is_in_the_way_and_one_beside_it_is_not(
    app: StompApp, run: Run, framework: str, own: str
) -> None:
    """One of the two would never be reached."""
    for free in ("/wsx", "/ws-2/info", "/x/ws/info"):
        beside = make(framework)
        add_route(framework, beside, free)
        StompApp("/ws", sockjs=True).install(beside, signals=False)
    inside = make(framework)
    add_route(framework, inside, own)
    StompApp("/ws").install(inside, signals=False)
    clash = make(framework)
    add_route(framework, clash, own)
    with pytest.raises(ConfigurationError, match=f"has the path '{own.rstrip('/')}' already"):
        app.install(clash, signals=False)


def test_a_route_of_litestar_beside_the_endpoint_is_reached(app: StompApp, run: Run) -> None:
    litestar = make("litestar")
    add_route("litestar", litestar, "/wsx")
    host = run(app.install(litestar, signals=False))
    works(host, app)
    assert ask(host, "GET", "/wsx").parts == [b"own"]


# Django and Channels


def _behind_a_router() -> Any:
    http = get_asgi_application()
    inner = URLRouter([path("chat/", get_asgi_application())])
    return ProtocolTypeRouter({"http": http, "websocket": AuthMiddlewareStack(inner)})


@pytest.mark.parametrize(
    "make_one",
    [
        get_asgi_application,
        lambda: ProtocolTypeRouter({"http": get_asgi_application()}),
        _behind_a_router,
    ],
    ids=["django", "channels", "channels behind URLRouter"],
)
def test_django_and_channels(
    app: StompApp,
    run: Run,
    asked: list[ConnectRequest],
    make_one: Callable[[], Any],
) -> None:
    configure()
    served = app.install(make_one(), signals=False)
    with TestClient(served) as client:
        client.get("/login")
        assert client.get("/ws").text == "Welcome to SockJS!\n"
        assert client.get("/ws/info").json()["websocket"] is True
        assert client.post("/ws/000/s/xhr").text == "o\n"
        body = json.dumps([stomp("CONNECT", {"accept-version": "1.2", "host": "a"})])
        assert client.post("/ws/000/s/xhr_send", content=body).status_code == 204
        assert client.post("/ws/000/s/xhr").text.startswith('a["CONNECTED')
        assert client.get("/wsx").text == "caught"
        assert client.get("/ws/a").status_code == 404
        with client.websocket_connect("/ws/000/t/websocket") as session:
            assert session.receive_text() == "o"
        with client.websocket_connect("/ws/websocket", ["v12.stomp"]) as session:
            assert session.accepted_subprotocol == "v12.stomp"
    assert dict(asked[0].request.session)["cart"] == 3
    assert str(asked[0].request.user) == NAME


DJANGO = {
    "below": path("ws/status", caught),
    "included": path("ws/", include([path("more/status/", caught)])),
    "with a variable": path("ws/<slug:name>", caught),
}


@pytest.mark.parametrize("name", DJANGO)
@pytest.mark.parametrize("sockjs", [True, False])
def test_a_url_of_django_below_the_endpoint_fails_the_start(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, sockjs: bool
) -> None:
    configure()
    monkeypatch.setattr(django_site, "urlpatterns", [DJANGO[name], *django_site.urlpatterns])
    clear_url_caches()
    try:
        ws = StompApp("/ws", sockjs=sockjs)
        lifespan = run(ws.install(get_asgi_application(), signals=False)).lifespan()
        if sockjs:
            assert lifespan.tell("startup") == ["startup.failed"]
            assert "has the path '/ws/" in lifespan.sent[0]["message"]
        else:
            assert lifespan.tell("startup") == ["startup.complete"]
            lifespan.tell("shutdown")
    finally:
        monkeypatch.undo()
        clear_url_caches()


# The test client


def test_the_test_client_starts_stops_and_starts_again() -> None:
    ws = StompApp("/ws", heart_beat=(0, 0), sockjs=True)
    heard: list[SessionDisconnected] = ends_of(ws)
    served = ws.install(FastAPI(), signals=False)
    connect = json.dumps([stomp("CONNECT", {"accept-version": "1.2", "host": "a"})])
    for number in range(3):
        with TestClient(served) as client:
            # The same name: nothing of the last run is known in this one.
            assert client.post("/ws/000/s/xhr").text == "o\n"
            assert client.post("/ws/000/s/xhr_send", content=connect).status_code == 204
            assert client.post("/ws/000/s/xhr").text.startswith('a["CONNECTED')
        assert len(heard) == number + 1
        assert ws._run.runtime is None
    ws._run.abort()

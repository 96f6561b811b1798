"""Into the application that a team has: the endpoint is found, middleware stands around it, the
lifespan is in order, and a clash is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from litestar.exceptions import ImproperlyConfiguredException
from starlette.applications import Starlette
from starlette.routing import Mount, Route, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles

from stocksync_ws import (
    BackplaneSettings,
    BrokerAvailability,
    ConfigurationError,
    ConnectRequest,
    SessionDisconnected,
    StompApp,
)
from stocksync_ws.testing import MemoryBackplane
from tests.asgi.frameworks import FRAMEWORKS, add_route, make
from tests.asgi.host import Asgi, Client

KINDS = ["route", "websocket", "mount"]
LOCAL = (b"host", b"localhost")
everywhere = pytest.mark.parametrize("framework", FRAMEWORKS)
starlettes = pytest.mark.parametrize("framework", ["starlette", "fastapi"])


@pytest.fixture
def asked() -> list[ConnectRequest]:
    """What the authenticator was given."""
    return []


@pytest.fixture
def ws(asked: list[ConnectRequest]) -> StompApp:
    async def authenticate(request: ConnectRequest) -> None:
        asked.append(request)

    return StompApp("/ws", heart_beat=(0, 0), authenticator=authenticate)


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


def works(client: Client, ws: StompApp) -> None:
    client.connect().subscribe("/topic/a")
    ws.template.send("/topic/a", b"1")
    assert client.bodies() == [b"1"]
    client.disconnect(code=1000, reason="")
    assert client.over
    client.task.result()


# The endpoint


@everywhere
def test_the_endpoint_is_found_and_a_route_for_everything_does_not_hide_it(
    ws: StompApp, run: Run, framework: str
) -> None:
    """Pitfall 9: at the exact path and with a trailing slash, below the middleware."""
    app = make(framework)
    assert ws.install(app, signals=False) is app
    host = run(app)
    lifespan = host.lifespan()
    assert lifespan.tell("startup") == ["startup.complete"]
    for path in ("/ws", "/ws/"):
        works(host.open(path=path), ws)
        code, headers, _ = host.get(path)
        assert (code, headers["upgrade"]) == (426, "websocket"), path
    assert host.get("/wsx")[2] == b"caught"
    lifespan.tell("shutdown")
    assert lifespan.said == ["startup.complete", "shutdown.complete"]


@everywhere
@pytest.mark.parametrize("whole", [True, False])
def test_a_root_path_is_understood(ws: StompApp, run: Run, framework: str, whole: bool) -> None:
    """Pitfall 10: the path begins with the root path, or it does not."""
    host = run(ws.install(make(framework), signals=False))
    path = "/shop/ws" if whole else "/ws"
    works(host.open(path=path, root_path="/shop"), ws)
    assert host.get(path, root_path="/shop")[0] == 426


@everywhere
def test_session_and_user_of_the_application_arrive(
    ws: StompApp, run: Run, framework: str, asked: list[ConnectRequest]
) -> None:
    """Pitfall 8."""
    host = run(ws.install(make(framework), signals=False))
    host.lifespan().tell("startup")
    code, headers, body = host.get("/login")
    assert (code, body) == (200, b"in")
    cookie = headers["set-cookie"].partition(";")[0].encode()
    works(host.open(headers=[LOCAL, (b"cookie", cookie), (b"x-user", b"ann")]), ws)
    works(host.open(), ws)
    mine, nobody = (each.request for each in asked)
    assert dict(mine.session) == {"cart": 3}
    assert not nobody.session
    if framework != "quart":
        assert mine.user.display_name == "ann"
        assert not getattr(nobody.user, "display_name", "")


@starlettes
def test_the_state_of_the_lifespan_arrives(
    ws: StompApp, run: Run, framework: str, asked: list[ConnectRequest]
) -> None:
    app = ws.install(make(framework), signals=False)
    state: dict[str, Any] = {}
    host = run(app)

    async def with_state(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            scope["state"] = state
        else:
            scope["state"] = state.copy()
        await app(scope, receive, send)

    host.app = with_state
    host.lifespan().tell("startup")
    works(host.open(), ws)
    assert asked[0].request.scope is not None
    assert asked[0].request.scope["state"]["db"] == "open"


@starlettes
def test_static_files_at_the_root_do_not_hide_it(
    ws: StompApp, run: Run, framework: str, tmp_path: Path
) -> None:
    (tmp_path / "index.html").write_text("shop")
    app = make(framework)
    app.mount("/", StaticFiles(directory=tmp_path, html=True))
    host = run(ws.install(app, signals=False))
    works(host.open(), ws)
    later = make(framework)
    host = run(ws_at(ws, later))
    later.mount("/", StaticFiles(directory=tmp_path, html=True))
    ws._run.abort()
    works(host.open(), ws)


def ws_at(ws: StompApp, app: Any) -> Any:
    return ws.install(app, signals=False)


@starlettes
def test_in_a_mounted_application_it_works_and_begins_with_the_first_websocket(
    ws: StompApp, run: Run, framework: str
) -> None:
    """Pitfall 9, the other half: a mounted application has no lifespan."""
    inner = make(framework)
    ws.install(inner, signals=False)
    host = run(Starlette(routes=[Mount("/sub", inner)]))
    host.lifespan().tell("startup")
    assert ws._run.runtime is None
    for path in ("/sub/ws", "/sub/ws/"):
        works(host.open(path=path), ws)
    assert host.get("/sub/ws")[0] == 426
    assert host.open(path="/ws").messages[0]["type"] == "websocket.close"


def test_a_router_alone_is_an_application_too(ws: StompApp, run: Run) -> None:
    host = run(ws.install(Router(), signals=False))
    works(host.open(), ws)


def test_urls_of_other_routes_are_still_found(ws: StompApp) -> None:
    app = make("starlette")
    app.routes.insert(0, Route("/named/{id}", lambda request: None, name="named"))
    ws.install(app, signals=False)
    assert app.url_path_for("named", id="1") == "/named/1"


# The lifespan


@everywhere
def test_the_order_of_everything(ws: StompApp, run: Run, framework: str) -> None:
    story: list[str] = []

    @ws.event_listener(BrokerAvailability, inline=True)
    def broker(event: BrokerAvailability) -> None:
        story.append("broker up" if event.available else "broker down")

    @ws.event_listener(SessionDisconnected)
    async def session(event: SessionDisconnected) -> None:
        story.append("session closed")

    def hook(what: str) -> Callable[[], None]:
        def call() -> None:
            story.append(what)
            ws.template.send("/topic/a", b"x")

        return call

    host = run(ws.install(make(framework, hook("starts"), hook("stops")), signals=False))
    lifespan = host.lifespan()
    lifespan.tell("startup")
    client = host.open().connect()
    lifespan.tell("shutdown")
    host.advance(1)
    assert lifespan.said == ["startup.complete", "shutdown.complete"]
    assert story == ["broker up", "starts", "session closed", "stops", "broker down"]
    assert ws.counters.messages_published == 2
    assert client.over
    assert ws._run.runtime is None


@everywhere
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("comes", [False, True])
def test_a_required_engine_is_waited_for(run: Run, framework: str, comes: bool) -> None:
    engine = MemoryBackplane(BackplaneSettings(require_at_start=True, subscribe_timeout=3))
    engine.reachable = False
    ws = StompApp("/ws", backplane=engine)
    host = run(ws.install(make(framework), signals=False))
    lifespan = host.lifespan()
    lifespan.tell("startup")
    host.advance(2.9)
    assert lifespan.said == []
    if comes:
        engine.reconnect()
    host.advance(0.2)
    assert lifespan.said == ["startup.complete" if comes else "startup.failed"]
    assert (ws._run.runtime is not None) is comes


@everywhere
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_startup_that_fails_ends_the_run(ws: StompApp, run: Run, framework: str) -> None:
    def fail() -> None:
        raise ValueError("no database")

    host = run(ws.install(make(framework, fail), signals=False))
    lifespan = host.lifespan()
    lifespan.tell("startup")
    host.advance(1)
    assert lifespan.said == ["startup.failed"]
    assert ws._run.runtime is None


@starlettes
def test_an_application_that_breaks_in_its_shutdown_ends_the_run(
    ws: StompApp, run: Run, framework: str
) -> None:
    def fail() -> None:
        raise ValueError("no goodbye")

    host = run(ws.install(make(framework, stops=fail), signals=False))
    lifespan = host.lifespan()
    lifespan.tell("startup")
    client = host.open().connect()
    lifespan.tell("shutdown")
    assert lifespan.said == ["startup.complete", "shutdown.failed"]
    assert client.closed is not None
    assert client.closed["code"] == 1012
    assert ws._run.runtime is None


def test_a_router_that_is_included_later_has_its_lifespan_inside_of_the_run(
    ws: StompApp, run: Run
) -> None:
    seen: list[bool] = []

    @asynccontextmanager
    async def lifespan(app: Any) -> Any:
        seen.append(ws._run.runtime is not None)
        yield
        ws.template.send("/topic/a", b"x")

    app = FastAPI()
    ws.install(app, signals=False)
    app.include_router(APIRouter(lifespan=lifespan))
    served = run(app).lifespan()
    served.tell("startup")
    served.tell("shutdown")
    assert served.said == ["startup.complete", "shutdown.complete"]
    assert seen == [True]
    assert ws.counters.messages_published == 1


# Clashes


@everywhere
def test_installing_twice_is_an_error(ws: StompApp, framework: str) -> None:
    app = make(framework)
    ws.install(app, signals=False)
    with pytest.raises(ConfigurationError, match="has the path '/ws' already"):
        ws.install(app, signals=False)
    with pytest.raises(ConfigurationError, match="has the path '/ws' already"):
        StompApp("/ws").install(app, signals=False)


@everywhere
def test_two_stomp_apps_live_in_one_application(ws: StompApp, run: Run, framework: str) -> None:
    app = make(framework)
    other = StompApp("/other", heart_beat=(0, 0))
    ws.install(app, signals=False)
    host = run(other.install(app, signals=False))
    lifespan = host.lifespan()
    assert lifespan.tell("startup") == ["startup.complete"]
    works(host.open(), ws)
    works(host.open(path="/other"), other)
    lifespan.tell("shutdown")
    assert (ws._run.runtime, other._run.runtime) == (None, None)


@everywhere
def test_one_stomp_app_lives_in_one_application_after_another(
    ws: StompApp, run: Run, framework: str
) -> None:
    """Test suites make an application anew for each test."""
    for _ in range(2):
        host = run(ws.install(make(framework), signals=False))
        lifespan = host.lifespan()
        lifespan.tell("startup")
        works(host.open(), ws)
        lifespan.tell("shutdown")
        assert ws._run.runtime is None


@everywhere
@pytest.mark.parametrize("path", ["/ws", "/ws/"])
def test_a_route_of_the_same_path_is_an_error(ws: StompApp, framework: str, path: str) -> None:
    app = make(framework)
    add_route(framework, app, path)
    with pytest.raises(ConfigurationError, match="has the path '/ws' already"):
        ws.install(app, signals=False)


@pytest.mark.parametrize(
    ("framework", "kind"),
    [
        *((name, kind) for name in ("starlette", "fastapi") for kind in KINDS),
        ("fastapi", "router"),
        ("fastapi", "router with a prefix of its own"),
        ("fastapi", "router with a prefix given to it"),
    ],
)
def test_a_route_of_the_same_path_that_is_added_later_fails_the_startup(
    ws: StompApp, run: Run, framework: str, kind: str
) -> None:
    async def endpoint(websocket: WebSocket) -> None: ...

    app = make(framework)
    ws.install(app, signals=False)
    if kind == "route":
        app.add_route("/ws", endpoint)
    elif kind == "websocket":
        app.router.routes.append(WebSocketRoute("/ws", endpoint))
    elif kind == "mount":
        app.mount("/ws", Router())
    elif kind == "router":
        router = APIRouter()
        router.add_api_websocket_route("/ws", endpoint)
        app.include_router(router)
    elif kind == "router with a prefix given to it":
        router = APIRouter()
        router.add_api_websocket_route("/", endpoint)
        app.include_router(router, prefix="/ws")
    else:
        router = APIRouter(prefix="/ws")
        router.add_api_websocket_route("/", endpoint)
        outer = APIRouter()
        outer.include_router(router)
        app.include_router(outer)
    lifespan = run(app).lifespan()
    assert lifespan.tell("startup") == ["startup.failed"]
    assert "has the path '/ws' already" in lifespan.sent[0]["message"]
    assert ws._run.runtime is None


def test_quart_says_at_startup_that_a_route_came_later(ws: StompApp, run: Run) -> None:
    app = make("quart")
    ws.install(app, signals=False)
    add_route("quart", app, "/ws")
    lifespan = run(app).lifespan()
    assert lifespan.tell("startup") == ["startup.failed"]
    assert "has the path '/ws' already" in lifespan.sent[0]["message"]
    assert ws._run.runtime is None


def test_litestar_says_it_itself_when_a_route_comes_later(ws: StompApp) -> None:
    app = make("litestar")
    ws.install(app, signals=False)
    with pytest.raises(ImproperlyConfiguredException, match="must have a unique path"):
        add_route("litestar", app, "/ws")


def test_a_route_that_came_later_fails_the_first_websocket_where_there_is_no_lifespan(
    ws: StompApp, run: Run
) -> None:
    app = make("starlette")
    ws.install(app, signals=False)
    add_route("starlette", app, "/ws")
    client = run(app).open()
    assert client.over
    with pytest.raises(ConfigurationError, match="has the path '/ws' already"):
        client.task.result()


async def plain(scope: Any, receive: Any, send: Any) -> None: ...


@pytest.mark.parametrize("app", [plain, object(), None])
def test_what_it_does_not_know_is_told_how_to_go_on(ws: StompApp, app: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"app = ws\.wrap\(app\)"):
        ws.install(app)

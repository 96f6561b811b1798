"""Where an endpoint cannot go: routes that are hidden in other routes, routers, prefixes. Routes of
the application itself are in `test_install.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application
from django.urls import include, path
from fastapi import APIRouter, FastAPI
from litestar import Litestar, get
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, Router

from stocksync_ws import ConfigurationError, StompApp
from tests.asgi import django_site
from tests.asgi.host import Asgi

TAKEN = "has the path '{}' already"


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


async def page(request: Any) -> PlainTextResponse:
    return PlainTextResponse("a page")


# Starlette and FastAPI


def _inside_of_a_mount() -> Starlette:
    return Starlette(routes=[Mount("/api", routes=[Route("/ws", page)])])


def _inside_of_two() -> Starlette:
    inner = Starlette(routes=[Mount("/v1", app=Router([Route("/ws/", page)]))])
    return Starlette(routes=[Mount("/api", app=inner)])


def _inside_of_fastapi() -> FastAPI:
    app, router = FastAPI(), APIRouter(prefix="/v1")
    router.add_api_route("/ws", page, response_model=None)
    inner = FastAPI()
    inner.include_router(router)
    app.mount("/api", inner)
    return app


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (_inside_of_a_mount, "/api/ws"),
        (_inside_of_two, "/api/v1/ws"),
        (_inside_of_fastapi, "/api/v1/ws"),
    ],
)
def test_a_route_inside_of_a_mount_is_in_the_way(
    app: StompApp, make: Callable[[], Any], where: str
) -> None:
    with pytest.raises(ConfigurationError, match=TAKEN.format(where)):
        StompApp(where).install(make())
    app.install(make(), signals=False)


def test_a_router_that_is_to_be_included_is_no_application(app: StompApp) -> None:
    """It would be served without its lifespan, or below a prefix, or not at all."""
    with pytest.raises(ConfigurationError, match="not into a router that is included in one"):
        app.install(APIRouter())


def test_a_mounted_application_keeps_its_index_under_the_name_of_its_endpoint(run: Run) -> None:
    inner = Starlette(routes=[Route("/", page)])
    chat = StompApp("/chat", heart_beat=(0, 0))
    chat.install(inner, signals=False)
    host = run(Starlette(routes=[Mount("/chat", inner)]))
    assert host.get("/chat/")[2] == b"a page"
    assert host.get("/chat/chat")[0] == 426
    host.open(path="/chat/chat").connect()


# Litestar


def _litestar() -> Litestar:
    @get("/x")
    async def x() -> str:
        return "x"

    return Litestar([x], path="/api", openapi_config=None, logging_config=None)


@pytest.mark.parametrize("where", ["/ws", "/api", "/apiws"])
def test_outside_of_the_path_of_a_litestar_application_nothing_can_be(where: str) -> None:
    with pytest.raises(ConfigurationError, match=f"has the path of StompApp to be: '/api{where}'"):
        StompApp(where).install(_litestar())


@pytest.mark.parametrize("slash", ["", "/"])
def test_below_the_path_of_a_litestar_application_it_works(run: Run, slash: str) -> None:
    ws = StompApp("/api/ws", heart_beat=(0, 0))
    host = run(ws.install(_litestar(), signals=False))
    host.open(path="/api/ws" + slash).connect()
    assert host.get("/api/ws" + slash)[0] == 426
    assert host.get("/api/x")[2] == b"x"
    assert host.get("/ws" + slash)[0] == 404


def test_a_route_below_the_path_of_a_litestar_application_is_in_the_way() -> None:
    with pytest.raises(ConfigurationError, match=TAKEN.format("/api/x")):
        StompApp("/api/x").install(_litestar())


# Django

URLS: dict[str, tuple[Any, str]] = {
    "the same": (path("ws", page), "/ws"),
    "with a slash": (path("ws/", page), "/ws"),
    "included": (path("api/", include([path("ws", page)])), "/api/ws"),
}


@pytest.fixture
def urls(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], None]]:
    """Puts one URL in front of those of the site, which has one that takes everything."""
    from django.urls import clear_url_caches

    django_site.configure()

    def put(url: Any) -> None:
        monkeypatch.setattr(django_site, "urlpatterns", [url, *django_site.urlpatterns])
        clear_url_caches()

    yield put
    monkeypatch.undo()
    clear_url_caches()


def _django(ws: StompApp) -> Any:
    return ws.install(get_asgi_application(), signals=False)


def _channels(ws: StompApp) -> Any:
    return ws.install(ProtocolTypeRouter({"http": get_asgi_application()}), signals=False)


kinds = pytest.mark.parametrize("install", [_django, _channels])


@kinds
@pytest.mark.parametrize("name", URLS)
def test_a_url_of_django_with_the_same_path_fails_the_start(
    run: Run, urls: Callable[[Any], None], install: Callable[[StompApp], Any], name: str
) -> None:
    url, where = URLS[name]
    urls(url)
    lifespan = run(install(StompApp(where))).lifespan()
    assert lifespan.tell("startup") == ["startup.failed"]
    assert TAKEN.format(where) in lifespan.sent[0]["message"]


@kinds
@pytest.mark.parametrize("route", ["<slug:any>", "ws/more", "<path:any>"])
def test_a_url_of_django_that_has_other_paths_too_may_stay(
    app: StompApp,
    run: Run,
    urls: Callable[[Any], None],
    install: Callable[[StompApp], Any],
    route: str,
) -> None:
    urls(path(route, page))
    lifespan = run(install(app)).lifespan()
    assert lifespan.tell("startup") == ["startup.complete"]
    assert lifespan.tell("shutdown")[1:] == ["shutdown.complete"]

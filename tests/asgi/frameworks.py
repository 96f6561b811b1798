"""Applications of each framework as a team has them: sessions, a user, hooks, a route that takes
everything. Each has `/login`, which puts a cart into the session.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from litestar import Litestar, Request
from litestar import get as litestar_get
from litestar.middleware.session.server_side import ServerSideSessionConfig
from litestar.stores.memory import MemoryStore
from quart import Quart
from quart import session as quart_session
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

__all__ = ["FRAMEWORKS", "Hook", "add_route", "make"]

Hook = Callable[[], None]
"""What an application does in its startup, or in its shutdown."""


def nothing() -> None:
    """No hook."""


class ByHeader(AuthenticationBackend):
    """Whoever says a name."""

    async def authenticate(self, conn: Any) -> tuple[AuthCredentials, SimpleUser] | None:
        name = conn.headers.get("x-user")
        return (AuthCredentials(), SimpleUser(name)) if name else None


def _starlette_parts(starts: Hook, stops: Hook) -> tuple[Any, list[Middleware]]:
    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncGenerator[dict[str, str]]:
        starts()
        yield {"db": "open"}
        stops()

    middleware = [
        Middleware(SessionMiddleware, secret_key="secret"),
        Middleware(AuthenticationMiddleware, backend=ByHeader()),
    ]
    return lifespan, middleware


async def _login(request: Any) -> PlainTextResponse:
    request.session["cart"] = 3
    return PlainTextResponse("in")


async def _caught(request: Any) -> PlainTextResponse:
    return PlainTextResponse("caught")


def starlette(starts: Hook, stops: Hook) -> Starlette:
    lifespan, middleware = _starlette_parts(starts, stops)
    routes = [Route("/login", _login), Route("/{path:path}", _caught)]
    return Starlette(routes=routes, middleware=middleware, lifespan=lifespan)


def fastapi(starts: Hook, stops: Hook) -> FastAPI:
    lifespan, middleware = _starlette_parts(starts, stops)
    app = FastAPI(middleware=middleware, lifespan=lifespan)
    app.add_route("/login", _login)
    app.add_route("/{path:path}", _caught)
    return app


def litestar(starts: Hook, stops: Hook) -> Litestar:
    @litestar_get("/login")
    async def login(request: Request[Any, Any, Any]) -> str:
        request.session["cart"] = 3
        return "in"

    @litestar_get("/{path:path}")
    async def caught() -> str:
        return "caught"

    def by_header(app: Any) -> Any:
        async def middleware(scope: Any, receive: Any, send: Any) -> None:
            names = [value for name, value in scope["headers"] if name == b"x-user"]
            if names:
                scope["user"] = SimpleUser(names[0].decode())
            await app(scope, receive, send)

        return middleware

    return Litestar(
        [login, caught],
        middleware=[ServerSideSessionConfig().middleware, by_header],
        stores={"sessions": MemoryStore()},
        on_startup=[starts],
        on_shutdown=[stops],
        openapi_config=None,
        logging_config=None,
    )


def quart(starts: Hook, stops: Hook) -> Quart:
    app = Quart("shop", static_folder=None)
    app.secret_key = "secret"

    @app.get("/login")
    async def login() -> str:
        quart_session["cart"] = 3
        return "in"

    @app.get("/<path:path>")
    async def caught(path: str) -> str:
        return "caught"

    @app.before_serving
    async def start() -> None:
        starts()

    @app.after_serving
    async def stop() -> None:
        stops()

    return app


FRAMEWORKS = {"starlette": starlette, "fastapi": fastapi, "litestar": litestar, "quart": quart}


def make(framework: str, starts: Hook = nothing, stops: Hook = nothing) -> Any:
    """An application of a framework."""
    return FRAMEWORKS[framework](starts, stops)


def add_route(framework: str, app: Any, path: str) -> None:
    """Give an application one more route."""
    if framework == "litestar":

        @litestar_get(path)
        async def handler() -> str:
            return "own"

        app.register(handler)
    elif framework == "quart":

        async def view() -> str:
            return "own"

        app.add_url_rule(path, "own", view)
    else:
        app.add_route(path, _caught)

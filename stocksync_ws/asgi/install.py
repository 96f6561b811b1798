"""Into the application that a team has: one place per framework where the endpoint goes in.

Rule: a framework is known by its shape, and of it nothing is imported that is not there already.
The endpoint goes in where middleware of the application stands around it, so that session and user
arrive; a path that a route of the application has is an error, because one of the two would never
be reached.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from re import escape
from typing import Any, TypeAlias

from stocksync_ws.asgi.gateway import Gateway, Scope
from stocksync_ws.asgi.lifespan import AsgiApp, Wrapped, lifespan
from stocksync_ws.asgi.stream import Receive, Send
from stocksync_ws.asgi.users import DjangoUsers, QuartSession
from stocksync_ws.errors import ConfigurationError

__all__ = ["install"]

LifespanContext: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Any]]


def install(gateway: Gateway, app: Any) -> AsgiApp:
    """Put the endpoint into an application.

    Args:
        gateway: What serves the endpoint.
        app: An application of Starlette, FastAPI, Litestar, Quart, Django or Channels.

    Returns:
        What is to be served: the same application; for Django's own one, something in front of it.

    Raises:
        ConfigurationError: It is none of these, or a route of it has the path already.
    """
    router = getattr(app, "router", app)
    if hasattr(router, "routes") and hasattr(router, "lifespan_context"):
        _starlette(gateway, router)
    elif hasattr(app, "asgi_router") and hasattr(app, "register"):
        _litestar(gateway, app)
    elif hasattr(app, "asgi_app") and hasattr(app, "url_map"):
        _quart(gateway, app)
    elif isinstance(getattr(app, "application_mapping", None), dict):
        _channels(gateway, app.application_mapping)
    elif any(each.__module__ == "django.core.handlers.asgi" for each in _types(app)):
        _check_free(gateway, _in_front(app))
        return Wrapped(gateway, app, DjangoUsers(gateway))
    else:
        raise ConfigurationError(
            f"install: {type(app).__name__} is no application of Starlette, FastAPI, Litestar,"
            " Quart, Django or Channels; any other ASGI application is served with"
            " app = ws.wrap(app)"
        )
    served: AsgiApp = app
    return served


def _check_free(gateway: Gateway, taken: Iterable[object]) -> None:
    paths = {path.rstrip("/") for path in taken if isinstance(path, str)}
    if gateway.path in paths:
        raise ConfigurationError(
            f"install: a route of the application has the path {gateway.path!r} already; give"
            " StompApp another path, or remove that route"
        )


def _in_front(app: Any) -> Iterator[str]:
    """The paths of endpoints that are in front of an application already."""
    while isinstance(app, (Wrapped, _Either)):
        yield app.path
        app = app.other


def _types(app: Any) -> tuple[type, ...]:
    """The classes of the application that is behind those endpoints."""
    while isinstance(app, Wrapped):
        app = app.other
    return type(app).__mro__


# Starlette and FastAPI


class _Route:
    """The endpoint and what is below it, as a router of Starlette asks for it."""

    def __init__(self, gateway: Gateway, routing: Any) -> None:
        self._gateway = gateway
        self._routing = routing
        self.path = self.path_format = gateway.path
        self.name = "stocksync_ws"

    def matches(self, scope: Scope) -> tuple[Any, dict[str, Any]]:
        match = self._routing.Match
        if self._gateway.owns(scope):
            return match.FULL, {"endpoint": self._gateway, "path_params": {}}
        return match.NONE, {}

    def url_path_for(self, name: str, /, **params: Any) -> Any:
        raise self._routing.NoMatchFound(name, params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._gateway(scope, receive, send)


def _starlette(gateway: Gateway, router: Any) -> None:
    def check() -> None:
        _check_free(gateway, _paths(route for route in router.routes if route is not ours))

    ours = _Route(gateway, sys.modules["starlette.routing"])
    check()
    gateway.checks.append(check)
    # In front, or a route that takes everything would hide it.
    router.routes.insert(0, ours)
    router.lifespan_context = _around(gateway, router.lifespan_context)


def _paths(routes: Iterable[Any], prefix: str = "") -> Iterator[str]:
    """The paths of routes; FastAPI keeps those of an included router in that router."""
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            more = getattr(getattr(route, "include_context", None), "prefix", "")
            yield from _paths(included.routes, prefix + more)
        elif isinstance(path := getattr(route, "path", None), str):
            yield prefix + path


def _around(gateway: Gateway, inner: LifespanContext) -> LifespanContext:
    """A lifespan with the run around it, in the order of `lifespan.py`."""

    @asynccontextmanager
    async def around(app: Any) -> AsyncGenerator[Any]:
        gateway.begin()
        try:
            async with inner(app) as state:
                yield state
                await gateway.drain()
        finally:
            await gateway.end()

    return around


# Litestar


def _litestar(gateway: Gateway, app: Any) -> None:
    _check_free(gateway, (route.path for route in app.routes))

    async def stocksync_ws(scope: Any, receive: Any, send: Any) -> None:
        await gateway(scope, receive, send)

    @asynccontextmanager
    async def begun(_: Any) -> AsyncGenerator[None]:
        gateway.begin()
        yield

    @asynccontextmanager
    async def drained(_: Any) -> AsyncGenerator[None]:
        yield
        await gateway.drain()

    asgi = sys.modules["litestar.handlers"].asgi
    # No mount: it would have `/wsx` too. A trailing slash is seen to by Litestar.
    app.register(asgi(gateway.path, copy_scope=True)(stocksync_ws))
    # Entered in this order and left in the other, before the handlers of `on_shutdown` run.
    app._lifespan_managers.insert(0, begun)
    app._lifespan_managers.append(drained)
    app.on_shutdown.append(gateway.end)


# Quart


def _quart(gateway: Gateway, app: Any) -> None:
    def check() -> None:
        _check_free(gateway, (rule.rule for rule in app.url_map.iter_rules()))

    check()
    _check_free(gateway, _in_front(app.asgi_app))
    gateway.checks.append(check)
    app.asgi_app = Wrapped(gateway, app.asgi_app, QuartSession(app, gateway))


# Channels


class _Either:
    """The endpoint, or another application."""

    def __init__(self, gateway: Gateway, endpoint: AsgiApp, other: AsgiApp | None) -> None:
        self._gateway = gateway
        self._endpoint = endpoint
        self.other = other
        self.path = gateway.path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._gateway.owns(scope):
            await self._endpoint(scope, receive, send)
        elif self.other is not None:
            await self.other(scope, receive, send)
        else:
            raise ValueError(f"there is no application for {scope['type']} {scope['path']!r}")


def _channels(gateway: Gateway, mapping: dict[str, AsgiApp]) -> None:
    _check_free(gateway, _in_front(mapping.get("http")))
    router = _url_router(mapping.get("websocket"))
    if router is None:
        users = DjangoUsers(gateway)
        mapping["websocket"] = _Either(gateway, users, mapping.get("websocket"))
    else:

        def check() -> None:
            _check_free(gateway, (f"/{route.pattern}" for route in router.routes))

        check()
        gateway.checks.append(check)
        path = escape(gateway.path.lstrip("/"))
        re_path = sys.modules["django.urls"].re_path
        router.routes.insert(0, re_path(rf"^{path}/?$", gateway))
    mapping["http"] = _Either(gateway, gateway, mapping.get("http"))
    inner = mapping.get("lifespan")

    async def around(scope: Scope, receive: Receive, send: Send) -> None:
        await lifespan(gateway, inner, scope, receive, send)

    mapping["lifespan"] = around


def _url_router(app: Any) -> Any:
    """The router inside of middleware, or None."""
    while app is not None and not hasattr(app, "routes"):
        app = getattr(app, "inner", None) or getattr(app, "application", None)
    return app

"""Into the application that a team has: one place per framework where the endpoint goes in.

Rule: a framework is known by its shape, and of it nothing is imported that is not there already.
The endpoint goes in where middleware of the application stands around it, so that session and user
arrive; a path that a route of the application has is an error, because one of the two would never
be reached.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from re import escape
from typing import Any, TypeAlias

from stocksync_ws.asgi.gateway import Gateway, Scope
from stocksync_ws.asgi.lifespan import AsgiApp, Wrapped, lifespan, wsgi_application
from stocksync_ws.asgi.stepping import Receive, Send
from stocksync_ws.asgi.users import QuartSession, django_users
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
    if router is app and hasattr(app, "include_router"):
        raise ConfigurationError(
            "install: it goes into the application, and not into a router that is included in one:"
            " write ws.install(app)"
        )
    if hasattr(router, "routes") and hasattr(router, "lifespan_context"):
        _starlette(gateway, router)
    elif hasattr(app, "asgi_router") and hasattr(app, "register"):
        _litestar(gateway, app)
    elif hasattr(app, "asgi_app") and hasattr(app, "url_map"):
        _quart(gateway, app)
    elif isinstance(getattr(app, "application_mapping", None), dict):
        _channels(gateway, app.application_mapping)
    elif _is_django(app):
        _check_free(gateway, _in_front(app))
        gateway.users = django_users
        gateway.checks.append(lambda: _check_free(gateway, _django_routes(gateway)))
        return Wrapped(gateway, app)
    elif hasattr(app, "wsgi_app"):
        raise wsgi_application("install", app)
    else:
        raise ConfigurationError(
            f"install: {type(app).__name__} is no application of Starlette, FastAPI, Litestar,"
            " Quart, Django or Channels; any other ASGI application is served with"
            " app = ws.wrap(app)"
        )
    served: AsgiApp = app
    return served


def _check_free(gateway: Gateway, taken: Iterable[object]) -> None:
    for path in sorted({path.rstrip("/") for path in taken if isinstance(path, str)}):
        if path == gateway.path or (gateway.has_more and path.startswith(gateway.path + "/")):
            raise ConfigurationError(
                f"install: a route of the application has the path {path!r} already; give"
                " StompApp another path, or remove that route"
                + (" (with SockJS all paths below its own are StompApp's)" * gateway.has_more)
            )


def _in_front(app: Any) -> Iterator[str]:
    """The paths of endpoints that are in front of an application already."""
    while isinstance(app, (Wrapped, _Either)):
        yield app.path
        app = app.other


def _django_routes(gateway: Gateway) -> Iterator[str]:
    """Routes of Django's own URLs that have just the path of an endpoint; one with variables may
    stay. Of what is below it, those that say so in plain words.
    """
    urls = sys.modules.get("django.urls")
    if urls is None:
        return
    for each in (gateway.path, gateway.path + "/"):
        try:
            yield "/" + urls.resolve(each).route
        except urls.Resolver404:
            pass
    if gateway.has_more:
        yield from _django_patterns(urls.get_resolver().url_patterns, "/")


def _django_patterns(patterns: Iterable[Any], prefix: str) -> Iterator[str]:
    for each in patterns:
        path = prefix + str(each.pattern)
        if hasattr(each, "url_patterns"):
            yield from _django_patterns(each.url_patterns, path)
        else:
            yield path


def _is_django(app: Any) -> bool:
    """Whether Django's own application is behind those endpoints."""
    while isinstance(app, (Wrapped, _Either)):
        app = app.other
    return any(each.__module__ == "django.core.handlers.asgi" for each in type(app).__mro__)


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
            yield from _paths(getattr(route, "routes", None) or (), prefix + path)


def _around(gateway: Gateway, inner: LifespanContext) -> LifespanContext:
    """A lifespan with the run around it, in the order of `lifespan.py`."""

    @asynccontextmanager
    async def around(app: Any) -> AsyncGenerator[Any]:
        await gateway.begin_lifespan()
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

    prefix = (getattr(app, "path", None) or "").rstrip("/")
    if prefix and not gateway.path.startswith(prefix + "/"):
        raise ConfigurationError(
            f"install: everything in this application is below {prefix!r}, and so has the path of"
            f" StompApp to be: {prefix + gateway.path!r}"
        )

    @asynccontextmanager
    async def begun(_: Any) -> AsyncGenerator[None]:
        await gateway.begin_lifespan()
        yield

    @asynccontextmanager
    async def drained(_: Any) -> AsyncGenerator[None]:
        yield
        await gateway.drain()

    asgi = sys.modules["litestar.handlers"].asgi
    # No mount: it would have `/wsx` too. A trailing slash is seen to by Litestar.
    path = gateway.path[len(prefix) :]
    app.register(asgi(path, copy_scope=True)(stocksync_ws))
    if gateway.has_more:
        for handler in _litestar_below(stocksync_ws, path + "/{rest:path}"):
            app.register(handler)
    # Entered in this order and left in the other, before the handlers of `on_shutdown` run.
    app._lifespan_managers.insert(0, begun)
    app._lifespan_managers.append(drained)
    app.on_shutdown.append(gateway.end)


def _litestar_below(serve: AsgiApp, path: str) -> Iterator[Any]:
    """Handlers for what is below the endpoint. A raw one cannot have a variable in its path."""
    handlers = sys.modules["litestar.handlers"]

    async def stocksync_ws_http() -> Any:
        return serve

    async def stocksync_ws_socket(socket: Any) -> None:
        await serve(socket.scope, socket.receive, socket.send)

    # What is returned is called with the scope.
    stocksync_ws_http.__annotations__["return"] = sys.modules["litestar.types"].ASGIApp
    methods = ["GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"]
    yield handlers.route(path, http_method=methods, opt={"exclude_from_csrf": True})(
        stocksync_ws_http
    )
    stocksync_ws_socket.__annotations__["socket"] = sys.modules["litestar.connection"].WebSocket
    yield handlers.websocket(path)(stocksync_ws_socket)


# Quart


def _quart(gateway: Gateway, app: Any) -> None:
    def check() -> None:
        _check_free(gateway, (rule.rule for rule in app.url_map.iter_rules()))

    check()
    _check_free(gateway, _in_front(app.asgi_app))
    gateway.checks.append(check)
    gateway.users = QuartSession(app)
    app.asgi_app = Wrapped(gateway, app.asgi_app)


# Channels


class _Either:
    """The endpoint, or another application."""

    def __init__(self, gateway: Gateway, other: AsgiApp | None) -> None:
        self._gateway = gateway
        self.other = other
        self.path = gateway.path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._gateway.owns(scope):
            await self._gateway(scope, receive, send)
        elif self.other is not None:
            await self.other(scope, receive, send)
        else:
            raise ValueError(f"there is no application for {scope['type']} {scope['path']!r}")


async def _users_of_requests(scope: Mapping[str, Any]) -> Mapping[str, Any]:
    """Session and user of what middleware around a router of WebSockets does not see."""
    return {} if scope["type"] == "websocket" else await django_users(scope)


def _channels(gateway: Gateway, mapping: dict[str, AsgiApp]) -> None:
    _check_free(gateway, _in_front(mapping.get("http")))
    if _is_django(mapping.get("http")):
        gateway.checks.append(lambda: _check_free(gateway, _django_routes(gateway)))
    router = _url_router(mapping.get("websocket"))
    if router is None:
        gateway.users = django_users
        mapping["websocket"] = _Either(gateway, mapping.get("websocket"))
    else:

        def check() -> None:
            _check_free(gateway, (f"/{route.pattern}" for route in router.routes))

        check()
        gateway.checks.append(check)
        gateway.users = _users_of_requests
        path = escape(gateway.path.lstrip("/")) + ("(?:/.*)?" if gateway.has_more else "/?")
        re_path = sys.modules["django.urls"].re_path
        router.routes.insert(0, re_path(rf"^{path}$", gateway))
    mapping["http"] = _Either(gateway, mapping.get("http"))
    inner = mapping.get("lifespan")

    async def around(scope: Scope, receive: Receive, send: Send) -> None:
        await lifespan(gateway, inner, scope, receive, send)

    mapping["lifespan"] = around


def _url_router(app: Any) -> Any:
    """The router inside of middleware, or None."""
    while app is not None and not hasattr(app, "routes"):
        app = getattr(app, "inner", None) or getattr(app, "application", None)
    return app

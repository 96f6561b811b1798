"""Session and user of frameworks that keep them to themselves.

Rule: where middleware of the host has put `session` and `user` into the scope, they are there, and
this is not needed. Django's and Quart's own handlers never see the scope of the endpoint, so what
they would have read from its cookies is read here, once, before the handshake.
"""

from __future__ import annotations

import sys
from typing import Any

from stocksync_ws.asgi.gateway import Gateway, Scope
from stocksync_ws.asgi.stream import Receive, Send

__all__ = ["DjangoUsers", "QuartSession"]


class DjangoUsers:
    """Session and user of Django, from the cookie, in front of the endpoint.

    Args:
        gateway: What serves the endpoint.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope, with `session` and `user` in it where Django has them."""
        if (
            scope["type"] == "websocket"
            and _of("django.conf").settings.SESSION_ENGINE in sys.modules
        ):
            # On the thread where Django's own sync code runs: the database is asked.
            run_sync = _of("asgiref.sync").sync_to_async
            session, user = await run_sync(_load_django)(_cookies(scope))
            scope = {**scope, "session": session, "user": user}
        await self._gateway(scope, receive, send)


def _of(module: str) -> Any:
    """A module of the framework, which is there already."""
    return sys.modules[module]


def _load_django(cookies: dict[str, str]) -> tuple[Any, Any]:
    settings = _of("django.conf").settings
    close_old_connections = _of("django.db").close_old_connections
    close_old_connections()
    try:
        engine = _of(settings.SESSION_ENGINE)
        session = engine.SessionStore(cookies.get(settings.SESSION_COOKIE_NAME))
        session.keys()  # It is lazy, and the loop must not wait for the database later.
        if not _of("django.apps").apps.is_installed("django.contrib.auth"):
            return session, None
        request = _of("django.http").HttpRequest()
        request.session = session
        return session, _of("django.contrib.auth").get_user(request)
    finally:
        close_old_connections()


def _cookies(scope: Scope) -> dict[str, str]:
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == b"cookie"]
    # By Django's own parser: a strict one would lose the session behind another's odd cookie.
    found: dict[str, str] = _of("django.http").parse_cookie("; ".join(values))
    return found


class QuartSession:
    """The session of Quart, by its own session interface, in front of the endpoint.

    Args:
        app: The Quart application.
        gateway: What serves the endpoint.
    """

    def __init__(self, app: Any, gateway: Gateway) -> None:
        self._app = app
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope, with `session` in it."""
        if scope["type"] == "websocket" and "session" not in scope:
            sessions = self._app.session_interface
            session = await sessions.open_session(self._app, self._request(scope))
            scope = {**scope, "session": session}
        if scope["type"] == "websocket":
            receive = _connecting(receive)
        await self._gateway(scope, receive, send)

    def _request(self, scope: Scope) -> Any:
        headers = _of("werkzeug.datastructures").Headers()
        for name, value in scope["headers"]:
            headers.add(name.decode("latin-1").title(), value.decode("latin-1"))
        # Not `websocket_class`, whose arguments are not the same in all versions of Quart.
        return _of("quart.wrappers.base").BaseRequestWebsocket(
            "GET",
            scope["scheme"],
            scope["path"],
            scope["query_string"],
            headers,
            scope.get("root_path", ""),
            scope.get("http_version", "1.1"),
            scope,
        )


def _connecting(receive: Receive) -> Receive:
    """A `receive` that begins with `websocket.connect`; the test client of Quart leaves it out."""
    kept: list[Any] = []
    connected = False

    async def received() -> Any:
        nonlocal connected
        message = kept.pop() if kept else await receive()
        if not connected:
            connected = True
            if message["type"] != "websocket.connect":
                kept.append(message)
                return {"type": "websocket.connect"}
        return message

    return received

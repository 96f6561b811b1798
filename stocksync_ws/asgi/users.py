"""Session and user of frameworks that keep them to themselves.

Rule: where middleware of the host has put `session` and `user` into the scope, they are there, and
this is not needed. Django's and Quart's own handlers never see the scope of the endpoint, so what
they would have read from its cookies is read here, once, when host and origin have been judged.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

__all__ = ["QuartSession", "django_users"]


async def django_users(scope: Mapping[str, Any]) -> Mapping[str, Any]:
    """Session and user of Django, from the cookie; nothing where Django has no sessions."""
    if _of("django.conf").settings.SESSION_ENGINE not in sys.modules:
        return {}
    # On the thread where Django's own sync code runs: the database is asked.
    run_sync = _of("asgiref.sync").sync_to_async
    session, user = await run_sync(_load_django)(_cookies(scope))
    return {"session": session, "user": user}


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


def _cookies(scope: Mapping[str, Any]) -> dict[str, str]:
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == b"cookie"]
    # By Django's own parser: a strict one would lose the session behind another's odd cookie.
    found: dict[str, str] = _of("django.http").parse_cookie("; ".join(values))
    return found


class QuartSession:
    """The session of Quart, by its own session interface.

    Args:
        app: The Quart application.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Mapping[str, Any]) -> Mapping[str, Any]:
        """The session that the cookies of a scope name."""
        if "session" in scope:
            return {}
        sessions = self._app.session_interface
        return {"session": await sessions.open_session(self._app, _quart_request(scope))}


def _quart_request(scope: Mapping[str, Any]) -> Any:
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

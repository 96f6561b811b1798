"""Parameters that nothing fills: what each may have been meant as, and what to write for that.

Rule: what belongs to a framework for HTTP is known by name and module, since nothing of the host is
imported here. There is no HTTP request behind a frame, and nobody who would run a dependency.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

from stocksync_ws.messaging.hints import members, plain, type_name
from stocksync_ws.messaging.principals import user_shown

__all__ = ["ONE_PARAMETER", "fixes_for", "foreign"]

ONE_PARAMETER = (
    "an authenticator takes exactly one positional parameter: def authenticate(request:"
    " ConnectRequest) -> User | None; one of the handshake gets an HttpRequest"
)

_HOSTS = frozenset(
    (
        *("aiohttp", "channels", "django", "fastapi", "flask", "litestar", "quart", "sanic"),
        *("starlette", "werkzeug", "stocksync_ws"),
    )
)
_IN_USER = "read it in the authenticator, and keep what you need in the user: CurrentUser[User]"
_REQUEST = ("a handler has no HTTP request", _IN_USER)
_SOCKET = ("a handler has no socket", "return the answer, or take a MessagingTemplate")
_RESPONSE = ("a handler answers no HTTP request", "return the answer, or take a MessagingTemplate")
_CLASSES = {
    "ASGIRequest": _REQUEST,
    "ConnectRequest": _REQUEST,
    "HTTPConnection": _REQUEST,
    "HttpRequest": _REQUEST,
    "Request": _REQUEST,
    "WSGIRequest": _REQUEST,
    "WebSocket": _SOCKET,
    "HttpResponse": _RESPONSE,
    "Response": _RESPONSE,
    "BackgroundTasks": (
        "a handler has no HTTP response that tasks could wait for",
        "call the function in the handler, or start a task",
    ),
}
"""By the name of a class: the problem, and what mends it."""
_DEPENDENCIES = frozenset(("Depends", "Security"))
_PARTS = frozenset(("Body", "Cookie", "File", "Form", "Header", "Path", "Query"))
"""Marks of fastapi for the parts of a request."""


def foreign(parameter: inspect.Parameter, annotation: Any) -> tuple[str, str] | None:
    """Why a parameter of a handler is one of an HTTP view, and what to write instead; or None.

    Args:
        parameter: Its default may be a mark.
        annotation: The resolved one.
    """
    marks = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    for mark in (*marks, parameter.default):
        name = type(mark).__name__
        if type(mark).__module__.partition(".")[0] != "fastapi":
            continue
        if name in _DEPENDENCIES:
            function = getattr(getattr(mark, "dependency", None), "__name__", "it")
            return (
                f"{name} does not run here: a handler has no HTTP request",
                f"call {function}() in the handler; what is the user's, {_IN_USER}",
            )
        if name in _PARTS:
            return (
                f"this {name} is fastapi's, and reads an HTTP request",
                (
                    "a header of the frame is Annotated[str, stocksync_ws.Header()]; the body and"
                    " the variables of the destination need no mark"
                ),
            )
    for kind in members(plain(annotation)):
        if not isinstance(kind, type) or kind is NoneType:
            continue
        for each in kind.__mro__:
            if each.__name__ in _CLASSES and each.__module__.partition(".")[0] in _HOSTS:
                return _CLASSES[each.__name__]
    return None


def fixes_for(
    parameter: inspect.Parameter, users: tuple[type, ...], framework: Iterable[type]
) -> list[str]:
    """What to write for each thing that a parameter can be; the last is to leave it out.

    Args:
        parameter: As it was written.
        users: The classes that the authenticator says it returns.
        framework: The types that the application gives.
    """
    # The user comes first: every other way lets the sender say who it is.
    bare = parameter.annotation is inspect.Parameter.empty
    shown = "str" if bare else type_name(parameter.annotation)
    user = user_shown(parameter.annotation, users)
    known = ["Principal", *(type_name(kind) for kind in framework)]
    return [
        f"if it is the session's user, annotate it CurrentUser[{user}]",
        f"if it is part of the destination, put {{{parameter.name}}} into the template",
        f"if it is a header, annotate it Annotated[{shown}, Header()]",
        f"if the framework gives it, annotate it with one of {', '.join(known)}",
        "else leave it out",
    ]

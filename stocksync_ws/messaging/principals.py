"""Which parameters get the session's user, and which are never filled from a body.

Rule: who somebody is, is what the authenticator returned, and nothing that a client writes. A
parameter is the user's when its class is related by inheritance, in either direction, to a class
that the authenticator says it returns. Where the authenticator says nothing of use (`Principal`,
`object`), the first session with a user tells: a payload of the user's own class is refused.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from types import NoneType
from typing import Any, Self, TypeGuard, cast, get_args, get_origin

from typing_extensions import is_protocol

from stocksync_ws.errors import AccessDenied, ConfigurationError
from stocksync_ws.messaging.authenticated import Authenticated
from stocksync_ws.messaging.exchange import Exchange, Resolver
from stocksync_ws.messaging.hints import (
    members,
    plain,
    resolve,
    scope_of,
    signature_of,
    type_name,
    where,
)
from stocksync_ws.types import Principal

__all__ = [
    "PRINCIPAL_NAMES",
    "UserAsPayload",
    "class_of",
    "is_checkable",
    "is_principal",
    "may_give_roles",
    "never_given",
    "never_the_user",
    "returned_users",
    "user_resolver",
    "user_shown",
]

PRINCIPAL_NAMES = frozenset(("user", "principal"))
"""Parameters that read as the session's user."""

_BASES = frozenset(("pydantic", "pydantic_settings", "msgspec"))
"""Whose classes are bases of payloads and users alike, and so relate nothing."""

_ABSENT: Any = inspect.Signature.empty


class UserAsPayload(ConfigurationError):
    """A payload of the class of the session's user, without a mark: seen when a message came. It is
    for the log, so no exception handler of the application gets it.
    """


def returned_users(function: Callable[..., Any], label: str) -> tuple[type, ...]:
    """The classes that an authenticator's return annotation names; those that could be anybody's
    are left out.

    Args:
        function: The authenticator; of a class it is the class itself.
        label: What an error calls it.

    Raises:
        UnresolvedName: A name in the annotation does not exist, or not yet.
        ConfigurationError: There is no annotation, or it cannot be evaluated.
    """
    made = _made(function)
    if isinstance(made, type):
        return (made,)
    annotation, place = _annotation(function, label)
    kinds = _said(annotation, place)
    for kind in kinds:
        if _is_nobody(kind):
            raise ConfigurationError(
                f"{place}\n  it returns {type_name(kind)}, and a user is an object with a name,"
                f" which is a text\n  possible fixes:\n"
                f"    - return an object of your own class, such as User(name='ann')"
            )
    found = [class_of(_itself(made, kind)) for kind in kinds]
    return tuple(kind for kind in found if _relates(kind))


def may_give_roles(function: Callable[..., Any], label: str) -> bool:
    """Whether an authenticator's return annotation, whose names exist, names `Authenticated`."""
    if isinstance(_made(function), type):
        return False
    annotation, _ = _annotation(function, label)
    return any(get_origin(kind) is Authenticated for kind in _awaited(annotation))


def _made(function: Any) -> Any:
    """The function inside of partials."""
    while isinstance(function, partial):
        function = cast("Any", function).func
    return function


def _annotation(function: Callable[..., Any], label: str) -> tuple[Any, str]:
    """The return annotation of an authenticator, and how an error about it begins."""
    signature = signature_of(function, label)
    place = f"{where(function, signature)}\n  {label}"
    annotation = signature.return_annotation
    if annotation is _ABSENT:
        request = "HttpRequest" if label.startswith("handshake_") else "ConnectRequest"
        raise ConfigurationError(
            f"{place}\n  it does not say whom it returns, so nobody can tell which parameters of"
            f" handlers are the user\n  possible fixes:\n"
            f"    - annotate it with your own class: def authenticate(request: {request})"
            f" -> User | None\n"
            f"    - a lambda cannot be annotated: make it a function"
        )
    try:
        annotation = plain(resolve(annotation, scope_of(function)))
    except ConfigurationError as error:
        error.args = (f"{place}\n  return {error}",)
        raise
    return annotation, place


def _awaited(annotation: Any) -> Iterator[Any]:
    """The members of a return annotation, and of what is awaited in it."""
    for kind in members(annotation):
        origin = get_origin(kind)
        if isinstance(origin, type) and issubclass(origin, Awaitable):
            yield from _awaited(get_args(kind)[-1])
        else:
            yield kind


def _said(annotation: Any, place: str) -> list[Any]:
    """The types of users in a return annotation, also inside of `Authenticated`."""
    found: list[Any] = []
    for kind in _awaited(annotation):
        if kind is Authenticated:
            raise ConfigurationError(
                f"{place}\n  it returns Authenticated of nobody knows whom\n  possible fixes:\n"
                f"    - name the class of its user: -> Authenticated[User]"
            )
        if get_origin(kind) is Authenticated:
            found += members(get_args(kind)[0])
        else:
            found.append(kind)
    return found


def _is_nobody(kind: Any) -> bool:
    """Whether no object of a type can have a name: it is built in, or a dataclass without one."""
    origin = get_origin(kind) or kind
    if not isinstance(origin, type) or origin in (NoneType, object):
        return False
    if origin.__module__ == "builtins":
        return True
    if not dataclasses.is_dataclass(origin) or hasattr(origin, "name"):
        return False
    made = hasattr(origin, "__post_init__") or hasattr(origin, "__getattr__")
    return not made and all(each.name != "name" for each in dataclasses.fields(origin))


def _itself(function: Any, kind: Any) -> Any:
    """The class that `Self` stands for."""
    if kind is not Self:
        return kind
    owner = getattr(function, "__self__", None)
    return owner if isinstance(owner, type) else type(owner)


def class_of(kind: Any) -> type | None:
    """The class of an annotation without its arguments; None when it is none, or a container."""
    if isinstance(kind, type) and get_origin(kind) is None:
        return None if kind in (NoneType, Any) else kind
    origin = get_origin(kind)
    return origin if isinstance(origin, type) and origin.__module__ != "builtins" else None


def is_principal(kind: Any, users: tuple[type, ...]) -> bool:
    """Whether a parameter of this type gets the session's user.

    Args:
        kind: One member of the annotation.
        users: What `returned_users` gave.
    """
    found = class_of(kind)
    if found is None:
        return False
    # Not by `issubclass`, which asks a Protocol for a `name`: every other payload has one.
    if Principal in found.__mro__:
        return True
    return _relates(found) and any(_related(found, user) for user in users)


def _relates(kind: type | None) -> TypeGuard[type]:
    """Whether it says anything about a class that it is related to this one."""
    if kind is None or kind is object or is_protocol(kind):
        return False
    return kind.__module__.partition(".")[0] not in _BASES


def _related(one: type, other: type) -> bool:
    return one in other.__mro__ or other in one.__mro__


def is_checkable(kind: type) -> bool:
    """Whether `isinstance` can be asked: not for a TypedDict, nor for most Protocols."""
    try:
        isinstance(None, kind)
    except TypeError:
        return False
    return True


def user_shown(annotation: object, users: tuple[type, ...]) -> str:
    """The class of users that an advice names: the one that is written there, unless that is a type
    of payloads, such as `str`.
    """
    shown = "" if annotation is _ABSENT else type_name(annotation)
    if shown[:1].isupper() and shown != "Any":
        return shown
    return type_name(users[0]) if users else "User"


def never_given(
    wanted: tuple[type, ...], users: tuple[type, ...], anonymous: bool
) -> tuple[str, ...] | None:
    """Why no session can ever give a user to a parameter, and what would mend it; or None.

    Args:
        wanted: The classes that the parameter's annotation names.
        users: What `returned_users` gave.
        anonymous: The parameter wants a user, and there is no authenticator.
    """
    if any(kind.__module__ == "builtins" and kind is not object for kind in wanted):
        return (
            "no user is of this type: a user is an object with a name",
            f"name its class: CurrentUser[{user_shown(_ABSENT, users)}]",
        )
    if not anonymous:
        return None
    shown = " | ".join(map(type_name, wanted))
    return (
        "every session is anonymous, since the application has no authenticator",
        f"give it one, which returns a {shown}: StompApp(..., authenticator=authenticate)",
        (
            "under `install`, of the user of the host application, which is request.user there:"
            " StompApp(..., handshake_authenticator=authenticate)"
        ),
        f"to serve anonymous sessions, annotate it CurrentUser[{shown}] | None",
    )


def user_resolver(name: str, wanted: tuple[type, ...], anonymous: Any) -> Resolver:
    """What gives the user to a parameter.

    Args:
        name: The parameter's.
        wanted: The user must be an instance of one of them.
        anonymous: What an anonymous session gives; `inspect.Parameter.empty`: AccessDenied.
    """

    # Who has a name is known since CONNECT; `isinstance` would not see one behind `__getattr__`.
    anybody = Principal in wanted

    def user(exchange: Exchange) -> Any:
        session = exchange.session
        assert session is not None
        if session.user is None:
            if anonymous is _ABSENT:
                raise AccessDenied(
                    f"{name}: the session is anonymous; write `| None` behind its type to serve"
                    f" such sessions too"
                )
            return anonymous
        if not (anybody or isinstance(session.user, wanted)):
            names = " | ".join(type_name(kind) for kind in wanted)
            kind = type_name(type(session.user))
            raise AccessDenied(
                f"{name}: the user is no {names}, but a {kind}; write CurrentUser[{kind}] to get"
                f" it, or leave it so, if only {names} may"
            )
        return session.user

    return user


def never_the_user(
    place: str, parameter: inspect.Parameter, kinds: Iterable[type | None]
) -> list[Resolver]:
    """What keeps a body from filling a parameter of the class of the session's user.

    Args:
        place: How an error begins: file, line and declaration.
        parameter: The payload, without a mark.
        kinds: The classes of its annotation.

    Returns:
        A guard, which raises `UserAsPayload`; none where no class could be a user's.
    """
    classes = tuple(kind for kind in kinds if _relates(kind) and is_checkable(kind))
    if not classes:
        return []
    shown = type_name(parameter.annotation)

    def guard(exchange: Exchange) -> None:
        session = exchange.session
        assert session is not None
        user = session.user
        if user is None:
            return
        if isinstance(user, classes) or any(type(user) in kind.__mro__ for kind in classes):
            raise UserAsPayload(
                f"{place}the sender's body would fill it, and the session's user is a"
                f" {type_name(type(user))}; to get the user, annotate it CurrentUser[{shown}]; to"
                f" take what the sender wrote, annotate it Annotated[{shown}, Payload()]"
            )

    return [guard]

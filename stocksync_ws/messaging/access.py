"""Access: read from the arguments of declarations, and asked of a session.

Rule: everything is checked where it is written. A session without a user is allowed nothing that
names a role or wants a user.
"""

from __future__ import annotations

from collections.abc import Set
from typing import cast

from stocksync_ws.broker.model.namespace import Kind, Namespace
from stocksync_ws.checks import foreign_wildcard
from stocksync_ws.errors import ConfigurationError
from stocksync_ws.messaging.hints import no_path
from stocksync_ws.messaging.marks import Access, Authorization, Judged
from stocksync_ws.messaging.routing import Template
from stocksync_ws.stomp.frame import SEND, SUBSCRIBE
from stocksync_ws.types import Principal

__all__ = [
    "ANONYMOUS",
    "FRAMES",
    "access",
    "authorization",
    "frames_of",
    "lacking",
    "refusal",
]

FRAMES: tuple[Judged, ...] = ("SEND", "SUBSCRIBE")
"""The frames that a rule may be for."""


def access(decorator: str, roles: Set[str], authenticated: bool) -> Access:
    """The access that `roles=` and `authenticated=` of a declaration ask for.

    Raises:
        ConfigurationError: The roles are no collection of texts.
    """
    given = cast("object", roles)
    if isinstance(given, str):
        raise ConfigurationError(
            f"@{decorator}: roles must be a set of texts, not one: write roles={{{given!r}}}"
        )
    if not isinstance(given, Set) or not all(
        isinstance(each, str) and each for each in cast("Set[object]", given)
    ):
        raise ConfigurationError(
            f"@{decorator}: roles must be a set of texts such as {{'admin'}}, not {given!r}"
        )
    if not isinstance(cast("object", authenticated), bool):
        raise ConfigurationError(
            f"@{decorator}: authenticated must be True or False, not {authenticated!r}"
        )
    return Access(frozenset(roles), authenticated or bool(roles))


def authorization(
    destination: str,
    frames: tuple[Judged, ...],
    roles: Set[str],
    authenticated: bool,
    *,
    anyone: bool = False,
    inline: bool = False,
) -> Authorization:
    """The mark of a rule.

    Raises:
        ConfigurationError: The pattern, a frame or a role is malformed, or `anyone` is not alone.
    """
    if not isinstance(cast("object", destination), str):
        raise ConfigurationError(
            no_path("authorize", "destinations", "/topic/room/{room}", destination)
        )
    Template(destination, wildcards=True)
    if problem := foreign_wildcard(destination):
        raise ConfigurationError(f"@authorize({destination!r}): {problem}")
    given = cast("object", frames)
    if not isinstance(given, tuple):
        wanted = (given,) if isinstance(given, str) else FRAMES
        raise ConfigurationError(
            f"@authorize({destination!r}): frames must be a tuple, not {given!r}: write"
            f" frames={wanted!r}"
        )
    for frame in cast("tuple[object, ...]", given):
        if frame not in FRAMES:
            raise ConfigurationError(
                f"@authorize({destination!r}): {frame!r} is no frame that a rule judges: write"
                f" 'SEND' or 'SUBSCRIBE'"
            )
    allowed = access("authorize", roles, authenticated)
    if anyone and allowed.authenticated:
        raise ConfigurationError(
            f"@authorize({destination!r}): anyone=True, and roles or authenticated as well: leave"
            f" one of them out"
        )
    return Authorization(destination, tuple(dict.fromkeys(frames)), allowed, anyone, inline)


ANONYMOUS = "the session is anonymous"


def refusal(access: Access, user: Principal | None, roles: frozenset[str]) -> str:
    """Why a session is not what it must be; empty when it is."""
    if not access.authenticated:
        return ""
    if user is None:
        return ANONYMOUS
    if access.roles and access.roles.isdisjoint(roles):
        return lacking(access)
    return ""


def lacking(access: Access) -> str:
    """The text about a user who has none of the roles."""
    return f"the user has none of the roles {', '.join(sorted(access.roles))}"


def frames_of(mark: Authorization, label: str, space: Namespace) -> tuple[Judged, ...]:
    """The frames that a rule is asked for.

    Raises:
        ConfigurationError: A client may use none of them there, whatever the rule says.
    """
    pattern = Template(mark.path, wildcards=True).pattern
    open_to: tuple[Judged, ...] = tuple(
        frame for frame in FRAMES if space.lets_through(frame, pattern)
    )
    if _is_never(pattern, space):
        open_to = ()
    asked = mark.frames or FRAMES
    closed: list[Judged] = [frame for frame in asked if frame not in open_to]
    if closed and (mark.frames or not open_to):
        frame = closed[-1] if len(closed) == len(FRAMES) else closed[0]
        raise ConfigurationError(f"{label}: {_why_never(mark.path, pattern, frame, space)}")
    return mark.frames or open_to


def _is_never(pattern: str, space: Namespace) -> bool:
    """It is a prefix and nothing behind it, or names a user."""
    kind, path = space.classify(pattern)
    if kind is Kind.USER:
        return path.startswith("/*") and path != "/**"
    return kind is Kind.NOWHERE and space.classify(pattern + "/x")[0] is not kind


def _why_never(text: str, pattern: str, frame: Judged, space: Namespace) -> str:
    problem = f"no client may {frame} there, whatever the rule says"
    kind, path = space.classify(pattern)
    if kind is Kind.NOWHERE and space.classify(pattern + "/x")[0] is not kind:
        return f"{problem}: it is a prefix, and no destination: write {text + '/**'!r}"
    if kind is Kind.USER and frame == SUBSCRIBE:
        last = path.rpartition("/")[2]
        wanted = f"{space.user_prefix}/queue/{'**' if last in ('*', 'queue', 'topic') else last}"
        return f"{problem}: a client names no user, but {wanted!r}: write that"
    if kind is Kind.USER:
        return f"{problem}: leave the rule out, or write frames=('SUBSCRIBE',)"
    if kind is Kind.PRESENCE:
        wanted = space.classify(text)[1]
        return (
            f"{problem}: who may read a presence is said by the rule of the destination: write"
            f" {wanted!r}"
        )
    if kind is Kind.NOWHERE:
        return f"{problem}: it is below none of the prefixes {space.prefixes}"
    settings = {SEND: "client_send", SUBSCRIBE: "client_subscribe"}
    return f"{problem}: open it with {settings[frame]}=[{pattern!r}], or leave the rule out"

"""What declarations say about who may: read from their arguments, and asked of a session.

Rule: everything is checked where it is written. A session without a user is allowed nothing that
names a role or wants a user.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Literal, TypeAlias, cast

from stocksync_ws.errors import ConfigurationError
from stocksync_ws.messaging.hints import no_path
from stocksync_ws.messaging.marks import Access, Authorization
from stocksync_ws.messaging.routing import Template
from stocksync_ws.types import Principal

__all__ = ["FRAMES", "Judged", "access", "authorization", "refusal"]

Judged: TypeAlias = Literal["SEND", "SUBSCRIBE"]
FRAMES: tuple[Judged, ...] = ("SEND", "SUBSCRIBE")
"""The frames that a rule may be for."""


def access(decorator: str, roles: Set[str], authenticated: bool) -> Access:
    """What `roles=` and `authenticated=` of a declaration mean.

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
    given = cast("object", frames)
    if not isinstance(given, tuple):
        raise ConfigurationError(
            f"@authorize({destination!r}): frames must be a tuple, not {given!r}: write"
            f" frames=({given!r},)"
        )
    for frame in cast("tuple[object, ...]", given):
        if frame not in FRAMES:
            raise ConfigurationError(
                f"@authorize({destination!r}): frames are 'SEND' and 'SUBSCRIBE', and {frame!r} is"
                f" neither"
            )
    allowed = access("authorize", roles, authenticated)
    if anyone and allowed.authenticated:
        raise ConfigurationError(
            f"@authorize({destination!r}): anyone=True, and roles or authenticated as well: leave"
            f" one of them out"
        )
    return Authorization(destination, tuple(frames), allowed, anyone, inline)


def refusal(access: Access, user: Principal | None, roles: frozenset[str]) -> str:
    """Why a session is not what it must be; empty when it is."""
    if not access.authenticated:
        return ""
    if user is None:
        return "the session is anonymous"
    if access.roles and access.roles.isdisjoint(roles):
        return f"the user has none of the roles {', '.join(sorted(access.roles))}"
    return ""

"""`Authenticated`: a user, and what else an authenticator knows of it.

Rule: checked when it is made, in the application's own code, where a mistake has its line.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from stocksync_ws.types import Principal

__all__ = ["Authenticated"]

U_co = TypeVar("U_co", bound=Principal, covariant=True)


@dataclass(frozen=True)
class Authenticated(Generic[U_co]):
    """A user with an end or with roles, for an authenticator to return: `-> Authenticated[User]`.

    Args:
        user: An object with a `name`; an anonymous session is None alone.
        expires_in: Seconds from now in which the credentials end: the session is then closed with
            4001, unless it has sent new ones. Credentials that have ended, 0 or less, are refused
            as `BadCredentials`. None, or infinite: they do not end.
        roles: Roles of the user, as texts; they win over the function `roles=` of `StompApp`,
            unless there are none.

    Raises:
        TypeError: No user, or `expires_in` is no number, or `roles` no collection of
            texts.
        ValueError: `expires_in` is NaN.
    """

    user: U_co
    expires_in: float | None = None
    roles: Collection[str] = ()

    def __post_init__(self) -> None:
        if cast("object", self.user) is None:
            raise TypeError(
                "Authenticated: there is no user; for an anonymous session return None alone"
            )
        given = cast("object", self.expires_in)
        if given is not None and (isinstance(given, bool) or not isinstance(given, (int, float))):
            raise TypeError(
                f"Authenticated: expires_in must be a number of seconds, not {given!r}; of a"
                f" moment in time, write moment.timestamp() - time.time()"
            )
        if isinstance(given, float) and math.isnan(given):
            raise ValueError("Authenticated: expires_in is NaN; write None if it never ends")
        roles = cast("object", self.roles)
        if isinstance(roles, (str, bytes)) or not isinstance(roles, Collection):
            raise TypeError(
                f"Authenticated: roles must be a set of texts, not {roles!r}: write {{'admin'}}"
            )
        for role in cast("Collection[object]", roles):
            if not isinstance(role, str):
                raise TypeError(
                    f"Authenticated: roles must be a set of texts, and {role!r} is none: write"
                    f" {{'admin'}}"
                )

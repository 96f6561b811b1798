"""Credentials: what an authenticator said of a client, and when that ends.

Rule: plain data and arithmetic. A session keeps them from its handshake to CONNECTED, and after
that only where they end. Times are the broker's own, in seconds.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from stocksync_ws.types import HttpRequest, Principal

__all__ = ["EXPIRE", "NO_ROLES", "REFRESH_PATH", "TOLD_PATH", "Credentials"]

EXPIRE: Final = "credentials-expire"
"""The header that says in how many seconds they end."""
REFRESH_PATH: Final = "/session/credentials"
"""Where new ones are sent to, behind the user prefix."""
TOLD_PATH: Final = "/queue/credentials"
"""Where a session is told that they end soon, behind the user prefix."""
TOLD_BEFORE = 60.0
"""Seconds before the end; a life of less than twice as many is told of at half."""
MOST = 2**31 - 1
"""Seconds that the header says of an end that is further away."""

NO_ROLES: frozenset[str] = frozenset()
"""One for all: most sessions have none."""


class Credentials:
    """The user of a session, by one authenticator, and how long that holds."""

    __slots__ = (
        "at_handshake",
        "ends_at",
        "expires_in",
        "login",
        "reads_roles",
        "request",
        "roles",
        "tell_at",
        "user",
    )

    def __init__(
        self,
        user: Principal,
        expires_in: float | None = None,
        roles: Collection[str] = NO_ROLES,
        *,
        request: HttpRequest,
        login: str | None = None,
        at_handshake: bool = False,
    ) -> None:
        self.user = user
        self.expires_in = expires_in
        """Seconds from when they were given; None: they do not end."""
        self.roles = frozenset(roles)
        self.request = request
        """The upgrade: who is asked again sees it again."""
        self.login = login
        """Of CONNECT."""
        self.at_handshake = at_handshake
        """The authenticator of the handshake gave them."""
        self.reads_roles = False
        """`roles=` told the roles, and may be asked again; else `Authenticated` did."""
        self.ends_at: float | None = None
        self.tell_at: float | None = None
        """When the session is told; None once that was done."""

    def begin(self, now: float) -> None:
        """Their time begins: they were given now."""
        if self.expires_in is not None:
            self.ends_at = now + self.expires_in
            self.tell_at = self.ends_at - min(TOLD_BEFORE, self.expires_in / 2)

    @property
    def due_at(self) -> float | None:
        """When something is to be done: the session is told, or ends."""
        return self.ends_at if self.tell_at is None else self.tell_at

    def ended(self, now: float) -> bool:
        """Their time is over."""
        return self.ends_at is not None and self.ends_at <= now

    def left(self, now: float) -> int | None:
        """Whole seconds until they end; None: they do not."""
        if self.ends_at is None:
            return None
        return max(0, int(min(self.ends_at - now, MOST)))

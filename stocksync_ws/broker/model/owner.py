"""Owners: whose SENDs it was that something is kept of, and how much that may be.

Rule: plain records. An owner is a user, or an anonymous session, whose SEND named a destination;
what the template, a handler or a dead letter publishes has none. It may hold a share of what there
may be in all, and all anonymous sessions together, ended ones too, a half. Who holds nothing may
place one thing, whatever its size. An owner lives as long as something of it is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from stocksync_ws.config import Limits, exceeded

if TYPE_CHECKING:
    from stocksync_ws.broker.model.session import SessionRecord

__all__ = ["Owner", "Owners"]

HALF = 0.5
"""The share of all anonymous sessions together."""
_LIMITS = {
    "stored": "max_stored",
    "queues": "max_queues",
    "streams": "max_streams",
    "keys": "idempotency_keys",
}
"""What is shared, and the limit of all owners together."""


class Owner:
    """A user, an anonymous session, or all of these together.

    Args:
        limits: What there may be in all.
        share: The part of each limit that it may hold.
        told: What a refusal calls that part.
        crowd: All anonymous sessions together, where it is one of them.
    """

    __slots__ = (
        "__weakref__",
        "_limits",
        "_most_stored",
        "_share",
        "_told",
        "crowd",
        "ended",
        "keys",
        "queues",
        "stored",
        "streams",
    )

    def __init__(self, limits: Limits, share: float, told: str, crowd: Owner | None = None) -> None:
        self._limits = limits
        self._share = share
        self._told = told
        self._most_stored = self._most("max_stored")
        self.crowd = crowd
        self.ended = False
        """It is an anonymous session, and has ended."""
        self.stored = 0
        """Bytes of its messages that are stored."""
        self.queues = 0
        """Queues that its SENDs have made."""
        self.streams = 0
        """Destinations with a history that its SENDs have made."""
        self.keys = 0
        """Its idempotency keys, those of SENDs that still run too."""

    def store(self, change: int) -> None:
        """Bytes of its messages are stored, or are no longer."""
        self.stored += change
        if self.crowd is not None:
            self.crowd.stored += change

    def own(self, change: int, what: str) -> None:
        """It has more, or less, of `queues`, `streams` or `keys`."""
        setattr(self, what, getattr(self, what) + change)
        if self.crowd is not None:
            self.crowd.own(change, what)

    def _most(self, limit: str) -> int:
        return int(self._share * getattr(self._limits, limit) + 1e-6)

    def may_store(self, size: int) -> bool:
        """Whether it may for sure have so many bytes more: what is asked with every message."""
        return self.stored + size <= self._most_stored and (
            self.crowd is None or self.crowd.may_store(size)
        )

    def refusal(self, what: str, more: int, *, one: bool = True) -> str:
        """Whether it may not have so much more: what a refusal says, or nothing.

        Args:
            what: `stored`, `queues`, `streams` or `keys`.
            more: In the unit of its limit.
            one: It is one message, or one of the others: who holds nothing may have it.
        """
        limit, held = _LIMITS[what], getattr(self, what)
        if more > 0 and held + more > self._most(limit) and (held or not one):
            return f"{self._told} of {exceeded(self._limits, limit, held + more)}"
        return "" if self.crowd is None else self.crowd.refusal(what, more, one=one)


class Owners:
    """Everybody who holds something."""

    __slots__ = ("_limits", "_users", "anonymous")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._users: WeakValueDictionary[str, Owner] = WeakValueDictionary()
        self.anonymous = Owner(limits, HALF, "the half of all anonymous clients")
        """All anonymous sessions together."""

    def of(self, session: SessionRecord) -> Owner:
        """Who owns what a session sends: its user, or itself."""
        owner = session.account
        if owner is None:
            name = session.user_name
            if name is None:
                owner = self._new(self.anonymous)
            else:
                owner = self._users.get(name) or self._new()
                self._users[name] = owner
            session.account = owner
        return owner

    def _new(self, crowd: Owner | None = None) -> Owner:
        share = self._limits.owner_share
        return Owner(self._limits, share, f"Limits.owner_share={share}", crowd)

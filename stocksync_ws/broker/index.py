"""Who subscribed to what: destination -> groups of equal receivers -> sessions.

Rule: a group is one kind of receiver (STOMP version, subscription id, acknowledgement mode, wire
key), and gets equal bytes. Joining and leaving is O(1). Literal destinations are one dict; patterns
join here when their issue comes (`Index.patterns`), and nowhere else.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TypeAlias

from stocksync_ws.broker.session import Session, Subscription
from stocksync_ws.stomp.encoder import encode_head
from stocksync_ws.stomp.frame import Version

__all__ = ["Address", "Group", "Index"]

Address: TypeAlias = str | tuple[str, str]
"""A destination, or (user name, destination behind the user prefix)."""

AUTO = "auto"


class Group:
    """Receivers of one destination that get equal bytes."""

    __slots__ = ("address", "head", "key", "members", "version")

    def __init__(
        self, address: Address, key: Hashable, version: Version, subscription_id: str | None
    ) -> None:
        self.address = address
        self.key = key
        self.version = version
        headers = () if subscription_id is None else (("subscription", subscription_id),)
        self.head = encode_head("MESSAGE", headers, version)
        """The part of MESSAGE that is the group's own."""
        self.members: dict[Session, None] = {}


class Index:
    """All subscriptions of the broker."""

    __slots__ = ("_groups", "size")

    def __init__(self) -> None:
        self._groups: dict[Address, dict[Hashable, Group]] = {}
        self.size = 0
        """Subscriptions in it."""

    def groups(self, address: Address) -> Iterable[Group]:
        """The groups a publication to this destination reaches. Do not join or leave meanwhile."""
        found = self._groups.get(address)
        return () if found is None else found.values()

    def join(self, address: Address, subscription: Subscription) -> None:
        """Make a subscription active."""
        session = subscription.session
        version = session.version
        assert version is not None
        key = (version, subscription.id, AUTO, session.wire.key)
        groups = self._groups.setdefault(address, {})
        group = groups.get(key)
        if group is None:
            group = groups[key] = Group(address, key, version, subscription.id)
        group.members[session] = None
        subscription.group = group
        self.size += 1

    def leave(self, subscription: Subscription) -> None:
        """End a subscription; groups and destinations without members go with it."""
        group = subscription.group
        if group is None:
            return
        subscription.group = None
        del group.members[subscription.session]
        self.size -= 1
        if not group.members:
            groups = self._groups[group.address]
            del groups[group.key]
            if not groups:
                del self._groups[group.address]

    def __len__(self) -> int:
        """Destinations that somebody is subscribed to."""
        return len(self._groups)

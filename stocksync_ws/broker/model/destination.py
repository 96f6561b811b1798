"""What the broker keeps of one destination: its log, and its groups of receivers.

Rule: plain records. What differs between a topic and a queue is a method that each of them has, so
that nobody asks which of the two it is.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from stocksync_ws.broker.model.log import ByteCounter, Log
from stocksync_ws.broker.model.mailbox import Mailbox
from stocksync_ws.broker.model.post_office import Outgoing
from stocksync_ws.policies import Policy
from stocksync_ws.stomp.encoder import encode_head
from stocksync_ws.stomp.frame import MESSAGE, Version
from stocksync_ws.types import Target, ToDestination

if TYPE_CHECKING:
    from stocksync_ws.broker.model.ledger import Delivery, Ledger
    from stocksync_ws.broker.model.owner import Owner
    from stocksync_ws.broker.model.publication import Publication
    from stocksync_ws.broker.model.session import SessionRecord
    from stocksync_ws.broker.model.subscription import Reader, Subscription
    from stocksync_ws.position import Position

__all__ = ["Address", "Destination", "FilterOf", "Group", "Passes", "address_of"]

Address: TypeAlias = str | tuple[str, str]
"""A destination, or (user name, destination behind the user prefix)."""


def address_of(target: Target) -> Address:
    """Where the receivers of a target are subscribed, if it is no single session."""
    return target.destination if isinstance(target, ToDestination) else (target[0], target[1])


Passes: TypeAlias = "Callable[[SessionRecord, Publication], bool]"
"""Whether a session gets a publication; never raises."""

FilterOf: TypeAlias = "Callable[[str], Passes | None]"
"""The filter of a topic, by the name that its subscribers know; None: everybody gets everything."""

_V12 = Version.V12


class Group:
    """Receivers of one destination that get equal bytes: one version, id, mode and wire key."""

    __slots__ = (
        "_head",
        "acked",
        "cached",
        "key",
        "members",
        "refs",
        "subscription_id",
        "text_only",
        "version",
    )

    def __init__(
        self,
        key: object,
        version: Version,
        subscription_id: str | None,
        acked: bool,
        *,
        text_only: bool = False,
    ) -> None:
        self.key = key
        self.version = version
        self.subscription_id = subscription_id
        self.acked = acked
        self.text_only = text_only
        """Its wires carry text only: its receivers lose any other message."""
        self.members: dict[Mailbox, Reader] = {}
        """The mailboxes of live subscriptions: what is published is handed to them."""
        self.refs = 0
        """Subscriptions of this kind, whatever they do."""
        self.cached: Outgoing | None = None
        """The last entry that was made for readers behind; many read the same."""
        self._head = encode_head(MESSAGE, self._own(), version)

    def _own(self) -> list[tuple[str, str]]:
        return [] if self.subscription_id is None else [("subscription", self.subscription_id)]

    def head(self, publication: Publication, extra: tuple[tuple[str, str], ...] = ()) -> bytes:
        """The part of MESSAGE that is the group's own, with the marks of this delivery."""
        if not self.acked and not extra:
            return self._head
        headers = self._own()
        if self.acked:
            if self.version is _V12:
                headers.append(("ack", f"{self.subscription_id}.{publication.number}"))
            if not any(name == "redelivered" for name, _ in extra):
                headers.append(("redelivered", "false"))
        headers += extra
        return encode_head(MESSAGE, headers, self.version)


class Destination:
    """A topic or a queue."""

    __slots__ = (
        "address",
        "armed",
        "armed_at",
        "attended",
        "deadline",
        "groups",
        "log",
        "owner",
        "policy",
        "replays",
    )

    def __init__(
        self,
        address: Address,
        policy: Policy,
        counter: ByteCounter,
        epoch: str | None = None,
    ) -> None:
        self.address = address
        self.policy = policy
        self.owner: Owner | None = None
        """Whose SEND made it; of a private queue, whose session it is of; else None."""
        self.attended = False
        """Subscribers are kept in a roster: see `model/roster.py`."""
        self.log = Log(counter, epoch)
        self.groups: dict[object, Group] = {}
        self.replays: dict[tuple[Group, int], Outgoing] | None = None
        """Entries replayed just now, while several read its history together: by group, and by the
        number of the publication.
        """
        self.deadline: float | None = None
        self.armed = 0
        self.armed_at = 0.0

    @abstractmethod
    def wake(self, now: float) -> None:
        """What is kept here has aged."""
        ...

    @property
    @abstractmethod
    def idle(self) -> bool:
        """Nobody needs it."""
        ...

    @abstractmethod
    def publish(self, publication: Publication, position: Position | None, reserved: bool) -> int:
        """Take a publication; the subscriptions it will reach.

        Args:
            position: Its place in the history, where somebody else orders the publications.
            reserved: There was room at the beginning of this step, and it is taken.

        Raises:
            QueueFull: It was not taken.
        """
        ...

    def is_superseded(self, offset: int) -> bool:
        """A newer message has taken the place of the one at this offset."""
        return False

    # What becomes of a delivery

    @abstractmethod
    def accept(self, delivery: Delivery) -> None:
        """A delivery was acknowledged."""
        ...

    @abstractmethod
    def reject(self, delivery: Delivery) -> None:
        """A delivery was refused for good: a dead letter."""
        ...

    @abstractmethod
    def give_back(self, delivery: Delivery, ledger: Ledger, pause: float) -> None:
        """NACK or timeout: once more after a pause (seconds), unless it was the last time."""
        ...

    @abstractmethod
    def lose(self, delivery: Delivery) -> int:
        """The session of a delivery has ended; 1 if nobody will get the message again."""
        ...

    # Subscriptions

    def group_of(self, subscription: Subscription) -> Group:
        """The group of a new subscription, which is not a member before it is live."""
        session = subscription.session
        version = session.version
        assert version is not None
        key = (version, subscription.id, subscription.mode, session.wire.key)
        group = self.groups.get(key)
        if group is None:
            acked = subscription.ledger is not None
            text_only = session.wire.dress(b"", b"", False) is None
            group = Group(key, version, subscription.id, acked, text_only=text_only)
            self.groups[key] = group
        group.refs += 1
        return group

    def leave_group(self, subscription: Subscription) -> None:
        """A subscription has ended."""
        group, mailbox = subscription.group, subscription.session.mailbox
        group.members.pop(mailbox, None)
        mailbox.hurry()
        group.refs -= 1
        if not group.refs:
            del self.groups[group.key]

"""Rosters: the members of one destination, and its followers.

Rule: plain records. A member is a user with all its sessions, or one anonymous session. What
followers know of a member is its `text`; everything is acted on by `sessions/presence.py`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from stocksync_ws.broker.model.subscription import Reader

if TYPE_CHECKING:
    from stocksync_ws.broker.model.session import SessionRecord
    from stocksync_ws.broker.model.topic import Topic
    from stocksync_ws.types import Principal

__all__ = ["Follower", "RemotePart", "RemoteUser", "Roster", "RosterKeeper", "RosterMember"]


class RosterKeeper(Protocol):
    """Where rosters are acted on."""

    def wake(self, roster: Roster, now: float) -> None: ...
    def unfollow(self, follower: Follower) -> None: ...


@dataclass(frozen=True, slots=True)
class RemoteUser:
    """A user who is connected to other workers only: of it nothing but the name is known."""

    name: str


class RemotePart(NamedTuple):
    """The sessions of a member at another worker."""

    fill: int
    """The number under which it was told."""
    size: int
    """Sessions; 0 while the user may come back there."""
    sessions: tuple[tuple[str, str | None], ...]
    """The first ones of them, by id, and the info of each as JSON."""
    info: str | None
    """While there is no session: the info of the last one."""

    @property
    def infos(self) -> list[str]:
        """The infos that are known, as JSON."""
        return [info for _, info in (*self.sessions, ("", self.info)) if info is not None]


class RosterMember:
    """A user, or an anonymous session, that is subscribed to the destination of a roster."""

    __slots__ = ("info", "number", "owner", "remote", "sessions", "since", "text", "told", "user")

    def __init__(self, owner: str, number: int, user: Principal | None, since: float) -> None:
        self.owner = owner
        self.number = number
        """Its key, for those who follow; of this roster alone, and never used again there."""
        self.user = user
        self.since = since
        """When it came, in seconds since the epoch."""
        self.sessions: dict[SessionRecord, int] = {}
        """Its sessions here, with their subscriptions; none while it may come back."""
        self.remote: dict[str, RemotePart] | None = None
        """Its sessions at other workers, by their names; replaced and never changed."""
        self.info: str | None = None
        """While it has no session: the info of its last one, as JSON."""
        self.text: str | None = None
        """The JSON that followers know, or would be told; None: it has to be made anew."""
        self.told = False
        """Followers know of it."""

    def render(self) -> str:
        """The JSON of the member as it is now. One that may come back looks as it was."""
        infos = [each.info for each in list(self.sessions) if each.info is not None]
        if self.info is not None:
            infos.append(self.info)
        count = len(self.sessions)
        if self.remote is not None:
            for part in self.remote.values():
                infos += part.infos
                count += part.size
        name = "null" if self.user is None else json.dumps(self.user.name, ensure_ascii=False)
        return (
            f'{{"key":"{self.number}","user":{name},"since":{self.since:.3f},'
            f'"sessions":{count or 1},"info":[{",".join(infos)}]}}'
        )


class Roster:
    """The members of one destination, by the owner of their sessions."""

    __slots__ = (
        "armed",
        "armed_at",
        "away",
        "changed",
        "deadline",
        "destination",
        "flushed",
        "followers",
        "keeper",
        "members",
        "number",
        "topic",
        "waiting",
    )

    def __init__(self, destination: str, keeper: RosterKeeper) -> None:
        self.destination = destination
        self.keeper = keeper
        self.members: dict[str, RosterMember] = {}
        """The oldest first."""
        self.number = 0
        """Of the newest member."""
        self.away: dict[RosterMember, tuple[float, SessionRecord]] = {}
        """Members without a session: until when they may come back, and the last session they had;
        who goes first comes first.
        """
        self.topic: Topic | None = None
        """Where followers are told; None: there is no follower."""
        self.followers = 0
        """Subscriptions that follow."""
        self.waiting: dict[Follower, int] = {}
        """Followers that have been told of the members up to a number, and are told the rest later;
        0: they are to be told the state.
        """
        self.changed: dict[RosterMember, None] = {}
        """Members of whom followers may know something that is no longer so."""
        self.flushed = float("-inf")
        """When followers were told last."""
        self.deadline: float | None = None
        self.armed = 0
        self.armed_at = 0.0

    def wake(self, now: float) -> None:
        """Followers are to be told, or somebody has not come back."""
        self.keeper.wake(self, now)


class Follower(Reader):
    """A subscription to the presence of a destination: the state, then differences. It is live from
    the state on; before, it is told nothing.
    """

    __slots__ = ("roster",)

    def __init__(
        self,
        session: SessionRecord,
        subscription_id: str | None,
        destination: str,
        topic: Topic,
        roster: Roster,
    ) -> None:
        super().__init__(session, subscription_id, destination, topic)
        self.roster = roster

    def leave(self) -> None:
        """The subscription ends."""
        super().leave()
        self.roster.keeper.unfollow(self)

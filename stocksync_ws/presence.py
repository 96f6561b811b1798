"""`ws.presence`: the members of a destination, asked from anywhere.

Rule: reading takes copies and waits for nobody; what is attached goes to the owner thread, in its
place behind what the same thread has published.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, cast

from stocksync_ws.broker.model.namespace import Namespace, is_destination, is_pattern
from stocksync_ws.broker.model.roster import RosterMember
from stocksync_ws.broker.model.session import Session
from stocksync_ws.config import BrokerConfig, exceeded
from stocksync_ws.inbox import Inbox
from stocksync_ws.types import Principal

__all__ = ["Member", "MemberSession", "Presence"]


@dataclass(frozen=True, slots=True)
class MemberSession:
    """One session of a member."""

    session_id: str
    """The id as events and `Session.id` have it; clients are never told it."""
    info: Any
    """A copy of what `Presence.attach` has attached to it; None: nothing."""


@dataclass(frozen=True, slots=True)
class Member:
    """A subscriber of a destination: a user, or one anonymous session."""

    key: str
    """The opaque key that tells members of one destination apart, also for clients; a member that
    comes back after it had left has a new one. With a backplane each worker has keys of its own.
    """
    user: Principal | None
    """The user; None: an anonymous session. With a backplane a user who is connected to other
    workers only is an object that has the `name`, and nothing else.
    """
    since: float
    """The time at which the member came, in seconds since the epoch."""
    sessions: tuple[MemberSession, ...]
    """Subscribed sessions of the member, each once, the first one first; none while a user whose
    last connection was lost may come back. With a backplane those of all workers, of each other
    worker 64 at the most.
    """

    @property
    def name(self) -> str | None:
        """The name of the user; None: an anonymous session."""
        return None if self.user is None else self.user.name


class Presence:
    """Members of the destinations of `StompApp(presence=…)`, with a backplane of all workers: safe
    in any thread.
    """

    __slots__ = ("_inbox", "_limits", "_shared", "_space")

    def __init__(self, inbox: Inbox, config: BrokerConfig) -> None:
        self._inbox = inbox
        self._limits = config.limits
        self._space = Namespace(config)
        self._shared = config.backplane is not None
        """Other workers have members too, kept in the order in which this worker heard of them."""

    def __call__(self, destination: str) -> tuple[Member, ...]:
        """The members of a destination now, in the order of their coming; none while nothing runs.

        Args:
            destination: A destination such as `/topic/room/7`, of a pattern of `presence=`.

        Raises:
            ValueError: The presence of the destination is not kept, or it is a pattern; the text
                says what to write.
        """
        given = cast("object", destination)
        if not isinstance(given, str) or not is_destination(given, self._limits):
            raise ValueError(f"{given!r} is no destination: write one like '/topic/room/7'")
        if self._space.is_presence(given):
            wanted = self._space.classify(given)[1]
            raise ValueError(f"{given!r} is what clients SUBSCRIBE to: write {wanted!r}")
        if is_pattern(given):
            raise ValueError(
                f"{given!r} is a pattern, and a presence is that of one destination: name one, or"
                f" write ws.users.find({given!r})"
            )
        if not self._space.is_attended(given):
            raise ValueError(
                f"the presence of {given!r} is not kept: write StompApp(…, presence=[{given!r}]),"
                f" or a pattern that covers it"
            )
        running = self._inbox.running
        roster = None if running is None else running.broker.roster(given)
        members = [] if roster is None else list(map(_member, list(roster.members.values())))
        if self._shared:
            members.sort(key=_since)
        return tuple(members)

    def attach(self, session: Session | str, info: object) -> None:
        """Attach information to a session, for all who ask for members; a later call replaces it.
        A session that has ended takes nothing. With a backplane it may be one of another worker.

        Args:
            session: The session, or its id: in a handler `session: Session`, in a listener
                `event.session_id`.
            info: Anything that JSON has, at most `Limits.presence_info` bytes of it; None: nothing.

        Raises:
            ValueError: The info is not JSON, or too large; the former one stays.
            ForkedBrokerError: In a forked child of the process that started the application.
        """
        session_id = session.id if isinstance(session, Session) else session
        if not isinstance(cast("object", session_id), str):
            raise ValueError(
                f"attach takes a session or its id, such as event.session_id, not {session_id!r}"
            )
        text = None if info is None else self._json(info)
        self._inbox.command(lambda broker, now: broker.attach(session_id, text, now))

    def _json(self, info: object) -> str:
        try:
            text = json.dumps(info, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            size = len(text.encode())
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"the info of a session must be JSON: {error}") from error
        if size > self._limits.presence_info:
            problem = exceeded(self._limits, "presence_info", size)
            raise ValueError(f"the info of a session is too large: {problem}")
        return text


def _since(member: Member) -> float:
    return member.since


def _member(member: RosterMember) -> Member:
    known = [(each.id, each.info) for each in list(member.sessions)]
    remote = member.remote  # asked once: the owner thread may replace it
    for part in () if remote is None else remote.values():
        known += part.sessions
    sessions = [
        MemberSession(name, None if info is None else json.loads(info)) for name, info in known
    ]
    return Member(str(member.number), member.user, member.since, tuple(sessions))

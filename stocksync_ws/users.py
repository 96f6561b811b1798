"""Users and their sessions, as an application sees and ends them.

Rule: reads copy what the broker keeps and may be asked from any thread; they give its state at that
time. Writes are commands of the inbox: done at once on the owner thread, and from any other one
there, behind what that thread has published before. A text is always the name of a user, and the id
of a session is always named as such: a user who is called like a session is never mistaken for one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, cast, overload

from stocksync_ws.broker.model.session import Session, SessionRecord
from stocksync_ws.broker.model.state import State
from stocksync_ws.checks import foreign_wildcard
from stocksync_ws.errors import ConfigurationError
from stocksync_ws.inbox import Inbox
from stocksync_ws.messaging.routing import Template
from stocksync_ws.types import Principal

if TYPE_CHECKING:
    from stocksync_ws.broker.broker import Broker

__all__ = ["ConnectedUser", "SubscriptionInfo", "Users"]


@dataclass(frozen=True, slots=True)
class ConnectedUser:
    """A connected user, as of the moment of the read."""

    name: str
    principal: Principal
    """The object that the authenticator returned for the newest of the sessions."""
    sessions: tuple[Session, ...]
    """The connected sessions of the user, the oldest first; at least one."""


@dataclass(frozen=True, slots=True)
class SubscriptionInfo:
    """A subscription of a session, as of the moment of the read."""

    session_id: str
    user: Principal | None
    """The user that the session belongs to; None when anonymous."""
    id: str | None
    """The client's id; None for a STOMP 1.0 subscription without one."""
    destination: str
    """The destination as the client named it: `/topic/room/7`, `/user/queue/errors`."""


Whom: TypeAlias = "str | Principal | Session | ConnectedUser"
"""A user, by name or as an object; or a session."""

_Work: TypeAlias = "Callable[[Broker, float], int]"


class Users:
    """The connected users of an application, `StompApp.users`. May be used from any thread.

        if "ann" in ws.users:
            ws.users.disconnect("ann", reason="the account was closed")

    `len(users)` is their number, and iterating gives a `ConnectedUser` for each. Anonymous sessions
    are sessions of nobody. While the application does not run, nobody is connected. With a
    backplane reads tell of this worker, and `disconnect` and `reauthorize` act at all workers.
    """

    __slots__ = ("_inbox",)

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    # Reading

    def __len__(self) -> int:
        broker = self._broker
        return 0 if broker is None else len(broker.users.connected)

    def __iter__(self) -> Iterator[ConnectedUser]:
        broker = self._broker
        names = [] if broker is None else list(broker.users.connected)
        found = (self.get(name) for name in names)
        return (user for user in found if user is not None)

    def __contains__(self, name: object) -> bool:
        """Tell whether a user of this name is connected; with a backplane, to this worker."""
        broker = self._broker
        return broker is not None and name in broker.users.connected

    def __repr__(self) -> str:
        return f"<Users {len(self)} connected>"

    def get(self, name: str) -> ConnectedUser | None:
        """The user of this name, with a backplane at this worker; None: no session is connected."""
        broker = self._broker
        records = [] if broker is None else broker.users.of(name)
        sessions = tuple(face for face in map(_face, records) if face is not None)
        principal = sessions[-1].user if sessions else None
        return None if principal is None else ConnectedUser(name, principal, sessions)

    def sessions(self) -> list[Session]:
        """All connected sessions, anonymous ones too, the oldest first. With a backplane: of this
        worker.
        """
        faces = (_face(each) for each in self._records())
        return [face for face in faces if face is not None]

    def subscriptions(self, session: Session) -> list[SubscriptionInfo]:
        """The subscriptions of a session, in the order of its SUBSCRIBEs; none once it has ended.

        Raises:
            ValueError: The argument is no session.
        """
        if not isinstance(cast("object", session), Session):
            raise ValueError(
                f"subscriptions takes a Session, as users.sessions() gives them, not {session!r}"
            )
        broker = self._broker
        record = None if broker is None else broker.sessions.get(session.id)
        return [] if record is None else _subscriptions(record)

    def find(self, pattern: str) -> list[SubscriptionInfo]:
        """The subscriptions whose destination a pattern covers; the search looks at all of them.
        With a backplane: of this worker; `ws.presence` has members of all.

        Args:
            pattern: A destination with its prefix, `/topic/room/*`: `*` and `{room}` stand for one
                segment, a last `**` for any number.

        Raises:
            ValueError: The pattern is malformed.
        """
        if not isinstance(cast("object", pattern), str):
            raise ValueError(f"find takes a pattern such as '/topic/room/*', not {pattern!r}")
        if problem := foreign_wildcard(pattern):
            raise ValueError(f"find({pattern!r}): {problem}")
        try:
            template = Template(pattern, wildcards=True)
        except ConfigurationError as problem:
            raise ValueError(f"find: {problem}") from None
        return [
            found
            for record in self._records()
            for found in _subscriptions(record)
            if template.match(found.destination) is not None
        ]

    # Ending and judging

    @overload
    def disconnect(self, who: Whom, *, reason: str = "") -> int: ...

    @overload
    def disconnect(self, *, session_id: str, reason: str = "") -> int: ...

    def disconnect(
        self, who: Whom | None = None, *, session_id: str | None = None, reason: str = ""
    ) -> int:
        """End all sessions of a user, or one session: an ERROR with the code `kicked`, close 4503,
        `SessionDisconnected` with the reason `KICKED`. What waits for the client is dropped; a
        handler that works for it has 5 s. A CONNECT of the user that is being decided is refused.
        Nobody is kept out: let the authenticator refuse a user who must not come back.

        With a backplane the same is done at every other worker, also for an id of another one.
        While the engine is away, it is done here at once, and there when the engine is back, but
        to no session that came later.

        Args:
            who: A user, by name or as an object; or a `Session`. A text is always a user's name.
            session_id: The id of a session, such as an event has it.
            reason: The reason, for the client, which is told its first 200 characters, control
                characters escaped, and for the log.

        Returns:
            The number of sessions that have ended; from another thread, of those that will end.
            With a backplane: of this worker.

        Raises:
            ValueError: Neither a user nor a session is given, or both are.
        """
        if not isinstance(cast("object", reason), str):
            raise ValueError(f"disconnect: the reason is a text, not {reason!r}")
        name, at = _whom("disconnect", who, session_id)
        if at is not None:
            return self._do(
                at, None, lambda broker, now: broker.disconnect_session(at, reason, now)
            )
        return self._do(None, name, lambda broker, now: broker.disconnect_user(name, reason, now))

    @overload
    def reauthorize(self, who: Whom) -> int: ...

    @overload
    def reauthorize(self, *, session_id: str) -> int: ...

    def reauthorize(self, who: Whom | None = None, *, session_id: str | None = None) -> int:
        """Judge anew the rights of the sessions of a user, or of one session: `roles=` of
        `StompApp` is asked again, verdicts of rules are forgotten, and each subscription that is
        not allowed any more ends. A session that listens for errors is told with the code
        `subscription-revoked`, and lives on; any other gets an ERROR, `subscribe-denied`, and is
        closed.

        The call does not wait for that. Until `roles=` has answered, the old roles hold; a session
        for which it fails ends, and its client may come back. A rule that fails allows nothing. No
        rule and no `roles=` may call this: it asks them.

        With a backplane the same is done at every other worker, also for an id of another one;
        while the engine is away, when it is back.

        Args:
            who: A user, by name or as an object; or a `Session`. A text is always a user's name.
            session_id: The id of a session, such as an event has it.

        Returns:
            The number of sessions that are judged; from another thread, of those there are. With a
            backplane: of this worker.

        Raises:
            ValueError: Neither a user nor a session is given, or both are.
        """
        name, at = _whom("reauthorize", who, session_id)
        if at is not None:
            return self._do(at, None, lambda broker, now: broker.review_session(at, now))
        return self._do(None, name, lambda broker, now: broker.review_user(name, now))

    def _do(self, session_id: str | None, name: str | None, work: _Work) -> int:
        """Do something to sessions; return the number it was done to, or where that is not known
        yet, the number there are.
        """
        broker = self._broker
        if broker is None:
            return 0
        if session_id is not None:
            record = broker.sessions.get(session_id)
            there = int(record is not None and record.state in _LIVE)
        else:
            there = len(broker.users.of(cast("str", name)))
        done: list[int] = []
        self._inbox.command(lambda broker, now: done.append(work(broker, now)))
        return done[0] if done else there

    @property
    def _broker(self) -> Broker | None:
        running = self._inbox.running
        return None if running is None else running.broker

    def _records(self) -> list[SessionRecord]:
        broker = self._broker
        return [] if broker is None else list(broker.sessions.values())


_LIVE = frozenset((State.OPENING, State.AWAITING, State.CONNECTED, State.ENDING))


def _face(record: SessionRecord) -> Session | None:
    """A session as the application sees it; None while it is not connected."""
    return record.face if record.state is State.CONNECTED else None


def _subscriptions(record: SessionRecord) -> list[SubscriptionInfo]:
    return [
        SubscriptionInfo(record.id, record.user, each.id, each.destination)
        for each in list(record.subscriptions.active.values())
    ]


def _whom(method: str, who: object, session_id: object) -> tuple[str, str | None]:
    """The name of a user, or the id of a session.

    Raises:
        ValueError: It is neither, or both.
    """
    if (who is None) is (session_id is None):
        raise ValueError(
            f"{method} takes a user or a session: write {method}('ann'), {method}(session) or"
            f" {method}(session_id=...)"
        )
    if session_id is not None:
        if not isinstance(session_id, str) or not session_id:
            raise ValueError(f"{method}: session_id is the id of a session, not {session_id!r}")
        return "", str.__str__(session_id)
    if isinstance(who, Session):
        return "", who.id
    name = who if isinstance(who, str) else getattr(who, "name", None)
    if not isinstance(name, str) or not name:
        raise ValueError(
            f"{method}: {who!r} is no user and no session: give the name of a user, such as"
            f" user.name, or a Session"
        )
    return str.__str__(name), None

"""Members of presences at all workers: what this worker tells of its own, and knows of the others'.

Rule: a member has a part at each worker that has sessions of it, and is there while it has one.
Followers and `ws.presence` see the own part as it is, and those of others as the control log has
them. Events go by the log alone, since it has one order for all: who is the first there has come,
whose last part goes has left, and that is told by the worker of that part; for a worker that has
died, by the one that declared it dead. What is told of a member is its state, so that it may be
told again: after a failure, when the engine has lost something, and in time before it ages.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol, TypeAlias

from stocksync_ws.backplane import AppendOutcome, Item
from stocksync_ws.broker.calls.events import PresenceJoined, PresenceLeft
from stocksync_ws.broker.calls.listeners import Listeners
from stocksync_ws.broker.model.control import AGE, CHANNEL, Notice, notice
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.flight import Failure, Settlement
from stocksync_ws.broker.model.roster import RemotePart, RemoteUser, Roster, RosterMember
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.sessions.workers import Workers

__all__ = ["SharedPresence"]

MOST_MEMBERS = 100
"""Members that are told in one step."""
MOST_BYTES = 256 * 1024
"""Bytes of them, but for the first."""
MOST_SESSIONS = 64
"""Sessions of a member that are told one by one; of more the number is told."""

_Key: TypeAlias = tuple[str, str]
"""The destination, and the owner of the sessions."""
_DONE = (AppendOutcome.ACCEPTED, AppendOutcome.REPEATED)


class Rosters(Protocol):
    """Where rosters are kept, and their followers told."""

    @property
    def rosters(self) -> dict[str, Roster]: ...
    def roster(self, destination: str) -> Roster: ...
    def release(self, roster: Roster) -> None: ...
    def changed(self, roster: Roster, member: RosterMember) -> None: ...


class _Own:
    """A member of this worker, as others are told of it."""

    __slots__ = ("logged", "number", "session")

    def __init__(self, session: SessionRecord, number: int) -> None:
        self.session = session
        """The one that came or left last."""
        self.number = number
        """The key of the member, for listeners."""
        self.logged = False
        """The log has it."""


class SharedPresence:
    """The members of all workers.

    Args:
        presence: Keeps the rosters.
        workers: Sends what others are told.
    """

    __slots__ = (
        "_dirty",
        "_fill",
        "_filled",
        "_flying",
        "_listeners",
        "_namespace",
        "_own",
        "_parts",
        "_presence",
        "_quiet",
        "_refilled_at",
        "_step",
        "_unfilled",
        "_worker",
        "_workers",
    )

    def __init__(
        self, env: Environment, listeners: Listeners, presence: Rosters, workers: Workers
    ) -> None:
        self._step = env.step
        self._worker = env.worker
        self._namespace = env.namespace
        self._listeners = listeners
        self._presence = presence
        self._workers = workers
        self._own: dict[_Key, _Own] = {}
        self._parts: dict[str, dict[_Key, RemotePart]] = {}
        """Members of other workers."""
        self._filled: dict[str, int] = {}
        """Up to which number they have told all of them."""
        self._dirty: dict[_Key, None] = {}
        """Own members that are not as the log has them."""
        self._flying: tuple[_Key, ...] | None = None
        """Those that are on their way; None: nothing is."""
        self._fill = 1
        """Rises whenever all own members are told again."""
        self._unfilled = True
        """That they have been told is not told yet."""
        self._refilled_at = 0.0
        self._quiet = False

    # What happens here

    def note(self, roster: Roster, member: RosterMember, session: SessionRecord) -> None:
        """An own member is not what it was, because of a session."""
        if self._quiet:
            return
        key = roster.destination, member.owner
        own = self._own.get(key)
        if own is None:
            own = self._own[key] = _Own(session, member.number)
        own.session, own.number = session, member.number
        self._dirty[key] = None
        self._flush()

    def stop(self) -> None:
        """The server stops: nobody is told who leaves."""
        self._quiet = True

    def look(self) -> None:
        """Tell what could not be told before, and all of it again before it ages."""
        if self._refilled_at + AGE / 3 <= self._step.now:
            self._refill()
        self._flush()

    def _refill(self) -> None:
        """Tell all own members again, and then that these are all."""
        self._fill += 1
        self._unfilled = True
        self._refilled_at = self._step.now
        self._dirty.update(dict.fromkeys(self._own))
        self._flush()

    def _flush(self) -> None:
        """Tell as much as may be told at once, when what was told before has an answer."""
        if self._flying is not None or self._quiet:
            return
        if self._dirty:
            messages = self._take()
        elif self._unfilled:
            slot = f"filled {self._worker}"
            messages = {
                ("", ""): notice(Notice.FILLED, self._worker, slot, fill=self._fill),
            }
        else:
            return
        keys = tuple(key for key in messages if key in self._own)
        done = partial(self._settled, keys, self._fill)
        if not self._workers.append(tuple(messages.values()), done):
            self._flying = keys
        else:
            self._dirty.update(dict.fromkeys(keys))

    def _take(self) -> dict[_Key, Item]:
        """Messages of members that have changed, the first ones first."""
        messages: dict[_Key, Item] = {}
        size = 0
        for key in self._dirty:
            message = self._message(key)
            size += len(message.payload)
            if messages and (size > MOST_BYTES or len(messages) == MOST_MEMBERS):
                break
            messages[key] = message
        for key in messages:
            del self._dirty[key]
        return messages

    def _message(self, key: _Key) -> Item:
        destination, owner = key
        slot = f"member {self._worker} {len(destination)} {destination} {owner}"
        facts: dict[str, object] = {"destination": destination, "owner": owner}
        member = self._own_part(key)
        if member is None:
            return notice(Notice.GONE, self._worker, slot, **facts)
        sessions = list(member.sessions)
        listed = [[each.id, each.info] for each in sessions[:MOST_SESSIONS]]
        facts |= {
            "user": None if member.user is None else member.user.name,
            "since": member.since,
            "fill": self._fill,
            "count": len(sessions),
            "sessions": listed,
            "info": member.info,
        }
        return notice(Notice.MEMBER, self._worker, slot, **facts)

    def _own_part(self, key: _Key) -> RosterMember | None:
        """A member that has sessions here, or may come back here."""
        roster = self._presence.rosters.get(key[0])
        member = None if roster is None else roster.members.get(key[1])
        if roster is None or member is None:
            return None
        return member if member.sessions or member in roster.away else None

    def _settled(self, keys: tuple[_Key, ...], fill: int, settlement: Settlement) -> None:
        """What was told has an answer, or has none in time."""
        self._flying = None
        outcome = settlement.outcome
        if outcome not in _DONE:
            self._dirty.update(dict.fromkeys(keys))
        elif not keys:
            self._unfilled = self._fill != fill
        for key in keys:
            self._forget(key)
        if outcome in _DONE or isinstance(outcome, Failure):
            self._flush()

    def _forget(self, key: _Key) -> None:
        """Forget an own member that is gone, here and in the log."""
        own, flying = self._own.get(key), self._flying or ()
        if own is None or own.logged or key in self._dirty or key in flying:
            return
        if self._own_part(key) is None:
            del self._own[key]

    # What the control log tells

    def attached(self) -> None:
        """The log is live."""
        for worker in list(self._parts):
            self._sweep(worker)
        self._flush()

    def reset(self) -> None:
        """The engine may have lost what was told."""
        self._refill()

    def take(self, kind: Notice, worker: str, facts: Mapping[str, Any]) -> None:
        """A worker tells of its members."""
        if kind is Notice.FILLED:
            self._filled[worker] = facts["fill"]
            if self._workers.is_live(CHANNEL):
                self._sweep(worker)
            return
        key = facts["destination"], facts["owner"]
        if worker == self._worker:
            self._log(key, there=kind is Notice.MEMBER)
        elif kind is Notice.MEMBER:
            self._place(key, worker, facts)
        else:
            self._drop(key, worker)

    def lapsed(self) -> None:
        """The others have given this worker up, and were told that its members have left."""
        for own in self._own.values():
            own.logged = False
        self._refill()

    def lose(self, worker: str, *, tells: bool) -> None:
        """A worker has died.

        Args:
            worker: Its name.
            tells: It is told here who has left with it.
        """
        self._filled.pop(worker, None)
        for key, part in list(self._parts.get(worker, {}).items()):
            member = self._drop(key, worker)
            assert member is not None
            if tells and not self._is_logged(key):
                self._tell_left(key, member, part)

    def _log(self, key: _Key, *, there: bool) -> None:
        """The log has an own member, or has it no more."""
        own = self._own.get(key)
        if own is None or own.logged is there:
            return
        was_there = self._is_logged(key)
        own.logged = there
        if was_there != self._is_logged(key):
            kind = PresenceJoined if there else PresenceLeft
            if self._listeners.hears(kind):
                session = own.session
                event = kind(
                    session_id=session.id,
                    user=session.user,
                    destination=key[0],
                    key=str(own.number),
                )
                self._listeners.emit(session, event)
        self._forget(key)

    def _is_logged(self, key: _Key) -> bool:
        """A member has a part at some worker, by the log."""
        own = self._own.get(key)
        if own is not None and own.logged:
            return True
        roster = self._presence.rosters.get(key[0])
        member = None if roster is None else roster.members.get(key[1])
        return member is not None and member.remote is not None

    def _tell_left(self, key: _Key, member: RosterMember, part: RemotePart) -> None:
        if self._listeners.hears(PresenceLeft):
            event = PresenceLeft(
                session_id=part.sessions[0][0] if part.sessions else "",
                user=member.user,
                destination=key[0],
                key=str(member.number),
            )
            self._listeners.tell(event, bounded=False)

    # Parts of others

    def _place(self, key: _Key, worker: str, facts: Mapping[str, Any]) -> None:
        """A member has a part at another worker, which is as it is told."""
        destination, owner = key
        if not self._namespace.is_attended(destination):
            return
        sessions = tuple((name, info) for name, info in facts["sessions"])
        part = RemotePart(facts["fill"], facts["count"], sessions, facts["info"])
        roster = self._presence.roster(destination)
        member = roster.members.get(owner)
        if member is None:
            name = facts["user"]
            user = None if name is None else RemoteUser(name)
            roster.number += 1
            member = RosterMember(owner, roster.number, user, facts["since"])
            roster.members[owner] = member
        member.remote = {**(member.remote or {}), worker: part}
        self._parts.setdefault(worker, {})[key] = part
        self._presence.changed(roster, member)

    def _drop(self, key: _Key, worker: str) -> RosterMember | None:
        """A member has no part at another worker any more."""
        parts = self._parts.get(worker, {})
        if parts.pop(key, None) is None:
            return None
        if not parts:
            del self._parts[worker]
        roster = self._presence.rosters[key[0]]
        member = roster.members[key[1]]
        remote = {name: part for name, part in (member.remote or {}).items() if name != worker}
        member.remote = remote or None
        if not remote and self._own_part(key) is None:
            del roster.members[member.owner]
        self._presence.changed(roster, member)
        self._presence.release(roster)
        return member

    def _sweep(self, worker: str) -> None:
        """A worker has told all of its members: whom it has not told is gone."""
        fill = self._filled.get(worker, 0)
        for key, part in list(self._parts.get(worker, {}).items()):
            if part.fill < fill:
                self._drop(key, worker)

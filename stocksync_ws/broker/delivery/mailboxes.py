"""Mailboxes: what waits for which session, how much of it, and who does not take it.

Rule: what happens now is pushed: one shared entry is appended to many mailboxes and nothing is made
per recipient. Fan-out never removes: a session that is over its bound is only noted here, and
closed by the broker at the end of the step. Slowness is judged after a flush was tried, never at
append.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable
from enum import Enum, auto

from stocksync_ws.broker.model.channel import Group
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.publication import Publication
from stocksync_ws.broker.model.session import Outgoing, Session, State, Subscription
from stocksync_ws.stomp.encoder import HEART_BEAT

__all__ = ["BURST", "RECOVER", "Mailboxes", "Verdict"]

BURST = 8
"""Within one turn a mailbox may grow to this many times `Limits.send_queue`."""
RECOVER = 1.0
"""Seconds a session over its bound has to fall below it while its transport takes bytes."""


class Verdict(Enum):
    """What a look at a waiting mailbox says."""

    FINE = auto()
    WAITING = auto()
    """Something waits; look again at the next deadline."""
    SLOW = auto()


class Mailboxes:
    """All mailboxes of a broker, the bytes in them, and the list of those to flush."""

    __slots__ = ("_beats", "_counters", "_dirty", "_hard", "_limits", "_most", "_step", "total")

    def __init__(self, env: Environment) -> None:
        self._limits = env.limits
        self._hard = BURST * env.limits.send_queue
        self._most = env.limits.max_total_queued
        self._counters = env.counters
        self._step = env.step
        self._dirty = env.step.outputs.dirty
        self._beats: dict[Hashable, Outgoing] = {}
        self.total = 0
        """Bytes in all mailboxes; a shared entry counts once."""

    def publish(self, publication: Publication, group: Group) -> int:
        """Append a publication to the mailboxes of all members of a group; the number of them."""
        members = group.members
        entry = self.entry(publication, next(iter(members)), group.head(publication))
        entry.group = group
        self.spread(entry, members)
        return len(members)

    def spread(self, entry: Outgoing, sessions: Collection[Session]) -> None:
        """Append a new entry to the mailboxes of all its receivers."""
        dirty, hard = self._dirty, self._hard
        size = entry.size
        entry.waiting = len(sessions)
        self._add(size)
        for session in sessions:
            session.mailbox.append(entry)
            queued = session.queued = session.queued + size
            if not session.dirty:
                session.dirty = True
                dirty.append(session)
            if queued > hard:
                self._step.close_overfull(session)
        self._counters.messages_queued += len(sessions)

    def entry(
        self,
        publication: Publication,
        receiver: Session,
        head: bytes,
    ) -> Outgoing:
        """The entry of a kind of receivers, dressed with the wire of any of them; in no mailbox."""
        version, wire = receiver.version, receiver.wire
        assert version is not None
        chunk = wire.dress(head, publication.tail(version), publication.text)
        return Outgoing(
            chunk,
            wire.size(chunk),
            self._step.now,
            0,
            publication=publication,
            droppable=True,
        )

    def append_shared(self, session: Session, entry: Outgoing) -> None:
        """Put an entry into one more mailbox."""
        if not entry.waiting:
            self._add(entry.size)
        entry.waiting += 1
        self._append(session, entry)

    def frame(self, session: Session, frame: bytes) -> None:
        """Append one frame of the server's own (CONNECTED, RECEIPT, ERROR): never dropped."""
        self.control(session, [session.wire.dress(frame, b"", True)])

    def beat(self, session: Session) -> None:
        """Append a heart-beat; one entry for all sessions of a wire key."""
        key = session.wire.key
        entry = self._beats.get(key)
        if entry is None:
            chunk = session.wire.dress(HEART_BEAT, b"", True)
            # `waiting` starts at 1 and never falls to 0: the entry lives as long as the broker.
            entry = self._beats[key] = Outgoing(chunk, session.wire.size(chunk), float("inf"), 1)
        entry.waiting += 1
        self._append(session, entry)

    def control(self, session: Session, chunks: Iterable[object]) -> None:
        """Append what is no STOMP frame: a PING, the close handshake."""
        for chunk in chunks:
            size = session.wire.size(chunk)
            self._add(size)
            self._append(session, Outgoing(chunk, size, self._step.now, 1))

    def _append(self, session: Session, entry: Outgoing) -> None:
        session.mailbox.append(entry)
        session.queued += entry.size
        if session.queued > self._hard:
            self._step.close_overfull(session)
        self.mark(session)

    def mark(self, session: Session) -> None:
        """Put a session into the list of those to flush."""
        if not session.dirty:
            session.dirty = True
            self._dirty.append(session)

    def _add(self, size: int) -> None:
        self.total += size
        if self.total > self._most:
            self._step.noted = True

    @property
    def over_all(self) -> bool:
        """All mailboxes together hold more than they may."""
        return self.total > self._most

    def take(self, session: Session, room: int) -> list[Outgoing]:
        """At most `room` bytes of a mailbox, but at least one entry when there is one."""
        mailbox = session.mailbox
        taken: list[Outgoing] = []
        size = 0
        if session.queued <= room:
            taken += mailbox
            size = session.queued
            mailbox.clear()
        else:
            while mailbox and (not taken or size + mailbox[0].size <= room):
                entry = mailbox.popleft()
                taken.append(entry)
                size += entry.size
        if not taken:
            return taken
        for entry in taken:
            entry.waiting -= 1
            if not entry.waiting:
                self.total -= entry.size
        session.last_write = self._step.now
        session.queued -= size
        session.handed += size
        return taken

    def release(self, entry: Outgoing) -> None:
        """An entry left one mailbox."""
        entry.waiting -= 1
        if not entry.waiting:
            self.total -= entry.size

    def drop(self, session: Session, *, keep_own: bool = False) -> list[Outgoing]:
        """Empty a mailbox; with `keep_own` only of what may be dropped. What was dropped."""
        dropped = [entry for entry in session.mailbox if not keep_own or entry.droppable]
        kept = [entry for entry in session.mailbox if keep_own and not entry.droppable]
        for entry in dropped:
            self.release(entry)
        session.mailbox.clear()
        session.mailbox.extend(kept)
        session.queued = sum(entry.size for entry in kept)
        return dropped

    def first(self, session: Session, group: Group) -> Outgoing | None:
        """The first entry of a subscription's group in a mailbox."""
        for entry in session.mailbox:
            if entry.group is group:
                return entry
        return None

    def replace(self, session: Session, old: Outgoing, new: Outgoing) -> None:
        """Put another entry in the place of one."""
        session.mailbox[session.mailbox.index(old)] = new
        session.queued += new.size - old.size
        self.release(old)
        new.waiting = 1
        self._add(new.size)

    def of_group(self, session: Session, group: Group) -> list[Outgoing]:
        """The messages for one group in a mailbox."""
        return [
            entry
            for entry in session.mailbox
            if entry.publication is not None and group in (entry.group, entry.reader)
        ]

    def take_back(self, subscription: Subscription, group: Group) -> list[Outgoing]:
        """Take everything of one subscription out of its mailbox; what it was to tell is to be told
        again.
        """
        session = subscription.session
        ghosts = {id(entry) for entry in subscription.ghosts}
        taken = [each for each in self.of_group(session, group) if id(each) not in ghosts]
        if taken:
            gone = {id(entry) for entry in taken}
            kept = [entry for entry in session.mailbox if id(entry) not in gone]
            session.mailbox.clear()
            session.mailbox.extend(kept)
        for entry in taken:
            subscription.dropped += entry.tells
            session.queued -= entry.size
            self.release(entry)
        return taken

    def shed(self, session: Session) -> dict[Subscription, int]:
        """Take the oldest messages away where the policy of their destination says so, until half
        of the bound is free, so that it is not done again for every message. How many of which
        subscription.
        """
        lost: dict[Subscription, int] = {}
        kept: list[Outgoing] = []
        most = self._limits.send_queue // 2
        for entry in session.mailbox:
            over = session.queued + session.unsent > most
            subscription = entry.group.members.get(session) if over and entry.group else None
            channel = subscription.channel if subscription is not None else None
            if subscription is None or channel is None or channel.policy.overflow == "disconnect":
                kept.append(entry)
                continue
            lost[subscription] = lost.get(subscription, 0) + 1
            subscription.dropped += entry.tells
            session.queued -= entry.size
            self.release(entry)
        session.mailbox.clear()
        session.mailbox.extend(kept)
        return lost

    def judge(self, session: Session) -> Verdict:
        """After a flush was tried: does this session take what it is sent?"""
        limits, now = self._limits, self._step.now
        waiting = session.queued + session.unsent
        if not waiting:
            session.progress_at = session.over_since = None
            session.taken = session.handed
            return Verdict.FINE
        written = session.handed - session.unsent
        progress = written > session.taken
        session.taken = written
        if session.progress_at is None or progress:
            session.progress_at = now
        if session.state is State.CLOSING:
            return Verdict.WAITING
        if waiting <= limits.send_queue:
            session.over_since = None
        elif session.over_since is None:
            session.over_since = now
            if not progress:
                return Verdict.SLOW
        elif now - session.over_since >= RECOVER:
            return Verdict.SLOW
        if now - session.progress_at >= limits.send_stall_seconds:
            return Verdict.SLOW
        if session.mailbox and now - session.mailbox[0].at >= limits.send_queue_seconds:
            return Verdict.SLOW
        return Verdict.WAITING

    def judge_at(self, session: Session) -> float | None:
        """When `judge` has to be asked again although nothing happens; None when nothing waits."""
        if session.progress_at is None:
            return None
        at = session.progress_at + self._limits.send_stall_seconds
        if session.mailbox:
            at = min(at, session.mailbox[0].at + self._limits.send_queue_seconds)
        if session.over_since is not None:
            at = min(at, session.over_since + RECOVER)
        return at

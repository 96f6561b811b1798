"""Presence: subscriptions that begin and end, who is there by them, and what followers are told.

Rule: a subscription is told of, and counts, from the step on in which it is active. A member leaves
when its last subscription is gone: at an UNSUBSCRIBE at once, with its connection only when its
user has not come back for `Limits.presence_grace`; a stop tells of nobody. Followers are told
together, at the end of a turn and then not before `Limits.presence_interval` has passed: first one
difference for all that are up to date, then the state as it is behind that difference. So whoever
has the state has missed nothing, and is told nothing twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stocksync_ws.broker.calls.events import (
    PresenceJoined,
    PresenceLeft,
    SessionSubscribed,
    SessionUnsubscribed,
    subscribed,
    unsubscribed,
)
from stocksync_ws.broker.calls.room import Calls
from stocksync_ws.broker.delivery.room import Delivery
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.publication import Draft, Publication, PublicationKind
from stocksync_ws.broker.model.roster import Follower, Roster, RosterMember
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.subscription import Subscription
from stocksync_ws.broker.sessions.shared_presence import SharedPresence
from stocksync_ws.broker.sessions.workers import Workers

if TYPE_CHECKING:
    from stocksync_ws.broker.sessions.publisher import Publisher
from stocksync_ws.types import ToDestination

__all__ = ["Presence"]

_ENVELOPE = 1_024
"""Bytes of a message besides its members, at the most."""


class Presence:
    """Tells of subscriptions, and keeps the rosters of the destinations that have one."""

    __slots__ = (
        "_delivery",
        "_limits",
        "_listeners",
        "_most",
        "_prefix",
        "_publisher",
        "_quiet",
        "_sessions",
        "_step",
        "_wall",
        "rosters",
        "shared",
    )

    def __init__(
        self,
        env: Environment,
        calls: Calls,
        delivery: Delivery,
        publisher: Publisher,
        workers: Workers | None = None,
    ) -> None:
        self._limits = env.limits
        self._most = max(1, env.limits.max_outbound_message - _ENVELOPE)
        self._prefix = env.config.presence_prefix
        self._sessions = env.sessions
        self._step = env.step
        self._wall = env.wall
        self._delivery = delivery
        self._listeners = calls.listeners
        self._publisher = publisher
        self._quiet = False
        """The server stops: nobody is told of those that leave."""
        self.rosters: dict[str, Roster] = {}
        """By destination: those that have a member or a follower."""
        self.shared: SharedPresence | None = None
        """The members at other workers, and what these are told; None: there are none."""
        if workers is not None and env.config.presence:
            self.shared = SharedPresence(env, calls.listeners, self, workers)

    # Subscriptions

    def began(self, subscription: Subscription) -> None:
        """A subscription is active."""
        subscription.told = True
        if self._listeners.hears(SessionSubscribed):
            self._listeners.emit(subscription.session, subscribed(subscription))
        if subscription.home.attended:
            self._enter(subscription)

    def ended(self, subscription: Subscription, *, lost: bool) -> None:
        """A subscription has ended; nothing is told of one that never was active.

        Args:
            lost: Nobody has asked for that, so that its user may be back soon.
        """
        if not subscription.told:
            return
        if self._listeners.hears(SessionUnsubscribed):
            self._listeners.emit(subscription.session, unsubscribed(subscription))
        if subscription.home.attended:
            self._leave(subscription, lost=lost)

    def passed(self, subscription: Subscription) -> None:
        """A subscription has ended before it was active: its client is answered, and listeners hear
        of both; it counts nowhere, since it may be one that was not allowed.
        """
        if self._listeners.hears(SessionSubscribed):
            self._listeners.emit(subscription.session, subscribed(subscription))
        if self._listeners.hears(SessionUnsubscribed):
            self._listeners.emit(subscription.session, unsubscribed(subscription))

    # Members

    def roster(self, destination: str) -> Roster:
        """The roster of a destination, made where there is none."""
        roster = self.rosters.get(destination)
        if roster is None:
            roster = self.rosters[destination] = Roster(destination, self)
        return roster

    def release(self, roster: Roster) -> None:
        """Forget a roster that nobody needs."""
        if roster.members or roster.followers:
            return
        if self.rosters.get(roster.destination) is roster:
            del self.rosters[roster.destination]
        self._step.disarm(roster)

    def _enter(self, subscription: Subscription) -> None:
        roster = self.roster(subscription.destination)
        session = subscription.session
        owner = session.owner
        member = roster.members.get(owner)
        if member is None:
            roster.number += 1
            member = RosterMember(owner, roster.number, session.user, self._wall())
            roster.members[owner] = member
            member.sessions[session] = 1
            if self.shared is None and self._listeners.hears(PresenceJoined):
                event = PresenceJoined(
                    session_id=session.id,
                    user=session.user,
                    destination=roster.destination,
                    key=str(member.number),
                )
                self._listeners.emit(session, event)
        elif session in member.sessions:
            member.sessions[session] += 1
            return
        else:
            if not member.sessions and roster.away.pop(member, None) is not None:
                member.info = None
            member.sessions[session] = 1
            member.user = session.user
        self._note(roster, member, session)

    def _leave(self, subscription: Subscription, *, lost: bool) -> None:
        roster, session = self.rosters[subscription.destination], subscription.session
        member = roster.members[session.owner]
        left = member.sessions[session] - 1
        if left:
            member.sessions[session] = left
            return
        del member.sessions[session]
        if member.sessions:
            self._note(roster, member, session)
        elif self._quiet:
            self._remove(roster, member)
            self.release(roster)
        elif lost and session.user is not None:
            back_by = self._step.now + self._limits.presence_grace
            roster.away[member] = back_by, session
            member.info = session.info
            self._step.sooner(roster, back_by)
            if self.shared is not None:
                self.shared.note(roster, member, session)
        else:
            self._gone(roster, member, session)
            self.release(roster)

    def _gone(self, roster: Roster, member: RosterMember, session: SessionRecord) -> None:
        """A member has left, with its last session."""
        member.info = None
        self._remove(roster, member)
        self._note(roster, member, session)
        if self.shared is None and self._listeners.hears(PresenceLeft):
            event = PresenceLeft(
                session_id=session.id,
                user=member.user,
                destination=roster.destination,
                key=str(member.number),
            )
            self._listeners.emit(session, event)

    def _remove(self, roster: Roster, member: RosterMember) -> None:
        """A member has no session here, and nobody waits for one."""
        if member.remote is None:
            del roster.members[member.owner]

    def attach(self, session_id: str, info: str | None) -> None:
        """Replace the info of a session, JSON; one that has ended takes none."""
        session = self._sessions.get(session_id)
        if session is None or session.info == info:
            return
        session.info = info
        for subscription in session.subscriptions.active.values():
            if subscription.told and subscription.home.attended:
                roster = self.rosters[subscription.destination]
                self._note(roster, roster.members[session.owner], session)

    def stop(self) -> None:
        """The server stops, and nobody comes back: from now on nobody is told who leaves."""
        self._quiet = True
        if self.shared is not None:
            self.shared.stop()
        for roster in list(self.rosters.values()):
            for member in roster.away:
                self._remove(roster, member)
            roster.away.clear()
            self.release(roster)

    # Followers

    def follower(
        self, session: SessionRecord, subscription_id: str | None, destination: str
    ) -> Follower:
        """A new subscription to the presence of a destination, which is not told anything yet."""
        roster = self.roster(destination)
        address = self._prefix + destination
        topic = self._delivery.destinations.open_topic(address)
        roster.topic = topic
        roster.followers += 1
        return Follower(session, subscription_id, address, topic, roster)

    def follow(self, follower: Follower) -> None:
        """A follower is active: it is told the state, behind the next difference of the others."""
        self.began(follower)
        follower.roster.waiting[follower] = 0
        self._flush_soon(follower.roster)

    def unfollow(self, follower: Follower) -> None:
        """A follower has ended."""
        roster = follower.roster
        roster.waiting.pop(follower, None)
        roster.followers -= 1
        if not roster.followers:
            roster.topic = None
            for member in roster.changed:
                member.text = None
            roster.changed.clear()
            self.release(roster)

    def _note(self, roster: Roster, member: RosterMember, session: SessionRecord) -> None:
        """A member is not what it was, because of a session."""
        self.changed(roster, member)
        if self.shared is not None:
            self.shared.note(roster, member, session)

    def changed(self, roster: Roster, member: RosterMember) -> None:
        """Followers are to be told of a member."""
        if roster.followers:
            roster.changed[member] = None
            self._flush_soon(roster)
        else:
            member.text = None

    def _flush_soon(self, roster: Roster) -> None:
        due = roster.flushed + self._limits.presence_interval
        self._step.sooner(roster, max(self._step.now, due))

    # Time

    def wake(self, roster: Roster, now: float) -> None:
        """The deadline of a roster came."""
        self._step.wake(now, self._due, roster)

    def _due(self, roster: Roster) -> None:
        now = self._step.now
        for member, (back_by, session) in list(roster.away.items()):
            if back_by > now:
                break
            del roster.away[member]
            self._gone(roster, member, session)
        due = roster.flushed + self._limits.presence_interval
        if due <= now and (roster.changed or roster.waiting):
            roster.flushed = now
            self._flush(roster)
            due = now + self._limits.presence_interval
        times = [back_by for back_by, _ in list(roster.away.values())[:1]]
        if roster.changed or roster.waiting:
            times.append(due)
        self._step.rearm(roster, min(times, default=None))
        self.release(roster)

    def _flush(self, roster: Roster) -> None:
        """Tell all followers."""
        body = self._difference(roster)
        topic = roster.topic
        assert topic is not None
        live = [each for group in topic.groups.values() for each in group.members.values()]
        if len(body) > self._most:
            # The state is what they would get if they came now, and comes in parts.
            for reader in live:
                assert isinstance(reader, Follower)
                self._delivery.readers.hold(reader)
                roster.waiting[reader] = 0
        elif body and live:
            publication = self._publisher.admit(
                *self._draft(roster, "diff", body), intercepted=True
            )
            self._delivery.publishing.publish_local(publication)
        parts: dict[int, tuple[Publication, int]] = {}
        for follower, number in list(roster.waiting.items()):
            mailbox = follower.session.mailbox
            if not number:
                self._tell_part(follower, 0, parts)
                self._delivery.readers.go_live(follower)
            elif mailbox.empty and not mailbox.unsent:
                self._tell_part(follower, number, parts)
        self._delivery.readers.forget_entries(topic)  # A state may be large.

    def _difference(self, roster: Roster) -> bytes:
        """The difference for those who have the state; empty when there is none."""
        joins: list[str] = []
        changes: list[str] = []
        leaves: list[str] = []
        changed, roster.changed = roster.changed, {}
        for member in changed:
            if roster.members.get(member.owner) is not member:
                if member.told:
                    leaves.append(f'"{member.number}"')
                continue
            text = member.render()
            if not member.told:
                joins.append(text)
            elif text != member.text:
                changes.append(text)
            member.text, member.told = text, True
        if not joins and not changes and not leaves:
            return b""
        return (
            f'{{"joins":[{",".join(joins)}],"changes":[{",".join(changes)}],'
            f'"leaves":[{",".join(leaves)}]}}'
        ).encode()

    def _tell_part(
        self, follower: Follower, number: int, parts: dict[int, tuple[Publication, int]]
    ) -> None:
        """Tell a follower of the members behind a number, as many as one message holds.

        Args:
            number: 0: it is told the state.
            parts: Those that were made in this flush, by their number, for all who are told them.
        """
        roster = follower.roster
        found = parts.get(number)
        if found is None:
            found = parts[number] = self._part(roster, number)
        publication, last = found
        self._delivery.readers.deliver(follower, publication, 0)
        if last:
            roster.waiting[follower] = last
        else:
            del roster.waiting[follower]

    def _part(self, roster: Roster, number: int) -> tuple[Publication, int]:
        """Members behind a number; the message, and the last of them, 0 when there are no more."""
        texts: list[str] = []
        size, last, more = 0, number, False
        for member in roster.members.values():
            if member.number <= number:
                continue
            text = member.text
            if text is None:
                text = member.text = member.render()
            size += len(text.encode()) + 1
            if size > self._most and texts:
                more = True
                break
            member.told = True
            texts.append(text)
            last = member.number
        listed = ",".join(texts)
        if number:
            draft = self._draft(roster, "diff", f'{{"joins":[{listed}],"changes":[],"leaves":[]}}')
        else:
            whole = "false" if more else "true"
            draft = self._draft(roster, "state", f'{{"members":[{listed}],"complete":{whole}}}')
        return self._publisher.admit(*draft, intercepted=True), last if more else 0

    def _draft(self, roster: Roster, what: str, body: str | bytes) -> tuple[Draft, PublicationKind]:
        headers = ("content-type", "application/json"), ("presence", what)
        octets = body.encode() if isinstance(body, str) else body
        draft = Draft(ToDestination(self._prefix + roster.destination), headers, octets)
        return draft, PublicationKind.PRESENCE

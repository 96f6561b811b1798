"""Deliveries to one subscription: pulled from a log, handed out by a queue, or made for it alone.

Rule: a message for one subscription gets the marks it needs, a delivery in its ledger if it
acknowledges, and an entry in the mailbox, shared with others where it is the same. Readers behind
are moved by `pull`, from `Broker.take_output`, while the mailbox has room.
"""

from __future__ import annotations

from typing import TypeAlias

from stocksync_ws.broker.delivery.mailboxes import Mailboxes
from stocksync_ws.broker.delivery.retention import Retention
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.ledger import Delivery, Ledger
from stocksync_ws.broker.model.post_office import Outgoing
from stocksync_ws.broker.model.publication import Publication
from stocksync_ws.broker.model.queue import Queue
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.subscription import Reader, Subscription
from stocksync_ws.broker.model.topic import Topic

__all__ = ["Readers"]

TOGETHER = 2
"""So many readers behind share what they replay."""
FRESH = 1.0
"""Seconds an entry made for one reader behind is used for others."""
MOST_REPLAYS = 4_096
"""Entries that are kept of a history for those who read it together."""
ROOM = 65_536
"""Bytes a mailbox holds at the most before readers behind wait."""
_REPLAYED = (("replayed", "true"),)

Marks: TypeAlias = tuple[tuple[str, str], ...]
"""Headers of one delivery."""


class Readers:
    """Everything that one subscription gets by itself."""

    __slots__ = ("_counters", "_deliveries", "_limits", "_mailboxes", "_retention", "_step", "room")

    def __init__(self, env: Environment, mailboxes: Mailboxes, retention: Retention) -> None:
        self._limits = env.limits
        self._counters = env.counters
        self._step = env.step
        self._mailboxes = mailboxes
        self._retention = retention
        self._deliveries = 0
        self.room = min(ROOM, env.limits.send_queue // 4)
        """Bytes a mailbox holds before readers behind wait, and consumers are passed over. What is
        pulled like this must not be what makes a session slow.
        """

    def next_place(self) -> int:
        """A place behind all deliveries so far: the order in which an acknowledgement is
        cumulative.
        """
        self._deliveries += 1
        return self._deliveries

    # Behind

    def fall_behind(self, reader: Reader, offset: int) -> None:
        """From this offset on the subscription reads the log itself."""
        session = reader.session
        reader.group.members.pop(session.mailbox, None)
        reader.next = offset
        reader.topic.behind[reader] = None
        if session.subscriptions.behind is None:
            session.subscriptions.behind = {}
        session.subscriptions.behind[reader] = None
        session.mailbox.block()
        session.mailbox.mark()

    def begin_live(self, reader: Reader, offset: int) -> None:
        """A new reader has nothing to read: what comes next, from this offset on, is handed to it.
        As if it had fallen behind and gone live at once, but its mailbox stays open.
        """
        topic = reader.topic
        reader.next = offset
        reader.group.members[reader.session.mailbox] = reader
        if not topic.behind:
            self._retention.trim(topic)

    def go_live(self, reader: Reader) -> None:
        """The reader has read everything: what comes next is handed to it."""
        topic = reader.topic
        topic.behind.pop(reader, None)
        self.stop(reader)
        reader.group.members[reader.session.mailbox] = reader
        if not topic.behind:
            self._retention.trim(topic)

    def hold(self, reader: Reader) -> None:
        """Hand a live reader nothing more of what is published, until it goes live again."""
        reader.group.members.pop(reader.session.mailbox, None)
        reader.session.mailbox.hurry()

    def quit(self, reader: Reader) -> None:
        """Hand a reader nothing more: its session is going to end."""
        self.hold(reader)
        reader.blocked = True
        reader.topic.behind.pop(reader, None)
        self.stop(reader)

    def forget_entries(self, topic: Topic) -> None:
        """Nobody else gets what was made last for readers one by one."""
        for group in topic.groups.values():
            group.cached = None

    def stop(self, reader: Reader) -> None:
        """A reader reads its log no more: it has ended, or goes live."""
        subscriptions = reader.session.subscriptions
        if subscriptions.behind is not None:
            subscriptions.behind.pop(reader, None)
            subscriptions.behind = subscriptions.behind or None
        if len(reader.topic.behind) < TOGETHER:
            reader.topic.replays = None

    def pull(self, session: SessionRecord) -> None:
        """Move the session's readers while its mailbox has room, in turn."""
        room, mailbox, subscriptions = self.room, session.mailbox, session.subscriptions
        moved = True
        while moved and subscriptions.behind is not None and mailbox.queued < room:
            moved = False
            for reader in list(subscriptions.behind):
                if mailbox.queued >= room:
                    return
                moved = self._pull_one(reader) or moved

    def _pull_one(self, reader: Reader) -> bool:
        """One message for one reader; whether there was one."""
        topic, session = reader.topic, reader.session
        if reader.blocked or reader.ended:
            return False
        if reader.next <= topic.log.lost and topic.is_overtaken(reader):
            # Trimmed since this reader was looked at: by a bound of all logs, or by a newcomer.
            self._retention.tell_lost(topic)
        if session in self._step.lost:
            return False
        found = topic.log.read(reader.next)
        snapshot = reader.snapshot
        if snapshot is not None and (found is None or found[0] >= reader.snapshot_at):
            return self._pull_snapshot(reader, snapshot)
        if found is None:
            self._skip_to(reader, topic.log.top + 1)
            # What the next message must tell is told by one that is made for it alone.
            if not reader.dropped and not reader.unrecovered:
                self.go_live(reader)
            return False
        offset, publication = found
        if publication.only is not None and publication.only != session.id:
            reader.next = offset + 1
            return True
        if publication.is_dead(self._step.now):
            self._retention.bury_dead(topic)
            return True
        if topic.passes is not None and not topic.passes(session, publication):
            self._counters.messages_withheld += 1
            self._skip_to(reader, offset)
            topic.is_replayed(reader, offset)  # it counts down
            reader.next = offset + 1
            return True
        if not self._has_room(reader, publication):
            return False
        self._skip_to(reader, offset)
        reader.next = offset + 1
        replayed = topic.is_replayed(reader, offset)
        self.deliver(reader, publication, offset, replayed=replayed)
        return True

    def give_snapshot(self, reader: Reader, snapshot: Publication) -> None:
        """Queue the snapshot of a subscription, or keep it until the history before it is read."""
        if reader.next < reader.snapshot_at:
            reader.snapshot = snapshot
        else:
            self.deliver(reader, snapshot, 0)

    def _pull_snapshot(self, reader: Reader, snapshot: Publication) -> bool:
        """The history before a snapshot is read; whether the window had room for it."""
        if not self._has_room(reader, snapshot):
            return False
        reader.snapshot = None
        self.deliver(reader, snapshot, 0)
        return True

    def _has_room(self, reader: Reader, publication: Publication) -> bool:
        most = self._limits.ack_window_bytes
        return reader.ledger is None or reader.ledger.has_room(publication.size, most)

    def _skip_to(self, reader: Reader, offset: int) -> None:
        """Go on at an offset; newest values that were replaced before it are lost."""
        if offset > reader.next:
            self._retention.lose(reader, reader.topic.superseded(reader, offset), "superseded")
            reader.next = offset

    def opened(self, session: SessionRecord, ledger: Ledger) -> None:
        """A window may have room again: its reader or its queue goes on."""
        if session.subscriptions.behind is not None:
            session.mailbox.mark()
        if ledger.narrow and ledger.idle:
            ledger.set_narrow(False)
        if ledger.subscription is not None:
            ledger.subscription.opened()

    # One message for one subscription

    def deliver(
        self,
        subscription: Subscription,
        publication: Publication,
        offset: int,
        *,
        attempt: int = 1,
        again: bool = False,
        replayed: bool = False,
        origin: Queue | None = None,
    ) -> None:
        """Queue one message for one subscription, with the marks it needs. One that its wire cannot
        carry is lost: it is in no ledger, and takes no place in a window.

        Args:
            offset: Its place in the log of the destination; 0: in none.
            attempt: 1 and the deliveries before it that counted.
            again: It was written before.
            origin: The queue that it leaves when it is handed to the transport.
        """
        mailbox, group = subscription.session.mailbox, subscription.group
        if group.text_only and not publication.text:
            self._lose(subscription)
            return
        tells = subscription.dropped
        again = again or attempt > 1
        marks = self._marks(subscription, attempt if again else 0, replayed=replayed)
        if subscription.ledger is not None:
            delivery = self._enter(subscription, publication, offset, attempt)
            delivery.again = again
            subscription.ledger.add(delivery)
        self._counters.messages_queued += 1
        shared = self._shared(subscription, publication, marks)
        if shared is not None:
            mailbox.append(shared)
            return
        entry = self._mailboxes.entry(publication, group, mailbox, marks)
        entry.reader, entry.attempt, entry.again, entry.tells = group, attempt, again, tells
        entry.origin, entry.offset = origin, offset
        if origin is None and not marks:
            group.cached = entry
        elif marks == _REPLAYED and isinstance(subscription, Reader):
            self._share(subscription, entry, publication.number)
        mailbox.append(entry)

    def _shared(
        self, subscription: Subscription, publication: Publication, marks: Marks
    ) -> Outgoing | None:
        """The entry that was made just now for another one of the group."""
        group = subscription.group
        if not marks:
            entry = group.cached
        elif marks == _REPLAYED and isinstance(subscription, Reader):
            replays = subscription.topic.replays
            entry = None if replays is None else replays.get((group, publication.number))
        else:
            return None
        if entry is None or entry.publication is not publication:
            return None
        # The age of an older one would be taken for slowness of this session.
        return None if self._step.now - entry.at > FRESH else entry

    def _share(self, reader: Reader, entry: Outgoing, number: int) -> None:
        """Keep what was replayed to one for others that read the same."""
        topic = reader.topic
        if len(topic.behind) < TOGETHER:
            return
        if topic.replays is None or len(topic.replays) >= MOST_REPLAYS:
            topic.replays = {}
        topic.replays[reader.group, number] = entry

    def _lose(self, subscription: Subscription) -> None:
        """Its wire carries text only, and a message for it was none. A live one falls behind: what
        it is to be told next is told by a message that is made for it alone.
        """
        self._retention.lose(subscription, 1, "binary")
        reader = subscription.group.members.get(subscription.session.mailbox)
        if reader is not None:
            self.fall_behind(reader, reader.topic.log.top + 1)

    def _enter(
        self, subscription: Subscription, publication: Publication, offset: int, attempt: int
    ) -> Delivery:
        """A delivery that will have to be acknowledged."""
        session, now = subscription.session, self._step.now
        at = session.clocks.listened(now)
        delivery = Delivery(subscription.home, publication, offset, attempt, at, subscription)
        delivery.place = self.next_place()
        if delivery.timeout is not None:
            self._step.sooner(session, now + delivery.timeout)
        return delivery

    def _marks(self, subscription: Subscription, attempt: int, *, replayed: bool) -> Marks:
        """Marks of one delivery; `attempt` is 0 where it was never written before."""
        marks: list[tuple[str, str]] = []
        if attempt:
            marks += [("redelivered", "true"), ("delivery-attempt", str(attempt))]
        if replayed:
            marks.append(("replayed", "true"))
        if subscription.unrecovered:
            subscription.unrecovered = False
            marks.append(("recovered", "false"))
        if subscription.dropped:
            marks.append(("dropped", str(subscription.dropped)))
            subscription.dropped = 0
        return tuple(marks)

    # Slow consumers

    def shed(self, session: SessionRecord) -> bool:
        """Let a slow consumer lose its oldest messages, where the policy says so; told by `dropped`
        on the next one. Whether it is within its bound now.
        """
        mailbox = session.mailbox
        later = {reader: reader.dropped for reader in session.subscriptions.behind or ()}
        for reader, count in mailbox.shed().items():
            self._retention.lose(reader, count, "slow-consumer")
            self._tell_next(reader, later.get(reader))
        return mailbox.load <= self._limits.send_queue

    def _tell_next(self, reader: Reader, later: int | None) -> None:
        """Its next message says what it lost, and so is made for this subscription alone.

        Args:
            later: What it lost behind all that lies in the mailbox; None: it is live.
        """
        mailbox, group = reader.session.mailbox, reader.group
        shared = mailbox.first(group)
        if shared is None:
            if later is None:
                self.fall_behind(reader, reader.topic.log.top + 1)
            return
        publication = shared.publication
        assert publication is not None
        tells = reader.dropped = reader.dropped + shared.tells - (later or 0)
        marks = self._marks(reader, 0, replayed=False)
        entry = self._mailboxes.entry(publication, group, mailbox, marks)
        entry.group, entry.tells, entry.offset = group, tells, shared.offset
        entry.at = shared.at
        reader.dropped = later or 0
        mailbox.replace(shared, entry)

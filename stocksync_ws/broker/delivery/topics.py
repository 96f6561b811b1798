"""Topics: fan-out to the live, the log for those behind, and what becomes of deliveries.

Rule: a publication is one atomic step. Live subscriptions get a shared entry; a live one that
cannot take it (its window is full) falls behind and finds it in the log. What comes back from a
subscription goes to that subscription again; when it has ended, only to the durable name it held.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from heapq import heapify, heappop, heappush

from stocksync_ws.broker.delivery.durables import Durables
from stocksync_ws.broker.delivery.mailboxes import Mailboxes
from stocksync_ws.broker.delivery.queues import QueueFull
from stocksync_ws.broker.delivery.readers import Readers
from stocksync_ws.broker.delivery.registry import Registry
from stocksync_ws.broker.delivery.retention import Retention
from stocksync_ws.broker.model.destination import Group, Passes
from stocksync_ws.broker.model.durable import Durable
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.ledger import Delivery, Ledger
from stocksync_ws.broker.model.mailbox import Mailbox
from stocksync_ws.broker.model.owner import Owner
from stocksync_ws.broker.model.publication import Publication
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.subscription import Reader, Subscription
from stocksync_ws.broker.model.topic import Topic
from stocksync_ws.position import Position

__all__ = ["Topics"]


class Topics:
    """Everything about destinations that fan out."""

    __slots__ = (
        "_counters",
        "_durables",
        "_limits",
        "_mailboxes",
        "_readers",
        "_registry",
        "_retention",
        "_returns",
        "_step",
    )

    def __init__(
        self,
        env: Environment,
        registry: Registry,
        mailboxes: Mailboxes,
        retention: Retention,
        readers: Readers,
        durables: Durables,
    ) -> None:
        self._limits = env.limits
        self._counters = env.counters
        self._step = env.step
        self._registry = registry
        self._mailboxes = mailboxes
        self._retention = retention
        self._readers = readers
        self._durables = durables
        self._returns = 0

    # Publishing

    def publish(
        self,
        topic: Topic,
        publication: Publication,
        position: Position | None,
        reserved: bool = False,
    ) -> int:
        """Hand a publication to everybody; the subscriptions it will reach. What came before, by
        the position that somebody else gave it, reaches nobody a second time.

        Raises:
            QueueFull: Its owner holds as much as it may, and nothing of that is in this topic.
        """
        if not topic.keeps:
            offset = topic.log.skip()
            receivers = self._push(topic, publication, offset)
            if topic.behind:  # nobody was, so these are some that cannot get it
                receivers -= self._pass_over(topic, topic.behind, publication, offset)
            return receivers
        if not topic.has_history:
            position = None  # what is kept here for a moment has offsets of its own
        else:
            if position is not None:
                if position.epoch != topic.log.epoch:
                    raise ValueError(f"the history {topic.log.message_id(0)} is not {position}")
                if position.offset <= topic.log.top:
                    return 0
        owner = publication.owner
        if owner is not None and not reserved and not owner.may_store(publication.size):
            more = publication.size - topic.replaced(publication)
            if refusal := self.over_share(topic, owner, more):
                raise QueueFull(refusal)
        if topic.has_history:
            self._registry.touch(topic, used=True)
            self._registry.make_room(publication.size)
        offset = self._keep(topic, publication, position)
        receivers = len(topic.behind)
        if topic.pushes:
            receivers += self._push(topic, publication, offset)
        else:
            # Newest values are always read from the log: what is superseded is never queued.
            receivers += sum(
                self._fall_behind(each.members, offset) for each in topic.groups.values()
            )
        if topic.behind and not publication.text:
            receivers -= self._pass_over(topic, topic.behind, publication, offset)
        for reader in topic.behind:
            reader.session.mailbox.mark()
        self._retention.trim(topic)
        return receivers

    def over_share(self, topic: Topic, owner: Owner, more: int, *, one: bool = True) -> str:
        """Whether an owner may not have so many bytes more in a topic: what a refusal says, or
        nothing. Its own oldest messages there give way first.
        """
        if not topic.stores:
            return ""
        refusal = owner.refusal("stored", more, one=one)
        if refusal:
            while refusal and topic.give_way(owner):
                refusal = owner.refusal("stored", more, one=one)
            self._retention.trim(topic)
        return refusal

    def _keep(self, topic: Topic, publication: Publication, position: Position | None) -> int:
        """Append a publication to the log of a topic; its offset."""
        offset = topic.keep(publication, self._limits, position.offset if position else None)
        if publication.expires_at is not None:
            self._step.sooner(topic, publication.expires_at)
        if topic.has_history:
            publication.message_id = topic.log.message_id(offset)
        return offset

    def _push(self, topic: Topic, publication: Publication, offset: int) -> int:
        receivers = 0
        alone = self._step.alone and len(topic.groups) == 1
        for group in topic.groups.values():
            members = group.members
            if topic.passes is not None:
                members = self._passed(topic.passes, members, publication)
            if not members:
                continue
            if group.text_only and not publication.text:
                receivers += self._fall_behind(members, offset)
            elif group.acked:
                receivers += self._to_acked(topic, group, publication, offset, members)
            else:
                entry = self._mailboxes.entry(publication, group, next(iter(members)))
                entry.group, entry.offset = group, offset
                self._mailboxes.spread(entry, members, topic.window, alone)
                receivers += len(members)
        return receivers

    def _passed(
        self, passes: Passes, members: Mapping[Mailbox, Reader], publication: Publication
    ) -> dict[Mailbox, Reader]:
        """The members of a group from whom the filter does not withhold a publication."""
        passed = {
            mailbox: reader
            for mailbox, reader in members.items()
            if passes(reader.session, publication)
        }
        self._counters.messages_withheld += len(members) - len(passed)
        return passed

    def publish_to(self, topic: Topic, session: SessionRecord, publication: Publication) -> int:
        """To one session only, in its place among what is for all. It is in the log only while that
        session has to read it from there; the others skip it.
        """
        if topic.passes is not None and not topic.passes(session, publication):
            self._counters.messages_withheld += 1
            return 0
        most = self._limits.ack_window_bytes
        groups = topic.groups.values()
        members = [group.members.get(session.mailbox) for group in groups]
        live = [reader for reader in members if reader is not None]
        behind = [each for each in session.subscriptions.behind or () if each.topic is topic]
        full = [
            each
            for each in live
            if each.ledger is not None and not each.ledger.has_room(publication.size, most)
        ]
        offset = topic.log.append(publication) if behind or full else topic.log.skip()
        for reader in live:
            if reader in full:
                self._readers.fall_behind(reader, offset)
            else:
                self._readers.deliver(reader, publication, offset)
        if behind:
            session.mailbox.mark()
        receivers = len(behind) + len(live)
        if not publication.text:
            receivers -= self._pass_over(topic, [*behind, *live], publication, offset)
        self._retention.trim(topic)
        return receivers

    def _to_acked(
        self,
        topic: Topic,
        group: Group,
        publication: Publication,
        offset: int,
        members: Mapping[Mailbox, Reader],
    ) -> int:
        """Live acknowledging subscriptions: one shared entry, and one shared delivery in each
        ledger.
        """
        reached = len(members)
        timeout, now = topic.policy.ack_timeout, self._step.now
        by = None if timeout is None else now + timeout
        delivery = Delivery(topic, publication, offset, 1, now)
        delivery.place = self._readers.next_place()
        most = self._limits.ack_window_bytes
        for reader in Ledger.hand_out(members, delivery, most, self._step, by):
            self._readers.fall_behind(reader, offset)
        if members is not group.members:
            members = {mailbox: members[mailbox] for mailbox in members if mailbox in group.members}
        if members:
            entry = self._mailboxes.entry(publication, group, next(iter(members)))
            entry.reader, entry.offset = group, offset
            self._mailboxes.spread(entry, members, topic.window)
        return reached

    def _fall_behind(self, members: Mapping[Mailbox, Reader], offset: int) -> int:
        """Live subscriptions of a group go on by themselves; the number of them."""
        live = list(members.values())
        for reader in live:
            self._readers.fall_behind(reader, offset)
        return len(live)

    def _pass_over(
        self, topic: Topic, readers: Iterable[Reader], publication: Publication, offset: int
    ) -> int:
        """Readers behind that will not get the newest message, which is no text: the number of
        them. Who has read everything before it has lost it now, the others when they come there.
        """
        passes = topic.passes
        lost = [
            each
            for each in readers
            if each.group.text_only and (passes is None or passes(each.session, publication))
        ]
        for each in lost:
            if each.next == offset and not each.blocked and each.snapshot is None:
                self._retention.lose(each, 1, "binary")
                each.next = offset + 1
        if lost:
            # They may stay behind for long, and must not keep what nobody will read.
            topic.forget_read()
        return len(lost)

    # Ends, and time

    def leave(self, reader: Reader) -> None:
        """A subscription ends; a durable name of it stays."""
        if reader.ledger is not None:
            reader.ledger.leave()
        self._durables.leave(reader)
        reader.ended = True
        reader.topic.leave(reader)
        self._readers.stop(reader)
        self._retention.trim(reader.topic)
        self._registry.release_topic(reader.topic)

    def wake(self, topic: Topic, now: float) -> None:
        """The deadline of a topic came."""
        self._step.wake(now, self._age, topic)

    def _age(self, topic: Topic) -> None:
        """Messages expire, a history shortens, names are forgotten."""
        for durable in self._durables.expire(topic):
            self._forget_name(durable)
        self._retention.bury_dead(topic)
        self._retention.trim(topic)
        times = [
            topic.next_aging(self._step.now),
            self._durables.expire_at(topic),
            topic.log.next_expiry(),
        ]
        self._step.rearm(topic, min([at for at in times if at is not None], default=None))
        self._registry.release_topic(topic)

    def _forget_name(self, durable: Durable) -> None:
        """A name was away for too long: what was kept for it is lost."""
        log = durable.topic.log
        lost = max(0, log.lost + 1 - durable.next) + log.count_from(durable.next)
        if lost:
            self._retention.note_loss(durable.destination, lost, "away-too-long")
        self._counters.messages_unsettled += len(durable.returned)

    # What becomes of a delivery

    def reject(self, delivery: Delivery) -> None:
        """A delivery was refused for good: a dead letter."""
        self._bury(delivery, "rejected")

    def _bury(self, delivery: Delivery, reason: str) -> None:
        self._step.bury(delivery.home.policy, delivery.publication, delivery.attempt, reason)

    def give_back(self, delivery: Delivery, ledger: Ledger, pause: float) -> None:
        """NACK or timeout: once more, unless it was the last time."""
        subscription = delivery.subscription
        alive = subscription is not None and not subscription.ended
        if not alive and _name(delivery) is None:
            self._counters.messages_unsettled += 1
        elif delivery.attempt >= delivery.home.policy.max_deliveries:
            self._bury(delivery, "attempts")
        elif alive:
            assert subscription is not None
            self._again_after(pause, subscription.session, ledger, delivery)
        else:
            self._return_to_name(delivery)

    def lose(self, delivery: Delivery) -> int:
        """The session of a delivery has ended: only a durable name gets it again; 1 if there is
        none. Losses alone bury nothing: see `Queues.lose`.
        """
        if _name(delivery) is None:
            return 1
        if delivery.alone:
            self._bury(delivery, "attempts")
            return 0
        return self._return_to_name(delivery)

    def _again_after(
        self, pause: float, session: SessionRecord, ledger: Ledger, delivery: Delivery
    ) -> None:
        subscriptions = session.subscriptions
        if subscriptions.retries is None:
            subscriptions.retries = []
        ledger.hold(delivery)
        self._returns += 1
        due = self._step.now + pause
        number = delivery.publication.number
        heappush(subscriptions.retries, (due, number, self._returns, delivery))
        if pause:
            self._step.sooner(session, due)
        else:
            self.retry(session)

    def retry(self, session: SessionRecord) -> None:
        """Deliver again what is due."""
        retries, now = session.subscriptions.retries, self._step.now
        while retries and retries[0][0] <= now:
            _, _, _, delivery = heappop(retries)
            subscription = delivery.subscription
            assert subscription is not None
            ledger = subscription.ledger
            assert ledger is not None
            ledger.unhold(delivery)
            if subscription.ended:
                self._counters.messages_unsettled += self._return_to_name(delivery)
                self._readers.opened(session, ledger)
            elif not self._deliver_again(subscription, delivery):
                self._readers.opened(session, ledger)
        if not retries:
            session.subscriptions.retries = None

    def _deliver_again(self, subscription: Subscription, delivery: Delivery) -> bool:
        """Once more, unless meanwhile it has died, or a newer value took its place."""
        publication, offset = delivery.publication, delivery.offset
        topic = subscription.home
        assert isinstance(topic, Topic)
        if publication.is_dead(self._step.now):
            self._bury(delivery, "expired")
            return False
        if topic.is_superseded(offset):
            self._retention.note_loss(subscription.destination, 1, "superseded")
            return False
        if topic.passes is not None and not topic.passes(subscription.session, publication):
            self._counters.messages_withheld += 1
            return False
        attempt, again = delivery.attempt + 1, delivery.again
        self._readers.deliver(subscription, publication, offset, attempt=attempt, again=again)
        return True

    # Durable names

    def _return_to_name(self, delivery: Delivery) -> int:
        """What a durable name had out comes back to it; 1 when there is no such name any more."""
        durable = _name(delivery)
        if durable is None:
            return 1
        holder = durable.holder
        if holder is None or holder.blocked:
            durable.returned.append(delivery)
        else:
            self.give_again(holder, [delivery])
        return 0

    def give_again(self, reader: Reader, returned: Iterable[Delivery]) -> None:
        """The holder of a durable name gets what came back to it. One that must go by itself waits
        until everything is settled, and what stands behind it until it is settled itself.
        """
        ledger, waiting = reader.ledger, sorted(returned, key=_by_number)
        for place, each in enumerate(waiting):
            if ledger is not None and not ledger.idle:
                alone = each.attempt >= each.home.policy.max_deliveries
                if alone or ledger.narrow:
                    assert reader.durable is not None
                    reader.durable.returned += waiting[place:]
                    ledger.set_narrow(True)
                    return
            self._deliver_again(reader, each)

    def opened(self, reader: Reader, durable: Durable) -> None:
        """A window has room: what waits for that comes before anything newer."""
        returned, durable.returned = durable.returned, []
        self.give_again(reader, returned)

    def take_back(self, reader: Reader) -> list[Delivery]:
        """Another session takes a durable name over: what its first holder has not settled."""
        ledger, subscriptions = reader.ledger, reader.session.subscriptions
        if ledger is None:
            return []
        out = [each for each in ledger if each.subscription is reader]
        for delivery in out:
            ledger.remove(delivery.publication.number)
        taken = [each.lost(counts=False) for each in out]
        retries = subscriptions.retries or []
        for item in list(retries):
            if item[3].subscription is reader:
                retries.remove(item)
                ledger.unhold(item[3])
                taken.append(item[3])
        heapify(retries)
        subscriptions.retries = retries or None
        return [each for each in taken if each.offset]


def _name(delivery: Delivery) -> Durable | None:
    """The durable name it was delivered for, if that is still there; None for a snapshot, which is
    for its own subscription only.
    """
    durable = delivery.subscription.durable if delivery.subscription is not None else None
    return None if durable is None or durable.gone or not delivery.offset else durable


def _by_number(delivery: Delivery) -> int:
    return delivery.publication.number

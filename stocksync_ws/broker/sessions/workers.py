"""What this worker shares with others by way of an engine: topics, and the destinations of users.

Rule: a publication that is shared is submitted here, and is delivered when the engine pushes it, at
every worker and at this one too, so that all have one order. Nothing here waits: who has to is told
at the end of a step. A destination is followed from its first SUBSCRIBE on, and for a while after
the last one has ended. Where what subscribers were given is no beginning of what the engine has,
they are told: by `recovered:false` or `dropped` on their next message, or by a close.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from stocksync_ws.backplane import (
    AppendOutcome,
    Backplane,
    BackplaneEvent,
    History,
    Item,
    Keep,
)
from stocksync_ws.broker.calls.events import BackplaneAvailability, BackplaneReset
from stocksync_ws.broker.calls.listeners import Listeners
from stocksync_ws.broker.delivery.mirrors import Mirrors, Receiver, Reset, State
from stocksync_ws.broker.delivery.room import Delivery
from stocksync_ws.broker.model.attaching import Attaching
from stocksync_ws.broker.model.channels import channel_of, destination_in, keep_of
from stocksync_ws.broker.model.destination import Address, address_of
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.flight import Done, Settlement
from stocksync_ws.broker.model.latest_topic import LatestTopic
from stocksync_ws.broker.model.namespace import MOST_FOUND, is_reply_queue, worker_of
from stocksync_ws.broker.model.payload import Payloads
from stocksync_ws.broker.model.pipeline import Join
from stocksync_ws.broker.model.publication import (
    Draft,
    Publication,
    PublicationKind,
    expiry,
)
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.subscription import Reader
from stocksync_ws.broker.model.topic import Topic
from stocksync_ws.policies import Latest, Queue, Stream, TopicPolicy
from stocksync_ws.position import Position
from stocksync_ws.types import Target, ToDestination, ToSession, ToUser

__all__ = ["Workers"]

MOST_UNREAD = 10_000
"""Channels that nobody reads, about, which may be followed for a while."""


class Workers:
    """This worker, among those that share an engine.

    Args:
        backplane: The engine.
    """

    def __init__(
        self, env: Environment, delivery: Delivery, listeners: Listeners, backplane: Backplane
    ) -> None:
        self._settings = backplane.config
        self._partition = backplane.partition
        self._name = env.worker
        self.living: set[str] | None = None
        """The workers that live, this one too; None: that is not known yet."""
        self._counters = env.counters
        self._limits = env.limits
        self._step = env.step
        self._wall = env.wall
        self._numbers = env.numbers
        self._user_prefix = env.config.user_prefix
        self._destinations = delivery.destinations
        self._publishing = delivery.publishing
        self._readers = delivery.readers
        self._retention = delivery.retention
        self._topics = delivery.registry.topics
        self._listeners = listeners
        commands, settle = env.step.outputs.engine, env.step.settle
        self._mirrors = Mirrors(self._settings, commands, self, settle, env.counters)
        self._addresses: dict[str, Address] = {}
        """The destinations of the channels that are followed."""
        self._waiting = Attaching()
        self._payloads = Payloads()
        self._known: dict[Address, tuple[str, Keep]] = {}
        """Channels of destinations whose messages are all kept alike, those used last."""
        self._unread: dict[str, float] = {}
        """Channels that nobody here is subscribed to, and since when."""
        self._survivors: dict[str, list[Reader]] = {}
        """Readers that were told of a reset, and go on."""
        self._lost: dict[SessionRecord, None] = {}
        self._since = env.step.now
        self.down_since: float | None = env.step.now
        """Since when the engine is gone; None: it is there."""
        self.trouble = ""
        """Why it is gone, as its link has said last."""
        self._most = MOST_UNREAD
        """Channels beyond which those that nobody reads are left at once."""
        self._sweep_at = 0.0
        self.deadline: float | None = None
        self.armed = 0
        self.armed_at = 0.0

    def start(self) -> None:
        """The broker takes messages."""
        self._since = self.down_since = self._step.now

    def halt(self) -> None:
        """The end: nobody waits for the engine any more."""
        self._mirrors.expire(math.inf)

    @property
    def in_flight(self) -> int:
        """Publications that the engine has not answered."""
        return self._mirrors.in_flight

    # Publishing

    def shares(self, target: Target) -> bool:
        """A message to this target goes to all workers."""
        if isinstance(target, ToSession):
            return False
        return not isinstance(target, ToDestination) or self.shares_destination(target.destination)

    def shares_destination(self, destination: str) -> bool:
        """A message to everybody who is subscribed to a destination goes to all workers."""
        if destination in self._known:
            return True
        if is_reply_queue(destination):
            return self._is_elsewhere(worker_of(destination))
        policy = self._destinations.policy(destination)
        return not isinstance(policy, Queue) and not policy.local

    def _is_elsewhere(self, worker: str) -> bool:
        """Another worker lives, as far as is known: nobody fills the engine with answers to workers
        that were never there.
        """
        if worker in ("", self._name):
            return False
        return self.living is None or worker in self.living

    def partition_of(self, target: Target) -> int:
        """Messages to targets of one partition can be sent in one step."""
        return self._partition(channel_of(address_of(target)))

    def submit(
        self,
        drafts: Sequence[Draft],
        done: Done,
        kind: PublicationKind = PublicationKind.MESSAGE,
        *,
        key: str = "",
        digest: str = "",
    ) -> str:
        """Send messages, which the interceptors have seen, to all workers: all of them in one step,
        or none.

        Returns:
            Why that cannot be, and then nothing has happened; empty: `done` will be told.
        """
        if len(drafts) == 1:
            items: tuple[Item, ...] = (self._item(drafts[0], kind),)
        else:
            items = tuple([self._item(each, kind) for each in drafts])
        return self.append(items, done, key=key, digest=digest)

    def count(self, drafts: Sequence[Draft], settlement: Settlement) -> None:
        """Count messages that were submitted here, now that they are settled: once in all workers,
        where they were sent.
        """
        if settlement.positions and settlement.outcome is not AppendOutcome.DUPLICATE:
            counters = self._counters
            counters.messages_published += len(drafts)
            if not settlement.workers:
                for each in drafts:
                    counters.messages_unrouted += self._reaches_nobody(address_of(each.target))

    def _reaches_nobody(self, address: Address) -> bool:
        """A message that no other worker was told of is for nobody here either, and is not kept."""
        topic = self._topics.get(address)
        if topic is None:
            return not self._is_kept(address)
        return not topic.groups

    # What the workers tell each other

    def attend(self, channel: str, receiver: Receiver) -> None:
        """Follow a channel that is of no destination, for as long as this worker lives."""
        self._mirrors.follow(channel, keeps=True, receiver=receiver)

    def is_live(self, channel: str) -> bool:
        """Messages that are pushed to a channel come now."""
        mirror = self._mirrors.find(channel)
        return self._mirrors.up and mirror is not None and mirror.state is State.LIVE

    def append(
        self, items: tuple[Item, ...], done: Done, *, key: str = "", digest: str = ""
    ) -> str:
        """Send messages to their channels: all of them in one step, or none.

        Returns:
            Why that cannot be, and then nothing has happened; empty: `done` will be told.
        """
        now = self._step.now
        problem = self._mirrors.append(items, now, done, key=key, digest=digest)
        if self._mirrors.in_flight == 1 and (by := self._mirrors.deadline) is not None:
            self._step.sooner(self, by)  # what waits behind another one waits longer
        return problem

    # What is sent

    def _item(self, draft: Draft, kind: PublicationKind) -> Item:
        address, now = address_of(draft.target), self._wall()
        known = self._known.get(address)
        if known is not None:
            return Item(known[0], self._payloads.pack(draft, kind, now), known[1])
        to = destination_in(address)
        payload = self._payloads.pack(draft, kind, now, to)
        policy, named = self._destinations.policy(address), self._named(address)
        most = self._limits.max_keys
        keep = keep_of(policy, draft.headers, named, self._settings, most)
        channel = channel_of(address)
        if not to and keep.slot is None:
            if len(self._known) >= MOST_FOUND:
                self._known.clear()
            self._known[address] = channel, keep
        return Item(channel, payload, keep)

    # Subscribing

    def follow(self, address: Address) -> bool:
        """Follow a destination; whether it may be subscribed to at once. Else a script waits by
        `wait`.
        """
        channel = channel_of(address)
        mirror = self._mirrors.find(channel)
        policy = self._destinations.policy(address)
        assert isinstance(policy, TopicPolicy)
        keeps = isinstance(policy, (Stream, Latest))
        if mirror is not None and keeps and mirror.known and address not in self._topics:
            self._mirrors.leave(channel)  # its history has given way to others
            mirror = None
        self._unread.pop(channel, None)
        if mirror is None:
            if len(self._addresses) >= self._most:
                self._sweep(self._step.now, 0.0)
            self._addresses[channel] = address
            mirror = self._mirrors.follow(channel, keeps=keeps)
        return mirror.known

    def wait(self, address: Address) -> Join:
        """Wait until a destination is followed, at most `BackplaneSettings.subscribe_timeout`;
        whether it is.
        """
        until = self._step.now + self._settings.subscribe_timeout
        tasks = self._waiting.add(channel_of(address), until)
        self._rearm()
        return Join(tasks)

    # What the engine tells

    def receive(self, events: Sequence[BackplaneEvent]) -> None:
        """Take events of the engine, in their order. They only move the first deadline later: a
        wake that comes too early sets it anew.
        """
        for event in events:
            self._mirrors.receive(event)

    def available(self, up: bool, why: str) -> None:
        """The engine is there, or gone, and why."""
        now = self._step.now
        self.trouble = why
        if up is (self.down_since is None):
            return
        self._counters.backplane_connections += up
        self.down_since = None if up else now
        duration, self._since = now - self._since, now
        self._listeners.tell(BackplaneAvailability(available=up, duration=duration))

    def begin(self, channel: str, history: History) -> None:
        """The history of a channel follows."""
        address = self._addresses[channel]
        if self._is_kept(address):
            topic = self._destinations.open_topic(address)
            topic.log.adopt(history.top.epoch, history.begins, history.lost)
            topic.told = 0
            if isinstance(topic, LatestTopic):
                topic.keys.clear()
        for reader in self._survivors.pop(channel, ()):
            reader.replay_to = reader.held_to = reader.replay_left = reader.snapshot_at = 0
            self._readers.fall_behind(reader, reader.topic.log.top + 1)

    def continues(self, channel: str, history: History) -> None:
        """Another run of the engine goes on with what was applied."""
        topic = self._topics.get(self._addresses[channel])
        if topic is not None and topic.has_history:
            topic.log.begins = history.begins

    def apply(self, channel: str, position: Position, payload: bytes) -> None:
        """Deliver the next message of a channel."""
        address = self._addresses[channel]
        if address not in self._topics and self._is_kept(address):
            return  # its history has given way to others: who subscribes next, reads it again
        publication = self.read(address, position, payload)
        if publication is not None and not self.has_expired(publication):
            self._publishing.publish_local(publication, position)
        elif self._is_kept(address):
            self._pass_over(self._topics[address], publication, position)

    def _pass_over(self, topic: Topic, publication: Publication | None, position: Position) -> None:
        """A message that nobody gets here may have been delivered by another worker: its message id
        names a place in this history, and it has taken the place of an older value.
        """
        if publication is None:
            topic.log.skip(position.offset)
        else:
            topic.keep(publication, self._limits, position.offset)
            topic.take_expired(self._step.now)

    def has_expired(self, publication: Publication) -> bool:
        """A message has died on its way, which is told."""
        expired = publication.is_dead(self._step.now)
        if expired:
            self.drop(publication.destination, "expired")
        return expired

    def read(
        self, address: Address | None, position: Position, payload: bytes
    ) -> Publication | None:
        """A message that a worker has put into a channel; None: it is none of this version of the
        library, which is told.

        Args:
            address: Where it goes; None: the message names that itself.
        """
        found = self._payloads.unpack(payload)
        if found is None:
            self.drop("" if address is None else self._named(address), "unreadable")
            return None
        (kind, headers, to), sent, body = found
        address = to if address is None else address
        target = ToDestination(address) if isinstance(address, str) else ToUser(*address)
        draft = Draft(target, headers, body)
        destination, now = self._named(address), self._step.now
        publication = Publication(next(self._numbers), str(position), destination, draft, now, kind)
        if (age := self._wall() - sent) > 0.0:
            publication.at = now - age
        if kind is PublicationKind.MESSAGE:
            publication.expires_at = expiry(publication, now, self._wall)
        return publication

    def drop(self, destination: str, reason: str) -> None:
        """Count and tell a message of the engine that reaches nobody here."""
        self._step.tell_dropped(destination, reason, 1)
        self._counters.messages_dropped += 1

    def _named(self, address: Address) -> str:
        """A destination as its receivers see it."""
        return address if isinstance(address, str) else self._user_prefix + address[1]

    def _is_kept(self, address: Address) -> bool:
        return isinstance(self._destinations.policy(address), (Stream, Latest))

    def attached(self, channel: str) -> None:
        """Whoever waits for a channel is subscribed."""
        for task in self._waiting.take(channel):
            self._step.joined(task, True)

    def reset(self, channel: str, why: Reset) -> None:
        """Tell whoever is subscribed that messages are missing."""
        topic = self._topics.get(self._addresses[channel])
        self._counters.backplane_resets += 1
        if topic is None:
            return
        named = self._named(topic.address)
        self._listeners.tell(BackplaneReset(destination=named, reason=why.value))
        for reader in _readers(topic):
            if (reader.session.survives_resets or topic.drops) and not _is_owed(reader):
                reader.unrecovered = True
                self._survivors.setdefault(channel, []).append(reader)
            else:
                self._readers.quit(reader)
                self._lost[reader.session] = None

    def take_lost(self) -> list[SessionRecord]:
        """Sessions that were reading what is gone, and that are told by a close."""
        lost = [*self._lost]
        self._lost.clear()
        return lost

    @property
    def outage_at(self) -> float | None:
        """When the engine has been away for too long; None: it is there, or nobody minds."""
        most = self._settings.max_outage
        return None if most is None or self.down_since is None else self.down_since + most

    # Time

    def wake(self, now: float) -> None:
        """Something has waited too long, or nobody reads a channel."""
        self._step.wake(now, self._act)

    def _act(self) -> None:
        now = self._step.now
        self._mirrors.expire(now)
        for task in self._waiting.take_late(now):
            self._step.joined(task, False)
        if self._sweep_at <= now:
            self._sweep(now, self._settings.linger)
        self._rearm()

    def _sweep(self, now: float, linger: float) -> None:
        """Channels that nobody reads are followed for a while: who comes back has not to wait."""
        self._sweep_at = now + self._settings.linger
        for channel, address in list(self._addresses.items()):
            topic = self._topics.get(address)
            if (topic is not None and topic.pinned) or channel in self._waiting:
                self._unread.pop(channel, None)
            elif now - self._unread.setdefault(channel, now) >= linger:
                del self._unread[channel], self._addresses[channel]
                self._mirrors.leave(channel)
        self._most = len(self._addresses) + MOST_UNREAD

    def _rearm(self) -> None:
        sweep_at = self._sweep_at if self._addresses else None
        times = [self._mirrors.deadline, sweep_at, self._waiting.until()]
        self._step.rearm(self, min((each for each in times if each is not None), default=None))


def _is_owed(reader: Reader) -> bool:
    """A message for its session alone waits to be read: an answer that nobody gives twice."""
    topic, session = reader.topic, reader.session
    if topic.has_history or reader not in topic.behind:
        return False
    return any(at >= reader.next and each.only == session.id for at, each in topic.log)


def _readers(topic: Topic) -> list[Reader]:
    """Everybody who is subscribed to a topic."""
    live = [reader for group in topic.groups.values() for reader in group.members.values()]
    return [*topic.behind, *live]

"""The atomic step of a publication: every subscription that is active now has it queued.

Rule: what stands before this step (admission, interceptors, authorization) has happened once; what
is done here cannot wait and asks nobody. A backplane between several workers stands before it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from stocksync_ws.broker.delivery.destinations import Destinations
from stocksync_ws.broker.delivery.queues import QueueFull, Queues
from stocksync_ws.broker.delivery.registry import Registry
from stocksync_ws.broker.delivery.topics import Topics
from stocksync_ws.broker.model.destination import Address, address_of
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.owner import Owner
from stocksync_ws.broker.model.publication import Draft, Publication
from stocksync_ws.broker.model.queue import Queue
from stocksync_ws.broker.model.state import CONNECTED
from stocksync_ws.broker.model.topic import Topic
from stocksync_ws.position import Position
from stocksync_ws.types import ToSession

__all__ = ["Publishing"]


class Publishing:
    """Hands admitted publications to the destinations of this process."""

    __slots__ = (
        "_counters",
        "_destinations",
        "_limits",
        "_queues",
        "_registry",
        "_sessions",
        "_step",
        "_topics",
    )

    def __init__(
        self,
        env: Environment,
        registry: Registry,
        destinations: Destinations,
        topics: Topics,
        queues: Queues,
    ) -> None:
        self._counters = env.counters
        self._limits = env.limits
        self._sessions = env.sessions
        self._step = env.step
        self._registry = registry
        self._destinations = destinations
        self._topics = topics
        self._queues = queues

    def publish_local(
        self,
        publication: Publication,
        position: Position | None = None,
        reserved: bool = False,
        ours: bool = True,
    ) -> int:
        """Queue a publication for its receivers; how many there are.

        Args:
            position: Its place in the history of its destination, where somebody else orders the
                publications of several workers; None: the next one here.
            reserved: `has_room` and `over_share` were asked in this step; it is taken.
            ours: It is counted here; else where it was published.

        Raises:
            QueueFull: It was not taken.
            ValueError: The position is one of another history than that of the destination.
        """
        target = publication.target
        receivers, kept = 0, False
        if isinstance(target, ToSession):
            receivers = self._to_session(target, publication)
        elif publication.is_dead(self._step.now):
            kept = True
            policy = self._destinations.policy(address_of(target))
            self._step.bury(policy, publication, 0, "expired")
        else:
            address = address_of(target)
            destination = self._registry.find(address)
            if destination is None:
                destination = self._make(address, publication.owner)
            if destination is not None:
                receivers = destination.publish(publication, position, reserved)
                kept = receivers > 0 or len(destination.log) > 0
        if position is None:
            self._counters.messages_published += ours
            self._counters.messages_unrouted += not receivers and not kept
        return receivers

    def _make(self, address: Address, owner: Owner | None) -> Topic | Queue | None:
        """Make where the first message to a destination goes.

        Raises:
            QueueFull: There are as many destinations of its kind as there may be.
        """
        try:
            return self._destinations.make(address, owner)
        except OverflowError as full:
            raise QueueFull(str(full)) from None

    def _to_session(self, target: ToSession, publication: Publication) -> int:
        """To one session, if it is there."""
        session = self._sessions.get(target.session_id)
        if session is None or session.state is not CONNECTED:
            return 0
        topic = self._registry.topics.get((session.owner, target.path))
        return 0 if topic is None else self._topics.publish_to(topic, session, publication)

    def has_room(self, drafts: Iterable[Draft]) -> bool:
        """Whether the queues can take all of these: what a transaction asks before its step. What a
        requester does not fetch from its reply queue is dropped, and refuses nobody.
        """
        waiting: dict[str, list[int]] = {}
        for draft in drafts:
            address = address_of(draft.target)
            if isinstance(address, str) and self._destinations.is_queue(address):
                waiting.setdefault(address, []).append(draft.size)
        queues = self._registry.queues
        new = sum(address not in queues for address in waiting)
        if new and len(queues) + new > self._limits.max_queues:
            return False
        if not self._registry.make_room(sum(map(sum, waiting.values()))):
            return False
        return all(
            self._queues.has_room(queues.get(address), sizes) for address, sizes in waiting.items()
        )

    def over_share(self, owner: Owner, drafts: Collection[Draft]) -> str:
        """Whether all of these, which a transaction publishes, are more than their owner may have:
        what a refusal says, or nothing.
        """
        made: dict[str, set[Address]] = {"queues": set(), "streams": set()}
        topics: dict[Topic, None] = {}
        sizes: list[int] = []
        for draft in drafts:
            address = address_of(draft.target)
            found = self._registry.find(address)
            if found is None:
                what = self._destinations.makes(address)
                if what is None:
                    continue
                made[what].add(address)
            elif isinstance(found, Topic):
                if not found.stores:
                    continue
                topics[found] = None
            elif found.private:
                continue
            sizes.append(draft.size)
        total, one = sum(sizes), len(sizes) == 1
        for what, new in made.items():
            if refusal := owner.refusal(what, len(new), one=len(new) == 1):
                return refusal
        for topic in topics:
            self._topics.over_share(topic, owner, total, one=one)
        return owner.refusal("stored", total, one=one)

"""The atomic step of a publication: every subscription that is active now has it queued.

Rule: what stands before this step (admission, interceptors, authorization) has happened once; what
is done here cannot wait and asks nobody. A backplane between several workers stands before it.
"""

from __future__ import annotations

from collections.abc import Sequence

from stocksync_ws.broker.delivery.destinations import Destinations
from stocksync_ws.broker.delivery.queues import QueueFull, Queues
from stocksync_ws.broker.delivery.topics import Topics
from stocksync_ws.broker.model.channel import Address
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.namespace import is_reply_queue
from stocksync_ws.broker.model.publication import Draft, Publication, Published
from stocksync_ws.broker.model.state import CONNECTED

__all__ = ["Publishing"]


class Publishing:
    """Hands admitted publications to the destinations of this process."""

    __slots__ = (
        "_counters",
        "_destinations",
        "_limits",
        "_queues",
        "_sessions",
        "_step",
        "_topics",
    )

    def __init__(
        self, env: Environment, destinations: Destinations, topics: Topics, queues: Queues
    ) -> None:
        self._counters = env.counters
        self._limits = env.limits
        self._sessions = env.sessions
        self._step = env.step
        self._destinations = destinations
        self._topics = topics
        self._queues = queues

    def publish_local(
        self, draft: Draft, publication: Publication, *, reserved: bool = False
    ) -> Published:
        """Queue a publication for its receivers.

        Args:
            reserved: `has_room` was asked in this step; it is taken.

        Raises:
            QueueFull: It was not taken.
        """
        address: Address = draft.destination
        if draft.user is not None:
            address = (draft.user, draft.destination)
        kept = False
        if draft.session is not None:
            receivers = self._to_session(draft.session, draft.destination, publication)
        elif publication.is_dead(self._step.now):
            receivers, kept = 0, True
            self._step.bury(self._destinations.policy(address), publication, 0, "expired")
        else:
            receivers = self._to_channel(address, publication, reserved)
            channel = None if receivers else self._destinations.find(address)
            kept = channel is not None and len(channel.log) > 0
        self._counters.messages_published += 1
        self._counters.messages_unrouted += not receivers and not kept
        return Published(publication.message_id, receivers)

    def _to_session(self, session_id: str, path: str, publication: Publication) -> int:
        """To one session, if it is there."""
        session = self._sessions.get(session_id)
        if session is None or session.state is not CONNECTED:
            return 0
        channel = self._destinations.find((session.owner, path))
        publication.only = session.id
        return 0 if channel is None else self._topics.publish_to(channel, session, publication)

    def _to_channel(self, address: Address, publication: Publication, reserved: bool) -> int:
        channel = self._destinations.find(address)
        if channel is None:
            if not self._destinations.keeps(address):
                return 0
            try:
                channel = self._destinations.open(address)
            except OverflowError:
                raise QueueFull from None
        if channel.queue is not None:
            try:
                return self._queues.publish(channel, publication, reserved=reserved)
            except QueueFull:
                self._destinations.release(channel)
                raise
        if channel.has_history:
            self._destinations.touch(channel)
            self._destinations.make_room(publication.size)
        return self._topics.publish(channel, publication)

    def has_room(self, drafts: Sequence[Draft]) -> bool:
        """Whether the queues can take all of these: what a transaction asks before its step."""
        waiting: dict[str, list[int]] = {}
        for draft in drafts:
            channel = self._destinations.find(draft.destination)
            if is_reply_queue(draft.destination):
                continue  # what its requester does not fetch is dropped, and refuses nobody
            is_queue = self._destinations.is_queue(draft.destination)
            if channel.queue is not None if channel else is_queue:
                waiting.setdefault(draft.destination, []).append(draft.size)
        new = sum(self._destinations.find(destination) is None for destination in waiting)
        if new and self._destinations.queues + new > self._limits.max_queues:
            return False
        if not self._destinations.make_room(sum(map(sum, waiting.values()))):
            return False
        return all(
            self._queues.has_room(self._destinations.find(destination), sizes)
            for destination, sizes in waiting.items()
        )

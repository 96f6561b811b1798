"""The channel of this worker alone: what others answer to the private queues of its sessions.

Rule: the address of a reply queue names its worker, and a message to it goes by the channel of that
worker, which follows it from its start on. What comes for a queue that is gone reaches nobody, and
nothing that comes reaches anything but a reply queue.
"""

from __future__ import annotations

from stocksync_ws.backplane import History
from stocksync_ws.broker.calls.events import MessageDropped
from stocksync_ws.broker.calls.listeners import Listeners
from stocksync_ws.broker.delivery.mirrors import Reset
from stocksync_ws.broker.delivery.queues import QueueFull
from stocksync_ws.broker.delivery.room import Delivery
from stocksync_ws.broker.model.channels import channel_of_worker
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.namespace import is_reply_queue
from stocksync_ws.broker.sessions.workers import Workers
from stocksync_ws.position import Position

__all__ = ["ReplyChannel"]


class ReplyChannel:
    """Brings answers home.

    Args:
        workers: Follows the channel.
    """

    __slots__ = ("_channel", "_counters", "_listeners", "_publishing", "_workers")

    def __init__(
        self, env: Environment, delivery: Delivery, listeners: Listeners, workers: Workers
    ) -> None:
        self._channel = channel_of_worker(env.worker)
        self._counters = env.counters
        self._listeners = listeners
        self._publishing = delivery.publishing
        self._workers = workers

    def start(self) -> None:
        """The broker takes messages."""
        self._workers.attend(self._channel, self)

    def begin(self, channel: str, history: History) -> None:
        """What is kept of the channel follows."""

    def continues(self, channel: str, history: History) -> None:
        """Another run of the engine goes on."""

    def attached(self, channel: str) -> None:
        """The channel is live."""

    def reset(self, channel: str, why: Reset) -> None:
        """Answers were lost."""
        self._counters.backplane_resets += 1

    def apply(self, channel: str, position: Position, payload: bytes) -> None:
        """Put an answer into its queue."""
        publication = self._workers.read(None, position, payload)
        if publication is None:
            return
        if not is_reply_queue(publication.destination):
            self._workers.drop(publication.destination, "unreadable")
            return
        if self._workers.has_expired(publication):
            return
        try:
            self._publishing.publish_local(publication, ours=False)
        except QueueFull:
            self._counters.messages_dropped += 1
            event = MessageDropped(destination=publication.destination, reason="queue-full")
            self._listeners.tell(event)

"""All destinations the broker keeps anything of, and the bounds of all of them together.

Rule: a destination is made by its first subscription or by its first message that is kept, and is
gone when nobody needs it. History is kept only where the configuration says so, never because a
client named something. When a bound is reached, the least recently used history goes first; queues
refuse instead.
"""

from __future__ import annotations

from collections.abc import Callable

from stocksync_ws.broker.channel import Address, Channel
from stocksync_ws.broker.destinations import Kind, Patterns, Space
from stocksync_ws.broker.log import Tally
from stocksync_ws.config import BrokerConfig, DestinationPolicy

__all__ = ["Store"]

_PLAIN = DestinationPolicy()


class Store:
    """Channels by address."""

    __slots__ = (
        "_limits",
        "_policies",
        "_space",
        "_token",
        "channels",
        "epochs",
        "queues",
        "tally",
    )

    def __init__(self, config: BrokerConfig, space: Space, token: Callable[[int], str]) -> None:
        self._limits = config.limits
        self._space = space
        self._token = token
        self._policies = [(Patterns([p]), policy) for p, policy in config.destinations.items()]
        self.tally = Tally()
        """Bytes that are stored in all."""
        self.channels: dict[Address, Channel] = {}
        self.queues = 0
        """Queues there are."""
        self.epochs: dict[str, Channel] = {}
        """Destinations with history, the least recently used first."""

    def find(self, address: Address) -> Channel | None:
        """What is kept of a destination, if anything is."""
        return self.channels.get(address)

    def policy(self, address: Address) -> DestinationPolicy:
        """The policy of a destination: the first that matches."""
        if isinstance(address, str):
            for pattern, policy in self._policies:
                if pattern.match(address):
                    return policy
        return _PLAIN

    def keeps(self, address: Address) -> bool:
        """A message to this destination is kept although nobody is subscribed."""
        return self.is_queue(address) or self.policy(address).kind != "transient"

    def is_queue(self, address: Address) -> bool:
        """It is under a queue prefix."""
        return isinstance(address, str) and self._space.classify(address)[0] is Kind.QUEUE

    def open(self, address: Address) -> Channel:
        """What is kept of a destination; made if it is not there.

        Raises:
            OverflowError: There are as many queues as there may be.
        """
        channel = self.channels.get(address)
        if channel is not None:
            if channel.has_history:
                self.touch(channel)
            return channel
        queue = self.is_queue(address)
        if queue and self.queues >= self._limits.max_queues:
            raise OverflowError("too many queues")
        policy = self.policy(address)
        epoch = None if queue or policy.kind == "transient" else self._token(72)
        channel = self.channels[address] = Channel(address, policy, epoch, self.tally, queue=queue)
        self.queues += queue
        if epoch is not None:
            self.touch(channel)
            self._evict(channel)
        return channel

    def private_queue(self, address: str) -> Channel:
        """The reply queue of one session."""
        channel = self.channels[address] = Channel(address, _PLAIN, None, self.tally, queue=True)
        self.queues += 1
        return channel

    def drop(self, address: Address) -> None:
        """Forget a private queue with everything in it."""
        channel = self.channels.get(address)
        if channel is not None:
            self._forget(channel)

    def _forget(self, channel: Channel) -> None:
        del self.channels[channel.address]
        self.queues -= channel.queue is not None
        channel.deadline = None
        channel.log.forget(channel.log.top + 1)

    def has(self, channel: Channel) -> bool:
        """It is still kept."""
        return self.channels.get(channel.address) is channel

    def release(self, channel: Channel) -> None:
        """Forget a destination that nobody needs."""
        if channel.idle and self.has(channel):
            self._forget(channel)

    def make_room(self, size: int) -> bool:
        """Whether so many bytes more may be stored; histories give way."""
        most = self._limits.max_stored - size
        if self.tally.size > most:
            for channel in list(self.epochs.values()):
                while self.tally.size > most and channel.log.trim() is not None:
                    pass
        return self.tally.size <= most

    def touch(self, channel: Channel) -> None:
        """Its history was used just now."""
        assert isinstance(channel.address, str)
        self.epochs.pop(channel.address, None)
        self.epochs[channel.address] = channel

    def _evict(self, newest: Channel) -> None:
        """Too many histories: the one that was used longest ago, and that nobody reads, goes."""
        while len(self.epochs) > self._limits.max_streams:
            for address, channel in self.epochs.items():
                if channel is not newest and not (channel.groups or channel.durables):
                    del self.epochs[address]
                    self._forget(channel)
                    break
            else:
                return

"""All destinations the broker keeps anything of, and the bounds of all of them together.

Rule: a destination is made by its first subscription or by its first message that is kept, and is
gone when nobody needs it. History is kept only where the configuration says so, never because a
client named something. When a bound is reached, the least recently used history goes first; queues
refuse instead.
"""

from __future__ import annotations

from stocksync_ws.broker.model.channel import Address, Channel, Keeper
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.log import ByteCounter
from stocksync_ws.broker.model.namespace import Kind, Patterns
from stocksync_ws.config import DestinationPolicy

__all__ = ["Destinations"]

_PLAIN = DestinationPolicy()


class Destinations:
    """Channels by address."""

    __slots__ = (
        "_full",
        "_limits",
        "_namespace",
        "_policies",
        "_step",
        "_token",
        "channels",
        "epochs",
        "histories",
        "keeper",
        "queues",
        "tally",
    )

    def __init__(self, env: Environment) -> None:
        self._step = env.step
        self.keeper: Keeper
        self._limits = env.limits
        self._namespace = env.namespace
        self._token = env.token
        policies = env.config.destinations.items()
        self._policies = [(Patterns([pattern]), policy) for pattern, policy in policies]
        self.tally = ByteCounter()
        """Bytes that are stored in all."""
        self.histories = ByteCounter(self.tally)
        """Bytes of the histories among them, which can give way."""
        self.channels: dict[Address, Channel] = {}
        self.queues = 0
        """Queues there are, without the private ones."""
        self.epochs: dict[str, Channel] = {}
        """Destinations with history, the least recently used first."""
        self._full: dict[Channel, None] = {}
        """The same, without those that were emptied since."""

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
        return isinstance(address, str) and self._namespace.classify(address)[0] is Kind.QUEUE

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
        tally = self.tally if epoch is None else self.histories
        channel = self.channels[address] = Channel(address, policy, epoch, tally, queue=queue)
        channel.keeper = self.keeper
        self.queues += queue
        if epoch is not None:
            self.touch(channel)
            self._evict(channel)
        return channel

    def private_queue(self, address: str) -> Channel:
        """The reply queue of one session; its number is bounded there, and not counted here."""
        channel = self.channels[address] = Channel(
            address, _PLAIN, None, self.tally, queue=True, private=True
        )
        channel.keeper = self.keeper
        return channel

    def has(self, channel: Channel) -> bool:
        """It is still kept."""
        return self.channels.get(channel.address) is channel

    def release(self, channel: Channel) -> None:
        """Forget a destination that nobody needs. A reply queue is needed by its session."""
        if channel.idle and not channel.private and self.has(channel):
            self.forget(channel)

    def forget(self, channel: Channel) -> None:
        """Forget a destination with everything that it keeps."""
        del self.channels[channel.address]
        self._step.disarm(channel)
        channel.log.forget(channel.log.top + 1)
        if channel.queue is not None:
            channel.queue.forget()
            self.queues -= not channel.private
        if channel.has_history:
            assert isinstance(channel.address, str)
            self.epochs.pop(channel.address, None)
            self._full.pop(channel, None)

    def make_room(self, size: int) -> bool:
        """Whether so many bytes more may be stored; histories give way, if that is enough."""
        most = self._limits.max_stored - size
        if self.tally.size > most and self.tally.size - self.histories.size <= most:
            while self.tally.size > most and self._full:
                oldest = next(iter(self._full))
                if oldest.trim() is None:
                    del self._full[oldest]
        return self.tally.size <= most

    def touch(self, channel: Channel) -> None:
        """Its history was used just now."""
        assert isinstance(channel.address, str)
        self.epochs.pop(channel.address, None)
        self.epochs[channel.address] = channel
        self._full.pop(channel, None)
        self._full[channel] = None

    def _evict(self, newest: Channel) -> None:
        """Too many histories: the one that was used longest ago, and that nobody reads, goes."""
        while len(self.epochs) > self._limits.max_streams:
            for channel in self.epochs.values():
                if channel is not newest and not (channel.groups or channel.durables):
                    self.forget(channel)
                    break
            else:
                return

"""Where a subscription to a topic begins to read.

Rule: behind the last message that its client saw, if everything since then is still there; else at
the newest messages of the history, if the client or the policy says so; else with what comes next.
A durable name goes on where it was left.
"""

from __future__ import annotations

from stocksync_ws.broker.delivery.room import Delivery
from stocksync_ws.broker.frames.durable_names import DurableNames
from stocksync_ws.broker.frames.subscribe_options import SubscribeOptions
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.subscription import Reader
from stocksync_ws.position import Position

__all__ = ["Beginning"]


class Beginning:
    """The first offset of a reader."""

    __slots__ = ("_counters", "_names", "_readers", "_retention", "_step")

    def __init__(self, env: Environment, delivery: Delivery, names: DurableNames) -> None:
        self._counters = env.counters
        self._step = env.step
        self._readers = delivery.readers
        self._retention = delivery.retention
        self._names = names

    def begin(
        self, reader: Reader, wanted: SubscribeOptions, name: tuple[str, str] | None
    ) -> dict[str, str]:
        """Where a subscription begins to read; what the RECEIPT says of it."""
        topic, log = reader.topic, reader.topic.log
        retention, readers = self._retention, self._readers
        retention.trim(topic)
        retention.bury_dead(topic)
        extra: dict[str, str] = {}
        top = log.top
        left = None if name is None else self._names.take(reader, name)
        start = topic.first_offset() if left is None else left
        if wanted.last_message_id is not None:
            start = self._recover(reader, wanted, start, extra)
        elif not topic.pushes:
            extra["replayed"] = str(topic.count_for(reader, start))
        elif left is None:
            start = self._history(reader, wanted, start, extra)
        if topic.has_history:
            extra["last-message-id"] = log.message_id(top)
        reader.replay_to = top
        reader.replay_left = log.count_from(start)
        if start > top and not reader.unrecovered and not reader.dropped:
            readers.begin_live(reader, start)
        else:
            readers.fall_behind(reader, start)
        return extra

    def _recover(
        self, reader: Reader, wanted: SubscribeOptions, start: int, extra: dict[str, str]
    ) -> int:
        """Go on behind the last message that the client saw, if that is possible."""
        topic = reader.topic
        position = Position.parse(wanted.last_message_id or "")
        recovered, start = topic.recover(position, start)
        if recovered:
            self._counters.recoveries += 1
            self._names.recovered(reader, start)
        else:
            self._counters.recoveries_failed += 1
            reader.unrecovered = not wanted.receipt
        extra["recovered"] = "true" if recovered else "false"
        extra["replayed"] = str(topic.count_for(reader, start))
        return start

    def _history(
        self, reader: Reader, wanted: SubscribeOptions, start: int, extra: dict[str, str]
    ) -> int:
        """Begin with the newest messages of the history, if the client or the policy says so."""
        topic = reader.topic
        first = topic.history_offset(wanted.history, self._step.now)
        if first is None:
            return start
        self._names.begin(reader, first)
        reader.snapshot_at = start
        extra["replayed"] = str(topic.count_for(reader, first))
        return first

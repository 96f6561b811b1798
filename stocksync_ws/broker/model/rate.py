"""Buckets: how many frames a session and its user may still send.

Rule: plain floats. A bucket keeps one number, the time at which it is full again, and each frame
moves that on by the time that one frame is worth; so nothing is refilled, and a bucket that nobody
uses costs nothing. A user has one for all its sessions. It outlives them until it is full, so that
a reconnect wins nothing, and is then no different from a new one.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from stocksync_ws.rates import Rate

if TYPE_CHECKING:
    from stocksync_ws.broker.model.session import SessionRecord

__all__ = ["Bucket", "Buckets", "seconds_left"]

GRAIN = 1e-6
"""Seconds that sums of times may be off by: a frame is not refused for what was rounded."""


class Bucket:
    """Frames that may still come.

    Args:
        rate: How it is filled.
        rule: What the log says of a frame that it refuses.
        name: The user whose bucket it is; empty: of one session alone.
    """

    __slots__ = ("cost", "full_at", "name", "room", "rule", "sessions")

    def __init__(self, rate: Rate, rule: str, name: str = "") -> None:
        self.cost = 1 / rate.per_second
        """Seconds in which one frame more may come."""
        self.room = (rate.burst - 1) * self.cost + GRAIN
        """Seconds to `full_at` up to which another frame may come."""
        self.full_at = float("-inf")
        """When it is full, in the broker's own time."""
        self.rule = rule
        self.name = name
        self.sessions = 0
        """Sessions of its user that have sent something."""


class Buckets:
    """The buckets of all sessions and users.

    Args:
        session_rate: The rate of each session; None: any.
        user_rate: The rate of each user, over all its sessions; None: any.
        most: Buckets that are kept of users who have left.
    """

    __slots__ = ("_left", "_most", "_session_rate", "_user_rate", "_users", "used")

    def __init__(self, session_rate: Rate | None, user_rate: Rate | None, most: int) -> None:
        self._session_rate = session_rate
        self._user_rate = user_rate
        self._most = most
        self._users: dict[str, Bucket] = {}
        """Of users that have a session which has sent something."""
        self._left: dict[str, Bucket] = {}
        """Of users who left; those that are full go when there are too many."""
        self.used = session_rate is not None or user_rate is not None
        """There is a rate at all."""

    def __len__(self) -> int:
        """Buckets of users that are kept."""
        return len(self._users) + len(self._left)

    def take(self, session: SessionRecord, now: float) -> Bucket | None:
        """Take a frame out of the buckets of its session. Where one of them has none, nothing is
        taken, and that one is returned: of two the one that has none for longer.
        """
        buckets = session.buckets
        if buckets is None:
            buckets = session.buckets = self._of(session)
        empty, least = None, 0.0
        for bucket in buckets:
            over = bucket.full_at - now - bucket.room
            if over > least:
                empty, least = bucket, over
        if empty is None:
            for bucket in buckets:
                full_at = bucket.full_at
                bucket.full_at = (full_at if full_at > now else now) + bucket.cost
        return empty

    def _of(self, session: SessionRecord) -> tuple[Bucket, ...]:
        found: list[Bucket] = []
        rate, name = self._session_rate, session.user_name
        if rate is not None:
            found.append(Bucket(rate, f"session_rate={rate!r}"))
        rate = self._user_rate
        if rate is not None and name is not None:
            bucket = self._users.get(name)
            if bucket is None:
                bucket = self._left.pop(name, None) or Bucket(rate, f"user_rate={rate!r}", name)
                self._users[name] = bucket
            bucket.sessions += 1
            found.append(bucket)
        return tuple(found)

    def end(self, session: SessionRecord, now: float) -> None:
        """A session has ended."""
        for bucket in session.buckets or ():
            if bucket.sessions:
                bucket.sessions -= 1
                if not bucket.sessions:
                    self._leave(self._users.pop(bucket.name), now)
        session.buckets = None

    def _leave(self, bucket: Bucket, now: float) -> None:
        """A user has left."""
        if bucket.full_at <= now:
            return
        self._left[bucket.name] = bucket
        if len(self._left) > self._most:
            # Those nearest to full go with them, and a quarter at once: it is done seldom.
            waiting = [each for each in self._left.values() if each.full_at > now]
            waiting.sort(key=_full_at)
            kept = waiting[max(0, len(waiting) - self._most + self._most // 4) :]
            self._left = {each.name: each for each in kept}


def _full_at(bucket: Bucket) -> float:
    return bucket.full_at


def seconds_left(bucket: Bucket, now: float) -> int:
    """Whole seconds after which an empty bucket has a frame again, at least 1."""
    return ceil(bucket.full_at - now - bucket.room)

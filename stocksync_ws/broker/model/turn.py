"""One turn of the loop: how many frames are handled in it, and which sessions wait for their share.

Rule: a turn is bounded over all sessions, so that a client among many that flood is heard soon. A
session without frames left over goes first, with one frame while others wait: what it has then is
left over. One with frames left over gets `ROUND` of them at a time, behind all others that wait,
and round after round until its share of a turn is used up. What is kept for these is not used up by
those that are read.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stocksync_ws.broker.model.session import SessionRecord

__all__ = ["FRAMES", "QUIET", "RESERVED", "ROUND", "Turn"]

FRAMES = 1_024
"""Frames of all sessions in one turn; ACK and NACK are free."""
RESERVED = 256
"""Those of them that are kept for sessions that wait, while any do."""
ROUND = 8
"""Frames of one session before the next one that waits has its share."""
QUIET = FRAMES - 64
"""At so many frames left the end of a turn has to come, whether or not anybody waits."""


class Turn:
    """The turn that runs now."""

    __slots__ = ("_behind", "_fresh", "_later", "left", "number", "reads", "share", "waiting")

    def __init__(self) -> None:
        self.number = 0
        self.left = FRAMES
        """Frames that may still be handled in it."""
        self.share = ROUND
        """Frames of the session that goes on."""
        self.reads = True
        """Whether its time for reading is not over; the driver says so."""
        self.waiting = 0
        """Sessions that wait for their share."""
        self._fresh: deque[SessionRecord] = deque()
        self._behind: deque[SessionRecord] = deque()
        self._later: list[SessionRecord] = []

    def begin(self) -> None:
        """The next turn begins."""
        self.number += 1
        self.left = FRAMES
        self.reads = True
        if self._later:
            self._behind.extend(self._later)
            self._later.clear()

    @property
    def may_read(self) -> bool:
        """Whether what a session brings now is handled in this turn."""
        return self.reads and self.left > (RESERVED if self.waiting else 0)

    def put_first(self, session: SessionRecord) -> None:
        """A session that had nothing left over waits."""
        self._fresh.append(session)
        self.waiting += 1

    def put_last(self, session: SessionRecord) -> None:
        """A session has frames left over."""
        self._behind.append(session)
        self.waiting += 1

    def put_off(self, session: SessionRecord) -> None:
        """A session has used up its share of this turn."""
        self._later.append(session)
        self.waiting += 1

    def next(self) -> SessionRecord | None:
        """The session that goes on now; None: nobody waits any more in this turn."""
        queue = self._fresh or self._behind
        if not queue:
            return None
        self.waiting -= 1
        self.share = 1 if queue is self._fresh and self.waiting else ROUND
        return queue.popleft()

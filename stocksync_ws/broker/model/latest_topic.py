"""Newest values: a topic that keeps one message a key.

Rule: a plain record. Everybody reads it from the log, so that what is superseded is never queued.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stocksync_ws.broker.model.destination import Address
from stocksync_ws.broker.model.log import ByteCounter
from stocksync_ws.broker.model.publication import Publication
from stocksync_ws.broker.model.subscription import Reader
from stocksync_ws.broker.model.topic import Topic, TopicKeeper
from stocksync_ws.config import Limits
from stocksync_ws.policies import Latest
from stocksync_ws.position import Position

if TYPE_CHECKING:
    from stocksync_ws.broker.model.owner import Owner

__all__ = ["LatestTopic"]


class LatestTopic(Topic):
    """A topic that keeps the newest message of each key."""

    __slots__ = ("_header", "keys")

    pushes = False

    def __init__(
        self,
        address: Address,
        policy: Latest,
        counter: ByteCounter,
        keeper: TopicKeeper,
        epoch: str | None = None,
    ) -> None:
        super().__init__(address, policy, counter, keeper, epoch)
        self._header = policy.key
        self.keys: dict[str, int] = {}
        """The offset of the newest message of each key, the oldest first."""

    @property
    def keeps(self) -> bool:
        """Everything is kept until a newer one comes."""
        return True

    @property
    def idle(self) -> bool:
        """Never: it goes when there are too many histories."""
        return False

    def _key(self, publication: Publication) -> str:
        return publication.header(self._header) or publication.destination

    def keep(self, publication: Publication, limits: Limits, offset: int | None = None) -> int:
        """Append a publication in the place of the older one of its key."""
        key = self._key(publication)
        old = self.keys.pop(key, None)
        if old is not None:
            self.log.take(old)
        elif len(self.keys) >= limits.max_keys:
            self.log.take(self.keys.pop(next(iter(self.keys))))
        offset = self.keys[key] = self.log.append(publication, offset)
        return offset

    def replaced(self, publication: Publication) -> int:
        """Bytes of the older message of its key, if it is the same owner's."""
        found = self.log.read(self.keys.get(self._key(publication), self.log.top + 1))
        same = found is not None and found[1].owner is publication.owner
        return found[1].size if found is not None and same else 0

    def give_way(self, owner: Owner) -> bool:
        """Nothing but a newer message of its key takes the place of one."""
        return False

    def trim(self) -> Publication | None:
        """Drop the oldest message; None when there is none."""
        publication = self.log.trim()
        if publication is not None:
            self.keys.pop(self._key(publication), None)
        return publication

    def forget_read(self) -> None:
        """Drop nothing: everybody who comes gets the newest values."""

    def take_expired(self, now: float) -> list[tuple[int, Publication]]:
        """Take out of the log what has reached the end of its life."""
        dead = self.log.take_expired(now)
        for _, publication in dead:
            self.keys.pop(self._key(publication), None)
        return dead

    def hold_bounds(self, limits: Limits, now: float) -> None:
        """Everything that is stored may be too much; one value always stays."""
        while len(self.log) > 1 and self.log.stored > limits.max_stored:
            self.trim()

    def recover(self, position: Position | None, start: int) -> tuple[bool, int]:
        """The newest values are always there; with a position only those that are newer."""
        known = position is not None and self.log.knows(position)
        return True, position.offset + 1 if known and position is not None else 1

    def first_offset(self) -> int:
        """Everybody gets all newest values first."""
        return 1

    def is_replayed(self, reader: Reader, offset: int) -> bool:
        """So many of what a reader reads next were there when it came."""
        replayed = reader.replay_left > 0
        reader.replay_left -= replayed
        return replayed

    def is_overtaken(self, reader: Reader) -> bool:
        """Never: what is gone was replaced by something newer."""
        return False

    def superseded(self, reader: Reader, offset: int) -> int:
        """Messages before an offset that came since a reader subscribed and are gone."""
        return max(0, offset - max(reader.next, reader.replay_to + 1))

    def is_superseded(self, offset: int) -> bool:
        """A newer value has taken the place of the one at this offset."""
        return bool(offset) and not self.log.holds(offset)

"""The control log: what the workers of an application tell each other, by a channel of the engine.

Rule: plain records and texts. Every worker follows the channel from its start. Each message stands
in a slot, and ages: what is to stay is written again in time, and what a dead worker has left goes
by itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from stocksync_ws.backplane import Item, Keep

__all__ = ["AGE", "CHANNEL", "Lease", "Notice", "notice", "read_notice"]

CHANNEL = "control"
"""No destination and no user has a channel of this name."""
AGE = 3_600.0
"""Seconds that a message is kept at the most."""
MOST = 1_000_000
"""Messages that are kept at the most: above all one for each member of a presence."""


class Notice(StrEnum):
    """What a worker tells the others."""

    LEASE = "lease"
    """It lives, for so many seconds more."""
    DEAD = "dead"
    """Another one has not said so in time."""
    MEMBER = "member"
    """Somebody is there, with these sessions."""
    GONE = "gone"
    """Somebody is there no more."""
    FILLED = "filled"
    """All of its members have been told since a number: any other one is there no more."""
    ORDER = "order"
    """Do something to sessions."""


_KINDS = {kind.value: kind for kind in Notice}


class Lease:
    """What is known of a worker that lives."""

    __slots__ = ("heard", "last", "seconds")

    def __init__(self, seconds: float) -> None:
        self.heard = 0.0
        """When something of it came last, in the broker's own time of this worker."""
        self.last = 0
        """The offset of that: the same at all workers."""
        self.seconds = seconds
        """How long it is taken for alive after that."""


def notice(kind: Notice, worker: str, slot: str, **facts: object) -> Item:
    """A message for the control log, in the place of the one before in its slot."""
    data = {"kind": kind, "worker": worker, **facts}
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return Item(CHANNEL, text.encode(), Keep(MOST, AGE, slot))


def read_notice(payload: bytes) -> tuple[Notice, str, Mapping[str, Any]] | None:
    """What a worker has told: its kind, the worker, and the facts; None: a worker of another
    version tells what is not known here.
    """
    data: dict[str, Any] = json.loads(payload)
    kind = _KINDS.get(data["kind"])
    return None if kind is None else (kind, data["worker"], data)

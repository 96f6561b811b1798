"""Publications that an engine orders: what is sent, and what became of it.

Rule: plain records of `delivery/appends.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from stocksync_ws.backplane import AppendOutcome, Item
from stocksync_ws.position import Position

__all__ = ["Done", "Failure", "Flight", "Settlement"]


class Failure(Enum):
    """Why a publication has no answer of the engine."""

    UNAVAILABLE = "unavailable"
    """It was never sent."""
    UNCERTAIN = "uncertain"
    """It was sent, and may have been done."""


@dataclass(slots=True)
class Settlement:
    """What became of an append."""

    outcome: AppendOutcome | Failure
    positions: tuple[Position, ...] = ()
    workers: int = 0
    problem: str = ""


Done: TypeAlias = Callable[[Settlement], None]
"""Told what became of an append, at the end of the step in which it is known."""


class Flight:
    """An append without an answer, or with one that is not applied here yet."""

    __slots__ = (
        "again",
        "by",
        "digest",
        "done",
        "items",
        "key",
        "number",
        "sent",
        "settlement",
        "size",
        "waits",
    )

    def __init__(
        self,
        number: int,
        items: tuple[Item, ...],
        by: float,
        done: Done,
        key: str,
        digest: str,
    ) -> None:
        self.number = number
        self.items = items
        self.by = by
        """When it fails, in the broker's own time."""
        self.done = done
        self.key = key
        self.digest = digest
        self.size = 0
        for item in items:
            self.size += len(item.payload)
        self.sent = False
        """It was given to a connection: the engine may have done it."""
        self.again = False
        """It was given to more than one."""
        self.settlement: Settlement | None = None
        """The engine's answer, while the channels of this worker have not come so far."""
        self.waits = 0
        """Channels that it waits for."""

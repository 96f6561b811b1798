"""Publications that an engine orders: what is sent, and what became of it.

Rule: plain records of `delivery/appends.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from stocksync_ws.backplane import AppendOutcome, Keep
from stocksync_ws.position import Position

__all__ = ["Done", "Failure", "Flight", "Message", "Settlement"]


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


@dataclass(slots=True)
class Message:
    """One message of an append, before it is sent."""

    channel: str
    payload: bytes
    keep: Keep


class Flight:
    """An append without an answer, or with one that is not applied here yet."""

    __slots__ = (
        "again",
        "by",
        "digest",
        "done",
        "key",
        "messages",
        "number",
        "sent",
        "settlement",
        "size",
        "waits",
    )

    def __init__(
        self,
        number: int,
        messages: tuple[Message, ...],
        by: float,
        done: Done,
        key: str,
        digest: str,
    ) -> None:
        self.number = number
        self.messages = messages
        self.by = by
        """When it fails, in the broker's own time."""
        self.done = done
        self.key = key
        self.digest = digest
        self.size = 0
        for message in messages:
            self.size += len(message.payload)
        self.sent = False
        """It was given to a connection: the engine may have done it."""
        self.again = False
        """It was given to more than one."""
        self.settlement: Settlement | None = None
        """The engine's answer, while the channels of this worker have not come so far."""
        self.waits = 0
        """Channels that it waits for."""

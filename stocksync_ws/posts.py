"""Items of the inbox: publications with their waiters, commands, and results of pool functions.

Rule: plain records of `inbox.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from stocksync_ws.broker.model.publication import Draft, Published, Told

if TYPE_CHECKING:
    from stocksync_ws.broker.broker import Broker

__all__ = ["Command", "Item", "Post", "Publish", "Running", "Wish"]

Publish: TypeAlias = Callable[[Draft, Told | None], Published | None]
"""A function that applies a publication. None: an engine orders it, and the waiter will be told."""

Command: TypeAlias = "Callable[[Broker, float], None]"
"""A function that does something with the sessions of a run, at a time `now` in seconds."""


class Running(Protocol):
    """The run that the inbox belongs to."""

    broker: Broker

    def act(self, command: Command) -> None: ...


class Post:
    """A publication on its way, and the waiter that is told of its outcome, if there is one."""

    __slots__ = ("draft", "waiter")

    def __init__(self, draft: Draft, waiter: Told | None) -> None:
        self.draft = draft
        self.waiter = waiter


class Wish(NamedTuple):
    """A command on its way."""

    command: Command


Item: TypeAlias = "Post | Wish | Callable[[], None]"
"""An item of the inbox; the callable takes the result of a pool function to its pipeline."""

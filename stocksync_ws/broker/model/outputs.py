"""What a step of the broker has for the world: data that the driver takes.

Rule: the lists live as long as the broker; whoever takes what is in one empties it. What is
`urgent` is taken after each step, what is `pending` in the next turn of the loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from stocksync_ws.backplane import BackplaneCommand
    from stocksync_ws.broker.model.crowd import Crowd
    from stocksync_ws.broker.model.mailbox import Mailbox
    from stocksync_ws.broker.model.pipeline import Task
    from stocksync_ws.broker.model.session import SessionRecord
    from stocksync_ws.types import Handshake, Refusal

__all__ = ["Outputs", "drain"]

T = TypeVar("T")


def drain(items: list[T]) -> list[T]:
    """Everything in a list of outputs, which is empty afterwards."""
    if not items:
        return []
    taken = items.copy()
    items.clear()
    return taken


class Outputs:
    """The outputs of one broker."""

    __slots__ = ("aborts", "answers", "calls", "cancels", "crowd", "dirty", "engine", "reads")

    def __init__(self) -> None:
        self.answers: list[tuple[Handshake, Refusal | None]] = []
        """Handshakes decided, maybe long after they came; None accepts."""
        self.reads: list[SessionRecord] = []
        """Sessions whose reading pauses or goes on: see `paused`."""
        self.aborts: list[SessionRecord] = []
        """Sessions whose connection must be reset: their close took too long."""
        self.calls: list[Task] = []
        """User code to run."""
        self.cancels: list[Task] = []
        """User code to ask to end."""
        self.dirty: list[Mailbox] = []
        """Mailboxes to flush, first come first served; whoever flushes one clears its `dirty`."""
        self.crowd: Crowd | None = None
        """The message that was published last, with those who get it, if it lies in no mailbox."""
        self.engine: list[BackplaneCommand] = []
        """Commands for the engine that orders the publications of several workers."""

    @property
    def urgent(self) -> bool:
        """There is something to answer, to start, to pause or to reset: what a step ends with."""
        return bool(self.calls or self.cancels or self.answers or self.reads or self.aborts)

    @property
    def pending(self) -> bool:
        """There is something to flush, to call or to send to the engine in the next turn."""
        return bool(self.crowd or self.dirty or self.calls or self.cancels or self.engine)

"""A place in the history of a destination, and the text that names it.

Rule: the text is the message-id of what stands there, so that a client who comes back with the last
one it has seen gets what follows.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Position"]


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the history of a destination: everything up to this offset was seen."""

    epoch: str
    """Which history: a random text, without a dot."""
    generation: int
    """Counts the times at which a history that several processes share began anew; 0 inside one
    process, and then it is not written.
    """
    offset: int

    def __str__(self) -> str:
        epoch = f"{self.epoch}.{self.generation}" if self.generation else self.epoch
        return f"{epoch}-{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Position | None:
        """The position that a message-id names; None if it is none of ours."""
        head, _, offset = text.rpartition("-")
        epoch, dot, generation = head.partition(".")
        if not dot:
            generation = "0"
        if not epoch or not _is_count(offset) or not _is_count(generation):
            return None
        return cls(epoch, int(generation), int(offset))


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20

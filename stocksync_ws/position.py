"""A place in the history of a destination, and the text that names it.

Rule: the text is the message-id of what stands there, so that a client who comes back with the last
one it has seen gets what follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Position", "generation_end"]


class Position(NamedTuple):
    """A place in the history of a destination: everything up to this offset was seen."""

    epoch: str
    """The name of the history: a random text, without a dot."""
    generation: int
    """The number of the run of an engine that wrote it, of a history that several processes share;
    no other run has it. 0 for the first one, and inside one process, and then it is not written.
    """
    offset: int

    def __str__(self) -> str:
        epoch, generation, offset = self
        return f"{epoch}.{generation}-{offset}" if generation else f"{epoch}-{offset}"

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


def generation_end(begins: Sequence[tuple[int, int]], generation: int, top: int) -> int | None:
    """The last offset of a generation that counts, or None for one that is not known.

    Args:
        begins: The generations that are known, in their order, each with the offset behind which
            it began.
        generation: The number of the generation.
        top: The last offset of all, which ends the newest one.
    """
    ends = [begin for _, begin in begins[1:]] + [top]
    for (number, _), end in zip(begins, ends, strict=False):
        if number == generation:
            return end
    return None

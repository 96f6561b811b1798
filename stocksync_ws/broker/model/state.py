"""The states of a session.

Rule: written by `sessions/lifecycle.py` only; what each allows stands in the frame table of
`frames/commands.py` and in the table of ends of `sessions/ends.py`.
"""

from __future__ import annotations

from enum import Enum, auto

__all__ = ["AWAITING", "CONNECTED", "ENDING", "State"]


class State(Enum):
    """Where a session is in its life; the frame tables have one row per (state, command)."""

    OPENING = auto()
    """The handshake is not answered yet."""
    AWAITING = auto()
    """Upgraded; the first frame must be CONNECT or STOMP."""
    CONNECTED = auto()
    ENDING = auto()
    """The stream has ended; frames that had arrived are still processed, for 5 seconds at most."""
    CLOSING = auto()
    """We closed; nothing is decoded, what waits is written, then the peer's Close is awaited."""
    CLOSED = auto()

    # By identity, in C: that of Enum hashes the name in Python, several times a frame.
    __hash__ = object.__hash__


AWAITING, CONNECTED, ENDING = State.AWAITING, State.CONNECTED, State.ENDING
"""Globals, for what is asked with every frame: to look up a member of an Enum is a call in Python
before 3.12.
"""

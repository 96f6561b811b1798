"""The line of a command: how it may begin, and what is told to who sends something else.

Rule: judged octet by octet. Who speaks no STOMP at all is told so at once, and not when a line ends
that has no end.
"""

from __future__ import annotations

import re

from stocksync_ws.stomp.frame import CLIENT_COMMANDS, SERVER_COMMANDS

__all__ = [
    "COMMANDS",
    "FIRST_FRAME",
    "GAP",
    "MAX_COMMAND",
    "begins",
    "may_begin_frame",
    "missing_end",
    "typed_nul",
]

MAX_COMMAND = 16
"""Octets; no line of a command is as long."""
GAP = re.compile(rb"(?:[\0\n]++|\r\n)*+")
"""What may stand between frames."""
COMMANDS = {each.encode(): each for each in CLIENT_COMMANDS | SERVER_COMMANDS}
_BEGINNINGS = frozenset(
    (command + b"\r")[:size] for command in COMMANDS for size in range(len(command) + 2)
)

FIRST_FRAME = (
    "A first frame is a text like 'CONNECT\\naccept-version:1.2\\n\\n\\0': the command, its"
    " headers, an empty line, and one octet NUL."
)
_TYPED_NUL = (
    "The two characters ^@ stand where the frame should end: they are a way to write the one octet"
    " NUL, which most languages write '\\0'."
)


def begins(octets: bytes) -> bool:
    """Whether the line of a command, of any version and either side, may begin so.

    Args:
        octets: The first of a frame, at most `MAX_COMMAND`; what stands behind the line does not
            count.
    """
    end = octets.find(b"\n")
    return (octets if end < 0 else octets[:end]) in _BEGINNINGS


def may_begin_frame(payload: bytes) -> bool:
    """Whether a message may begin a frame, or is nothing but what stands between frames."""
    match = GAP.match(payload)
    assert match is not None
    return begins(payload[match.end() : match.end() + MAX_COMMAND])


def missing_end(held: bytes) -> str:
    """What is told to a peer that began a frame and did not end it in time.

    Args:
        held: The last octets of the frame.
    """
    if held.rstrip(b"\r\n").endswith(b"^@"):
        return _TYPED_NUL
    return "A frame was begun, and the octet NUL that ends it did not come."


def typed_nul(octets: bytes) -> str:
    """What is told of two octets that stand where NUL should; mostly nothing."""
    return _TYPED_NUL if b"^@".startswith(octets) else ""

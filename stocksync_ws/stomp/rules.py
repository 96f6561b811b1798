"""What differs from version to version, as tables; the codec itself asks for no version.

Rule: how a frame is written depends on its command and its version, and every such difference
stands in `DIALECTS` (lines and escapes) or in `table` (commands, bodies, identifiers).

    dialect                     line end    escapes        leading blanks   a sender leaves out
    1.0                         LF          none           trimmed          CR, LF; in names also :
    1.1                         LF          n c and \\     data             CR
    1.2                         LF, CRLF    r n c and \\   data             -
    CONNECT STOMP CONNECTED     LF, CRLF    none           data             refuses CR, LF
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from stocksync_ws.config import Limits
from stocksync_ws.stomp.frame import (
    ACK,
    CLIENT_COMMANDS,
    CONNECT,
    CONNECTED,
    ERROR,
    MESSAGE,
    NACK,
    SEND,
    SERVER_COMMANDS,
    STOMP,
    SUBSCRIBE,
    UNSUBSCRIBE,
    Version,
)

__all__ = [
    "BODIES",
    "DIALECTS",
    "PLAIN",
    "REFUSED_WHEN_REPEATED",
    "UNESCAPED",
    "Body",
    "Dialect",
    "Rule",
    "escape",
    "table",
    "unescape",
]


class Body(Enum):
    """What may stand between the blank line and the NUL."""

    NONE = auto()
    """Nothing: NUL must follow the blank line, whatever content-length says."""
    ECHOED = auto()
    """Nothing, but a content-length above 0 is tolerated: clients echo that of the MESSAGE."""
    KEPT = auto()
    """A body, by content-length or to the first NUL."""
    DROPPED = auto()
    """A body that is read like any other and thrown away (SUBSCRIBE of 1.0)."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How lines and headers are written.

    Attributes:
        crlf: CRLF ends a line as LF does, and a CR elsewhere is an error; else CR is data.
        escapes: Escape and character, without the backslash itself; None: nothing is escaped.
        trim: Leading blanks of values are not part of them.
        dropped: Characters that a value cannot hold on the way out; they are left out of it.
        nameless: Characters that a name cannot hold on the way out; such a header is left out.
    """

    crlf: bool
    escapes: tuple[tuple[str, str], ...] | None
    trim: bool
    dropped: str
    nameless: str


PLAIN = Dialect(crlf=True, escapes=None, trim=False, dropped="\r\n", nameless="\r\n:")
"""CONNECT, STOMP and CONNECTED, of every version: they are read before the version is known."""

DIALECTS = {
    Version.V10: Dialect(crlf=False, escapes=None, trim=True, dropped="\r\n", nameless="\r\n:"),
    Version.V11: Dialect(
        crlf=False,
        escapes=(("\\n", "\n"), ("\\c", ":")),
        trim=False,
        dropped="\r",
        nameless="\r",
    ),
    Version.V12: Dialect(
        crlf=True,
        escapes=(("\\n", "\n"), ("\\c", ":"), ("\\r", "\r")),
        trim=False,
        dropped="",
        nameless="",
    ),
}

UNESCAPED = frozenset((CONNECT, STOMP, CONNECTED))
"""Commands whose headers are never escaped, in any version."""
BODIES = frozenset((SEND, MESSAGE, ERROR))
"""Commands that may have a body."""
REFUSED_WHEN_REPEATED = frozenset(
    ("destination", "id", "ack", "transaction", "receipt", "login", "passcode")
)
"""Headers that decide what a frame does: two different values are an error, not first-wins."""

# The id of an ACK is `<subscription id>.<publication number>`: a full-length subscription id must
# still be acknowledged, so it has room for a dot and 20 digits more.
_ACK_ID_EXTRA = 21
_IDS = (("receipt", 0), ("transaction", 0))
_IDS_OF_COMMAND = {
    SUBSCRIBE: (*_IDS, ("id", 0)),
    UNSUBSCRIBE: (*_IDS, ("id", 0)),
    ACK: (*_IDS, ("id", _ACK_ID_EXTRA), ("subscription", 0), ("message-id", 0)),
    NACK: (*_IDS, ("id", _ACK_ID_EXTRA), ("subscription", 0), ("message-id", 0)),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """How one command of one version is read.

    Attributes:
        command: The command.
        dialect: How its lines are written.
        body: What may follow the blank line.
        ids: Headers that are identifiers: name, and octets allowed above `Limits.max_id`. Those
            of client frames only: they become keys in the server's memory.
    """

    command: str
    dialect: Dialect
    body: Body
    ids: tuple[tuple[str, int], ...]

    def plain_headers(self, text: str, limits: Limits) -> dict[str, str] | None:
        """The headers of a head without escapes, or None when it is not that simple."""
        headers: dict[str, str] = {}
        lines = text.split("\n")
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                return None
            headers[name] = value
        if len(headers) != len(lines) or len(lines) > limits.max_headers or "" in headers:
            return None
        longest = limits.max_id
        if len(text) > longest:
            for name, extra in self.ids:
                if name in headers and len(headers[name]) > longest + extra:
                    return None
        return headers


def _body(command: str, version: Version | None) -> Body:
    if command in BODIES:
        return Body.KEPT
    if command in (ACK, NACK):
        return Body.ECHOED
    if command == SUBSCRIBE and version is Version.V10:
        return Body.DROPPED
    return Body.NONE


def _build(server: bool, version: Version | None) -> dict[bytes, Rule]:
    rules: dict[bytes, Rule] = {}
    for command in SERVER_COMMANDS if server else CLIENT_COMMANDS:
        if command == NACK and version is Version.V10:
            continue
        dialect = PLAIN if command in UNESCAPED else DIALECTS[version or Version.V12]
        ids = () if server else _IDS_OF_COMMAND.get(command, _IDS)
        rule = Rule(command, dialect, _body(command, version), ids)
        rules[command.encode()] = rule
        if dialect.crlf:
            rules[command.encode() + b"\r"] = rule
    return rules


_TABLES = {
    (server, version): _build(server, version)
    for server in (False, True)
    for version in (None, *Version)
}


def table(server_frames: bool, version: Version | None) -> dict[bytes, Rule]:
    """The rule of each command, by the octets of its line before the LF.

    Args:
        server_frames: What a server sends, else what a client sends.
        version: The version of the session; None before it is known: the line rules of 1.2.
    """
    return _TABLES[server_frames, version]


def unescape(text: str, escapes: tuple[tuple[str, str], ...]) -> str | None:
    """Undo the escapes of a name or value, in one pass from left to right; None if one is unknown.

    Args:
        text: What stood on the wire.
        escapes: `Dialect.escapes`.
    """
    # Of a run of backslashes each pair, from its left, is one; what is left over begins another
    # escape. Cutting at the pairs first makes the rest independent of order.
    parts = text.split("\\\\")
    for index, part in enumerate(parts):
        if "\\" in part:
            for escaped, character in escapes:
                part = part.replace(escaped, character)
            if "\\" in part:
                return None
            parts[index] = part
    return "\\".join(parts)


def escape(text: str, escapes: tuple[tuple[str, str], ...]) -> str:
    """Escape a name or value.

    Args:
        text: What is meant.
        escapes: `Dialect.escapes`.
    """
    text = text.replace("\\", "\\\\")
    for escaped, character in escapes:
        text = text.replace(character, escaped)
    return text

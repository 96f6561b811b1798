"""Frames to octets: `encode`, and its two halves for bytes that many receivers share.

Rule: no octet of a name or value can end a line or a frame. What a version cannot express is left
out or is our caller's error; it is never sent raw.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias, cast

from stocksync_ws.errors import LocalProtocolError
from stocksync_ws.stomp.frame import Version
from stocksync_ws.stomp.rules import BODIES, DIALECTS, PLAIN, UNESCAPED, Dialect, escape

__all__ = ["HEART_BEAT", "KINDS", "TailEncoder", "encode", "encode_head"]

HEART_BEAT = b"\n"
"""What is sent when nothing else is, as a WebSocket message of its own."""
KINDS = 256
"""Pairs of a destination and headers that are remembered."""


def encode(
    command: str,
    headers: Mapping[str, str] | Iterable[tuple[str, str]],
    body: bytes,
    version: Version,
) -> bytes:
    """A whole frame. A non-empty body gets a `content-length`; one that was given is left out.

    Args:
        command: The command.
        headers: Names and values in order, each escaped as command and version demand.
        body: The octets of the body; empty except for SEND, MESSAGE and ERROR.
        version: The version of the receiver.

    Raises:
        LocalProtocolError: NUL in a name or value, an empty name, text that is not Unicode, a line
            end in CONNECT, STOMP or CONNECTED, a body where none may be; our caller's fault.
    """
    if body and command not in BODIES:
        raise LocalProtocolError(f"{command} must not have a body")
    if isinstance(headers, Mapping):
        headers = cast("Mapping[str, str]", headers).items()
    if not body:
        dialect = PLAIN if command in UNESCAPED else DIALECTS[version]
        return _to_octets(f"{command}\n{_write(headers, dialect)}\n\0")
    return b"%bcontent-length:%d\n\n%b\0" % (
        encode_head(command, headers, version),
        len(body),
        body,
    )


def encode_head(command: str, headers: Iterable[tuple[str, str]], version: Version) -> bytes:
    """The first part of a frame: command line and headers, no blank line.

    Of a MESSAGE, what differs from one group of receivers to the next: joined with what
    `TailEncoder` makes it is a frame.

    Raises:
        LocalProtocolError: As `encode`.
    """
    dialect = PLAIN if command in UNESCAPED else DIALECTS[version]
    return _to_octets(f"{command}\n{_write(headers, dialect)}")


class TailEncoder:
    """Encodes the second parts of MESSAGEs. Who publishes again and again gives the same headers,
    or none of his own: what stands around the `message-id` is remembered then, of 256 kinds.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[_Kind, tuple[bytes, bytes]] = {}

    def encode(
        self,
        destination: str,
        message_id: str,
        headers: tuple[tuple[str, str], ...],
        body: bytes,
        version: Version,
    ) -> bytes:
        """The second part of a MESSAGE: `destination` and `message-id`, more headers,
        `content-length` of a non-empty body, blank line, body, NUL.

        The server's own headers stand first, so that "the first wins" protects the client (STOMP
        1.2, Repeated Header Entries).

        Args:
            destination: As the receivers see it.
            message_id: The id that all receivers see.
            headers: Names and values in order, each escaped as the version demands.
            body: The octets of the body.
            version: The version of the receivers.

        Raises:
            LocalProtocolError: As `encode`.
        """
        may_repeat = len(headers) < 2
        kind = destination, headers, version
        around = self._known.get(kind) if may_repeat else None
        if around is None:
            around = _around(destination, headers, DIALECTS[version])
            if may_repeat:
                if len(self._known) >= KINDS:
                    self._known.clear()
                self._known[kind] = around
        before, behind = around
        # What every dialect writes as it is, as ours are.
        plain = message_id.isascii() and message_id.isprintable()
        if not plain or ":" in message_id or "\\" in message_id:
            line = _write((("message-id", message_id),), DIALECTS[version])
            written = _to_octets(line[len("message-id:") : -1])
        else:
            written = message_id.encode()
        if not body:
            return b"%b%b%b\n\0" % (before, written, behind)
        return b"%b%b%bcontent-length:%d\n\n%b\0" % (before, written, behind, len(body), body)


_Kind: TypeAlias = tuple[str, tuple[tuple[str, str], ...], Version]


def _around(
    destination: str, headers: tuple[tuple[str, str], ...], dialect: Dialect
) -> tuple[bytes, bytes]:
    """The octets before the value of `message-id`, and those behind it."""
    before = f"{_write((('destination', destination),), dialect)}message-id:"
    return _to_octets(before), _to_octets(f"\n{_write(headers, dialect)}")


def _write(headers: Iterable[tuple[str, str]], dialect: Dialect) -> str:
    pairs = [*headers]
    if not pairs:
        return ""
    text = "".join([f"{name}:{value}\n" for name, value in pairs])
    # Each header brought one colon and one LF. If there are no others, and none of the rest that
    # is special, then no dialect writes it differently: one look at the text, not one a header.
    count = len(pairs)
    if (
        text.count("\n") == count
        and text.count(":") == count
        and "\\" not in text
        and "\r" not in text
        and "\0" not in text
        and "\n:" not in text
        and text[0] != ":"
        and "content-length" not in text
    ):
        return text
    return "".join([_write_header(name, value, dialect) for name, value in pairs])


def _write_header(name: str, value: str, dialect: Dialect) -> str:
    if not name or "\0" in name or "\0" in value:
        raise LocalProtocolError("a header must have a name, and hold no NUL")
    if name == "content-length":
        return ""
    for character in dialect.nameless:
        if character in name:
            if dialect is PLAIN:
                raise LocalProtocolError("CONNECT and CONNECTED cannot hold such a name")
            return ""
    for character in dialect.dropped:
        if character in value:
            if dialect is PLAIN:
                raise LocalProtocolError("CONNECT and CONNECTED cannot hold a line end")
            value = value.replace(character, "")
    if dialect.escapes:
        name = escape(name, dialect.escapes)
        value = escape(value, dialect.escapes)
    return f"{name}:{value}\n"


def _to_octets(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise LocalProtocolError("a header holds a lone surrogate, which is not Unicode") from None

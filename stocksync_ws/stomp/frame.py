"""One STOMP frame, the commands, the versions, and the headers a frame must have.

Rule: a `Frame` is what was meant, not how it was written: names and values are unescaped, of a
repeated header the first is kept, and nothing here looks at octets.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from stocksync_ws.codes import ErrorCode
from stocksync_ws.errors import RemoteProtocolError

__all__ = [
    "ABORT",
    "ACK",
    "BEGIN",
    "CLIENT_COMMANDS",
    "COMMIT",
    "CONNECT",
    "CONNECTED",
    "DISCONNECT",
    "ERROR",
    "MESSAGE",
    "NACK",
    "RECEIPT",
    "SEND",
    "SERVER_COMMANDS",
    "STOMP",
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "Frame",
    "Version",
    "flag",
    "missing",
    "required",
]

CONNECT = "CONNECT"
STOMP = "STOMP"
SEND = "SEND"
SUBSCRIBE = "SUBSCRIBE"
UNSUBSCRIBE = "UNSUBSCRIBE"
ACK = "ACK"
NACK = "NACK"
BEGIN = "BEGIN"
COMMIT = "COMMIT"
ABORT = "ABORT"
DISCONNECT = "DISCONNECT"

CONNECTED = "CONNECTED"
MESSAGE = "MESSAGE"
RECEIPT = "RECEIPT"
ERROR = "ERROR"

CLIENT_COMMANDS = frozenset(
    (
        CONNECT,
        STOMP,
        SEND,
        SUBSCRIBE,
        UNSUBSCRIBE,
        ACK,
        NACK,
        BEGIN,
        COMMIT,
        ABORT,
        DISCONNECT,
    )
)
"""What a client may send; NACK not in 1.0."""
SERVER_COMMANDS = frozenset((CONNECTED, MESSAGE, RECEIPT, ERROR))
"""What a server may send."""

_SECRET = frozenset(("passcode", "authorization", "cookie"))
_REPR_LIMIT = 200


class Version(StrEnum):
    """The versions of STOMP, lowest first."""

    V10 = "1.0"
    V11 = "1.1"
    V12 = "1.2"


class Frame:
    """One frame: command, unescaped headers, body.

    Attributes:
        command: The command as it was sent; a connection opened with STOMP stays "STOMP".
        headers: Names (case-sensitive) and values; of a repeated header the first.
        body: The octets of the body; empty where the frame has none.
    """

    __slots__ = ("body", "command", "headers")

    def __init__(self, command: str, headers: dict[str, str], body: bytes = b"") -> None:
        self.command = command
        self.headers = headers
        self.body = body

    def replace(
        self, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Frame:
        """The same frame with other headers or another body, for an inbound interceptor to return.

        Args:
            headers: All of them, `{**frame.headers, "tenant": "acme"}`; None: unchanged.
            body: The octets; None: unchanged. A `content-length` is made to fit.
        """
        changed = dict(self.headers if headers is None else headers)
        octets = self.body if body is None else body
        if body is not None and "content-length" in changed:
            changed["content-length"] = str(len(octets))
        return Frame(self.command, changed, octets)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Frame):
            return NotImplemented
        return (
            self.command == other.command
            and self.headers == other.headers
            and self.body == other.body
        )

    __hash__ = None  # type: ignore[assignment]  # headers are a dict, and change

    def __repr__(self) -> str:
        headers = {
            name: "***" if name.lower() in _SECRET else value
            for name, value in self.headers.items()
        }
        text = f"Frame({self.command!r}, {headers!r}, {self.body[:_REPR_LIMIT]!r})"
        return text if len(text) <= _REPR_LIMIT else text[: _REPR_LIMIT - 3] + "..."


_TRANSACTION = dict.fromkeys((BEGIN, COMMIT, ABORT), ("transaction",))
_ALWAYS = {SEND: ("destination",), RECEIPT: ("receipt-id",), **_TRANSACTION}
# Not here although 1.1 and 1.2 demand them: accept-version (its absence means 1.0) and host of
# CONNECT, which hardly any client over WebSocket sends.
_REQUIRED: dict[Version, dict[str, tuple[str, ...]]] = {
    Version.V10: {
        **_ALWAYS,
        SUBSCRIBE: ("destination",),
        ACK: ("message-id",),
        CONNECTED: ("session",),
        MESSAGE: ("destination", "message-id"),
    },
    Version.V11: {
        **_ALWAYS,
        SUBSCRIBE: ("destination", "id"),
        UNSUBSCRIBE: ("id",),
        ACK: ("message-id", "subscription"),
        NACK: ("message-id", "subscription"),
        CONNECTED: ("version",),
        MESSAGE: ("destination", "message-id", "subscription"),
    },
    Version.V12: {
        **_ALWAYS,
        SUBSCRIBE: ("destination", "id"),
        UNSUBSCRIBE: ("id",),
        ACK: ("id",),
        NACK: ("id",),
        CONNECTED: ("version",),
        MESSAGE: ("destination", "message-id", "subscription"),
    },
}


def required(frame: Frame, version: Version) -> None:
    """Check that a frame has the headers its command demands (STOMP 1.2, "Standard Headers").

    An empty value counts as present; what it may hold is not looked at.

    Args:
        frame: A decoded frame of either side.
        version: The version of its session.

    Raises:
        RemoteProtocolError: `missing-header`, with command and headers; the peer's fault.
    """
    headers = frame.headers
    for name in _REQUIRED[version].get(frame.command, ()):
        if name not in headers:
            raise missing(frame, name)
    # 1.0 alone names a subscription by its destination where it has no id.
    if (
        frame.command == UNSUBSCRIBE
        and version is Version.V10
        and "id" not in headers
        and "destination" not in headers
    ):
        raise missing(frame, "id or destination")


def missing(frame: Frame, name: str) -> RemoteProtocolError:
    """The error of a frame without a header that it needs."""
    detail = f"{frame.command} needs {name}."
    return RemoteProtocolError(ErrorCode.MISSING_HEADER, frame.command, frame.headers, detail)


def flag(frame: Frame, name: str, default: bool) -> bool:
    """Read a header that is true or false; `default` where it is missing.

    Args:
        frame: A decoded frame.
        name: The header: `true`, `false`, `1` or `0`, in any case.
        default: What its absence means.

    Raises:
        RemoteProtocolError: `bad-header`; the peer's fault.
    """
    text = frame.headers.get(name)
    if text is None:
        return default
    value = _FLAGS.get(text.lower())
    if value is None:
        detail = f"It is {name}: true or false."
        raise RemoteProtocolError(ErrorCode.BAD_HEADER, frame.command, frame.headers, detail)
    return value


_FLAGS = {"true": True, "1": True, "false": False, "0": False}

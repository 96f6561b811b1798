"""Codes: the catalogue of ERROR codes, close codes and reasons of disconnects.

Rule: `ErrorCode` is the one catalogue of what an ERROR frame may say: fixed texts, never the text
of an exception (`docs/errors.md` is made from it). Behind them stands at most a `detail` of our own
names and numbers, never a word of the peer.
"""

from __future__ import annotations

from enum import Enum, IntEnum, StrEnum
from typing import TypeAlias

__all__ = ["CloseCode", "DisconnectReason", "ErrorCode", "Fault"]


class CloseCode(IntEnum):
    """WebSocket close codes we send (RFC 6455 §7.4; 4000-4999 are the application's own).

    A client should reconnect after 1001, 1011, 1012, 1013 and 4000-4499, and should not after the
    others.
    """

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    INVALID_DATA = 1007
    POLICY = 1008
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    RESTART = 1012
    TRY_LATER = 1013
    HEART_BEAT_LOST = 4000
    CREDENTIALS_EXPIRED = 4001
    SLOW_CONSUMER = 4008
    HISTORY_LOST = 4010
    BACKPLANE_LOST = 4012
    CONNECT_REFUSED = 4500
    BAD_CREDENTIALS = 4501
    KICKED = 4503
    USER_LIMIT = 4505


class DisconnectReason(StrEnum):
    """The reason why a session ended; stands in `SessionDisconnected` and in the log line."""

    CLIENT_DISCONNECT = "client_disconnect"
    PEER_CLOSED = "peer_closed"
    CONNECTION_LOST = "connection_lost"
    HEART_BEAT_LOST = "heart_beat_lost"
    PROTOCOL_ERROR = "protocol_error"
    LIMIT_EXCEEDED = "limit_exceeded"
    ACCESS_DENIED = "access_denied"
    SLOW_CONSUMER = "slow_consumer"
    HISTORY_LOST = "history_lost"
    BACKPLANE_LOST = "backplane_lost"
    HANDLER_FAILED = "handler_failed"
    CREDENTIALS_EXPIRED = "credentials_expired"
    KICKED = "kicked"
    SERVER_SHUTDOWN = "server_shutdown"
    INTERNAL_ERROR = "internal_error"


class Fault(StrEnum):
    """The party whose fault an error is."""

    PEER = "peer"
    APPLICATION = "application"
    SERVER = "server"


_Row: TypeAlias = "tuple[str, CloseCode, Fault, str, str]"


def _row(code: str, close: CloseCode, fault: Fault, message: str, sentence: str) -> _Row:
    return code, close, fault, message, sentence


def _broken(code: str, message: str, sentence: str) -> _Row:
    return code, CloseCode.PROTOCOL_ERROR, Fault.PEER, message, sentence


def _refused(code: str, message: str, sentence: str) -> _Row:
    return code, CloseCode.POLICY, Fault.PEER, message, sentence


class ErrorCode(Enum):
    """The contents of ERROR frames: the `code` header, its fixed `message`, its body, and the close
    after it.

    `limit` stands twice: a count over its bound closes with 1008, a size over its bound with 1009.
    """

    code: str
    close: CloseCode
    fault: Fault
    message: str
    sentence: str

    def __init__(
        self, code: str, close: CloseCode, fault: Fault, message: str, sentence: str
    ) -> None:
        self.code = code
        self.close = close
        self.fault = fault
        self.message = message
        self.sentence = sentence

    @property
    def reason(self) -> DisconnectReason:
        """The reason `SessionDisconnected` gives when this error ended the session."""
        return _REASONS.get(self.code, _REASON_OF_FAULT[self.fault])

    # The peer broke the protocol.
    NOT_CONNECTED = _broken(
        "not-connected", "Not connected", "The first frame must be CONNECT or STOMP."
    )
    ALREADY_CONNECTED = _broken(
        "already-connected", "Already connected", "CONNECT may be sent only once."
    )
    UNSUPPORTED_VERSION = _broken(
        "unsupported-version", "Unsupported version", "Supported protocol versions are 1.0 1.1 1.2."
    )
    UNKNOWN_COMMAND = _broken(
        "unknown-command",
        "Unknown command",
        "The command is not one a STOMP client may send in this version.",
    )
    BAD_HEADER = _broken(
        "bad-header",
        "Malformed header",
        "A header line is not of the form name:value, or its value is not allowed.",
    )
    BAD_ESCAPE = _broken(
        "bad-escape",
        "Undefined escape sequence",
        "A header contains a backslash sequence that this STOMP version does not define.",
    )
    BAD_UTF8 = _broken(
        "bad-utf8", "Header is not UTF-8", "Command and headers must be encoded in UTF-8."
    )
    BAD_CONTENT_LENGTH = _broken(
        "bad-content-length",
        "Bad content-length",
        "content-length must be one number of 1 to 10 decimal digits.",
    )
    MISSING_NUL = _broken(
        "missing-nul",
        "Missing NUL",
        "The octet after the body must be NUL; content-length counts octets, not characters.",
    )
    BODY_NOT_ALLOWED = _broken(
        "body-not-allowed",
        "Body not allowed",
        "Only SEND may have a body; the empty line stands behind the headers, and NUL behind it.",
    )
    REPEATED_HEADER = _broken(
        "repeated-header",
        "Repeated header",
        "A header that decides what the frame does is there twice with different values.",
    )
    MISSING_HEADER = _broken(
        "missing-header", "Missing header", "A header that the command requires is missing."
    )
    BAD_HEART_BEAT = _broken(
        "bad-heart-beat",
        "Bad heart-beat",
        "heart-beat must be two numbers of milliseconds, separated by a comma.",
    )
    BAD_ACK_MODE = _broken(
        "bad-ack-mode", "Bad ack mode", "ack must be auto, client or client-individual."
    )
    BAD_DESTINATION = _broken(
        "bad-destination",
        "Bad destination",
        "A destination is made of /segments, none of them empty, '.' or '..': /topic/inventory.",
    )
    DUPLICATE_SUBSCRIPTION = _broken(
        "duplicate-subscription",
        "Duplicate subscription",
        "The subscription id is in use on this connection; each one needs its own.",
    )
    UNKNOWN_SUBSCRIPTION = _broken(
        "unknown-subscription",
        "Unknown subscription",
        "There is no subscription with this id on this connection; it is that of its SUBSCRIBE.",
    )
    UNKNOWN_ACK = _broken(
        "unknown-ack",
        "Unknown acknowledgement",
        "No message with this id was ever delivered on this connection; it is the header ack of the"
        " MESSAGE, before STOMP 1.2 its message-id.",
    )
    DUPLICATE_TRANSACTION = _broken(
        "duplicate-transaction", "Duplicate transaction", "The transaction is open already."
    )
    UNKNOWN_TRANSACTION = _broken(
        "unknown-transaction", "Unknown transaction", "There is no open transaction with this name."
    )

    # What arrived does not fit, or is not allowed.
    BAD_PAYLOAD = _row(
        "bad-payload",
        CloseCode.INVALID_DATA,
        Fault.PEER,
        "Bad payload",
        "The body is not what the destination expects.",
    )
    SEND_DENIED = _refused(
        "send-denied", "SEND denied", "This client may not send to the destination."
    )
    SUBSCRIBE_DENIED = _refused(
        "subscribe-denied", "SUBSCRIBE denied", "This client may not subscribe to the destination."
    )
    NO_DESTINATION = _refused(
        "no-destination",
        "No such destination",
        "The destination is under none of the prefixes that this server serves.",
    )
    NO_HANDLER = _refused(
        "no-handler", "No handler", "The application has no handler for the destination."
    )
    CONNECT_TIMEOUT = _refused(
        "connect-timeout", "CONNECT timed out", "No CONNECT frame arrived in time."
    )
    FRAME_TIMEOUT = _refused(
        "frame-timeout", "Frame timed out", "A frame was begun and not finished in time."
    )
    UNSUPPORTED = _refused(
        "unsupported",
        "Unsupported",
        "The frame asks for a feature that this server does not offer.",
    )
    IDEMPOTENCY_MISMATCH = _refused(
        "idempotency-mismatch",
        "Idempotency key reused",
        "The idempotency key was used before with another body.",
    )
    LIMIT_COUNT = _refused(
        "limit", "Limit exceeded", "There is more of something than the server allows."
    )
    LIMIT_SIZE = _row(
        "limit",
        CloseCode.TOO_BIG,
        Fault.PEER,
        "Limit exceeded",
        "The frame, or a part of it, is larger than the server allows.",
    )

    # The application or the server failed.
    HANDLER_FAILED = _row(
        "handler-failed",
        CloseCode.INTERNAL_ERROR,
        Fault.APPLICATION,
        "Handler failed",
        "The application failed to handle the frame.",
    )
    HANDLER_TIMEOUT = _row(
        "handler-timeout",
        CloseCode.INTERNAL_ERROR,
        Fault.APPLICATION,
        "Handler timed out",
        "The application took too long to handle the frame.",
    )
    INTERNAL_ERROR = _row(
        "internal-error",
        CloseCode.INTERNAL_ERROR,
        Fault.SERVER,
        "Internal error",
        "The server failed.",
    )
    QUEUE_FULL = _row(
        "queue-full",
        CloseCode.TRY_LATER,
        Fault.SERVER,
        "Queue full",
        "The queue has no room for the message.",
    )
    RATE_LIMITED = _row(
        "rate-limited",
        CloseCode.TRY_LATER,
        Fault.PEER,
        "Rate limited",
        "More frames came than this client may send; retry-after says when to send the next one.",
    )
    BACKPLANE_UNAVAILABLE = _row(
        "backplane-unavailable",
        CloseCode.TRY_LATER,
        Fault.SERVER,
        "Backplane unavailable",
        "The server cannot reach the engine behind its workers; nothing was sent or subscribed.",
    )
    PUBLISH_UNCERTAIN = _row(
        "publish-uncertain",
        CloseCode.TRY_LATER,
        Fault.SERVER,
        "Publish uncertain",
        "The engine behind the workers has not answered in time; the message may have been sent.",
    )
    CONNECT_REFUSED = _row(
        "connect-refused",
        CloseCode.CONNECT_REFUSED,
        Fault.PEER,
        "Connection refused",
        "The application refused the connection.",
    )
    BAD_CREDENTIALS = _row(
        "bad-credentials",
        CloseCode.BAD_CREDENTIALS,
        Fault.PEER,
        "Bad credentials",
        "Login or passcode is wrong.",
    )
    CREDENTIALS_EXPIRED = _row(
        "credentials-expired",
        CloseCode.CREDENTIALS_EXPIRED,
        Fault.PEER,
        "Credentials expired",
        "The credentials of the session have ended; connect again with new ones.",
    )

    # The application ends what it has let in.
    KICKED = _row(
        "kicked",
        CloseCode.KICKED,
        Fault.APPLICATION,
        "Disconnected",
        "The application ended this session.",
    )
    USER_LIMIT = _row(
        "user-limit",
        CloseCode.USER_LIMIT,
        Fault.PEER,
        "Too many sessions",
        "The user has as many sessions as the server allows.",
    )
    SUBSCRIPTION_REVOKED = _refused(
        "subscription-revoked",
        "Subscription revoked",
        "This client may not subscribe to the destination any more; the subscription has ended.",
    )


_REASONS = {
    "limit": DisconnectReason.LIMIT_EXCEEDED,
    "connect-timeout": DisconnectReason.LIMIT_EXCEEDED,
    "frame-timeout": DisconnectReason.LIMIT_EXCEEDED,
    "queue-full": DisconnectReason.LIMIT_EXCEEDED,
    "rate-limited": DisconnectReason.LIMIT_EXCEEDED,
    "send-denied": DisconnectReason.ACCESS_DENIED,
    "subscribe-denied": DisconnectReason.ACCESS_DENIED,
    "connect-refused": DisconnectReason.ACCESS_DENIED,
    "bad-credentials": DisconnectReason.ACCESS_DENIED,
    "credentials-expired": DisconnectReason.CREDENTIALS_EXPIRED,
    "kicked": DisconnectReason.KICKED,
    "user-limit": DisconnectReason.LIMIT_EXCEEDED,
}
_REASON_OF_FAULT = {
    Fault.PEER: DisconnectReason.PROTOCOL_ERROR,
    Fault.APPLICATION: DisconnectReason.HANDLER_FAILED,
    Fault.SERVER: DisconnectReason.INTERNAL_ERROR,
}

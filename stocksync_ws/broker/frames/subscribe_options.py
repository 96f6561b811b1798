"""What a SUBSCRIBE asks for, read off its headers.

Rule: pure. The options of a client are `ack`, `prefetch-count`, `durable`, `last-message-id` and
`history`; any other header means nothing, except a `selector`, which must not be taken for one that
works.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from stocksync_ws.broker.model.ledger import AckMode
from stocksync_ws.broker.model.namespace import printable
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.codes import ErrorCode
from stocksync_ws.config import Limits, exceeded
from stocksync_ws.errors import RemoteProtocolError
from stocksync_ws.stomp.frame import Frame, flag

__all__ = [
    "ALL",
    "SubscribeOptions",
    "check_presence",
    "ended_keys",
    "read_subscribe",
    "wants_durable",
]

ALL = 10**10
"""More messages than a `history` header can name."""


_RARE: Final = frozenset(
    ("selector", "prefetch-count", "durable", "persistent", "last-message-id", "history")
)
"""Headers without which a SUBSCRIBE asks for nothing beyond its id and its mode."""
_MODES: Final = {mode.value: mode for mode in AckMode}


class SubscribeOptions(NamedTuple):
    """The options of one SUBSCRIBE."""

    key: str
    """The key by which the session knows the subscription."""
    id: str | None
    """None for STOMP 1.0 without one."""
    mode: AckMode
    prefetch: int
    """Messages that may be unsettled."""
    durable: bool
    last_message_id: str | None
    """The last message its client saw, or None."""
    history: int | None
    """So many of the newest messages are to come first; None: as the destination's policy says."""
    receipt: bool
    """There will be a RECEIPT to tell it something."""
    asked: Frame | None = None
    """The frame, where the function of a rule was asked about it."""


def read_subscribe(session: SessionRecord, frame: Frame, limits: Limits) -> SubscribeOptions:
    """Read the headers of a SUBSCRIBE.

    Raises:
        RemoteProtocolError: One of them is malformed, the id is in use, or there are too many
            subscriptions; the peer's fault.
    """
    headers = frame.headers
    if "selector" in headers:
        raise _refused(ErrorCode.UNSUPPORTED, frame, "It is the header selector.")
    mode = _MODES.get(headers.get("ack", "auto"))
    if mode is None:
        raise _refused(ErrorCode.BAD_ACK_MODE, frame)
    key = _key(frame)
    if key in session.subscriptions.active or key in (session.subscriptions.reply_queues or ()):
        raise _refused(ErrorCode.DUPLICATE_SUBSCRIPTION, frame)
    if len(session.subscriptions.active) >= limits.max_subscriptions:
        got = len(session.subscriptions.active) + 1
        raise _refused(ErrorCode.LIMIT_COUNT, frame, exceeded(limits, "max_subscriptions", got))
    plain = _RARE.isdisjoint(headers)
    return SubscribeOptions(
        key,
        headers.get("id"),
        mode,
        limits.ack_window if plain else _prefetch(frame, limits.ack_window),
        not plain and wants_durable(frame),
        headers.get("last-message-id"),
        None if plain else _history(frame),
        "receipt" in headers,
    )


def check_presence(frame: Frame, wanted: SubscribeOptions) -> None:
    """Check what a SUBSCRIBE to a presence asks for: it is settled with its writing and begins with
    the whole state, so there is nothing to acknowledge, and nothing to keep for a name.

    Raises:
        RemoteProtocolError: It asks for one of the two.
    """
    if wanted.mode is not AckMode.AUTO:
        raise _refused(ErrorCode.UNSUPPORTED, frame, "It is the header ack: a presence takes auto.")
    if wanted.durable:
        detail = "It is the header durable: a presence begins with its state."
        raise _refused(ErrorCode.UNSUPPORTED, frame, detail)


def _key(frame: Frame) -> str:
    """The key of a subscription: its id, or in 1.0 without one its destination."""
    subscription_id = frame.headers.get("id")
    if subscription_id is None:
        return "\0" + frame.headers["destination"]
    if not printable(subscription_id):
        raise _refused(ErrorCode.BAD_HEADER, frame, "It is id: no control characters.")
    return subscription_id


def ended_keys(session: SessionRecord, frame: Frame) -> list[str]:
    """The keys that an UNSUBSCRIBE means. In 1.0 it may name by its destination what has an id, and
    then it ends every subscription to that destination (STOMP 1.0, "UNSUBSCRIBE").

    Raises:
        RemoteProtocolError: The id holds a control character.
    """
    if "id" in frame.headers:
        return [_key(frame)]
    destination = frame.headers["destination"]
    subscriptions = session.subscriptions.active.items()
    return [key for key, each in subscriptions if each.destination == destination] or [_key(frame)]


def wants_durable(frame: Frame) -> bool:
    """The frame is about a durable name.

    Raises:
        RemoteProtocolError: `durable` or `persistent` is neither true nor false.
    """
    durable = flag(frame, "durable", False)
    return flag(frame, "persistent", False) or durable


def _prefetch(frame: Frame, window: int) -> int:
    """`prefetch-count` narrows the window; 0 and what is more than it mean the window."""
    text = frame.headers.get("prefetch-count", "0")
    if not _is_count(text):
        raise _refused(ErrorCode.BAD_HEADER, frame, "It is prefetch-count: up to 10 digits.")
    return min(int(text) or window, window)


def _history(frame: Frame) -> int | None:
    """`history` is `all` or a number of messages."""
    text = frame.headers.get("history")
    if text is None:
        return None
    if text == "all":
        return ALL
    if not _is_count(text):
        raise _refused(ErrorCode.BAD_HEADER, frame, "It is history: all, or up to 10 digits.")
    return int(text)


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10


def _refused(code: ErrorCode, frame: Frame, detail: str = "") -> RemoteProtocolError:
    return RemoteProtocolError(code, frame.command, frame.headers, detail)

"""How a session ends: one table from (state, cause) to the next state and what is done, in order.

Rule: pure data. What is not in the table does nothing: a session that is closing is not closed
again, and one that has closed is not lost. The page docs/sessions.md is made from this table.

The order matters. A session leaves its subscriptions before anything else, so that nothing
reaches it any more. What was queued and not sent is marked as not delivered before the mailbox is
emptied, and the mailbox is emptied before deliveries go back, so that each goes back once; what
goes back may set a clock, so the timer is disarmed behind it. Listeners are told last, when
everything has its number.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from stocksync_ws.broker.model.state import State
from stocksync_ws.codes import DisconnectReason

__all__ = ["BLAMING", "ENDS", "Cause", "Effect", "End"]

BLAMING = frozenset(
    (
        DisconnectReason.CONNECTION_LOST,
        DisconnectReason.PEER_CLOSED,
        DisconnectReason.HEART_BEAT_LOST,
        DisconnectReason.PROTOCOL_ERROR,
        DisconnectReason.SLOW_CONSUMER,
    )
)
"""Ends that a message may be to blame for: the oldest delivery of each subscription that was
written and not settled counts as failed.
"""


class Cause(Enum):
    """Why a session ends."""

    REFUSED = "the handshake is refused"
    """By the application, or because the server stops; the answer is an HTTP error."""
    CLOSED = "we close it"
    """In good order: what waits is written, then the close handshake."""
    CLOSED_NOW = "we close it, messages dropped"
    """Messages that wait are thrown away, so that the close is not behind them."""
    LOST = "the stream ended"
    """No frame is in work, and none waits."""
    LOST_AT_WORK = "the stream ended, frames are left"
    """A frame is in work or waits."""
    DONE = "the last frame is done"
    """What had arrived before the stream ended was processed, or its time is over."""

    __hash__ = object.__hash__


class Effect(Enum):
    """What is done when a session ends."""

    LOSE_TRANSPORT = "transport lost"
    """Messages of queues that the transport had not written are lost, and told."""
    LEAVE = "subscriptions end"
    """Its private queues too: nothing reaches it any more. Each is told as `SessionUnsubscribed`.
    Its handler has 5 s.
    """
    UNSEND = "deliveries unsent"
    """Messages that wait in the mailbox are marked as not delivered."""
    DROP_MESSAGES = "messages dropped"
    """MESSAGEs are taken out of the mailbox; RECEIPTs and ERROR stay."""
    DROP_ALL = "mailbox emptied"
    """Nobody is there to be told anything."""
    DISPATCH = "queues go on"
    """Messages that came back to queues go to other consumers."""
    SETTLE_UP = "accounts settled"
    """Open transactions are aborted. What is unsettled goes back to its queue, and to other
    consumers; elsewhere the obligation ends.
    """
    PART = "leaves its user"
    """The session counts no more among those of its user."""
    SAY_CLOSE = "close queued"
    """The close handshake, behind what waits. After `close_timeout` the connection is reset."""
    WAIT = "last frames processed"
    """Frames that had arrived are processed, for 5 s at most."""
    FORGET = "session forgotten"
    """Its input is thrown away, its timer disarmed, its id forgotten."""
    CANCEL = "handler cancelled"
    """User code that still runs for the session is asked to end now."""
    TELL = "`SessionDisconnected`"
    """Told to the listeners, behind the log line."""

    __hash__ = object.__hash__


class End(NamedTuple):
    """A row of the table."""

    state: State
    """The state after it."""
    effects: tuple[Effect, ...]


_OPENING, _AWAITING, _CONNECTED = State.OPENING, State.AWAITING, State.CONNECTED
_ENDING, _CLOSING, _CLOSED = State.ENDING, State.CLOSING, State.CLOSED
_LEAVE = (Effect.LEAVE, Effect.UNSEND)
_EMPTY = (Effect.DROP_ALL, Effect.SETTLE_UP, Effect.FORGET)
_GONE = (*_EMPTY, Effect.CANCEL)
_SAID = (Effect.SETTLE_UP, Effect.SAY_CLOSE)
_UNKNOWN = End(_CLOSED, (Effect.LOSE_TRANSPORT, *_LEAVE, *_GONE))
_OVER = End(_CLOSED, (*_GONE, Effect.TELL))

ENDS: Mapping[tuple[State, Cause], End] = {
    (_OPENING, Cause.REFUSED): End(_CLOSED, (*_LEAVE, *_GONE)),
    (_OPENING, Cause.LOST): _UNKNOWN,
    (_OPENING, Cause.LOST_AT_WORK): _UNKNOWN,
    (_AWAITING, Cause.CLOSED): End(_CLOSING, (Effect.LEAVE, *_SAID)),
    (_AWAITING, Cause.CLOSED_NOW): End(_CLOSING, (*_LEAVE, Effect.DROP_MESSAGES, *_SAID)),
    (_AWAITING, Cause.LOST): _UNKNOWN,
    (_AWAITING, Cause.LOST_AT_WORK): _UNKNOWN,
    (_CONNECTED, Cause.CLOSED): End(_CLOSING, (Effect.LEAVE, Effect.PART, *_SAID, Effect.TELL)),
    (_CONNECTED, Cause.CLOSED_NOW): End(
        _CLOSING, (*_LEAVE, Effect.PART, Effect.DROP_MESSAGES, *_SAID, Effect.TELL)
    ),
    (_CONNECTED, Cause.LOST): End(
        _CLOSED, (Effect.LOSE_TRANSPORT, *_LEAVE, Effect.PART, *_GONE, Effect.TELL)
    ),
    (_CONNECTED, Cause.LOST_AT_WORK): End(
        _ENDING,
        (
            Effect.LOSE_TRANSPORT,
            *_LEAVE,
            Effect.PART,
            Effect.DROP_ALL,
            Effect.DISPATCH,
            Effect.WAIT,
        ),
    ),
    (_ENDING, Cause.CLOSED): _OVER,
    (_ENDING, Cause.CLOSED_NOW): _OVER,
    (_ENDING, Cause.DONE): _OVER,
    (_CLOSING, Cause.LOST): End(_CLOSED, (Effect.LOSE_TRANSPORT, *_EMPTY)),
    (_CLOSING, Cause.LOST_AT_WORK): End(_CLOSED, (Effect.LOSE_TRANSPORT, *_EMPTY)),
}

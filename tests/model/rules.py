"""What both brokers are told: destinations, policies, bounds and times.

Rule: constants only. Bounds are so small that a round of 150 steps reaches each of them; times are
exact binary fractions, so that both sides agree to the last bit.
"""

from __future__ import annotations

from typing import Literal

WINDOW, HISTORY, PENDING, QUEUE, NAMES = 3, 4, 5, 6, 2
ATTEMPTS, USER_ATTEMPTS = 4, 5
AGE, ACK_TIMEOUT, QUEUE_TIMEOUT = 60.0, 30.0, 20.0
AWAY, TX_SECONDS, KEY_SECONDS, QUEUE_IDLE = 300.0, 60.0, 300.0, 130.0
KEYS, KEYS_OF_ONE, KEYS_OF_ANONYMOUS = 10, 2, 5
SHARE = 0.2
TX_OPEN, TX_FRAMES = 2, 3
HANDLER_SECONDS, FRAME_SECONDS, CLOSE_SECONDS = 16.0, 32.0, 5.0
GIVE_UP, MOMENT = 5.0, 0.05
STALL_SECONDS = 250.0
FLUSH_DELAY = 1 / 512
"""Of the topics to which no handler publishes: the naive broker knows of no delay, and frames that
waited for a handler would come before what it has published was sent.
"""
BEAT_SECONDS, GRACE, EARLY = 10.0, 3.0, 0.9

STREAM, LATEST, LOSSY, PLAIN = "/topic/stream", "/topic/latest", "/topic/lossy", "/topic/plain"
SNAP, FRESH = "/topic/snap", "/topic/fresh"
RECENT = "/topic/recent"
QUEUE_A, QUEUE_B, DEAD = "/queue/a", "/queue/b", "/queue/dead"
MINE, ERRORS = "/user/queue/mine", "/user/queue/errors"
CLOSED = "/topic/closed"
"""No client may use it."""

PLACES = (STREAM, LATEST, LOSSY, PLAIN, QUEUE_A, QUEUE_B, DEAD, SNAP, FRESH, RECENT)
ONCE = (QUEUE_A, STREAM, LOSSY)
"""One delivery may fail: the first loss already has a message go by itself."""
STREAMS = (STREAM, SNAP, RECENT)
WITH_HISTORY = (STREAM, LATEST, SNAP, RECENT)
BEGINS: dict[str, Literal["history"] | int] = {SNAP: 2, RECENT: "history"}
"""With what a SUBSCRIBE begins that does not say so; elsewhere with what comes next."""
SNAPSHOTS = (SNAP, FRESH)
"""Their subscribers get a snapshot first."""
DEAD_LETTER = {PLAIN: DEAD, QUEUE_B: PLAIN}
USERS = ("u-ann-7", "u-bob-7")
"""Names that stand nowhere else: no client may see that of another."""
SECRET = "HUSH-4711"
"""Stands in every exception of user code, and nowhere else: no client may ever see it."""


def is_queue(address: str) -> bool:
    """Competing consumers; else everybody gets everything."""
    return address.startswith(("/queue/", "reply:"))


def refusal(command: str, destination: str) -> str | None:
    """What a client is told that may not SEND or SUBSCRIBE to a destination."""
    if destination.startswith(("/app/", "reply:")):
        return None
    if destination.startswith("/user/"):
        allowed = command == "SUBSCRIBE" and destination in (MINE, ERRORS)
    elif destination.startswith(("/topic/", "/queue/")):
        allowed = destination in PLACES
    else:
        return "no-destination"
    return None if allowed else f"{command.lower()}-denied"


def own(owner: str, path: str) -> str:
    """The address behind a user destination."""
    return f"{owner}:{path}"


def attempts(address: str) -> int:
    """Deliveries of one message that count, in all."""
    if address in ONCE:
        return 1
    return ATTEMPTS if address in PLACES else USER_ATTEMPTS


def ack_timeout(address: str) -> float | None:
    """Seconds a delivery may stay unsettled."""
    if address == QUEUE_B:
        return QUEUE_TIMEOUT
    return None if is_queue(address) else ACK_TIMEOUT

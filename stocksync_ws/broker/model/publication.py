"""One message on its way to subscribers: encoded once per STOMP version, shared by all receivers.

Rule: nothing in here knows a receiver. What differs per receiver is the head of the frame, made per
group. A publication has no place in a log: several may keep it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from stocksync_ws.stomp.encoder import TailEncoder
from stocksync_ws.stomp.frame import Version
from stocksync_ws.types import Target, ToSession

if TYPE_CHECKING:
    from stocksync_ws.broker.model.owner import Owner
    from stocksync_ws.broker.model.session import Session

__all__ = ["Draft", "Publication", "PublicationKind", "Published", "Told", "expiry", "find_header"]


@dataclass(frozen=True, slots=True)
class Published:
    """The outcome of a publication: its id, and how many subscriptions it was queued for."""

    message_id: str
    """The `message-id` all receivers see."""
    receivers: int
    """Subscriptions it was queued for; with a backplane those of this worker."""
    workers: int = 0
    """Other workers that the backplane has pushed it to; of a publisher that is no worker, all."""
    duplicate: bool = False
    """The idempotency key was known: the id is that of the first message, and none was sent now."""


Told: TypeAlias = Callable[[Published | None, Exception | None], None]
"""Hears what became of a publication: one of the two is None."""


class PublicationKind(Enum):
    """The kinds of publications; whatever is asked at an admission may depend on it."""

    MESSAGE = "message"
    DEAD_LETTER = "dead letter"
    """A message that could not be delivered; not dead-lettered a second time."""
    ANSWER = "answer"
    """The reply to a SUBSCRIBE to the application, for that subscription alone."""
    SNAPSHOT = "snapshot"
    """The first MESSAGE of a subscription, for that subscription alone."""
    PRESENCE = "presence"
    """A message that tells followers of a destination who is there; no interceptor sees it."""
    ERROR_REPLY = "error reply"
    """The message that tells a session of an error of the application."""


class Draft:
    """A message that somebody wants published: converted and validated, not yet admitted."""

    __slots__ = ("body", "headers", "owner", "sender", "size", "target")

    def __init__(
        self,
        target: Target,
        headers: tuple[tuple[str, str], ...],
        body: bytes,
    ) -> None:
        """A draft.

        Args:
            target: Who gets it.
            headers: Without those the broker adds; `content-type` among them.
        """
        self.target: Target = target
        self.headers = headers
        self.body = body
        self.owner: Owner | None = None
        """Whose SEND it is; None: nobody's."""
        self.sender: Session | None = None
        """The session whose frame it comes from; None: none, or none is known."""
        size = len(target[-1]) + len(body)
        for name, value in headers:
            size += len(name) + len(value)
        self.size = size
        """Bytes it counts for until it is admitted."""

    def change(self, headers: tuple[tuple[str, str], ...], body: bytes) -> None:
        """Take other headers and another body, before it is admitted."""
        self.headers = headers
        self.body = body
        self.size = Draft(self.target, headers, body).size


class Publication:
    """An accepted message with its number and id."""

    __slots__ = (
        "_tails",
        "at",
        "body",
        "destination",
        "expires_at",
        "headers",
        "kind",
        "message_id",
        "number",
        "only",
        "owner",
        "size",
        "target",
        "text",
    )

    def __init__(
        self,
        number: int,
        message_id: str,
        destination: str,
        draft: Draft,
        at: float,
        kind: PublicationKind = PublicationKind.MESSAGE,
    ) -> None:
        self.number = number
        """Its place in the broker-wide order of acceptance; never leaves this process."""
        self.message_id = message_id
        self.destination = destination
        """As the receivers see it."""
        self.target = draft.target
        """The receivers."""
        self.headers = draft.headers
        self.body = draft.body
        self.owner = draft.owner
        """Whose share it counts in where it is stored."""
        self.at = at
        self.kind = kind
        self.size = draft.size + len(destination) - len(draft.target[-1])
        """Bytes it counts for where it is stored, and in a window."""
        self.expires_at: float | None = None
        """When it is dead unless it was delivered, in the broker's own time."""
        self.only = self.target.session_id if isinstance(self.target, ToSession) else None
        """The id of the one session it is for; None: everybody's."""
        self._tails: dict[Version, bytes] = {}
        self.text = self.body.isascii() or _is_utf8(self.body)
        """The body is UTF-8, so that the frame goes out as a text message."""

    def is_dead(self, now: float) -> bool:
        """Its life has ended. At its very last moment it can still be delivered, so that an
        `expiration` of 0 reaches who waits for it.
        """
        return self.expires_at is not None and self.expires_at < now

    def header(self, name: str) -> str | None:
        """One of its headers."""
        return find_header(self.headers, name)

    def tail(self, version: Version, encoder: TailEncoder) -> bytes:
        """The part of MESSAGE that all receivers of a version share."""
        tail = self._tails.get(version)
        if tail is None:
            tail = self._tails[version] = encoder.encode(
                self.destination, self.message_id, self.headers, self.body, version
            )
        return tail


def find_header(headers: tuple[tuple[str, str], ...], name: str) -> str | None:
    """The first of the headers with a name, which is the one that counts."""
    for key, value in headers:
        if key == name:
            return value
    return None


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def expiry(publication: Publication, now: float, wall: Callable[[], float]) -> float | None:
    """When a publication is dead, in the broker's own time; None: never. `expiration` is ms from
    when it was published, `expires` ms since the epoch; their form was checked where it came from.
    """
    expires = ""
    for name, value in publication.headers:
        if name == "expiration":
            return publication.at + int(value) / 1000
        if name == "expires":
            expires = expires or value
    return now + int(expires) / 1000 - wall() if expires and int(expires) else None

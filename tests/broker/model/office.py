"""What the tests of mailboxes share: mailboxes of one office, and streams that write down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stocksync_ws.broker.model.lane import Stopped, send_each
from stocksync_ws.broker.model.mailbox import Mailbox
from stocksync_ws.broker.model.post_office import Outgoing
from stocksync_ws.config import BrokerConfig, Limits
from stocksync_ws.types import Chunk
from tests.broker.kit import environment, record

__all__ = ["NOW", "ROOM", "Office", "entry", "raising"]

NOW = 50.0
"""When the mailboxes of these tests are sent."""
ROOM = 100
"""Bytes of several entries that are sent at once."""


class Office:
    """Mailboxes of one office, with a stream each that writes down what it was given."""

    def __init__(self, **limits: Any) -> None:
        self.env = environment(BrokerConfig(limits=Limits(**limits)))
        self.sent: list[tuple[Mailbox, Chunk]] = []

    def mailbox(
        self,
        *entries: Outgoing,
        send: Callable[[Chunk], int] | None = len,
        joins: bool = False,
    ) -> Mailbox:
        """A mailbox with these entries and an open way, unless `send` is None."""
        made = record(self.env).mailbox
        for entry in entries:
            made.append(entry)
        if send is not None:
            inner = send

            def write(chunk: Chunk) -> int:
                self.sent.append((made, chunk))
                return inner(chunk)

            made.open(write, joins=joins)
        return made

    def send(self, *mailboxes: Mailbox) -> list[Stopped]:
        return list(send_each(mailboxes, NOW, ROOM))


def entry(chunk: bytes = b"hello") -> Outgoing:
    return Outgoing(chunk, len(chunk), 0.0, 0)


def raising(error: BaseException) -> Callable[[Chunk], int]:
    def send(chunk: Chunk) -> int:
        raise error

    return send

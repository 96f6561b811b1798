"""One request that a connection of its own answers, on a socket that goes on behind it.

Rule: it gives that connection its body and nothing else of the stream. What the connection says and
wants is the socket's, until it says `Detached`.
"""

from __future__ import annotations

from dataclasses import replace

from stocksync_ws.types import Connection, Detached, Event, HttpRequest
from stocksync_ws.wire.answer import Answer, plain
from stocksync_ws.wire.body import BodyReader
from stocksync_ws.wire.endpoint import Carrier
from stocksync_ws.wire.framing import framing_for
from stocksync_ws.wire.http import HttpReader, has_body

__all__ = ["CarriedRequest", "open_request"]


def open_request(
    request: HttpRequest, decision: Carrier, http: HttpReader, *, last: bool, full: bool
) -> CarriedRequest | Answer:
    """Open what answers a request, or say why there is nothing to open.

    Args:
        http: Where its body stands.
        last: No request is read behind it.
        full: No new session is taken.
    """
    unread = has_body(request)
    if unread and not decision.body:
        # The next request cannot be found behind it.
        return replace(plain(413, "A body is not possible here."), close=True)
    opened = decision.open(request, framing_for(request, last=last), full)
    if isinstance(opened, Answer):
        return replace(opened, close=opened.close or unread)
    return CarriedRequest(opened, http, unread=unread)


class CarriedRequest:
    """A request with the connection that answers it.

    Args:
        connection: Not started.
        http: Where the body stands, and what comes behind it.
        unread: There is a body.
    """

    __slots__ = ("_body", "_http", "connection", "over", "unread")

    def __init__(self, connection: Connection, http: HttpReader, *, unread: bool) -> None:
        self.connection = connection
        self._http = http
        self._body: BodyReader | None = None
        self.over = False
        """The connection has nothing more to do with the request."""
        self.unread = unread
        """The body is not whole: what follows on the stream is no request."""

    @property
    def held(self) -> bool:
        """Reading has to stop, for the connection's sake."""
        return self.connection.held

    @property
    def reads(self) -> bool:
        """Bytes of a body are awaited."""
        return self._body is not None

    def start(self, now: float) -> list[Event]:
        """Start the connection."""
        return self.heard(self.connection.start(now))

    def heard(self, events: list[Event]) -> list[Event]:
        """What the connection has said, which may be its last word."""
        self.over = self.over or any(isinstance(event, Detached) for event in events)
        return events

    def expect(self, request: HttpRequest) -> bool:
        """A body follows; whether the client waits for a word before it sends it."""
        self._body = BodyReader(request)
        return self._body.wants_continue

    def read(self, now: float) -> list[Event]:
        """Give the connection what has come of its body.

        Raises:
            HttpError: 400, by the peer; nothing of the body is taken.
        """
        reader, rest = self._body, self._http.rest
        if reader is None:
            return []
        data = bytes(rest)
        rest.clear()
        part = reader.receive(data)
        events = self.heard(self.connection.receive(part, now)) if part else []
        if not reader.ended:
            return events
        self._body = None
        rest += reader.rest
        return events + self.give_whole(b"", now)

    def give_whole(self, body: bytes, now: float) -> list[Event]:
        """Give the connection the last of its body, or nothing more, and its end."""
        self.unread = False
        events: list[Event] = []
        for part in (body, b"") if body else (b"",):
            if not self.over:
                events += self.heard(self.connection.receive(part, now))
        return events

"""A message on its way out, as interceptors and delivery filters see it.

Rule: a view. It reads the draft or the publication that it shows, makes nothing before it is asked,
and changes nothing: `replace` gives another one. Headers of the server's own stay, whatever is
asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from stocksync_ws.broker.model.headers import RESERVED, check_own
from stocksync_ws.broker.model.publication import Draft, Publication, PublicationKind
from stocksync_ws.types import ToDestination, ToSession, ToUser

if TYPE_CHECKING:
    from stocksync_ws.broker.model.session import Session

__all__ = ["OutboundMessage"]


class OutboundMessage:
    """A message on its way out, for outbound interceptors and delivery filters. Read-only."""

    __slots__ = ("_body", "_headers", "_kind", "_pairs", "_source")

    def __init__(self, source: Draft | Publication, kind: PublicationKind) -> None:
        self._source = source
        self._kind = kind
        self._body = source.body
        self._pairs = source.headers
        self._headers: dict[str, str] | None = None

    @property
    def destination(self) -> str:
        """The destination; to a user or one session what follows the user prefix, such as
        `/queue/errors`.
        """
        target = self._source.target
        return target.destination if isinstance(target, ToDestination) else target.path

    @property
    def user(self) -> str | None:
        """The name of the user whose sessions get it; None: it is not for one user."""
        target = self._source.target
        return target.user if isinstance(target, ToUser) else None

    @property
    def session_id(self) -> str | None:
        """The id of the session that alone gets it; None: it is not for one alone."""
        target = self._source.target
        return target.session_id if isinstance(target, ToSession) else None

    @property
    def kind(self) -> PublicationKind:
        """A message, an answer, a snapshot, a dead letter or an error reply."""
        return self._kind

    @property
    def sender(self) -> Session | None:
        """The session whose frame it comes from, as a SEND or by its handler. None: the template or
        the broker published it. A delivery filter is not told.
        """
        source = self._source
        return source.sender if isinstance(source, Draft) else None

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, without those that each delivery adds, such as `message-id`."""
        if self._headers is None:
            self._headers = {}
            for name, text in self._pairs:
                self._headers.setdefault(name, text)
        return self._headers

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The headers in order, with names that come twice."""
        return self._pairs

    @property
    def body(self) -> bytes:
        """The octets."""
        return self._body

    def replace(
        self, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> OutboundMessage:
        """The same message with other headers or another body, for an interceptor to return.

        Args:
            headers: All of them, `{**message.headers, "trace": "7"}`; those of the server's own,
                such as `original-destination` of a dead letter, stay as they are. None: unchanged.
            body: The octets; None: unchanged.

        Raises:
            ValueError: A header is reserved or cannot be sent, or the body is no `bytes`.
        """
        changed = OutboundMessage(self._source, self._kind)
        changed._pairs, changed._body = self._pairs, self._body
        if headers is not None:
            own = tuple(pair for pair in self._pairs if pair[0] in RESERVED)
            known = dict(own)
            given = {name: text for name, text in headers.items() if known.get(name) != text}
            changed._pairs = own + check_own(given)
        if body is not None:
            if not isinstance(cast("object", body), bytes):
                raise ValueError(f"a body is bytes, not {type(body).__name__}: encode it")
            changed._body = body
        return changed

    def is_of(self, other: OutboundMessage) -> bool:
        """Both show the same message, as it was or changed."""
        return self._source is other._source

    @property
    def size(self) -> int:
        """Bytes of headers and body."""
        return len(self._body) + sum(len(name) + len(text) for name, text in self._pairs)

    def __repr__(self) -> str:
        return f"<OutboundMessage {self._kind.value} to {self.destination!r}>"

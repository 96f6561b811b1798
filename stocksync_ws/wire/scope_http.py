"""The answer to an HTTP scope of ASGI, for requests that carry or feed a wire; see `framing.py`.

Rule: the host frames and keeps connections alive; each scope is one request, and ends with its
answer. Parts of equal bytes are one shared message for every receiver. The head of a poll leaves
when it begins: middleware writes a session into the store or into a cookie when it sees the head,
and the session that it has loaded is old when the poll ends, after a login or logout.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stocksync_ws.types import Chunk
from stocksync_ws.wire.answer import Answer
from stocksync_ws.wire.scope import answer_messages
from stocksync_ws.wire.scope_wire import ScopeChunk

__all__ = ["SCOPE_FRAMING", "ScopeFraming"]

_KIND: Final = "http.response"


class ScopeFraming:
    """Answers as messages to the host; implements `framing.Framing`."""

    __slots__ = ()

    last: bool = True
    early: bool = True

    def head(self, headers: Sequence[tuple[str, str]]) -> Chunk:
        """`http.response.start`."""
        start, _ = answer_messages(Answer(200, tuple(headers), b""), _KIND)
        return ScopeChunk(start, 0)

    def part(self, data: bytes) -> Chunk:
        """A part of the body, with more behind it."""
        return ScopeChunk({"type": f"{_KIND}.body", "body": data, "more_body": True}, len(data))

    def end(self) -> list[Chunk]:
        """An empty part with nothing behind it."""
        return [ScopeChunk({"type": f"{_KIND}.body", "body": b""}, 0)]

    def answer(self, answer: Answer) -> list[Chunk]:
        """Both messages."""
        start, body = answer_messages(answer, _KIND)
        return [ScopeChunk(start, 0), ScopeChunk(body, len(answer.body))]


SCOPE_FRAMING: Final = ScopeFraming()

"""Requests of SockJS over plain HTTP that bring messages of a session.

Rule: nothing of a body counts before it is whole; it is answered when all of it was taken, or can
not be taken any more.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from stocksync_ws.config import Limits, exceeded
from stocksync_ws.types import Alive, Detached, Event
from stocksync_ws.wire.answer import Answer, plain
from stocksync_ws.wire.framing import Framing
from stocksync_ws.wire.sockjs.frames import PostError, form_field, read_messages
from stocksync_ws.wire.sockjs.requests import BareRequest, Headers
from stocksync_ws.wire.sockjs.sessions import Post, SockJSWire

__all__ = ["Poster"]

HELD: Final = 65_536
"""Bytes of a body that are read while its session is not."""


class Poster(BareRequest):
    """Brings messages of a session in one body; answered when all of them were taken.

    Nothing of a body counts before it is whole, and its session takes the messages of several in
    the order in which they became whole. While the session is not read, at most 64 KiB of a body
    are; behind the close of the session a body is read and thrown away.

    Args:
        wire: The session.
        framing: Of whoever carries the answer.
        limits: `sockjs_body`, `sockjs_messages`, `max_message_size`, `frame_timeout` for the body.
        done: The answer when all was taken.
        cors: Headers of every other answer.
        form: The body is a form with the array in the field `d`.
    """

    __slots__ = (
        "_body",
        "_cors",
        "_done",
        "_form",
        "_framing",
        "_limits",
        "_over",
        "_post",
        "_wire",
    )

    def __init__(
        self,
        wire: SockJSWire,
        framing: Framing,
        limits: Limits,
        *,
        done: Answer,
        cors: Headers,
        form: bool,
    ) -> None:
        super().__init__()
        self._wire = wire
        self._framing = framing
        self._limits = limits
        self._done = done
        self._cors = cors
        self._form = form
        self._body = bytearray()
        self._post: Post | None = None
        """The messages, once the body is whole."""
        self._over = False
        """It was answered."""
        wire.posters += 1

    def start(self, now: float) -> list[Event]:
        """A post has begun."""
        self.deadline = now + self._limits.frame_timeout
        return [Alive(self._wire)]

    def receive(self, data: bytes, now: float) -> list[Event]:
        """A part of the body; nothing is its end."""
        if self._over or self._post is not None:
            return []
        if self._wire.closing is not None and self._body:
            self._take_body()
        if not data:
            return self._end_body(now)
        if self._wire.closing is not None:
            return [Alive(self._wire)]
        if len(self._body) + len(data) > self._limits.sockjs_body:
            got = len(self._body) + len(data)
            detail = exceeded(self._limits, "sockjs_body", got, whole=False)
            return self._fail(413, f"The body is too large: {detail}", close=True)
        self._body += data
        self._wire.keep(len(data))
        self._hold(now)
        return [Alive(self._wire)]

    def _take_body(self) -> bytes:
        """What has come of the body, which is kept no longer."""
        body, self._body = bytes(self._body), bytearray()
        self._wire.keep(-len(body))
        return body

    def _hold(self, now: float) -> None:
        """Stop reading the body, or go on: then it has its time again."""
        held = self._wire.paused and len(self._body) >= HELD
        if held is not self.held:
            self.held = held
            self.deadline = None if held else now + self._limits.frame_timeout

    def _end_body(self, now: float) -> list[Event]:
        wire, limits = self._wire, self._limits
        body = self._take_body()
        self.deadline = None
        if wire.over:
            return self._fail(404, "The session has ended.")
        if wire.closing is not None:
            wire.posters -= 1
            return self._answer(self._done)
        try:
            messages = read_messages(
                form_field(body) if self._form else body,
                limits.sockjs_messages,
                limits.max_message_size,
            )
        except PostError as error:
            return self._fail(error.status, error.text)
        self._post = Post(messages)
        if not messages:
            wire.posters -= 1
            return self._answer(self._done)
        wire.queue(self._post)
        return [Alive(wire)]

    def resume(self, now: float) -> list[Event]:
        """Answer if the session has taken all of it, or has ended."""
        if self._over:
            return []
        if self._post is None:
            self._hold(now)
            return []
        if not self._post.left:
            return self._answer(self._done)
        if self._wire.over:
            return self._answer(plain(404, "The session has ended.", *self._cors))
        return []

    def _fail(self, status: int, text: str, *, close: bool = False) -> list[Event]:
        """Answer before the post was queued."""
        self._take_body()
        self._wire.posters -= 1
        return self._answer(replace(plain(status, text, *self._cors), close=close))

    def _answer(self, answer: Answer) -> list[Event]:
        self._over = True
        self.held = False
        self.deadline = None
        self.shut = self._framing.last or answer.close
        self._out += self._framing.answer(answer)
        return [Detached(self._wire)]

    def lost(self, now: float) -> list[Event]:
        """The stream ended. A body that was not whole has no effect; one that was is taken."""
        if not self._over and self._post is None:
            self._take_body()
            self._wire.posters -= 1
        self._over = True
        return []

    def wake(self, now: float) -> list[Event]:
        """The body took too long."""
        if self.deadline is None or now < self.deadline:
            return []
        return self._fail(408, "The body took too long.", close=True)

"""Requests of SockJS over plain HTTP, each a connection of its own: a receiver carries the output
of a session, a poster brings its input, a notice tells that a session cannot be had.

Rule: a request acts when it is whole, and its last event is `Detached`. `o` leaves with the request
that opens the session, before anybody has judged the handshake: a client gives a transport less
than a second. All of them make their answers with the framing of whoever carries them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, TypeAlias

from stocksync_ws.config import Limits
from stocksync_ws.types import (
    Alive,
    Attached,
    Chunk,
    Closed,
    Detached,
    Event,
    Handshake,
    HttpRequest,
    Keep,
    Send,
)
from stocksync_ws.wire.answer import Answer, plain
from stocksync_ws.wire.framing import Framing
from stocksync_ws.wire.sockjs.frames import (
    HEART_BEAT,
    OPEN,
    CloseFrame,
    Format,
    PostError,
    form_field,
    message_frame,
    read_messages,
)
from stocksync_ws.wire.sockjs.sessions import Post, SockJSSessions, SockJSWire

__all__ = ["Headers", "Notice", "Poster", "Receiver", "Voice"]

HELD: Final = 65_536
"""Bytes of a body that are read while its session is not."""

Headers: TypeAlias = tuple[tuple[str, str], ...]


class Voice:
    """How one answer is made: transport, framing, headers, callback.

    Args:
        form: Of the transport.
        framing: Of whoever carries the answer.
        headers: All headers of the answer but those of its framing.
        callback: The function that the request names, or "".
    """

    __slots__ = ("callback", "form", "framing", "headers")

    def __init__(self, form: Format, framing: Framing, headers: Headers, callback: str) -> None:
        self.form = form
        self.framing = framing
        self.headers = headers
        self.callback = callback

    def wrap(self, frame: bytes) -> bytes:
        """A frame as the transport sends it."""
        return self.form.wrap(frame, self.callback)

    def begin(self) -> list[Chunk]:
        """The beginning of a stream; for a poll its head, where that leaves early, or nothing."""
        if not self.form.streams:
            return [self.framing.head(self.headers)] if self.framing.early else []
        prelude = self.framing.part(self.form.prelude(self.callback))
        return [self.framing.head(self.headers), prelude]

    def only(self, frame: bytes) -> list[Chunk]:
        """The one frame of a poll, or the last one of a stream."""
        data = self.wrap(frame)
        if self.form.streams or self.framing.early:
            return [self.framing.part(data), *self.framing.end()]
        headers = (*self.headers, ("Content-Length", str(len(data))))
        return self.framing.answer(Answer(200, headers, data))


class _Request:
    """What all of them share: they are given no bytes of another request, and hold nothing."""

    __slots__ = ("_out", "deadline", "held", "shut")

    def __init__(self) -> None:
        self._out: list[Chunk] = []
        self.deadline: float | None = None
        """Seconds, monotonic."""
        self.held = False
        """Stop reading."""
        self.shut = False
        """The stream ends with the answer."""

    def receive(self, data: bytes, now: float) -> list[Event]:
        """A part of the body, or its end: nothing of it is wanted."""
        return []

    def accept(self, handshake: Handshake, now: float) -> list[Event]:
        """Nothing: the client has been told already."""
        return []

    def refuse(self, handshake: Handshake, status: int, text: str, now: float) -> list[Event]:
        """Nothing: the wire is told, see `types.Parking.refuse`."""
        return []

    def resume(self, now: float) -> list[Event]:
        """Nothing: it brings no posts."""
        return []

    def lost(self, now: float) -> list[Event]:
        """Nothing: its session does not depend on it."""
        return []

    def wake(self, now: float) -> list[Event]:
        """Nothing: there is no deadline."""
        return []

    def detach(self, now: float) -> list[Event]:
        """Nothing: it carries no wire."""
        return []

    def take(self) -> list[Chunk]:
        """What it has to say itself."""
        out, self._out = self._out, []
        return out


class Notice(_Request):
    """Tells a client how a session has ended, or that it cannot be carried twice.

    Args:
        wire: The session.
        frame: What there is to tell.
        ends: The session ends with it.
    """

    __slots__ = ("_ends", "_wire")

    def __init__(self, wire: SockJSWire, voice: Voice, frame: bytes, *, ends: bool) -> None:
        super().__init__()
        self._wire = wire
        self._ends = ends
        self._out = [*voice.begin(), *voice.only(frame)]
        self.shut = voice.framing.last

    def start(self, now: float) -> list[Event]:
        """It is over."""
        closed: list[Event] = [Closed(self._wire, 1005, "")] if self._ends else []
        return [*closed, Detached(self._wire)]


class Receiver(_Request):
    """Carries the output of a session: one frame in a poll, any number in a stream.

    A stream that was silent for `heart_beat` seconds says `h`, after half as much again at the
    latest; a poll ends with it.

    Args:
        sessions: The table that the wire stands in.
        wire: The session, which no other request carries.
        voice: Of the answer.
        request: The handshake of a session that it opens; None: the session is there.
    """

    __slots__ = (
        "_full",
        "_left",
        "_look_after",
        "_open",
        "_request",
        "_silent",
        "_told",
        "_track",
        "_voice",
        "_wire",
    )

    def __init__(
        self, sessions: SockJSSessions, wire: SockJSWire, voice: Voice, request: HttpRequest | None
    ) -> None:
        super().__init__()
        options = sessions.options
        self._wire = wire
        self._voice = voice
        self._track = sessions.track(voice.form, voice.framing)
        self._request = request
        self._left = options.stream_bytes
        self._look_after = options.heart_beat / (2 if voice.form.streams else 1)
        self._silent = False
        """Nothing had been sent between the last two looks."""
        self._open = True
        """It carries the wire."""
        self._full = False
        """The answer has ended; all of it may not be written yet."""
        self._told = False
        """The client was told how the session ends."""

    def start(self, now: float) -> list[Event]:
        """It carries the wire from now on; the poll that opens a session is over at once."""
        wire, voice, request = self._wire, self._voice, self._request
        self._request = None
        wire.carry(self, voice.form.transport)
        self.deadline = now + self._look_after
        self._out = voice.begin()
        if request is None:
            return [Attached(wire)]
        handshake = Handshake(request, wire, None)
        if not voice.form.streams:
            self._out += voice.only(OPEN)
            return [handshake, *self._end(now)]
        self._out.append(voice.framing.part(voice.wrap(OPEN)))
        return [handshake]

    def pack(self, chunks: list[Chunk]) -> tuple[list[Chunk], bool]:
        """One frame of all messages, and `c` behind it; behind a poll's only frame, that waits for
        the next request. Without any, only the end of a stream that is full.
        """
        wire, voice = self._wire, self._voice
        self._silent = False
        last = chunks[-1] if chunks else None
        closing = last if isinstance(last, CloseFrame) else None
        messages = chunks if closing is None else chunks[:-1]
        wire.said_all = closing is not None
        assert chunks or voice.form.streams
        if not voice.form.streams:
            self._told = not messages
            frame = message_frame(messages) if messages else chunks[-1]
            return self._end_answer(voice.only(frame))
        packed: list[Chunk] = []
        if messages:
            part, size = self._track.pack(messages)
            packed.append(part)
            self._left -= size
        if closing is not None:
            self._told = True
            return self._end_answer(packed + voice.only(closing))
        if self._left > 0:
            return packed, False
        return self._end_answer(packed + voice.framing.end())

    def _end_answer(self, packed: list[Chunk]) -> tuple[list[Chunk], bool]:
        """Nothing may be said behind it, however long it takes to be written."""
        self._full = True
        self.deadline = None
        return packed, True

    def sender(self, send: Send, keep: Keep) -> Send | None:
        """The direct way for a stream; the stream is ended by the general one."""
        if not self._voice.form.streams or self._left <= 0:
            return None
        track = self._track

        def send_one(chunk: Chunk) -> int:
            if track.chunk is not chunk:
                track.pack_one(chunk)
            part = track.part
            try:
                sent = send(part)
            except (BlockingIOError, InterruptedError):
                sent = 0
            size = len(chunk)
            self._left -= size
            self._silent = False
            if sent != len(part):
                keep(part, sent)
                return 0
            return size if self._left > 0 else 0

        return send_one

    def detach(self, now: float) -> list[Event]:
        """The answer has ended, and all of it is written; or the handshake was refused behind its
        `o`.
        """
        if self._open and self._wire.over and not self._full:
            assert self._wire.closing is not None
            self._out += self._voice.only(self._wire.closing)
            self._told = True
        return self._end(now)

    def _end(self, now: float) -> list[Event]:
        if not self._open:
            return []
        self._open = False
        self.deadline = None
        self.shut = self._voice.framing.last
        wire = self._wire
        if self._told:
            wire.carrier = None
            return [Closed(wire, 1005, ""), Detached(wire)]
        wire.park(now)
        return [Detached(wire)]

    def wake(self, now: float) -> list[Event]:
        """Nothing has happened for a while: a heart-beat, with which a poll ends."""
        if self.deadline is None or now < self.deadline:
            return []
        voice = self._voice
        if not voice.form.streams:
            self._out += voice.only(HEART_BEAT)
            return self._end(now)
        self.deadline = now + self._look_after
        if self._silent:
            self._out.append(voice.framing.part(voice.wrap(HEART_BEAT)))
        self._silent = not self._silent
        return []

    def lost(self, now: float) -> list[Event]:
        """It was cut before it had ended, and so is its session."""
        if not self._open:
            return []
        self._open = False
        self._wire.carrier = None
        return [Closed(self._wire, 1006, "")]


class Poster(_Request):
    """Brings messages of a session in one body; answered when all of them were taken.

    Nothing of a body counts before it is whole, and its session takes the messages of several in
    the order in which they became whole. While the session is not read, at most 64 KiB of a body
    are.

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
        if not data:
            return self._end_body(now)
        if len(self._body) + len(data) > self._limits.sockjs_body:
            return self._fail(413, "The body is too large.", close=True)
        self._body += data
        self._hold(now)
        return [Alive(self._wire)]

    def _hold(self, now: float) -> None:
        """Stop reading the body, or go on: then it has its time again."""
        held = self._wire.paused and len(self._body) >= HELD
        if held is not self.held:
            self.held = held
            self.deadline = None if held else now + self._limits.frame_timeout

    def _end_body(self, now: float) -> list[Event]:
        wire, limits = self._wire, self._limits
        body, self._body = bytes(self._body), bytearray()
        self.deadline = None
        if wire.over:
            return self._fail(404, "The session has ended.")
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
            self._wire.posters -= 1
        self._over = True
        return []

    def wake(self, now: float) -> list[Event]:
        """The body took too long."""
        if self.deadline is None or now < self.deadline:
            return []
        return self._fail(408, "The body took too long.", close=True)

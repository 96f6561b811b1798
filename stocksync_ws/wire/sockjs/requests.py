"""Requests of SockJS over plain HTTP that a session answers, each a connection of its own: a
receiver carries the output of a session, a notice tells that it cannot be had; posts stand in
`posts.py`.

Rule: a request acts when it is whole, and its last event is `Detached`. `o` leaves with the request
that opens the session, before anybody has judged the handshake: a client gives a transport less
than a second. All of them make their answers with the framing of whoever carries them.
"""

from __future__ import annotations

from typing import TypeAlias

from stocksync_ws.types import (
    Attached,
    Chunk,
    Closed,
    Detached,
    Ending,
    Event,
    Handshake,
    HttpRequest,
    Keep,
    Send,
)
from stocksync_ws.wire.answer import Answer
from stocksync_ws.wire.framing import Framing
from stocksync_ws.wire.sockjs.frames import (
    HEART_BEAT,
    OPEN,
    CloseFrame,
    Format,
    message_frame,
)
from stocksync_ws.wire.sockjs.sessions import SockJSSessions, SockJSWire

__all__ = ["BareRequest", "Headers", "Notice", "Receiver", "Voice"]

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


class BareRequest:
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


class Notice(BareRequest):
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


class Receiver(BareRequest):
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
        "_quiet",
        "_request",
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
        self._quiet = 0
        """Looks at a stream since it last said something, or -1 before the first one: then it has
        been silent for less than the time between two looks.
        """
        self._open = True
        """It carries the wire."""
        self._full = False
        """The answer has ended; all of it may not be written yet."""
        self._told = False
        """The client was told how the session ends."""

    def start(self, now: float) -> list[Event]:
        """It carries the wire from now on; the poll that opens a session ends with its `o`."""
        wire, voice, request = self._wire, self._voice, self._request
        self._request = None
        wire.carry(self, voice.form.transport)
        self.deadline = now + self._look_after
        self._out = voice.begin()
        if request is None:
            return [Attached(wire)]
        handshake = Handshake(request, wire, None)
        if not voice.form.streams:
            return [handshake, self._say_last(OPEN)]
        self._out.append(voice.framing.part(voice.wrap(OPEN)))
        return [handshake]

    def _say_last(self, frame: bytes) -> Event:
        """End the answer of a poll with a frame of its own: it carries the wire until that is
        written, and whoever cuts it before has ended the session.
        """
        self._out += self._voice.only(frame)
        self._full = True
        self.deadline = None
        return Ending(self._wire)

    def pack(self, chunks: list[Chunk]) -> tuple[list[Chunk], bool]:
        """One frame of all messages, and `c` behind it; behind a poll's only frame, that waits for
        the next request. Without any, only the end of a stream that is full.
        """
        wire, voice = self._wire, self._voice
        self._quiet = -1
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
            self._left -= track.size
            self._quiet = -1
            if sent != len(part):
                keep(part, sent)
                return 0
            return len(chunk) if self._left > 0 else 0

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
            return [self._say_last(HEART_BEAT)]
        self.deadline = now + self._look_after
        self._quiet += 1
        if self._quiet == 2:
            self._quiet = 0
            self._out.append(voice.framing.part(voice.wrap(HEART_BEAT)))
        return []

    def lost(self, now: float) -> list[Event]:
        """It was cut before it had ended, and so is its session."""
        if not self._open:
            return []
        self._open = False
        self._wire.carrier = None
        return [Closed(self._wire, 1006, "")]

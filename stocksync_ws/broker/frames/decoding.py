"""What comes in of all sessions: bytes in their turn, decoded frame by frame.

Rule: a message waits as bytes, not as frames, and a frame is decoded when its turn comes, with the
version that then holds. Decoding stops at a frame that waits for user code, and at the share of a
turn; what is left goes on when the one has ended, or in the next turn. Over its bound of waiting
bytes a session is not read, and while something waits its silence does not count.
"""

from __future__ import annotations

from collections import deque

from stocksync_ws.broker.frames.commands import Commands
from stocksync_ws.broker.model.session import AWAITING, CONNECTED, ENDING, Session
from stocksync_ws.broker.sessions.errors import ErrorReporter
from stocksync_ws.broker.sessions.lifecycle import Lifecycle
from stocksync_ws.broker.sessions.publisher import Publisher
from stocksync_ws.config import Limits
from stocksync_ws.counters import Counters
from stocksync_ws.errors import RemoteProtocolError
from stocksync_ws.stomp.frame import ACK, NACK

__all__ = ["Decoding"]

OVERHEAD = 64
"""Bytes a waiting message counts for besides its own."""

UNHEARD = 64
"""Events of a session that may wait for their listeners before it is read no further."""
_FREE = frozenset((ACK, NACK))
"""Frames that do not count against the frames of a turn."""
_DECODING = frozenset((AWAITING, CONNECTED, ENDING))


class Decoding:
    """The way in of all sessions."""

    __slots__ = (
        "_commands",
        "_counters",
        "_failures",
        "_life",
        "_limits",
        "_publisher",
        "_pumping",
        "_turn",
        "backlog",
    )

    def __init__(
        self,
        limits: Limits,
        counters: Counters,
        life: Lifecycle,
        publisher: Publisher,
        failures: ErrorReporter,
        commands: Commands,
    ) -> None:
        self._limits = limits
        self._counters = counters
        self._life = life
        self._publisher = publisher
        self._failures = failures
        self._commands = commands
        self._pumping: Session | None = None
        self._turn = 0
        self.backlog: list[Session] = []
        """Sessions with frames left over from this turn."""

    def take(self, session: Session, payload: bytes, now: float) -> None:
        """One message came."""
        if session.inbox is None and session.hungry and _may_decode(session):
            session.decoder.feed(payload)
            session.hungry = False
        else:
            if session.inbox is None:
                session.inbox = deque()
            session.inbox.append(payload)
            session.inbox_bytes += len(payload) + OVERHEAD
        self.pump(session, now)

    def proceed(self, session: Session, now: float) -> None:
        """A new turn: what the last one left over."""
        session.backlogged = False
        self.pump(session, now)

    def take_backlog(self) -> list[Session]:
        """The sessions to `proceed` with; a new turn begins."""
        backlog = self.backlog
        if backlog:
            self.backlog = []
            self._turn += 1
        return backlog

    def give_up(self) -> None:
        """An input raised by our own bug, maybe in the middle of `pump`."""
        self._pumping = None

    def has_work(self, session: Session) -> bool:
        """A frame is in work, or waits."""
        return not (_may_decode(session) and session.hungry and session.inbox is None)

    def pump(self, session: Session, now: float) -> None:
        """Decode and handle frames until one waits for user code, or the turn's share is used
        up.
        """
        if self._pumping is session:
            return
        outer, self._pumping = self._pumping, session
        try:
            self._decode(session, now)
        except RemoteProtocolError as problem:
            self._failures.protocol(session, problem, now)
        self._pumping = outer
        self._settle(session, now)
        self._publisher.settle(now)

    def _decode(self, session: Session, now: float) -> None:
        if session.turn != self._turn:
            session.turn = self._turn
            session.frames_left = self._limits.read_frames
        decoder = session.decoder
        # `_may_decode`, written out: it is asked twice a frame.
        while (
            session.state in _DECODING
            and session.task is None
            and session.stuck is None
            and not session.joined
        ):
            if session.frames_left <= 0:
                self._put_back(session)
                return
            frame = decoder.next()
            if frame is None:
                if session.inbox is None:
                    session.hungry = True
                    return
                self._feed_next(session)
                continue
            session.frame_since = None
            if frame.command not in _FREE:
                session.frames_left -= 1
            self._counters.frames_in += 1
            self._commands.handle(session, frame, now)

    def _feed_next(self, session: Session) -> None:
        inbox = session.inbox
        assert inbox is not None
        payload = inbox.popleft()
        session.inbox_bytes -= len(payload) + OVERHEAD
        if not inbox:
            session.inbox = None
        session.decoder.feed(payload)

    def _put_back(self, session: Session) -> None:
        if not session.backlogged:
            session.backlogged = True
            self.backlog.append(session)

    def _settle(self, session: Session, now: float) -> None:
        """After decoding: reading, the clocks of silence and of the unfinished frame."""
        life = self._life
        if session.state is not CONNECTED and session.state is not AWAITING:
            life.end_if_done(session, self.has_work(session), now)
            return
        held = session.inbox_bytes > self._limits.inbox
        if session.events is not None and len(session.events) > UNHEARD:
            held = True
        if held is not session.held:
            life.hold(session, held)
        # A frame that came in one message with that in work waits, too.
        waiting = session.inbox is not None or (not session.hungry and session.decoder.unread)
        if waiting and session.still_since is None:
            session.still_since = now
        elif not waiting and session.still_since is not None:
            life.stand(session, now)
        if not session.decoder.mid_frame:
            session.frame_since = None
        elif session.frame_since is None:
            session.frame_since = now
            life.rearm(session)


def _may_decode(session: Session) -> bool:
    return session.task is None and session.stuck is None and not session.joined

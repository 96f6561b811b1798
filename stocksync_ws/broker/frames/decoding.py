"""What comes in of all sessions: bytes in their turn, decoded frame by frame.

Rule: a message waits as bytes, not as frames, and a frame is decoded when its turn comes, with the
version that then holds. Decoding stops at a frame that waits for user code, and at the share of a
turn; what is left goes on when the one has ended, or in the next turn. Over its bound of waiting
bytes a session is not read, and while something waits its silence does not count.
"""

from __future__ import annotations

from collections import deque

from stocksync_ws.broker.calls.tasks import Tasks
from stocksync_ws.broker.frames.commands import Commands
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.pipeline import Task
from stocksync_ws.broker.model.session import AWAITING, CONNECTED, ENDING, Session
from stocksync_ws.broker.sessions.room import Sessions
from stocksync_ws.errors import DisconnectReason, ErrorCode, LimitExceeded, RemoteProtocolError
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
        "_backlog",
        "_commands",
        "_counters",
        "_errors",
        "_lifecycle",
        "_limits",
        "_step",
        "_tasks",
        "_turn",
    )

    def __init__(
        self, env: Environment, tasks: Tasks, sessions: Sessions, commands: Commands
    ) -> None:
        self._limits = env.limits
        self._counters = env.counters
        self._step = env.step
        self._backlog = env.step.outputs.backlog
        self._tasks = tasks
        self._lifecycle = sessions.lifecycle
        self._errors = sessions.errors
        self._commands = commands
        self._turn = 0

    def receive(self, session: Session, payload: bytes) -> None:
        """One WebSocket or SockJS message came."""
        session.last_seen = self._step.now
        session.pinged_at = None
        if session.state is AWAITING:
            session.pre_auth += len(payload)
            if session.pre_auth > self._limits.pre_auth_bytes:
                self._errors.protocol(session, LimitExceeded(ErrorCode.LIMIT_SIZE))
                return
        elif session.state is not CONNECTED:
            return
        if session.inbox is None and session.hungry and _may_decode(session):
            session.decoder.feed(payload)
            session.hungry = False
        else:
            if session.inbox is None:
                session.inbox = deque()
            session.inbox.append(payload)
            session.inbox_bytes += len(payload) + OVERHEAD
        self.pump(session)

    def proceed(self, session: Session) -> None:
        """A new turn: what the last one left over."""
        session.backlogged = False
        self.pump(session)

    def lost(self, session: Session, reason: DisconnectReason, code: int) -> None:
        """The stream ended; what had arrived is decoded on."""
        self._lifecycle.lost(session, reason, code, self.has_work(session))
        self.pump(session)

    def begin_turn(self) -> None:
        """A new turn begins: every session has its share of frames again."""
        self._turn += 1

    def has_work(self, session: Session) -> bool:
        """A frame is in work, or waits."""
        return not (_may_decode(session) and session.hungry and session.inbox is None)

    def go_on(self, session: Session, task: Task | None, error: BaseException | None) -> None:
        """What the session's next frame had waited for is over: the script of the last one, which
        may have failed, or something else.
        """
        if task is not None and session.task is task:
            session.task = None
        if error is not None:
            self._errors.script(session, error)
        self.pump(session)

    def pump(self, session: Session) -> None:
        """Decode and handle frames until one waits for user code, or the turn's share is used
        up.
        """
        try:
            self._decode(session)
        except RemoteProtocolError as problem:
            self._errors.protocol(session, problem)
        self._settle(session)

    def _decode(self, session: Session) -> None:
        if session.turn != self._turn:
            session.turn = self._turn
            session.frames_left = self._limits.read_frames
        decoder, commands = session.decoder, self._commands
        # `_may_decode`, written out: it is asked twice a frame.
        while session.state in _DECODING and session.task is None and session.stuck is None:
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
            script = commands.handle(session, frame)
            if script is not None:
                self._tasks.run_frame(session, script)

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
            self._backlog.append(session)

    def _settle(self, session: Session) -> None:
        """After decoding: reading, the clocks of silence and of the unfinished frame."""
        lifecycle = self._lifecycle
        if session.state is not CONNECTED and session.state is not AWAITING:
            lifecycle.end_if_done(session, self.has_work(session))
            return
        held = session.inbox_bytes > self._limits.inbox
        if session.events is not None and len(session.events) > UNHEARD:
            held = True
        if held is not session.held:
            lifecycle.hold(session, held)
        # A frame that came in one message with that in work waits, too.
        waiting = session.inbox is not None or (not session.hungry and session.decoder.unread)
        if waiting and session.still_since is None:
            session.still_since = self._step.now
        elif not waiting and session.still_since is not None:
            lifecycle.resume_clocks(session)
        if not session.decoder.mid_frame:
            session.frame_since = None
        elif session.frame_since is None:
            session.frame_since = self._step.now
            lifecycle.rearm(session)


def _may_decode(session: Session) -> bool:
    return session.task is None and session.stuck is None

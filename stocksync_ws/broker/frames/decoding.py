"""What comes in of all sessions: bytes in their turn, decoded frame by frame.

Rule: a message waits as bytes, not as frames, and a frame is decoded when its turn comes, with the
version that then holds. Decoding stops at a frame that waits for user code, at the session's
share of a turn (`model/turn.py`), and while `Limits.max_receipts` are owed; what is left goes on
when the one has ended, with its next share, or when receipts have left. Over its bound of waiting
bytes a session is not read, and while something waits its silence does not count.
"""

from __future__ import annotations

from collections import deque

from stocksync_ws.broker.calls.tasks import Tasks
from stocksync_ws.broker.frames.commands import Commands
from stocksync_ws.broker.frames.sharing import refuse_behind
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.inbound import Inbound
from stocksync_ws.broker.model.mailbox import Mailbox
from stocksync_ws.broker.model.pipeline import Task
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.state import AWAITING, CONNECTED, ENDING
from stocksync_ws.broker.model.turn import ROUND
from stocksync_ws.broker.sessions.room import Sessions
from stocksync_ws.codes import DisconnectReason, ErrorCode
from stocksync_ws.config import exceeded
from stocksync_ws.errors import LimitExceeded, RemoteProtocolError
from stocksync_ws.stomp.command_line import FIRST_FRAME, may_begin_frame
from stocksync_ws.stomp.frame import ACK, NACK

__all__ = ["Decoding"]

OVERHEAD = 64
"""Bytes a waiting message counts for besides its own."""

UNHEARD = 64
"""Events of a session that may wait for their listeners before it is read no further."""
_FREE = frozenset((ACK, NACK))
"""Frames that do not count against the frames of a turn."""
_DECODING = frozenset((AWAITING, CONNECTED, ENDING))
_READING = frozenset((AWAITING, CONNECTED))


class Decoding:
    """The way in of all sessions."""

    __slots__ = (
        "_commands",
        "_counters",
        "_errors",
        "_lifecycle",
        "_limits",
        "_most",
        "_most_owed",
        "_office",
        "_round",
        "_step",
        "_tasks",
        "_turn",
    )

    def __init__(
        self, env: Environment, tasks: Tasks, sessions: Sessions, commands: Commands
    ) -> None:
        self._limits = env.limits
        self._most_owed = env.limits.max_receipts
        self._most = env.limits.read_frames
        """Frames of a session in one turn."""
        self._round = min(ROUND, self._most)
        self._counters = env.counters
        self._office = env.office
        self._step = env.step
        self._turn = env.turn
        self._tasks = tasks
        self._lifecycle = sessions.lifecycle
        self._errors = sessions.errors
        self._commands = commands

    def receive(self, session: SessionRecord, payload: bytes) -> None:
        """One WebSocket or SockJS message came."""
        inbound = session.inbound
        session.clocks.seen(self._step.now)
        if session.clocks.message_since is not None:
            session.clocks.end_message()
        if session.state is AWAITING:
            inbound.pre_auth += len(payload)
            if not self._is_foreign(inbound, payload) and not self._within_pre_auth(session):
                return
        elif session.state is not CONNECTED:
            return
        if inbound.waiting is None and inbound.decoder_empty and inbound.may_decode:
            inbound.decoder.feed(payload)
            inbound.decoder_empty = False
        else:
            if inbound.waiting is None:
                inbound.waiting = deque()
            inbound.waiting.append(payload)
            inbound.size += len(payload) + OVERHEAD
        if inbound.task is None and not inbound.scheduled:
            turn = self._turn
            if not turn.may_read:
                inbound.scheduled = True
                turn.put_first(session)
            elif inbound.share <= 0 and not turn.waiting and inbound.worked != turn.number:
                inbound.give(turn.number, self._most, ROUND)
        self.pump(session)

    def kept(self, session: SessionRecord, unfinished: bool) -> None:
        """The wire keeps more of what is not whole, or less: its time, and before CONNECTED its
        bytes, are bounded as if it were.
        """
        clocks = session.clocks
        if not unfinished:
            clocks.end_message()
        elif clocks.message_since is None and session.state in _READING:
            clocks.begin_message(self._step.now)
            self._lifecycle.rearm(session)
        if session.wire.kept or session.inbound.held:
            self._office.weigh(session)
        if session.state is AWAITING:
            self._within_pre_auth(session)

    def _within_pre_auth(self, session: SessionRecord) -> bool:
        """Whether what came before CONNECTED, and what is kept for it, is within its bound."""
        kept = session.inbound.pre_auth + session.wire.kept
        if kept <= self._limits.pre_auth_bytes:
            return True
        detail = exceeded(self._limits, "pre_auth_bytes", kept)
        self.exceeded(session, ErrorCode.LIMIT_SIZE, detail)
        return False

    def exceeded(self, session: SessionRecord, code: ErrorCode, detail: str) -> None:
        """Refuse what is over a limit; what is no STOMP at all is told that, whatever its size."""
        problem: RemoteProtocolError = LimitExceeded(code, detail=detail)
        is_first = session.state is AWAITING and not session.inbound.pre_auth
        if is_first and not may_begin_frame(session.wire.began):
            problem = RemoteProtocolError(ErrorCode.UNKNOWN_COMMAND, detail=FIRST_FRAME)
        self._errors.protocol(session, problem)

    def _is_foreign(self, inbound: Inbound, payload: bytes) -> bool:
        """Whether a first message is no STOMP at all: then the decoder says so, whatever its size,
        and keeps nothing of it.
        """
        return len(payload) == inbound.pre_auth and not may_begin_frame(payload)

    def proceed(self, session: SessionRecord) -> None:
        """A session that waited has its share of the turn."""
        inbound, turn = session.inbound, self._turn
        inbound.scheduled = False
        inbound.give(turn.number, self._most, turn.share)
        self.pump(session)

    def lost(self, session: SessionRecord, reason: DisconnectReason, code: int) -> None:
        """The stream ended; what had arrived is decoded on."""
        self._lifecycle.lost(session, reason, code)
        if session.state is ENDING:
            self.pump(session)

    def go_on(self, session: SessionRecord, task: Task | None, error: BaseException | None) -> None:
        """What the session's next frame had waited for is over: the script of the last one, which
        may have failed, or something else.
        """
        if task is not None:
            session.inbound.end(task)
            self._lifecycle.lose_face(session)
        if error is not None:
            self._refuse(session, error)
        self.pump(session)

    def pump(self, session: SessionRecord) -> None:
        """Decode and handle frames until one waits for user code, or its share of the turn is used
        up.
        """
        try:
            if not session.inbound.scheduled:
                self._decode(session)
        except RemoteProtocolError as problem:
            self._refuse(session, problem)
        self._settle(session)

    def _refuse(self, session: SessionRecord, problem: BaseException) -> None:
        """End a session for a frame, behind the RECEIPTs of the SENDs before it."""
        inbound = session.inbound
        window = inbound.window
        if window is None or inbound.task is not None:
            self._errors.script(session, problem)
        else:
            self._tasks.run_frame(session, refuse_behind(window, problem))

    def _decode(self, session: SessionRecord) -> None:
        inbound, clocks, commands = session.inbound, session.clocks, self._commands
        step, turn, mailbox = self._step, self._turn, session.mailbox
        if inbound.turn != turn.number:
            # `Inbound.give` of the first share, written out: it comes with every read.
            share = 1 if turn.waiting else self._round
            inbound.turn, inbound.share = turn.number, share
            inbound.frames_left = self._most - share
        decoder = inbound.decoder
        # `may_decode`, written out: it is asked twice a frame.
        while session.state in _DECODING and inbound.task is None and inbound.stuck is None:
            if (inbound.share <= 0 or turn.left <= 0) and (
                inbound.waiting is not None or decoder.unread
            ):
                self._put_back(session)
                return
            owed = mailbox.receipts
            if owed is not None and len(owed) >= self._most_owed and self._owes_enough(mailbox):
                # Only the general way out tells the broker what has left.
                inbound.owes = True
                mailbox.block()
                return
            frame = decoder.next()
            if frame is None:
                if inbound.waiting is None:
                    inbound.decoder_empty = True
                    return
                self._feed_next(inbound, inbound.waiting)
                continue
            if clocks.frame_since is not None:
                clocks.end_frame()
            if frame.command not in _FREE:
                inbound.share -= 1
                turn.left -= 1
            self._counters.frames_in += 1
            script = commands.handle(session, frame)
            if script is not None:
                if not self._tasks.run_frame(session, script):
                    continue
                inbound.worked = turn.number
            if step.settles_first:
                step.go_on(session)
                return

    def _feed_next(self, inbound: Inbound, waiting: deque[bytes]) -> None:
        payload = waiting.popleft()
        inbound.size -= len(payload) + OVERHEAD
        if not waiting:
            inbound.waiting = None
        inbound.decoder.feed(payload)

    def receipts_left(self, session: SessionRecord) -> None:
        """Entries of a session that waits for its receipts to leave have left."""
        if not self._owes_enough(session.mailbox):
            session.inbound.owes = False
            if not session.inbound.scheduled:
                self._put_back(session)

    def _owes_enough(self, mailbox: Mailbox) -> bool:
        """As many receipts wait for a client as may."""
        owed = mailbox.receipts
        while owed and not owed[0].waiting:
            owed.popleft()
        return owed is not None and len(owed) >= self._most_owed

    def _put_back(self, session: SessionRecord) -> None:
        inbound = session.inbound
        inbound.scheduled = True
        if inbound.share or inbound.frames_left:
            self._turn.put_last(session)
        else:
            self._turn.put_off(session)

    def _settle(self, session: SessionRecord) -> None:
        """After decoding: reading, the clocks of silence and of the unfinished frame."""
        lifecycle, inbound, clocks = self._lifecycle, session.inbound, session.clocks
        begun = inbound.decoder.mid_frame
        # Counted by what makes a difference: mostly nothing is kept, and nothing was.
        if (
            begun
            or inbound.held
            or inbound.size
            or session.wire.kept
            or session.subscriptions.transactions is not None
            or (not inbound.decoder_empty and inbound.decoder.kept)
        ):
            self._office.weigh(session)
        if session.state is not CONNECTED and session.state is not AWAITING:
            lifecycle.end_if_done(session)
            lifecycle.lose_face(session)
            return
        paused = inbound.size > self._limits.inbox or inbound.held_back
        if session.events is not None and len(session.events) > UNHEARD:
            paused = True
        if paused is not inbound.paused:
            lifecycle.pause(session, paused)
        # A frame that came in one message with that in work waits, too.
        waits = (
            inbound.waiting is not None
            or inbound.held_back
            or (not inbound.decoder_empty and inbound.decoder.unread)
        )
        if waits and clocks.paused_since is None:
            clocks.pause(self._step.now)
        elif not waits and clocks.paused_since is not None:
            lifecycle.resume_clocks(session)
        if begun and clocks.frame_since is None:
            clocks.begin_frame(self._step.now)
            lifecycle.rearm(session)

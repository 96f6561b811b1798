"""What comes in of one session: bytes that wait, the decoder, and the frame in work.

Rule: a plain record of `frames/decoding.py`; `calls/` sets the task in work. Waiting messages stay
bytes until their turn comes, with their borders.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from stocksync_ws.stomp.decoder import Decoder

if TYPE_CHECKING:
    from stocksync_ws.broker.model.pipeline import Call, Task
    from stocksync_ws.broker.model.window import Window

__all__ = ["Inbound"]


class Inbound:
    """The way in of one session."""

    __slots__ = (
        "decoder",
        "decoder_empty",
        "frames_left",
        "held",
        "held_back",
        "owes",
        "paused",
        "pre_auth",
        "released",
        "scheduled",
        "share",
        "size",
        "stuck",
        "task",
        "turn",
        "waiting",
        "window",
        "worked",
    )

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.decoder_empty = True
        """The decoder has nothing whole left in it."""
        self.waiting: deque[bytes] | None = None
        """Messages that wait for their turn; None when there are none."""
        self.size = 0
        """Bytes they count for."""
        self.held = 0
        """Bytes of all that is kept of it, as `PostOffice.weigh` has counted them."""
        self.held_back = False
        """It is read no further, since all sessions together hold too much."""
        self.pre_auth = 0
        """Bytes that came before CONNECTED."""
        self.turn = -1
        """The turn that `frames_left` belongs to."""
        self.frames_left = 0
        """Frames it may still be given in that turn."""
        self.share = 0
        """Frames it was given."""
        self.owes = False
        """So many receipts wait for the client that its next frame waits until some have left."""
        self.scheduled = False
        """The session waits for its share of a turn."""
        self.paused = False
        """Reading from the session is paused."""
        self.task: Task | None = None
        """The script of the frame in work; the next frame waits for it."""
        self.window: Window | None = None
        """SENDs that the engine has not answered; None: there are none."""
        self.worked = -1
        """The last turn in which user code ran inside of a step: more than one share of it could
        take long.
        """
        self.released: dict[Task, None] | None = None
        """The scripts that have let go of the session and go on beside its next frames."""
        self.stuck: Call | None = None
        """A pool function that was left behind and has not returned; no frame is read until it
        has.
        """

    def give(self, turn: int, most: int, share: int) -> None:
        """Give it a share of a turn, or what it may still have of `most` frames."""
        if self.turn != turn:
            self.turn, self.frames_left, self.share = turn, most, 0
        given = min(share - self.share, self.frames_left)
        if given > 0:
            self.frames_left -= given
            self.share += given

    def begin(self, task: Task) -> None:
        """A frame is in work."""
        self.task = task

    def release(self, task: Task) -> None:
        """A script lets go of the session, and ends with it all the same."""
        self.released = {**(self.released or {}), task: None}

    def end(self, task: Task) -> None:
        """The script of a frame is not in work any more; one that had let go before has ended."""
        if self.task is task:
            self.task = None
        else:
            assert self.released is not None
            del self.released[task]

    @property
    def scripts(self) -> list[Task]:
        """The script of the frame in work, and those that have let go."""
        scripts = [] if self.released is None else list(self.released)
        if self.task is not None and self.task not in scripts:
            scripts.append(self.task)
        return scripts

    def stick(self, call: Call) -> None:
        """A pool function was left behind."""
        self.stuck = call

    def unstick(self, call: Call) -> bool:
        """A pool function that was left behind has returned; whether the session waited for it."""
        waited = self.stuck is call
        if waited:
            self.stuck = None
        return waited

    def pause(self, paused: bool) -> bool:
        """Reading pauses, or goes on; whether that is a change."""
        changed = self.paused is not paused
        self.paused = paused
        return changed

    def hold_back(self, held_back: bool) -> None:
        """It is read no further, or like all others, from the next look at it on."""
        self.held_back = held_back

    @property
    def may_decode(self) -> bool:
        """No frame is in work."""
        return self.task is None and self.stuck is None

    @property
    def has_work(self) -> bool:
        """A frame is in work, or waits."""
        return not (self.may_decode and self.decoder_empty and self.waiting is None)

    def clear(self, decoder: Decoder | None = None) -> None:
        """Throw away what waits, and with a new decoder what had been decoded in part."""
        self.waiting = None
        self.size = 0
        if decoder is not None:
            self.decoder = decoder
            self.decoder_empty = True

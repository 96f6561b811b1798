"""The ports of the driver: to a machine, a host and streams; and its own record of a connection.

Rule: any object that fits a Protocol is driven, and no class that does is named here. A machine
decides everything about sessions and frames; an adapter moves bytes, runs user code and keeps one
timer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Any, Protocol

from stocksync_ws.backplane import BackplaneCommand
from stocksync_ws.broker.model.mailbox import Mailbox
from stocksync_ws.broker.model.outputs import Outputs
from stocksync_ws.broker.model.pipeline import Call, Outcome, Task
from stocksync_ws.broker.model.post_office import Outgoing
from stocksync_ws.broker.model.publication import Draft, Published, Told
from stocksync_ws.broker.model.turn import Turn
from stocksync_ws.codes import DisconnectReason
from stocksync_ws.config import Limits
from stocksync_ws.counters import Counters
from stocksync_ws.types import Chunk, Connection, Event, Handshake, Wire

__all__ = ["ENDED", "Conversation", "Host", "Keeper", "Link", "Machine", "Stream"]


class Conversation(Protocol):
    """A session, as far as the driver looks at it; everything else in it is the machine's."""

    @property
    def mailbox(self) -> Mailbox:
        """The entries that wait for the transport."""
        ...

    @property
    def paused(self) -> bool:
        """The session is not to be read now; a change is told by `Outputs.reads`."""
        ...


class Machine(Protocol):
    """A sans-I/O state machine: the broker, later the client and the relay.

    Inputs take `now` (seconds, monotonic). Sessions are opaque: the driver keeps what `open`
    returned in `wire.session`, and hands it in again.
    """

    outputs: Outputs
    """The outputs to be carried out after each input, and in the next turn."""
    turn: Turn
    """The sessions that wait for a share of a turn, which the driver begins and bounds in time."""
    counters: Counters
    limits: Limits

    def run_inline(self, run: Callable[[Call, Context], Outcome | None]) -> None:
        """Allow inline calls to be run inside of a step, by `run`."""
        ...

    def open(self, wire: Wire, handshake: Handshake, now: float) -> Conversation:
        """Begin the session of a handshake; its verdict comes by `Outputs.answers`."""
        ...

    def receive(self, session: Any, payload: bytes, now: float) -> None:
        """Take one message."""
        ...

    def alive(self, session: Any, now: float, *, unfinished: bool = False) -> None:
        """Note that input came that is no message (see `Alive.unfinished`), or a carrier."""
        ...

    def violate(self, session: Any, code: int, detail: str, now: float) -> None:
        """Close with this code: the peer broke the framing or its limits; `detail` says how."""
        ...

    def lost(self, session: Any, reason: DisconnectReason, now: float, code: int = 1006) -> None:
        """End a session whose wire ended, with the peer's close code or without one."""
        ...

    def writable(self, session: Any, unsent: int, now: float) -> bool:
        """Note that a flush was tried, or the transport took bytes; `unsent`, in the unit of
        `Wire.size`, are left in it. Tell whether the mailbox holds all there is.
        """
        ...

    def deal(self, now: float) -> None:
        """Put what is left of `Outputs.crowd` into mailboxes."""
        ...

    def take_output(self, session: Any, room: int, now: float) -> list[Outgoing]:
        """Entries for the transport, at most `room` bytes, but at least one when there is one."""
        ...

    def proceed(self, session: Any, now: float) -> None:
        """Go on with a session that waited for its share of a turn."""
        ...

    def resume(self, task: Task, outcome: Outcome, now: float) -> None:
        """Take the outcome of a call of user code that has ended."""
        ...

    def publish(
        self,
        draft: Draft,
        now: float,
        told: Told | None,
    ) -> Published | None:
        """Publish for the application. None: an engine orders it, and `told` will hear."""
        ...

    def start(self, now: float) -> None:
        """Begin the run."""
        ...

    def stop(self, now: float, within: float) -> None:
        """Begin to close all sessions, spread over `within` seconds at most."""
        ...

    def halt(self, now: float) -> None:
        """Close what is left, and take nothing more."""
        ...

    def fail(self, culprit: object, problem: BaseException, now: float) -> None:
        """End the session that the culprit, a session or a timed object, belongs to, and no other:
        an input raised by a bug of ours.
        """
        ...

    @property
    def busy(self) -> bool:
        """User code runs."""
        ...


class Stream(Protocol):
    """A byte stream (or an ASGI scope), as an adapter gives it to the driver. Its numbers are in
    the unit of `Wire.size`; a chunk that is kept counts whole.
    """

    send: Callable[[Chunk], int] | None
    """The direct way: it writes one chunk at once, as far as possible, and returns how much of it
    was taken; raises as `socket.send`. None: there is none."""

    @property
    def unsent(self) -> int:
        """Bytes that were handed over and are not written yet, in the unit of `Wire.size`."""
        ...

    def write(self, chunks: list[Chunk]) -> int:
        """Take all of it; return what is unsent after a first try. Never raises."""
        ...

    def keep(self, chunk: Chunk, sent: int) -> int:
        """Take the rest of a chunk that `send` took in part; return what is unsent. Never raises.

        Args:
            chunk: The whole chunk.
            sent: What `send` returned, or 0 if it raised `BlockingIOError`.
        """
        ...

    def pause(self) -> None:
        """Stop reading."""
        ...

    def unpause(self) -> None:
        """Read on."""
        ...

    def shut(self) -> None:
        """Write what is unsent, then end our direction; go on reading until the peer ends its
        own.
        """
        ...

    def abort(self) -> None:
        """Close now, whatever is unsent. `ended` is not called any more."""
        ...


class _EndedStream:
    """A stand-in for a stream that is over: it takes everything and does nothing."""

    __slots__ = ()

    send: Callable[[Chunk], int] | None = None
    unsent = 0

    def write(self, chunks: list[Chunk]) -> int:
        return 0

    def keep(self, chunk: Chunk, sent: int) -> int:
        return 0

    def pause(self) -> None:
        pass

    def unpause(self) -> None:
        pass

    def shut(self) -> None:
        pass

    def abort(self) -> None:
        pass


ENDED: Stream = _EndedStream()
"""The stream of a link that is gone. A stream knows its link, so that a link that still knew its
stream would wait for the garbage collector, with all that both of them hold: after a storm of
clients that leave this is a long stop of everything.
"""


class Host(Protocol):
    """The services of an adapter for the driver.

    A machine that opens connections of its own (client, relay) will ask for them by an output and a
    verb `dial`, whose stream comes back by `Driver.connected`, as an accepted one does.
    """

    def now(self) -> float:
        """The time in seconds, monotonic."""
        ...

    def soon(self, callback: Callable[[], None]) -> None:
        """Call back in the next turn of the loop, on the owner thread."""
        ...

    def wake_at(self, deadline: float) -> None:
        """Call `Driver.wake` at this time; replaces what was asked for before."""
        ...

    def call(self, task: Task) -> None:
        """Run `task.call` in its colour and context, then `Driver.resume`; at once is allowed. An
        exception becomes the outcome of the call.
        """
        ...

    def inline(self, call: Call, context: Context) -> Outcome | None:
        """Run an inline call in a context, to its end; None: it goes the way of all others."""
        ...

    def cancel(self, task: Task) -> None:
        """Ask the running call of a task to end."""
        ...

    def carry(self, commands: Sequence[BackplaneCommand]) -> None:
        """Send commands to the engine that several workers share."""
        ...


class Keeper(Protocol):
    """The place where the deadline of a link is acted on."""

    def wake(self, link: Link, now: float) -> list[Event]:
        """Act on the deadline of a link, which came."""
        ...


class Link:
    """One stream with its connection, and the wire that it brings input for or carries."""

    __slots__ = (
        "armed",
        "armed_at",
        "close_by",
        "connection",
        "deadline",
        "ending",
        "gone",
        "keeper",
        "paused",
        "shut",
        "stream",
        "wire",
    )

    def __init__(self, stream: Stream, connection: Connection, keeper: Keeper) -> None:
        self.stream = stream
        self.connection = connection
        self.keeper = keeper
        self.wire: Wire | None = None
        self.paused = False
        self.gone = False
        self.shut = False
        """Our direction has ended."""
        self.ending = False
        """The answer has ended, and its connection hears of it when all is written."""
        self.close_by: float | None = None
        """The time, in monotonic seconds, of the abort of a shut stream whose peer does not end."""
        self.deadline: float | None = None
        self.armed = 0
        self.armed_at = 0.0

    @property
    def session(self) -> Any:
        """The session behind its wire, or None."""
        return None if self.wire is None else self.wire.session

    @property
    def carries(self) -> bool:
        """The link carries the output of its wire, and does not only bring input."""
        return self.wire is not None and self.wire.link is self

    def wake(self, now: float) -> list[Event]:
        """Act on the deadline, which came."""
        return self.keeper.wake(self, now)

"""User code has no colour, and a frame that waits is no callback: a pipeline is a generator that
yields what it waits for and is resumed with the outcome.

Rule: whatever user code there is (handlers, listeners, authenticators) is reached by a `yield
Call(...)` in a pipeline. The adapter runs the call in the colour that was decided when it was
declared; the broker sends the value back in, or throws the error. What a frame does when it has to
wait is such a generator too, a *script*; it may yield besides: a `Draft`, which is published; a
`Join`, to wait for the same SEND of somebody else; `RELEASE`, to let its session go on. A pipeline
that must end is ended by `throw`, never by `close()`, and driven to its end, so that its clean-up
calls run too.

    ready --start--> running --resume--> running | ended
                        |
                        +--stop(error)--> stopping: the call is asked to end; when it has ended, or
                                          after `GIVE_UP` seconds, `error` is thrown into the
                                          generator
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextvars import Context
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypeVar

from stocksync_ws.broker.model.publication import Draft

if TYPE_CHECKING:
    from stocksync_ws.broker.model.session import SessionRecord

__all__ = [
    "ASYNC",
    "GIVE_UP",
    "INLINE",
    "POOL",
    "RELEASE",
    "Call",
    "Join",
    "Mode",
    "Outcome",
    "Pipeline",
    "Release",
    "Script",
    "Task",
    "Threads",
]

R = TypeVar("R")

GIVE_UP = 5.0
"""Seconds a coroutine may swallow its cancellation before its pipeline goes on without it."""


class Mode(Enum):
    """How a call is run; decided once, at decoration."""

    ASYNC = "async"
    """A coroutine function, in a task of its own in the pipeline's context."""
    POOL = "pool"
    """A plain function, in a thread of the bounded pool."""
    INLINE = "inline"
    """A function that takes microseconds, at once on the owner thread."""


ASYNC, POOL, INLINE = Mode.ASYNC, Mode.POOL, Mode.INLINE
"""Globals, for what is asked with every call: to look up a member of an Enum is a call in Python
before 3.12.
"""


class Threads(Enum):
    """Whose threads a plain function runs in. Each kind has its own, so that none is kept from its
    work by another that holds all it has.
    """

    HANDLERS = "handler"
    """Handlers, and whatever belongs to them."""
    AUTHENTICATORS = "authenticator"
    """Who decides about a CONNECT."""
    LISTENERS = "listener"
    """Who is told of an event."""


AUTHENTICATOR_THREADS = 2
"""Threads of authenticators."""
AUTHENTICATORS_WAITING = 256
"""Plain authenticators that may wait for them; a CONNECT that finds so many is refused."""


class Call:
    """One call of user code, to be run by the adapter."""

    __slots__ = ("_waiting", "args", "function", "kwargs", "label", "mode", "stuck", "threads")

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        mode: Mode,
        label: str = "",
        threads: Threads = Threads.HANDLERS,
    ) -> None:
        self.function = function
        self.args = args
        self.kwargs: Mapping[str, Any] = kwargs if kwargs is not None else {}
        self.mode = mode
        self.label = label
        """The name in log lines: the mapping and the function."""
        self.threads = threads
        """Where it runs, if it is a plain function."""
        self.stuck = False
        """It was given up inside a thread of the pool, and has not returned."""
        self._waiting: list[Callable[[], None]] | None = None
        """The work that no thread has begun; None for what needs no thread. It is popped once, by
        the thread or by `withdraw`: that is atomic without a lock.
        """

    def offer(self, work: Callable[[], None]) -> Callable[[], None]:
        """Let a thread of the pool begin `work`, unless the call is withdrawn before.

        Returns:
            What the thread has to run.
        """
        self._waiting = [work]
        return partial(_begin, self._waiting)

    @property
    def offered(self) -> bool:
        """No thread has begun it yet."""
        return bool(self._waiting)

    def withdraw(self) -> bool:
        """Take back what no thread has begun; whether it was, so that it will never run."""
        try:
            if self._waiting is None:
                return False
            self._waiting.pop()
        except IndexError:
            return False
        return True


def _begin(waiting: list[Callable[[], None]]) -> None:
    try:
        work = waiting.pop()
    except IndexError:
        return  # withdrawn
    work()


class Outcome:
    """How a call ended. Exactly one of value and error counts; `error` wins when it is not None."""

    __slots__ = ("call", "error", "value")

    def __init__(self, call: Call, value: Any = None, error: BaseException | None = None) -> None:
        self.call = call
        self.value = value
        self.error = error


class Join:
    """Wait until something that runs for another frame has ended; resumed with whether it
    succeeded. A script that waits here has no deadline: it ends with what it waits for.
    """

    __slots__ = ("waiting",)

    def __init__(self, waiting: list[Task]) -> None:
        self.waiting = waiting
        """The tasks that wait for it; whoever ends it lets them go on."""


class Release(Enum):
    """Let go of the session: its next frame is decoded while this script goes on. It is cancelled
    with its session all the same.
    """

    NOW = "release"


RELEASE: Final = Release.NOW

Pipeline: TypeAlias = Generator[Call | Draft | Join | Release, Any, R]
"""What yields calls of user code, and returns an `R`."""
Script: TypeAlias = Pipeline[None]
"""What a frame does that has to wait."""


class Runner(Protocol):
    """Where pipelines are run."""

    def wake(self, task: Task, now: float) -> None:
        """The deadline of a task came."""
        ...


class Task:
    """A running pipeline: its generator, the call it waits for, its context and its deadline."""

    __slots__ = (
        "armed",
        "armed_at",
        "call",
        "context",
        "deadline",
        "due",
        "end_by",
        "handle",
        "label",
        "left",
        "outlived",
        "pipeline",
        "runner",
        "session",
        "stopping",
    )

    def __init__(
        self,
        runner: Runner,
        session: SessionRecord | None,
        pipeline: Pipeline[Any],
        context: Context,
    ) -> None:
        self.runner = runner
        self.session = session
        """The session whose frame it is; None for what no session waits for."""
        self.pipeline = pipeline
        self.context = context
        """Entered by one call at a time; replaced by a copy when a call is left behind in it."""
        self.call: Call | None = None
        """The call that runs; None between calls and in a `Join`."""
        self.label = ""
        """The label of the last call: what a log line blames."""
        self.stopping: BaseException | None = None
        """The error that is thrown into the pipeline when the running call has ended."""
        self.left: Call | None = None
        """A pool function that was left behind and has not returned."""
        self.outlived: list[Task] = []
        """The scripts that wait for the function that was left behind."""
        self.end_by: float | None = None
        """When it is cancelled because its session is over, in the broker's own time."""
        self.handle: Any = None
        """A slot for the adapter: what it needs to cancel the call."""
        self.due = 0.0
        """When the running call is stopped, in the broker's own time."""
        self.deadline: float | None = None
        self.armed = 0
        self.armed_at = 0.0

    def wake(self, now: float) -> None:
        """Its deadline came."""
        self.runner.wake(self, now)

"""User code has no colour: a pipeline is a generator that yields `Call`s and is resumed with their
outcome.

Rule: whatever user code there is (handlers, listeners, authenticators) is reached by a `yield
Call(...)` in a pipeline. The adapter runs the call in the colour that was decided when it was
declared; the broker sends the value back in, or throws the error. A pipeline that must end is ended
by `throw`, never by `close()`, and driven to its end, so that its clean-up calls run too.

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
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from stocksync_ws.broker.model.publication import Draft

if TYPE_CHECKING:
    from stocksync_ws.broker.model.session import Session

__all__ = ["GIVE_UP", "Call", "Mode", "Outcome", "Pipeline", "Task"]

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


class Call:
    """One call of user code, to be run by the adapter."""

    __slots__ = ("args", "function", "kwargs", "label", "mode")

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        mode: Mode,
        label: str = "",
    ) -> None:
        self.function = function
        self.args = args
        self.kwargs: Mapping[str, Any] = kwargs if kwargs is not None else {}
        self.mode = mode
        self.label = label
        """What a log line calls it: the mapping and the function."""


class Outcome:
    """How a call ended. Exactly one of value and error counts; `error` wins when it is not None."""

    __slots__ = ("call", "error", "value")

    def __init__(self, call: Call, value: Any = None, error: BaseException | None = None) -> None:
        self.call = call
        self.value = value
        self.error = error


Pipeline: TypeAlias = Generator[Call | Draft, Any, R]


class Task:
    """A running pipeline: its generator, the call it waits for, its context and its deadline."""

    __slots__ = (
        "armed",
        "armed_at",
        "call",
        "context",
        "deadline",
        "done",
        "due",
        "end_by",
        "handle",
        "label",
        "left",
        "owner",
        "pipeline",
        "session",
        "stopping",
        "when_left_ends",
    )

    def __init__(
        self,
        session: Session | None,
        pipeline: Pipeline[Any],
        context: Context,
        done: Callable[[Task, Any, BaseException | None, float], None],
    ) -> None:
        self.session = session
        self.pipeline = pipeline
        self.context = context
        """Entered by one call at a time; replaced by a copy when a call is left behind in it."""
        self.done = done
        """What the broker does when the pipeline has ended: (task, value, error, now)."""
        self.call: Call | None = None
        """The call that runs, None between calls."""
        self.label = ""
        """The label of the last call: what a log line blames."""
        self.stopping: BaseException | None = None
        """What is thrown into the pipeline when the running call has ended."""
        self.owner = session
        """The session it is about, also where that does not wait for it (its events)."""
        self.left: Call | None = None
        """A pool function that was left behind and has not returned."""
        self.when_left_ends: Callable[[Outcome, float], None] | None = None
        """Told how that ended after all."""
        self.end_by: float | None = None
        """When it is cancelled because its session is over, in the broker's own time."""
        self.handle: Any = None
        """A slot for the adapter: what it needs to cancel the call."""
        self.due = 0.0
        """When the running call is stopped, in the broker's own time."""
        self.deadline: float | None = None
        self.armed = 0
        self.armed_at = 0.0

"""Messages that wait for each other: those of a topic with a `flush_delay`.

Rule: such a message lies in the mailboxes of its receivers in its place, as any other does; what
waits is only the mark that a mailbox is to be flushed. Whatever else marks one sends all that lies
in it, so order never changes, and nobody asks for the reason. The end of a window marks the members
of the topic that still hold something; who is a member no longer was marked when it left. So there
is one timer for a topic, and nothing for a receiver.
"""

from __future__ import annotations

from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.flush_window import FlushWindow
from stocksync_ws.broker.model.topic import Topic
from stocksync_ws.policies import PushedPolicy

__all__ = ["FlushWindows"]


class FlushWindows:
    """Begins windows, and ends them."""

    __slots__ = ("_step",)

    def __init__(self, env: Environment) -> None:
        self._step = env.step

    def of(self, topic: Topic) -> FlushWindow | None:
        """The window of a new topic; None: what is published to it leaves at once."""
        policy = topic.policy
        if not isinstance(policy, PushedPolicy) or policy.flush_delay is None:
            return None
        return FlushWindow(topic, policy.flush_delay, self)

    def begin(self, window: FlushWindow) -> None:
        """The first message waits from now on."""
        self._step.sooner(window, self._step.now + window.delay)

    def wake(self, window: FlushWindow, now: float) -> None:
        """The deadline of a window came."""
        self._step.wake(now, self._end, window)

    def _end(self, window: FlushWindow) -> None:
        window.deadline = None
        for group in window.topic.groups.values():
            for mailbox in group.members:
                mailbox.hurry()

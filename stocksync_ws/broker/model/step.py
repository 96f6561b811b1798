"""One step of the broker: its own time, and everything that is done when the step ends.

Rule: every input of the broker is one step, written once, in `Step.run`: its own time, the work,
the end of the step. `Broker.writable` and `take_output` leave it out on their plain way, where
nothing can be noted: they are called for each flush. Own time is the caller's `now` less the slack
of our own stalls, so that a stall of ours is nobody's silence. Whatever must not happen in the
middle of something (a close, a dead letter, an event about a loss) is only noted here, and happens
at the end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeVar, TypeVarTuple

from stocksync_ws.broker.model.outputs import Outputs
from stocksync_ws.errors import BrokerBusy, InterceptorFailed
from stocksync_ws.policies import Policy
from stocksync_ws.timers import Timed, Timers

if TYPE_CHECKING:
    from stocksync_ws.broker.model.flight import Done, Settlement
    from stocksync_ws.broker.model.mailbox import Mailbox
    from stocksync_ws.broker.model.pipeline import Task
    from stocksync_ws.broker.model.publication import Draft, Publication
    from stocksync_ws.broker.model.session import SessionRecord

__all__ = ["DeadMessage", "Step"]

T = TypeVar("T")
Args = TypeVarTuple("Args")

MOST_DEEP = 4
"""How often an interceptor may publish for what an interceptor has published."""
MOST_POSTED = 1_000
"""Messages of interceptors that may wait for the end of a step."""

TICK = 1e-6
"""Seconds, far above what rounding can lose and far below what a deadline can mean."""


class DeadMessage(NamedTuple):
    """A message that will not be delivered any more."""

    policy: Policy
    """The policy of its destination: where dead letters go."""
    publication: Publication
    deliveries: int
    reason: str
    """`attempts`, `rejected`, `expired` or `binary`."""
    told: bool = False
    """One event tells of it with others."""


class Step:
    """The step that runs now.

    Args:
        timers: The heap of the driver; it knows the slack.
        finish: Ends a step in which something was noted. It works until nothing is noted any more.
    """

    __slots__ = (
        "_finish",
        "_running",
        "_timers",
        "alone",
        "dead",
        "depth",
        "drafts",
        "dropped",
        "looking",
        "lost",
        "noted",
        "now",
        "outputs",
        "overfull",
        "posted",
        "ready",
        "runnable",
        "settled",
        "settles_first",
    )

    def __init__(self, timers: Timers, finish: Callable[[], None]) -> None:
        self._timers = timers
        self._finish = finish
        self._running = False
        self.now = 0.0
        """The broker's own time in this step, in seconds."""
        self.outputs = Outputs()
        self.noted = False
        """Something is to be done at the end of the step."""
        self.alone = False
        """The step that comes, or runs, is one publication of the server's side and nothing else.
        Who publishes so sets it; the end of the step, and what follows in it, clears it.
        """
        self.drafts: deque[tuple[Task, Draft]] = deque()
        """What pipelines want published; each goes on with what became of it."""
        self.looking = False
        """Outbound interceptors or a delivery filter run: what they publish waits in `posted`."""
        self.posted: deque[tuple[Draft, int]] = deque()
        """Drafts of theirs, each with its depth: 1 where they looked at something of others."""
        self.depth = 0
        """The depth of what is published now."""
        self.ready: deque[tuple[Task, bool]] = deque()
        """Scripts whose `Join` is over, with whether what they waited for succeeded."""
        self.settled: deque[tuple[Done, Settlement]] = deque()
        """What became of publications that an engine orders, and who is told."""
        self.runnable: deque[tuple[SessionRecord, Task | None, BaseException | None]] = deque()
        """Sessions whose next frame may be decoded, with the script that has ended, and its error.
        """
        self.settles_first = False
        """The frame that is handled has trimmed what is kept: the next one of its session waits for
        what came of that.
        """
        self.dead: list[DeadMessage] = []
        """Messages that have died: each is told, and may become a dead letter."""
        self.overfull: list[Mailbox] = []
        """Mailboxes that grew past the bound of one turn."""
        self.lost: list[SessionRecord] = []
        """Sessions whose log was trimmed under them."""
        self.dropped: dict[tuple[str, str], int] = {}
        """Messages that subscribers lost, by destination and reason."""

    def run(self, now: float, work: Callable[[*Args], T], *args: *Args) -> T:
        """Run one input of the broker, at the caller's time `now`.

        User code that publishes from inside of a step (a converter) is a part of that step.
        """
        if self._running:
            self.alone = False
            return work(*args)
        self._running = True
        try:
            self.now = now - self._timers.slack
            if self.outputs.crowd is not None:
                self._deal()
            result = work(*args)
            if self.noted:
                self.alone = False
                if self.outputs.crowd is not None:
                    self._deal()
                self._finish()
        finally:
            self._running = self.alone = False
        return result

    def deal(self, now: float) -> None:
        """Put the message that was published last into mailboxes, in a step of its own."""
        self.run(now, _nothing)

    def _deal(self) -> None:
        """Put the message that was published last into mailboxes."""
        crowd, self.outputs.crowd = self.outputs.crowd, None
        assert crowd is not None
        crowd.deal()

    def outside(self, work: Callable[[*Args], T], *args: *Args) -> T:
        """Run user code in the middle of a step in which nothing is noted, as if the step had
        ended: an input that comes of it is a step of its own, and the rest goes on at its time.
        """
        self._running = False
        try:
            return work(*args)
        finally:
            self._running = True
            if self.outputs.crowd is not None:
                self._deal()

    def wake(self, now: float, work: Callable[[*Args], None], *args: *Args) -> None:
        """Run what is due at `now`, a tick ahead: what was rounded on its way through the slack
        must not look too early.
        """
        self.run(now + TICK, work, *args)

    def own(self, now: float) -> float:
        """The broker's own time at the caller's `now`."""
        return now - self._timers.slack

    # What the work notes

    def publish(self, task: Task, draft: Draft) -> None:
        """Note what a pipeline wants published."""
        self.drafts.append((task, draft))
        self.noted = True

    def post(self, draft: Draft) -> None:
        """Note what an interceptor or a filter wants published, behind what it looks at.

        Raises:
            InterceptorFailed: It does so for what it has published itself, without end.
            BrokerBusy: Too much waits already.
        """
        if self.depth >= MOST_DEEP:
            raise InterceptorFailed(
                "it publishes for each message that it publishes, which would never end: leave its"
                " own out, by their destination or a header"
            )
        if len(self.posted) >= MOST_POSTED:
            raise BrokerBusy(f"interceptors have published {MOST_POSTED} messages at once already")
        self.posted.append((draft, self.depth + 1))
        self.noted = True

    def settle(self, done: Done, settlement: Settlement) -> None:
        """Note what became of a publication that an engine orders."""
        self.settled.append((done, settlement))
        self.noted = True

    def joined(self, task: Task, succeeded: bool) -> None:
        """Note a script that goes on, since what it waited for has ended."""
        self.ready.append((task, succeeded))
        self.noted = True

    def ended(self, session: SessionRecord, task: Task, error: BaseException | None = None) -> None:
        """Note a session that the script of a frame has let go of, or failed by `error`."""
        self.runnable.append((session, task, error))
        self.noted = True

    def go_on(self, session: SessionRecord) -> None:
        """Note a session whose next frame may be decoded."""
        self.runnable.append((session, None, None))
        self.noted = True

    def settle_first(self) -> None:
        """Have the next frame of the session wait for what comes of this one: a log was trimmed."""
        self.settles_first = self.noted

    def bury(
        self,
        policy: Policy,
        publication: Publication,
        deliveries: int,
        reason: str,
        *,
        told: bool = False,
    ) -> None:
        """Note a dead message. A dead letter is a publication of its own, which may end sessions,
        and must not do so in the middle of something.
        """
        self.dead.append(DeadMessage(policy, publication, deliveries, reason, told))
        self.noted = True

    def close_overfull(self, mailbox: Mailbox) -> None:
        """Note a mailbox that grew past the bound of one turn."""
        self.overfull.append(mailbox)
        self.noted = True

    def close_lost(self, session: SessionRecord) -> None:
        """Note a session whose log was trimmed under it."""
        self.lost.append(session)
        self.noted = True

    def tell_dropped(self, destination: str, reason: str, count: int) -> None:
        """Note messages that subscribers lost."""
        key = destination, reason
        self.dropped[key] = self.dropped.get(key, 0) + count
        self.noted = True

    # Time

    def by(self, at: float) -> float:
        """A deadline for the timers, from one in the broker's own time."""
        return at + self._timers.slack

    def sooner(self, thing: Timed, at: float) -> None:
        """Make sure that `thing` is looked at no later than `at`, in the broker's own time."""
        self._timers.sooner(thing, at + self._timers.slack)

    def rearm(self, thing: Timed, at: float | None) -> None:
        """Set the deadline of a thing, in the broker's own time; None: it has none."""
        thing.deadline = None if at is None else at + self._timers.slack
        self._timers.arm(thing)

    def disarm(self, thing: Timed) -> None:
        """Forget a thing that has ended."""
        self._timers.disarm(thing)


def _nothing() -> None:
    """The work of a step that only ends what was before it."""

"""What the application does to sessions at all workers: to end them, to judge them anew, to attach
something to one.

Rule: an order is carried out here at once, and then told to the other workers by the control log,
each of which carries it out once. What cannot be told now is told when the engine is back, in its
order. One that was given before a worker has started does nothing there, and one that comes late
ends no session that came after it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

from stocksync_ws.backplane import AppendOutcome, Item
from stocksync_ws.broker.calls.session_log import SessionLog
from stocksync_ws.broker.frames.reviewing import Reviewing
from stocksync_ws.broker.model.control import Notice, notice
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.flight import Settlement
from stocksync_ws.broker.sessions.room import Sessions

__all__ = ["LATE", "MOST_WAITING", "RETRY", "Orders"]

LATE = 2.0
"""Seconds, more than clocks of machines differ: an order that took longer is late, and sessions
that came so much after it are not meant.
"""
RETRY = 1.0
"""Seconds until what the engine has not taken is sent again."""
MOST_WAITING = 1_000
"""Orders that wait for the engine; beyond it the oldest is lost, logged and counted."""
MOST_DONE = 10_000
"""Orders of which it is known that they have been carried out here."""
MOST_REASON = 1_000
"""Characters of a reason that other workers are told."""
LOST = "an act on sessions does not reach the other workers: %d more wait for the engine"
_DONE = (AppendOutcome.ACCEPTED, AppendOutcome.REPEATED)


class Orders:
    """Orders that are given here, and those of other workers."""

    __slots__ = (
        "_counters",
        "_done",
        "_here",
        "_log",
        "_numbers",
        "_presence",
        "_reviewing",
        "_since",
        "_step",
        "_users",
        "_waiting",
        "_wall",
        "_worker",
        "_workers",
        "armed",
        "armed_at",
        "deadline",
    )

    def __init__(
        self, env: Environment, log: SessionLog, sessions: Sessions, reviewing: Reviewing
    ) -> None:
        self._counters = env.counters
        self._step = env.step
        self._wall = env.wall
        self._here = env.sessions
        self._worker = env.worker
        self._workers = sessions.workers
        self._users = sessions.users
        self._presence = sessions.presence
        self._reviewing = reviewing
        self._log = log
        self._numbers = count(1)
        self._since = 0.0
        """When this worker has started, in seconds since the epoch."""
        self._done: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._waiting: deque[tuple[int, Item]] = deque()
        """Orders that the engine has not taken, the oldest first."""
        self.deadline: float | None = None
        self.armed = 0
        self.armed_at = 0.0

    def start(self) -> None:
        """The broker takes messages."""
        self._since = self._wall()

    # Given here

    def disconnect_user(self, name: str, reason: str) -> int:
        """End the sessions of a user; how many have ended here."""
        ended = self._users.disconnect_user(name, reason)
        self._give("disconnect", user=name, reason=reason[:MOST_REASON])
        return ended

    def disconnect_session(self, session_id: str, reason: str) -> int:
        """End a session; whether it was one of this worker."""
        ended = self._users.disconnect_session(session_id, reason)
        if session_id not in self._here and not ended:
            self._give("disconnect", session=session_id, reason=reason[:MOST_REASON])
        return ended

    def review_user(self, name: str) -> int:
        """Judge the sessions of a user again; how many there are here."""
        reviewed = self._reviewing.review_user(name)
        self._give("review", user=name)
        return reviewed

    def review_session(self, session_id: str) -> int:
        """Judge a session again; whether it is one of this worker."""
        reviewed = self._reviewing.review_session(session_id)
        if session_id not in self._here:
            self._give("review", session=session_id)
        return reviewed

    def attach(self, session_id: str, info: str | None) -> None:
        """Replace what is said of a session to those who ask who is there."""
        self._presence.attach(session_id, info)
        if session_id not in self._here:
            self._give("attach", session=session_id, info=info)

    # To other workers

    def _give(self, what: str, **facts: object) -> None:
        """Tell the other workers, behind what was given before."""
        if self._workers is None:
            return
        number = next(self._numbers)
        slot = f"order {self._worker} {number}"
        facts = {"number": number, "at": self._wall(), "do": what, **facts}
        message = notice(Notice.ORDER, self._worker, slot, **facts)
        if self._waiting:
            self._wait(number, message)
        else:
            self._send(number, message)

    def _send(self, number: int, message: Item) -> None:
        assert self._workers is not None
        done = partial(self._sent, number, message)
        # What was sent before may be on its way.
        if self._workers.append((replace(message),), done):
            self._wait(number, message)

    def _sent(self, number: int, message: Item, settlement: Settlement) -> None:
        if settlement.outcome not in _DONE:
            self._wait(number, message)

    def _wait(self, number: int, message: Item) -> None:
        self._waiting.append((number, message))
        if len(self._waiting) > MOST_WAITING:
            self._waiting.popleft()
            self._counters.orders_lost += 1
            self._log.note(LOST, MOST_WAITING)
        self._step.sooner(self, self._step.now + RETRY)

    def wake(self, now: float) -> None:
        """What the engine has not taken is sent again."""
        self._step.wake(now, self._retry)

    def _retry(self) -> None:
        self._step.rearm(self, None)
        waiting = sorted(self._waiting)
        self._waiting.clear()
        for number, message in waiting:
            if self._waiting:
                self._wait(number, message)
            else:
                self._send(number, message)

    # Of other workers

    def take(self, worker: str, order: Mapping[str, Any]) -> None:
        """Carry out an order of another worker, unless that was done, or is none of our business
        because it is older than this worker.
        """
        key = worker, order["number"]
        if worker == self._worker or order["at"] < self._since or key in self._done:
            return
        self._done[key] = None
        if len(self._done) > MOST_DONE:
            self._done.popitem(last=False)
        what, user, session = order["do"], order.get("user"), order.get("session")
        if what == "attach":
            self._presence.attach(session or "", order["info"])
        elif what == "review" and user is not None:
            self._reviewing.review_user(user)
        elif what == "review":
            self._reviewing.review_session(session or "")
        elif user is not None:
            late = self._wall() - order["at"]
            until = self._step.now - late + LATE if late > LATE else None
            self._users.disconnect_user(user, order["reason"], until)
        else:
            self._users.disconnect_session(session or "", order["reason"])

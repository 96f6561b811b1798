"""Rules of several workers, each broken once: what the model is there to see.

Rule: a break replaces one method of the library, or of the engine, by one that leaves a rule out.
That answers of an earlier turn are dropped is no row: what follows is seen so rarely that its tests
stand in `tests/broker/delivery/test_mirrors.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from stocksync_ws.backplane import Append, Appended, Pushed, Subscribe
from stocksync_ws.broker.delivery.appends import Appends
from stocksync_ws.broker.delivery.mirrors import Mirror, Mirrors
from stocksync_ws.broker.frames.sharing import Sharing
from stocksync_ws.broker.model.flight import Flight, Settlement
from stocksync_ws.broker.sessions.workers import Workers
from stocksync_ws.position import Position
from stocksync_ws.testing.backplane import MemoryEngine

__all__ = ["BREAKS", "broken"]


def _read_first(self: Any, mirror: Mirror) -> None:
    self._begin_reading(mirror)
    self._commands.append(Subscribe(mirror.channel, mirror.turn))


def _new_first(self: Any) -> Iterator[Flight]:
    return reversed([each for each in self._flights.values() if each.settlement is None])


def _not_again(self: Any) -> Iterator[Flight]:
    return iter(())


_append = MemoryEngine.append


def _no_number(self: Any, worker: str, append: Append, at: float) -> tuple[Appended, list[Pushed]]:
    self._producers.clear()
    return _append(self, worker, append, at)


_find = MemoryEngine._find


def _epoch_only(self: Any, name: str, seen: Position | None) -> Any:
    if name in self._channels:
        self._channels[name].run = self._run
        return self._channels[name]
    return _find(self, name, None)


def _any_push(self: Any, mirror: Mirror, push: Pushed) -> None:
    self._apply(mirror, push.position, push.payload)


_take = Mirrors._take


def _no_gap(self: Any, mirror: Mirror, push: Pushed) -> None:
    assert mirror.top is not None
    if push.position.offset > mirror.top.offset:
        mirror.top = push.position._replace(offset=push.after)
    _take(self, mirror, push)


def _applied_only(self: Any, channel: str) -> Position | None:
    mirror = self._mirrors.get(channel)
    return None if mirror is None else mirror.top


def _silent(self: Any, channel: str, why: object) -> None:
    """Nobody is told."""


def _receipts_at_once(self: Any, session: Any, entry: Any, settlement: Settlement) -> None:
    entry.settlement = settlement
    window = session.inbound.window
    window.sends.remove(entry)
    self._finish(session, entry.frame, settlement)
    if not window.sends:
        session.inbound.window = None
        for task in window.waiting:
            self._step.joined(task, True)


def _settle_late(self: Any, now: float) -> list[Flight]:
    return []


BREAKS: dict[str, tuple[object, str, Callable[..., Any]]] = {
    "a channel is read before it is subscribed": (Mirrors, "_ask", _read_first),
    "what is in flight is sent again behind what is new": (Appends, "unanswered", _new_first),
    "what is in flight is not sent again": (Appends, "unanswered", _not_again),
    "the engine forgets numbers": (MemoryEngine, "append", _no_number),
    "the engine has an epoch and no generations": (MemoryEngine, "_find", _epoch_only),
    "a push that came already is applied": (Mirrors, "_take", _any_push),
    "a gap before a push is passed over": (Mirrors, "_take", _no_gap),
    "what was accepted counts not as seen": (Mirrors, "seen", _applied_only),
    "a reset is told to nobody": (Workers, "reset", _silent),
    "RECEIPTs leave as answers come": (Sharing, "_settled", _receipts_at_once),
    "nothing is overdue": (Appends, "overdue", _settle_late),
}
"""What is replaced, and by what."""


@contextmanager
def broken(rule: str) -> Iterator[None]:
    """A rule does not hold meanwhile."""
    home, name, instead = BREAKS[rule]
    with mock.patch.object(home, name, instead):
        yield

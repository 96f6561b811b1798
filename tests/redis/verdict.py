"""What the browsers of a scene were given, against what the publishers were told.

Rule: counts, not times. A hole, a message twice and a change of order are errors, unless the
browser was told in between; so is an id that names two messages, one that a publisher was told and
nobody saw where nobody was told of a loss, and messages of one worker in another order than it sent
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from stocksync_ws.position import Position
from tests.redis.browsers import Browser, Stretch

__all__ = ["Verdict", "judge", "settled"]

REFUSED = ("BackplaneUnavailable", "BrokerBusy")
UNCERTAIN = ("PublishUncertain",)


@dataclass
class Verdict:
    """What was found."""

    deliveries: int = 0
    accepted: int = 0
    refused: int = 0
    uncertain: int = 0
    tells: int = 0
    """Stretches that begin with a word of the server."""
    closes: dict[int, int] = field(default_factory=dict)
    connections: int = 0
    """How often the worker has connected to Redis that did so most often."""
    errors: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.deliveries} deliveries, {self.accepted} accepted, {self.refused} refused,"
            f" {self.uncertain} uncertain, {self.tells} told, closes {self.closes or 'none'},"
            f" {len(self.errors)} errors"
        )


def settled(browsers: Sequence[Browser], told: Iterable[tuple[str, str, str]]) -> bool:
    """Whether all browsers stand at one position in each room, and not before what a publisher was
    told of the same epoch: its answer may come before the first browser has the message.

    Args:
        browsers: All of them, subscribed.
        told: As `judge` takes it.
    """
    tops: dict[tuple[str, str], Position] = {}
    for room, _, name in told:
        if (position := Position.parse(name)) is not None:
            key = room, position.epoch
            tops[key] = max(tops.get(key, position), position)
    for room in browsers[0].stretches:
        stands = {Position.parse(browser.last(room)) for browser in browsers}
        if None in stands and any(key[0] == room for key in tops):
            return False
        if len({each.offset if each else 0 for each in stands}) > 1:
            return False
        if any(each and each < tops.get((room, each.epoch), each) for each in stands):
            return False
    return True


def judge(browsers: Sequence[Browser], told: Iterable[tuple[str, str, str]]) -> Verdict:
    """Judge a scene.

    Args:
        browsers: All of them.
        told: Of each publication the room, the body, and its message-id or the name of an error.
    """
    verdict = Verdict()
    bodies: dict[tuple[str, str], str] = {}
    for browser in browsers:
        verdict.errors += browser.problems
        for code in browser.closes:
            verdict.closes[code] = verdict.closes.get(code, 0) + 1
        for room, stretches in browser.stretches.items():
            for stretch in stretches:
                verdict.tells += bool(stretch.told)
                verdict.deliveries += len(stretch.messages)
                verdict.errors += _broken(room, stretch)
                for name, body in stretch.messages:
                    if bodies.setdefault((room, name), body) != body:
                        verdict.errors.append(f"{room}: {name} names two messages")
    _ask_publishers(verdict, bodies, told)
    _look_at_order(verdict, bodies)
    if not verdict.tells:
        _look_for_all(verdict, browsers, bodies)
    return verdict


def _broken(room: str, stretch: Stretch) -> list[str]:
    """Holes, repetitions and changes of order in what is given without a word."""
    found: list[str] = []
    before = Position.parse(stretch.begins) if stretch.begins else None
    for name, _ in stretch.messages:
        position = Position.parse(name)
        assert position is not None, name
        if before is not None:
            same = position.epoch == before.epoch
            if not same or position.offset != before.offset + 1:
                found.append(f"{room}: {name} follows {before}")
        before = position
    return found


def _ask_publishers(
    verdict: Verdict, bodies: dict[tuple[str, str], str], told: Iterable[tuple[str, str, str]]
) -> None:
    seen = set(bodies.values())
    names = {(room, body): name for (room, name), body in bodies.items()}
    if len(names) != len(bodies):
        verdict.errors.append(f"{len(bodies) - len(names)} messages have two ids")
    for room, body, name in told:
        if name in REFUSED:
            verdict.refused += 1
            if body in seen:
                verdict.errors.append(f"{body} was refused, and came")
        elif name in UNCERTAIN:
            verdict.uncertain += 1
        else:
            verdict.accepted += 1
            if names.get((room, body), name) != name:
                verdict.errors.append(f"{body} is {names[room, body]}, and was told as {name}")
            if (room, body) not in names and not verdict.tells:
                verdict.errors.append(f"{body} was accepted as {name}, and nobody has seen it")


def _look_at_order(verdict: Verdict, bodies: dict[tuple[str, str], str]) -> None:
    """What one worker sends to one room comes in that order, in every epoch."""
    last: dict[tuple[str, str, str], tuple[int, int]] = {}
    places = [(room, Position.parse(name), body) for (room, name), body in bodies.items()]
    for room, position, body in sorted(places, key=lambda each: each[1].offset if each[1] else 0):
        assert position is not None
        worker, number = body.split()
        key = room, position.epoch, worker
        if key in last and last[key][1] >= int(number):
            verdict.errors.append(f"{room}: {body} comes behind {worker} {last[key][1]}")
        last[key] = position.offset, int(number)


def _look_for_all(
    verdict: Verdict, browsers: Sequence[Browser], bodies: dict[tuple[str, str], str]
) -> None:
    """Where nobody was told of a loss, everybody has everything from its first position on."""
    tops: dict[str, int] = {}
    for room, name in bodies:
        position = Position.parse(name)
        assert position is not None
        tops[room] = max(tops.get(room, 0), position.offset)
    for number, browser in enumerate(browsers):
        for room, top in tops.items():
            last = Position.parse(browser.last(room))
            if last is None or last.offset != top:
                verdict.errors.append(f"browser {number} has {room} up to {last}, not {top}")

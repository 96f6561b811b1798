"""When one process of Redis is dead: it has not answered for so long, by a clock of the test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from stocksync_ws.backplane import Append, Item, Keep
from stocksync_ws.redis.directory import Place
from stocksync_ws.redis.node import Node, Worker
from stocksync_ws.redis.packing import Names, Packer

SILENCE = 2.0
TURN = 0.1
OK = b"accepted 1 0 e 0 1"


class Clock:
    """The loop of a node."""

    def __init__(self) -> None:
        self.now = 100.0

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, work: Callable[[], None]) -> None:
        pass


class Line:
    """A connection to nobody."""

    def __init__(self) -> None:
        self.heard = 0.0
        self.sent: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def close(self) -> None:
        pass


class Story:
    """A node whose clock stands still between its steps."""

    def __init__(self) -> None:
        self.ends: list[str] = []
        names = Names("shop")

        def token(bits: int) -> str:
            return "t" * (bits // 8)

        worker: Any = Worker(
            "w",
            names,
            SILENCE,
            token,
            lambda events: None,
            self.ends.append,
            list,
            self.ends.append,
        )
        self.node: Any = Node(Place(lambda: None, frozenset({0})), worker)
        self.clock = self.node._loop = Clock()
        self.commands = self.node._commands = Line()
        self.pushes = self.node._pushes = Line()
        self.node._packer = Packer(names, "w", "r:1", ("a" * 40, "b" * 40), "PUBLISH", token)
        self.node._write_at = float("inf")
        self.number = 0
        self.passes(TURN)

    def passes(self, seconds: float) -> None:
        """Time passes, until the node is ended; pushes come all the while."""
        until = self.clock.now + seconds
        while self.clock.now < until and not self.ends:
            self.clock.now += TURN
            self.pushes.heard = self.clock.now
            self.node._tick()

    def send(self) -> None:
        self.number += 1
        self.node.send([Append(self.number, (Item("/topic/a", b"x", Keep(1, 60.0)),))])

    def say(self) -> None:
        self.node.say(b"x")

    def answer(self) -> None:
        self.commands.heard = self.clock.now
        self.node._replied([OK])


@pytest.fixture
def story() -> Story:
    async def make() -> Story:
        return Story()

    return asyncio.run(make())


def test_who_is_asked_nothing_is_not_silent(story: Story) -> None:
    story.passes(5 * SILENCE)
    story.send()
    story.answer()
    story.passes(5 * SILENCE)
    assert story.ends == []


@pytest.mark.parametrize("how", ["send", "say"])
def test_silence_begins_with_the_first_thing_that_is_asked(story: Story, how: str) -> None:
    story.passes(5 * SILENCE)
    getattr(story, how)()
    story.passes(SILENCE - TURN)
    assert story.ends == []
    story.passes(3 * TURN)
    assert story.ends == ["Redis has not answered for 2 s"]


@pytest.mark.parametrize("how", ["send", "say"])
def test_what_is_asked_meanwhile_does_not_put_it_off(story: Story, how: str) -> None:
    story.send()
    story.passes(SILENCE - TURN)
    getattr(story, how)()
    story.passes(3 * TURN)
    assert len(story.ends) == 1


def test_an_answer_puts_it_off_for_what_is_still_asked(story: Story) -> None:
    story.send()
    story.send()
    story.passes(SILENCE - TURN)
    story.answer()
    story.passes(SILENCE - TURN)
    assert story.ends == []
    story.passes(3 * TURN)
    assert len(story.ends) == 1

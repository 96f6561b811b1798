"""Listeners: in order, one at a time, and bounded when they are slow."""

from __future__ import annotations

import asyncio

from stocksync_ws import DeadLetter, SessionSubscribed, SessionUnsubscribed, StompApp
from stocksync_ws.broker.calls.listeners import MOST
from tests.broker.kit import Broker


class Slow:
    """A listener that waits to be let go at each event."""

    def __init__(self, *kinds: type) -> None:
        self.kinds = kinds
        self.heard: list[object] = []
        self.at_once = 0
        self.most_at_once = 0
        self.go = asyncio.Event()

    def prepare(self, app: StompApp) -> None:
        @app.event_listener(*self.kinds)
        async def listen(event: object) -> None:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            self.heard.append(event)
            await self.go.wait()
            self.at_once -= 1


def test_a_session_whose_events_are_not_heard_is_not_read() -> None:
    slow = Slow(SessionSubscribed, SessionUnsubscribed)
    with Broker(prepare=slow.prepare) as world:
        peer = world.connect()
        sent = 0
        while not peer.stream.paused:
            peer.subscribe("/topic/a", f"{sent}")
            peer.command("UNSUBSCRIBE", {"id": f"{sent}"})
            sent += 1
            assert sent < 100
        slow.go.set()
        world.settle()
        assert not peer.stream.paused
        assert len(slow.heard) == sent * 2
        assert slow.most_at_once == 1


def test_what_is_about_no_session_comes_one_after_the_other_and_is_bounded() -> None:
    slow = Slow(DeadLetter)
    with Broker(prepare=slow.prepare) as world:
        peer = world.connect()
        for number in range(MOST + 3):
            peer.send_to("/topic/a", f"{number}", expires="1")
        assert slow.most_at_once == 1
        assert world.counters.events_dropped == 2
        slow.go.set()
        world.settle()
        told = [int(event.body) for event in slow.heard if isinstance(event, DeadLetter)]
        assert told == list(range(MOST + 1))
        assert slow.most_at_once == 1

"""Calls that no thread of the pool has begun: one that is given up never runs."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from stocksync_ws import ConnectRequest, SessionConnected, SessionDisconnected, StompApp
from stocksync_ws.broker.model.pipeline import Call, Mode
from stocksync_ws.config import Limits
from stocksync_ws.testing.world import World

Start = Callable[..., World]


class Busy:
    """An application whose functions need a thread of the pool; each says when it runs."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.app = app = StompApp(
            "/ws",
            allowed_origins=["*"],
            limits=Limits(handler_timeout=2.0),
            client_subscribe=("/topic/**",),
        )

        @app.message_mapping("/save")
        def save() -> None:
            self.ran.append("save")

        @app.message_mapping("/quick", inline=True)
        def quick() -> None:
            self.ran.append("quick")

        @app.subscribe_mapping("/number")
        def number() -> int:
            self.ran.append("number")
            return 1

        @app.snapshot("/topic/stock")
        def stock() -> int:
            self.ran.append("stock")
            return 1


ASKS = {
    "a message": ("SEND", {"destination": "/app/save"}),
    "a subscription to the application": ("SUBSCRIBE", {"destination": "/app/number", "id": "n"}),
    "a snapshot": ("SUBSCRIBE", {"destination": "/topic/stock", "id": "n"}),
}


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS.keys())
def test_what_was_refused_never_runs_and_holds_nobody_up(
    ask: tuple[str, dict[str, str]], start: Start
) -> None:
    busy = Busy()
    world = start(busy.app)
    peer = world.connect()
    peer.subscribe("/user/queue/errors")
    world.hold_pool()
    peer.command(*ask)
    peer.send_to("/app/quick", receipt="q")
    world.advance(2.1)
    assert json.loads(peer.message().body)["code"] == "handler-timeout"
    assert peer.frame("RECEIPT").headers["receipt-id"] == "q"
    assert world.counters.pool_slots_stuck == 0
    world.release_pool()
    assert busy.ran == ["quick"]
    assert world.counters.results_dropped == 0
    peer.nothing()


def test_what_the_session_left_behind_never_runs(start: Start) -> None:
    busy = Busy()
    world = start(busy.app)
    peer = world.connect()
    world.hold_pool()
    peer.send_to("/app/save")
    peer.eof()
    world.advance(5.1)
    assert not world.broker.calls.tasks.running
    world.release_pool()
    assert busy.ran == []
    assert world.counters.pool_slots_stuck == 0


def test_an_authenticator_of_a_refused_connect_never_runs(start: Start) -> None:
    asked: list[str] = []

    def authenticate(request: ConnectRequest) -> None:
        asked.append("user")

    app = StompApp(
        "/ws", allowed_origins=["*"], authenticator=authenticate, limits=Limits(handler_timeout=2.0)
    )
    world = start(app)
    peer = world.upgrade()
    world.hold_pool()
    peer.send(b"CONNECT\naccept-version:1.2\n\n\0")
    world.advance(2.1)
    assert peer.closed is not None
    world.release_pool()
    assert asked == []


def test_an_event_that_was_fired_reaches_a_listener_that_had_to_wait(start: Start) -> None:
    busy = Busy()

    @busy.app.event_listener()
    def on_connect(event: SessionConnected) -> None:
        busy.ran.append("connected")

    @busy.app.event_listener()
    def on_end(event: SessionDisconnected) -> None:
        busy.ran.append("disconnected")

    world = start(busy.app)
    world.hold_pool()
    world.connect().eof()
    world.advance(5)
    assert world.counters.pool_slots_stuck == 0
    world.release_pool()
    assert busy.ran == ["connected", "disconnected"]
    assert world.counters.pool_slots_stuck == 0


def test_a_call_is_begun_or_withdrawn_but_never_both() -> None:
    ran: list[int] = []
    call = Call(lambda: None, mode=Mode.POOL)
    assert not call.withdraw()
    begin = call.offer(lambda: ran.append(1))
    assert call.offered
    assert call.withdraw()
    begin()
    assert not call.withdraw()
    assert ran == []
    begin = call.offer(lambda: ran.append(2))
    begin()
    assert not call.withdraw()
    begin()
    assert ran == [2]

"""Sessions that end because of the engine: away for too long, or back with something else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from stocksync_ws import StompApp, Stream, Topic
from stocksync_ws.backplane import BackplaneSettings, Lost
from stocksync_ws.broker.calls.events import (
    BackplaneAvailability,
    BackplaneReset,
    SessionDisconnected,
)
from stocksync_ws.testing.backplane import MemoryBackplane
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.world import World

KEPT, DROPPING = "/topic/kept", "/topic/dropping"


class Shop:
    """Workers that share an engine."""

    def __init__(self, stack: ExitStack, settings: BackplaneSettings | None = None) -> None:
        self.engine = MemoryBackplane(settings)
        self.events: list[object] = []
        self.apps = [self._app() for _ in range(2)]
        self.worlds = [stack.enter_context(World(app, raise_errors=False)) for app in self.apps]
        self.settle()

    def _app(self) -> StompApp:
        app = StompApp(
            "/ws",
            allowed_origins=["*"],
            backplane=self.engine,
            client_send=["/topic/**"],
            destinations={KEPT: Stream(), DROPPING: Topic(overflow="drop_oldest")},
        )

        @app.event_listener(BackplaneAvailability, BackplaneReset, SessionDisconnected, inline=True)
        def hear(event: BackplaneAvailability | BackplaneReset | SessionDisconnected) -> None:
            self.events.append(event)

        return app

    def settle(self) -> None:
        for _ in range(3):
            for world in self.worlds:
                world.settle()

    def connect(self, worker: int = 0, **headers: str) -> Peer:
        peer = self.worlds[worker].connect(**headers)
        self.settle()
        return peer

    def publish(self, destination: str, body: str, worker: int = 0) -> None:
        self.apps[worker].template.send(destination, body.encode())
        self.settle()

    def heard(self, kind: type) -> list[object]:
        return [event for event in self.events if type(event) is kind]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def shop(stack: ExitStack) -> Shop:
    return Shop(stack)


class TestAway:
    def test_clients_are_closed_when_it_is_away_for_too_long_and_spread_over_time(
        self, shop: Shop
    ) -> None:
        peers = [shop.connect() for _ in range(400)]
        shop.engine.disconnect()
        world = shop.worlds[0]
        world.advance(29.9)
        assert not any(peer.closed for peer in peers)
        world.advance(0.2)
        closed = [peer.closed for peer in peers if peer.closed]
        assert 0 < len(closed) < 40
        assert {*closed} == {4012}
        world.advance(2.0)
        assert all(peer.closed == 4012 for peer in peers)
        ended = shop.heard(SessionDisconnected)
        assert {event.reason for event in ended} == {"backplane_lost"}  # type: ignore[attr-defined]

    def test_one_that_is_back_in_time_closes_nobody_more(self, shop: Shop) -> None:
        peers = [shop.connect() for _ in range(400)]
        shop.engine.disconnect()
        shop.worlds[0].advance(31.0)
        closed = sum(peer.closed is not None for peer in peers)
        assert 0 < closed < 400
        shop.engine.reconnect()
        shop.worlds[0].advance(30.0)
        assert sum(peer.closed is not None for peer in peers) == closed

    def test_who_comes_meanwhile_is_closed_after_as_long_again(self, shop: Shop) -> None:
        shop.engine.disconnect()
        shop.worlds[0].advance(31.0)
        first = shop.connect()
        shop.worlds[0].advance(28.0)
        assert first.closed is None
        shop.worlds[0].advance(1.1)
        assert first.closed == 4012
        second = shop.connect()
        shop.engine.reconnect()
        shop.worlds[0].advance(100.0)
        assert second.closed is None
        shop.engine.disconnect()
        shop.worlds[0].advance(29.9)
        assert second.closed is None
        shop.worlds[0].advance(0.2)
        assert second.closed == 4012

    def test_another_reason_why_it_is_away_closes_nobody_sooner(self, shop: Shop) -> None:
        shop.engine.disconnect()
        world = shop.worlds[0]
        world.advance(31.0)
        peer = shop.connect()
        lost = [Lost("another reason")]
        world.runtime.driver.act(lambda now: world.broker.engine(lost, now))
        world.advance(28.0)
        assert peer.closed is None
        world.advance(1.1)
        assert peer.closed == 4012

    def test_who_has_lost_something_is_not_let_off(self, stack: ExitStack) -> None:
        shop = Shop(stack, BackplaneSettings(max_outage=0.5))
        peers = [shop.connect() for _ in range(400)]
        for peer in peers:
            peer.subscribe(KEPT)
        shop.publish(KEPT, "1")
        shop.engine.restart()
        shop.worlds[0].advance(0.1)
        shop.engine.disconnect()
        shop.worlds[0].advance(0.6)
        shop.engine.reconnect()
        shop.worlds[0].advance(5.0)
        assert {peer.closed for peer in peers} == {4010}

    def test_who_was_away_for_a_moment_has_missed_nothing(self, shop: Shop) -> None:
        peer = shop.connect()
        peer.subscribe(KEPT)
        shop.engine.links[next(iter(shop.engine.links))].lose()
        shop.publish(KEPT, "1", worker=1)
        peer.nothing()
        shop.engine.reconnect()
        shop.publish(KEPT, "2", worker=1)
        assert [peer.message().body, peer.message().body] == [b"1", b"2"]

    def test_nobody_minds_where_that_is_said(self, stack: ExitStack) -> None:
        shop = Shop(stack, BackplaneSettings(max_outage=None))
        peer = shop.connect()
        shop.engine.disconnect()
        shop.worlds[0].advance(1_000)
        assert peer.closed is None

    def test_it_is_told_with_its_duration_and_the_health_says_no(self, shop: Shop) -> None:
        app, world = shop.apps[0], shop.worlds[0]
        assert world.runtime.ready
        assert app.users is not None
        shop.events.clear()
        shop.engine.disconnect()
        assert not world.runtime.ready
        world.advance(2.5)
        shop.engine.reconnect()
        assert world.runtime.ready
        world.settle()
        told = [e for e in shop.heard(BackplaneAvailability) if e.duration == 2.5]  # type: ignore[attr-defined]
        assert told == [BackplaneAvailability(available=True, duration=2.5)]


class TestReset:
    def test_who_did_not_ask_for_a_message_is_closed_and_gets_nothing_before(
        self, shop: Shop
    ) -> None:
        peers = [shop.connect() for _ in range(400)]
        for peer in peers:
            peer.subscribe(KEPT)
        shop.publish(KEPT, "1")
        assert all(peer.message().body == b"1" for peer in peers)
        shop.engine.restart()
        shop.publish(KEPT, "2", worker=1)
        shop.worlds[0].advance(3.0)
        for peer in peers:
            assert peer.closed == 4010
            peer.nothing()
        (reset, *_) = shop.heard(BackplaneReset)
        assert reset == BackplaneReset(destination=KEPT, reason="new-epoch")

    def test_who_asked_for_a_message_is_told_by_the_next_one_and_misses_none_of_the_new(
        self, shop: Shop
    ) -> None:
        peer = shop.connect(**{"on-reset": "message"})
        peer.subscribe(KEPT)
        shop.publish(KEPT, "1")
        peer.message()
        shop.engine.disconnect()
        shop.engine.engine.restart()
        shop.engine.links[[*shop.engine.links][1]].connect()
        shop.publish(KEPT, "2", worker=1)
        shop.publish(KEPT, "3", worker=1)
        shop.engine.reconnect()
        shop.settle()
        two, three = peer.message(), peer.message()
        assert (two.body, two.headers["recovered"]) == (b"2", "false")
        assert (three.body, three.headers.get("recovered")) == (b"3", None)
        assert peer.closed is None

    def test_who_may_lose_messages_is_told_and_goes_on(self, shop: Shop) -> None:
        peer = shop.connect()
        peer.subscribe(DROPPING)
        shop.publish(DROPPING, "1")
        peer.message()
        shop.engine.restart()
        shop.publish(DROPPING, "2")
        message = peer.message()
        assert (message.body, message.headers["recovered"]) == (b"2", "false")

    def test_a_restart_that_has_lost_nothing_is_told_to_nobody(self, shop: Shop) -> None:
        peer = shop.connect()
        peer.subscribe(KEPT)
        shop.publish(KEPT, "1")
        shop.engine.restart(shop.engine.engine.snapshot())
        shop.publish(KEPT, "2")
        ids = [peer.message().headers["message-id"] for _ in range(2)]
        epoch = ids[0].partition("-")[0]
        assert ids == [f"{epoch}-1", f"{epoch}.1-2"]
        assert shop.heard(BackplaneReset) == []
        late = shop.connect(worker=1)
        late.subscribe(KEPT, last_message_id=ids[0])
        shop.settle()
        assert late.message().body == b"2"


def test_a_send_on_its_way_at_a_stop_has_no_receipt_and_may_have_been_done(
    stack: ExitStack,
) -> None:
    shop = Shop(stack)
    sender, other = shop.worlds[0].connect(), shop.worlds[1].connect()
    shop.settle()
    other.command("SUBSCRIBE", {"id": "s", "destination": "/topic/a"})
    shop.settle()
    other.frames()
    link = shop.engine.links[shop.worlds[0].runtime.broker.worker]
    link.tell_answer = link.answers.popleft  # type: ignore[method-assign, assignment]
    sender.command("SEND", {"destination": "/topic/a", "receipt": "r"}, b"x")
    shop.settle()
    shop.worlds[0].runtime.driver.stop()
    shop.worlds[0].advance(1)
    assert sender.closed == 1012
    assert sender.frames() == []
    assert [frame.body for frame in other.frames()] == [b"x"]

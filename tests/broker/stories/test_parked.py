"""A wire that outlives its connections: a session of SockJS through several, parked in between."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from stocksync_ws import SessionDisconnected, SockJSOptions, StompApp
from stocksync_ws.testing.world import World
from stocksync_ws.types import Chunk
from tests.polling import CONNECT, Polling, bodies, connected

SUBSCRIBE = "SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:r\n\n\0"
DISCONNECT = "DISCONNECT\nreceipt:bye\n\n\0"
PATIENT = SockJSOptions(disconnect_delay=60)
"""A parked session lives for long: whatever ends it before, it is not that nobody came."""


@pytest.fixture
def app() -> StompApp:
    return StompApp("/ws", allowed_origins=["*"], sockjs=PATIENT)


@pytest.fixture
def ended(app: StompApp) -> list[Any]:
    heard: list[Any] = []

    @app.event_listener(inline=True)
    def hear(event: SessionDisconnected) -> None:
        heard.append((event.reason, event.close_code))

    return heard


@pytest.fixture
def world(app: StompApp, ended: list[Any]) -> Iterator[World]:
    with World(app, app.site()) as world:
        yield world
        world.advance(200)
        assert not world.broker.sessions
        assert not world.broker.office.total
        assert not world.counters.internal_errors
        assert not world.counters.stuck_deadlines


def subscribed(world: World, transport: str = "xhr") -> Polling:
    """A client that has subscribed; a poll is answered with the receipt, and no other waits."""
    client = connected(world, transport=transport).send(SUBSCRIBE)
    assert client.messages() == ["RECEIPT\nreceipt-id:r\n\n\0"]
    return client


def body(n: int) -> str:
    return f"\n\n{n}\0"


def test_who_takes_an_answer_slowly_is_not_slow_with_the_next_one(
    app: StompApp, world: World, ended: list[Any]
) -> None:
    client = subscribed(world).receive()
    client.stream.window = 10
    app.template.convert_and_send("/topic/a", 1)
    world.settle()
    client.stream.open_window(None)
    world.settle()
    assert len(client.messages()) == 1
    client.receive()
    world.advance(20)  # longer than `Limits.send_stall_seconds`
    assert ended == []


def test_a_session_through_two_connections(app: StompApp, world: World, ended: list[Any]) -> None:
    client = subscribed(world)
    app.template.convert_and_send("/topic/a", 1)
    world.settle()
    [message] = client.receive().messages()
    assert message.endswith(body(1))

    # Parked: the session lives, what is published waits.
    [session] = world.broker.sessions.values()
    assert client.wire.link is None
    assert not session.mailbox.is_open
    for n in (2, 3):
        app.template.convert_and_send("/topic/a", n)
        world.settle()
    world.advance(3)
    assert len(session.mailbox.entries) == 2
    assert not session.mailbox.dirty
    assert ended == []

    # The second connection gets it, in order, and goes on.
    client.stream = world.open()
    two, three = client.receive("xhr_streaming").messages()
    assert two.endswith(body(2))
    assert three.endswith(body(3))
    app.template.convert_and_send("/topic/a", 4)
    world.settle()
    [four] = client.messages()
    assert four.endswith(body(4))
    client.send(DISCONNECT)
    assert client.took() == ['a["RECEIPT\\nreceipt-id:bye\\n\\n\\u0000"]', 'c[1000,"bye"]']
    assert ended == [("client_disconnect", 1000)]


def test_each_answer_ends_its_carrier(app: StompApp, world: World, ended: list[Any]) -> None:
    client = connected(world)
    assert client.wire.link is not None
    app.template.convert_and_send("/topic/a", 0)
    client.send(SUBSCRIBE)
    assert client.messages() == ["RECEIPT\nreceipt-id:r\n\n\0"]
    assert client.wire.link is None
    for n in (1, 2):
        app.template.convert_and_send("/topic/a", n)
    world.settle()
    assert client.took() == []
    one, two = client.receive().messages()
    assert one.endswith(body(1))
    assert two.endswith(body(2))
    assert client.wire.link is None
    assert ended == []


def test_life_signs_count_without_a_carrier(world: World) -> None:
    client = subscribed(world)
    world.advance(20)
    assert client.session.clocks.last_seen < world.now - 19
    poster = world.open()
    client.feed(poster, b"POST /ws/000/abc/xhr_send HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n")
    assert client.session.clocks.last_seen < world.now - 19
    client.feed(poster, b"\r\n[")
    assert client.session.clocks.last_seen > world.now - 1
    assert client.wire.link is None


def test_a_parked_session_that_nobody_fetches_is_closed_and_ends(
    app: StompApp, world: World, ended: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    client = subscribed(world)
    app.template.convert_and_send("/topic/a", 1)
    world.advance(10.1)
    assert ended == [("slow_consumer", 4008)]
    world.advance(5.1)
    assert not world.broker.sessions
    assert client.receive().took() == ['c[4008,"slow consumer"]']
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_close_that_is_fetched_in_time_aborts_nothing(
    app: StompApp, world: World, ended: list[Any]
) -> None:
    client = subscribed(world)
    app.template.convert_and_send("/topic/a", 1)
    world.advance(10.1)
    assert client.receive().took() == ['c[4008,"slow consumer"]']
    assert not world.broker.sessions
    assert world.counters.aborts == 0


def test_its_byte_bound_holds_while_it_is_parked(
    app: StompApp, world: World, ended: list[Any]
) -> None:
    subscribed(world)
    for _ in range(12):
        app.template.convert_and_send("/topic/a", b"x" * 50_000)
        world.settle()
    assert ended == []
    world.advance(1.1)
    assert ended == [("slow_consumer", 4008)]


def test_an_answer_that_ends_by_itself_takes_no_message_with_it(
    app: StompApp, world: World
) -> None:
    """A heart-beat ends the poll in the turn in which something was queued."""
    client = subscribed(world).receive()
    link = client.stream.link
    assert link.deadline == world.now + 25
    app.template.convert_and_send("/topic/a", 1)
    link.wake(link.deadline)
    world.settle()
    assert bodies(client.stream) == b"h\n"
    [message] = client.receive().messages()
    assert message.endswith(body(1))


def test_a_carrier_that_is_cut_ends_its_session(
    app: StompApp, world: World, ended: list[Any]
) -> None:
    """Nobody can know what of its answer has arrived."""
    client = subscribed(world).receive()
    app.template.convert_and_send("/topic/a", 1)
    client.leave()
    assert ended == [("connection_lost", 1006)]
    assert client.receive().took() == ['c[1002,"Connection interrupted"]']
    assert ended == [("connection_lost", 1006)]
    other = connected(world, "other", transport="xhr_streaming")
    other.leave()
    assert other.wire.over
    world.advance(60)
    assert (client.wire, other.wire) == (None, None)


def test_a_parked_session_whose_client_stays_away_is_lost(
    ended: list[Any], app: StompApp, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    client = subscribed(world)
    world.advance(59.9)
    client.receive()
    world.advance(25)
    assert bodies(client.stream) == b"h\n"
    world.advance(59.9)
    assert ended == []
    world.advance(0.2)
    assert ended == [("connection_lost", 1006)]
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


class TestStop:
    """A stop while a client is between two polls."""

    @pytest.fixture
    def told(self, world: World) -> list[str]:
        return []

    def stop(self, world: World, told: list[str]) -> None:
        driver = world.runtime.driver
        driver.when_unpolled(lambda: told.append("unpolled"))
        driver.stop()
        driver.when_idle(lambda: told.append("idle"))
        world.settle()

    @pytest.mark.parametrize("again", [True, False])
    def test_it_is_told_on_its_connection_or_a_new_one(
        self, app: StompApp, world: World, ended: list[Any], told: list[str], again: bool
    ) -> None:
        client = subscribed(world)
        app.template.send("/topic/a", b"1")
        if not again:
            for stream in (client.stream, client.poster):
                world.runtime.driver.ended(stream.link)
        self.stop(world, told)
        world.advance(0.5)
        assert (told, client.stream.ended) == ([], not again)
        [message] = client.receive().messages()
        assert message.endswith(body(1))
        world.advance(0.5)
        [close] = client.receive().took()
        assert close.startswith("c[1012,")
        assert ended == [("server_shutdown", 1012)]
        world.settle()
        assert told == ["unpolled", "idle"]
        assert client.stream.aborted
        assert client.poster.aborted

    def test_who_does_not_come_is_not_waited_for(
        self, world: World, ended: list[Any], told: list[str]
    ) -> None:
        client = subscribed(world)
        self.stop(world, told)
        world.advance(0.9)
        assert told == []
        world.advance(0.2)
        assert told == ["unpolled", "idle"]
        assert ended == [("server_shutdown", 1012)]
        assert client.poster.aborted

    def test_nor_is_who_stays_away_later(
        self, app: StompApp, world: World, ended: list[Any], told: list[str]
    ) -> None:
        """Closes are spread over time: the last of many sessions go on for a while."""
        for number in range(400):
            connected(world, f"s{number}", transport="xhr_streaming")
        last = connected(world, "last").send(SUBSCRIBE)
        last.took()
        self.stop(world, told)
        assert last.receive().took() == []
        app.template.send("/topic/a", b"1")
        world.settle()
        assert last.messages()
        assert len(ended) < 10
        world.advance(1.1)
        assert last.wire.over
        assert len(ended) < 300
        world.advance(2)
        assert told == ["unpolled", "idle"]

    def test_without_anybody_who_polls_nothing_is_waited_for(
        self, world: World, told: list[str]
    ) -> None:
        idle = world.open()
        self.stop(world, told)
        assert told == ["unpolled", "idle"]
        assert idle.aborted


def test_a_carrier_that_is_shut_ends_behind_what_waits(world: World, ended: list[Any]) -> None:
    client = Polling(world)
    client.receive("xhr_streaming", version="1.0").send(CONNECT)
    stream = client.stream
    stream.received.clear()
    stream.window = 10
    client.send(DISCONNECT)
    assert not stream.ended
    stream.open_window(None)
    world.settle()
    assert stream.received == b'a["RECEIPT\\nreceipt-id:bye\\n\\n\\u0000"]\nc[1000,"bye"]\n'
    assert stream.ended
    assert ended == [("client_disconnect", 1000)]


def test_what_comes_for_a_session_that_is_gone_is_nothing(world: World, ended: list[Any]) -> None:
    client = connected(world).send(DISCONNECT)
    client.receive()
    assert ended == [("client_disconnect", 1000)]
    client.statuses()
    assert client.send(SUBSCRIBE).statuses() == [404]
    client.took()
    for transport in ("xhr", "xhr_streaming"):
        assert client.receive(transport).took() == ['c[1000,"bye"]']
    world.advance(61)
    assert client.wire is None
    assert client.receive().took() == ["o"]
    assert ended == [("client_disconnect", 1000)]


def test_reading_goes_on_while_it_is_parked(app: StompApp, ended: list[Any]) -> None:
    """Held while it was carried, released while it is parked."""
    app.message_mapping("/slow")(lambda: None)
    with World(app, app.site()) as world:
        client = connected(world)
        world.hold_pool()
        large = "SEND\ndestination:/app/slow\n\n" + "x" * 40_000 + "\0"
        client.send("SEND\ndestination:/app/slow\n\n\0", large, large)
        posters = [world.open() for _ in range(2)]
        for poster in posters:
            client.send(large, stream=poster)
        assert client.session.paused
        assert client.statuses() == [204]
        assert [client.statuses(poster) for poster in posters] == [[], []]
        world.advance(25)  # The heart-beat ends the poll.
        assert client.wire.link is None
        world.release_pool()
        world.settle()
        assert not client.session.paused
        assert [client.statuses(poster) for poster in posters] == [[204], [204]]


def test_a_lane_of_a_wire_without_a_carrier_leads_nowhere(app: StompApp, world: World) -> None:
    """Should one be left over, what it refuses is accounted for and nothing else breaks."""
    client = subscribed(world)

    def refuse(chunk: Chunk) -> int:
        raise ConnectionResetError

    client.session.mailbox.open(refuse)
    app.template.convert_and_send("/topic/a", 1)
    world.settle()
    assert world.broker.office.total == client.session.mailbox.queued == 0
    client.session.mailbox.block()
    app.template.convert_and_send("/topic/a", 2)
    [message] = client.receive().messages()
    assert message.endswith(body(2))


def test_what_is_no_text_is_lost_while_it_is_parked_and_told_afterwards(
    app: StompApp, world: World
) -> None:
    client = subscribed(world)
    app.template.convert_and_send("/topic/a", 1)
    app.template.send("/topic/a", b"\xff")
    world.settle()
    assert world.counters.messages_dropped == 1
    app.template.convert_and_send("/topic/a", 2)
    world.settle()
    first, second = client.receive().messages()
    assert first.endswith(body(1))
    assert "dropped" not in first
    assert "\ndropped:1\n" in second
    assert second.endswith(body(2))
    [session] = world.broker.sessions.values()
    assert session.subscriptions.behind is None

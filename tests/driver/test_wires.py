"""Wires beyond the plain case: posts that come by other links, a timer while parked, a connection
that needs no bytes, no PING, an answer behind which a request waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stocksync_ws import DisconnectReason, SessionDisconnected, SockJSOptions, StompApp
from stocksync_ws.broker.model.pipeline import Call, Mode
from stocksync_ws.config import Limits
from stocksync_ws.testing.world import World
from stocksync_ws.types import (
    Alive,
    Attached,
    Chunk,
    Closed,
    Detached,
    Handshake,
    HttpRequest,
    Refusal,
)
from stocksync_ws.wire.sockjs.posts import HELD
from stocksync_ws.wire.sockjs.sessions import SockJSWire
from stocksync_ws.wire.websocket import WebSocketWire
from tests.polling import CONNECT, Polling, Says, array, bodies, connected

SEND = "SEND\ndestination:/app/slow\n\n\0"
LARGE = "SEND\ndestination:/app/slow\n\n" + 20_000 * "x" + "\0"
SUBSCRIBE = "SUBSCRIBE\nid:1\ndestination:/topic/a\n\n\0"
DISCONNECT = "DISCONNECT\n\n\0"
LEFT = 5.0
"""Seconds a parked wire lives."""


@pytest.fixture
def ended() -> list[DisconnectReason]:
    return []


@pytest.fixture
def app(ended: list[DisconnectReason]) -> StompApp:
    app = StompApp(
        "/ws",
        allowed_origins=["*"],
        client_send=["/topic/**"],
        heart_beat=(0, 0),
        limits=Limits(inbox=10_000),
        sockjs=SockJSOptions(disconnect_delay=LEFT),
    )

    @app.message_mapping("/slow")
    async def slow() -> None:
        await asyncio.sleep(5)

    @app.message_mapping("/quick", inline=True)
    def quick() -> None: ...

    @app.event_listener(inline=True)
    def hear(event: SessionDisconnected) -> None:
        ended.append(event.reason)

    return app


@pytest.fixture
def world(app: StompApp) -> Iterator[World]:
    with World(app, app.site()) as world:
        yield world
        world.runtime.driver.halt()
        world.advance(20)
    assert not world.broker.sessions
    assert not world.broker.office.total
    assert not world.runtime.driver._links._bringing
    assert not world.runtime.driver._links._to_bring


def test_a_connection_that_needs_no_bytes_opens_its_session_at_the_start(world: World) -> None:
    wire = WebSocketWire()
    connection = Says(Handshake(HttpRequest("GET", "/ws"), wire, None))
    stream = connection.on(world)
    assert wire.session is not None
    assert wire.link is stream.link
    world.runtime.driver.ended(stream.link)


def test_an_answer_that_needs_no_bytes_is_written_at_the_start(world: World) -> None:
    class Refused(Says):
        def take(self) -> list[Chunk]:
            self.shut = True
            return [b"no"]

    stream = Refused().on(world)
    assert bytes(stream.received) == b"no"
    assert stream.ended


# Posts


def paused(world: World, name: str = "abc") -> Polling:
    """A client whose session is not read: its handler runs, and its inbox is full."""
    client = connected(world, name, transport="xhr_streaming").send(SEND, LARGE)
    assert client.statuses() == [204]
    assert client.session.paused
    return client


def test_posts_of_a_paused_session_wait_and_come_in_the_order_of_their_ends(
    app: StompApp, world: World
) -> None:
    client = connected(world, transport="xhr_streaming").send(SUBSCRIBE, SEND, LARGE)
    client.statuses()
    posters = [world.open() for _ in range(3)]
    heads = [post_of(f"SEND\ndestination:/topic/a\n\n{n}\0") for n in range(3)]
    for poster, head in zip(posters, heads, strict=True):
        client.feed(poster, head[:-1])
    for n in (2, 0, 1):
        client.feed(posters[n], heads[n][-1:])
    world.advance(4)
    assert [client.statuses(poster) for poster in posters] == [[]] * 3
    assert client.messages() == []
    world.advance(10)
    assert [client.statuses(poster) for poster in posters] == [[204]] * 3
    assert [text[-2] for text in client.messages()] == ["2", "0", "1"]


def post_of(*frames: str, name: str = "abc") -> bytes:
    body = array(frames)
    head = (
        f"POST /ws/000/{name}/xhr_send HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def test_only_what_a_poster_reads_too_much_of_pauses_its_stream(world: World) -> None:
    client = paused(world)
    begun, late = world.open(), world.open()
    post = post_of(*[LARGE] * 8)
    client.feed(begun, post[:HELD])
    assert not begun.paused
    client.feed(begun, post[HELD : HELD + 200])
    assert begun.paused
    client.feed(late, post_of(SEND))
    # The one that carries its output has nothing to read.
    assert [late.paused, client.stream.paused] == [False, False]
    world.advance(10)
    assert not client.session.paused
    assert not begun.paused
    assert client.statuses(late) == [204]
    client.feed(begun, post[HELD + 200 :])
    world.advance(100)
    assert client.statuses(begun) == [204]


def test_a_stream_that_carries_is_read_on_while_its_session_is_not(
    app: StompApp, world: World
) -> None:
    """Or its end would not be seen."""
    client = connected(world, transport="xhr_streaming").send(SUBSCRIBE, SEND, LARGE)
    assert client.session.paused
    app.template.convert_and_send("/topic/a", "x")
    world.settle()
    assert client.messages()[0].endswith("x\0")
    assert not client.stream.paused


def test_a_post_that_is_held_is_given_its_time_again(world: World) -> None:
    client = paused(world)
    begun = world.open()
    post = post_of(*[LARGE] * 8)
    client.feed(begun, post[: HELD + 200])
    assert begun.link.deadline is None
    world.advance(10)
    assert begun.link.deadline == world.now - 5 + world.broker.limits.frame_timeout


def test_a_post_that_is_whole_is_taken_even_if_its_stream_has_ended(world: World) -> None:
    client = paused(world)
    stream = world.open()
    client.send(DISCONNECT, stream=stream)
    world.runtime.driver.ended(stream.link)
    world.advance(10)
    assert client.took() == ['c[1000,"bye"]']


def test_a_poster_that_has_gone_is_forgotten(world: World) -> None:
    client = paused(world)
    poster = world.open()
    carrier = client.wire.link
    client.send(SEND, stream=poster)
    assert world.runtime.driver._links._bringing[client.wire] == {poster.link: None}
    world.runtime.driver.ended(poster.link)
    world.settle()
    assert not world.runtime.driver._links._bringing
    assert client.wire.link is carrier


def test_a_poster_may_bring_for_another_session_afterwards(world: World) -> None:
    one, two = (connected(world, name, transport="xhr_streaming") for name in ("one", "two"))
    poster = world.open()
    one.send(SEND, stream=poster)
    two.send(SEND, stream=poster)
    assert one.statuses(poster) == [204, 204]
    one.send(LARGE)
    assert one.session.paused
    assert not two.session.paused
    two.send("SEND\ndestination:/app/quick\n\n\0", stream=poster)
    assert two.statuses(poster) == [204]


def test_a_request_behind_a_post_is_heard_when_that_was_taken(world: World) -> None:
    """It is told of in the middle of taking posts, of this wire and of others."""
    one, two = (connected(world, name, transport="xhr_streaming") for name in ("one", "two"))
    one.send(SEND, LARGE)
    assert one.statuses() == [204]
    poster = world.open()
    quick = "SEND\ndestination:/app/quick\n\n\0"
    client = one
    client.feed(
        poster,
        post_of(SEND, name="one") + post_of(quick, name="two") + post_of(SEND, name="one"),
    )
    assert client.statuses(poster) == []
    world.advance(10)
    assert client.statuses(poster) == [204, 204, 204]
    assert not two.session.paused


def test_posts_that_wait_are_answered_when_the_session_ends(world: World) -> None:
    client = paused(world)
    poster, begun = world.open(), world.open()
    client.send(SEND, stream=poster)
    post = post_of(*[LARGE] * 8)
    client.feed(begun, post[: HELD + 200])
    assert begun.paused
    client.leave()
    assert client.session is None
    assert client.statuses(poster) == [404]
    # The rest of a body is read, and then answered too.
    assert not begun.paused
    client.feed(begun, post[HELD + 200 :])
    assert client.statuses(begun) == [404]


@pytest.mark.pure("replaces a function that compiled code calls without a look-up")
def test_a_bug_in_one_message_of_a_post_ends_its_session_only(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, other = connected(world, "one"), connected(world, "two")
    receive = world.broker.receive

    def broken(session: Any, payload: bytes, now: float) -> None:
        if payload.startswith(b"SEND"):
            raise ZeroDivisionError
        receive(session, payload, now)

    monkeypatch.setattr(world.broker, "receive", broken)
    client.send(SEND, SUBSCRIBE)
    assert client.statuses() == [204]
    [frame] = client.took()
    assert frame.startswith("c[1011")
    world.expect_faults(internal_errors=1)
    other.send(SUBSCRIBE)
    assert other.session is not None


@pytest.mark.pure("hands over a stand-in; compiled code takes its own records")
def test_a_bug_while_posts_are_taken_ends_that_session_and_others_have_their_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (connected(world, name, transport="xhr_streaming") for name in ("one", "two"))
    one.send(SEND, LARGE)
    first, second = world.open(), world.open()
    quick = "SEND\ndestination:/app/quick\n\n\0"
    one.feed(first, post_of(SEND, name="one") + post_of(quick, name="two"))
    one.send(SEND, stream=second)
    # The first one is answered, and the post behind it has to wait until the second one has failed.
    monkeypatch.setattr(second.link.connection, "_carrier", Broken(second.link.connection))
    world.advance(10)
    assert one.statuses(first) == [204, 204]
    assert one.took()[-1].startswith("c[1011")
    assert two.session is not None
    world.expect_faults(internal_errors=1)


class Broken:
    """The request of a connection, whose resumption fails once."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._request = connection._carrier

    def __getattr__(self, name: str) -> Any:
        if name != "connection":
            return getattr(self._request, name)
        self._connection._carrier = self._request
        raise ZeroDivisionError


# Time


def test_the_timer_of_a_parked_wire_ends_its_session(
    world: World, ended: list[DisconnectReason], caplog: pytest.LogCaptureFixture
) -> None:
    client = connected(world).send(SUBSCRIBE + "\n")
    client.send("SUBSCRIBE\nid:2\nreceipt:r\ndestination:/topic/a\n\n\0")
    assert client.wire.link is None
    world.advance(LEFT - 0.1)
    assert ended == []
    world.advance(0.2)
    assert ended == [DisconnectReason.CONNECTION_LOST]
    assert world.counters.stuck_deadlines == 0
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize(("ping", "reasons"), [(None, []), (b'"ping"', ["heart_beat_lost"])])
def test_a_wire_without_ping_waits_for_no_answer(
    world: World,
    ended: list[DisconnectReason],
    monkeypatch: pytest.MonkeyPatch,
    ping: Chunk | None,
    reasons: list[str],
) -> None:
    monkeypatch.setattr(SockJSWire, "ping", lambda _: ping)
    client = connected(world, transport="xhr_streaming")
    world.advance(100)
    assert ended == reasons
    assert (b'a["ping"]' in bodies(client.stream)) is (ping is not None)


# Answers that end


def test_what_waits_behind_an_answer_that_ended_its_carrier_is_written(
    app: StompApp, world: World
) -> None:
    client = connected(world).send(SUBSCRIBE)
    client.feed(client.stream, b"GET /ws/info HTTP/1.1\r\nHost: a\r\n\r\n")
    assert client.stream.received == b""
    for text in "12":
        app.template.convert_and_send("/topic/a", text)
    world.settle()
    assert client.stream.received.endswith(b"}")
    assert client.wire.link is None


@pytest.mark.parametrize("transport", ["xhr", "xhr_streaming"])
def test_an_answer_that_has_ended_is_detached_when_all_of_it_is_written(
    app: StompApp, world: World, transport: str
) -> None:
    client = connected(world, transport=transport).send(SUBSCRIBE)
    stream = client.stream
    stream.window = 10
    app.template.send("/topic/a", 140_000 * b"x")
    world.settle()
    assert client.wire.link is stream.link
    # What comes now waits for the next request.
    app.template.send("/topic/a", b"later")
    world.settle()
    stream.open_window(1_000)
    world.settle()
    assert client.wire.link is stream.link
    # It takes its time, and gets no heart-beat into its answer.
    for _ in range(26):
        world.advance(1)
        stream.open_window(1_000)
    stream.open_window(None)
    world.settle()
    assert client.wire.link is None
    answer = bodies(stream)
    assert answer.startswith(b'a["')
    assert answer.endswith(140_000 * b"x" + b'\\u0000"]\n')
    [later] = client.receive().messages()
    assert later.endswith("later\0")


def test_an_answer_that_ended_before_its_session_is_detached_all_the_same(
    app: StompApp, world: World
) -> None:
    client = connected(world).send(SUBSCRIBE)
    stream = client.stream
    stream.window = 10
    app.template.send("/topic/a", 1_000 * b"x")
    world.settle()
    wire = client.wire
    world.runtime.driver._links.closed(Closed(wire, 1006, ""), world.now)
    assert wire.session is None
    stream.open_window(20)
    world.settle()
    assert wire.link is stream.link
    stream.open_window(None)
    world.settle()
    assert wire.link is None
    assert wire.deadline == world.now + 60
    [frame] = client.took()
    assert frame.endswith('x\\u0000"]')
    client.feed(stream, b"GET /ws/info HTTP/1.1\r\nHost: a\r\n\r\n")
    assert stream.received.endswith(b"}")


def test_a_host_that_cannot_run_a_call_has_ended_it(
    app: StompApp, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    call: Callable[..., None] = world.runtime.host.call

    def broken(task: Any) -> None:
        if "slow" in task.call.label:
            raise RuntimeError("can't start new thread")
        call(task)

    monkeypatch.setattr(world.runtime.host, "call", broken)
    world.raise_errors = False
    peer, other = world.connect(), world.connect()
    peer.subscribe("/user/queue/errors")
    peer.send_to("/app/slow", receipt="r")
    assert b'"code":"handler-failed"' in peer.message().body
    assert peer.closed is None
    other.subscribe("/topic/a")
    assert not world.broker.calls.tasks.running


def test_a_host_that_fails_behind_a_call_that_has_ended_changes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    call: Callable[..., None] = world.runtime.host.call

    def broken(task: Any) -> None:
        call(task)
        raise RuntimeError

    monkeypatch.setattr(world.runtime.host, "call", broken)
    peer = world.connect()
    peer.send_to("/app/quick", receipt="r")
    peer.frame("RECEIPT")
    assert world.counters.results_dropped == 0


# Carriers that change


def test_an_attached_carrier_takes_over_from_one_that_has_not_left(
    app: StompApp, world: World
) -> None:
    client = connected(world, transport="xhr_streaming").send(SUBSCRIBE)
    second = Says(Attached(client.wire)).on(world)
    app.template.convert_and_send("/topic/a", "x")
    world.settle()
    assert b"x\\u0000" in second.received
    assert client.stream.received == b""
    assert client.stream.link.wire is None


def test_a_wire_that_nobody_carries_may_say_again_that_it_is_parked(
    app: StompApp, world: World
) -> None:
    client = connected(world).send(SUBSCRIBE)
    app.template.convert_and_send("/topic/a", "x")
    world.settle()
    assert client.wire.link is None
    client.took()
    Says(Detached(client.wire)).on(world)
    app.template.convert_and_send("/topic/a", "y")
    assert client.receive().messages()[0].endswith("y\0")


def test_a_connection_that_says_twice_that_it_brings_is_counted_once(world: World) -> None:
    client = connected(world)
    connection = Says(Alive(client.wire))
    link = connection.on(world).link
    bringing = world.runtime.driver._links._bringing
    connection.says = [Alive(client.wire)]
    world.runtime.driver.feed(link, b"x")
    assert bringing == {client.wire: {link: None}}
    connection.says = [Detached(client.wire)]
    world.runtime.driver.feed(link, b"x")
    assert not bringing
    assert client.wire.link is not None


# Handshakes that are refused behind an `o`


def test_a_refused_handshake_ends_the_request_that_carries_it(
    app: StompApp, world: World, ended: list[DisconnectReason]
) -> None:
    client, refuse = waiting(app, world)
    client.receive("xhr_streaming")
    assert client.took() == ["o"]
    client.send(CONNECT)
    refuse(Refusal(401, "Log in."))
    assert client.took() == ['c[4501,"bad credentials"]']
    assert client.wire.link is None
    assert client.session is None
    assert client.statuses() in ([204], [404])
    assert client.receive().took() == ['c[4501,"bad credentials"]']


def test_a_refused_handshake_is_told_to_the_next_request(app: StompApp, world: World) -> None:
    client, refuse = waiting(app, world)
    client.receive()
    refuse(Refusal(503, "Full."))
    assert client.took() == ["o"]
    assert client.receive().took() == ['c[1013,"try again later"]']


def test_an_accepted_handshake_says_nothing_more(app: StompApp, world: World) -> None:
    client, answer = waiting(app, world)
    client.receive("xhr_streaming").send(CONNECT)
    assert client.took() == ["o"]
    answer(None)
    assert client.messages()[0].startswith("CONNECTED")


def test_a_verdict_for_a_session_that_has_ended_is_nobodys(app: StompApp, world: World) -> None:
    client, refuse = waiting(app, world)
    client.receive("xhr_streaming")
    wire, link = client.wire, client.wire.link
    client.leave()
    assert not world.runtime.driver._links._unjudged
    handshake = Handshake(HttpRequest("POST", "/"), wire, None)
    handshake.connection = link
    world.runtime.driver._links.answer(handshake, Refusal(401, ""), world.now)
    refuse(None)
    assert client.receive().took() == ['c[1002,"Connection interrupted"]']


def waiting(app: StompApp, world: World) -> tuple[Polling, Callable[[Refusal | None], None]]:
    """A client whose handshake is judged later, and how that is done."""
    verdicts: list[Refusal | None] = []

    def pipeline(handshake: object) -> Any:
        yield Call(lambda: None, mode=Mode.POOL)
        return verdicts.pop()

    app.dispatch.handshake = pipeline  # type: ignore[method-assign]
    world.hold_pool()

    def decide(refusal: Refusal | None) -> None:
        verdicts.append(refusal)
        world.release_pool()
        world.settle()

    return Polling(world), decide

"""What a client of a world sends and expects: JSON, refusals, messages of one destination."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from stocksync_ws import (
    AccessDenied,
    BadCredentials,
    CloseCode,
    ConnectRequest,
    ConversionError,
    StompApp,
    send_to,
)
from stocksync_ws.testing import Peer, ReceivedFrame, World
from stocksync_ws.testing.peer import BINARY, TEXT


def authenticate(request: ConnectRequest) -> None:
    if request.login == "eve":
        raise BadCredentials("s3cret")
    if request.login == "mallory":
        raise AccessDenied("s3cret")


@pytest.fixture
def app() -> StompApp:
    app = StompApp("/ws", heart_beat=(0, 0), client_send=["/topic/**"], authenticator=authenticate)

    @app.message_mapping("/echo")
    @send_to("/topic/echo")
    async def echo(value: Any) -> Any:
        return [value]

    return app


@pytest.fixture
def world(app: StompApp) -> Iterator[World]:
    with World(app) as world:
        yield world


@pytest.fixture
def peer(world: World) -> Peer:
    return world.connect(login="ann")


# JSON


@dataclass
class Update:
    product: str
    at: datetime


AT = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "echoed"),
    [
        ({"a": [1, None, "ü"]}, {"a": [1, None, "ü"]}),
        ("text", "text"),
        (None, None),
        (7, 7),
        ([], []),
        (Update("kettle", AT), {"product": "kettle", "at": AT.isoformat()}),
    ],
)
def test_json_goes_there_and_back(peer: Peer, value: Any, echoed: Any) -> None:
    peer.subscribe("/topic/echo")
    peer.send_to("/app/echo", json=value)
    assert peer.message().json() == [echoed]


def test_json_brings_its_content_type_unless_another_is_given(peer: Peer) -> None:
    peer.subscribe("/topic/a")
    peer.send_to("/topic/a", json={"a": 1})
    peer.send_to("/topic/a", json={"a": 1}, content_type="application/vnd.shop+json")
    first, second = peer.message(), peer.message()
    assert (first.body, first.headers["content-type"]) == (b'{"a":1}', "application/json")
    assert second.headers["content-type"] == "application/vnd.shop+json"


def test_a_body_and_json_at_once_are_refused_and_so_is_what_has_no_json(peer: Peer) -> None:
    peer.subscribe("/topic/a")
    with pytest.raises(TypeError, match="a body or json, not both"):
        peer.send_to("/topic/a", "x", json=None)
    with pytest.raises(ConversionError, match="object has no JSON form"):
        peer.send_to("/topic/a", json={"a": object()})
    peer.nothing()


def test_a_body_that_is_no_json_fails_with_the_frame(peer: Peer) -> None:
    peer.subscribe("/topic/a")
    peer.send_to("/topic/a", "plain")
    with pytest.raises(AssertionError, match=r"the body is no JSON .*'MESSAGE'.*b'plain'"):
        peer.message().json()


def test_every_frame_that_came_has_json(world: World) -> None:
    peer = world.upgrade()
    frames = [peer.connect(), *peer.frames()]
    peer.send_to("/nowhere")
    frames.append(peer.error())
    assert {type(frame) for frame in frames} == {ReceivedFrame}


# Refused


@pytest.mark.parametrize(
    ("login", "code", "close"),
    [
        ("eve", "bad-credentials", CloseCode.BAD_CREDENTIALS),
        ("mallory", "connect-refused", CloseCode.CONNECT_REFUSED),
    ],
)
@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_a_refusal_is_expected_by_its_code_or_its_close(
    world: World, version: str, login: str, code: str, close: CloseCode
) -> None:
    for expect in (code, close, close.value):
        peer = world.connect(version, login=login, expect=expect)
        assert peer.closed == close
        peer.nothing()
    frame = world.upgrade().connect(version, login=login, expect=code)
    assert (frame.command, frame.headers["code"]) == ("ERROR", code)


@pytest.mark.parametrize(
    ("login", "expect", "story"),
    [
        ("eve", "connect-refused", r"expected 'connect-refused', got 'bad-credentials'"),
        ("eve", 4500, r"expected 4500, got 4501(?s:.*)Close 4501"),
        ("ann", "bad-credentials", r"expected ERROR, got Frame\('CONNECTED'"),
        ("ann", 4501, r"expected ERROR, got Frame\('CONNECTED'"),
        ("eve", None, r"expected CONNECTED, got Frame\('ERROR'"),
    ],
)
def test_another_answer_fails_with_the_story(
    world: World, login: str, expect: str | int | None, story: str
) -> None:
    with pytest.raises(AssertionError, match=story):
        world.connect(login=login, expect=expect)


def test_a_refusal_without_a_close_is_none(world: World) -> None:
    peer = world.upgrade()
    take = peer._take

    def without_close(opcode: int, payload: bytes) -> None:
        if opcode in (TEXT, BINARY):
            take(opcode, payload)

    peer._take = without_close  # type: ignore[method-assign]
    with pytest.raises(AssertionError, match="no Close behind it"):
        peer.connect(login="eve", expect="bad-credentials")


# Messages of one destination


def test_the_next_message_of_a_destination_leaves_the_others_in_their_order(peer: Peer) -> None:
    for destination in ("/topic/a", "/topic/b"):
        peer.subscribe(destination)
    for destination, body in (("a", "1"), ("a", "2"), ("b", "3"), ("a", "4"), ("b", "5")):
        peer.send_to(f"/topic/{destination}", body)
    peer.send_to("/topic/b", "6", receipt="r")
    assert peer.message("/topic/b").body == b"3"
    assert peer.message(destination="/topic/b").body == b"5"
    assert [peer.message().body for _ in range(3)] == [b"1", b"2", b"4"]
    assert peer.message("/topic/b").body == b"6"
    peer.frame("RECEIPT")
    peer.nothing()


def test_a_message_of_a_destination_that_does_not_come_fails_with_the_story(peer: Peer) -> None:
    peer.subscribe("/topic/a")
    peer.send_to("/topic/a", "1")
    with pytest.raises(
        AssertionError, match=r"no MESSAGE of /topic/b came; closed=None(?s:.*)MESSAGE.*/topic/a"
    ):
        peer.message("/topic/b")
    assert peer.message().body == b"1"  # which is still there


# Answering a Close


@pytest.mark.parametrize("follows", [False, True])
def test_a_peer_that_follows_answers_a_close_without_being_looked_at(
    app: StompApp, follows: bool
) -> None:
    with World(app) as world:
        peer = world.connect()
        if follows:
            peer.follow()
        peer.send("NONSENSE\n\n\0")
        world.advance(60)
        assert world.counters.aborts == (not follows)
        assert peer.closed == 1002


def test_a_refused_upgrade_is_read_as_no_frames(world: World) -> None:
    peer = world.upgrade(Sec_WebSocket_Version="7")
    assert peer.closed is None
    assert peer.raw() == []
    assert peer.stream.received  # the page that says why

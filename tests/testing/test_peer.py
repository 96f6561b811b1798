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
    Limits,
    StompApp,
    send_to,
)
from stocksync_ws.testing import Peer, ReceivedFrame, World
from stocksync_ws.testing.peer import BINARY, PONG, TEXT, client_frame


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


# What it does by itself


@pytest.fixture
def beating() -> Iterator[World]:
    """A world whose server offers and wants heart-beats."""
    app = StompApp("/ws", heart_beat=(10, 10), client_send=["/topic/**"])
    with World(app) as world:
        yield world


@pytest.mark.parametrize("beats", ["", "0,0", "0,10000", "1000,0", "10000,10000", "1,1"])
@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_it_lives_while_time_passes(beating: World, version: str, beats: str) -> None:
    headers = {"heart_beat": beats} if beats else {}
    peer = beating.connect(version, **headers)
    peer.subscribe("/topic/a")
    beating.advance(3600)
    assert peer.closed is None
    peer.send_to("/topic/a", "x")
    assert peer.message().body == b"x"
    peer.nothing()


def test_one_of_1_0_lives_too(beating: World) -> None:
    peer = beating.connect("1.0")
    beating.advance(3600)
    assert peer.closed is None


@pytest.mark.parametrize("beats", ["0,0", "10000,0"])
def test_a_silent_one_dies(beating: World, beats: str) -> None:
    peer = beating.connect(heart_beat=beats)
    peer.silent = True
    beating.advance(60)
    assert peer.closed == CloseCode.HEART_BEAT_LOST
    assert beating.counters.heart_beats_lost == 1
    with pytest.raises(AssertionError, match="Close 4000 b'no sign of life'"):
        peer.frame("MESSAGE")


def test_the_world_says_who_begins_silent(app: StompApp) -> None:
    with World(app, silent=True) as world:
        silent = world.connect()
        world.silent = False
        living = world.connect()
        assert (silent.silent, living.silent) == (True, False)
        world.advance(60)
        assert (silent.closed, living.closed) == (CloseCode.HEART_BEAT_LOST, None)


def test_one_that_wakes_answers_what_it_was_asked(world: World) -> None:
    peer = world.connect()
    peer.silent = True
    world.advance(30)
    assert len(peer.pings) == 1
    peer.silent = False
    world.advance(60)
    assert peer.closed is None


def test_it_sends_the_heart_beats_that_were_agreed_and_no_more(beating: World) -> None:
    came: list[float] = []
    peer = beating.connect(heart_beat="1000,0")
    note = peer._sent.note

    def hear(data: bytes) -> None:
        if data == client_frame(TEXT, b"\n"):
            came.append(beating.now)
        note(data)

    peer._sent.note = hear  # type: ignore[method-assign]
    began = beating.now
    beating.advance(30)  # the server wants one in 10 s
    assert [round(at - began, 3) for at in came] == [9.0, 18.0, 27.0]
    peer.silent = True
    beating.advance(10)
    assert len(came) == 3
    peer.silent = False
    beating.advance(10)
    assert len(came) == 4
    peer.close()
    beating.advance(60)
    assert len(came) == 4


PIECES = [
    [b"SEND\ndestination:/topic/a\n", b"\nhal", b"lo\0"],
    [b"SEND\ndestination:/topic/a\ncontent-length:5\n\nhal", b"lo\0"],
]


@pytest.mark.parametrize("pieces", PIECES)
@pytest.mark.parametrize("way", ["messages", "fragments", "bytes", "masked"])
def test_nothing_falls_into_what_the_test_sends(way: str, pieces: list[bytes]) -> None:
    limits = Limits(frame_timeout=600)
    app = StompApp("/ws", heart_beat=(0, 1), client_send=["/topic/**"], limits=limits)
    with World(app) as world:
        peer, witness = world.connect(heart_beat="1000,0"), world.connect()
        witness.subscribe("/topic/a")
        whole = client_frame(TEXT, b"".join(pieces))
        if way == "messages":
            chunks = [client_frame(TEXT, piece) for piece in pieces]
        elif way == "fragments":
            last = len(pieces) - 1
            opcodes = [TEXT] + [0] * last
            chunks = [
                client_frame(opcode, piece, fin=index == last)
                for index, (opcode, piece) in enumerate(zip(opcodes, pieces, strict=True))
            ]
        else:
            if way == "masked":
                mask = b"\x01\x02\x03\x04"
                payload = bytes(
                    octet ^ mask[index % 4] for index, octet in enumerate(b"".join(pieces))
                )
                whole = whole[:2] + mask + payload
            chunks = [whole[:1], whole[1:7], whole[7:-1], whole[-1:]]
        for chunk in chunks:
            peer.feed(chunk)
            world.advance(0.95)  # a heart-beat is due
        assert witness.message().body == b"hallo"
        world.advance(60)
        assert peer.closed is None


def test_a_ping_is_answered_behind_the_frame_that_was_begun(world: World) -> None:
    peer = world.connect()
    sent = bytearray()
    note = peer._sent.note

    def hear(data: bytes) -> None:
        sent.extend(data)
        note(data)

    peer._sent.note = hear  # type: ignore[method-assign]
    frame = client_frame(TEXT, b"SEND\ndestination:/topic/a\n\n\0")
    peer.feed(frame[:9])
    world.advance(26)
    assert len(peer.pings) == 1
    assert sent == frame[:9]
    peer.feed(frame[9:])
    assert sent == frame + client_frame(PONG, peer.pings[0])


def test_behind_what_is_no_stomp_it_sends_no_heart_beat(beating: World) -> None:
    peer = beating.connect(heart_beat="1000,0")
    peer.send("NONSENSE\n\n\0")
    beating.advance(60)
    assert peer.closed == CloseCode.PROTOCOL_ERROR
    assert peer.error().headers["code"] == "unknown-command"


def test_one_whose_stream_has_ended_sends_nothing(beating: World) -> None:
    peer = beating.connect(heart_beat="1000,0")
    peer.eof()
    beating.advance(60)
    assert peer.closed is None


@pytest.mark.parametrize("silent", [False, True])
def test_a_close_is_answered_as_it_comes_or_when_a_silent_one_is_looked_at(
    app: StompApp, silent: bool
) -> None:
    with World(app, silent=silent) as world:
        peer = world.connect()
        peer.send("NONSENSE\n\n\0")
        world.advance(60)
        assert world.counters.aborts == silent
        assert peer.closed == 1002


# What a failed expectation shows


def refused(peer: Peer) -> None:
    peer.subscribe("/topic/" + "long/" * 20 + "a", history="ten")


def test_an_error_is_shown_whole(peer: Peer) -> None:
    peer.command("SUBSCRIBE", {"id": "1", "destination": "/topic/" + "x" * 200, "history": "ten"})
    [error] = peer.frames()
    assert error.body.decode() in eval(f"({repr(error).removeprefix('Frame')})")[2].decode()
    assert error.headers["code"] == "bad-header"


@pytest.mark.parametrize(
    "fails",
    [refused, lambda peer: peer.send_to("/nowhere") or peer.message(), lambda peer: peer.nothing()],
)
def test_a_failed_expectation_shows_errors_whole(peer: Peer, fails: Any) -> None:
    peer.subscribe("/topic/a")
    if fails is not refused:
        peer.send_to("/nowhere", receipt="r" * 150)
    with pytest.raises(AssertionError) as raised:
        fails(peer)
    [error] = [each for each in peer._log if getattr(each, "command", "") == "ERROR"]
    assert isinstance(error, ReceivedFrame)
    assert len(repr(error)) > 200
    assert f"{error.headers!r}, {error.body!r})" in str(raised.value)


def test_of_a_long_body_the_beginning_is_shown_and_how_long_it_is(peer: Peer) -> None:
    peer.subscribe("/topic/a")
    peer.send_to("/topic/a", "x" * 5000)
    with pytest.raises(AssertionError, match=r"'x{2000}' and 3000 octets"):
        peer.nothing()


def test_a_refused_upgrade_is_read_as_no_frames(world: World) -> None:
    peer = world.upgrade(Sec_WebSocket_Version="7")
    assert peer.closed is None
    assert peer.raw() == []
    assert peer.stream.received  # the page that says why


def test_a_client_whose_upgrade_was_refused_says_so() -> None:
    with World(StompApp("/elsewhere")) as world, pytest.raises(AssertionError) as failed:
        world.upgrade(Origin="http://evil.example", Host="").connect()
    assert "the upgrade was refused: HTTP/1.1 400 " in str(failed.value)

"""What the public suite of the protocol has found, in our own words.

The suite itself has no licence and stays outside.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stocksync_ws import SessionDisconnected, SockJSOptions, StompApp
from stocksync_ws.testing.peer import client_frame
from stocksync_ws.testing.stream import MemoryStream
from stocksync_ws.testing.world import World

TEXT, CLOSE = 1, 8

UPGRADE = (
    b"GET /ws/000/abc/websocket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n"
)


@pytest.fixture
def ends() -> list[str]:
    return []


@pytest.fixture
def world(ends: list[str]) -> Iterator[World]:
    app = StompApp("/ws", sockjs=SockJSOptions.conformance())

    @app.event_listener(inline=True)
    def ended(event: SessionDisconnected) -> None:
        ends.append(event.reason)

    with World(app, app.site()) as world:
        yield world
        assert world.counters.internal_errors == 0


def feed(world: World, stream: MemoryStream, data: bytes) -> bytes:
    """What the server says to that."""
    stream.received.clear()
    world.runtime.driver.feed(stream.link, data)
    world.settle()
    return bytes(stream.received)


CONNECT = rb'["CONNECT\naccept-version:1.2\nhost:a\n\n\u0000"]'


class TestBrokenJson:
    """A framed WebSocket whose client sends no JSON is cut off, told why by `c` alone."""

    @pytest.fixture
    def stream(self, world: World) -> MemoryStream:
        stream = world.open()
        feed(world, stream, UPGRADE)
        assert b"CONNECTED" in feed(world, stream, client_frame(TEXT, CONNECT))
        return stream

    @pytest.mark.parametrize("broken", [b'["a', b"[1]", b"{}", b'["\\ud800"]'])
    def test_the_stream_ends_without_a_close_frame(
        self, world: World, stream: MemoryStream, ends: list[str], broken: bytes
    ) -> None:
        answer = feed(world, stream, client_frame(TEXT, broken))
        assert answer[2:].startswith(b"c[1007,")
        assert len(answer) == 2 + answer[1]
        assert stream.ended
        assert ends == ["protocol_error"]
        assert world.counters.protocol_errors == 1

    def test_nothing_behind_it_is_read(
        self, world: World, stream: MemoryStream, ends: list[str]
    ) -> None:
        more = client_frame(TEXT, b'["a"]') + client_frame(CLOSE, b"\x03\xe8")
        answer = feed(world, stream, client_frame(TEXT, b'["a') + more)
        assert b"ERROR" not in answer
        assert feed(world, stream, more) == b""
        assert ends == ["protocol_error"]

    def test_what_came_before_it_counts(self, world: World, ends: list[str]) -> None:
        stream = world.open()
        feed(world, stream, UPGRADE)
        feed(world, stream, client_frame(TEXT, CONNECT) + client_frame(TEXT, b'["a'))
        assert stream.ended
        assert ends == ["protocol_error"]

    def test_too_much_is_still_told_by_a_close_frame(
        self, world: World, stream: MemoryStream
    ) -> None:
        many = b"[" + b",".join([b'"a"'] * 5_000) + b"]"
        answer = feed(world, stream, client_frame(TEXT, many))
        assert b"c[1009," in answer
        assert b"\x88" in answer


class TestRestart:
    """An application that is served again knows nothing of the sessions of its last run."""

    def test_a_session_that_was_parked_at_the_end_is_opened_anew(self) -> None:
        app = StompApp("/ws", sockjs=True)
        poll = b"POST /ws/000/abc/xhr HTTP/1.1\r\nHost: a\r\n\r\n"
        for _ in range(2):
            with World(app, app.site()) as world:
                assert feed(world, world.open(), poll).endswith(b"\r\n\r\no\n")

    def test_no_session_of_it_is_remembered(self) -> None:
        app = StompApp("/ws", sockjs=True)
        poll = b"POST /ws/000/abc/xhr HTTP/1.1\r\nHost: a\r\n\r\n"
        with World(app, app.site()) as world:
            stream = world.open()
            feed(world, stream, poll)
            world.advance(6)
            assert b'c[1002,"Connection interrupted"]' in feed(world, stream, poll)
        with World(app, app.site()) as world:
            assert feed(world, world.open(), poll).endswith(b"\r\n\r\no\n")


CONNECT_BODY = b'["CONNECT\\naccept-version:1.2\\nhost:a\\n\\n\\u0000"]'


def request(line: str, body: bytes | None = None) -> bytes:
    length = "" if body is None else f"Content-Length: {len(body)}\r\n"
    return f"{line} HTTP/1.1\r\nHost: a\r\n{length}\r\n".encode() + (body or b"")


class TestAnswersThatAreTakenSlowly:
    """An answer that is whole stays the last word of its request, however long it is on its way."""

    @pytest.fixture
    def slow(self, world: World) -> MemoryStream:
        """A poll whose answer, CONNECTED, nobody takes."""
        poll = request("POST /ws/000/abc/xhr")
        feed(world, world.open(), poll)
        slow = world.open()
        slow.window = 0
        assert feed(world, slow, poll) == b""
        feed(world, world.open(), request("POST /ws/000/abc/xhr_send", CONNECT_BODY))
        return slow

    def test_no_heart_beat_comes_behind_it(self, world: World, slow: MemoryStream) -> None:
        for _ in range(30):
            world.advance(1)
            slow.open_window(4)
        slow.open_window(None)
        world.settle()
        answer = bytes(slow.received)
        assert answer.count(b"HTTP/1.1") == 1
        assert answer.endswith(b'\\u0000"]\n')

    def test_a_second_poll_is_refused_even_when_the_end_waits_behind_it(self, world: World) -> None:
        poll = request("POST /ws/000/abc/xhr")
        feed(world, world.open(), poll)
        slow = world.open()
        slow.window = 0
        feed(world, slow, poll)
        feed(world, world.open(), request("POST /ws/000/abc/xhr_send", b'["BROKEN\\n\\n\\u0000"]'))
        assert b'c[2010,"Another connection still open"]' in feed(world, world.open(), poll)
        slow.open_window(None)
        world.settle()
        assert b'a["ERROR' in slow.received
        assert b"c[1002," in feed(world, slow, poll)


@pytest.mark.parametrize("limit", range(1_000, 1_100, 10))
def test_what_stands_around_a_message_counts_when_it_leaves_alone_too(limit: int) -> None:
    """A stream ends as soon as so many bytes of frames have been sent."""
    app = StompApp("/ws", sockjs=SockJSOptions(stream_bytes=limit))
    hello = CONNECT_BODY[:-1] + rb',"SUBSCRIBE\nid:1\ndestination:/topic/a\n\n\u0000"]'
    with World(app, app.site()) as world:
        stream = world.open()
        feed(world, stream, request("POST /ws/000/abc/xhr_streaming"))
        feed(world, world.open(), request("POST /ws/000/abc/xhr_send", hello))
        for _ in range(20):
            app.template.convert_and_send("/topic/a", "")
            world.settle()
        lines = bytes(stream.received).partition(b"\r\no\n\r\n")[2].split(b"\r\n")
        assert lines[-3:] == [b"0", b"", b""]
        frames = [len(line) for line in lines[1:-3:2]]
        assert sum(frames) >= limit > sum(frames[:-1])
